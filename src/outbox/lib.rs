//! The durable outbox: events wait here, in order, from the moment they are derived until a broker has them, together with the
//! state that they were derived from.
//!
//! # Files
//! One `SQLite` database in WAL mode (`outbox.db`, beside it `-wal` and `-shm` while it is open), a lock file (`outbox.db.lock`)
//! that one process holds and that says that there is a store and how far it has come, and a reserve (`outbox.db.reserve`, empty space that is given away when the disk is full; it may be deleted). `application_id` is [`APPLICATION_ID`], `user_version` is [`FORMAT_VERSION`]. An operator reads it with
//! `sqlite3 -readonly outbox.db 'SELECT * FROM outbox LIMIT 10'` while the gateway runs; a long read keeps the write-ahead log from
//! being reset, so that it grows.
//!
//! # Tables
//! | table | row |
//! |---|---|
//! | `meta` | `store_id` (made once), `incarnation` (rises at every open), `salvage` (what became of a damaged store, until it is told) |
//! | `topic` | a topic's name and its pinned number of partitions; NULL until a broker told, and while another count is to be pinned |
//! | `lane` | (topic, partition): last sequence given out, last one acknowledged and its offset, the epoch and where it began; partition NULL: waits for the count |
//! | `event` | one event; its `position` is lane · 2⁴⁴ + sequence |
//! | `dead_letter` | an event that Kafka refuses for good; a stub is in its place in `event` |
//! | `shared` | header lines that many events share: they are the same for each stream and type |
//! | `cell` | a state cell as it was at some commit; the journal tells what changed since |
//! | `journal` | the cells that one commit changed |
//! | `outbox` | a view: every event with topic, partition, epoch, sequence on the log (none for what earlier epochs delivered) and whether it is delivered |
//!
//! # Invariants
//! 1. Events, changed cells and acknowledgements of a [`Commit`] are one transaction, synced to the disk when [`Store::commit`] returns.
//!    A failed commit has left nothing behind, in the file and in memory, and its events still belong to the caller.
//! 2. The sequences of a lane are contiguous from 1. In the file are those from some first one to `last_sequence`, without a hole.
//! 3. `sequence ≤ acknowledged_sequence` means delivered; no event row is touched for it. Rows above the watermark are never deleted, and
//!    neither is the row *at* it: reconciliation looks for that record on the log by its id.
//! 4. `cell` with all of `journal` applied in order is the state as of the last commit. Journal rows are deleted from the oldest on, and
//!    only up to a commit at which all cells that they name have been written to `cell`.
//! 5. A new epoch ([`Store::renew`]) moves no event: the lane remembers after which sequence it began, its base. A record's sequence on the log is the
//!    event's less the base.
//! 6. While a topic's partition count is unknown its events wait in the lane without partition. After [`Store::pin_topic`] they are
//!    moved from there in order, and until that lane is empty new events queue behind them. An event with a partition of its own choice
//!    ([`Event::partition`]) never waits there. A count is pinned only when nothing is undelivered that has a partition by an earlier one
//!    ([`Store::unpin_topic`]): a lane of the topic that has a partition holds nothing then that the log does not have.
//! 7. Only snapshot and pruning steps are committed without a sync of their own. They are repeatable, nothing depends on them, and the log keeps the order: a
//!    power cut can undo them but not what came before. Everything that gives out a sequence is synced before it is visible.
//!
//! # Recovery order
//! 1. Take the lock; refuse when another process has it ([`Error::Locked`]).
//! 2. Open the database; `SQLite` replays the write-ahead log up to its last whole transaction. Check header, application id, format version and tables.
//!    What is no store is left alone, unless the lock file says that there was one: then it is a damaged one. So is one that has not come as
//!    far as the lock file says: a wrong bit in the log hides all that is behind it. Nothing was written until here.
//! 3. Raise the incarnation, synced.
//! 4. Read topics and lanes, look for the events at which the lanes go on, then read `cell`, then apply `journal`.
//! 5. A move of waiting events that was interrupted is visible as a pinned topic whose waiting lane is not empty ([`Store::moving`]), a change of
//!    the partition count as a topic without one: its lanes are delivered, then the count that a broker tells is pinned.
//!
//! None of it is proportional to the number of stored events. A store that turns out to be damaged is moved aside, at once or, where that
//! shows only later, at the next start, and a new one has what can be read of it ([`Store::open_or_salvage`]).
//!
//! # Incarnation
//! The incarnation is the larger of "one more than the stored" and the wall clock's milliseconds since 1970. A counter alone would
//! give a store restored from a backup, or a clone, a number that has been used before; ids built from it would then name two events.

mod catalog;
mod cells;
mod checkpoint;
mod dead_letter;
mod error;
mod event;
mod first_page;
mod inspect;
mod maintenance;
mod murmur2;
mod placement;
mod reached;
mod reader;
mod remains;
mod renewal;
mod reserve;
mod restore;
mod salvage;
mod schema;
mod shared;
mod store;

pub use catalog::{Lane, Topic};
pub use checkpoint::Checkpointer;
pub use dead_letter::{Burial, DeadLetter};
pub use error::Error;
pub use event::{Acknowledged, Cell, Commit, Committed, Event, LaneId, Row};
pub use inspect::{LaneState, Selection, StoredEvent};
pub use maintenance::{Progress, Stats};
pub use murmur2::{murmur2, partition_of};
pub use placement::Moved;
pub use reached::Lock;
pub use reader::Reader;
pub use renewal::Renewal;
pub use restore::Restored;
pub use salvage::Salvage;
pub use schema::{APPLICATION_ID, FORMAT_VERSION};
pub use store::{Options, Store, log_of};
