//! Reads one process at thread depth, again and again: each pass gives a snapshot.
//!
//! The process' directory and its `task` directory are kept open, so all that a pass reads is of one
//! process: after its end they answer `ESRCH`, whoever has the pid then. For each thread we keep
//! its last row and its open `schedstat`. **A thread whose `schedstat` has not moved has not run, so
//! its row stays as it was**: one `pread` a thread instead of five files. What can change without
//! the thread running, and when we see it:
//!
//! - It is woken and waits for its first turn (`S` becomes `R`), or another process changes its
//!   name, priority or allowed CPUs. In a process of up to [`SMALL`] threads `stat` is read again
//!   when that was last done [`CHECK`] ago, so state, name and priority are never older. Whole rows
//!   are read anew in turns, those of a small process within sixteen seconds, of a larger one
//!   [`TURN`] rows a second: there a starved thread is seen after `threads / TURN` seconds.
//! - It was runnable when last read: such rows are read anew each time.
//!
//! Stopping, tracing, freezing and ending a thread make it run first, so the clock tells of them.
//!
//! What a wait is about costs a look or two more (`waits`): it is found out once for each wait, for so
//! many threads a pass, and the others' turn comes in the next ones.
//!
//! What the kernel doesn't tell comes from [`Companions`]: the ledger, and the mappings in which
//! stacks are found. Rows are made in `row` from `files`, rates in `rates`, counts of threads in `churn`, and what
//! holds for the process as a whole in `condition`.

mod condition;
mod files;
#[cfg(test)]
mod programs;
mod row;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::churn::{Churn, Tally};
use super::companions::{Companions, Wanted};
use super::waits::SocketBook;
use crate::kernel::file::{self, Buffer};
use crate::kernel::{ProcRoot, clock, stat, status, task};
use crate::model::{
    Evidence, LedgerRow, LedgerView, Nanos, Pid, ProcessKey, Role, SelfCost, SignalSet, Snapshot, StackUse,
    StateCounts, Thread, ThreadDetails, ThreadSignals, ThreadState, Tid, TimeLimit, Unknown, WaitObject,
};
use condition::{Conditions, Leader};
pub(super) use files::FileBudget;
use files::{Keep, Name, Texts};
use row::{Kept, Look, ThreadFiles, Words};

/// Up to so many threads all five files of each are kept open and `stat` is read often.
const SMALL: usize = 256;
/// Rows of a larger process that are read anew each second though their clocks stand still.
const TURN: usize = 256;
/// A small process is gone through in so many seconds.
const ROUND_SECONDS: usize = 16;
/// Objects of waits that are looked up in a pass, at some three microseconds each; the others have their turn later.
const MOST_LOOKS: u32 = 1024;
/// No pass goes on for longer: what is left then is read in the next one.
const PASS_LIMIT: Duration = Duration::from_secs(4);

/// Why a pass gave nothing.
#[derive(Debug)]
pub(super) enum PassError {
    Ended,
    Denied,
    Unreadable(io::Error),
}

impl From<io::Error> for PassError {
    fn from(error: io::Error) -> PassError {
        match error.kind() {
            io::ErrorKind::PermissionDenied => PassError::Denied,
            io::ErrorKind::NotFound => PassError::Ended,
            _ => PassError::Unreadable(error),
        }
    }
}

/// A thread in a pass: listed, known, or both.
struct Place {
    tid: Tid,
    listed: bool,
    /// Its place in the pass before, or [`NEW`].
    before: usize,
    kept: Option<Box<Kept>>,
}

/// The place of who had none.
const NEW: usize = usize::MAX;

/// One process under watch.
pub(super) struct ProcessReader {
    root: ProcRoot,
    key: ProcessKey,
    dir: OwnedFd,
    task: OwnedFd,
    /// In tid order.
    #[expect(
        clippy::vec_box,
        reason = "each pass builds the list anew: pointers are moved, not rows of a kilobyte"
    )]
    threads: Vec<Box<Kept>>,
    files: ThreadFiles,
    companions: Box<dyn Companions>,
    churn: Churn,
    watched_since: Nanos,
    previous: Option<(Nanos, Evidence<Nanos>)>,
    /// `start_code` and `start_stack`: another program has taken the process over when they change.
    program: (u64, u64),
    /// Which rows of a large process are next to be read anew.
    turn: usize,
    /// Where the last pass had to stop: the next one begins there, so that each thread has its turn.
    resume: Tid,
    conditions: Conditions,
    /// `PASS_LIMIT`, but for tests.
    limit: Duration,
    listing: Vec<u32>,
}

impl ProcessReader {
    /// Opens the process that has this key. `Ended` when the pid is another's by now.
    pub(super) fn open(
        root: &ProcRoot,
        key: ProcessKey,
        budget: Arc<FileBudget>,
        companions: Box<dyn Companions>,
    ) -> Result<ProcessReader, PassError> {
        let dir = file::open_dir(&root.process(key.pid))?.ok_or(PassError::Ended)?;
        let task = file::open_dir_at(&dir, "task")?.ok_or(PassError::Ended)?;
        let mut buffer = Buffer::default();
        let stat = stat::read_at(&dir, "stat", &mut buffer)?.ok_or(PassError::Ended)?;
        if stat.start != key.start {
            return Err(PassError::Ended);
        }
        let program = (stat.start_code, stat.start_stack);
        let absent = Name::ALL.map(|name| {
            if root.is_captured() {
                Unknown::NotCaptured
            } else if root.path().join("self").join(name.text()).exists() {
                Unknown::Gone
            } else {
                Unknown::NoKernelSupport
            }
        });
        Ok(ProcessReader {
            root: root.clone(),
            key,
            dir,
            task,
            threads: Vec::new(),
            files: ThreadFiles {
                key,
                root: root.clone(),
                absent,
                texts: Texts {
                    budget,
                    buffer,
                    path: String::with_capacity(32),
                    thread: None,
                },
                words: Words::default(),
                sockets: SocketBook::default(),
                looks_left: 0,
            },
            companions,
            churn: Churn::default(),
            watched_since: clock::monotonic(),
            previous: None,
            program,
            turn: 0,
            resume: Tid(0),
            conditions: Conditions::new(),
            limit: PASS_LIMIT,
            listing: Vec::new(),
        })
    }

    /// Reads everything once. `line` is when the pass was to begin.
    pub(super) fn pass(&mut self, role: Role, line: Nanos, sequence: u64) -> Result<Snapshot, PassError> {
        let (cpu_before, taken_at, wall_clock) = (clock::thread_cpu(), clock::monotonic(), SystemTime::now());
        // Before `stat`: that one, read through the kept directory, proves that the pid was still this process'.
        let process_cpu = if self.root.is_captured() {
            Err(Unknown::SeenOnce)
        } else {
            clock::cpu_of(self.key.pid).ok_or(Unknown::Gone)
        };
        let (name, counted, rss_bytes, leader) = {
            let stat = stat::read_at(&self.dir, "stat", &mut self.files.texts.buffer)?.ok_or(PassError::Ended)?;
            if stat.start != self.key.start {
                return Err(PassError::Ended);
            }
            let program = (stat.start_code, stat.start_stack);
            if program != self.program {
                self.program = program;
                self.companions.another_program();
            }
            let rss = if stat.is_kernel_thread() {
                Err(Unknown::KernelThread)
            } else if stat.state == b'Z' {
                Err(Unknown::Zombie)
            } else {
                Ok(stat.resident_pages * rustix::param::page_size() as u64)
            };
            (
                self.files.words.name(stat.name).0,
                stat.threads,
                rss,
                Leader {
                    kernel_thread: stat.is_kernel_thread(),
                    zombie: matches!(stat.state, b'Z' | b'X' | b'x'),
                },
            )
        };
        let ledger = self.companions.ledger(taken_at);
        self.files.looks_left = MOST_LOOKS;
        let (started, truncated) = self.read_threads(taken_at, leader.kernel_thread)?;
        if self.threads.is_empty() && !truncated {
            return Err(PassError::Ended);
        }
        self.find_stacks();
        self.name_joins();

        let tally = self
            .churn
            .pass(started, self.threads.len() as u64, counted, ledger.as_deref().ok());
        let threads = self.rows(&ledger);
        let interval = match self.previous {
            Some((at, _)) => Ok(taken_at.saturating_sub(at)),
            None => Err(Unknown::SeenOnce),
        };
        let cpu_ratio = match (self.previous, process_cpu) {
            (Some((at, Ok(before))), Ok(now)) => now
                .saturating_sub(before)
                .share_of(taken_at.saturating_sub(at))
                .ok_or(Unknown::SeenOnce),
            (_, Err(why)) => Err(why),
            _ => Err(Unknown::SeenOnce),
        };
        self.previous = Some((taken_at, process_cpu));
        let condition = self.conditions.read(
            &self.root,
            &self.task,
            leader,
            self.threads.iter().map(|kept| &kept.row),
            &mut self.files.texts.buffer,
        );
        let Tally {
            peak,
            started,
            exact,
            ended,
        } = tally;
        Ok(Snapshot {
            process: self.key,
            role,
            name,
            condition,
            sequence,
            taken_at,
            wall_clock,
            interval,
            counts: StateCounts::of(&threads),
            threads,
            peak,
            watched_since: self.watched_since,
            started_total: started,
            started_exact: exact,
            ended_total: ended,
            truncated,
            ledger,
            cpu_ratio,
            rss_bytes,
            cost: SelfCost {
                cpu: clock::thread_cpu().saturating_sub(cpu_before),
                wall: clock::monotonic().saturating_sub(taken_at),
                lateness: taken_at.saturating_sub(line),
            },
        })
    }

    /// Brings `self.threads` up to date. Gives the threads seen for the first time, and whether the
    /// pass had to leave some for the next one.
    fn read_threads(&mut self, began: Nanos, kernel_thread: bool) -> Result<(u64, bool), PassError> {
        task::list(&self.task, &mut self.listing)?.ok_or(PassError::Ended)?;
        // The kernel lists by start; after the tids have wrapped that is another order.
        self.listing.sort_unstable();
        self.listing.dedup();
        let keep = if self.listing.len() <= SMALL {
            Keep::All
        } else {
            Keep::Clock
        };
        let turn = self.next_turn(began);
        let limit = Nanos(began.0 + self.limit.as_nanos() as u64);
        let (mut started, mut late) = (0, None);
        let mut places = self.places();
        let first = places.partition_point(|place| place.tid < self.resume);
        for index in (first..places.len()).chain(0..first) {
            if clock::monotonic() > limit {
                late = Some(places[index].tid);
                break;
            }
            let Place {
                tid,
                listed,
                before,
                ref mut kept,
            } = places[index];
            if let Some(mut known) = kept.take() {
                match self
                    .files
                    .look(&self.task, &mut known, keep, turn.contains(&before) || !listed)
                {
                    Look::AsItWas => {
                        *kept = Some(known);
                        continue;
                    }
                    Look::Moved => {
                        if let Some(read) = self.files.read(&self.task, tid, Some(known), keep, kernel_thread)? {
                            *kept = Some(read);
                            continue;
                        }
                    }
                    Look::Ended => {}
                }
            }
            if listed {
                // Its tid may be another's already. Or it was listed and is gone before it could be
                // read: it was there all the same.
                *kept = self.files.read(&self.task, tid, None, keep, kernel_thread)?;
                started += u64::from(before == NEW || kept.is_some());
            }
        }
        self.resume = late.unwrap_or(Tid(0));
        self.threads = places.into_iter().filter_map(|place| place.kept).collect();
        Ok((started, late.is_some()))
    }

    /// Who is listed and who is known, in tid order. Known and missing from the listing are some that it
    /// happened to hide.
    fn places(&mut self) -> Vec<Place> {
        let mut known = std::mem::take(&mut self.threads).into_iter().enumerate().peekable();
        let mut places = Vec::with_capacity(self.listing.len());
        let unlisted = |(before, kept): (usize, Box<Kept>)| Place {
            tid: kept.row.tid(),
            listed: false,
            before,
            kept: Some(kept),
        };
        for tid in self.listing.iter().map(|tid| Tid(*tid)) {
            while let Some(missing) = known.next_if(|(_, kept)| kept.row.tid() < tid) {
                places.push(unlisted(missing));
            }
            let (before, kept) = match known.next_if(|(_, kept)| kept.row.tid() == tid) {
                Some((before, kept)) => (before, Some(kept)),
                None => (NEW, None),
            };
            places.push(Place {
                tid,
                listed: true,
                before,
                kept,
            });
        }
        places.extend(known.map(unlisted));
        places
    }

    /// The places whose rows are read anew in this pass: each in its turn, so many a second however
    /// often we are asked to read.
    fn next_turn(&mut self, now: Nanos) -> std::ops::Range<usize> {
        let threads = self.threads.len();
        let a_second = if threads <= SMALL {
            threads.div_ceil(ROUND_SECONDS)
        } else {
            TURN
        };
        let passed = self
            .previous
            .map_or(1.0, |(at, _)| now.saturating_sub(at).seconds().min(1.0));
        if self.turn >= threads {
            self.turn = 0;
        }
        let size = (a_second as f64 * passed).ceil() as usize;
        let turn = self.turn..self.turn + size;
        self.turn = turn.end;
        turn
    }

    fn find_stacks(&mut self) {
        self.find_due_stacks();
        // The main thread's is known by its name, whatever that thread does.
        let main = Tid(self.key.pid.0);
        if let Ok(place) = self.threads.binary_search_by_key(&main, |kept| kept.row.tid())
            && self.threads[place].row.stack == Err(Unknown::Running)
            && let Some(stack) = self.companions.main_stack()
        {
            self.threads[place].row.stack = Ok(stack);
        }
    }

    fn find_due_stacks(&mut self) {
        let due: Vec<usize> = (0..self.threads.len())
            .filter(|index| self.threads[*index].stack_due)
            .collect();
        if due.is_empty() {
            return;
        }
        let wanted: Vec<Wanted> = due.iter().filter_map(|index| self.threads[*index].wanted()).collect();
        self.companions.prepare_stacks(&wanted, clock::monotonic());
        for index in due {
            let kept = &mut self.threads[index];
            if let Some(wanted) = kept.wanted() {
                kept.row.stack = self.companions.stack(wanted);
            }
            // Left out for being dear: asked again at the next pass.
            kept.stack_due = kept.row.stack == Err(Unknown::NotAsked);
        }
    }

    /// Names the threads that others wait to join. A value that is a tid is no proof yet: the word must
    /// also lie where that thread has its control block, at the upper end of its stack. The main thread's
    /// block lies elsewhere.
    fn name_joins(&mut self) {
        // What other locks that are shared between processes wait for are small numbers.
        const LEAST: u32 = 4;
        if self.threads.iter().all(|kept| kept.join.is_none()) {
            return;
        }
        let by_own_tid: HashMap<u32, (Tid, Evidence<StackUse>)> = self
            .threads
            .iter()
            .map(|kept| (kept.innermost.0, (kept.row.tid(), kept.row.stack)))
            .collect();
        let main = self.key.pid.0;
        for kept in &mut self.threads {
            let Some(expected) = kept.join.filter(|value| *value >= LEAST) else {
                kept.join = None;
                continue;
            };
            let own = kept.row.tid();
            let Ok(wait) = &mut kept.row.wait else { continue };
            let (Some(address), Some((target, stack))) = (wait.address, by_own_tid.get(&expected)) else {
                continue;
            };
            let holds = match stack {
                _ if target.0 == main => true,
                Ok(stack) => (stack.start..stack.end).contains(&address),
                // Its turn comes in a later pass.
                Err(_) => continue,
            };
            kept.join = None;
            if holds && *target != own {
                wait.object = Ok(WaitObject {
                    kind: "thread",
                    fd: None,
                    name: Arc::from(format!("thread {target} to end")),
                });
            }
        }
    }

    /// The rows of the snapshot: what is kept of the kernel's words, and the ledger's words of now.
    fn rows(&self, ledger: &Evidence<Arc<LedgerView>>) -> Vec<Thread> {
        let by_tid: HashMap<Tid, &LedgerRow> = match ledger {
            Ok(ledger) => ledger.rows.iter().map(|row| (row.tid, row)).collect(),
            Err(_) => HashMap::new(),
        };
        let no_slot = match ledger {
            Ok(_) => Unknown::NoSlot,
            Err(why) => *why,
        };
        let join = |kept: &Kept| {
            let mut row = kept.row.clone();
            match by_tid.get(&kept.innermost) {
                Some(said) => add_ledger(&mut row, said),
                None => {
                    row.heap = Err(no_slot);
                    row.task = Err(no_slot);
                }
            }
            row
        };
        self.threads.iter().map(|kept| join(kept)).collect()
    }

    /// One thread, read now and as closely as can be, without rates and without the ledger's words.
    /// `None`: it has ended.
    pub(super) fn one(&mut self, tid: Tid) -> Result<Option<(Thread, ThreadDetails)>, PassError> {
        let kernel_thread = stat::read_at(&self.dir, "stat", &mut self.files.texts.buffer)?
            .ok_or(PassError::Ended)?
            .is_kernel_thread();
        let Some(mut kept) = self.files.read(&self.task, tid, None, Keep::Clock, kernel_thread)? else {
            return Ok(None);
        };
        let time_limit = self.files.look_closely(&self.task, &mut kept);
        // Whom it joins: only that thread's row is needed beside its own.
        let joined = kept.join.and_then(|own| self.known_as(own));
        if let Some(joined) = joined.filter(|joined| *joined != tid) {
            self.threads
                .extend(self.files.read(&self.task, joined, None, Keep::Clock, kernel_thread)?);
        }
        self.threads.push(kept);
        self.threads.sort_unstable_by_key(|kept| kept.row.tid());
        self.find_stacks();
        self.name_joins();
        let details = self.details(tid, time_limit);
        let threads = std::mem::take(&mut self.threads);
        let row = threads.into_iter().find(|kept| kept.row.tid() == tid);
        Ok(row.map(|kept| (kept.row, details)))
    }

    /// The thread of this process that calls itself so in its own pid namespace.
    fn known_as(&mut self, own: u32) -> Option<Tid> {
        let mut innermost = |tid: u32| {
            let text = file::read_at(&self.task, &format!("{tid}/status"), &mut self.files.texts.buffer);
            status::parse(text.ok()??).innermost_id
        };
        // In our own namespace it is what we call it.
        if innermost(own) == Some(own) {
            return Some(Tid(own));
        }
        if innermost(self.key.pid.0)? == self.key.pid.0 {
            return None;
        }
        let mut tids = Vec::new();
        task::list(&self.task, &mut tids).ok()??;
        tids.into_iter().find(|tid| innermost(*tid) == Some(own)).map(Tid)
    }

    fn details(&mut self, tid: Tid, time_limit: Evidence<TimeLimit>) -> ThreadDetails {
        let buffer = &mut self.files.texts.buffer;
        let (tracer, signals, namespace_tids) = match file::read_at(&self.task, &format!("{tid}/status"), buffer) {
            Ok(Some(text)) => (
                condition::tracer_of(&Ok(status::parse(text))),
                status::parse_signals(text).map(signals_of).ok_or(Unknown::Unreadable),
                status::parse_namespace_ids(text).ok_or(Unknown::NoKernelSupport),
            ),
            outcome => {
                let why = match outcome {
                    Err(error) => row::refused(&error),
                    Ok(_) if self.root.is_captured() => Unknown::NotCaptured,
                    Ok(_) => Unknown::Gone,
                };
                (Err(why), Err(why), Err(why))
            }
        };
        let (cgroup, frozen) = self.conditions.groups_of(&self.root, &self.task, tid, buffer);
        ThreadDetails {
            signals,
            tracer,
            namespace_tids,
            cgroup,
            frozen,
            time_limit,
        }
    }
}

fn signals_of(masks: status::SignalMasks) -> ThreadSignals {
    ThreadSignals {
        pending: SignalSet(masks.pending),
        pending_shared: SignalSet(masks.pending_shared),
        blocked: SignalSet(masks.blocked),
        ignored: SignalSet(masks.ignored),
        caught: SignalSet(masks.caught),
    }
}

/// Puts what the process says of this thread into its row.
fn add_ledger(row: &mut Thread, said: &LedgerRow) {
    row.heap = Ok(said.heap);
    match &said.task {
        Some(task) => {
            // The ledger may be a moment older than the kernel's word: who runs isn't parked.
            if task.parked && row.state == ThreadState::Sleeping {
                row.state = ThreadState::Parked;
            }
            row.pool = Some(Arc::clone(&task.pool));
            row.task = Ok(task.clone());
        }
        None => row.task = Err(Unknown::NoPool),
    }
}

/// The key of the process that has this pid now. `None`: there is none, or the number is a thread's.
pub(super) fn resolve(root: &ProcRoot, pid: Pid) -> Result<Option<ProcessKey>, PassError> {
    if pid.0 == 0 || i32::try_from(pid.0).is_err() {
        return Ok(None);
    }
    let Some(dir) = file::open_dir(&root.process(pid))? else {
        return Ok(None);
    };
    let mut buffer = Buffer::default();
    // `/proc/TID` of any thread can be opened though only processes are listed: `Tgid` tells.
    match file::read_at(&dir, "status", &mut buffer)? {
        Some(text) if status::parse(text).process.is_some_and(|process| process != pid.0) => return Ok(None),
        None if !root.is_captured() => return Ok(None),
        _ => {}
    }
    let stat = stat::read_at(&dir, "stat", &mut buffer)?;
    Ok(stat.map(|stat| ProcessKey { pid, start: stat.start }))
}
