//! Who waits for whom: cycles, and chains to the thread that all comes down to.
//!
//! An edge goes from a thread that waits to the one that holds what it waits for. A thread waits for
//! one lock at a time, so the edges make a function: following them ends at a thread that does
//! something else, at a lock whose owner is not known, or in a circle (`cycles`). A circle of proved
//! owners, none of whom waits with a time-out, is a deadlock once `confirm` has read all of it a
//! second time and found nothing moved. A wait in a circle that a time-out ends, or an owner that is
//! only likely, makes no deadlock; it stays among the chains (`chains`), which say `in_cycle`.
//!
//! Who waits to be told something (a condition, a semaphore, a parked thread) waits for nobody in
//! particular: such a thread is the end of a chain, and has no edge of its own.
//!
//! Left out on purpose: the readers of a rwlock. It counts them and does not name them, so a writer
//! behind readers ends its chain at an unknown owner.

mod chains;
mod confirm;
mod cycles;

use std::collections::HashMap;
use std::sync::Arc;

use super::identify::Found;
use crate::model::{CycleStep, Deadlock, Dump, Lock, LockReport, LockWait, Owner, Proof, Tid, WaitMode};
use crate::observe::stacks::Dumper;

pub(super) fn report(dumper: &Dumper, dump: Arc<Dump>, found: Found) -> LockReport {
    let Found { locks, waits } = found;
    let graph = Graph::of(&locks, &waits);
    let walk = cycles::follow(&graph.next);
    let suspects: Vec<Option<Vec<CycleStep>>> = walk.cycles.iter().map(|cycle| graph.deadly(cycle)).collect();
    let asked: Vec<&[CycleStep]> = suspects.iter().flatten().map(Vec::as_slice).collect();
    let (answers, confirmed_after) = confirm::read_again(dumper, &dump, &locks, &asked);
    let mut answers = answers.into_iter();
    let fates: Vec<Fate> = suspects
        .into_iter()
        .map(|suspect| match suspect {
            None => Fate::Chained,
            Some(steps) => match answers.next() {
                Some(confirm::Again::Same) => Fate::Deadlock(steps, true),
                Some(confirm::Again::Moved) => Fate::Moved,
                Some(confirm::Again::Unreadable) | None => Fate::Deadlock(steps, false),
            },
        })
        .collect();
    let chains = chains::longest(&graph, &walk, &fates, &dump);
    let mut deadlocks: Vec<Deadlock> = fates.into_iter().filter_map(Fate::deadlock).collect();
    deadlocks.sort_by_key(|deadlock| deadlock.steps.first().map(|step| step.tid));
    LockReport {
        dump,
        locks,
        waits,
        deadlocks,
        chains,
        confirmed_after,
    }
}

/// One thread's wait for somebody.
#[derive(Clone, Copy, Debug)]
struct Edge {
    waiter: Tid,
    lock: usize,
    timed: bool,
    /// The living thread that holds the lock.
    owner: Option<(Tid, Proof)>,
    /// Who held it has ended.
    owner_ended: bool,
}

#[derive(Debug, Default)]
struct Graph {
    /// In tid order, one for each thread.
    edges: Vec<Edge>,
    /// For each edge that of its owner, when that waits too.
    next: Vec<Option<usize>>,
}

impl Graph {
    fn of(locks: &[Lock], waits: &[LockWait]) -> Graph {
        let mut edges: Vec<Edge> = waits
            .iter()
            .filter_map(|wait| {
                let lock = locks.get(wait.lock)?;
                let owner = match lock.owner {
                    Ok(Owner::Thread { tid, proof }) => Some((tid, proof)),
                    _ => None,
                };
                (owner.is_some() || wait.mode != WaitMode::Signal).then_some(Edge {
                    waiter: wait.tid,
                    lock: wait.lock,
                    timed: wait.timed,
                    owner,
                    owner_ended: matches!(lock.owner, Ok(Owner::Ended { .. })),
                })
            })
            .collect();
        edges.sort_by_key(|edge| edge.waiter);
        edges.dedup_by_key(|edge| edge.waiter);
        let places: HashMap<Tid, usize> = edges.iter().enumerate().map(|(at, edge)| (edge.waiter, at)).collect();
        let next = edges.iter().map(|edge| places.get(&edge.owner?.0).copied()).collect();
        Graph { edges, next }
    }

    /// The steps of a cycle that nothing but a change of the program can end: `None` when one of its waits
    /// has a time-out, or one of its owners is not proved.
    fn deadly(&self, cycle: &[usize]) -> Option<Vec<CycleStep>> {
        let lasts = |at: &usize| {
            let edge = &self.edges[*at];
            !edge.timed && edge.owner.is_some_and(|(_, proof)| proof.is_proved())
        };
        if !cycle.iter().all(lasts) {
            return None;
        }
        // Edges are in tid order, so the lowest place is the lowest tid.
        let first = cycle.iter().enumerate().min_by_key(|(_, at)| **at)?.0;
        let wants = |n: usize| self.edges[cycle[(first + n) % cycle.len()]].lock;
        let steps = (0..cycle.len()).map(|n| CycleStep {
            tid: self.edges[cycle[(first + n) % cycle.len()]].waiter,
            // What the one before it wants.
            holds: wants(n + cycle.len() - 1),
            wants: wants(n),
        });
        Some(steps.collect())
    }
}

/// What became of a cycle.
#[derive(Debug)]
enum Fate {
    /// With or without a second reading that says the same.
    Deadlock(Vec<CycleStep>, bool),
    /// It ends by itself, or is only likely: chains tell of it.
    Chained,
    /// The second reading found that it is none (any more).
    Moved,
}

impl Fate {
    fn deadlock(self) -> Option<Deadlock> {
        match self {
            Fate::Deadlock(steps, confirmed) => Some(Deadlock { steps, confirmed }),
            Fate::Chained | Fate::Moved => None,
        }
    }
}

#[cfg(test)]
pub(super) mod made {
    //! Locks, waits and dumps as tests make them up.

    use std::time::SystemTime;

    use super::*;
    use crate::model::{
        DumpThread, LockKind, LockPlace, Nanos, Pid, ProcessKey, ThreadKey, ThreadState, Ticks, Unknown, Wait, WaitKind,
    };

    pub fn lock(address: u64, owner: Result<Owner, Unknown>) -> Lock {
        Lock {
            address,
            kind: LockKind::PthreadMutex,
            flags: Vec::new(),
            place: LockPlace::Heap,
            owner,
            readers: None,
            told_by: "stack and memory",
            state: "held, with waiters".to_owned(),
            waiters: Vec::new(),
        }
    }

    // In the shape in which a lock has it.
    #[allow(clippy::unnecessary_wraps)]
    pub fn held_by(tid: u32) -> Result<Owner, Unknown> {
        Ok(Owner::Thread {
            tid: Tid(tid),
            proof: Proof::Recorded,
        })
    }

    pub fn wait(tid: u32, lock: usize) -> LockWait {
        LockWait {
            tid: Tid(tid),
            lock,
            mode: WaitMode::Exclusive,
            timed: false,
            function: Some("pthread_mutex_lock".into()),
        }
    }

    pub fn thread(tid: u32, state: ThreadState, kind: Option<WaitKind>) -> DumpThread {
        let process = ProcessKey {
            pid: Pid(1000),
            start: Ticks(1),
        };
        DumpThread {
            key: ThreadKey {
                process,
                tid: Tid(tid),
                start: Ticks(1),
            },
            name: format!("worker-{tid}").into(),
            state,
            state_letter: b'S',
            own_tid: Tid(tid),
            turns: Ok(1),
            call: Err(Unknown::NotAsked),
            wait: kind.ok_or(Unknown::Running).map(|kind| Wait {
                kind,
                syscall: None,
                address: None,
                kernel_function: Err(Unknown::Denied),
                object: Err(Unknown::NotAsked),
                timed: None,
                lock: None,
                owner: None,
            }),
            stack: Err(Unknown::NotAsked),
        }
    }

    pub fn dump(threads: Vec<DumpThread>) -> Arc<Dump> {
        Arc::new(Dump {
            process: ProcessKey {
                pid: Pid(1000),
                start: Ticks(1),
            },
            name: "made".into(),
            taken_at: Nanos(0),
            wall_clock: SystemTime::UNIX_EPOCH,
            took: Nanos(0),
            threads,
            truncated: false,
            paused: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::made::{dump, held_by, lock, wait};
    use super::*;
    use crate::kernel::ProcRoot;
    use crate::model::{RootDoing, ThreadState, Unknown, WaitKind};

    fn told(locks: Vec<Lock>, waits: Vec<LockWait>) -> LockReport {
        // A captured tree: nothing in it can be read again, so nothing is ever confirmed.
        let dumper = Dumper::new(&ProcRoot::captured("/nowhere"));
        let threads = (1..=40)
            .map(|tid| made::thread(tid, ThreadState::Sleeping, Some(WaitKind::Futex)))
            .collect();
        report(&dumper, dump(threads), Found { locks, waits })
    }

    fn step(tid: u32, holds: usize, wants: usize) -> CycleStep {
        CycleStep {
            tid: Tid(tid),
            holds,
            wants,
        }
    }

    #[test]
    fn a_cycle_begins_with_its_lowest_tid_and_each_holds_what_the_one_before_it_wants() {
        // 5 wants what 9 holds, 9 wants what 7 holds, 7 wants what 5 holds.
        let locks = vec![lock(1, held_by(9)), lock(2, held_by(7)), lock(3, held_by(5))];
        let report = told(locks, vec![wait(5, 0), wait(7, 2), wait(9, 1)]);
        assert_eq!(report.deadlocks.len(), 1);
        assert_eq!(report.deadlocks[0].steps, [step(5, 2, 0), step(9, 0, 1), step(7, 1, 2)]);
        assert!(!report.deadlocks[0].confirmed);
        // All of it is told by the deadlock: there is no tail that a chain could add.
        assert_eq!(report.chains, []);
    }

    #[test]
    fn who_wants_what_it_holds_waits_for_itself() {
        let report = told(vec![lock(1, held_by(5))], vec![wait(5, 0)]);
        assert_eq!(report.deadlocks[0].steps, [step(5, 0, 0)]);
    }

    #[test]
    fn a_join_is_an_edge_like_a_lock() {
        let mut joined = lock(0x990, held_by(6));
        joined.owner = Ok(Owner::Thread {
            tid: Tid(6),
            proof: Proof::JoinTarget,
        });
        let mut join = wait(5, 0);
        join.mode = WaitMode::End;
        let report = told(vec![joined, lock(1, held_by(5))], vec![join, wait(6, 1)]);
        assert_eq!(report.deadlocks[0].steps, [step(5, 1, 0), step(6, 0, 1)]);
    }

    #[test]
    fn a_time_out_ends_the_cycle_so_it_is_a_chain_only() {
        let mut timed = wait(6, 1);
        timed.timed = true;
        let locks = vec![lock(1, held_by(6)), lock(2, held_by(5))];
        let report = told(locks, vec![wait(5, 0), timed]);
        assert_eq!(report.deadlocks, []);
        assert_eq!(report.chains.len(), 1);
        assert_eq!(report.chains[0].root_doing, RootDoing::InCycle);
        assert_eq!(report.chains[0].links.len(), 2);
    }

    #[test]
    fn an_owner_that_is_only_likely_makes_no_deadlock() {
        let likely = Ok(Owner::Thread {
            tid: Tid(6),
            proof: Proof::Likely,
        });
        let report = told(vec![lock(1, likely), lock(2, held_by(5))], vec![wait(5, 0), wait(6, 1)]);
        assert_eq!(report.deadlocks, []);
        assert_eq!(report.chains[0].root_doing, RootDoing::InCycle);
    }

    #[test]
    fn two_cycles_are_two_deadlocks_and_who_waits_behind_one_is_in_none() {
        let locks = vec![
            lock(1, held_by(2)),
            lock(2, held_by(1)),
            lock(3, held_by(12)),
            lock(4, held_by(11)),
        ];
        let waits = vec![wait(1, 0), wait(2, 1), wait(3, 1), wait(11, 2), wait(12, 3)];
        let report = told(locks, waits);
        let tids: Vec<Vec<u32>> = report
            .deadlocks
            .iter()
            .map(|deadlock| deadlock.steps.iter().map(|step| step.tid.0).collect())
            .collect();
        assert_eq!(tids, [[1, 2], [11, 12]]);
        // 3 waits for a lock that 1 holds.
        let chain = &report.chains[0];
        assert_eq!((chain.root, chain.root_doing), (Some(Tid(1)), RootDoing::InCycle));
        assert_eq!((chain.links.len(), chain.behind_root), (1, 2));
    }

    #[test]
    fn who_waits_to_be_told_waits_for_nobody_in_particular() {
        let mut condition = wait(6, 1);
        condition.mode = WaitMode::Signal;
        let locks = vec![lock(1, held_by(6)), lock(2, Err(Unknown::OwnerNotRecorded))];
        let report = told(locks, vec![wait(5, 0), condition]);
        let chain = &report.chains[0];
        assert_eq!(
            (chain.root, chain.root_doing),
            (Some(Tid(6)), RootDoing::WaitingForSignal)
        );
        assert_eq!((report.chains.len(), chain.behind_root), (1, 1));
    }

    #[test]
    fn a_wait_for_a_lock_that_is_not_in_the_list_is_left_out() {
        let report = told(vec![lock(1, held_by(6))], vec![wait(5, 7)]);
        assert_eq!((report.chains.len(), report.deadlocks.len()), (0, 0));
    }
}
