//! Locks whose owner has ended.

use super::lock_detectors::{LockLook, Seen, left_behind};
use crate::model::{FindingKind, Owner};

pub(super) const RULE: &str = "A thread waits for a lock that records an owner which is no thread of the process any more, and has waited without a \
     turn on a CPU over two readings, a second apart or more. Who held it ended without giving it up; nobody else will.";

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    left_behind(
        look,
        (FindingKind::AbandonedLock, RULE),
        |lock| match lock.owner {
            Ok(Owner::Ended { own_tid }) => Some(own_tid),
            _ => None,
        },
        |own_tid| format!("which thread {own_tid} held when it ended"),
    )
}
