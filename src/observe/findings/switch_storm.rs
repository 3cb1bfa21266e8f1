//! Threads that are taken off their CPUs all the time.

use super::oversubscription::{Allowed, held};
use super::{Sighting, fact, names, threads};
use crate::model::{FindingKind, Nanos, Severity, Snapshot, Thread, ThreadKey};

pub(super) const RULE: &str = "For 5 seconds or longer the threads of the process were taken off a CPU against their will (sched_yield counts as \
     that) more than 2000 times a second for each CPU they may use. A warning from 10000 on.";

const LEAST: Nanos = Nanos(5_000_000_000);
const NOTICE: f64 = 2000.0;
const WARNING: f64 = 10_000.0;
/// A thread with fewer is not part of the storm.
const LEAST_A_SECOND: f64 = 100.0;

#[derive(Debug, Default)]
pub(super) struct SwitchStorm {
    /// In tid order.
    before: Vec<(ThreadKey, u64)>,
    looked_at: Option<Nanos>,
    notice: Option<Nanos>,
    warning: Option<Nanos>,
}

impl SwitchStorm {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let now = snapshot.taken_at;
        let seconds = self
            .looked_at
            .replace(now)
            .map_or(0.0, |at| now.saturating_sub(at).seconds());
        let mut before = std::mem::take(&mut self.before).into_iter().peekable();
        self.before.reserve(snapshot.threads.len());
        let mut switched: Vec<(&Thread, f64)> = Vec::new();
        let mut all = 0.0;
        let mut cpus = Allowed::default();
        for thread in &snapshot.threads {
            if let Ok(list) = &thread.allowed_cpus {
                cpus.add(list);
            }
            let Ok(count) = thread.involuntary_switches else {
                continue;
            };
            self.before.push((thread.key, count));
            while before.next_if(|(key, _)| key.tid < thread.tid()).is_some() {}
            let Some((key, was)) = before.next_if(|(key, _)| key.tid == thread.tid()) else {
                continue;
            };
            if key != thread.key || count <= was || seconds <= 0.0 {
                continue;
            }
            let rate = (count - was) as f64 / seconds;
            all += rate;
            if rate >= LEAST_A_SECOND {
                switched.push((thread, rate));
            }
        }
        let each = all / f64::from(cpus.most.max(1));
        held(&mut self.notice, each >= NOTICE, now);
        held(&mut self.warning, each >= WARNING, now);
        let long = |since: Option<Nanos>| since.is_some_and(|since| now.saturating_sub(since) >= LEAST);
        if !long(self.notice) {
            return None;
        }
        switched.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.tid().cmp(&b.0.tid())));
        Some(Sighting {
            kind: FindingKind::SwitchStorm,
            severity: if long(self.warning) {
                Severity::Warning
            } else {
                Severity::Notice
            },
            subject: 0,
            summary: format!(
                "{all:.0} involuntary switches a second on {} CPUs, by {}: {}",
                cpus.most.max(1),
                threads(switched.len()),
                names::groups(switched.iter().map(|(thread, _)| &thread.name)),
            ),
            evidence: vec![
                fact("involuntary_switches_per_second", all, "per_second"),
                fact("involuntary_switches_per_second_per_cpu", each, "per_second"),
                fact("allowed_cpus", f64::from(cpus.most), "count"),
            ],
            culprits: switched.iter().map(|(thread, _)| thread.tid()).collect(),
            stack: None,
            rule: RULE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, running, snapshot};
    use super::*;
    use crate::model::Tid;

    /// Two threads that are switched so often a second each, on two CPUs.
    fn run(each: u64, seconds: u64) -> Option<Sighting> {
        let mut detector = SwitchStorm::default();
        let mut last = None;
        for second in 0..=seconds {
            let rows = [5, 6]
                .map(|tid| {
                    let mut row = running(tid, second);
                    row.involuntary_switches = Ok(second * (each + u64::from(tid)));
                    row
                })
                .into();
            last = detector.look(&snapshot(second * SECOND, rows));
        }
        last
    }

    #[test]
    fn a_storm_is_told_with_its_rate_and_the_worst_thread_first() {
        assert!(run(20_000, 5).is_none());
        let told = run(20_000, 6).unwrap();
        assert_eq!(
            (told.severity, &told.culprits[..]),
            (Severity::Warning, &[Tid(6), Tid(5)][..])
        );
        assert!(
            told.summary.contains("40011 involuntary switches a second on 2 CPUs"),
            "{}",
            told.summary
        );
        assert_eq!(run(3000, 6).unwrap().severity, Severity::Notice);
    }

    #[test]
    fn the_ordinary_time_slices_of_busy_threads_are_none() {
        assert!(run(330, 60).is_none());
    }

    #[test]
    fn a_tid_that_is_used_again_brings_no_switches_of_its_own() {
        let mut detector = SwitchStorm::default();
        for second in 0..20 {
            let mut row = running(5, 1);
            row.key.start.0 = second;
            row.involuntary_switches = Ok(second * 1_000_000);
            assert!(detector.look(&snapshot(second * SECOND, vec![row])).is_none());
        }
    }
}
