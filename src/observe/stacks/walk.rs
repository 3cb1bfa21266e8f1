//! One pass over the threads of a process: registers, stack bytes, frames.
//!
//! Threads are taken in groups, so that memory stays small. For each: turns on a CPU, name and state, the
//! system call with its two registers; then one batched copy of the beginnings of all their stacks; then the
//! walks; then turns again, through files that were kept open. Same turns: nothing can have changed in
//! between, since a thread that does not run changes nothing of its own. Threads that moved are read again
//! by themselves, a few times, and marked in the end. Those that run are sampled or, where that was asked
//! for, stopped for a moment.
//!
//! All files are opened through one kept directory, so what is read is of one process whoever has the pid
//! later. Memory is read by pid: at the end the directory must still be that of a living process, with the
//! same program in it. Another program (an exec) makes us begin again.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::fold::{Fold, Wanted};
use super::look::{Looker, Seen, look_at};
use super::reach::{More, Reach};
use super::unwind::{Limits, RawStack, Unwinder};
use super::{AddressSpace, Caught, Dumper, Registers, StackOptions, pause, running};
use crate::kernel::file::{self, Buffer};
use crate::kernel::maps::refusal;
use crate::kernel::process_vm::{self, Piece};
use crate::kernel::syscall::Syscall;
use crate::kernel::{clock, stat, status, task};
use crate::model::{Call, Dump, DumpThread, Evidence, Pid, ProcessKey, StackSource, ThreadKey, Unknown};
use crate::observe::InspectError;

/// Threads of a group: as many files are open, and so many windows in memory, at a time.
const GROUP: usize = 256;
/// What is copied of each stack at first; most waiting threads are not deeper.
const WINDOW: usize = 8 << 10;
/// Below the stack pointer: leaf functions and epilogues have their saved registers there.
const RED_ZONE: u64 = 128;
/// How often a thread that moves is read again.
const TRIES: usize = 3;
/// How often we begin anew because another program was started in the process.
const PROGRAMS: usize = 3;
/// For all running threads together.
const SAMPLE_TIME: Duration = Duration::from_millis(20);
/// For one thread to be stopped and looked at.
const PAUSE_TIME: Duration = Duration::from_millis(50);
/// How much of a stopped thread's stack is copied while it stands still.
const PAUSE_BYTES: usize = 64 << 10;

pub(super) fn dump(dumper: &Dumper, pid: Pid, options: &StackOptions) -> Result<Dump, InspectError> {
    let until = Instant::now() + options.patience;
    let mut programs = 1;
    loop {
        let mut pass = Pass::open(dumper, pid, options, until)?;
        pass.read()?;
        let again = pass.is_another_program()?;
        if !again || programs == PROGRAMS || Instant::now() > until {
            return pass.dump(again);
        }
        programs += 1;
    }
}

/// A thread of the dump that is being made.
struct Row {
    seen: Seen,
    stack: Evidence<Wanted>,
}

struct Pass<'d> {
    dumper: &'d Dumper,
    options: &'d StackOptions,
    until: Instant,
    taken_at: crate::model::Nanos,
    wall_clock: SystemTime,
    key: ProcessKey,
    name: Arc<str>,
    kernel_thread: bool,
    program: (u64, u64),
    dir: OwnedFd,
    task: Arc<OwnedFd>,
    tids: Vec<u32>,
    /// Two, so that the files of many threads are read by both at one time; the first does all else.
    lookers: [Looker; 2],
    /// A living thread through which memory is read.
    reader: Pid,
    space: Evidence<AddressSpace>,
    unwinder: Option<Unwinder>,
    /// The address space was read again, for what was mapped since.
    looked_again: bool,
    fold: Fold,
    buffer: Buffer,
    rows: Vec<Row>,
    truncated: bool,
    paused: u32,
}

impl<'d> Pass<'d> {
    fn open(dumper: &'d Dumper, pid: Pid, options: &'d StackOptions, until: Instant) -> Result<Pass<'d>, InspectError> {
        let (taken_at, wall_clock) = (clock::monotonic(), SystemTime::now());
        let root = dumper.root();
        let failed = |error: io::Error| unreadable(dumper, pid, error);
        if pid.0 == 0 || i32::try_from(pid.0).is_err() {
            return Err(InspectError::NoProcess(pid));
        }
        let dir = file::open_dir(&root.process(pid)).map_err(failed)?;
        let dir = dir.ok_or(InspectError::NoProcess(pid))?;
        let mut buffer = Buffer::default();
        let (mut translated, mut is_process) = (false, true);
        if let Some(text) = file::read_at(&dir, "status", &mut buffer).map_err(failed)? {
            let status = status::parse(text);
            // `/proc/TID` of any thread can be opened though only processes are listed.
            is_process = status.process.is_none_or(|process| process == pid.0);
            translated = status.innermost_id.is_some_and(|inner| inner != pid.0);
        }
        let stat = stat::read_at(&dir, "stat", &mut buffer).map_err(failed)?;
        let Some(stat) = stat.filter(|_| is_process) else {
            return Err(InspectError::NoProcess(pid));
        };
        let key = ProcessKey { pid, start: stat.start };
        let name: Arc<str> = String::from_utf8_lossy(stat.name).into();
        let (kernel_thread, program) = (stat.is_kernel_thread(), (stat.start_code, stat.start_stack));
        let task = file::open_dir_at(&dir, "task").map_err(failed)?;
        let task = Arc::new(task.ok_or(InspectError::Ended(pid))?);
        let looker = || Looker {
            task: Arc::clone(&task),
            kernel_thread,
            root: root.clone(),
            translated,
            buffer: Buffer::default(),
            words: HashMap::new(),
        };
        let lookers = [looker(), looker()];
        let mut tids = Vec::new();
        task::list(&task, &mut tids)
            .map_err(failed)?
            .ok_or(InspectError::Ended(pid))?;
        tids.sort_unstable();
        tids.dedup();
        let mut pass = Pass {
            dumper,
            options,
            until,
            taken_at,
            wall_clock,
            key,
            name,
            kernel_thread,
            program,
            dir,
            task,
            tids,
            lookers,
            reader: pid,
            space: Err(Unknown::KernelThread),
            unwinder: None,
            looked_again: false,
            fold: Fold::default(),
            buffer,
            rows: Vec::new(),
            truncated: false,
            paused: 0,
        };
        if let Some(tid) = options.only {
            pass.tids.retain(|known| *known == tid.0);
            if pass.tids.is_empty() {
                return Err(InspectError::NoThread { pid, tid });
            }
        }
        if !kernel_thread {
            // After the list: whoever is in it has a stack that is mapped by now.
            pass.look_at_space();
        }
        Ok(pass)
    }

    fn look_at_space(&mut self) {
        self.space = self.dumper.space(self.key.pid);
        if let Ok(space) = &self.space {
            self.reader = space.reader;
        }
        self.unwinder = self.space.as_ref().ok().map(Unwinder::new);
    }

    /// Once a pass. False: it has been done.
    fn look_at_space_again(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.looked_again, true);
        if first {
            self.look_at_space();
        }
        first
    }

    fn has_strayed(&self) -> bool {
        self.unwinder.as_ref().is_some_and(Unwinder::has_strayed)
    }

    /// The thread through which we read has ended; another that lives on shows the same memory.
    fn find_reader(&mut self, tids: &[u32]) {
        for tid in tids {
            let stat = stat::read_at(&self.task, &format!("{tid}/stat"), &mut self.buffer);
            if let Ok(Some(stat)) = stat
                && !matches!(stat.state, b'Z' | b'X' | b'x')
            {
                self.reader = Pid(*tid);
                return;
            }
        }
    }

    fn is_late(&self) -> bool {
        Instant::now() > self.until
    }

    fn limits(&self) -> Limits {
        Limits {
            depth: self.options.max_depth.max(1),
            until: self.until,
        }
    }

    fn read(&mut self) -> Result<(), InspectError> {
        let tids = std::mem::take(&mut self.tids);
        let mut windows = vec![0; WINDOW * GROUP.min(tids.len())];
        self.rows.reserve(tids.len());
        for group in tids.chunks(GROUP) {
            if self.is_late() {
                self.truncated = true;
                break;
            }
            self.read_group(group, &mut windows)?;
        }
        self.read_moved();
        self.read_running();
        Ok(())
    }

    fn read_group(&mut self, group: &[u32], windows: &mut [u8]) -> Result<(), InspectError> {
        let first = self.rows.len();
        let (seen, late) = look_at(&mut self.lookers, group, self.until)
            .map_err(|error| unreadable(self.dumper, self.key.pid, error))?;
        self.truncated |= late;
        self.rows.extend(seen.into_iter().map(|seen| Row {
            seen,
            stack: Err(Unknown::Late),
        }));
        // A process that nobody may read, and a captured tree, have rows and no stacks.
        let lack = match &self.space {
            _ if self.kernel_thread => Some(Unknown::KernelThread),
            _ if self.dumper.root().is_captured() => Some(Unknown::NotCaptured),
            Err(why) => Some(*why),
            Ok(_) => None,
        };
        let mut begins: Vec<(usize, Registers, u64, usize)> = Vec::with_capacity(group.len());
        for at in first..self.rows.len() {
            let row = &mut self.rows[at];
            match (row.seen.registers(), lack) {
                (Err(why), _) | (Ok(_), Some(why)) => row.stack = Err(why),
                (Ok(registers), None) => {
                    let (start, length) = self.window_of(registers.stack_pointer);
                    begins.push((at, registers, start, length));
                }
            }
        }
        let mut pieces: Vec<Piece<'_>> = begins
            .iter()
            .zip(windows.chunks_exact_mut(WINDOW))
            .map(|((_, _, start, length), window)| Piece::new(*start, &mut window[..*length]))
            .collect();
        let mut copied = process_vm::read_many(self.reader, &mut pieces);
        if copied
            .as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH))
        {
            // Through whom we read has ended; the process may live on.
            self.find_reader(group);
            copied = process_vm::read_many(self.reader, &mut pieces);
        }
        if let Err(error) = copied {
            let why = refusal(self.dumper.root(), &error);
            for (at, ..) in begins {
                self.rows[at].stack = Err(why);
            }
            return Ok(());
        }
        let limits = self.limits();
        for ((at, registers, start, _), piece) in begins.iter().zip(&pieces) {
            let mut reach = Reach::new(*start, &piece.into[..piece.copied], More::Through(self.reader));
            let stack = match self.walk(registers, &mut reach, limits) {
                // Perhaps a library was loaded since we looked: we look again, once.
                Ok(_) if self.has_strayed() => Err(Unknown::NoStackFound),
                stack => stack,
            };
            self.rows[*at].stack = stack.map(|stack| (self.fold.add(stack), StackSource::Syscall, false));
        }
        for (at, ..) in begins {
            let seen = &mut self.rows[at].seen;
            let clock = seen.clock.take();
            let (tid, before) = (seen.tid, seen.turns);
            if !self.lookers[0].is_as_it_was(tid, before, clock.as_ref())
                && let Ok(wanted) = &mut self.rows[at].stack
            {
                wanted.2 = true;
            }
        }
        for row in &mut self.rows[first..] {
            row.seen.clock = None;
        }
        Ok(())
    }

    /// Where a stack's first window begins, and how long it is.
    fn window_of(&self, stack_pointer: u64) -> (u64, usize) {
        let bounds = self
            .unwinder
            .as_ref()
            .and_then(|unwinder| unwinder.stack_of(stack_pointer));
        match bounds {
            Some((low, high)) => {
                let start = stack_pointer.saturating_sub(RED_ZONE).max(low);
                (start, WINDOW.min((high - start) as usize))
            }
            None => (stack_pointer, 0),
        }
    }

    fn walk(&mut self, registers: &Registers, reach: &mut Reach<'_>, limits: Limits) -> Evidence<RawStack> {
        let unwinder = self.unwinder.as_mut().ok_or(Unknown::NoStackFound)?;
        unwinder
            .stack_of(registers.stack_pointer)
            .ok_or(Unknown::NoStackFound)?;
        Ok(unwinder.walk(registers, reach, limits))
    }

    /// Threads that moved while they were read, and those whose stack or code was mapped after we had looked.
    fn read_moved(&mut self) {
        let moved = |row: &Row| match row.stack {
            Ok((_, _, moved)) => moved,
            Err(why) => matches!(why, Unknown::Running | Unknown::NoStackFound | Unknown::Gone),
        };
        let again: Vec<usize> = (0..self.rows.len()).filter(|at| moved(&self.rows[*at])).collect();
        if again
            .iter()
            .any(|at| self.rows[*at].stack == Err(Unknown::NoStackFound))
        {
            self.look_at_space_again();
        }
        self.read_all_again(&again);
    }

    fn read_all_again(&mut self, rows: &[usize]) {
        let mut gone = Vec::new();
        for at in rows {
            if self.is_late() {
                break;
            }
            if !self.read_again(*at) {
                gone.push(*at);
            }
        }
        for at in gone.into_iter().rev() {
            self.rows.remove(at);
        }
    }

    /// Reads one thread by itself, until it stands still. False: it has ended.
    fn read_again(&mut self, at: usize) -> bool {
        let tid = self.rows[at].seen.tid;
        let mut tries = 0;
        while tries < TRIES {
            let Ok(seen) = self.lookers[0].look(tid) else {
                return true;
            };
            let Some(mut seen) = seen else { return false };
            let clock = seen.clock.take();
            let turns = seen.turns;
            let stack = seen.registers().and_then(|registers| {
                let (start, length) = self.window_of(registers.stack_pointer);
                let mut window = vec![0; length];
                let copied = process_vm::read(self.reader, start, &mut window).unwrap_or(0);
                let mut reach = Reach::new(start, &window[..copied], More::Through(self.reader));
                let limits = self.limits();
                let stack = self.walk(&registers, &mut reach, limits)?;
                Ok((self.fold.add(stack), StackSource::Syscall, true))
            });
            // A program that was loading its libraries when we looked.
            if stack.is_ok() && self.has_strayed() && self.look_at_space_again() {
                continue;
            }
            tries += 1;
            let rests = stack.is_ok() && self.lookers[0].is_as_it_was(tid, turns, clock.as_ref());
            let stack = stack.map(|(stack, source, _)| (stack, source, !rests));
            self.rows[at] = Row { seen, stack };
            match stack {
                Ok(_) if !rests => {}
                // It runs: let it come to rest, if that is a matter of a moment.
                Err(Unknown::Running) => std::thread::yield_now(),
                _ => break,
            }
        }
        true
    }

    fn read_running(&mut self) {
        let running = |pass: &Pass<'_>| -> Vec<usize> {
            let rows = pass.rows.iter().enumerate();
            rows.filter(|(_, row)| row.stack == Err(Unknown::Running))
                .map(|(at, _)| at)
                .collect()
        };
        if self.unwinder.is_none() || self.dumper.root().is_captured() {
            return;
        }
        if self.options.pause {
            for at in running(self) {
                let left = self.until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let caught = pause::catch(self.rows[at].seen.key(self.key), left.min(PAUSE_TIME), PAUSE_BYTES);
                self.paused += u32::from(caught.is_ok());
                self.add_caught(at, caught, StackSource::Pause);
            }
        }
        if self.options.sample_running && !self.is_late() {
            let rows = running(self);
            if rows.is_empty() {
                return;
            }
            let threads: Vec<ThreadKey> = rows.iter().map(|at| self.rows[*at].seen.key(self.key)).collect();
            let left = self.until.saturating_duration_since(Instant::now());
            let samples = running::sample(&threads, left.min(SAMPLE_TIME));
            for (at, caught) in rows.into_iter().zip(samples) {
                self.add_caught(at, caught, StackSource::Sample);
            }
            // Who had no turn in all that time is blocked by now, or waits for a CPU.
            let left: Vec<usize> = running(self);
            self.read_all_again(&left);
        }
    }

    fn add_caught(&mut self, at: usize, caught: Evidence<Caught>, source: StackSource) {
        let limits = self.limits();
        let stack = caught.and_then(|caught| {
            let start = caught.registers.stack_pointer;
            let mut reach = Reach::new(start, &caught.stack, More::CodeOnly(self.reader));
            let stack = self.walk(&caught.registers, &mut reach, limits)?;
            Ok((self.fold.add(stack), source, false))
        });
        self.rows[at].stack = match stack {
            // It did not run in that time either, so nothing more is known than before.
            Err(Unknown::Late) => Err(Unknown::Running),
            // A stop that failed leaves the sample to be tried.
            Err(_) if source == StackSource::Pause && self.options.sample_running => Err(Unknown::Running),
            stack => stack,
        };
    }

    /// Whether the process runs another program than when we began; an error when it has ended and nothing was
    /// read of it.
    fn is_another_program(&mut self) -> Result<bool, InspectError> {
        let ended = InspectError::Ended(self.key.pid);
        match stat::read_at(&self.dir, "stat", &mut self.buffer) {
            Ok(Some(stat)) if stat.start != self.key.start => Err(ended),
            Ok(Some(stat)) => {
                let is_dead = matches!(stat.state, b'Z' | b'X' | b'x');
                Ok(!is_dead && (stat.start_code, stat.start_stack) != self.program)
            }
            // What was read before the end was so.
            _ if self.rows.iter().any(|row| row.stack.is_ok()) => Ok(false),
            _ => Err(ended),
        }
    }

    fn dump(self, moved: bool) -> Result<Dump, InspectError> {
        let took = clock::monotonic().saturating_sub(self.taken_at);
        let (pid, key) = (self.key.pid, self.key);
        if self.rows.is_empty() && !self.truncated {
            return Err(match self.options.only {
                Some(tid) => InspectError::NoThread { pid, tid },
                None => InspectError::Ended(pid),
            });
        }
        let mut rows = self.rows;
        for row in &mut rows {
            if let Ok((_, _, has_moved)) = &mut row.stack {
                *has_moved |= moved;
            }
        }
        let stacks = match &self.space {
            Ok(space) => {
                let wanted = rows.iter().filter_map(|row| row.stack.ok());
                let symbols = self.options.symbols.then(|| self.dumper.symbols());
                self.fold.stacks(wanted, symbols, pid, space)
            }
            Err(_) => HashMap::new(),
        };
        let threads = rows.into_iter().map(|Row { seen, stack }| DumpThread {
            key: seen.key(key),
            name: seen.name,
            state: seen.state,
            state_letter: seen.letter,
            own_tid: seen.own_tid,
            turns: seen.turns,
            call: seen.syscall.and_then(call_of),
            wait: seen.wait,
            stack: stack.and_then(|wanted| stacks.get(&wanted).map(Arc::clone).ok_or(Unknown::NoStackFound)),
        });
        Ok(Dump {
            process: key,
            name: self.name,
            taken_at: self.taken_at,
            wall_clock: self.wall_clock,
            took,
            threads: threads.collect(),
            truncated: self.truncated,
            paused: self.paused,
        })
    }
}

fn call_of(syscall: Syscall) -> Evidence<Call> {
    match syscall {
        Syscall::Running => Err(Unknown::Running),
        Syscall::Blocked {
            number,
            arguments,
            stack_pointer,
            program_counter,
        } => Ok(Call {
            number,
            arguments,
            stack_pointer,
            program_counter,
        }),
    }
}

fn unreadable(dumper: &Dumper, pid: Pid, source: io::Error) -> InspectError {
    match source.kind() {
        io::ErrorKind::PermissionDenied => InspectError::Denied(pid),
        io::ErrorKind::NotFound => InspectError::Ended(pid),
        _ => InspectError::Unreadable {
            path: dumper.root().process(pid).display().to_string(),
            source,
        },
    }
}
