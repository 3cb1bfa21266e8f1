//! Makes the row of one thread from its files, and tells whether an earlier one still holds.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::files::{Keep, KeptFile, Name, Texts};
use crate::kernel::schedstat::{self, ThreadClock};
use crate::kernel::syscall::{self, Syscall};
use crate::kernel::{ProcRoot, clock, stat, status, wchan};
use crate::model::{
    Evidence, Nanos, ProcessKey, Thread, ThreadKey, ThreadState, Ticks, Tid, TimeLimit, Unknown, WaitObject,
};
use crate::observe::companions::Wanted;
use crate::observe::rates::{self, Rates, Reading};
use crate::observe::waits::{self, Arguments, Depth, SocketBook};

/// How old the `stat` of a thread of a small process may be.
const CHECK: Nanos = Nanos(400_000_000);

/// What is kept of a thread from pass to pass.
pub(super) struct Kept {
    pub(super) row: Thread,
    pub(super) first_seen: Nanos,
    pub(super) reading: Reading,
    /// When `stat` was last read, on `CLOCK_MONOTONIC`.
    pub(super) checked_at: Nanos,
    pub(super) files: [Option<KeptFile>; Name::COUNT],
    /// The thread's id in its own pid namespace: the one its ledger knows it by.
    pub(super) innermost: Tid,
    /// Where its stack was when it was last read blocked.
    pub(super) stack_pointer: Evidence<u64>,
    /// The stack is to be looked up once the pass has read all rows.
    pub(super) stack_due: bool,
    /// The call it was blocked in, and when its object was looked up.
    pub(super) call: Option<(&'static str, Arguments)>,
    pub(super) looked_at: Nanos,
    /// There was no room in the pass for the object, or it was left out for being dear just then.
    pub(super) object_due: bool,
    /// The value that a shared futex wait expects: the tid of a thread, when it is a join.
    pub(super) join: Option<u32>,
}

impl Kept {
    pub(super) fn wanted(&self) -> Option<Wanted> {
        Some(Wanted {
            stack_pointer: self.stack_pointer.ok()?,
            first_seen: self.first_seen,
        })
    }
}

/// What was found about a wait, to be given to the next row when the thread waits in the same call again.
struct EarlierLook {
    call: (&'static str, Arguments),
    object: Evidence<WaitObject>,
    looked_at: Nanos,
    join: Option<u32>,
}

impl EarlierLook {
    /// A file may be closed and another opened under its number while its readers go on with the same
    /// call: what was found holds for so long and no longer, unless the thread has not run since.
    const HOLDS: Nanos = Nanos(5_000_000_000);

    fn of(kept: &mut Kept) -> Option<EarlierLook> {
        let wait = kept.row.wait.as_mut().ok()?;
        let object = std::mem::replace(&mut wait.object, Err(Unknown::NotAsked));
        Some(EarlierLook {
            call: kept.call.filter(|_| !kept.object_due)?,
            object,
            looked_at: kept.looked_at,
            join: kept.join,
        })
    }

    fn holds(&self, kept: &Kept, has_run: bool) -> bool {
        let (name, arguments) = self.call;
        kept.call == Some(self.call)
            && (!has_run
                || waits::understand(name, &arguments).is_told_by_arguments()
                || (kept.looked_at.saturating_sub(self.looked_at) < EarlierLook::HOLDS
                    && !waits::understand(name, &arguments).is_in_memory()))
    }

    fn give(self, kept: &mut Kept) {
        if let Ok(wait) = &mut kept.row.wait {
            wait.object = self.object;
        }
        kept.looked_at = self.looked_at;
        kept.join = self.join;
    }
}

/// What came of looking at a known thread.
pub(super) enum Look {
    AsItWas,
    Moved,
    Ended,
}

/// Reads the files of the threads of one process.
pub(super) struct ThreadFiles {
    pub(super) key: ProcessKey,
    pub(super) root: ProcRoot,
    /// What it means that a file isn't there: the thread has ended, or no thread has such a file.
    pub(super) absent: [Unknown; Name::COUNT],
    pub(super) texts: Texts,
    pub(super) words: Words,
    pub(super) sockets: SocketBook,
    /// How many objects of waits may still be looked up in this pass.
    pub(super) looks_left: u32,
}

impl ThreadFiles {
    /// A known thread: has it run since, is it still there? Sets its rates when it hasn't moved.
    pub(super) fn look(&mut self, task: &OwnedFd, kept: &mut Kept, keep: Keep, anew: bool) -> Look {
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
        if kept.object_due && self.looks_left > 0 {
            self.look_up(task, kept);
        }
        Look::AsItWas
    }

    fn rate(&self, row: &mut Thread, earlier: Option<&Reading>, later: &Reading) {
        // Nothing moves in a captured tree, so it has no rates, whatever the time between two passes.
        let rates = match earlier {
            Some(earlier) if !self.root.is_captured() => rates::between(earlier, later),
            _ => Rates::SEEN_ONCE,
        };
        row.cpu_ratio = rates.cpu_ratio;
        row.run_delay_ratio = rates.run_delay_ratio;
    }

    /// All that the kernel tells of one thread. `None`: it has ended, or its tid is another's now.
    pub(super) fn read(
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
        let mut earlier_look = None;
        let (earlier, mut files, old_row, first_seen) = match known {
            Some(kept) => {
                let mut kept = *kept;
                earlier_look = EarlierLook::of(&mut kept);
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
        let call = row.wait.is_ok().then(|| waits::call_of(&syscall)).flatten();
        let mut kept = Box::new(Kept {
            row,
            first_seen,
            reading,
            checked_at: at,
            files,
            innermost,
            stack_due: stack_pointer.is_ok(),
            stack_pointer,
            call,
            looked_at: at,
            object_due: false,
            join: None,
        });
        let has_run = earlier.is_none_or(|earlier| earlier.clock.is_err() || earlier.clock != clock);
        match earlier_look.filter(|look| look.holds(&kept, has_run)) {
            Some(look) => look.give(&mut kept),
            None => self.look_up(task, &mut kept),
        }
        Ok(Some(kept))
    }

    /// Finds out what its call is about, as far as a row tells and this pass has room for.
    fn look_up(&mut self, task: &OwnedFd, kept: &mut Kept) {
        let (Some((name, arguments)), Ok(wait)) = (kept.call, &mut kept.row.wait) else {
            return;
        };
        let call = waits::understand(name, &arguments);
        // What the arguments alone tell costs nothing.
        if !call.is_told_by_arguments() {
            if self.looks_left == 0 {
                kept.object_due = true;
                return;
            }
            self.looks_left -= 1;
        }
        let thread = waits::Thread {
            root: &self.root,
            process: self.key.pid,
            task,
            tid: kept.row.key.tid,
            function: wait.kernel_function.as_deref().ok(),
        };
        let look = waits::look(&call, &thread, Depth::Row, &mut self.sockets);
        wait.object = look.object;
        kept.object_due = !look.complete;
        kept.looked_at = clock::monotonic();
        kept.join = call.may_join();
    }

    /// Looks at one thread's wait as closely as can be, and says until when it is. The thread may go on
    /// meanwhile: then what was found belongs to no call, and the next one is looked at instead.
    pub(super) fn look_closely(&mut self, task: &OwnedFd, kept: &mut Kept) -> Evidence<TimeLimit> {
        const TRIES: u32 = 3;
        let Ok(wait) = &mut kept.row.wait else {
            return Err(Unknown::NotWaiting);
        };
        for _ in 0..TRIES {
            let Some((name, arguments)) = kept.call else {
                return Err(Unknown::NoObject);
            };
            let call = waits::understand(name, &arguments);
            let thread = waits::Thread {
                root: &self.root,
                process: self.key.pid,
                task,
                tid: kept.row.key.tid,
                function: wait.kernel_function.as_deref().ok(),
            };
            let look = waits::look(&call, &thread, Depth::Whole, &mut self.sockets);
            let limit = waits::limit_of(&call, &thread);
            let again = self.syscall(task, kept.row.key.tid, &mut kept.files, Keep::Clock, kept.row.state);
            if waits::call_of(&again) == kept.call {
                wait.object = look.object;
                kept.join = call.may_join();
                return limit;
            }
            // What it does now isn't what the row says: only another call of the same name may be put into it.
            kept.call = waits::call_of(&again).filter(|(now, _)| *now == name);
            if let Some((_, arguments)) = kept.call {
                wait.address = wait.address.map(|_| arguments[0]);
                wait.timed = waits::understand(name, &arguments).timed;
            }
        }
        Err(Unknown::Running)
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

    pub(super) fn syscall(
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

pub(super) fn refused(error: &io::Error) -> Unknown {
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
pub(super) struct Words(HashMap<Box<str>, Arc<str>>);

impl Words {
    /// A hostile process can rename its threads for ever.
    const MOST: usize = 16_384;

    pub(super) fn word(&mut self, text: &str) -> Arc<str> {
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
    pub(super) fn name(&mut self, bytes: &[u8]) -> (Arc<str>, Option<Arc<[u8]>>) {
        let text = String::from_utf8_lossy(bytes);
        let hostile = matches!(text, std::borrow::Cow::Owned(_));
        (self.word(&text), hostile.then(|| Arc::from(bytes)))
    }
}
