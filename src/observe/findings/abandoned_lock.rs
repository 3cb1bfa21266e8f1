//! Locks whose owner has ended.

use super::lock_detectors::{LockLook, Seen, common_stack, place};
use super::{Sighting, fact, threads};
use crate::model::{FindingKind, Nanos, Owner, Severity};

pub(super) const RULE: &str = "A thread waits for a lock that records an owner which is no thread of the process any more, and has waited without a \
     turn on a CPU over two readings, a second apart or more. Who held it ended without giving it up; nobody else will.";

pub(super) const LEAST: Nanos = Nanos(1_000_000_000);

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    let mut seen = Seen::default();
    for (at, lock) in look.report.locks.iter().enumerate() {
        let Ok(Owner::Ended { own_tid }) = lock.owner else {
            continue;
        };
        let Some(stood) = seen.longest_stood(look, &lock.waiters, LEAST) else {
            continue;
        };
        seen.sightings.push(Sighting {
            kind: FindingKind::AbandonedLock,
            severity: Severity::Critical,
            subject: lock.address,
            summary: format!(
                "{} wait for {}, which thread {own_tid} held when it ended",
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
