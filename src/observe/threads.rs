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
//! What the kernel doesn't tell comes from [`Companions`]: the ledger, and the mappings in which
//! stacks are found. Rates are made in `rates`, waits in `waits`, counts of threads in `churn`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::churn::{Churn, Tally};
use super::companions::{Companions, Wanted};
use super::rates::{self, Rates, Reading};
use super::waits;
use crate::kernel::file::{self, Buffer};
use crate::kernel::schedstat::{self, ThreadClock};
use crate::kernel::syscall::{self, Syscall};
use crate::kernel::{ProcRoot, clock, stat, status, task, wchan};
use crate::model::{
    Evidence, LedgerRow, LedgerView, Nanos, Pid, ProcessKey, Role, SelfCost, Snapshot, StateCounts, Thread, ThreadKey,
    ThreadState, Ticks, Tid, Unknown,
};

/// Up to so many threads all five files of each are kept open and `stat` is read often.
const SMALL: usize = 256;
/// How old the `stat` of a thread of a small process may be.
const CHECK: Nanos = Nanos(400_000_000);
/// Rows of a larger process that are read anew each second though their clocks stand still.
const TURN: usize = 256;
/// A small process is gone through in so many seconds.
const ROUND_SECONDS: usize = 16;
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

/// How many files all readers together may keep open; who gets none opens and closes.
#[derive(Debug)]
pub(super) struct FileBudget {
    left: AtomicU64,
}

impl FileBudget {
    pub(super) fn new(files: u64) -> Arc<FileBudget> {
        Arc::new(FileBudget {
            left: AtomicU64::new(files),
        })
    }

    fn keep(self: &Arc<FileBudget>, file: OwnedFd) -> Result<KeptFile, OwnedFd> {
        // Relaxed: the number stands alone.
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match taken {
            Ok(_) => Ok(KeptFile {
                file,
                budget: Arc::clone(self),
            }),
            Err(_) => Err(file),
        }
    }
}

/// An open file that counts against the budget.
struct KeptFile {
    file: OwnedFd,
    budget: Arc<FileBudget>,
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        self.budget.left.fetch_add(1, Ordering::Relaxed);
    }
}

/// The files of one thread.
#[derive(Clone, Copy)]
enum Name {
    Schedstat,
    Stat,
    Status,
    Syscall,
    Wchan,
}

impl Name {
    const ALL: [Name; 5] = [Name::Schedstat, Name::Stat, Name::Status, Name::Syscall, Name::Wchan];
    const COUNT: usize = Name::ALL.len();

    fn text(self) -> &'static str {
        match self {
            Name::Schedstat => "schedstat",
            Name::Stat => "stat",
            Name::Status => "status",
            Name::Syscall => "syscall",
            Name::Wchan => "wchan",
        }
    }
}

/// What is kept of a thread from pass to pass.
struct Kept {
    row: Thread,
    first_seen: Nanos,
    reading: Reading,
    /// When `stat` was last read, on `CLOCK_MONOTONIC`.
    checked_at: Nanos,
    files: [Option<KeptFile>; Name::COUNT],
    /// The thread's id in its own pid namespace: the one its ledger knows it by.
    innermost: Tid,
    /// Where its stack was when it was last read blocked.
    stack_pointer: Evidence<u64>,
    /// The stack is to be looked up once the pass has read all rows.
    stack_due: bool,
}

impl Kept {
    fn wanted(&self) -> Option<Wanted> {
        Some(Wanted {
            stack_pointer: self.stack_pointer.ok()?,
            first_seen: self.first_seen,
        })
    }
}

/// What to do about files: in a small process all are kept, in a larger one only the clock.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    All,
    Clock,
}

/// What came of looking at a known thread.
enum Look {
    AsItWas,
    Moved,
    Ended,
}

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
                captured: root.is_captured(),
                absent,
                texts: Texts {
                    budget,
                    buffer,
                    path: String::with_capacity(32),
                    thread: None,
                },
                words: Words::default(),
            },
            companions,
            churn: Churn::default(),
            watched_since: clock::monotonic(),
            previous: None,
            program,
            turn: 0,
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
        let (name, counted, rss_bytes, kernel_thread) = {
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
                stat.is_kernel_thread(),
            )
        };
        let ledger = self.companions.ledger(taken_at);
        let (started, truncated) = self.read_threads(taken_at, kernel_thread)?;
        if self.threads.is_empty() && !truncated {
            return Err(PassError::Ended);
        }
        self.find_stacks();

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
        let (mut started, mut late) = (0, false);
        let mut before = std::mem::take(&mut self.threads).into_iter().enumerate().peekable();
        let mut after = Vec::with_capacity(self.listing.len());

        for index in 0..self.listing.len() {
            let tid = Tid(self.listing[index]);
            // Known, but missing from the listing: it can hide one that is still there.
            while let Some((_, mut kept)) = before.next_if(|(_, kept)| kept.row.tid() < tid) {
                if !matches!(self.files.look(&self.task, &mut kept, keep, true), Look::Ended) {
                    after.push(kept);
                }
            }
            let known = before.next_if(|(_, kept)| kept.row.tid() == tid);
            late = late || clock::monotonic() > limit;
            if late {
                after.extend(known.map(|(_, kept)| kept));
                continue;
            }
            if let Some((place, mut kept)) = known {
                match self.files.look(&self.task, &mut kept, keep, turn.contains(&place)) {
                    Look::AsItWas => {
                        after.push(kept);
                        continue;
                    }
                    Look::Moved => {
                        if let Some(kept) = self.files.read(&self.task, tid, Some(kept), keep, kernel_thread)? {
                            after.push(kept);
                            continue;
                        }
                    }
                    Look::Ended => {}
                }
                // Its tid may be another's already.
                if let Some(kept) = self.files.read(&self.task, tid, None, keep, kernel_thread)? {
                    started += 1;
                    after.push(kept);
                }
                continue;
            }
            // Listed and gone before it could be read: it was there all the same.
            started += 1;
            after.extend(self.files.read(&self.task, tid, None, keep, kernel_thread)?);
        }
        for (_, mut kept) in before {
            if !matches!(self.files.look(&self.task, &mut kept, keep, true), Look::Ended) {
                after.push(kept);
            }
        }
        self.threads = after;
        Ok((started, late))
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

    /// One thread, read now, without rates and without the ledger's words. `None`: it has ended.
    pub(super) fn one(&mut self, tid: Tid) -> Result<Option<Thread>, PassError> {
        let kernel_thread = stat::read_at(&self.dir, "stat", &mut self.files.texts.buffer)?
            .ok_or(PassError::Ended)?
            .is_kernel_thread();
        let read = self.files.read(&self.task, tid, None, Keep::Clock, kernel_thread)?;
        self.threads = read.into_iter().collect();
        self.find_stacks();
        Ok(self.threads.pop().map(|kept| kept.row))
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

/// Reads the files of the threads of one process.
struct ThreadFiles {
    key: ProcessKey,
    captured: bool,
    /// What it means that a file isn't there: the thread has ended, or no thread has such a file.
    absent: [Unknown; Name::COUNT],
    texts: Texts,
    words: Words,
}

impl ThreadFiles {
    /// A known thread: has it run since, is it still there? Sets its rates when it hasn't moved.
    fn look(&mut self, task: &OwnedFd, kept: &mut Kept, keep: Keep, anew: bool) -> Look {
        if keep == Keep::Clock && kept.files[Name::Stat as usize].is_some() {
            for file in kept.files.iter_mut().skip(1) {
                *file = None;
            }
        }
        let Ok(before) = kept.reading.clock else {
            return Look::Moved;
        };
        let (tid, was_runnable) = (kept.row.tid(), kept.reading.runnable);
        let now = clock::monotonic();
        let clock = match self.texts.read(task, tid, &mut kept.files, Name::Schedstat, keep) {
            Ok(Some(line)) => schedstat::parse(line),
            Ok(None) => return Look::Ended,
            Err(_) => return Look::Moved,
        };
        if anew || was_runnable || clock != Some(before) {
            return Look::Moved;
        }
        if keep == Keep::All && now.saturating_sub(kept.checked_at) >= CHECK {
            kept.checked_at = now;
            let Ok(Some(line)) = self.texts.read(task, tid, &mut kept.files, Name::Stat, keep) else {
                return Look::Moved;
            };
            let same = stat::parse(line).is_some_and(|stat| stat_is_as_it_was(&stat, &kept.row));
            if !same {
                return Look::Moved;
            }
        }
        let reading = Reading {
            at: now,
            ..kept.reading
        };
        self.rate(&mut kept.row, Some(&kept.reading), &reading);
        kept.reading = reading;
        Look::AsItWas
    }

    fn rate(&self, row: &mut Thread, earlier: Option<&Reading>, later: &Reading) {
        // Nothing moves in a captured tree, so it has no rates, whatever the time between two passes.
        let rates = match earlier {
            Some(earlier) if !self.captured => rates::between(earlier, later),
            _ => Rates::SEEN_ONCE,
        };
        row.cpu_ratio = rates.cpu_ratio;
        row.run_delay_ratio = rates.run_delay_ratio;
    }

    /// All that the kernel tells of one thread. `None`: it has ended, or its tid is another's now.
    fn read(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        known: Option<Box<Kept>>,
        keep: Keep,
        kernel_thread: bool,
    ) -> io::Result<Option<Box<Kept>>> {
        // With all files kept there is nothing to open.
        let all_kept = known
            .as_ref()
            .is_some_and(|kept| kept.files.iter().all(Option::is_some));
        if !all_kept && self.texts.enter(task, tid)?.is_none() {
            return Ok(None);
        }
        let read = self.read_files(task, tid, known, keep, kernel_thread);
        self.texts.thread = None;
        read
    }

    fn read_files(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        known: Option<Box<Kept>>,
        keep: Keep,
        kernel_thread: bool,
    ) -> io::Result<Option<Box<Kept>>> {
        let at = clock::monotonic();
        let (earlier, mut files, old_row, first_seen) = match known {
            Some(kept) => {
                let kept = *kept;
                (Some(kept.reading), kept.files, Some(kept.row), kept.first_seen)
            }
            None => (None, Default::default(), None, at),
        };
        let clock = match self.texts.read(task, tid, &mut files, Name::Schedstat, keep) {
            Ok(Some(line)) => schedstat::parse(line).ok_or(Unknown::Unreadable),
            Ok(None) => Err(self.absent(Name::Schedstat)),
            Err(error) => Err(refused(&error)),
        };
        let Some(line) = self.texts.read(task, tid, &mut files, Name::Stat, keep)? else {
            return Ok(None);
        };
        let Some(stat) = stat::parse(line) else {
            tracing::warn!(%tid, process = %self.key.pid, "a stat line could not be understood");
            return Ok(None);
        };
        let key = ThreadKey {
            process: self.key,
            tid,
            start: stat.start,
        };
        if old_row.as_ref().is_some_and(|row| row.key != key) {
            return Ok(None);
        }
        let state = waits::state_of(stat.state);
        let ticks = Ticks(stat.user.0 + stat.system.0);
        // Where the bookkeeping is off the file reads `0 0 0`; a thread with CPU time has had a turn.
        let clock = match clock {
            Ok(clock) if clock == ThreadClock::default() && ticks.0 > 0 => Err(Unknown::NoKernelSupport),
            clock => clock,
        };
        let mut row = Thread {
            key,
            name: Arc::from(""),
            name_bytes: None,
            state,
            state_letter: stat.state,
            cpu_ratio: Err(Unknown::SeenOnce),
            user_time: Ok(stat.user),
            system_time: Ok(stat.system),
            on_cpu: clock.map(|clock| clock.on_cpu),
            run_delay: clock.map(|clock| clock.runnable),
            run_delay_ratio: Err(Unknown::SeenOnce),
            timeslices: clock.map(|clock| clock.slices),
            voluntary_switches: Err(Unknown::Gone),
            involuntary_switches: Err(Unknown::Gone),
            minor_faults: Ok(stat.minor_faults),
            major_faults: Ok(stat.major_faults),
            last_cpu: Ok(stat.last_cpu),
            nice: Ok(stat.nice),
            policy: policy_name(stat.policy).ok_or(Unknown::Unreadable),
            rt_priority: Ok(stat.rt_priority),
            allowed_cpus: Err(Unknown::Gone),
            wait: Err(Unknown::NotWaiting),
            stack: Err(Unknown::Running),
            heap: Err(Unknown::NoLedger),
            task: Err(Unknown::NoLedger),
            pool: None,
        };
        (row.name, row.name_bytes) = match old_row.as_ref() {
            Some(old) if is_named(old, stat.name) => (Arc::clone(&old.name), old.name_bytes.clone()),
            _ => self.words.name(stat.name),
        };

        let innermost = self.add_status(task, tid, &mut files, keep, &mut row);
        let syscall = self.syscall(task, tid, &mut files, keep, state);
        let function = if waits::is_blocked(state) {
            self.function(task, tid, &mut files, keep)
        } else {
            Ok(None)
        };
        row.wait = waits::wait_of(state, kernel_thread, syscall, function);
        let stack_pointer = match syscall {
            _ if kernel_thread => Err(Unknown::KernelThread),
            _ if matches!(state, ThreadState::Zombie | ThreadState::Dead) => Err(Unknown::Zombie),
            Ok(Syscall::Blocked { stack_pointer, .. }) => Ok(stack_pointer),
            Ok(Syscall::Running) => Err(Unknown::Running),
            Err(why) => Err(why),
        };
        // Its bounds stay while it runs; only how deep it is can't be told.
        row.stack = match (stack_pointer, old_row.map(|row| row.stack)) {
            (Err(Unknown::Running), Some(Ok(mut stack))) => {
                stack.used_bytes = Err(Unknown::Running);
                Ok(stack)
            }
            (Err(why), _) => Err(why),
            (Ok(_), _) => Err(Unknown::NotAsked),
        };
        let reading = Reading {
            at,
            clock,
            ticks,
            runnable: state == ThreadState::Runnable,
        };
        self.rate(&mut row, earlier.as_ref(), &reading);
        Ok(Some(Box::new(Kept {
            row,
            first_seen,
            reading,
            checked_at: at,
            files,
            innermost,
            stack_due: stack_pointer.is_ok(),
            stack_pointer,
        })))
    }

    fn add_status(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        files: &mut [Option<KeptFile>; Name::COUNT],
        keep: Keep,
        row: &mut Thread,
    ) -> Tid {
        let absent = self.absent(Name::Status);
        let missing = match self.texts.read(task, tid, files, Name::Status, keep) {
            Ok(Some(text)) => {
                let status = status::parse(text);
                row.voluntary_switches = status.voluntary_switches.ok_or(Unknown::Unreadable);
                row.involuntary_switches = status.involuntary_switches.ok_or(Unknown::Unreadable);
                let innermost = status.innermost_id.map_or(tid, Tid);
                let cpus = status.allowed_cpus.and_then(|list| std::str::from_utf8(list).ok());
                row.allowed_cpus = cpus
                    .map(str::to_owned)
                    .map_or(Err(Unknown::Unreadable), |list| Ok(self.words.word(&list)));
                return innermost;
            }
            Ok(None) => absent,
            Err(error) => refused(&error),
        };
        row.voluntary_switches = Err(missing);
        row.involuntary_switches = Err(missing);
        row.allowed_cpus = Err(missing);
        tid
    }

    fn syscall(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        files: &mut [Option<KeptFile>; Name::COUNT],
        keep: Keep,
        state: ThreadState,
    ) -> Evidence<Syscall> {
        // Of a runnable thread the file says `running`, and of a zombie nothing.
        match state {
            ThreadState::Runnable => return Ok(Syscall::Running),
            ThreadState::Zombie | ThreadState::Dead => return Err(Unknown::Zombie),
            _ => {}
        }
        let absent = self.absent(Name::Syscall);
        match self.texts.read(task, tid, files, Name::Syscall, keep) {
            Ok(Some(line)) => std::str::from_utf8(line)
                .ok()
                .and_then(syscall::parse)
                .ok_or(Unknown::Unreadable),
            Ok(None) => Err(absent),
            Err(error) => Err(refused_to_a_stranger(&error)),
        }
    }

    fn function(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        files: &mut [Option<KeptFile>; Name::COUNT],
        keep: Keep,
    ) -> Evidence<Option<Arc<str>>> {
        let absent = self.absent(Name::Wchan);
        let name = match self.texts.read(task, tid, files, Name::Wchan, keep) {
            Ok(Some(text)) => wchan::parse(text).map(str::to_owned),
            Ok(None) => return Err(absent),
            Err(error) => return Err(refused_to_a_stranger(&error)),
        };
        Ok(name.map(|name| self.words.word(&name)))
    }

    fn absent(&self, name: Name) -> Unknown {
        self.absent[name as usize]
    }
}

/// Opens and reads the files, and keeps them open within the budget.
struct Texts {
    budget: Arc<FileBudget>,
    buffer: Buffer,
    path: String,
    /// The directory of the thread whose files are being read one after the other.
    thread: Option<OwnedFd>,
}

impl Texts {
    /// From here on files are opened through the directory of this thread. `None`: it has ended.
    fn enter(&mut self, task: &OwnedFd, tid: Tid) -> io::Result<Option<()>> {
        self.path.clear();
        let _ = write!(self.path, "{tid}");
        self.thread = file::open_path_at(task, &self.path)?;
        Ok(self.thread.as_ref().map(|_| ()))
    }

    /// The text of one file, through the kept one where there is one.
    fn read(
        &mut self,
        task: &OwnedFd,
        tid: Tid,
        files: &mut [Option<KeptFile>; Name::COUNT],
        name: Name,
        keep: Keep,
    ) -> io::Result<Option<&[u8]>> {
        let kept = &mut files[name as usize];
        if let Some(kept) = kept {
            return file::reread(kept.file.as_fd(), &mut self.buffer);
        }
        let opened = if let Some(thread) = &self.thread {
            file::open(thread, name.text())?
        } else {
            self.path.clear();
            let _ = write!(self.path, "{tid}/{}", name.text());
            file::open(task, &self.path)?
        };
        let Some(opened) = opened else {
            return Ok(None);
        };
        if keep == Keep::Clock && !matches!(name, Name::Schedstat) {
            return file::reread(opened, &mut self.buffer);
        }
        match self.budget.keep(opened) {
            Ok(opened) => file::reread(kept.insert(opened).file.as_fd(), &mut self.buffer),
            Err(opened) => file::reread(opened, &mut self.buffer),
        }
    }
}

/// Whether nothing has changed that can change while a thread doesn't run.
fn stat_is_as_it_was(stat: &stat::Stat<'_>, row: &Thread) -> bool {
    stat.start == row.key.start
        && stat.state == row.state_letter
        && is_named(row, stat.name)
        && Ok(stat.nice) == row.nice
        && Ok(stat.rt_priority) == row.rt_priority
        && policy_name(stat.policy).ok_or(Unknown::Unreadable) == row.policy
}

fn is_named(row: &Thread, bytes: &[u8]) -> bool {
    match &row.name_bytes {
        Some(known) => **known == *bytes,
        None => row.name.as_bytes() == bytes,
    }
}

/// `SCHED_…` of include/uapi/linux/sched.h.
fn policy_name(policy: u32) -> Option<&'static str> {
    Some(match policy {
        0 => "normal",
        1 => "fifo",
        2 => "rr",
        3 => "batch",
        5 => "idle",
        6 => "deadline",
        7 => "ext",
        _ => return None,
    })
}

fn refused(error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::Denied,
        _ => Unknown::Unreadable,
    }
}

/// For the files that need ptrace access.
fn refused_to_a_stranger(error: &io::Error) -> Unknown {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Unknown::PtraceDenied,
        _ => Unknown::Unreadable,
    }
}

/// Words that thousands of rows share: kept once.
#[derive(Default)]
struct Words(HashMap<Box<str>, Arc<str>>);

impl Words {
    /// A hostile process can rename its threads for ever.
    const MOST: usize = 16_384;

    fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.0.get(text) {
            return Arc::clone(word);
        }
        if self.0.len() >= Self::MOST {
            self.0.clear();
        }
        let word: Arc<str> = Arc::from(text);
        self.0.insert(Box::from(text), Arc::clone(&word));
        word
    }

    /// A name as text, and its bytes where they aren't the text.
    fn name(&mut self, bytes: &[u8]) -> (Arc<str>, Option<Arc<[u8]>>) {
        let text = String::from_utf8_lossy(bytes);
        let hostile = matches!(text, std::borrow::Cow::Owned(_));
        (self.word(&text), hostile.then(|| Arc::from(bytes)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HeapTally, StackUse, TaskNow, WaitKind};
    use std::process::{Child, Command};
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;
    use std::time::Instant;

    /// A process that says nothing of itself and whose stacks aren't looked for.
    struct Alone;

    impl Companions for Alone {
        fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
            Err(Unknown::NoLedger)
        }
        fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
        fn stack(&mut self, wanted: Wanted) -> Evidence<StackUse> {
            // The pointer itself, so that a test sees that it was told.
            Ok(StackUse {
                start: 0,
                end: wanted.stack_pointer,
                reserved_bytes: 0,
                resident_bytes: Err(Unknown::NotAsked),
                used_bytes: Ok(1),
                guard_bytes: None,
            })
        }
        fn main_stack(&mut self) -> Option<StackUse> {
            None
        }
        fn another_program(&mut self) {}
    }

    fn reader(pid: u32) -> ProcessReader {
        reader_with(&ProcRoot::live(), pid, 1000, Box::new(Alone))
    }

    fn reader_with(root: &ProcRoot, pid: u32, files: u64, companions: Box<dyn Companions>) -> ProcessReader {
        let key = resolve(root, Pid(pid)).unwrap().expect("the process is there");
        ProcessReader::open(root, key, FileBudget::new(files), companions).unwrap()
    }

    fn pass(reader: &mut ProcessReader) -> Snapshot {
        reader.pass(Role::Other, clock::monotonic(), 1).unwrap()
    }

    fn row(snapshot: &Snapshot, tid: Tid) -> &Thread {
        let place = snapshot.threads.binary_search_by_key(&tid, Thread::tid);
        &snapshot.threads[place.expect("the thread has a row")]
    }

    /// Passes until it holds; a thread needs a moment to get where the test wants it.
    fn pass_until(reader: &mut ProcessReader, holds: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let snapshot = pass(reader);
            if holds(&snapshot) {
                return snapshot;
            }
            assert!(Instant::now() < deadline, "it never came to hold: {snapshot:#?}");
            std::thread::yield_now();
        }
    }

    fn gettid() -> Tid {
        Tid(rustix::thread::gettid().as_raw_nonzero().get() as u32)
    }

    /// A thread of this process that blocks on a channel until it is dropped.
    struct Blocked {
        tid: Tid,
        release: Option<mpsc::Sender<()>>,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Blocked {
        fn start(name: &str) -> Blocked {
            let (release, wait) = mpsc::channel::<()>();
            let (say, hear) = mpsc::channel();
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .stack_size(64 * 1024)
                .spawn(move || {
                    say.send(gettid()).unwrap();
                    let _ = wait.recv();
                })
                .unwrap();
            Blocked {
                tid: hear.recv().unwrap(),
                release: Some(release),
                thread: Some(thread),
            }
        }
    }

    impl Drop for Blocked {
        fn drop(&mut self) {
            drop(self.release.take());
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    struct Spinning {
        stop: Arc<AtomicBool>,
        tid: Tid,
        thread: Option<std::thread::JoinHandle<()>>,
    }

    impl Spinning {
        fn start() -> Spinning {
            let stop = Arc::new(AtomicBool::new(false));
            let (say, hear) = mpsc::channel();
            let thread = std::thread::spawn({
                let stop = Arc::clone(&stop);
                move || {
                    say.send(gettid()).unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                }
            });
            Spinning {
                stop,
                tid: hear.recv().unwrap(),
                thread: Some(thread),
            }
        }
    }

    impl Drop for Spinning {
        fn drop(&mut self) {
            self.stop.store(true, Ordering::Relaxed);
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    /// A child that is ended with its guard.
    struct Program(Child);

    impl Program {
        fn start(command: &str, argument: &str) -> Program {
            Program(Command::new(command).arg(argument).spawn().unwrap())
        }
        fn end(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    impl Drop for Program {
        fn drop(&mut self) {
            self.end();
        }
    }

    #[test]
    fn a_thread_blocked_on_a_channel_waits_for_a_futex_word_of_this_process() {
        let blocked = Blocked::start("ts-waits-here");
        let mut reader = reader(std::process::id());
        let asleep = |snapshot: &Snapshot| row(snapshot, blocked.tid).wait.is_ok();
        let snapshot = pass_until(&mut reader, asleep);
        let row = row(&snapshot, blocked.tid);
        assert_eq!(&*row.name, "ts-waits-here");
        assert_eq!((row.state, row.state_letter), (ThreadState::Sleeping, b'S'));
        let wait = row.wait.as_ref().unwrap();
        assert_eq!((wait.kind, wait.syscall), (WaitKind::Futex, Some("futex")));
        assert!(wait.address.unwrap() > 4096);
        assert!(row.stack.unwrap().end > 4096);
        assert_eq!((row.heap, &row.pool), (Err(Unknown::NoLedger), &None));
    }

    #[test]
    fn who_spins_has_the_cpu_and_who_waits_has_not() {
        let (spinning, blocked) = (Spinning::start(), Blocked::start("idle"));
        let mut reader = reader(std::process::id());
        let first = pass(&mut reader);
        assert_eq!(row(&first, spinning.tid).cpu_ratio, Err(Unknown::SeenOnce));
        assert_eq!(first.cpu_ratio, Err(Unknown::SeenOnce));
        let ran = |snapshot: &Snapshot| row(snapshot, spinning.tid).cpu_ratio.is_ok_and(|ratio| ratio > 0.0);
        let snapshot = pass_until(&mut reader, ran);
        let (busy, idle) = (row(&snapshot, spinning.tid), row(&snapshot, blocked.tid));
        assert!(busy.cpu_ratio.unwrap() > idle.cpu_ratio.unwrap());
        assert_eq!(busy.state, ThreadState::Runnable);
        assert_eq!(busy.wait, Err(Unknown::NotWaiting));
        assert!(snapshot.interval.unwrap().0 > 0);
        assert!(snapshot.cpu_ratio.is_ok() && snapshot.rss_bytes.unwrap() > 100_000);
    }

    #[test]
    fn every_number_agrees_with_another_reader_of_proc() {
        let blocked = Blocked::start("agree");
        let mut reader = reader(std::process::id());
        let snapshot = pass_until(&mut reader, |snapshot| row(snapshot, blocked.tid).wait.is_ok());
        let row = row(&snapshot, blocked.tid);
        let theirs = procfs::process::Process::myself()
            .unwrap()
            .task_from_tid(blocked.tid.0 as i32)
            .unwrap();
        let stat = theirs.stat().unwrap();
        let status = theirs.status().unwrap();
        let clock = theirs.schedstat().unwrap();
        assert_eq!(row.key.start.0, stat.starttime);
        assert_eq!(row.user_time.unwrap().0, stat.utime);
        assert_eq!(row.system_time.unwrap().0, stat.stime);
        assert_eq!(row.minor_faults.unwrap(), stat.minflt);
        assert_eq!(row.major_faults.unwrap(), stat.majflt);
        assert_eq!(i64::from(row.nice.unwrap()), stat.nice);
        assert_eq!(Some(row.last_cpu.unwrap()), stat.processor.map(|cpu| cpu as u32));
        assert_eq!(Some(row.rt_priority.unwrap()), stat.rt_priority);
        assert_eq!(row.policy, Ok("normal"));
        assert_eq!(row.voluntary_switches.ok(), status.voluntary_ctxt_switches);
        assert_eq!(row.involuntary_switches.ok(), status.nonvoluntary_ctxt_switches);
        assert_eq!(row.on_cpu.unwrap().0, clock.sum_exec_runtime);
        assert_eq!(row.run_delay.unwrap().0, clock.run_delay);
        assert_eq!(row.timeslices.unwrap(), clock.pcount);
        assert!(row.allowed_cpus.as_ref().unwrap().starts_with('0'));
    }

    #[test]
    fn a_hostile_name_is_shown_as_text_and_kept_as_bytes() {
        let blocked = {
            let (release, wait) = mpsc::channel::<()>();
            let (say, hear) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                rustix::thread::set_name(c") R \xff\x1b[2J(").unwrap();
                say.send(gettid()).unwrap();
                let _ = wait.recv();
            });
            Blocked {
                tid: hear.recv().unwrap(),
                release: Some(release),
                thread: Some(thread),
            }
        };
        let mut reader = reader(std::process::id());
        let snapshot = pass(&mut reader);
        let row = row(&snapshot, blocked.tid);
        assert_eq!(row.name_bytes.as_deref(), Some(&b") R \xff\x1b[2J("[..]));
        assert!(row.name.contains('\u{fffd}'));
    }

    #[test]
    fn threads_that_end_leave_the_rows_and_stay_in_the_count() {
        // A process of its own, since other tests start threads in ours.
        let mut reader = reader(std::process::id());
        let first = pass(&mut reader);
        let blocked: Vec<Blocked> = (0..3).map(|_| Blocked::start("short")).collect();
        let tids: Vec<Tid> = blocked.iter().map(|blocked| blocked.tid).collect();
        let second = pass(&mut reader);
        drop(blocked);
        let gone = |snapshot: &Snapshot| {
            let here = |tid| snapshot.threads.binary_search_by_key(tid, Thread::tid).is_ok();
            !tids.iter().any(here)
        };
        let third = pass_until(&mut reader, gone);
        assert!(second.started_total >= first.started_total + 3);
        assert!(third.ended_total >= 3 && third.peak >= second.threads.len() as u32);
        for snapshot in [&first, &second, &third] {
            assert_eq!(
                snapshot.started_total,
                snapshot.ended_total + snapshot.threads.len() as u64
            );
            assert!(!snapshot.started_exact);
            assert!(snapshot.threads.is_sorted_by_key(Thread::tid));
        }
    }

    #[test]
    fn a_large_process_and_one_without_file_budget_are_read_alike() {
        let many: Vec<Blocked> = (0..SMALL + 10).map(|_| Blocked::start("many")).collect();
        let mut kept = reader(std::process::id());
        let mut poor = reader_with(&ProcRoot::live(), std::process::id(), 0, Box::new(Alone));
        for reader in [&mut kept, &mut poor] {
            let settled = |snapshot: &Snapshot| many.iter().all(|one| row(snapshot, one.tid).wait.is_ok());
            pass_until(reader, settled);
            let snapshot = pass(reader);
            for one in &many {
                let row = row(&snapshot, one.tid);
                assert_eq!((&*row.name, row.state), ("many", ThreadState::Sleeping));
                assert_eq!(row.cpu_ratio, Ok(0.0));
            }
        }
    }

    #[test]
    fn what_a_pass_has_no_time_for_is_read_in_the_next_one() {
        let blocked = Blocked::start("later");
        let mut reader = reader(std::process::id());
        reader.limit = Duration::ZERO;
        let cut = pass(&mut reader);
        assert!(cut.truncated && cut.threads.is_empty(), "{cut:?}");
        reader.limit = PASS_LIMIT;
        let whole = pass(&mut reader);
        assert!(!whole.truncated);
        let began = row(&whole, blocked.tid).key;
        // Cut short again, the rows that are known stay.
        reader.limit = Duration::ZERO;
        let cut = pass(&mut reader);
        assert!(cut.truncated);
        assert_eq!(row(&cut, blocked.tid).key, began);
    }

    #[test]
    fn files_go_back_to_the_budget() {
        let budget = FileBudget::new(100);
        let key = resolve(&ProcRoot::live(), Pid(std::process::id())).unwrap().unwrap();
        let open = ProcessReader::open(&ProcRoot::live(), key, Arc::clone(&budget), Box::new(Alone));
        let mut reader = open.unwrap();
        pass(&mut reader);
        assert!(budget.left.load(Ordering::Relaxed) < 100);
        drop(reader);
        assert_eq!(budget.left.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_process_that_has_ended_is_news() {
        let mut program = Program::start("sleep", "60");
        let mut reader = reader(program.0.id());
        assert_eq!(pass(&mut reader).threads.len(), 1);
        program.end();
        let outcome = reader.pass(Role::Other, Nanos(0), 2);
        assert!(matches!(outcome, Err(PassError::Ended)), "{outcome:?}");
    }

    #[test]
    fn a_zombie_has_a_row_without_memory_or_waits() {
        let mut program = Program::start("true", "");
        let pid = program.0.id();
        let mut reader = reader(pid);
        let snapshot = pass_until(&mut reader, |snapshot| snapshot.threads[0].state == ThreadState::Zombie);
        let row = &snapshot.threads[0];
        assert_eq!(row.wait, Err(Unknown::Zombie));
        assert_eq!(row.stack, Err(Unknown::Zombie));
        assert_eq!(snapshot.rss_bytes, Err(Unknown::Zombie));
        assert!(row.user_time.is_ok());
        program.end();
        assert!(matches!(reader.pass(Role::Other, Nanos(0), 2), Err(PassError::Ended)));
    }

    #[test]
    fn a_stopped_process_is_stopped_and_waits_for_nothing() {
        let program = Program::start("sleep", "60");
        let pid = rustix::process::Pid::from_child(&program.0);
        let mut reader = reader(program.0.id());
        pass_until(&mut reader, |snapshot| snapshot.threads[0].wait.is_ok());
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let snapshot = pass_until(&mut reader, |snapshot| {
            snapshot.threads[0].state == ThreadState::Stopped
        });
        assert_eq!(snapshot.threads[0].wait, Err(Unknown::NotWaiting));
        assert_eq!(&*snapshot.name, "sleep");
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        pass_until(&mut reader, |snapshot| {
            snapshot.threads[0].state == ThreadState::Sleeping
        });
    }

    #[test]
    fn a_change_from_outside_is_seen_though_the_thread_does_not_run() {
        let blocked = Blocked::start("before");
        let mut reader = reader(std::process::id());
        pass_until(&mut reader, |snapshot| row(snapshot, blocked.tid).wait.is_ok());
        std::fs::write(format!("/proc/self/task/{}/comm", blocked.tid), "after").unwrap();
        pass_until(&mut reader, |snapshot| &*row(snapshot, blocked.tid).name == "after");
    }

    #[test]
    fn a_kernel_thread_has_rows_and_no_user_memory() {
        let Ok(Some(_)) = resolve(&ProcRoot::live(), Pid(2)) else {
            return; // in a container there is none
        };
        let mut reader = reader(2);
        let snapshot = pass(&mut reader);
        let row = &snapshot.threads[0];
        if row.stack != Err(Unknown::KernelThread) {
            return; // a container's pid 2 is an ordinary process
        }
        assert_eq!(snapshot.rss_bytes, Err(Unknown::KernelThread));
        assert_eq!(row.wait.as_ref().map(|wait| wait.syscall), Ok(None));
    }

    #[test]
    fn a_number_that_is_no_process_resolves_to_none() {
        let blocked = Blocked::start("not-a-process");
        for number in [0, u32::MAX, i32::MAX as u32, blocked.tid.0] {
            assert_eq!(resolve(&ProcRoot::live(), Pid(number)).unwrap(), None, "{number}");
        }
    }

    #[test]
    fn a_key_of_an_earlier_process_opens_nothing() {
        let key = ProcessKey {
            pid: Pid(std::process::id()),
            start: Ticks(1),
        };
        let opened = ProcessReader::open(&ProcRoot::live(), key, FileBudget::new(0), Box::new(Alone));
        assert!(matches!(opened, Err(PassError::Ended)));
    }

    /// A ledger with a parked worker, known by its thread's id.
    struct Said(Tid);

    impl Companions for Said {
        fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
            let task = TaskNow {
                pool: Arc::from("main"),
                workload: None,
                id: None,
                age: None,
                done: 7,
                queue_wait: Nanos(1),
                service: Nanos(2),
                parked: true,
            };
            let heap = HeapTally {
                allocated_bytes: 64,
                ..HeapTally::default()
            };
            Ok(Arc::new(LedgerView {
                rows: vec![LedgerRow {
                    tid: self.0,
                    heap,
                    task: Some(task),
                }],
                started_total: 40,
                ..LedgerView::default()
            }))
        }
        fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
        fn stack(&mut self, _: Wanted) -> Evidence<StackUse> {
            Err(Unknown::NotAsked)
        }
        fn main_stack(&mut self) -> Option<StackUse> {
            None
        }
        fn another_program(&mut self) {}
    }

    #[test]
    fn what_the_ledger_says_is_joined_by_tid() {
        let (worker, stranger) = (Blocked::start("worker"), Blocked::start("stranger"));
        let said = Box::new(Said(worker.tid));
        let mut reader = reader_with(&ProcRoot::live(), std::process::id(), 100, said);
        let asleep = |snapshot: &Snapshot| row(snapshot, worker.tid).wait.is_ok();
        let snapshot = pass_until(&mut reader, asleep);
        let worker = row(&snapshot, worker.tid);
        assert_eq!(worker.state, ThreadState::Parked);
        assert_eq!(worker.heap.unwrap().allocated_bytes, 64);
        assert_eq!(worker.task.as_ref().unwrap().done, 7);
        assert_eq!(worker.pool.as_deref(), Some("main"));
        let stranger = row(&snapshot, stranger.tid);
        assert_eq!((stranger.heap, stranger.pool.as_deref()), (Err(Unknown::NoSlot), None));
        assert!(snapshot.started_exact);
    }

    /// Counts how often the process has become another program.
    struct Counting(Arc<AtomicU64>);

    impl Companions for Counting {
        fn ledger(&mut self, _: Nanos) -> Evidence<Arc<LedgerView>> {
            Err(Unknown::NoLedger)
        }
        fn prepare_stacks(&mut self, _: &[Wanted], _: Nanos) {}
        fn stack(&mut self, _: Wanted) -> Evidence<StackUse> {
            Err(Unknown::NotAsked)
        }
        fn main_stack(&mut self) -> Option<StackUse> {
            None
        }
        fn another_program(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_process_that_becomes_another_program_keeps_its_key_and_loses_its_mappings() {
        let child = Command::new("sh")
            .args(["-c", "read line; exec sleep 60"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut program = Program(child);
        let times = Arc::new(AtomicU64::new(0));
        let pid = program.0.id();
        let mut reader = reader_with(&ProcRoot::live(), pid, 100, Box::new(Counting(Arc::clone(&times))));
        let before = pass_until(&mut reader, |snapshot| {
            &*snapshot.name == "sh" && snapshot.threads[0].wait.is_ok()
        });
        let seen = times.load(Ordering::Relaxed);
        drop(program.0.stdin.take());
        let after = pass_until(&mut reader, |snapshot| &*snapshot.name == "sleep");
        assert_eq!(after.threads[0].key, before.threads[0].key);
        assert_eq!(after.started_total, 1);
        // More than once when a pass fell into the exec itself and saw a half of it.
        assert!(times.load(Ordering::Relaxed) > seen);
    }

    #[test]
    fn a_thread_that_ends_between_listing_and_reading_is_no_error() {
        let mut reader = reader(std::process::id());
        let gone = {
            let blocked = Blocked::start("gone");
            blocked.tid
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        // The kernel takes a moment to take it away after the join.
        loop {
            let ReaderParts { task, files } = parts(&mut reader);
            match files.read(task, gone, None, Keep::All, false).unwrap() {
                None => break,
                Some(_) => assert!(Instant::now() < deadline),
            }
        }
    }

    struct ReaderParts<'a> {
        task: &'a OwnedFd,
        files: &'a mut ThreadFiles,
    }

    fn parts(reader: &mut ProcessReader) -> ReaderParts<'_> {
        ReaderParts {
            task: &reader.task,
            files: &mut reader.files,
        }
    }

    #[test]
    fn threads_that_come_and_go_all_the_time_never_break_a_pass() {
        let stop = Arc::new(AtomicBool::new(false));
        let maker = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let short: Vec<_> = (0..8).map(|_| std::thread::spawn(|| ())).collect();
                    for thread in short {
                        let _ = thread.join();
                    }
                }
            }
        });
        let mut reader = reader(std::process::id());
        for _ in 0..200 {
            let snapshot = pass(&mut reader);
            assert_eq!(
                snapshot.started_total,
                snapshot.ended_total + snapshot.threads.len() as u64
            );
            let mut tids: Vec<Tid> = snapshot.threads.iter().map(Thread::tid).collect();
            tids.dedup();
            assert_eq!(tids.len(), snapshot.threads.len());
        }
        stop.store(true, Ordering::Relaxed);
        maker.join().unwrap();
    }

    fn captured() -> ProcRoot {
        ProcRoot::captured(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/threads"))
    }

    #[test]
    fn a_captured_tree_is_read_like_a_kernel_and_nothing_moves_in_it() {
        let mut reader = reader_with(&captured(), 4321, 100, Box::new(Alone));
        pass(&mut reader);
        let snapshot = pass(&mut reader);
        assert_eq!(&*snapshot.name, "app (main)");
        assert_eq!(snapshot.threads.len(), 3);
        assert_eq!(snapshot.cpu_ratio, Err(Unknown::SeenOnce));

        let main = &snapshot.threads[0];
        assert_eq!(main.state, ThreadState::Sleeping);
        assert_eq!(main.cpu_ratio, Err(Unknown::SeenOnce));
        assert_eq!(main.on_cpu, Ok(Nanos(185_070_874)));
        assert_eq!(main.allowed_cpus.as_deref(), Ok("0-1"));

        let worker = &snapshot.threads[1];
        assert_eq!((&*worker.name, worker.state), ("io) pool (2", ThreadState::Runnable));
        assert_eq!(
            (worker.policy, worker.rt_priority, worker.nice),
            (Ok("fifo"), Ok(99), Ok(-19))
        );

        // Of this one only `stat` was captured.
        let bare = &snapshot.threads[2];
        assert_eq!(bare.state, ThreadState::DiskSleep);
        for missing in [
            bare.voluntary_switches.map(|_| ()),
            bare.on_cpu.map(|_| ()),
            bare.wait.clone().map(|_| ()),
        ] {
            assert_eq!(missing, Err(Unknown::NotCaptured));
        }
    }
}
