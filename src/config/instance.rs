//! The rows of one instance: its tags and rules, and what its rules read at once.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use floorgate_core::plan::{Rule, RuleId, RuleKind, RuleSpec, Tag};
use floorgate_sample::{SourceId, TagId};
use floorgate_yaml::{NodeKind, Problems, Span};

use crate::check::is_plain_name;
use crate::equipment::site_of;
use crate::event::{EventPlan, Topic};
use crate::fingerprint;
use crate::fit;
use crate::mapping::{Compiler, Mapping, SnapshotPlan};
use crate::tag::TagPlan;
use crate::template::{Instance, Template};

impl<'n> Compiler<'n> {
    /// Adds the rows of one instance: of the mapping's tags and events, or of those that an override makes of them.
    pub(crate) fn instance(
        &mut self,
        mapping: &Mapping<'n>,
        (tags, events): (&[TagPlan<'n>], &[Rc<EventPlan<'n>>]),
        instance: &Instance,
        problems: &mut Problems,
    ) {
        // What can be had is gone through, also where something else is wrong: one mistake hides no other.
        let values = instance.values.as_slice();
        let place = mapping.equipment.as_ref().and_then(|(equipment, span)| {
            let path = equipment.fill(values);
            Some((self.equipment(&path, *span, problems)?, site_of(&path), *span))
        });
        let source = mapping
            .source
            .as_ref()
            .and_then(|(source, span)| self.source(&source.fill(values), *span, problems));
        let prefix = |separator: char| match instance.name.as_str() {
            "" => format!("{}{separator}", mapping.name),
            name => format!("{}{separator}{name}{separator}", mapping.name),
        };
        let key_prefix = prefix('/');
        let mut complete = true;
        let rows: Vec<Option<TagId>> = tags
            .iter()
            .map(|tag| {
                if tag.left_out {
                    return None;
                }
                let row = self.tag(mapping, tag, source, &key_prefix, values, problems);
                complete &= row.is_some();
                row
            })
            .collect();
        let Some((equipment, site, equipment_span)) = place else {
            return;
        };
        for tag in rows.iter().flatten() {
            let source = self.plan.tags[tag.index()].source;
            self.sites[source.index()].get_or_insert_with(|| site.clone());
        }
        for (tag, row) in tags.iter().zip(&rows) {
            if let (Some(gate), Some(row)) = (tag.gate, row) {
                self.plan.tags[row.index()].valid = rows[gate];
            }
        }
        self.check_companions(tags, &rows, problems);
        let first_rule = self.plan.rules.len();
        let number = |place: usize| rows.get(place).copied().flatten();
        let id_prefix = prefix('.');
        for event in events {
            let topic = match &event.topic {
                Topic::Template(template, span) => self.topic(template.fill(values), *span, problems),
                Topic::Standard(rest) => self.topic([&*site, ".", rest].concat(), equipment_span, problems),
            };
            // A rule needs all of its inputs; the plan is not used where one lacks.
            if !complete {
                continue;
            }
            let spec = event.spec(&mapping.instances.parameters, values);
            let id: Arc<str> = [&*id_prefix, &*event.name].concat().into();
            if !self.rule_ids.insert(Arc::clone(&id)) && !problems.has_errors() {
                problems
                    .error(instance.span, format!("two rules have the id `{id}`"))
                    .hint("give one of the mappings, instances or events another name");
            }
            let inputs: Box<[TagId]> = event.inputs.iter().filter_map(|place| number(*place)).collect();
            if matches!(spec.kind, RuleKind::Alarm { .. })
                && let Some(tag) = event.inputs.first().and_then(|place| number(*place))
            {
                let span = event.span_of(&["alarm", "trigger"]);
                self.alarm_codes(equipment, (tag, &spec.kind), span, problems);
            }
            self.read_at_once(&spec, &inputs, event, &id, problems);
            self.rule_places.push(event.event.span);
            self.plan.rules.push(Rule {
                id,
                equipment,
                inputs,
                topic,
                run: None,
                spec,
            });
        }
        if mapping.run.is_some() {
            self.belong_to_run(first_rule);
        }
        for (tag, row) in tags.iter().zip(&rows) {
            if let (true, Some(number)) = (tag.on_demand, row) {
                self.on_demand.insert(*number);
            }
        }
    }

    /// Notes what a rule reads at once; one source has to give all of it.
    fn read_at_once(
        &mut self,
        spec: &RuleSpec,
        inputs: &[TagId],
        event: &EventPlan<'_>,
        rule: &Arc<str>,
        problems: &mut Problems,
    ) {
        let Some(snapshot) = &spec.snapshot else {
            return;
        };
        let at = event.span_of(&["snapshot"]);
        let slots = snapshot.tags.iter();
        let tags: Vec<TagId> = slots
            .filter_map(|slot| inputs.get(usize::from(slot.0)).copied())
            .collect();
        let source_of = |tag: &TagId| self.plan.tags[tag.index()].source;
        let Some(source) = tags.first().map(source_of) else {
            return;
        };
        if tags.iter().any(|tag| source_of(tag) != source) {
            problems
                .error(
                    at,
                    format!("`snapshot` of `{rule}` reads from more than one source"),
                )
                .hint("one request reads from one source: make an event for each, or a `join`");
            return;
        }
        self.snapshots[source.index()].push(SnapshotPlan {
            tags,
            at,
            rule: Arc::clone(rule),
        });
    }

    /// The rules of an instance, from a number on, belong to the runs of its work orders.
    fn belong_to_run(&mut self, first: usize) {
        let rules = &mut self.plan.rules[first..];
        let opens = |rule: &Rule| matches!(rule.spec.kind, RuleKind::WorkOrderStatus { .. });
        let run = rules
            .iter()
            .position(opens)
            .and_then(|place| u32::try_from(first + place).ok());
        for rule in rules.iter_mut().filter(|rule| !opens(rule)) {
            rule.run = run.map(RuleId);
        }
    }

    /// Adds the row of a tag. `None` where it has no address or no source: that is a problem already.
    fn tag(
        &mut self,
        mapping: &Mapping<'n>,
        tag: &TagPlan<'n>,
        source: Option<usize>,
        key_prefix: &str,
        values: &[NodeKind],
        problems: &mut Problems,
    ) -> Option<TagId> {
        let source = match &tag.source {
            None => source?,
            Some(own) => {
                let template = Template::parse(own, own.span, &mapping.instances.parameters, problems)?;
                self.source(&template.fill(values), own.span, problems)?
            }
        };
        let address = tag.address.as_ref()?;
        let node = match address.shared() {
            Some(node) => Cow::Borrowed(node),
            None => Cow::Owned(address.fill(&mapping.instances.parameters, values)),
        };
        if tag.varies
            && let (Some(spec), Some(adapter)) = (&tag.spec, self.sources[source].adapter)
            && let Some(given) = adapter.gives(&node)
        {
            fit::check(address.written(), spec, given, problems);
        }
        let id = TagId(u32::try_from(self.plan.tags.len()).ok()?);
        let address = fingerprint::of_node(&node);
        self.addresses[source].push((id, node));
        self.tag_places.push(tag.span);
        self.plan.tags.push(Tag {
            key: [key_prefix, tag.name].concat().into(),
            address,
            source: SourceId(u16::try_from(source).unwrap_or(u16::MAX)),
            valid: None,
            spec: tag.spec.clone().unwrap_or_default(),
        });
        Some(id)
    }

    /// One `Arc` for each topic.
    fn topic(&mut self, name: String, span: Span, problems: &mut Problems) -> Arc<str> {
        if let Some(topic) = self.topics.get(&name) {
            return Arc::clone(topic);
        }
        check_topic(&name, span, problems);
        let topic: Arc<str> = name.as_str().into();
        self.topics.insert(name, Arc::clone(&topic));
        topic
    }
}

/// Kafka's rule for names of topics (`org.apache.kafka.common.internals.Topic`).
fn check_topic(name: &str, span: Span, problems: &mut Problems) {
    if !is_plain_name(name, 249) || name == "." || name == ".." {
        problems
            .error(span, format!("topic {name:?} is no name of a topic"))
            .hint("up to 249 letters, digits, `-`, `_` and `.`");
    }
}
