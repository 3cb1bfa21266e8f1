//! The detectors that are shown who waits for whom in one process, and the words they share.

use std::sync::Arc;

use super::blocked_behind::BlockedBehind;
use super::stillness::Stillness;
use super::{Sighting, abandoned_lock, deadlock, fact, inherited_lock, same_place, threads};
use crate::model::{Dump, FindingKind, Lock, LockPlace, LockReport, Nanos, Severity, Stack, Tid};

/// What these detectors answer for.
pub(super) const KINDS: [FindingKind; 5] = [
    FindingKind::Deadlock,
    FindingKind::AbandonedLock,
    FindingKind::InheritedLock,
    FindingKind::BlockedBehind,
    FindingKind::SamePlace,
];

/// Who stands so long at a lock that was left behind is told.
const LEFT_BEHIND: Nanos = Nanos(1_000_000_000);

/// What a detector is shown.
pub(super) struct LockLook<'a> {
    pub report: &'a LockReport,
    /// Since when each thread has had no turn, as far as the looks saw.
    pub still: &'a Stillness,
    pub now: Nanos,
}

/// What it sees, and in how long another look would show more.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub sightings: Vec<Sighting>,
    pub again: Option<Nanos>,
}

impl Seen {
    pub fn look_again(&mut self, after: Nanos) {
        self.again = Some(self.again.map_or(after, |again| again.min(after)));
    }

    /// For how long the one of these that stood longest has; `None`, and a look again, when that is too short.
    pub fn longest_stood(&mut self, look: &LockLook<'_>, tids: &[Tid], least: Nanos) -> Option<Nanos> {
        let longest = tids.iter().map(|tid| look.still.stood(*tid, look.now)).max()?;
        if longest < least {
            self.look_again(least);
            return None;
        }
        Some(longest)
    }

    fn add(&mut self, other: Seen) {
        self.sightings.extend(other.sightings);
        if let Some(again) = other.again {
            self.look_again(again);
        }
    }
}

/// Locks whose owner will never give them up, and at which somebody has stood for a while. `owner` gives the tid that
/// such a lock records, `held` says of whom it is.
pub(super) fn left_behind(
    look: &LockLook<'_>,
    (kind, rule): (FindingKind, &'static str),
    owner: impl Fn(&Lock) -> Option<u32>,
    held: impl Fn(u32) -> String,
) -> Seen {
    let mut seen = Seen::default();
    for (at, lock) in look.report.locks.iter().enumerate() {
        let Some(own_tid) = owner(lock) else { continue };
        let Some(stood) = seen.longest_stood(look, &lock.waiters, LEFT_BEHIND) else {
            continue;
        };
        seen.sightings.push(Sighting {
            kind,
            severity: Severity::Critical,
            subject: lock.address,
            summary: format!(
                "{} wait for {}, {}",
                threads(lock.waiters.len()),
                place(&look.report.locks, at),
                held(own_tid),
            ),
            evidence: vec![
                fact("waiters", lock.waiters.len() as f64, "threads"),
                fact("without_a_turn_seconds", stood.seconds(), "seconds"),
            ],
            stack: common_stack(&look.report.dump, &lock.waiters),
            culprits: lock.waiters.clone(),
            rule,
        });
    }
    seen
}

/// Those of one process.
#[derive(Debug, Default)]
pub(super) struct LockDetectors {
    still: Stillness,
    blocked_behind: BlockedBehind,
}

impl LockDetectors {
    /// `now` is when the report was read.
    pub fn look(&mut self, report: &LockReport, now: Nanos) -> Seen {
        let known = report
            .dump
            .threads
            .iter()
            .filter_map(|thread| Some((thread.key, thread.turns.ok()?)));
        self.still.look(known, now);
        let look = LockLook {
            report,
            still: &self.still,
            now,
        };
        let mut seen = deadlock::look(&look);
        seen.add(abandoned_lock::look(&look));
        seen.add(inherited_lock::look(&look));
        seen.add(self.blocked_behind.look(&look));
        seen.add(same_place::look(&look));
        seen
    }
}

pub(super) fn name_of(dump: &Dump, tid: Tid) -> &str {
    dump.thread(tid).map_or("?", |thread| &*thread.name)
}

/// A lock in a few words: `pthread_mutex accounts+0x28`.
pub(super) fn place(locks: &[Lock], at: usize) -> String {
    let Some(lock) = locks.get(at) else {
        return "a lock".to_owned();
    };
    let kind = lock.kind.name();
    match &lock.place {
        LockPlace::Global { symbol, offset: 0, .. } => format!("{kind} {symbol}"),
        LockPlace::Global { symbol, offset, .. } => format!("{kind} {symbol}+{offset:#x}"),
        LockPlace::Mapping { name, offset } | LockPlace::SharedMemory { name, offset } => {
            format!("{kind} {name}+{offset:#x}")
        }
        LockPlace::Heap => format!("{kind} {:#x} (heap)", lock.address),
        LockPlace::Stack { tid } => format!("{kind} {:#x} (stack of {tid})", lock.address),
        LockPlace::ThreadBlock { tid } => format!("{kind} of thread {tid}"),
        LockPlace::Unknown => format!("{kind} {:#x}", lock.address),
    }
}

/// The stack that all of these have.
pub(super) fn common_stack(dump: &Dump, tids: &[Tid]) -> Option<Arc<Stack>> {
    let stack = |tid: &Tid| dump.thread(*tid)?.stack.as_ref().ok();
    let first = stack(tids.first()?)?;
    let same = |tid: &Tid| stack(tid).is_some_and(|other| Arc::ptr_eq(first, other) || first == other);
    tids.iter().all(same).then(|| Arc::clone(first))
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, key, process};
    use super::*;
    use crate::model::{
        Chain, ChainLink, CycleStep, Deadlock, DumpThread, Frame, LockKind, LockWait, Owner, Place, Proof, RootDoing,
        Severity, StackEnd, StackSource, ThreadState, Trust, Unknown, Wait, WaitKind, WaitMode,
    };
    use std::time::SystemTime;

    fn stack(address: u64) -> Arc<Stack> {
        Arc::new(Stack {
            frames: vec![Frame {
                place: Arc::new(Place {
                    address,
                    module: None,
                    module_address: 0,
                    functions: Err(Unknown::NoSymbols),
                    function_offset: None,
                }),
                trust: Trust::Context,
            }],
            end: StackEnd::Complete,
            source: StackSource::Syscall,
            moved: false,
        })
    }

    fn thread(tid: u32, turns: u64, stack: &Arc<Stack>) -> DumpThread {
        DumpThread {
            key: key(tid),
            name: format!("worker-{tid}").into(),
            state: ThreadState::Sleeping,
            state_letter: b'S',
            own_tid: Tid(tid),
            turns: Ok(turns),
            call: Err(Unknown::NotAsked),
            wait: Ok(Wait {
                kind: WaitKind::Futex,
                syscall: None,
                address: None,
                kernel_function: Err(Unknown::Denied),
                object: Err(Unknown::NotAsked),
                timed: None,
                lock: None,
                owner: None,
            }),
            stack: Ok(Arc::clone(stack)),
        }
    }

    fn lock(owner: Result<Owner, Unknown>, waiters: impl Iterator<Item = u32>) -> Lock {
        Lock {
            address: 0x10,
            kind: LockKind::PthreadMutex,
            flags: Vec::new(),
            place: LockPlace::Global {
                module: "/bin/x".into(),
                symbol: "accounts".into(),
                offset: 0x28,
            },
            owner,
            readers: None,
            told_by: "stack and memory",
            state: "held, with waiters".to_owned(),
            waiters: waiters.map(Tid).collect(),
        }
    }

    /// Threads 1 to `count` wait for one lock at one place; all have had so many turns.
    fn report(count: u32, owner: Result<Owner, Unknown>, mode: WaitMode, turns: u64) -> LockReport {
        let here = stack(0x100);
        let mut threads: Vec<DumpThread> = (1..=count).map(|tid| thread(tid, turns, &here)).collect();
        // Another that does something else, and is no worker.
        let mut other = thread(900, turns * 7, &stack(0x200));
        other.name = "boss".into();
        threads.push(other);
        LockReport {
            dump: Arc::new(Dump {
                process: process(),
                name: "made".into(),
                taken_at: Nanos(0),
                wall_clock: SystemTime::UNIX_EPOCH,
                took: Nanos(0),
                threads,
                truncated: false,
                paused: 0,
            }),
            locks: vec![lock(owner, 1..=count)],
            waits: (1..=count)
                .map(|tid| LockWait {
                    tid: Tid(tid),
                    lock: 0,
                    mode,
                    timed: false,
                    function: None,
                })
                .collect(),
            deadlocks: Vec::new(),
            chains: Vec::new(),
            confirmed_after: None,
        }
    }

    fn chain(root: Option<u32>, doing: RootDoing, behind: u32) -> Chain {
        Chain {
            links: vec![ChainLink {
                waiter: Tid(1),
                lock: 0,
                owner: root.map(Tid),
                proof: root.map(|_| Proof::Recorded),
            }],
            root: root.map(Tid),
            root_doing: doing,
            behind_root: behind,
        }
    }

    // In the shape in which a lock has it.
    #[allow(clippy::unnecessary_wraps)]
    fn held_by(tid: u32) -> Result<Owner, Unknown> {
        Ok(Owner::Thread {
            tid: Tid(tid),
            proof: Proof::Recorded,
        })
    }

    /// Shows the same report at these seconds, and gives what was seen at the last.
    fn shown(report: &LockReport, seconds: &[u64]) -> Seen {
        let mut detectors = LockDetectors::default();
        let mut last = Seen::default();
        for second in seconds {
            last = detectors.look(report, Nanos(second * SECOND));
        }
        last
    }

    fn kinds(seen: &Seen) -> Vec<(FindingKind, Severity)> {
        seen.sightings
            .iter()
            .map(|sighting| (sighting.kind, sighting.severity))
            .collect()
    }

    #[test]
    fn a_confirmed_deadlock_is_raised_at_once_and_an_unconfirmed_one_never() {
        let mut report = report(2, held_by(1), WaitMode::Exclusive, 1);
        let step = |tid: u32| CycleStep {
            tid: Tid(tid),
            holds: 0,
            wants: 0,
        };
        report.deadlocks = vec![Deadlock {
            steps: vec![step(1), step(2)],
            confirmed: false,
        }];
        assert!(shown(&report, &[1]).sightings.is_empty());
        report.deadlocks[0].confirmed = true;
        let seen = shown(&report, &[1]);
        assert_eq!(kinds(&seen), [(FindingKind::Deadlock, Severity::Critical)]);
        let told = &seen.sightings[0];
        assert_eq!((told.subject, &told.culprits[..]), (1, &[Tid(1), Tid(2)][..]));
        assert!(
            told.summary
                .contains("worker-1 (1) holds pthread_mutex accounts+0x28 and wants"),
            "{}",
            told.summary
        );
    }

    #[test]
    fn a_lock_of_the_dead_is_told_at_the_second_look() {
        let report = report(2, Ok(Owner::Ended { own_tid: 77 }), WaitMode::Exclusive, 1);
        let first = shown(&report, &[1]);
        assert!(first.sightings.is_empty());
        assert_eq!(first.again, Some(Nanos(SECOND)));
        let seen = shown(&report, &[1, 2]);
        assert_eq!(kinds(&seen), [(FindingKind::AbandonedLock, Severity::Critical)]);
        assert!(
            seen.sightings[0].summary.contains("thread 77 held"),
            "{}",
            seen.sightings[0].summary
        );
    }

    #[test]
    fn a_lock_from_before_the_fork_is_told_unless_it_is_made_to_be_shared() {
        let mut report = report(1, Ok(Owner::Foreign { own_tid: 77 }), WaitMode::Exclusive, 1);
        assert_eq!(
            kinds(&shown(&report, &[1, 3])),
            [(FindingKind::InheritedLock, Severity::Critical)]
        );
        report.locks[0].flags = vec!["process_shared"];
        assert!(shown(&report, &[1, 3]).sightings.is_empty());
    }

    #[test]
    fn many_behind_one_that_sleeps_are_a_warning_and_behind_an_idle_leader_a_notice() {
        let check = |doing, root: Option<u32>, expected: Option<Severity>| {
            let owner = root.map_or(Err(Unknown::OwnerNotRecorded), held_by);
            let mut report = report(8, owner, WaitMode::Exclusive, 1);
            report.chains = vec![chain(root, doing, 8)];
            let seen = shown(&report, &[1, 6]);
            let found = seen
                .sightings
                .iter()
                .find(|sighting| sighting.kind == FindingKind::BlockedBehind);
            assert_eq!(found.map(|sighting| sighting.severity), expected, "{doing:?}");
            if let (Some(found), Some(root)) = (found, root) {
                assert_eq!((found.culprits[0], found.culprits.len()), (Tid(root), 9));
            }
            // Too early.
            let early = shown(&report, &[1, 5]);
            assert!(early.sightings.is_empty());
        };
        check(RootDoing::Sleeping, Some(900), Some(Severity::Warning));
        check(RootDoing::Runnable, Some(900), Some(Severity::Warning));
        check(RootDoing::WaitingForSignal, Some(900), Some(Severity::Notice));
        check(RootDoing::OwnerUnknown, None, Some(Severity::Notice));
        check(RootDoing::InCycle, Some(900), None);
    }

    #[test]
    fn waiters_that_get_their_turns_are_behind_nobody() {
        let mut detectors = LockDetectors::default();
        for second in 1..60 {
            let mut busy = report(64, held_by(900), WaitMode::Exclusive, second);
            busy.chains = vec![chain(Some(900), RootDoing::Runnable, 64)];
            assert!(detectors.look(&busy, Nanos(second * SECOND)).sightings.is_empty());
        }
    }

    #[test]
    fn a_root_that_changes_is_none() {
        let mut detectors = LockDetectors::default();
        for second in 1..60 {
            let root = 900 + second as u32 % 2;
            let mut rotating = report(64, held_by(root), WaitMode::Exclusive, second / 9);
            rotating.chains = vec![chain(Some(root), RootDoing::Runnable, 64)];
            let seen = detectors.look(&rotating, Nanos(second * SECOND));
            assert!(
                !seen
                    .sightings
                    .iter()
                    .any(|sighting| sighting.kind == FindingKind::BlockedBehind)
            );
        }
    }

    #[test]
    fn all_workers_at_a_held_lock_are_a_warning() {
        let seen = shown(&report(4, held_by(900), WaitMode::Exclusive, 1), &[1, 6]);
        assert_eq!(kinds(&seen), [(FindingKind::SamePlace, Severity::Warning)]);
        let told = &seen.sightings[0];
        assert_eq!(told.culprits.len(), 4);
        assert!(
            told.stack.is_some() && told.summary.starts_with("all 4 threads named worker-#"),
            "{}",
            told.summary
        );
        assert!(
            shown(&report(3, held_by(900), WaitMode::Exclusive, 1), &[1, 60])
                .sightings
                .is_empty()
        );
    }

    #[test]
    fn an_idle_pool_is_a_notice_at_most_and_only_a_large_one_after_a_minute() {
        let idle = |count| report(count, Err(Unknown::OwnerNotRecorded), WaitMode::Signal, 1);
        assert!(shown(&idle(8), &[1, 59]).sightings.is_empty());
        assert!(shown(&idle(7), &[1, 100]).sightings.is_empty());
        assert_eq!(
            kinds(&shown(&idle(8), &[1, 62])),
            [(FindingKind::SamePlace, Severity::Notice)]
        );
    }

    #[test]
    fn workers_that_poll_or_one_that_does_something_else_are_none() {
        let mut polling = report(9, Err(Unknown::OwnerNotRecorded), WaitMode::Signal, 1);
        polling.waits.clear();
        let mut dump = (*polling.dump).clone();
        for thread in &mut dump.threads {
            if let Ok(wait) = &mut thread.wait {
                wait.kind = WaitKind::Poll;
            }
        }
        polling.dump = Arc::new(dump);
        assert!(shown(&polling, &[1, 100]).sightings.is_empty());

        let mut leader = report(9, held_by(9), WaitMode::Exclusive, 1);
        let mut dump = (*leader.dump).clone();
        dump.threads[8].stack = Ok(stack(0x300));
        leader.dump = Arc::new(dump);
        assert!(shown(&leader, &[1, 100]).sightings.is_empty());
    }
}
