//! From a rule's fields to a sealed event: identity, sequence, common fields.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use floorgate_sample::{Quality, Reason, Timestamp};
use uuid::Uuid;

use crate::detect::Cause;
use crate::envelope::{Attributes, Emission, Event, Settings, TimeTexts, seal, shared_headers};
use crate::json::Object;
use crate::source::{Connection, SourceState};
use crate::stream::{Stream, Streams};

use crate::plan::{RuleKind, Slot};

use super::Context;

/// What tells an event apart from others of its rule.
pub(crate) struct Draft<'a> {
    /// Type name.
    pub(crate) name: &'a str,
    /// `mes` or `wms`.
    pub(crate) domain: &'a str,
    /// CloudEvents `subject`.
    pub(crate) subject: Arc<str>,
    /// CloudEvents `correlationid`.
    pub(crate) correlation: Option<&'a str>,
    /// Tells events of one rule and one change apart (an alarm's bit).
    pub(crate) part: u32,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(name: &'a str, subject: impl Into<Arc<str>>) -> Self {
        Self {
            name,
            domain: "mes",
            subject: subject.into(),
            correlation: None,
            part: 0,
        }
    }
}

/// Makes events.
#[derive(Debug)]
pub(crate) struct Emitter {
    settings: Settings,
    namespace: Uuid,
    streams: Streams,
    /// Streams by equipment.
    equipment: Vec<usize>,
    types: Vec<TypeNames>,
    /// Subjects that stay the same, each once.
    subjects: HashSet<Arc<str>>,
    times: TimeTexts,
    received: Timestamp,
    recorded: Timestamp,
    /// Whether what is evaluated was read from a source's history.
    pub(crate) from_history: bool,
    scratch: String,
}

#[derive(Debug)]
struct TypeNames {
    domain: Arc<str>,
    name: Arc<str>,
    full: Arc<str>,
}

impl Emitter {
    pub(crate) fn new(settings: Settings, streams: Streams, equipment: Vec<usize>) -> Self {
        let gateway = format!("urn:floorgate:{}", settings.gateway);
        Self {
            namespace: Uuid::new_v5(&Uuid::NAMESPACE_URL, gateway.as_bytes()),
            settings,
            streams,
            equipment,
            types: Vec::new(),
            subjects: HashSet::new(),
            times: TimeTexts::default(),
            received: Timestamp::from_nanos(0),
            recorded: Timestamp::from_nanos(0),
            from_history: false,
            scratch: String::new(),
        }
    }

    /// What follows was received and is recorded at these times.
    pub(crate) fn begin(&mut self, received: Timestamp, recorded: Timestamp) {
        self.received = received;
        self.recorded = recorded;
    }

    /// When what is evaluated was received.
    pub(crate) fn received(&self) -> Timestamp {
        self.received
    }

    /// When it is evaluated.
    pub(crate) fn recorded(&self) -> Timestamp {
        self.recorded
    }

    pub(crate) fn renew_streams(&mut self, epoch: u32) {
        self.streams.all.iter_mut().for_each(|stream| stream.renew(epoch));
    }

    /// Cells of the streams that went on.
    pub(crate) fn save(&mut self, cells: &mut Vec<(Arc<str>, String)>) {
        for stream in self.streams.all.iter_mut().filter(|stream| stream.dirty) {
            stream.dirty = false;
            cells.push(stream.save());
        }
    }

    /// Cells of all streams.
    pub(crate) fn export(&self, cells: &mut Vec<(Arc<str>, String)>) {
        cells.extend(self.streams.all.iter().map(Stream::save));
    }

    /// A subject that many events have.
    pub(super) fn subject(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.subjects.get(text.as_str()) {
            return Arc::clone(known);
        }
        let subject: Arc<str> = text.into();
        self.subjects.insert(Arc::clone(&subject));
        subject
    }

    /// Short and full name of a type; made once each.
    fn type_names(&mut self, domain: &str, name: &str) -> (Arc<str>, Arc<str>) {
        let known = self
            .types
            .iter()
            .find(|t| *t.name == *name && *t.domain == *domain);
        if let Some(known) = known {
            return (Arc::clone(&known.name), Arc::clone(&known.full));
        }
        let full: Arc<str> = format!("{}.{domain}.{name}.v1", self.settings.type_prefix).into();
        let name: Arc<str> = name.into();
        self.types.push(TypeNames {
            domain: domain.into(),
            name: Arc::clone(&name),
            full: Arc::clone(&full),
        });
        (name, full)
    }

    /// Seals data into an event of a stream.
    fn finish(&mut self, stream: usize, sealing: Sealing<'_>) -> Event {
        let Sealing {
            draft,
            known_headers,
            correlation,
            topic,
            key,
            id,
            time,
            emission,
            data,
            trace,
        } = sealing;
        let (name, event_type) = self.type_names(draft.domain, draft.name);
        let (time_text, recorded) = (self.times.put(time), self.times.put(self.recorded));
        let stream = &mut self.streams.all[stream];
        let attributes = Attributes {
            id,
            source: &stream.urn,
            event_type: &event_type,
            subject: &draft.subject,
            time: self.times.get(time_text),
            recorded: self.times.get(recorded),
            key,
            sequence: (stream.epoch, stream.last),
            correlation,
            emission,
        };
        let encoding = self.settings.encoding;
        let (headers, value) = seal(encoding, &attributes, data);
        let shared_headers = known_headers.unwrap_or_else(|| {
            let make = |source: &str| shared_headers(encoding, source, &event_type);
            stream.shared_headers(&event_type, make)
        });
        Event {
            topic: Arc::clone(topic),
            key: Arc::clone(key),
            id,
            event_type,
            name,
            subject: Arc::clone(&draft.subject),
            time,
            recorded: self.recorded,
            shared_headers,
            headers,
            value,
            trace,
        }
    }

    /// The id of an event that has no time of its own: from the stream's number and the process's incarnation, so
    /// that a restored store cannot issue it again.
    fn id_of_number(&mut self, stream: usize, number: u64) -> Uuid {
        self.scratch.clear();
        let stream = &self.streams.all[stream];
        let _ = write!(
            self.scratch,
            "{}#{}-{number}#{}",
            stream.urn, stream.epoch, self.settings.incarnation
        );
        Uuid::new_v5(&self.namespace, self.scratch.as_bytes())
    }
}

struct Sealing<'a> {
    draft: &'a Draft<'a>,
    known_headers: Option<Arc<str>>,
    correlation: Option<&'a str>,
    topic: &'a Arc<str>,
    key: &'a Arc<str>,
    id: Uuid,
    time: Timestamp,
    emission: Emission,
    data: Vec<u8>,
    trace: String,
}

impl Context<'_> {
    /// Makes an event of the change; `write` writes the fields of its type.
    pub(crate) fn emit(&mut self, draft: &Draft<'_>, write: impl FnOnce(&mut Object<'_>)) {
        let id = self.next_id(draft.part);
        self.emit_with_id(draft, id, write);
    }

    /// Takes the stream's next number and makes the id that goes with it: an event must follow, since the stream's
    /// numbers have no holes.
    ///
    /// With a source time the id comes from what happened: rule, time, values, ordinal. Without one it comes from
    /// the stream's number.
    pub(crate) fn next_id(&mut self, part: u32) -> Uuid {
        let stream = self.emitter.equipment[self.rule.equipment.0 as usize];
        let number = self.emitter.streams.all[stream].next();
        let Some(time) = self.change.source_time else {
            return self.emitter.id_of_number(stream, number);
        };
        let text = &mut self.emitter.scratch;
        text.clear();
        text.push_str(&self.rule.id);
        let mut digits = itoa::Buffer::new();
        text.push('#');
        text.push_str(digits.format(part));
        text.push('#');
        text.push_str(digits.format(time.as_nanos()));
        text.push('#');
        text.push_str(digits.format(self.change.ordinal));
        text.push('#');
        for value in [&self.change.previous, &self.change.value] {
            match value {
                Some(value) => {
                    let _ = write!(text, "{value}#");
                }
                None => text.push('#'),
            }
        }
        Uuid::new_v5(&self.emitter.namespace, text.as_bytes())
    }

    /// Makes an event under an id from [`Context::next_id`].
    pub(crate) fn emit_with_id(&mut self, draft: &Draft<'_>, id: Uuid, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::new(&self.rule.spec.data);
        write(&mut object);
        let rule = self.rule;
        for (name, value) in &self.note.fields {
            object.field(name, value);
        }
        if let Some(run) = self.run {
            run.write(&mut object);
        }
        self.view
            .write((rule, self.change), &rule.spec.data, &mut object, self.failures);
        let path = self.equipment();
        object.put("equipmentPath", &**path);
        let own_key = self.text_of(rule.spec.key);
        let key = own_key.as_ref().unwrap_or(path);
        let own_correlation = self.text_of(rule.spec.correlation);
        let correlation = draft
            .correlation
            .or(own_correlation.as_deref())
            .or(self.run.map(|run| &*run.id));
        let time = self.common(&mut object);
        let stream = self.emitter.equipment[rule.equipment.0 as usize];
        // That a tag is bad before anything was known of it is what was found, and no change.
        let found = match self.change.cause {
            Cause::Initial => true,
            Cause::Lost => self.change.previous.is_none(),
            Cause::Value | Cause::Quality | Cause::Silence => false,
        };
        let emission = match (found, self.emitter.from_history) {
            (true, _) => Emission::Initial,
            (false, true) => Emission::Backfill,
            (false, false) => Emission::Live,
        };
        let sealing = Sealing {
            draft,
            known_headers: self.labels.headers.clone(),
            correlation,
            topic: &rule.topic,
            key,
            id,
            time,
            emission,
            data: object.finish(),
            trace: self.trace(),
        };
        let event = self.emitter.finish(stream, sealing);
        let is_of_one_type = !matches!(rule.spec.kind, RuleKind::Alarm { .. } | RuleKind::Conditions);
        if is_of_one_type && self.labels.headers.is_none() {
            self.labels.headers = Some(Arc::clone(&event.shared_headers));
        }
        self.events.push(event);
    }

    /// The value of an input as text; `None` while it is unknown or empty.
    fn text_of(&self, slot: Option<Slot>) -> Option<Arc<str>> {
        let value = self.view.operand(self.rule, slot?)?.to_string();
        (!value.is_empty()).then(|| value.into())
    }

    /// Writes the fields that every event has; returns the event's time.
    fn common(&mut self, object: &mut Object<'_>) -> Timestamp {
        let change = self.change;
        let received = change.received.unwrap_or(self.emitter.received);
        let (time, basis) = match (change.source_time, change.server_time) {
            (Some(time), _) => (time, "source"),
            (None, Some(time)) => (time, "server"),
            (None, None) => (received, "received"),
        };
        write_times(
            object,
            &mut self.emitter.times,
            change.source_time,
            change.server_time,
            received,
        );
        object.plain("timeBasis", basis);
        write_quality(object, change.quality);
        if change.gap {
            object.put("gap", &true);
        }
        object.open("mapping");
        object.put("ruleId", &*self.rule.id);
        object.put("version", &*self.rule.spec.version);
        object.close();
        time
    }
}

fn write_times(
    object: &mut Object<'_>,
    times: &mut TimeTexts,
    source: Option<Timestamp>,
    server: Option<Timestamp>,
    received: Timestamp,
) {
    object.open("timestamps");
    for (name, time) in [
        ("source", source),
        ("server", server),
        ("received", Some(received)),
    ] {
        if let Some(time) = time {
            let text = times.put(time);
            object.plain(name, times.get(text));
        }
    }
    object.close();
}

fn write_quality(object: &mut Object<'_>, quality: Quality) {
    object.open("quality");
    object.plain("class", quality.class().as_str());
    if quality == Quality::GOOD {
        object.plain("statusCode", "0x00000000");
    } else {
        object.put("statusCode", &format_args!("{quality}"));
    }
    object.close();
}

/// `SourceConnectionChanged`: the only event that is about a source and not about equipment.
pub(crate) fn source_event(
    emitter: &mut Emitter,
    source: &SourceState,
    topic: &Arc<str>,
    previous: Option<Connection>,
    state: Connection,
    reason: Option<&Reason>,
) -> Event {
    let number = emitter.streams.all[source.stream].next();
    let id = emitter.id_of_number(source.stream, number);
    let mut object = Object::new(&[]);
    object.put("source", &*source.name);
    object.put("state", state.as_str());
    object.put("previousState", &previous.map(Connection::as_str));
    match source.last_good {
        Some(time) => {
            let text = emitter.times.put(time);
            object.plain("lastGoodAt", emitter.times.get(text));
        }
        None => object.put("lastGoodAt", &None::<&str>),
    }
    object.put("reason", &reason.map(|reason| &*reason.told));
    if let Some(see) = reason.and_then(|reason| reason.see.as_deref()) {
        object.put("see", see);
    }
    write_times(&mut object, &mut emitter.times, None, None, emitter.received);
    object.plain("timeBasis", "received");
    let quality = if state == Connection::Online {
        Quality::GOOD
    } else {
        Quality::BAD_NO_COMMUNICATION
    };
    write_quality(&mut object, quality);
    let subject = format!("source/{}", source.name);
    let draft = Draft::new("SourceConnectionChanged", subject);
    let time = emitter.received;
    let emission = if previous.is_none() {
        Emission::Initial
    } else {
        Emission::Live
    };
    let sealing = Sealing {
        draft: &draft,
        known_headers: None,
        correlation: None,
        topic,
        key: &source.name,
        id,
        time,
        emission,
        data: object.finish(),
        trace: String::new(),
    };
    emitter.finish(source.stream, sealing)
}
