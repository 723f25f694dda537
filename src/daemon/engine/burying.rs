//! Events that Kafka refuses for good become dead letters.

use std::sync::Arc;

use floorgate_outbox::{Burial, Event};
use floorgate_publisher::HEADER_DEAD_LETTER;
use tracing::{error, warn};

use super::{Running, chain};

/// Kafka header of a copy on the dead-letter topic: the topic that refused the event.
const HEADER_TOPIC: &str = "floorgate_dead_letter_topic";

impl Running {
    /// Takes an event out of its lane with the next commit, and has a copy sent to the dead-letter topic.
    pub(super) fn bury(&mut self, burial: Burial) {
        let store = &self.engine.store;
        let topic = store.lane(burial.lane).map(|lane| Arc::clone(&lane.topic));
        let event = match store.event(burial.lane, burial.sequence) {
            Ok(event) => event,
            Err(problem) => {
                let problem = chain(&problem);
                warn!(
                    problem,
                    see = "gateway-dead-letter",
                    "the event that is refused cannot be read, it is not copied to the dead-letter topic"
                );
                None
            }
        };
        error!(
            topic = topic.as_deref(),
            id = event.as_ref().map(|event| &*event.id),
            subject = event.as_ref().map(|event| &*event.subject),
            reason = burial.reason,
            see = "gateway-dead-letter",
            "kafka refuses an event for good; it is kept as a dead letter, and a stub goes out in its place"
        );
        let copy_to = self.engine.dead_letter_topic.as_ref();
        if let (Some(event), Some(copy_to)) =
            (event, copy_to.filter(|copy_to| Some(*copy_to) != topic.as_ref()))
        {
            self.commit.events.push(copy(event, copy_to, &burial));
        }
        self.commit.burials.push(burial);
    }

    /// Tells how many dead letters there are.
    pub(super) fn count_dead_letters(&self) {
        match self.engine.store.dead_letters() {
            Ok(count) => self
                .engine
                .metrics
                .dead_letters
                .set(i64::try_from(count).unwrap_or(i64::MAX)),
            Err(problem) => warn!(
                problem = chain(&problem),
                see = "gateway-outbox-upkeep",
                "the dead letters cannot be counted"
            ),
        }
    }
}

fn copy(event: Event, topic: &Arc<str>, burial: &Burial) -> Event {
    let mut headers = event.headers;
    // The stub's last line has the reason.
    for line in burial
        .headers
        .lines()
        .filter(|line| line.starts_with(HEADER_DEAD_LETTER))
    {
        if !headers.is_empty() && !headers.ends_with('\n') {
            headers.push('\n');
        }
        headers.push_str(line);
    }
    headers = format!("{headers}\n{HEADER_TOPIC}: {}", event.topic);
    Event {
        topic: Arc::clone(topic),
        headers,
        ..event
    }
}
