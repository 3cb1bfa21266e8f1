//! Threads in uninterruptible sleep: a disk, a network file system or a driver that does not answer.

use super::oversubscription::held;
use super::stillness::Stillness;
use super::{Sighting, fact, names, threads};
use crate::model::{FindingKind, Nanos, Severity, Snapshot, Thread, ThreadState};

pub(super) const RULE: &str = "Four threads or more in uninterruptible sleep (state D) had no turn on a CPU for 5 seconds or longer: a warning; \
     critical after 30 seconds. A notice when eight or more were in that state at every look for 10 seconds, but moved.";

const STUCK: usize = 4;
const STUCK_FOR: Nanos = Nanos(5_000_000_000);
const CRITICAL_FOR: Nanos = Nanos(30_000_000_000);
const MANY: usize = 8;
const MANY_FOR: Nanos = Nanos(10_000_000_000);

#[derive(Debug, Default)]
pub(super) struct DiskSleepPileUp {
    asleep: Stillness,
    many_since: Option<Nanos>,
}

impl DiskSleepPileUp {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let now = snapshot.taken_at;
        let rows: Vec<&Thread> = if snapshot.counts.get(ThreadState::DiskSleep) == 0 {
            Vec::new()
        } else {
            let asleep = |thread: &&Thread| thread.state == ThreadState::DiskSleep;
            snapshot.threads.iter().filter(asleep).collect()
        };
        let known = rows.iter().filter_map(|row| Some((row.key, row.timeslices.ok()?)));
        self.asleep.look(known, now);
        held(&mut self.many_since, rows.len() >= MANY, now);

        let stood = |row: &&Thread| self.asleep.stood(row.tid(), now);
        let mut stuck: Vec<&Thread> = rows.iter().copied().filter(|row| stood(row) >= STUCK_FOR).collect();
        let many = self
            .many_since
            .is_some_and(|since| now.saturating_sub(since) >= MANY_FOR);
        let (severity, mut culprits) = if stuck.len() >= STUCK {
            let long = stuck.iter().filter(|row| stood(row) >= CRITICAL_FOR).count();
            let severity = if long >= STUCK {
                Severity::Critical
            } else {
                Severity::Warning
            };
            (severity, std::mem::take(&mut stuck))
        } else if many {
            (Severity::Notice, rows.clone())
        } else {
            return None;
        };
        culprits.sort_by_key(|row| (std::cmp::Reverse(stood(row)), row.tid()));
        let longest = culprits.first().map_or(Nanos(0), stood);
        let function = |row: &&Thread| {
            let wait = row.wait.as_ref().ok()?;
            wait.kernel_function.as_deref().ok().map(str::to_owned)
        };
        let mut functions = std::collections::HashMap::new();
        for name in culprits.iter().filter_map(function) {
            *functions.entry(name).or_insert(0) += 1;
        }
        let place = if functions.is_empty() {
            String::new()
        } else {
            format!("; in the kernel at: {}", names::tally(functions))
        };
        Some(Sighting {
            kind: FindingKind::DiskSleepPileUp,
            severity,
            subject: 0,
            summary: format!(
                "{} in uninterruptible sleep, the longest for {:.0} s without a turn{place}",
                threads(culprits.len()),
                longest.seconds(),
            ),
            evidence: vec![
                fact("disk_sleep", rows.len() as f64, "threads"),
                fact("without_a_turn_seconds", longest.seconds(), "seconds"),
            ],
            culprits: culprits.iter().map(|row| row.tid()).collect(),
            stack: None,
            rule: RULE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, snapshot, thread};
    use super::*;
    use crate::model::WaitKind;

    fn asleep(tid: u32, turns: u64) -> Thread {
        let mut row = thread(tid);
        row.state = ThreadState::DiskSleep;
        row.timeslices = Ok(turns);
        if let Ok(wait) = &mut row.wait {
            wait.kind = WaitKind::Io;
            wait.kernel_function = Ok("io_schedule".into());
        }
        row
    }

    fn run(count: u32, moves: bool, seconds: u64) -> Option<Sighting> {
        let mut detector = DiskSleepPileUp::default();
        let mut last = None;
        for second in 0..=seconds {
            let mut rows: Vec<Thread> = (1..=count)
                .map(|tid| asleep(tid, if moves { second } else { 1 }))
                .collect();
            rows.push(thread(99));
            last = detector.look(&snapshot(second * SECOND, rows));
        }
        last
    }

    #[test]
    fn four_that_do_not_move_are_a_pile_up() {
        assert!(run(4, false, 4).is_none());
        let told = run(4, false, 5).unwrap();
        assert_eq!((told.severity, told.culprits.len()), (Severity::Warning, 4));
        assert!(told.summary.contains("4 io_schedule"), "{}", told.summary);
        assert_eq!(run(4, false, 30).unwrap().severity, Severity::Critical);
    }

    #[test]
    fn a_few_or_a_busy_disk_are_none_and_many_are_worth_a_notice() {
        assert!(run(3, false, 60).is_none());
        assert!(run(7, true, 60).is_none());
        assert_eq!(run(8, true, 10).unwrap().severity, Severity::Notice);
    }
}
