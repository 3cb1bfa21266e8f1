//! Many threads at the end of chains that all come down to one.
//!
//! What the one does decides how much it matters. A pool often lets one worker hold a lock while it
//! waits for work, with the others behind it (a receiver in a mutex, leader and followers): that is
//! how such a pool idles, and no more than a notice.

use std::collections::{HashMap, HashSet};

use super::lock_detectors::{LockLook, Seen, name_of, place};
use super::{Sighting, fact, threads};
use crate::model::{Chain, FindingKind, LockReport, Nanos, Owner, RootDoing, Severity, Tid, WaitKind};

pub(super) const RULE: &str = "Eight threads or more waited behind the same thread (or the same lock with an unknown owner) at every look for 5 \
     seconds or longer without a turn on a CPU. A warning when that thread sleeps, is stopped, computes, or reads or writes; \
     a notice when it waits to be told something or polls, or when the owner is not known: pools that wait for work \
     in turns look like that.";

const MANY: usize = 8;
pub(super) const LEAST: Nanos = Nanos(5_000_000_000);

/// What a chain ends at: a thread, or the address of a lock whose owner is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Root {
    Thread(Tid),
    Lock(u64),
}

#[derive(Debug, Default)]
pub(super) struct BlockedBehind {
    /// Roots with many behind them, since when at every look.
    roots: HashMap<Root, Nanos>,
}

impl BlockedBehind {
    pub fn look(&mut self, look: &LockLook<'_>) -> Seen {
        let report = look.report;
        let mut seen = Seen::default();
        let before = std::mem::take(&mut self.roots);
        let many = report.chains.iter().filter(|chain| chain.behind_root as usize >= MANY);
        for chain in many {
            let Some(last) = chain.links.last() else { continue };
            let Some(lock) = report.locks.get(last.lock) else {
                continue;
            };
            // A cycle is a deadlock or ends by itself; a lock of the dead has its own finding.
            if matches!(chain.root_doing, RootDoing::InCycle | RootDoing::Ended) || is_foreign(lock.owner.as_ref()) {
                continue;
            }
            let root = chain.root.map_or(Root::Lock(lock.address), Root::Thread);
            let since = before.get(&root).copied().unwrap_or(look.now);
            self.roots.insert(root, since);
            let mut behind = waiters_behind(report, chain);
            behind.retain(|tid| look.still.since(*tid).is_some());
            let stood: Vec<Tid> = behind
                .iter()
                .copied()
                .filter(|tid| look.still.stood(*tid, look.now) >= LEAST)
                .collect();
            let long = look.now.saturating_sub(since);
            if long < LEAST || stood.len() < MANY {
                seen.look_again(LEAST);
                continue;
            }
            seen.sightings.push(sighting(report, chain, root, &stood, long));
        }
        seen
    }
}

fn is_foreign(owner: Result<&Owner, &crate::model::Unknown>) -> bool {
    matches!(owner, Ok(Owner::Foreign { .. }))
}

fn sighting(report: &LockReport, chain: &Chain, root: Root, stood: &[Tid], long: Nanos) -> Sighting {
    let wanted = chain.links.last().map_or(0, |link| link.lock);
    let (subject, whom) = match root {
        Root::Thread(tid) => (
            u64::from(tid.0),
            format!(
                "{} ({tid}), which holds {} and {}",
                name_of(&report.dump, tid),
                place(&report.locks, wanted),
                words(chain.root_doing)
            ),
        ),
        Root::Lock(address) => (
            address,
            format!("{}, whose owner is not known", place(&report.locks, wanted)),
        ),
    };
    // The root first: it is the one to look at.
    let mut culprits: Vec<Tid> = chain.root.into_iter().collect();
    culprits.extend(stood);
    Sighting {
        kind: FindingKind::BlockedBehind,
        severity: severity(report, chain),
        subject,
        summary: format!(
            "{} have waited for {:.0} s behind {whom}",
            threads(stood.len()),
            long.seconds()
        ),
        evidence: vec![
            fact("threads_behind", f64::from(chain.behind_root), "threads"),
            fact("threads_without_a_turn", stood.len() as f64, "threads"),
            fact("longest_chain", chain.links.len() as f64, "count"),
            fact("without_a_turn_seconds", long.seconds(), "seconds"),
        ],
        stack: chain.root.and_then(|root| report.dump.thread(root)?.stack.clone().ok()),
        culprits,
        rule: RULE,
    }
}

fn severity(report: &LockReport, chain: &Chain) -> Severity {
    let kind = chain.root.and_then(|root| {
        let thread = report.dump.thread(root)?;
        thread.wait.as_ref().ok().map(|wait| wait.kind)
    });
    match (chain.root_doing, kind) {
        (RootDoing::WaitingForSignal | RootDoing::OwnerUnknown, _)
        | (RootDoing::InputOutput, Some(WaitKind::Poll | WaitKind::Socket)) => Severity::Notice,
        _ => Severity::Warning,
    }
}

fn words(doing: RootDoing) -> &'static str {
    match doing {
        RootDoing::OnCpu => "is on a CPU",
        RootDoing::Runnable => "runs or could run",
        RootDoing::Sleeping => "sleeps",
        RootDoing::DiskSleep => "is in uninterruptible sleep",
        RootDoing::InputOutput => "waits for input or output",
        RootDoing::WaitingForSignal => "waits to be told something",
        RootDoing::Stopped => "is stopped",
        RootDoing::InCycle => "is in a circle",
        RootDoing::OwnerUnknown => "waits for an owner that is not known",
        RootDoing::Ended => "has ended",
    }
}

/// All that wait for a chain's root, directly or behind others; in tid order.
fn waiters_behind(report: &LockReport, chain: &Chain) -> Vec<Tid> {
    let mut held: HashMap<Tid, Vec<usize>> = HashMap::new();
    for (at, lock) in report.locks.iter().enumerate() {
        if let Some(owner) = lock.owner.as_ref().ok().and_then(Owner::thread) {
            held.entry(owner).or_default().push(at);
        }
    }
    let mut waiting: HashMap<usize, Vec<Tid>> = HashMap::new();
    for wait in &report.waits {
        waiting.entry(wait.lock).or_default().push(wait.tid);
    }
    let mut locks: Vec<usize> = match chain.root {
        Some(root) => held.get(&root).cloned().unwrap_or_default(),
        None => chain.links.last().map(|link| link.lock).into_iter().collect(),
    };
    // Each thread is taken once, so each lock is too.
    let mut behind: HashSet<Tid> = HashSet::new();
    while let Some(lock) = locks.pop() {
        for tid in waiting.get(&lock).into_iter().flatten() {
            if behind.insert(*tid) {
                locks.extend(held.get(tid).into_iter().flatten());
            }
        }
    }
    let mut behind: Vec<Tid> = behind.into_iter().collect();
    behind.sort_unstable();
    behind
}
