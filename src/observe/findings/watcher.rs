//! Decides when a process is worth a dear look (its stacks, who waits for whom, its memory map), and takes it.
//!
//! A plain thread, `ts-findings`. Once a second it goes through the newest snapshots. A thread that has
//! waited in a futex over two of them without a turn is *standing*; a process is due for a look when a
//! thread stands that did not at the last look, when one that a finding names has moved, or when a
//! detector said that another look would show more. As long as nothing of that happens the last look
//! still holds, and costs nothing. So an idle process is looked at once or twice, and a busy one whose
//! locks change hands all the time at the pace below.
//!
//! What it costs: a look at one process is followed by a pause of a hundred times the CPU time it took,
//! times the number of processes that want looks, two seconds at least. All looks together stay below
//! one hundredth of a core. A client that asks what is wrong with a process ([`Watcher::look_now`]) pays for
//! a look itself, on its own thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::board::{Board, Detail};
use super::creation_sites;
use super::lock_detectors::{KINDS, LockDetectors};
use super::memory_growth::KindGrowth;
use super::stillness::Stillness;
use crate::kernel::clock;
use crate::model::{FindingKind, Nanos, ProcessKey, Snapshot, ThreadKey, ThreadState, Tid, WaitKind};
use crate::observe::sampler::Shared;
use crate::observe::stacks::StackOptions;
use crate::observe::{InspectError, locks, memory};

/// Between two rounds.
pub(in crate::observe) const ROUND: Duration = Duration::from_secs(1);
/// Two snapshots of a process that is read once a second, less what the sampler may be late.
const STANDING: Nanos = Nanos(900_000_000);
/// Between two looks at one process, however cheap.
const SHORTEST_PAUSE: Nanos = Nanos(2_000_000_000);
/// A pause is so many times what the look cost.
const COST_FACTOR: u64 = 100;
/// The same for looks that a client asks for and pays.
const ASKED_FACTOR: u64 = 20;
/// A process that refuses is not asked again for this long.
const REFUSED_PAUSE: Nanos = Nanos(60_000_000_000);
/// Between two memory maps, and two dumps for creation sites.
const DEAR_PAUSE: Nanos = Nanos(30_000_000_000);
/// For one look. What is not read by then is left out.
const PATIENCE: Duration = Duration::from_secs(2);
/// A client waits this long for a look that another has begun.
const WAIT_FOR_OTHER: Duration = Duration::from_secs(2);
const MAX_DEPTH: usize = 64;

/// What is remembered of each watched process between looks. Shared by its thread and those who ask.
#[derive(Debug, Default)]
pub(in crate::observe) struct Watcher(Mutex<HashMap<ProcessKey, Arc<Mutex<Looked>>>>);

#[derive(Debug, Default)]
struct Looked {
    detectors: LockDetectors,
    /// Threads that wait in futexes, by the snapshots.
    waiting: Stillness,
    shown_at: Nanos,
    /// Those that stood at the last look, in tid order.
    stood: Vec<(ThreadKey, u64)>,
    /// Those of them that a finding names.
    named: Vec<(ThreadKey, u64)>,
    has_findings: bool,
    looked_at: Option<Nanos>,
    cost: Nanos,
    again_at: Option<Nanos>,
    refused_until: Nanos,
    memory: Dear<KindGrowth>,
    sites: Dear<()>,
}

/// A reading that is taken seldom.
#[derive(Debug)]
struct Dear<T> {
    next: Nanos,
    first: Option<T>,
}

impl<T> Default for Dear<T> {
    fn default() -> Dear<T> {
        Dear {
            next: Nanos(0),
            first: None,
        }
    }
}

/// How a process is looked at here: only what blocks matters.
fn options() -> StackOptions {
    StackOptions {
        pause: false,
        max_depth: MAX_DEPTH,
        patience: PATIENCE,
        symbols: true,
        sample_running: false,
        only: None,
    }
}

/// The thread's life. Ends when the sampler is told to stop.
pub(in crate::observe) fn run(shared: &Shared) {
    loop {
        let snapshots: Vec<Arc<Snapshot>> = {
            let mut state = shared.state.lock();
            let next = Instant::now() + ROUND;
            // Woken early only to stop; a wake-up without a reason is of no consequence.
            while !state.stop && !shared.ended.wait_until(&mut state, next).timed_out() {}
            if state.stop {
                return;
            }
            state
                .watched
                .values()
                .filter_map(|watched| watched.outcome.as_ref()?.as_ref().ok().cloned())
                .collect()
        };
        shared.watcher.round(shared, &snapshots);
    }
}

impl Watcher {
    fn round(&self, shared: &Shared, snapshots: &[Arc<Snapshot>]) {
        let watched: Vec<ProcessKey> = {
            let mut watched: Vec<_> = snapshots.iter().map(|snapshot| snapshot.process).collect();
            watched.sort_unstable();
            watched
        };
        self.0.lock().retain(|key, _| watched.binary_search(key).is_ok());
        let mut due: Vec<(Arc<Mutex<Looked>>, &Arc<Snapshot>)> = Vec::new();
        for snapshot in snapshots {
            let looked = self.of(snapshot.process);
            // A client has it looked at just now: then it is not due.
            let Some(mut state) = looked.try_lock() else { continue };
            if state.is_due(snapshot, clock::monotonic(), &shared.findings) {
                drop(state);
                due.push((looked, snapshot));
            }
        }
        let wanting = due.len().max(1) as u64;
        for (looked, snapshot) in due {
            if shared.state.lock().stop {
                return;
            }
            let Some(mut state) = looked.try_lock() else { continue };
            let pause = Nanos(state.cost.0.saturating_mul(COST_FACTOR * wanting).max(SHORTEST_PAUSE.0));
            if state.rested(clock::monotonic(), pause) {
                state.look(shared, snapshot);
            }
        }
        for snapshot in snapshots {
            if shared.state.lock().stop {
                return;
            }
            self.describe(shared, snapshot);
        }
    }

    fn of(&self, process: ProcessKey) -> Arc<Mutex<Looked>> {
        Arc::clone(self.0.lock().entry(process).or_default())
    }

    /// Takes a look for a client who asks, unless the last one is fresh or was so dear that it must do.
    pub fn look_now(&self, shared: &Shared, snapshot: &Snapshot) {
        let waits = |snapshot: &Snapshot| snapshot.threads.iter().any(|thread| in_futex(thread));
        if shared.settings.procfs.is_captured() || !waits(snapshot) {
            return;
        }
        let looked = self.of(snapshot.process);
        let Some(mut state) = looked.try_lock_for(WAIT_FOR_OTHER) else {
            return;
        };
        let now = clock::monotonic();
        let pause = Nanos(state.cost.0.saturating_mul(ASKED_FACTOR).max(SHORTEST_PAUSE.0));
        if state.refused_until <= now && state.rested(now, pause) {
            state.look(shared, snapshot);
        }
    }

    /// A closer look at findings that stand: what kind of memory grew, where threads were started.
    fn describe(&self, shared: &Shared, snapshot: &Snapshot) {
        for (kind, culprits) in shared.findings.standing(snapshot.process) {
            let looked = self.of(snapshot.process);
            let Some(mut state) = looked.try_lock() else { continue };
            let now = clock::monotonic();
            let detail = match kind {
                FindingKind::MemoryGrowth => state.memory.read(now, |first| {
                    let map = memory::read(&shared.settings.procfs, snapshot.process.pid).ok()?;
                    if map.process != snapshot.process {
                        return None;
                    }
                    let kinds = KindGrowth::of(&map)?;
                    let Some(before) = first else {
                        *first = Some(kinds);
                        return None;
                    };
                    let (words, facts) = kinds.since(before)?;
                    Some(Detail {
                        words,
                        facts,
                        stack: None,
                    })
                }),
                FindingKind::ThreadLeak => state.sites.read(now, |_| {
                    let dump = shared.dumper.dump(snapshot.process.pid, &options()).ok()?;
                    if dump.process != snapshot.process {
                        return None;
                    }
                    creation_sites::detail(&dump, &culprits)
                }),
                _ => None,
            };
            if let Some(detail) = detail {
                shared.findings.describe(snapshot.process, kind, &detail);
            }
        }
    }
}

impl<T> Dear<T> {
    /// Reads unless that was done lately, and pauses by what it cost.
    fn read(&mut self, now: Nanos, read: impl FnOnce(&mut Option<T>) -> Option<Detail>) -> Option<Detail> {
        if now < self.next {
            return None;
        }
        let before = clock::thread_cpu();
        let detail = read(&mut self.first);
        let cost = clock::thread_cpu().saturating_sub(before);
        self.next = Nanos(now.0 + cost.0.saturating_mul(COST_FACTOR).max(DEAR_PAUSE.0));
        detail
    }
}

fn in_futex(thread: &crate::model::Thread) -> bool {
    matches!(thread.state, ThreadState::Sleeping | ThreadState::Parked)
        && thread.wait.as_ref().is_ok_and(|wait| wait.kind == WaitKind::Futex)
}

impl Looked {
    fn rested(&self, now: Nanos, pause: Nanos) -> bool {
        self.looked_at.is_none_or(|at| now.saturating_sub(at) >= pause)
    }

    /// Shows it a snapshot. Whether a look would show something new.
    fn is_due(&mut self, snapshot: &Snapshot, now: Nanos, board: &Board) -> bool {
        if snapshot.taken_at > self.shown_at {
            self.shown_at = snapshot.taken_at;
            let rows = snapshot.threads.iter().filter(|thread| in_futex(thread));
            let turns = rows.filter_map(|thread| Some((thread.key, thread.timeslices.ok()?)));
            self.waiting.look(turns, snapshot.taken_at);
        }
        if now < self.refused_until {
            return false;
        }
        let standing: Vec<(ThreadKey, u64)> = self.waiting.standing(STANDING, self.shown_at).collect();
        let stands = |thread: &(ThreadKey, u64)| {
            standing
                .binary_search_by_key(&thread.0.tid, |(key, _)| key.tid)
                .is_ok_and(|at| standing[at] == *thread)
        };
        let new = !is_within(&standing, &self.stood);
        let moved = self.has_findings && !(self.named.iter().all(stands) && !self.named.is_empty());
        let again = self.again_at.is_some_and(|at| at <= now);
        if self.has_findings && !moved {
            board.still_holds(snapshot.process, &KINDS, now);
        }
        new || moved || again
    }

    fn look(&mut self, shared: &Shared, snapshot: &Snapshot) {
        let before = clock::thread_cpu();
        let outcome = locks::read(&shared.dumper, snapshot.process.pid, &options());
        let now = clock::monotonic();
        self.looked_at = Some(now);
        self.again_at = None;
        self.stood = self.waiting.standing(STANDING, self.shown_at).collect();
        match outcome {
            Ok(report) if report.dump.process == snapshot.process => {
                let seen = self.detectors.look(&report, now);
                self.again_at = seen.again.map(|after| Nanos(now.0 + after.0));
                self.has_findings = !seen.sightings.is_empty();
                let mut named: Vec<Tid> = seen
                    .sightings
                    .iter()
                    .flat_map(|sighting| sighting.culprits.iter().copied())
                    .collect();
                named.sort_unstable();
                let is_named = |thread: &&(ThreadKey, u64)| named.binary_search(&thread.0.tid).is_ok();
                self.named = self.stood.iter().filter(is_named).copied().collect();
                // What was left out of the dump may hold what was seen before.
                let kinds: &[FindingKind] = if report.dump.truncated { &[] } else { &KINDS };
                let name = &snapshot.name;
                shared
                    .findings
                    .replace(snapshot.process, name, kinds, seen.sightings, now, SystemTime::now());
            }
            Ok(_) | Err(InspectError::NoProcess(_) | InspectError::Ended(_)) => {}
            Err(error) => {
                tracing::debug!(pid = %snapshot.process.pid, %error, "no look at the locks of a process");
                self.refused_until = Nanos(now.0 + REFUSED_PAUSE.0);
            }
        }
        self.cost = clock::thread_cpu().saturating_sub(before);
    }
}

/// Whether all of `some` are in `all`; both in tid order.
fn is_within(some: &[(ThreadKey, u64)], all: &[(ThreadKey, u64)]) -> bool {
    let mut all = all.iter();
    some.iter()
        .all(|thread| all.by_ref().find(|other| other.0.tid >= thread.0.tid) == Some(thread))
}

#[cfg(test)]
mod tests {
    use super::super::made::{SECOND, key, running, snapshot, thread};
    use super::*;

    fn at(turns: &[(u32, u64)]) -> Vec<crate::model::Thread> {
        turns
            .iter()
            .map(|(tid, turns)| {
                let mut row = thread(*tid);
                row.timeslices = Ok(*turns);
                row
            })
            .collect()
    }

    #[test]
    fn a_process_is_due_when_a_thread_has_come_to_a_stand() {
        let board = Board::default();
        let mut looked = Looked::default();
        let mut due = |second: u64, turns: &[(u32, u64)]| {
            looked.is_due(&snapshot(second * SECOND, at(turns)), Nanos(second * SECOND), &board)
        };
        assert!(!due(1, &[(5, 1), (6, 1)]));
        assert!(!due(2, &[(5, 2), (6, 2)]));
        assert!(due(3, &[(5, 2), (6, 3)]));
        // Nobody has looked yet: it stays due.
        assert!(due(4, &[(5, 2), (6, 4)]));
        looked.stood = vec![(key(5), 2)];
        let mut due = |second: u64, turns: &[(u32, u64)]| {
            looked.is_due(&snapshot(second * SECOND, at(turns)), Nanos(second * SECOND), &board)
        };
        assert!(!due(5, &[(5, 2), (6, 5)]));
        assert!(due(6, &[(5, 2), (6, 5)]));
    }

    #[test]
    fn threads_that_run_or_move_make_nothing_due() {
        let board = Board::default();
        let mut looked = Looked::default();
        for second in 1..30 {
            let mut rows = at(&[(5, second), (6, second)]);
            rows.push(running(7, 1));
            assert!(!looked.is_due(&snapshot(second * SECOND, rows), Nanos(second * SECOND), &board));
        }
    }

    #[test]
    fn a_named_thread_that_moves_and_a_detector_that_asks_make_it_due() {
        let board = Board::default();
        let mut looked = Looked::default();
        let due = |looked: &mut Looked, second: u64, turns: &[(u32, u64)]| {
            looked.is_due(&snapshot(second * SECOND, at(turns)), Nanos(second * SECOND), &board)
        };
        due(&mut looked, 1, &[(5, 1), (6, 1)]);
        due(&mut looked, 2, &[(5, 1), (6, 1)]);
        looked.stood = vec![(key(5), 1), (key(6), 1)];
        looked.named = vec![(key(5), 1)];
        looked.has_findings = true;
        assert!(!due(&mut looked, 3, &[(5, 1), (6, 1)]));
        assert!(due(&mut looked, 4, &[(5, 2), (6, 1)]));
        looked.has_findings = false;
        looked.again_at = Some(Nanos(6 * SECOND));
        assert!(!due(&mut looked, 5, &[(6, 1)]));
        assert!(due(&mut looked, 6, &[(6, 1)]));
        looked.refused_until = Nanos(9 * SECOND);
        assert!(!due(&mut looked, 7, &[(6, 1)]));
    }

    #[test]
    fn one_list_is_within_another() {
        let list = |tids: &[u32]| tids.iter().map(|tid| (key(*tid), 1)).collect::<Vec<_>>();
        assert!(is_within(&list(&[]), &list(&[])));
        assert!(is_within(&list(&[2, 5]), &list(&[1, 2, 4, 5])));
        assert!(!is_within(&list(&[2, 3]), &list(&[1, 2, 4, 5])));
        assert!(!is_within(&[(key(2), 7)], &list(&[2])));
    }
}
