//! All workers of one kind blocked at the same place.
//!
//! A pool without work is exactly that too: all of its workers stand in the same wait for more. From
//! outside the two differ in what they wait for. A lock that somebody holds is not how a pool idles;
//! a condition, a semaphore or a queue is, so that is worth a notice at most, and late. Who polls,
//! sleeps or waits on a socket is not told at all: servers do nothing else all night.

use std::collections::HashMap;
use std::sync::Arc;

use super::lock_detectors::{LockLook, Seen, place};
use super::{Sighting, fact, names, threads};
use crate::model::{Dump, DumpThread, FindingKind, Nanos, Severity, Stack, ThreadState, Tid, WaitKind, WaitMode};

pub(super) const RULE: &str = "All threads of one name pattern (digits folded; the main thread left out), four or more, stood in equal stacks without a \
     turn on a CPU for 5 seconds or longer, each waiting for a lock that is held: a warning. A notice when there are eight \
     or more and they waited for a minute to be told something, for a thread to end, or in a read or write: that may be a \
     pool without work.";

const MANY_LOCKED: usize = 4;
const LOCKED_FOR: Nanos = Nanos(5_000_000_000);
const MANY_IDLE: usize = 8;
const IDLE_FOR: Nanos = Nanos(60_000_000_000);

/// What a group waits for, as far as this rule tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    ForLocks,
    MaybeForWork,
}

pub(super) fn look(look: &LockLook<'_>) -> Seen {
    let report = look.report;
    let mut seen = Seen::default();
    let modes: HashMap<Tid, (WaitMode, usize)> = report
        .waits
        .iter()
        .map(|wait| (wait.tid, (wait.mode, wait.lock)))
        .collect();
    let mut groups: Vec<(String, Vec<&DumpThread>)> = groups(&report.dump).into_iter().collect();
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    for (pattern, group) in groups {
        let Some(stack) = shared_stack(&group) else { continue };
        let Some(waits) = waits_for(&group, &modes) else {
            continue;
        };
        let (many, long, severity) = match waits {
            Waits::ForLocks => (MANY_LOCKED, LOCKED_FOR, Severity::Warning),
            Waits::MaybeForWork => (MANY_IDLE, IDLE_FOR, Severity::Notice),
        };
        if group.len() < many {
            continue;
        }
        let stood = group
            .iter()
            .map(|thread| look.still.stood(thread.tid(), look.now))
            .min();
        let stood = stood.unwrap_or_default();
        if stood < long {
            seen.look_again(Nanos(long.0 - stood.0));
            continue;
        }
        let what = match (waits, group.first().and_then(|thread| modes.get(&thread.tid()))) {
            (Waits::ForLocks, Some((_, lock))) => format!("for {}", place(&report.locks, *lock)),
            (Waits::ForLocks, None) => "for a lock".to_owned(),
            (Waits::MaybeForWork, _) => "maybe for work".to_owned(),
        };
        let function = stack.frames.iter().find_map(|frame| frame.place.function());
        let at = function.map(|name| format!(" in {name}")).unwrap_or_default();
        seen.sightings.push(Sighting {
            kind: FindingKind::SamePlace,
            severity,
            subject: u64::from(group.first().map_or(0, |thread| thread.tid().0)),
            summary: format!(
                "all {} named {pattern} have stood in the same place for {:.0} s, waiting {what}{at}",
                threads(group.len()),
                stood.seconds(),
            ),
            evidence: vec![
                fact("threads", group.len() as f64, "threads"),
                fact("without_a_turn_seconds", stood.seconds(), "seconds"),
            ],
            culprits: group.iter().map(|thread| thread.tid()).collect(),
            stack: Some(Arc::clone(stack)),
            rule: RULE,
        });
    }
    seen
}

fn groups(dump: &Dump) -> HashMap<String, Vec<&DumpThread>> {
    let mut groups: HashMap<String, Vec<&DumpThread>> = HashMap::new();
    // Threads that were never named carry the process' name, and so does the main one.
    for thread in dump
        .threads
        .iter()
        .filter(|thread| thread.tid().0 != dump.process.pid.0)
    {
        groups.entry(names::pattern(&thread.name)).or_default().push(thread);
    }
    groups.retain(|_, group| group.len() >= MANY_LOCKED);
    groups
}

/// The stack that all of them have. Equal stacks are nearly always one allocation.
fn shared_stack<'a>(group: &[&'a DumpThread]) -> Option<&'a Arc<Stack>> {
    let first = group.first()?.stack.as_ref().ok()?;
    let same = |thread: &&DumpThread| {
        thread
            .stack
            .as_ref()
            .is_ok_and(|stack| Arc::ptr_eq(stack, first) || stack == first)
    };
    (!first.moved && group.iter().all(same)).then_some(first)
}

/// `None`: at least one of them waits for something that nobody needs to be told of.
fn waits_for(group: &[&DumpThread], modes: &HashMap<Tid, (WaitMode, usize)>) -> Option<Waits> {
    let mut all = Waits::ForLocks;
    for thread in group {
        match modes.get(&thread.tid()) {
            Some((WaitMode::Exclusive | WaitMode::Shared, _)) => {}
            Some((WaitMode::Signal | WaitMode::End, _)) => all = Waits::MaybeForWork,
            None => {
                let kind = thread.wait.as_ref().ok().map(|wait| wait.kind);
                let waits = matches!(
                    kind,
                    Some(WaitKind::Read | WaitKind::Write | WaitKind::Io | WaitKind::Futex)
                );
                if !waits && thread.state != ThreadState::DiskSleep {
                    return None;
                }
                all = Waits::MaybeForWork;
            }
        }
    }
    Some(all)
}
