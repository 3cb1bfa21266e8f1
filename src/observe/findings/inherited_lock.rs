//! Locks that were held by another thread when the process was forked.

use super::lock_detectors::{LockLook, Seen, left_behind};
use crate::model::{FindingKind, LockPlace, Owner};

pub(super) const RULE: &str = "A thread waits for a lock in memory of its own process whose owner was never a thread of it, and has waited \
     without a turn on a CPU over two readings, a second apart or more. The lock was held by another thread when the process was \
     forked; that thread is not in the child. Locks made to be shared between processes are left out.";

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    left_behind(
        look,
        (FindingKind::InheritedLock, RULE),
        |lock| match lock.owner {
            Ok(Owner::Foreign { own_tid })
                if !lock.flags.contains(&"process_shared") && !matches!(lock.place, LockPlace::SharedMemory { .. }) =>
            {
                Some(own_tid)
            }
            _ => None,
        },
        |own_tid| format!("held by thread {own_tid} of the process that this one was forked from"),
    )
}
