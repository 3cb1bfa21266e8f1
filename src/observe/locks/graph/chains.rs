//! For each thread that waiting comes down to: the longest chain to it, how many wait behind it, and what
//! it is doing instead.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::cycles::{End, Walk};
use super::{Fate, Graph};
use crate::model::{Chain, ChainLink, Dump, RootDoing, StackSource, ThreadState, Tid, WaitKind};

/// What chains end at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Root {
    Thread(Tid),
    /// One whose owner is no living thread of the process, or is not known.
    Lock(usize),
    Cycle(usize),
}

/// What is known of a root after all waiters were counted.
struct Behind {
    waiters: u32,
    /// The edge farthest away, and how far.
    farthest: usize,
    depth: u32,
}

pub(super) fn longest(graph: &Graph, walk: &Walk, fates: &[Fate], dump: &Dump) -> Vec<Chain> {
    let mut roots: HashMap<Root, Behind> = HashMap::new();
    for (at, (end, depth)) in walk.ends.iter().zip(&walk.depths).enumerate() {
        let root = match *end {
            End::Cycle(cycle) => Root::Cycle(cycle),
            End::Edge(last) => match graph.edges[last].owner {
                Some((tid, _)) => Root::Thread(tid),
                None => Root::Lock(graph.edges[last].lock),
            },
        };
        let behind = roots.entry(root).or_insert(Behind {
            waiters: 0,
            farthest: at,
            depth: *depth,
        });
        behind.waiters += 1;
        // Edges come in tid order: of equally long chains the one from the lowest tid stays.
        if *depth > behind.depth {
            (behind.farthest, behind.depth) = (at, *depth);
        }
    }
    let mut chains: Vec<Chain> = roots
        .into_iter()
        .filter_map(|(root, behind)| chain(graph, walk, fates, dump, root, &behind))
        .collect();
    chains.sort_by_key(|chain| {
        let first = chain.links.first();
        (Reverse(chain.behind_root), first.map(|link| (link.waiter, link.lock)))
    });
    chains
}

fn chain(graph: &Graph, walk: &Walk, fates: &[Fate], dump: &Dump, root: Root, behind: &Behind) -> Option<Chain> {
    // In a cycle of which nothing more is said the chain goes all the way round; else up to the cycle.
    let mut length = behind.depth as usize;
    if let Root::Cycle(cycle) = root {
        match fates.get(cycle)? {
            Fate::Moved => return None,
            Fate::Deadlock(..) if length == 0 => return None,
            Fate::Chained if length == 0 => length = walk.cycles.get(cycle)?.len(),
            Fate::Deadlock(..) | Fate::Chained => {}
        }
    }
    let mut links = Vec::with_capacity(length);
    let mut at = behind.farthest;
    let mut ended = false;
    while links.len() < length {
        let edge = graph.edges[at];
        ended = edge.owner_ended;
        links.push(ChainLink {
            waiter: edge.waiter,
            lock: edge.lock,
            owner: edge.owner.map(|(tid, _)| tid),
            proof: edge.owner.map(|(_, proof)| proof),
        });
        match graph.next[at] {
            Some(next) => at = next,
            None => break,
        }
    }
    let (root, root_doing, behind_root) = match root {
        Root::Thread(tid) => (Some(tid), doing(dump, tid), behind.waiters),
        Root::Lock(_) if ended => (None, RootDoing::Ended, behind.waiters),
        Root::Lock(_) => (None, RootDoing::OwnerUnknown, behind.waiters),
        // The thread of the cycle that the chain meets first waits behind nobody but itself.
        Root::Cycle(_) => (links.last()?.owner, RootDoing::InCycle, behind.waiters - 1),
    };
    Some(Chain {
        links,
        root,
        root_doing,
        behind_root,
    })
}

/// What a thread does that waits for no lock.
fn doing(dump: &Dump, tid: Tid) -> RootDoing {
    let Some(thread) = dump.thread(tid) else {
        // It was left out of the dump, or has ended since its lock was read.
        return if dump.truncated {
            RootDoing::OwnerUnknown
        } else {
            RootDoing::Ended
        };
    };
    match thread.state {
        ThreadState::Runnable => match &thread.stack {
            // Samples are taken on a CPU.
            Ok(stack) if stack.source == StackSource::Sample => RootDoing::OnCpu,
            _ => RootDoing::Runnable,
        },
        ThreadState::DiskSleep => RootDoing::DiskSleep,
        ThreadState::Stopped | ThreadState::Traced => RootDoing::Stopped,
        ThreadState::Zombie | ThreadState::Dead => RootDoing::Ended,
        ThreadState::Sleeping | ThreadState::Idle | ThreadState::Parked => match &thread.wait {
            Ok(wait) => match wait.kind {
                WaitKind::Poll | WaitKind::Read | WaitKind::Write | WaitKind::Socket | WaitKind::Io => {
                    RootDoing::InputOutput
                }
                WaitKind::Futex | WaitKind::Signal | WaitKind::Child => RootDoing::WaitingForSignal,
                WaitKind::Sleep | WaitKind::Other => RootDoing::Sleeping,
            },
            Err(_) => RootDoing::Sleeping,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::made::{dump, held_by, lock, thread, wait};
    use super::super::{cycles, made};
    use super::*;
    use crate::model::{Lock, LockWait, Owner, Stack, StackEnd, Unknown};
    use proptest::prelude::*;

    fn chains(locks: &[Lock], waits: &[LockWait], dump: &Dump) -> Vec<Chain> {
        let graph = Graph::of(locks, waits);
        let walk = cycles::follow(&graph.next);
        let fates: Vec<Fate> = walk.cycles.iter().map(|_| Fate::Chained).collect();
        longest(&graph, &walk, &fates, dump)
    }

    fn tids(chain: &Chain) -> Vec<u32> {
        chain.links.iter().map(|link| link.waiter.0).collect()
    }

    #[test]
    fn the_longest_chain_leads_to_the_root_and_all_behind_it_are_counted() {
        // 1 behind 2 behind 3, which runs; 4 to 9 wait for 3 as well; 11 behind 10, which sleeps.
        let locks = [lock(1, held_by(2)), lock(2, held_by(3)), lock(3, held_by(10))];
        let mut waits = vec![wait(1, 0), wait(2, 1), wait(11, 2)];
        waits.extend((4..=9).map(|tid| wait(tid, 1)));
        let dump = dump(vec![
            thread(3, ThreadState::Runnable, None),
            thread(10, ThreadState::Sleeping, Some(WaitKind::Sleep)),
        ]);
        let found = chains(&locks, &waits, &dump);
        assert_eq!(found.len(), 2);
        assert_eq!((tids(&found[0]), found[0].behind_root), (vec![1, 2], 8));
        assert_eq!(
            (found[0].root, found[0].root_doing),
            (Some(Tid(3)), RootDoing::Runnable)
        );
        assert_eq!(found[0].links[1].owner, Some(Tid(3)));
        assert_eq!(
            (found[1].root, found[1].root_doing),
            (Some(Tid(10)), RootDoing::Sleeping)
        );
    }

    #[test]
    fn a_lock_that_names_nobody_is_a_root_without_a_thread() {
        let locks = [
            lock(1, Err(Unknown::OwnerNotRecorded)),
            lock(2, Ok(Owner::Ended { own_tid: 77 })),
            lock(3, Ok(Owner::Foreign { own_tid: 78 })),
        ];
        let waits = [wait(1, 0), wait(2, 0), wait(3, 1), wait(4, 2)];
        let found = chains(&locks, &waits, &dump(Vec::new()));
        let told: Vec<_> = found.iter().map(|chain| (chain.root, chain.root_doing)).collect();
        let none = |doing| (None, doing);
        assert_eq!(
            told,
            [
                none(RootDoing::OwnerUnknown),
                none(RootDoing::Ended),
                none(RootDoing::OwnerUnknown)
            ]
        );
        assert_eq!(found[0].behind_root, 2);
        assert_eq!(found[0].links[0].owner, None);
    }

    #[test]
    fn what_the_root_does_is_told_by_its_state_and_its_wait() {
        let check = |root: crate::model::DumpThread, expected: RootDoing| {
            let dump = dump(vec![root]);
            let found = chains(&[lock(1, held_by(3))], &[wait(1, 0)], &dump);
            assert_eq!(found[0].root_doing, expected);
        };
        check(thread(3, ThreadState::Runnable, None), RootDoing::Runnable);
        check(thread(3, ThreadState::DiskSleep, None), RootDoing::DiskSleep);
        check(thread(3, ThreadState::Stopped, None), RootDoing::Stopped);
        check(thread(3, ThreadState::Zombie, None), RootDoing::Ended);
        for (kind, doing) in [
            (WaitKind::Read, RootDoing::InputOutput),
            (WaitKind::Poll, RootDoing::InputOutput),
            (WaitKind::Futex, RootDoing::WaitingForSignal),
            (WaitKind::Child, RootDoing::WaitingForSignal),
            (WaitKind::Sleep, RootDoing::Sleeping),
        ] {
            check(thread(3, ThreadState::Sleeping, Some(kind)), doing);
        }
        let mut sampled = thread(3, ThreadState::Runnable, None);
        sampled.stack = Ok(Arc::new(Stack {
            frames: Vec::new(),
            end: StackEnd::NoModule,
            source: StackSource::Sample,
            moved: false,
        }));
        check(sampled, RootDoing::OnCpu);
        check(thread(4, ThreadState::Runnable, None), RootDoing::Ended);
    }

    #[test]
    fn of_a_cycle_that_has_moved_on_nothing_is_told() {
        let locks = [lock(1, held_by(2)), lock(2, held_by(1))];
        let graph = Graph::of(&locks, &[wait(1, 0), wait(2, 1), wait(3, 0)]);
        let walk = cycles::follow(&graph.next);
        assert!(longest(&graph, &walk, &[Fate::Moved], &dump(Vec::new())).is_empty());
    }

    proptest! {
        /// Any locks, any owners: everybody waits behind exactly one root, and links hang together.
        #[test]
        fn every_waiter_is_behind_one_root(
            owners in prop::collection::vec(0_u32..30, 1..20),
            wanted in prop::collection::vec(0_usize..20, 0..25),
        ) {
            let locks: Vec<Lock> = owners
                .iter()
                .map(|owner| match *owner {
                    0 => lock(1, Err(Unknown::OwnerNotRecorded)),
                    tid => lock(1, held_by(tid)),
                })
                .collect();
            let waits: Vec<LockWait> = wanted
                .iter()
                .enumerate()
                .map(|(n, wanted)| made::wait(n as u32 + 1, wanted % locks.len()))
                .collect();
            let found = chains(&locks, &waits, &dump(Vec::new()));
            let behind: u32 = found
                .iter()
                .map(|chain| chain.behind_root + u32::from(chain.root_doing == RootDoing::InCycle))
                .sum();
            prop_assert_eq!(behind as usize, waits.len());
            for chain in &found {
                prop_assert!(!chain.links.is_empty() && chain.links.len() <= waits.len());
                for pair in chain.links.windows(2) {
                    prop_assert_eq!(pair[0].owner, Some(pair[1].waiter));
                }
                prop_assert_eq!(chain.links.last().unwrap().owner, chain.root);
                for link in &chain.links {
                    prop_assert_eq!(locks[link.lock].owner.as_ref().ok().and_then(Owner::thread), link.owner);
                }
            }
        }
    }
}
