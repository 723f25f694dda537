//! The producers: one that sends at once, and one that gathers a burst before it sends.
//!
//! librdkafka's thread takes what it finds when it wakes up. A few records are all there by then. Of a large burst it would take the first
//! ones only, and poll without sleeping until they are acknowledged and the rest may go; so a large one goes through a producer that
//! waits for [`GATHERING`]. Small ones would pay for that with latency, and with two more wake-ups each.
//!
//! Both may serve one lane: it has one burst on its way, and the next one goes when that is through.

use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfigAndContext};
use rdkafka::producer::{BaseProducer, Producer as _};

use crate::client::{ClientError, Collector, GATHERING};
use crate::inbox::Shared;

/// How long the thread that takes a producer's news waits for some, and how long a producer's end may take. The client counts what is left
/// of it in whole milliseconds, and goes round without sleeping through what is less than one: it sleeps through all of these if they
/// are a little more than whole ones.
const NEWS: Duration = Duration::from_micros(500_050);

/// The client's producer with our context, and the thread that takes what it tells.
pub(crate) struct Producer {
    client: Arc<BaseProducer<Collector>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Producer {
    fn new(client: BaseProducer<Collector>) -> io::Result<Self> {
        let (client, ends) = (Arc::new(client), Arc::new(AtomicBool::new(false)));
        let (taking, told) = (Arc::clone(&client), Arc::clone(&ends));
        let thread = thread::Builder::new().name("kafka-news".to_owned());
        let thread = thread.spawn(move || {
            while !told.load(Ordering::Relaxed) {
                taking.poll(NEWS);
            }
        })?;
        Ok(Self {
            client,
            ends,
            thread: Some(thread),
        })
    }
}

impl Deref for Producer {
    type Target = BaseProducer<Collector>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell but that it panicked, which was told then.
            let _ = thread.join();
        }
    }
}

/// The shortest time that the client can wait for an answer.
const NO_TIME: Duration = Duration::from_millis(1);

/// Records that are handed over before the client's thread is awake.
const FEW: u64 = 16;

/// How a burst is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As soon as the client's thread is awake.
    AtOnce,
    /// After [`GATHERING`].
    Gathering,
}

impl Way {
    pub(crate) const ALL: [Self; 2] = [Self::AtOnce, Self::Gathering];
}

/// The producers of one publisher.
pub(crate) struct Clients {
    config: ClientConfig,
    shared: Arc<Shared>,
    at_once: Producer,
    /// Made when a large burst first comes: most plants never send one.
    gathering: Option<Producer>,
    /// Large bursts are gathered. Where records wait for others anyway, there is nothing to gather.
    gathers: bool,
    /// The one that was last given records.
    pub(crate) used: Way,
}

impl Clients {
    pub(crate) fn new(
        config: &ClientConfig,
        shared: &Arc<Shared>,
        gathers: bool,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            at_once: make(config, shared)?,
            gathering: None,
            config: config.clone(),
            shared: Arc::clone(shared),
            gathers,
            used: Way::AtOnce,
        })
    }

    /// How so many records are to be sent; the producer for it is there.
    pub(crate) fn way_for(&mut self, records: u64) -> Way {
        if !self.gathers || records <= FEW {
            return Way::AtOnce;
        }
        if self.gathering.is_none() {
            let mut config = self.config.clone();
            config.set(
                "queue.buffering.max.ms",
                (GATHERING.as_secs_f64() * 1000.0).to_string(),
            );
            match make(&config, &self.shared) {
                Ok(producer) => self.gathering = Some(producer),
                Err(error) => {
                    tracing::error!(%error, see = "gateway-producer-replaced", "no kafka producer for large bursts; they cost more CPU now");
                    self.gathers = false;
                    return Way::AtOnce;
                }
            }
        }
        Way::Gathering
    }

    pub(crate) fn get(&self, way: Way) -> Option<&Producer> {
        match way {
            Way::AtOnce => Some(&self.at_once),
            Way::Gathering => self.gathering.as_ref(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Producer> {
        Way::ALL.into_iter().filter_map(|way| self.get(way))
    }

    /// Has the producers ask for a topic anew, which by themselves they do after some minutes: until then they refuse partitions that were
    /// added. The answer is not waited for.
    pub(crate) fn refresh(&self, topic: &str) {
        for producer in self.iter() {
            let _ = producer.client().fetch_metadata(Some(topic), NO_TIME);
        }
    }

    /// Wakes the producer that gathers, since by itself it counts in whole milliseconds.
    pub(crate) fn wake_gathering(&self) {
        if let Some(producer) = &self.gathering {
            // Nothing is waited for, and that not all is through is no error.
            let _ = producer.flush(Duration::ZERO);
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // They end side by side.
        for producer in self.iter() {
            producer.ends.store(true, Ordering::Relaxed);
        }
    }
}

fn make(config: &ClientConfig, shared: &Arc<Shared>) -> Result<Producer, ClientError> {
    let collector = Collector::new(Arc::clone(shared));
    let client = BaseProducer::from_config_and_context(config, collector).map_err(|error| error.to_string());
    client
        .and_then(|client| Producer::new(client).map_err(|error| error.to_string()))
        .map_err(|reason| ClientError::Refused { reason })
}
