//! Threads that are started and do not end.

use std::collections::VecDeque;

use super::trend::Floor;
use super::{Sighting, fact, names, threads};
use crate::model::{FindingKind, Nanos, Severity, Snapshot, Thread};

pub(super) const RULE: &str = "The least number of threads of each 5 seconds never fell for 30 seconds or longer and grew in two spans \
     of three and lately, by 20 threads or more, while fewer than a quarter as many ended as were started. A warning \
     from 60 seconds on.";

const SPAN: Nanos = Nanos(5_000_000_000);
const NOTICE_STEPS: usize = 6;
const WARNING_STEPS: usize = 12;
const LEAST_GROWTH: u64 = 20;
/// As many spans as the floor keeps.
const MARKS: usize = 64;

#[derive(Debug)]
pub(super) struct ThreadLeak {
    count: Floor,
    /// Threads started and ended in all, at the beginning of each span.
    marks: VecDeque<(Nanos, u64, u64)>,
}

impl Default for ThreadLeak {
    fn default() -> ThreadLeak {
        ThreadLeak {
            count: Floor::new(SPAN),
            marks: VecDeque::new(),
        }
    }
}

impl ThreadLeak {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        // With rows left out the count is none.
        if snapshot.truncated {
            return None;
        }
        let now = snapshot.taken_at;
        self.count.push(now, snapshot.threads.len() as u64);
        if self.marks.back().is_none_or(|(at, ..)| now.saturating_sub(*at) >= SPAN) {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks
                .push_back((now, snapshot.started_total, snapshot.ended_total));
        }
        let rise = self.count.rise()?;
        if rise.steps < NOTICE_STEPS || rise.growth() < LEAST_GROWTH {
            return None;
        }
        let (_, started, ended) = self.marks.iter().find(|(at, ..)| *at >= rise.since)?;
        let started = snapshot.started_total.saturating_sub(*started);
        let ended = snapshot.ended_total.saturating_sub(*ended);
        if ended * 4 > started {
            return None;
        }
        let growth = rise.growth() as usize;
        let newest = newest(&snapshot.threads, growth);
        let summary = format!(
            "{} more in {:.0} s ({:.0} a minute), {} now, {} ended; the newest by name: {}",
            threads(growth),
            rise.seconds,
            rise.per_minute(),
            snapshot.threads.len(),
            ended,
            names::groups(newest.iter().map(|thread| &thread.name)),
        );
        Some(Sighting {
            kind: FindingKind::ThreadLeak,
            severity: if rise.steps >= WARNING_STEPS {
                Severity::Warning
            } else {
                Severity::Notice
            },
            subject: 0,
            culprits: newest.iter().map(|thread| thread.tid()).collect(),
            summary,
            evidence: vec![
                fact("threads", snapshot.threads.len() as f64, "threads"),
                fact("growth", growth as f64, "threads"),
                fact("growth_per_minute", rise.per_minute(), "threads"),
                fact("ended", ended as f64, "threads"),
                fact("window_seconds", rise.seconds, "seconds"),
            ],
            stack: None,
            rule: RULE,
        })
    }
}

/// So many of the threads that started last, newest first.
pub(super) fn newest(rows: &[Thread], count: usize) -> Vec<&Thread> {
    let mut rows: Vec<&Thread> = rows.iter().collect();
    let order = |row: &&Thread| (std::cmp::Reverse(row.key.start), std::cmp::Reverse(row.tid()));
    let count = count.min(rows.len());
    if count > 0 && count < rows.len() {
        rows.select_nth_unstable_by_key(count - 1, order);
    }
    rows.truncate(count);
    rows.sort_unstable_by_key(order);
    rows
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, snapshot, thread};
    use super::*;
    use crate::model::Tid;

    /// One snapshot a second with so many threads; `ended` of those started have ended.
    fn run(counts: impl IntoIterator<Item = usize>, ended_each: u64) -> Vec<Option<Sighting>> {
        let mut detector = ThreadLeak::default();
        let mut started = 0;
        counts
            .into_iter()
            .enumerate()
            .map(|(second, count)| {
                let mut made = snapshot(second as u64 * SECOND, (0..count as u32).map(thread).collect());
                started += 1 + ended_each;
                made.started_total = started;
                made.ended_total = ended_each * second as u64;
                detector.look(&made)
            })
            .collect()
    }

    #[test]
    fn a_thread_a_second_that_stays_is_a_leak() {
        let looks = run((0..90).map(|n| 10 + n), 0);
        let first = looks.iter().position(Option::is_some).unwrap();
        assert!((30..=45).contains(&first), "{first}");
        assert_eq!(looks[first].as_ref().unwrap().severity, Severity::Notice);
        let last = looks.last().unwrap().as_ref().unwrap();
        assert_eq!(last.severity, Severity::Warning);
        // The newest thread is the first to look at.
        assert_eq!(last.culprits[0], Tid(98));
        assert!(last.summary.contains("60 a minute"), "{}", last.summary);
        assert!(last.summary.contains("worker-#"), "{}", last.summary);
    }

    #[test]
    fn a_pool_that_fills_up_and_stays_is_none() {
        assert!(run((0..90).map(|n| 10 + n.min(12) * 8), 0).iter().all(Option::is_none));
    }

    #[test]
    fn a_steady_count_with_much_coming_and_going_is_none() {
        assert!(run((0..90).map(|n| 50 + n % 3), 9).iter().all(Option::is_none));
    }

    #[test]
    fn slow_growth_under_heavy_turnover_is_none() {
        // One more each second, but nine of ten threads end: a service under rising load.
        assert!(run((0..90).map(|n| 10 + n), 9).iter().all(Option::is_none));
    }

    #[test]
    fn the_newest_are_those_that_started_last() {
        let rows: Vec<Thread> = [5, 3, 9, 1].map(thread).into();
        let tids: Vec<u32> = newest(&rows, 2).iter().map(|row| row.tid().0).collect();
        assert_eq!(tids, [9, 5]);
        assert_eq!((newest(&rows, 9).len(), newest(&rows, 0).len()), (4, 0));
    }
}
