//! Threads that could run and are never picked.

use super::{Sighting, fact, threads};
use crate::model::{FindingKind, Nanos, Severity, Snapshot, Thread, ThreadKey, ThreadState, Ticks};

pub(super) const RULE: &str = "A thread was runnable at every look for 3 seconds or longer and in that time had no new turn on a CPU, used no \
     CPU time, and its run delay, which the kernel adds when a thread is picked, stood still. Critical from 30 seconds \
     on; a notice for threads of the idle policy or of nice 19, which asked for no more.";

const LEAST: Nanos = Nanos(3_000_000_000);
const CRITICAL: Nanos = Nanos(30_000_000_000);
/// Who looks this seldom does not know what happened between.
const LONGEST_GAP: Nanos = Nanos(5_000_000_000);

/// All that moves when a thread is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Clock {
    turns: u64,
    on_cpu: Nanos,
    run_delay: Nanos,
    ticks: Ticks,
}

#[derive(Debug, Default)]
pub(super) struct Starvation {
    /// The runnable threads of the last look, in tid order.
    runnable: Vec<(ThreadKey, Clock, Nanos)>,
    looked_at: Option<Nanos>,
}

fn clock(thread: &Thread) -> Option<Clock> {
    Some(Clock {
        turns: thread.timeslices.ok()?,
        on_cpu: thread.on_cpu.ok()?,
        run_delay: thread.run_delay.ok()?,
        ticks: Ticks(thread.user_time.ok()?.0 + thread.system_time.ok()?.0),
    })
}

impl Starvation {
    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let now = snapshot.taken_at;
        let gap = self.looked_at.replace(now).map(|at| now.saturating_sub(at));
        // Rows that were left out of this pass stand still for that alone.
        if snapshot.truncated || gap.is_some_and(|gap| gap > LONGEST_GAP) {
            self.runnable.clear();
            return None;
        }
        let mut before = std::mem::take(&mut self.runnable).into_iter().peekable();
        let mut starved: Vec<(&Thread, Nanos)> = Vec::new();
        for thread in &snapshot.threads {
            if thread.state != ThreadState::Runnable {
                continue;
            }
            let Some(clock) = clock(thread) else { continue };
            while before.next_if(|(key, ..)| key.tid < thread.tid()).is_some() {}
            let since = match before.next_if(|(key, ..)| key.tid == thread.tid()) {
                Some((key, was, since)) if key == thread.key && was == clock => since,
                _ => now,
            };
            self.runnable.push((thread.key, clock, since));
            let span = now.saturating_sub(since);
            if span >= LEAST {
                starved.push((thread, span));
            }
        }
        starved.sort_by_key(|(thread, span)| (std::cmp::Reverse(*span), thread.tid()));
        let (worst, longest) = *starved.first()?;
        let asked_for_it = |thread: &Thread| thread.policy == Ok("idle") || thread.nice == Ok(19);
        let severity = match starved
            .iter()
            .filter(|(thread, _)| !asked_for_it(thread))
            .map(|(_, span)| *span)
            .max()
        {
            None => Severity::Notice,
            Some(span) if span >= CRITICAL => Severity::Critical,
            Some(_) => Severity::Warning,
        };
        let told_nice = match worst.nice {
            Ok(nice) if nice > 0 => format!(", nice {nice}"),
            _ => String::new(),
        };
        Some(Sighting {
            kind: FindingKind::Starvation,
            severity,
            subject: 0,
            summary: format!(
                "{} could run and had no turn on a CPU; {} ({}{told_nice}) for {:.1} s",
                threads(starved.len()),
                worst.name,
                worst.tid(),
                longest.seconds(),
            ),
            evidence: vec![
                fact("starved", starved.len() as f64, "threads"),
                fact("without_a_turn_seconds", longest.seconds(), "seconds"),
                fact(
                    "runnable",
                    f64::from(snapshot.counts.get(ThreadState::Runnable)),
                    "threads",
                ),
            ],
            culprits: starved.iter().map(|(thread, _)| thread.tid()).collect(),
            stack: None,
            rule: RULE,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, running, snapshot, thread};
    use super::*;
    use crate::model::Tid;

    #[test]
    fn runnable_without_a_turn_for_three_seconds_is_starved() {
        let mut detector = Starvation::default();
        let mut seen = Vec::new();
        for second in 0..40 {
            // 5 stands still; 6 gets its turns; 7 sleeps.
            let threads = vec![running(5, 9), running(6, second), thread(7)];
            seen.push(detector.look(&snapshot(second * SECOND, threads)));
        }
        assert!(seen[..3].iter().all(Option::is_none));
        let first = seen[3].as_ref().unwrap();
        assert_eq!(
            (first.severity, &first.culprits[..]),
            (Severity::Warning, &[Tid(5)][..])
        );
        assert!(first.summary.contains("worker-5 (5) for 3.0 s"), "{}", first.summary);
        assert_eq!(seen[30].as_ref().unwrap().severity, Severity::Critical);
    }

    #[test]
    fn who_has_a_cpu_for_itself_gets_no_new_turn_and_is_not_starved() {
        let mut detector = Starvation::default();
        for second in 0..10 {
            let mut alone = running(5, 9);
            alone.on_cpu = Ok(Nanos(second * SECOND));
            assert!(detector.look(&snapshot(second * SECOND, vec![alone])).is_none());
        }
    }

    #[test]
    fn another_thread_with_the_same_tid_or_a_gap_begins_anew() {
        let mut detector = Starvation::default();
        for second in [0, 1, 2, 9, 10, 11] {
            assert!(detector.look(&snapshot(second * SECOND, vec![running(5, 9)])).is_none());
        }
        let mut other = running(5, 9);
        other.key.start.0 += 1;
        assert!(detector.look(&snapshot(12 * SECOND, vec![other])).is_none());
    }

    #[test]
    fn who_asked_for_leftovers_is_worth_a_notice_only() {
        let mut detector = Starvation::default();
        let mut seen = None;
        for second in 0..6 {
            let mut idle = running(5, 9);
            idle.policy = Ok("idle");
            seen = detector.look(&snapshot(second * SECOND, vec![idle]));
        }
        assert_eq!(seen.unwrap().severity, Severity::Notice);
    }
}
