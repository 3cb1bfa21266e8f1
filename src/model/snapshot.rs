//! All that was read of one process at one tick; immutable; the unit that moves through the rooms.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Condition, Evidence, LedgerView, Nanos, ProcessKey, Role, Thread, ThreadDetails, ThreadState};

/// How many threads are in each state, indexed by [`ThreadState`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateCounts([u32; ThreadState::ALL.len()]);

impl StateCounts {
    pub fn of<'a>(threads: impl IntoIterator<Item = &'a Thread>) -> StateCounts {
        let mut counts = StateCounts::default();
        for thread in threads {
            counts.0[thread.state as usize] += 1;
        }
        counts
    }

    pub fn get(&self, state: ThreadState) -> u32 {
        self.0[state as usize]
    }
}

/// What reading this snapshot cost us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfCost {
    /// CPU time of the sampler thread for this pass.
    pub cpu: Nanos,
    pub wall: Nanos,
    /// How late the pass began against its grid line.
    pub lateness: Nanos,
}

/// One process at one tick.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub process: ProcessKey,
    pub role: Role,
    pub name: Arc<str>,
    pub condition: Condition,
    /// Grows by one with every snapshot the sampler makes, of any process.
    pub sequence: u64,
    /// `CLOCK_MONOTONIC`.
    pub taken_at: Nanos,
    pub wall_clock: SystemTime,
    /// Since the previous snapshot of this process; `SeenOnce` for the first.
    pub interval: Evidence<Nanos>,
    /// In tid order.
    pub threads: Vec<Thread>,
    pub counts: StateCounts,
    /// Most threads at one time since the watch began at `watched_since`.
    pub peak: u32,
    pub watched_since: Nanos,
    /// Threads seen to start since the watch began, those present at its start included. A lower
    /// bound unless `started_exact`: then the ledger counted them.
    pub started_total: u64,
    pub started_exact: bool,
    /// Threads seen to end since the watch began.
    pub ended_total: u64,
    /// Rows that could not be read in this pass' budget.
    pub truncated: bool,
    pub ledger: Evidence<Arc<LedgerView>>,
    pub cpu_ratio: Evidence<f64>,
    pub rss_bytes: Evidence<u64>,
    pub cost: SelfCost,
}

/// One thread, looked at alone.
#[derive(Clone, Debug)]
pub struct ThreadLook {
    /// Of its process, made lately.
    pub snapshot: Arc<Snapshot>,
    pub thread: Thread,
    pub details: ThreadDetails,
}
