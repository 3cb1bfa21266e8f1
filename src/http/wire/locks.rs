//! The locks that threads wait for, who holds them, cycles and chains.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::stacks::{self, Frame};
use super::{ProcessRef, Unknown, Unknowns, hex};
use crate::model::{self, LockPlace, Tid};

#[derive(Debug, Serialize, ToSchema)]
pub struct Owner<'a> {
    /// thread, ended (the thread is gone and has kept the lock) or foreign (not of this process).
    kind: &'static str,
    /// In our pid namespace; null unless it is a living thread of this process.
    tid: Option<u32>,
    name: Option<&'a str>,
    /// The tid that the lock's word holds, where no living thread has it.
    recorded_tid: Option<u32>,
    /// recorded, futex_word, join_target, ledger, kernel_lock or likely. Null unless it is a thread.
    proof: Option<&'static str>,
    /// False for what is only likely: no deadlock is ever told from it.
    proved: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Place<'a> {
    /// global, mapping, heap, stack, shared_memory, thread_block or unknown.
    kind: &'static str,
    /// `name+offset`, a path, or words: made to be read.
    text: String,
    module: Option<&'a str>,
    symbol: Option<&'a str>,
    offset: Option<u64>,
    /// Whose stack or block it is.
    tid: Option<u32>,
}

impl<'a> Place<'a> {
    fn of(place: &'a LockPlace) -> Place<'a> {
        let mut told = Place {
            kind: "unknown",
            text: "unknown".to_owned(),
            module: None,
            symbol: None,
            offset: None,
            tid: None,
        };
        match place {
            LockPlace::Global { module, symbol, offset } => {
                told.kind = "global";
                told.text = if *offset == 0 {
                    symbol.to_string()
                } else {
                    format!("{symbol}+{offset:#x}")
                };
                (told.module, told.symbol, told.offset) = (Some(&**module), Some(&**symbol), Some(*offset));
            }
            LockPlace::Mapping { name, offset } | LockPlace::SharedMemory { name, offset } => {
                told.kind = if matches!(place, LockPlace::Mapping { .. }) {
                    "mapping"
                } else {
                    "shared_memory"
                };
                told.text = format!("{name}+{offset:#x}");
                (told.module, told.offset) = (Some(&**name), Some(*offset));
            }
            LockPlace::Heap => (told.kind, told.text) = ("heap", "heap".to_owned()),
            LockPlace::Stack { tid } => {
                (told.kind, told.text, told.tid) = ("stack", format!("stack of thread {tid}"), Some(tid.0));
            }
            LockPlace::ThreadBlock { tid } => {
                (told.kind, told.text, told.tid) = ("thread_block", format!("thread {tid}'s own block"), Some(tid.0));
            }
            LockPlace::Unknown => {}
        }
        told
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Lock<'a> {
    /// Its place in this list, by which the others name it.
    id: usize,
    address: String,
    /// pthread_mutex, pthread_rwlock, pthread_cond, join, rust_mutex…
    kind: &'static str,
    flags: &'a [&'static str],
    place: Place<'a>,
    owner: Option<Owner<'a>>,
    /// Why there is no owner.
    owner_unknown: Option<Unknown>,
    readers: Option<u32>,
    /// What spoke for the kind: `stack and memory`, `stack`, `call`, `ledger` or `nothing`.
    told_by: &'static str,
    state: &'a str,
    waiters: Vec<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct LockWait<'a> {
    tid: u32,
    name: &'a str,
    /// An id of `locks`.
    lock: usize,
    /// exclusive, shared, signal or end.
    mode: &'static str,
    timed: bool,
    /// The function that waits.
    function: Option<&'a str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Holder<'a> {
    tid: u32,
    name: &'a str,
    /// Ids of `locks`, with proof; joins are not held.
    locks: Vec<usize>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CycleStep<'a> {
    tid: u32,
    name: &'a str,
    holds: usize,
    wants: usize,
    /// Null when its stack could not be read.
    frames: Option<Vec<Frame<'a>>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Deadlock<'a> {
    /// Seen twice with unchanged switch counts.
    confirmed: bool,
    /// In cycle order: each holds what the one before it wants.
    threads: Vec<CycleStep<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ChainLink<'a> {
    tid: u32,
    name: &'a str,
    lock: usize,
    owner_tid: Option<u32>,
    proof: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Root<'a> {
    tid: u32,
    name: &'a str,
    /// Where it stands; null when its stack could not be read.
    frames: Option<Vec<Frame<'a>>>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Chain<'a> {
    /// From a thread that waits towards the root.
    links: Vec<ChainLink<'a>>,
    /// Null when the last lock's owner is not known.
    root: Option<Root<'a>>,
    /// on_cpu, runnable, sleeping, disk_sleep, input_output, waiting_for_signal, stopped, in_cycle,
    /// owner_unknown or ended.
    root_doing: &'static str,
    /// Threads that wait behind this root.
    behind_root: u32,
}

/// All lock waits of a process at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Locks<'a> {
    process: ProcessRef,
    taken_at: String,
    /// Threads looked at.
    total: usize,
    truncated: bool,
    /// Between the two readings that confirm a deadlock; null when nothing needed a second one.
    confirmed_after_seconds: Option<f64>,
    deadlocks: Vec<Deadlock<'a>>,
    /// Most threads behind the root first.
    chains: Vec<Chain<'a>>,
    /// Most waiters first.
    locks: Vec<Lock<'a>>,
    /// In tid order.
    waits: Vec<LockWait<'a>>,
    /// Threads that hold a lock that somebody waits for, in tid order. What nobody waits for is not seen.
    holders: Vec<Holder<'a>>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    unknown: Unknowns,
}

impl<'a> Locks<'a> {
    pub fn of(report: &'a model::LockReport, process: ProcessRef, taken_at: String) -> Locks<'a> {
        let dump = &*report.dump;
        let name = |tid: Tid| dump.thread(tid).map_or("", |thread| &*thread.name);
        let frames = |tid: Tid| {
            let stack = dump.thread(tid)?.stack.as_ref().ok()?;
            Some(stacks::frames(stack))
        };
        let mut gaps = super::Gaps::default();
        for thread in &dump.threads {
            if let Some(unknown) = thread.wait_unread() {
                gaps.count("waits", unknown);
            }
        }
        let owner = |owner: &model::Owner| match *owner {
            model::Owner::Thread { tid, proof } => Owner {
                kind: "thread",
                tid: Some(tid.0),
                name: Some(name(tid)),
                recorded_tid: None,
                proof: Some(proof.name()),
                proved: proof.is_proved(),
            },
            model::Owner::Ended { own_tid } | model::Owner::Foreign { own_tid } => Owner {
                kind: if matches!(owner, model::Owner::Ended { .. }) {
                    "ended"
                } else {
                    "foreign"
                },
                tid: None,
                name: None,
                recorded_tid: Some(own_tid),
                proof: None,
                proved: true,
            },
        };
        Locks {
            process,
            taken_at,
            total: dump.threads.len(),
            truncated: dump.truncated,
            confirmed_after_seconds: report.confirmed_after.map(|span| span.seconds()),
            deadlocks: report
                .deadlocks
                .iter()
                .map(|deadlock| Deadlock {
                    confirmed: deadlock.confirmed,
                    threads: deadlock
                        .steps
                        .iter()
                        .map(|step| CycleStep {
                            tid: step.tid.0,
                            name: name(step.tid),
                            holds: step.holds,
                            wants: step.wants,
                            frames: frames(step.tid),
                        })
                        .collect(),
                })
                .collect(),
            chains: report
                .chains
                .iter()
                .map(|chain| Chain {
                    links: chain
                        .links
                        .iter()
                        .map(|link| ChainLink {
                            tid: link.waiter.0,
                            name: name(link.waiter),
                            lock: link.lock,
                            owner_tid: link.owner.map(|owner| owner.0),
                            proof: link.proof.map(|proof| proof.name()),
                        })
                        .collect(),
                    root: chain.root.map(|root| Root {
                        tid: root.0,
                        name: name(root),
                        frames: frames(root),
                    }),
                    root_doing: chain.root_doing.name(),
                    behind_root: chain.behind_root,
                })
                .collect(),
            locks: report
                .locks
                .iter()
                .enumerate()
                .map(|(id, lock)| Lock {
                    id,
                    address: hex(lock.address),
                    kind: lock.kind.name(),
                    flags: &lock.flags,
                    place: Place::of(&lock.place),
                    owner: lock.owner.as_ref().ok().map(owner),
                    owner_unknown: lock.owner.as_ref().err().map(|unknown| Unknown::of(*unknown)),
                    readers: lock.readers,
                    told_by: lock.told_by,
                    state: &lock.state,
                    waiters: lock.waiters.iter().map(|tid| tid.0).collect(),
                })
                .collect(),
            waits: report
                .waits
                .iter()
                .map(|wait| LockWait {
                    tid: wait.tid.0,
                    name: name(wait.tid),
                    lock: wait.lock,
                    mode: wait.mode.name(),
                    timed: wait.timed,
                    function: wait.function.as_deref(),
                })
                .collect(),
            holders: holders(report, name),
            unknown: gaps.finish(),
        }
    }
}

fn holders<'a>(report: &'a model::LockReport, name: impl Fn(Tid) -> &'a str) -> Vec<Holder<'a>> {
    let mut held: BTreeMap<Tid, Vec<usize>> = BTreeMap::new();
    for (id, lock) in report.locks.iter().enumerate() {
        if let Ok(model::Owner::Thread { tid, proof }) = lock.owner
            && proof.is_proved()
            && proof != model::Proof::JoinTarget
        {
            held.entry(tid).or_default().push(id);
        }
    }
    held.into_iter()
        .map(|(tid, locks)| Holder {
            tid: tid.0,
            name: name(tid),
            locks,
        })
        .collect()
}
