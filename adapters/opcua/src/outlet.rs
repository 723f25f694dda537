//! The way of a source's samples and notices into the gateway.

use floorgate_adapter_api::{
    Batch, Bookmark, CancellationToken, Continuity, Intake, Notice, Receipt, Sample, SourceContext,
    SourceMetrics, Timestamp,
};
use tokio::sync::watch;

use crate::reason::Reason;
use crate::snapshot::Reach;

/// Why a connection is not served any longer.
#[derive(Debug)]
pub enum Halt {
    /// The source is to stop.
    Stop,
    /// The connection, or the server's use of it, failed.
    Lost(Reason),
}

/// Where samples and notices go.
pub struct Outlet {
    /// Cancelled when the source is to stop.
    pub stop: CancellationToken,
    /// The source's metrics.
    pub metrics: SourceMetrics,
    /// Told whether the server can be asked for something, after the gateway is told that it is there and before it is told that it is lost.
    pub reach: watch::Sender<Reach>,
    intake: Intake,
    /// Whether the gateway has been told that the source is lost, and nothing since.
    offline: bool,
}

impl Outlet {
    /// The way of a source that is not connected yet.
    pub fn new(context: SourceContext, reach: watch::Sender<Reach>) -> Self {
        Self {
            stop: context.stop,
            metrics: context.metrics,
            reach,
            intake: context.intake,
            offline: false,
        }
    }

    /// Hands samples on, waiting while the gateway has no room.
    pub async fn samples(&self, samples: Vec<Sample>) -> Result<(), Halt> {
        self.message(samples, Vec::new(), None).await
    }

    /// Hands the last samples of a message on, with what is to be stored of it and what is done then.
    pub async fn message(
        &self,
        samples: Vec<Sample>,
        bookmarks: Vec<Bookmark>,
        receipt: impl Into<Option<Receipt>>,
    ) -> Result<(), Halt> {
        self.send(Batch {
            samples,
            bookmarks,
            receipt: receipt.into(),
            ..self.batch()
        })
        .await
    }

    /// Hands on samples with what is to be said of them.
    pub async fn with_notice(&self, notice: Notice, samples: Vec<Sample>) -> Result<(), Halt> {
        self.send(Batch {
            notices: vec![notice],
            samples,
            ..self.batch()
        })
        .await
    }

    /// Says that changes may have been missed.
    pub async fn gap(&self, notice: Notice) -> Result<(), Halt> {
        self.metrics.gaps.inc();
        self.notice(notice).await
    }

    /// Hands on a notice.
    pub async fn notice(&self, notice: Notice) -> Result<(), Halt> {
        self.tell(notice, Vec::new(), None).await
    }

    /// Says that the source is connected.
    pub async fn online(&mut self, continuity: Continuity, reach: Reach) -> Result<(), Halt> {
        self.notice(Notice::Online(continuity)).await?;
        self.metrics.attempt(None, None);
        self.offline = false;
        self.reach.send_replace(reach);
        Ok(())
    }

    /// Hands on a notice with what is to be stored with it.
    pub async fn tell(
        &self,
        notice: impl Into<Option<Notice>>,
        bookmarks: Vec<Bookmark>,
        receipt: Option<Receipt>,
    ) -> Result<(), Halt> {
        self.send(Batch {
            notices: notice.into().into_iter().collect(),
            bookmarks,
            receipt,
            ..self.batch()
        })
        .await
    }

    /// Says that the source is lost, once for each loss; what else keeps it away then is shown beside the next attempt.
    pub async fn offline(&mut self, reason: Reason) -> Result<(), Halt> {
        self.metrics.up.set(0);
        self.reach.send_replace(Reach::Away(reason.told.clone()));
        if self.offline {
            self.metrics.failed(reason.words());
            return Ok(());
        }
        let reason = reason.into();
        self.notice(Notice::Offline { reason }).await?;
        self.offline = true;
        Ok(())
    }

    fn batch(&self) -> Batch {
        Batch {
            source: self.intake.source(),
            received: Timestamp::now(),
            notices: Vec::new(),
            samples: Vec::new(),
            bookmarks: Vec::new(),
            answer: None,
            receipt: None,
        }
    }

    async fn send(&self, batch: Batch) -> Result<(), Halt> {
        let count = batch.samples.len() as u64;
        // A gateway that takes nothing any more is about to stop the source; both end it.
        tokio::select! {
            biased;
            sent = self.intake.send(batch) => sent.map_err(|_| Halt::Stop)?,
            () = self.stop.cancelled() => return Err(Halt::Stop),
        }
        self.metrics.samples.inc_by(count);
        Ok(())
    }
}
