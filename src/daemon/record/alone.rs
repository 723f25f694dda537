//! Recording without a gateway: the sources of a configuration, and a core whose events nobody gets. It stores nothing.

use std::fs::File;
use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use floorgate_adapter_api::{Answer, Batch, SourceId};
use floorgate_config::Loaded;
use floorgate_core::{Core, Input, Now};
use floorgate_metrics::Metrics;
use floorgate_sample::Timestamp;
use floorgate_workbench::recording::beginning;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LONGEST_BLOCK, Tally, ends_at, pump, write};
use crate::engine::{Generation, Message, Requesters, Shelf, Tap, mailbox, tap, whole_micros};
use crate::run::{Identity, SOURCES_PATIENCE, core};
use crate::supervisor::Sources;

/// How often timers are looked at while nothing comes.
const LOOK: Duration = Duration::from_millis(100);

/// Records from the sources of a configuration.
pub fn record(loaded: Loaded, lasts: Option<Duration>, file: &File) -> anyhow::Result<Tally> {
    let started = Instant::now();
    let identity = Identity::alone();
    let stop = CancellationToken::new();
    let ended = stop.clone();
    let runtime = ends_at(lasts, move || ended.cancel())?;
    let Loaded {
        settings,
        plan,
        sources,
        ..
    } = loaded;
    let metrics = Metrics::new().context("cannot register metrics")?;
    let (inbox, sender, intake) = mailbox(*settings.limits.samples_in_flight);
    let mut running = Sources::default();
    {
        let _entered = runtime.enter();
        let numbered = (0..).map(SourceId).zip(sources);
        running.start(numbered, Shelf::default(), &intake, &metrics, |requesters| {
            let _ = sender.send(Message::Sources(Generation::default(), requesters));
        });
    }
    let (tap, taken) = tap(true);
    let player = Player {
        core: core(&settings, identity, plan, &|_| None),
        requesters: Requesters::default(),
        tap,
        started,
    };
    let until = stop.clone();
    let playing = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || player.play(&inbox, &until))
        .context("cannot start a thread")?;
    let (packed, packing) = pump(taken, stop.clone(), LONGEST_BLOCK).context("cannot start a thread")?;
    let recorded = write(
        Blocks {
            packed,
            rest: beginning(&identity.header(&settings)),
            at: 0,
        },
        file,
    );
    // What cannot be written ends it as well.
    stop.cancel();
    runtime.block_on(running.stop(SOURCES_PATIENCE));
    runtime.shutdown_background();
    let ended = playing.join().is_ok() && packing.join().is_ok();
    anyhow::ensure!(ended, "the recorder failed");
    recorded
}

/// Blocks as a stream of bytes.
struct Blocks {
    packed: mpsc::Receiver<Vec<u8>>,
    rest: Vec<u8>,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.rest.len() {
            let Some(next) = self.packed.blocking_recv() else {
                return Ok(0);
            };
            (self.rest, self.at) = (next, 0);
        }
        let read = (&self.rest[self.at..]).read(buffer)?;
        self.at += read;
        Ok(read)
    }
}

/// Gives the core what comes, so that what it asks sources for is asked.
struct Player {
    core: Core,
    requesters: Requesters,
    tap: Tap,
    started: Instant,
}

impl Player {
    fn play(mut self, inbox: &Receiver<Message>, stop: &CancellationToken) {
        let mut events = Vec::new();
        while !stop.is_cancelled() {
            let mut next = match inbox.recv_timeout(LOOK) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while let Some(message) = next {
                self.take(message, &mut events);
                next = inbox.try_recv().ok();
            }
            let now = self.now();
            self.tap.advance(self.core.next_deadline(), now);
            self.core.advance(now, &mut events);
            self.tap.begin(&mut self.core, now);
            self.ask(&mut events);
            // Nobody stores or gets them.
            events.clear();
            self.core.take_failures();
            self.core.save(&mut Vec::new());
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: Timestamp::now(),
            monotonic: whole_micros(self.started.elapsed()),
        }
    }

    fn take(&mut self, message: Message, events: &mut Vec<floorgate_core::Event>) {
        match message {
            Message::Batch(_, batch, _admission) => {
                self.batch(&batch, events);
                if let Some(receipt) = batch.receipt {
                    receipt.fire();
                }
            }
            Message::Sources(_, requesters) => self.requesters.extend(requesters),
            _ => {}
        }
    }

    fn batch(&mut self, batch: &Batch, events: &mut Vec<floorgate_core::Event>) {
        let input = Input {
            source: batch.source,
            received: batch.received,
            notices: &batch.notices,
            samples: &batch.samples,
            now: self.now(),
        };
        if let Some(answer) = &batch.answer {
            return self.answer(answer, input, events);
        }
        self.tap.apply(input);
        self.core.apply(input, events);
    }

    fn answer(&mut self, answer: &Answer, input: Input<'_>, events: &mut Vec<floorgate_core::Event>) {
        self.tap.answer(answer, self.core.asking(answer.request), input);
        self.core.answer(answer, input, events);
    }

    fn ask(&mut self, events: &mut Vec<floorgate_core::Event>) {
        let requests = self.core.take_requests();
        for (source, answer) in self.requesters.ask_all(requests) {
            let now = self.now();
            let input = Input {
                source,
                received: now.wall,
                notices: &[],
                samples: &[],
                now,
            };
            self.answer(&answer, input, events);
        }
    }
}
