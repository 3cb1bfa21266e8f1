//! What is wrong with a process: a detector per file, each with its rule in words.
//!
//! Two kinds of detectors. Those of `snapshot_detectors` are fed with every second's snapshot on the
//! sampler's thread and must be cheap. Those of `locks` need to know who waits for whom, which is dear:
//! `watcher`, a thread of its own, reads that of a process when threads in it have come to a stand, and
//! of a process that a client asks about. All of them only say what they see ([`Sighting`]); the [`Board`]
//! knows since when, takes down what no longer holds, and tells of changes.
//!
//! Detectors are pure: what they know is what they were fed with, and time is that of the reading. So a
//! test can hand them made snapshots. A finding is no alarm by itself: `notice` is worth knowing,
//! `warning` is worth a look, and `critical` will not go away by itself.

mod abandoned_lock;
mod blocked_behind;
mod board;
mod creation_sites;
mod deadlock;
mod disk_sleep_pile_up;
mod inherited_lock;
mod lock_detectors;
mod memory_growth;
mod names;
mod oversubscription;
mod same_place;
mod snapshot_detectors;
mod stack_nearly_exhausted;
mod starvation;
mod stillness;
mod switch_storm;
mod thread_leak;
mod trend;
mod watcher;

#[cfg(test)]
mod made;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use board::Board;
pub use board::FindingChange;
pub(super) use snapshot_detectors::SnapshotDetectors;
pub(super) use watcher::{Watcher, run as watch};

use crate::model::{FindingFact, FindingKind, Severity, Stack, Tid};

/// Culprits that a finding names; it counts them all.
const MOST_CULPRITS: usize = 64;

/// What a detector sees at one look.
#[derive(Clone, Debug)]
struct Sighting {
    kind: FindingKind,
    severity: Severity,
    /// Which of several findings of this kind in one process: the lowest tid of a deadlock, the address of a lock.
    subject: u64,
    /// Worst first; the board cuts it.
    culprits: Vec<Tid>,
    summary: String,
    evidence: Vec<FindingFact>,
    stack: Option<Arc<Stack>>,
    rule: &'static str,
}

fn fact(name: &'static str, value: f64, unit: &'static str) -> FindingFact {
    FindingFact { name, value, unit }
}

/// `1 thread`, `2 threads`.
fn threads(count: usize) -> String {
    if count == 1 {
        "1 thread".to_owned()
    } else {
        format!("{count} threads")
    }
}
