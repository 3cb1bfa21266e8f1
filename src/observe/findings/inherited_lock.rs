//! Locks that were held by another thread when the process was forked.

use super::lock_detectors::{LockLook, Seen, common_stack, place};
use super::{Sighting, fact, threads};
use crate::model::{FindingKind, LockPlace, Owner, Severity};

pub(super) const RULE: &str = "A thread waits for a lock in memory of its own process whose owner was never a thread of it, and has waited \
     without a turn on a CPU over two readings, a second apart or more. The lock was held by another thread when the process was \
     forked; that thread is not in the child. Locks made to be shared between processes are left out.";

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    let mut seen = Seen::default();
    for (at, lock) in look.report.locks.iter().enumerate() {
        let Ok(Owner::Foreign { own_tid }) = lock.owner else {
            continue;
        };
        if lock.flags.contains(&"process_shared") || matches!(lock.place, LockPlace::SharedMemory { .. }) {
            continue;
        }
        let Some(stood) = seen.longest_stood(look, &lock.waiters, super::abandoned_lock::LEAST) else {
            continue;
        };
        seen.sightings.push(Sighting {
            kind: FindingKind::InheritedLock,
            severity: Severity::Critical,
            subject: lock.address,
            summary: format!(
                "{} wait for {}, held by thread {own_tid} of the process that this one was forked from",
                threads(lock.waiters.len()),
                place(&look.report.locks, at),
            ),
            evidence: vec![
                fact("waiters", lock.waiters.len() as f64, "threads"),
                fact("without_a_turn_seconds", stood.seconds(), "seconds"),
            ],
            stack: common_stack(&look.report.dump, &lock.waiters),
            culprits: lock.waiters.clone(),
            rule: RULE,
        });
    }
    seen
}
