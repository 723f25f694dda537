//! What the device shows now, for who asks.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use floorgate_adapter_api::{Closed, Quality, Request, Sample, SourceContext, TagId, Value};

use crate::{Play, Shown};

/// What the device shows.
#[derive(Default)]
pub(crate) struct Board(Mutex<State>);

#[derive(Default)]
struct State {
    online: bool,
    signals: BTreeMap<String, (Option<Value>, Quality)>,
}

impl Board {
    /// The device is connected from now on, or is not.
    pub(crate) fn set_online(&self, online: bool) {
        self.state().online = online;
    }

    /// A signal shows this from now on.
    pub(crate) fn show(&self, signal: &str, value: Option<&Value>, quality: Quality) {
        self.state()
            .signals
            .insert(signal.to_owned(), (value.cloned(), quality));
    }

    /// Answers every request with what the board shows.
    pub(crate) async fn answer(&self, play: &Play, context: &SourceContext) -> Result<Infallible, Closed> {
        loop {
            let request = context.requests.next().await;
            context.metrics.requests.inc();
            let read = self.read(play, &request);
            context.requests.answer(&context.intake, request.id, read).await?;
        }
    }

    fn read(&self, play: &Play, request: &Request) -> Result<Vec<Sample>, String> {
        let state = self.state();
        if !state.online {
            return Err("the scripted source is not online".to_owned());
        }
        let shown = |tag: &TagId| {
            let shown = play.signals.iter().find(|shown| shown.tag == *tag);
            let shown = shown.ok_or_else(|| format!("no tag has the number {}", tag.0))?;
            // The stage may be further than what was told of it.
            let on_stage = play.follow.then(|| play.stage.shown(&shown.signal)).flatten();
            let on_board = || state.signals.get(&shown.signal).cloned();
            let (value, quality) = on_stage.or_else(on_board).unwrap_or((None, Quality::BAD));
            Ok(shown.sample(value, quality))
        };
        request.tags.iter().map(shown).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// A sample of the tag.
    pub(crate) fn sample(&self, value: Option<Value>, quality: Quality) -> Sample {
        Sample {
            tag: self.tag,
            value,
            quality,
            source_time: None,
            server_time: None,
            gap: false,
        }
    }
}
