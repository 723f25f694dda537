//! The contract between adapters and the gateway. It knows no protocol.
//!
//! An [`Adapter`] turns configuration into [`Source`]s without opening anything ([`Adapter::plan`]); a
//! source then runs until it is told to stop, and hands what it receives to its [`Intake`].
//!
//! What a source promises (the conformance kit holds it to this):
//! - **Continuity.** Batches of a source arrive in the order the device produced them. Where a value may have
//!   been missed, a [`Notice::Gap`] comes *before* the first value after the hole, in the same batch or an earlier one.
//! - **Connection.** [`Notice::Online`] precedes the first sample after each connect and says whether anything can have
//!   been missed since the last one, which may have been that of an earlier process whose [`Bookmarks`] the source was given. If so, every tag
//!   that is read is sent again; if not, what changed meanwhile is sent in order, and then [`Notice::CaughtUp`]. [`Notice::Offline`] is sent once when
//!   the device is lost, with the reason in the device's or the system's own words.
//! - **Quality.** A tag that the device refuses is a sample with bad quality and no value, once per change of its
//!   status; the other tags flow on.
//! - **Isolation.** `run` does not return before it is told to stop: it reconnects for ever, with jittered back-off.
//!   Memory is bounded: when the intake is full, the source stops reading.
//! - **Acknowledgement.** Where the protocol can acknowledge, it does so when the batch's [`Receipt`] fires, which is
//!   after the batch's events and the new baseline are durable, never earlier.
//! - **Requests.** A [`Request`] is answered once, by a batch of its own with a sample of each tag that it names and nothing else: within the
//!   adapter's own time-out for a request, and at once as failed while the device is not connected. What is read for it is not told
//!   as a change. One that waits while the source ends need not be answered.

mod adapter;
mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
mod expiry;
mod given;
mod intake;
mod pauses;
mod request;
mod secret;
mod survey;
mod traffic;

pub use adapter::{
    Adapter, Finding, NamedFile, RunFuture, SnapshotSpec, Source, SourceContext, SourceSpec, TagSpec,
};
pub use batch::{Batch, Bookmark, Bookmarks, Receipt};
pub use expiry::{
    Expiry, LIST_URGENT_DAYS, LIST_WARN_DAYS, URGENT_DAYS, WARN_DAYS, Whose, days_left, signers, watch_expiry,
};
pub use given::{Given, GivenKind};
pub use intake::{Admission, Closed, Intake, intake};
pub use pauses::{Pauses, pauses};
pub use request::{Request, Requester, Requests, Unsent, requests};
pub use secret::{NoCredentials, SecretFile};
pub use survey::{Point, PointKind, Role, Scalar, Survey};
pub use traffic::Counted;

pub use floorgate_metrics::{
    Attempt, HEALTHY_SERVICE_LEVEL, RevisedTags, Setting, SourceMetrics, StationState, TagSettings, Traffic,
    server_state_name,
};
pub use floorgate_sample::{
    Answer, Continuity, GapScope, Happening, Notice, Quality, QualityClass, Reason, RequestId, Sample,
    SourceId, TagId, Timestamp, Value,
};
pub use floorgate_yaml::{Node, NodeKind, Problems, Span, Spanned, decode};
pub use tokio_util::sync::CancellationToken;
