//! The detectors that every second's snapshot is shown to, of one process.
//!
//! They run on the sampler's thread. A process that is read ten times a second is shown once a second:
//! no rule asks for more, and ten thousand rows are not free.

use super::Sighting;
use super::disk_sleep_pile_up::DiskSleepPileUp;
use super::memory_growth::MemoryGrowth;
use super::oversubscription::Oversubscription;
use super::stack_nearly_exhausted::{LimitOf, StackNearlyExhausted};
use super::starvation::Starvation;
use super::switch_storm::SwitchStorm;
use super::thread_leak::ThreadLeak;
use crate::kernel::{ProcRoot, limits};
use crate::model::{FindingKind, Nanos, Snapshot};
use crate::observe::findings::Board;

/// A little less than a second: ticks are not exact, and each second one must not fall out for that.
const PACE: Nanos = Nanos(900_000_000);

/// What these detectors answer for: a finding of one of these kinds that they no longer see is over.
const KINDS: [FindingKind; 7] = [
    FindingKind::ThreadLeak,
    FindingKind::Starvation,
    FindingKind::Oversubscription,
    FindingKind::StackNearlyExhausted,
    FindingKind::DiskSleepPileUp,
    FindingKind::SwitchStorm,
    FindingKind::MemoryGrowth,
];

pub(in crate::observe) struct SnapshotDetectors {
    thread_leak: ThreadLeak,
    starvation: Starvation,
    oversubscription: Oversubscription,
    stack: StackNearlyExhausted,
    disk_sleep: DiskSleepPileUp,
    switch_storm: SwitchStorm,
    memory_growth: MemoryGrowth,
    shown_at: Option<Nanos>,
}

impl SnapshotDetectors {
    pub fn new(root: &ProcRoot) -> SnapshotDetectors {
        let root = root.clone();
        SnapshotDetectors::with_limit(Box::new(move |pid| limits::stack_of(&root, pid)))
    }

    fn with_limit(limit_of: LimitOf) -> SnapshotDetectors {
        SnapshotDetectors {
            thread_leak: ThreadLeak::default(),
            starvation: Starvation::default(),
            oversubscription: Oversubscription::default(),
            stack: StackNearlyExhausted::new(limit_of),
            disk_sleep: DiskSleepPileUp::default(),
            switch_storm: SwitchStorm::default(),
            memory_growth: MemoryGrowth::default(),
            shown_at: None,
        }
    }

    /// Shows them a snapshot, and the board what they saw.
    pub fn show(&mut self, snapshot: &Snapshot, board: &Board) {
        if self
            .shown_at
            .is_some_and(|at| snapshot.taken_at.saturating_sub(at) < PACE)
        {
            return;
        }
        self.shown_at = Some(snapshot.taken_at);
        let seen = self.look(snapshot);
        board.update(
            snapshot.process,
            &snapshot.name,
            &KINDS,
            seen,
            snapshot.taken_at,
            snapshot.wall_clock,
        );
    }

    fn look(&mut self, snapshot: &Snapshot) -> Vec<Sighting> {
        [
            self.thread_leak.look(snapshot),
            self.starvation.look(snapshot),
            self.oversubscription.look(snapshot),
            self.stack.look(snapshot),
            self.disk_sleep.look(snapshot),
            self.switch_storm.look(snapshot),
            self.memory_growth.look(snapshot),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, process, running, snapshot, thread};
    use super::*;

    #[test]
    fn a_process_that_is_read_fast_is_shown_once_a_second() {
        let board = Board::default();
        let mut detectors = SnapshotDetectors::with_limit(Box::new(|_| None));
        // Starved for four seconds, read ten times a second.
        for tick in 0..=40 {
            detectors.show(&snapshot(tick * SECOND / 10, vec![running(5, 9), thread(6)]), &board);
        }
        let found = board.of(process());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, FindingKind::Starvation);
        // At 0, 0.9, 1.8, 2.7 and 3.6 seconds.
        assert_eq!(detectors.shown_at, Some(Nanos(36 * SECOND / 10)));
    }

    #[test]
    fn a_healthy_process_has_no_findings() {
        let board = Board::default();
        let mut detectors = SnapshotDetectors::with_limit(Box::new(|_| None));
        for second in 0..600 {
            let mut rows = vec![running(1, second * 10), running(2, second * 12)];
            rows.extend((3..60).map(thread));
            for row in &mut rows[..2] {
                row.cpu_ratio = Ok(0.8);
                row.run_delay_ratio = Ok(0.15);
                row.involuntary_switches = Ok(second * 90);
            }
            detectors.show(&snapshot(second * SECOND, rows), &board);
        }
        assert!(board.all().is_empty());
    }
}
