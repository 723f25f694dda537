//! The kit of promises that every adapter is held to.
//!
//! An adapter's tests implement [`Rig`] for a peer of its protocol and then ask for one test per promise:
//!
//! ```text
//! mod conformance {
//!     floorgate_adapter_api::conformance_tests!(super::PlcRig::new().await);
//! }
//! ```
//!
//! Every test gets a rig of its own, so that they may run side by side. A broken promise panics with the
//! promise's name and with everything that was received until then.
//!
//! [`Planned`] and [`Running`] serve an adapter's own tests as well: they run a source as the gateway would, and
//! wait for what is to arrive.
//!
//! The kit is behind the feature `conformance`, which an adapter turns on in its `[dev-dependencies]` only.

// A failed expectation is the kit's way to report: every function here may panic.
#![allow(clippy::missing_panics_doc)]

mod figures;
mod harness;
mod memory;
mod promises;
mod quality;
mod remains;
mod requests;
mod seeds;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use crate::{Adapter, QualityClass, Value};

pub use figures::the_runbooks_figures_hold;
pub use harness::{AMPLE, Answered, Demands, Planned, Running, Seen, plan, plan_demands};
pub use memory::memory_is_bounded;
pub use promises::{
    back_pressure_stops_reading, changes_arrive_in_order, keys_of_a_tag_are_in_the_schema,
    mistakes_are_placed, online_comes_before_initial_values, receipts_may_be_dropped,
    refused_tag_is_bad_alone, returns_after_a_loss_with_the_hole_marked, runs_again_after_it_ended,
    stops_within_two_seconds, tells_a_loss_once_with_a_reason, waits_for_a_peer_that_is_not_there_yet,
};
pub use quality::{a_spoilt_tag_is_never_good_and_spoils_no_other, what_is_good_again_is_told};
pub use remains::{no_connection_is_left_behind, nothing_runs_on_after_its_end, times_are_the_devices};
pub use requests::{
    a_request_is_answered_once_with_all_its_tags, a_request_while_the_peer_is_away_fails,
    a_tag_on_demand_is_read_only_when_asked_for,
};
pub use seeds::with_seeds;

/// A peer that the adapter under test is pointed at, and how the adapter is told to reach it.
///
/// The peer has at least [`Rig::TAGS`] integer tags that the rig can set, and that one request can read together. Time-outs and back-off in the settings
/// should be short (tens of milliseconds), or the tests take long.
pub trait Rig: Send {
    /// How many tags the peer has; at least 2.
    const TAGS: usize = 3;

    /// Most values of a tag that come of what the adapter held while the gateway took none, at most 50: of the batch that fills the intake, the one that
    /// waits for room, and what is read next; more where the peer is asked for several things at once.
    const HELD: usize = 3;

    /// The adapter under test.
    fn adapter(&self) -> Box<dyn Adapter>;

    /// A source's settings as YAML, without `adapter`. Always the same for one rig, also after the peer was
    /// stopped and started: it keeps its port.
    fn settings(&self) -> String;

    /// The address of the tag with this number as YAML.
    fn address(&self, tag: usize) -> String;

    /// The address of a tag that is well-formed and that the peer refuses, as YAML.
    fn refused_address(&self) -> String;

    /// How the adapter shows the number `value` of the tag with this number.
    fn shown(&self, tag: usize, value: i16) -> Value;

    /// Starts the peer; it returns when the peer can be connected to. Tags hold what was last set, or 0.
    fn start(&mut self) -> impl Future<Output = ()> + Send;

    /// Stops the peer as a fault would: connections break and new ones are refused.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;

    /// Sets a tag. While the peer is stopped the value is kept for the next start.
    fn set(&mut self, tag: usize, value: i16) -> impl Future<Output = ()> + Send;

    /// In which ways the peer can say that it does not vouch for a value. The rig's settings have what was refused tried again soon.
    const SPOILT: &'static [QualityClass];

    /// Has the peer say so of a tag, until that is set again.
    fn spoil(&mut self, tag: usize, class: QualityClass) -> impl Future<Output = ()> + Send;

    /// The connections that the peer has now, or the sessions where a protocol has them, as the peer counts them. `None` where the protocol
    /// has neither.
    fn connections(&self) -> Option<usize>;

    /// The folder for the adapter's own files and for relative paths in the settings.
    fn folder(&self) -> PathBuf {
        std::env::temp_dir()
    }

    /// How long the kit waits for something that must happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }
}

/// One test for each promise, each with a rig of its own. The argument is an expression that makes a [`Rig`] and
/// may await; the calling crate needs `tokio` with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance_tests {
    ($rig:expr) => {
        $crate::conformance_tests! { @each $rig =>
            mistakes_are_placed,
            keys_of_a_tag_are_in_the_schema,
            online_comes_before_initial_values,
            changes_arrive_in_order,
            tells_a_loss_once_with_a_reason,
            returns_after_a_loss_with_the_hole_marked,
            waits_for_a_peer_that_is_not_there_yet,
            refused_tag_is_bad_alone,
            back_pressure_stops_reading,
            memory_is_bounded,
            receipts_may_be_dropped,
            runs_again_after_it_ended,
            stops_within_two_seconds,
            times_are_the_devices,
            nothing_runs_on_after_its_end,
            no_connection_is_left_behind,
            a_spoilt_tag_is_never_good_and_spoils_no_other,
            what_is_good_again_is_told,
            a_request_is_answered_once_with_all_its_tags,
            a_request_while_the_peer_is_away_fails,
            a_tag_on_demand_is_read_only_when_asked_for,
        }
    };
    (@each $rig:expr => $($promise:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::conformance::$promise(&mut $rig).await;
            }
        )+
    };
}
