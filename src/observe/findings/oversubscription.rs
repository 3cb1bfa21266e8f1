//! More threads that want to run than there are CPUs for them.

use std::sync::Arc;

use super::{Sighting, fact, threads};
use crate::model::{FindingKind, Nanos, Severity, Snapshot, Thread};

pub(super) const RULE: &str = "For 10 seconds or longer the threads of the process wanted twice as many CPUs as they are allowed (CPU time plus \
     run delay over the time between two looks), and spent half of that or more waiting for one. A warning when they \
     wanted eight times as many and waited for three quarters of the time.";

const LEAST: Nanos = Nanos(10_000_000_000);
const NOTICE: (f64, f64) = (2.0, 0.5);
const WARNING: (f64, f64) = (8.0, 0.75);
/// A thread that wants less than this of a CPU is none of those that are too many.
const WANTS: f64 = 0.2;

#[derive(Debug, Default)]
pub(super) struct Oversubscription {
    notice: Option<Nanos>,
    warning: Option<Nanos>,
}

impl Oversubscription {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let now = snapshot.taken_at;
        let (mut busy, mut delayed) = (0.0, 0.0);
        let mut cpus = Allowed::default();
        for thread in &snapshot.threads {
            busy += thread.cpu_ratio.unwrap_or(0.0);
            delayed += thread.run_delay_ratio.unwrap_or(0.0);
            if let Ok(list) = &thread.allowed_cpus {
                cpus.add(list);
            }
        }
        let wanted = busy + delayed;
        let share = if wanted > 0.0 { delayed / wanted } else { 0.0 };
        let too_many = wanted / f64::from(cpus.most.max(1));
        let over = |(many, waiting): (f64, f64)| cpus.most > 0 && too_many >= many && share >= waiting;
        held(&mut self.notice, over(NOTICE), now);
        held(&mut self.warning, over(WARNING), now);
        let long = |since: Option<Nanos>| since.is_some_and(|since| now.saturating_sub(since) >= LEAST);
        if !long(self.notice) {
            return None;
        }
        let wants = |thread: &Thread| thread.cpu_ratio.unwrap_or(0.0) + thread.run_delay_ratio.unwrap_or(0.0);
        let mut culprits: Vec<&Thread> = snapshot
            .threads
            .iter()
            .filter(|thread| wants(thread) >= WANTS)
            .collect();
        let delay = |thread: &Thread| thread.run_delay_ratio.unwrap_or(0.0);
        culprits.sort_by(|a, b| delay(b).total_cmp(&delay(a)).then(a.tid().cmp(&b.tid())));
        Some(Sighting {
            kind: FindingKind::Oversubscription,
            severity: if long(self.warning) {
                Severity::Warning
            } else {
                Severity::Notice
            },
            subject: 0,
            summary: format!(
                "{} want {wanted:.1} CPUs and may use {}; {:.0} % of that is waiting for one",
                threads(culprits.len()),
                cpus.most,
                share * 100.0,
            ),
            evidence: vec![
                fact("cpu_ratio", busy, "ratio"),
                fact("run_delay_ratio", delayed, "ratio"),
                fact("waiting_share", share, "ratio"),
                fact("allowed_cpus", f64::from(cpus.most), "count"),
            ],
            culprits: culprits.iter().map(|thread| thread.tid()).collect(),
            stack: None,
            rule: RULE,
        })
    }
}

/// Since when something has held.
pub(super) fn held(since: &mut Option<Nanos>, holds: bool, now: Nanos) {
    if !holds {
        *since = None;
    } else if since.is_none() {
        *since = Some(now);
    }
}

/// The largest set of CPUs that any thread may use. Rows share the text of their lists.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    last: Option<Arc<str>>,
    pub most: u32,
}

impl Allowed {
    pub fn add(&mut self, list: &Arc<str>) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, list)) {
            return;
        }
        self.last = Some(Arc::clone(list));
        self.most = self.most.max(count(list));
    }
}

/// How many CPUs a list like `0-3,8` names; 0 for one that can't be understood.
fn count(list: &str) -> u32 {
    let part = |part: &str| -> Option<u32> {
        match part.split_once('-') {
            Some((from, to)) => {
                let (from, to): (u32, u32) = (from.parse().ok()?, to.parse().ok()?);
                to.checked_sub(from)?.checked_add(1)
            }
            None => part.parse::<u32>().ok().map(|_| 1),
        }
    };
    list.split(',')
        .try_fold(0_u32, |sum, text| sum.checked_add(part(text.trim())?))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, running, snapshot};
    use super::*;
    use proptest::prelude::*;

    /// `count` threads on two CPUs, each with these shares, for some seconds.
    fn run(threads: u32, busy: f64, delayed: f64, seconds: u64) -> Option<Sighting> {
        let mut detector = Oversubscription::default();
        let mut last = None;
        for second in 0..=seconds {
            let rows = (1..=threads)
                .map(|tid| {
                    let mut row = running(tid, second);
                    row.cpu_ratio = Ok(busy);
                    row.run_delay_ratio = Ok(delayed);
                    row
                })
                .collect();
            last = detector.look(&snapshot(second * SECOND, rows));
        }
        last
    }

    #[test]
    fn many_threads_on_two_cpus_are_told_with_what_they_want() {
        let sighting = run(64, 2.0 / 64.0, 0.96, 10).unwrap();
        assert_eq!((sighting.severity, sighting.culprits.len()), (Severity::Warning, 64));
        assert!(
            sighting.summary.starts_with("64 threads want 63.4 CPUs and may use 2"),
            "{}",
            sighting.summary
        );
        assert_eq!(run(6, 0.3, 0.5, 12).unwrap().severity, Severity::Notice);
    }

    #[test]
    fn a_burst_two_busy_threads_and_a_machine_that_is_full_of_others_are_none() {
        assert!(run(64, 2.0 / 64.0, 0.96, 9).is_none());
        assert!(run(2, 1.0, 0.0, 30).is_none());
        // Two threads that others keep from the CPUs.
        assert!(run(2, 0.2, 0.8, 30).is_none());
        assert!(run(64, 0.0, 0.0, 30).is_none());
    }

    #[test]
    fn a_list_of_cpus_is_counted() {
        for (list, expected) in [
            ("0-1", 2),
            ("0", 1),
            ("0-3,8", 5),
            ("", 0),
            ("3-1", 0),
            ("x", 0),
            ("0-4294967295", 0),
        ] {
            assert_eq!(count(list), expected, "{list}");
        }
    }

    proptest! {
        #[test]
        fn any_list_is_counted_without_a_panic(list in "[0-9,\\- x]{0,40}") {
            count(&list);
        }
    }
}
