//! Tags that have no state.

/// What the values of a tag are that are no state of anything: each of them is something that happened, also one that is equal to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A field of something that happened, such as the order and the status of an event of job control. Fields of one are samples of one time.
    Event,
    /// A record of one of many conditions (OPC 10000-9): `condition` (its id), `active`, and where the source has them `name`, `source`, `type`,
    /// `acknowledged`, `acknowledgedAt`, `severity` (1 to 1000), `message` and `since` (when it became active). Or all that are to be known now, `{refresh: [record, …]}`.
    Condition,
}
