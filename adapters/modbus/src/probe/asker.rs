//! Who asks: one question at a time, with a pause, again where that helps, and never a write.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_modbus::ExceptionCode;
use tokio_modbus::prelude::ReadCode;

use super::ranges::{Answer, Ask};
use super::{Progress, Watch};
use crate::address::Table;
use crate::link::{Failure, Link, Unreachable};
use crate::planner::Extent;
use crate::settings::Checked;

/// The first pause before a busy device is asked again; it doubles.
const BUSY: Duration = Duration::from_millis(100);
/// How often a busy device is asked again.
const BUSY_TRIES: u32 = 5;

/// The device cannot be reached at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "the device cannot be reached: {0}; see that address and port are right, that the device runs, and that no other \
     master has its only connection"
)]
pub struct Lost(Unreachable);

impl Lost {
    /// The paragraph of the runbook that is about it.
    #[must_use]
    pub fn see(&self) -> &'static str {
        self.0.see()
    }
}

/// Objects of a device identification, and which one follows.
pub(super) type Part = (Vec<(u8, Vec<u8>)>, Option<u8>);

/// A link, and what is known of its answers.
pub(super) struct Asker<'a> {
    link: Link,
    retries: u8,
    watch: &'a dyn Watch,
    pub(super) progress: Progress,
    /// The addresses that are being looked at, and how many were before.
    window: Option<(Extent, u64)>,
    /// How long answers of the unit that is being looked at took.
    pub(super) times: Vec<Duration>,
}

impl<'a> Asker<'a> {
    pub(super) fn new(settings: &Checked, watch: &'a dyn Watch) -> Self {
        Self {
            link: Link::new(settings),
            retries: settings.retries,
            watch,
            progress: Progress::default(),
            window: None,
            times: Vec::new(),
        }
    }

    /// Reads. What is no answer is asked again as often as the settings say, on a new connection.
    pub(super) async fn read(&mut self, unit: u8, table: Table, extent: Extent) -> Result<Answer, Lost> {
        self.progress.unit = unit;
        self.progress.table = table.name();
        self.progress.at = extent.start;
        if let Some((window, before)) = self.window {
            self.progress.done = before + u64::from(extent.start.saturating_sub(window.start));
        }
        let mut busy = 0;
        let mut failed = 0;
        loop {
            self.open().await?;
            let asked = Instant::now();
            let answer = self.link.read(unit, table, extent).await;
            self.note(asked, &answer);
            match answer {
                Ok(words) => return Ok(Answer::Words(words)),
                Err(
                    silence @ Failure::Exception(
                        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice,
                    ),
                ) => return Ok(Answer::Silence(silence)),
                Err(Failure::Exception(ExceptionCode::ServerDeviceBusy | ExceptionCode::Acknowledge))
                    if busy < BUSY_TRIES =>
                {
                    sleep(BUSY * 2_u32.pow(busy)).await;
                    busy += 1;
                }
                Err(Failure::Exception(code)) => return Ok(Answer::Exception(code)),
                Err(failure) => {
                    // A connection that the device closed, and an answer that cannot be trusted, may be of another making
                    // than this question.
                    let patience = match failure {
                        Failure::Timeout(_) => self.retries,
                        _ => self.retries.max(1),
                    };
                    if failed >= patience {
                        return Ok(Answer::Silence(failure));
                    }
                    failed += 1;
                }
            }
        }
    }

    /// Reads a part of the device identification; an error is the reason why there is none.
    pub(super) async fn identify(
        &mut self,
        unit: u8,
        code: ReadCode,
        object: u8,
    ) -> Result<Result<Part, Failure>, Lost> {
        self.open().await?;
        let asked = Instant::now();
        let answer = self.link.identify(unit, code, object).await;
        self.note(asked, &answer);
        Ok(answer.map(|part| {
            let next = part.more_follows.then_some(part.next_object_id);
            let objects = part.device_id_objects.into_iter();
            (
                objects.map(|object| (object.id, object.value.to_vec())).collect(),
                next,
            )
        }))
    }

    /// Asks once on a second connection, and then on the first, for what was answered before; or says what there was instead of an answer.
    pub(super) async fn ask_on_two(&mut self, unit: u8, table: Table) -> Result<Result<(), String>, Lost> {
        self.open().await?;
        let mut second = self.link.another();
        if let Err(unreachable) = second.open().await {
            return Ok(Err(unreachable.to_string()));
        }
        let first_place = Extent { start: 0, len: 1 };
        let mut said = Ok(());
        for (link, which) in [(&mut second, ""), (&mut self.link, "the first one: ")] {
            let answer = link.read(unit, table, first_place).await;
            link.wait_ready().await;
            self.progress.requests += 1;
            self.watch.asked(&self.progress);
            if let Err(failure) = answer
                && !matches!(failure, Failure::Exception(_))
            {
                said = Err(format!("{which}{failure}"));
                break;
            }
        }
        second.close().await;
        Ok(said)
    }

    /// A window of addresses is looked at from here on.
    pub(super) fn enter(&mut self, window: Extent) {
        self.window = Some((window, self.progress.done));
    }

    /// All of it was.
    pub(super) fn leave(&mut self) {
        if let Some((window, before)) = self.window.take() {
            self.progress.done = before + u64::from(window.len);
        }
    }

    pub(super) async fn close(&mut self) {
        self.link.close().await;
    }

    /// Connects where that is to be done, and waits for the pause.
    async fn open(&mut self) -> Result<(), Lost> {
        if !self.link.is_open() {
            self.link.open().await.map_err(Lost)?;
        }
        // Here, so that the pause is no part of the response time.
        self.link.wait_ready().await;
        Ok(())
    }

    fn note<T>(&mut self, asked: Instant, answer: &Result<T, Failure>) {
        self.progress.requests += 1;
        if matches!(answer, Ok(_) | Err(Failure::Exception(_))) {
            self.times.push(asked.elapsed());
        }
        self.watch.asked(&self.progress);
    }
}

/// A table of a unit, and a question that the unit has answered.
pub(super) struct Question<'a, 'w> {
    pub(super) asker: &'a mut Asker<'w>,
    pub(super) unit: u8,
    pub(super) table: Table,
    pub(super) known: Table,
}

impl Ask for Question<'_, '_> {
    async fn ask(&mut self, extent: Extent) -> Result<Answer, Lost> {
        self.asker.read(self.unit, self.table, extent).await
    }

    async fn is_there(&mut self) -> Result<bool, Lost> {
        let first = Extent { start: 0, len: 1 };
        let answer = self.asker.read(self.unit, self.known, first).await?;
        Ok(!matches!(answer, Answer::Silence(_)))
    }
}
