//! Threads that are about to run out of stack.

use std::collections::HashMap;

use super::{Sighting, fact, threads};
use crate::model::{FindingKind, Nanos, Pid, Severity, Snapshot, Thread, Tid};

pub(super) const RULE: &str = "A blocked thread stood so deep that nine tenths of the stack reserved for it were in use; critical from 97 % on. The \
     main thread's stack is measured against the process' stack limit. Taken down when less than 85 % are in use.";

const ENTER: f64 = 0.90;
const LEAVE: f64 = 0.85;
const CRITICAL: f64 = 0.97;
/// The main thread's stack grows: below this its limit is not asked for.
const MAIN_LEAST: u64 = 512 << 10;
/// Between two readings of the limit.
const LIMIT_FRESH: Nanos = Nanos(30_000_000_000);

/// Gives the soft limit of the main thread's stack, in bytes.
pub(super) type LimitOf = Box<dyn Fn(Pid) -> Option<u64> + Send>;

pub(super) struct StackNearlyExhausted {
    limit_of: LimitOf,
    limit: Option<(Nanos, Option<u64>)>,
    /// Those that were over the line at the last look.
    over: HashMap<Tid, f64>,
}

impl StackNearlyExhausted {
    pub fn new(limit_of: LimitOf) -> StackNearlyExhausted {
        StackNearlyExhausted {
            limit_of,
            limit: None,
            over: HashMap::new(),
        }
    }

    pub fn look(&mut self, snapshot: &Snapshot) -> Option<Sighting> {
        let before = std::mem::take(&mut self.over);
        let mut deep: Vec<(&Thread, u64, u64, f64)> = Vec::new();
        for thread in &snapshot.threads {
            let Ok(stack) = &thread.stack else { continue };
            let reserved = if stack.guard_bytes.is_none() && thread.tid().0 == snapshot.process.pid.0 {
                match stack.used_bytes {
                    Ok(used) if used >= MAIN_LEAST => self.main_limit(snapshot).unwrap_or(u64::MAX),
                    _ => continue,
                }
            } else {
                stack.reserved_bytes
            };
            if reserved == 0 {
                continue;
            }
            let was = before.get(&thread.tid());
            // While it runs its depth is not known: it is believed to be where it was.
            let share = match (stack.used_bytes, was) {
                (Ok(used), _) => used as f64 / reserved as f64,
                (Err(_), Some(share)) => *share,
                (Err(_), None) => continue,
            };
            if share >= if was.is_some() { LEAVE } else { ENTER } {
                self.over.insert(thread.tid(), share);
                deep.push((thread, (share * reserved as f64) as u64, reserved, share));
            }
        }
        deep.sort_by(|a, b| b.3.total_cmp(&a.3).then(a.0.tid().cmp(&b.0.tid())));
        let (worst, used, reserved, share) = *deep.first()?;
        Some(Sighting {
            kind: FindingKind::StackNearlyExhausted,
            severity: if share >= CRITICAL {
                Severity::Critical
            } else {
                Severity::Warning
            },
            subject: 0,
            summary: format!(
                "{} near the end of the stack; {} ({}) uses {} of {} KiB ({:.0} %)",
                threads(deep.len()),
                worst.name,
                worst.tid(),
                used >> 10,
                reserved >> 10,
                share * 100.0,
            ),
            evidence: vec![
                fact("used_bytes", used as f64, "bytes"),
                fact("reserved_bytes", reserved as f64, "bytes"),
                fact("used_share", share, "ratio"),
            ],
            culprits: deep.iter().map(|(thread, ..)| thread.tid()).collect(),
            stack: None,
            rule: RULE,
        })
    }

    fn main_limit(&mut self, snapshot: &Snapshot) -> Option<u64> {
        let now = snapshot.taken_at;
        match self.limit {
            Some((at, limit)) if now.saturating_sub(at) < LIMIT_FRESH => limit,
            _ => {
                let limit = (self.limit_of)(snapshot.process.pid);
                self.limit = Some((now, limit));
                limit
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, process, snapshot, thread};
    use super::*;
    use crate::model::{Evidence, StackUse, Unknown};

    fn with_stack(tid: u32, used: Evidence<u64>, guard: Option<u64>) -> Thread {
        let mut row = thread(tid);
        row.stack = Ok(StackUse {
            start: 0x10_0000,
            end: 0x20_0000,
            reserved_bytes: 1 << 20,
            resident_bytes: Err(Unknown::NotAsked),
            used_bytes: used,
            guard_bytes: guard,
        });
        row
    }

    fn detector() -> StackNearlyExhausted {
        StackNearlyExhausted::new(Box::new(|_| Some(8 << 20)))
    }

    #[test]
    fn nine_tenths_are_told_and_kept_until_it_is_well_below() {
        let mut detector = detector();
        let mut look = |second: u64, used: Evidence<u64>| {
            let rows = vec![with_stack(5, used, Some(4096)), with_stack(6, Ok(4096), Some(4096))];
            detector.look(&snapshot(second * SECOND, rows))
        };
        assert!(look(0, Ok(900_000)).is_none());
        let told = look(1, Ok(950_000)).unwrap();
        assert_eq!((told.severity, &told.culprits[..]), (Severity::Warning, &[Tid(5)][..]));
        assert!(told.summary.contains("927 of 1024 KiB (91 %)"), "{}", told.summary);
        assert_eq!(look(2, Ok(1_040_000)).unwrap().severity, Severity::Critical);
        // It runs: nobody knows how deep, so nothing has changed.
        assert!(look(3, Err(Unknown::Running)).is_some());
        assert!(look(4, Ok(900_000)).is_some());
        assert!(look(5, Ok(800_000)).is_none());
        assert!(look(6, Ok(900_000)).is_none());
    }

    #[test]
    fn the_main_thread_is_measured_by_its_limit_and_not_by_its_mapping() {
        let main = process().pid.0;
        let mut detector = detector();
        let look = detector.look(&snapshot(0, vec![with_stack(main, Ok(1 << 20), None)]));
        assert!(look.is_none());
        let look = detector.look(&snapshot(SECOND, vec![with_stack(main, Ok(7 << 20 | 1 << 19), None)]));
        assert!(look.unwrap().summary.contains("of 8192 KiB"));
        let mut unlimited = StackNearlyExhausted::new(Box::new(|_| None));
        let rows = vec![with_stack(main, Ok(7 << 20), None)];
        assert!(unlimited.look(&snapshot(0, rows)).is_none());
    }
}
