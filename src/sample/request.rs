//! Requests to sources, as far as the core needs to know them.

/// Number of a request that a source is asked to fulfil. Whoever asks gives it, never twice while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// How a request to a source ended. The samples that it was about come beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request.
    pub request: RequestId,
    /// Whether the tags were read. If so, there is a sample for each of them, with bad quality where the device refuses the
    /// tag alone; if not, there is none, and this is the reason in the device's or the system's own words.
    pub result: Result<(), String>,
}
