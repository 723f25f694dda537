//! The two state machines that a line follows, as numbers on the wire and as the transitions that the standards allow.

/// State of a machine by `PackML` (OPC 30050, ISA-TR88.00.02), with the number it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are the standard's own and say all there is to say"
)]
pub enum PackState {
    Clearing = 1,
    Stopped = 2,
    Starting = 3,
    Idle = 4,
    Suspended = 5,
    Execute = 6,
    Stopping = 7,
    Aborting = 8,
    Aborted = 9,
    Holding = 10,
    Held = 11,
    Unholding = 12,
    Suspending = 13,
    Unsuspending = 14,
    Resetting = 15,
    Completing = 16,
    Complete = 17,
}

impl PackState {
    /// Every state, in the order of the numbers.
    pub const ALL: [Self; 17] = [
        Self::Clearing,
        Self::Stopped,
        Self::Starting,
        Self::Idle,
        Self::Suspended,
        Self::Execute,
        Self::Stopping,
        Self::Aborting,
        Self::Aborted,
        Self::Holding,
        Self::Held,
        Self::Unholding,
        Self::Suspending,
        Self::Unsuspending,
        Self::Resetting,
        Self::Completing,
        Self::Complete,
    ];

    /// The number of the state on the wire, 1 to 17.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state with this number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|state| i32::from(state.code()) == code)
    }

    /// Whether the standard's state diagram has an arrow from here to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use PackState::{
            Aborted, Aborting, Clearing, Complete, Completing, Execute, Held, Holding, Idle, Resetting,
            Starting, Stopped, Stopping, Suspended, Suspending, Unholding, Unsuspending,
        };
        match next {
            Aborting => !matches!(self, Aborting | Aborted),
            Stopping => !matches!(self, Stopping | Stopped | Aborting | Aborted | Clearing),
            Clearing => self == Aborted,
            Stopped => matches!(self, Stopping | Clearing),
            Resetting => matches!(self, Stopped | Complete),
            Idle => self == Resetting,
            Starting => self == Idle,
            Execute => matches!(self, Starting | Unholding | Unsuspending),
            Holding | Suspending | Completing => self == Execute,
            Held => self == Holding,
            Unholding => self == Held,
            Suspended => self == Suspending,
            Unsuspending => self == Suspended,
            Complete => self == Completing,
            Aborted => self == Aborting,
        }
    }
}

/// State of a work order by ISA-95 Job Control (OPC 10031-4, version 2.0, Annex B.2), with the number it has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the names are the standard's own and say all there is to say"
)]
pub enum JobState {
    NotAllowedToStart = 1,
    AllowedToStart = 2,
    Running = 3,
    Interrupted = 4,
    Ended = 5,
    Aborted = 6,
}

impl JobState {
    /// Every state, in the order of the numbers.
    pub const ALL: [Self; 6] = [
        Self::NotAllowedToStart,
        Self::AllowedToStart,
        Self::Running,
        Self::Interrupted,
        Self::Ended,
        Self::Aborted,
    ];

    /// The number of the state on the wire, 1 to 6.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The state with this number, if there is one.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|state| i32::from(state.code()) == code)
    }

    /// Whether one and the same order may go from here to `next`.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        use JobState::{Aborted, AllowedToStart, Ended, Interrupted, NotAllowedToStart, Running};
        match (self, next) {
            (NotAllowedToStart, AllowedToStart)
            | (AllowedToStart, NotAllowedToStart | Running)
            | (Running, Interrupted | Ended)
            | (Interrupted, Running | Ended) => true,
            (from, Aborted) => !matches!(from, Ended | Aborted),
            _ => false,
        }
    }
}
