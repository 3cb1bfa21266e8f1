//! Threads that wait for each other in a circle, as `locks::graph` proved it.

use super::lock_detectors::{LockLook, Seen, common_stack, name_of, place};
use super::{Sighting, fact, threads};
use crate::model::{FindingKind, Severity};

pub(super) const RULE: &str = "Threads wait in a circle, each without a time-out for a lock (or the end of a thread) that the next one holds, by \
     owners that are recorded and not guessed; and a second reading found every one of them in the same call without \
     a turn on a CPU in between. Nothing within the process can end it.";

/// Steps that the sentence tells.
const TOLD: usize = 4;

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    let report = look.report;
    let mut seen = Seen::default();
    for deadlock in report.deadlocks.iter().filter(|deadlock| deadlock.confirmed) {
        let steps = &deadlock.steps;
        let Some(first) = steps.first() else { continue };
        let told: Vec<String> = steps
            .iter()
            .take(TOLD)
            .map(|step| {
                format!(
                    "{} ({}) holds {} and wants {}",
                    name_of(&report.dump, step.tid),
                    step.tid,
                    place(&report.locks, step.holds),
                    place(&report.locks, step.wants),
                )
            })
            .collect();
        let rest = match steps.len().saturating_sub(TOLD) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let head = if steps.len() == 1 {
            "1 thread waits for itself".to_owned()
        } else {
            format!("{} wait for each other in a circle", threads(steps.len()))
        };
        let tids: Vec<_> = steps.iter().map(|step| step.tid).collect();
        let behind = report
            .chains
            .iter()
            .find(|chain| chain.root.is_some_and(|root| tids.contains(&root)))
            .map_or(0, |chain| (chain.behind_root as usize + 1).saturating_sub(steps.len()));
        seen.sightings.push(Sighting {
            kind: FindingKind::Deadlock,
            severity: Severity::Critical,
            subject: u64::from(first.tid.0),
            summary: format!("{head}: {}{rest}", told.join("; ")),
            evidence: vec![
                fact("threads_in_cycle", steps.len() as f64, "threads"),
                fact("threads_behind", behind as f64, "threads"),
            ],
            stack: common_stack(&report.dump, &tids),
            culprits: tids,
            rule: RULE,
        });
    }
    seen
}
