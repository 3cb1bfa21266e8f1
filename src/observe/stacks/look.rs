//! What the files of `/proc` tell of one thread: the first half of a dump, and the dearer one.
//!
//! Some ten system calls a thread. For many threads two of our own read at one time: on a quiet machine
//! ten thousand take half as long, which also makes the dump more of one moment.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::Registers;
use crate::kernel::file::{self, Buffer};
use crate::kernel::maps::refusal;
use crate::kernel::syscall::{self, Syscall};
use crate::kernel::{ProcRoot, schedstat, stat, status, wchan};
use crate::model::{Evidence, ProcessKey, ThreadKey, ThreadState, Ticks, Tid, Unknown, Wait};
use crate::observe::waits;

/// Fewer threads are looked at sooner than a second reader has begun.
const WORTH_TWO: usize = 64;

/// What was read of one thread.
pub(super) struct Seen {
    pub tid: Tid,
    pub start: Ticks,
    pub name: Arc<str>,
    pub letter: u8,
    pub state: ThreadState,
    pub own_tid: Tid,
    pub turns: Evidence<u64>,
    pub syscall: Evidence<Syscall>,
    pub wait: Evidence<Wait>,
    /// Its `schedstat`, to be read again.
    pub clock: Option<OwnedFd>,
}

impl Seen {
    pub fn key(&self, process: ProcessKey) -> ThreadKey {
        ThreadKey {
            process,
            tid: self.tid,
            start: self.start,
        }
    }

    /// Where to begin the walk, or why there is none.
    pub fn registers(&self) -> Evidence<Registers> {
        match self.syscall? {
            Syscall::Running => Err(Unknown::Running),
            // A thread that has begun to end keeps neither.
            Syscall::Blocked { stack_pointer: 0, .. } => Err(Unknown::Gone),
            // A 64-bit program has its stacks far above.
            Syscall::Blocked {
                stack_pointer,
                program_counter,
                ..
            } if stack_pointer < 1 << 32 && program_counter < 1 << 32 => Err(Unknown::ForeignCode),
            Syscall::Blocked {
                stack_pointer,
                program_counter,
                ..
            } => Ok(Registers {
                program_counter,
                stack_pointer,
                frame_pointer: None,
                link: None,
            }),
        }
    }
}

/// One reader, with what it reads into.
pub(super) struct Looker {
    pub task: Arc<OwnedFd>,
    pub kernel_thread: bool,
    pub root: ProcRoot,
    /// The process is in another pid namespace: its threads know themselves by other numbers.
    pub translated: bool,
    pub buffer: Buffer,
    pub words: HashMap<Vec<u8>, Arc<str>>,
}

/// All of these threads that have not ended, in their order; and whether the time was over before the last.
pub(super) fn look_at(lookers: &mut [Looker; 2], tids: &[u32], until: Instant) -> io::Result<(Vec<Seen>, bool)> {
    let [first, second] = lookers;
    if tids.len() < WORTH_TWO {
        return first.look_at_all(tids, until);
    }
    let (front, back) = tids.split_at(tids.len() / 2);
    thread::scope(|scope| {
        let name = thread::Builder::new().name("ts-look".to_owned());
        let Ok(other) = name.spawn_scoped(scope, || second.look_at_all(back, until)) else {
            // No more threads are to be had: we do it alone.
            return first.look_at_all(tids, until);
        };
        let ours = first.look_at_all(front, until);
        let theirs = other
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the second reader of threads has panicked")));
        let ((mut seen, late), (more, later)) = (ours?, theirs?);
        seen.extend(more);
        Ok((seen, late || later))
    })
}

impl Looker {
    fn look_at_all(&mut self, tids: &[u32], until: Instant) -> io::Result<(Vec<Seen>, bool)> {
        let mut seen = Vec::with_capacity(tids.len());
        for tid in tids {
            if Instant::now() > until {
                return Ok((seen, true));
            }
            seen.extend(self.look(Tid(*tid))?);
        }
        Ok((seen, false))
    }

    /// Whether a thread has had no turn since. Without a number of turns nothing can be said for it.
    pub fn is_as_it_was(&mut self, tid: Tid, before: Evidence<u64>, clock: Option<&OwnedFd>) -> bool {
        let Ok(before) = before else { return false };
        if let Some(clock) = clock {
            let line = file::reread(clock, &mut self.buffer);
            let turns = line.ok().flatten().and_then(schedstat::parse).map(|clock| clock.slices);
            return turns == Some(before);
        }
        self.switches(tid) == Ok(before)
    }

    /// The number of times it has left a CPU, where turns are not counted.
    fn switches(&mut self, tid: Tid) -> Evidence<u64> {
        let text = file::read_at(&self.task, &format!("{tid}/status"), &mut self.buffer);
        let text = text.map_err(|_| Unknown::Denied)?.ok_or(Unknown::Gone)?;
        let status = status::parse(text);
        let both = status.voluntary_switches.zip(status.involuntary_switches);
        both.map(|(ours, theirs)| ours.wrapping_add(theirs))
            .ok_or(Unknown::NoKernelSupport)
    }

    /// All that files tell of a thread. `None`: it has ended.
    pub fn look(&mut self, tid: Tid) -> io::Result<Option<Seen>> {
        let mut name = String::with_capacity(16);
        let _ = write!(name, "{tid}");
        let Some(dir) = file::open_path_at(&self.task, &name)? else {
            return Ok(None);
        };
        // First: what is read after it is compared with what it says at the end.
        let (mut turns, mut kept) = (Err(Unknown::NoKernelSupport), None);
        if let Ok(Some(clock)) = file::open(&dir, "schedstat")
            && let Ok(Some(line)) = file::reread(&clock, &mut self.buffer)
            // A thread that can be seen has had a turn: 0 says that nobody counts.
            && let Some(read) = schedstat::parse(line).filter(|clock| clock.slices > 0)
        {
            turns = Ok(read.slices);
            kept = Some(clock);
        }
        if turns.is_err() {
            turns = self.switches(tid);
        }
        let Some(stat) = stat::read_at(&dir, "stat", &mut self.buffer)? else {
            return Ok(None);
        };
        let (start, letter) = (stat.start, stat.state);
        let name = match self.words.get(stat.name) {
            Some(name) => Arc::clone(name),
            None => {
                let name: Arc<str> = String::from_utf8_lossy(stat.name).into();
                self.words.insert(stat.name.to_vec(), Arc::clone(&name));
                name
            }
        };
        let state = waits::state_of(letter);
        let syscall = match state {
            ThreadState::Zombie | ThreadState::Dead => Err(Unknown::Zombie),
            _ if self.kernel_thread => Err(Unknown::KernelThread),
            _ => match file::read_at(&dir, "syscall", &mut self.buffer) {
                Ok(Some(line)) => std::str::from_utf8(line)
                    .ok()
                    .and_then(syscall::parse)
                    .ok_or(Unknown::Unreadable),
                Ok(None) if self.root.is_captured() => Err(Unknown::NotCaptured),
                Ok(None) => Err(Unknown::Gone),
                Err(error) => Err(refusal(&self.root, &error)),
            },
        };
        // The call says more than the kernel's function, which is read where there is no call.
        let function = match syscall {
            Err(_) if waits::is_blocked(state) => match file::read_at(&dir, "wchan", &mut self.buffer) {
                Ok(Some(text)) => Ok(wchan::parse(text).map(Arc::from)),
                Ok(None) => Err(Unknown::Gone),
                Err(error) => Err(refusal(&self.root, &error)),
            },
            _ => Err(Unknown::NotAsked),
        };
        let mut own_tid = tid;
        if self.translated
            && let Ok(Some(text)) = file::read_at(&dir, "status", &mut self.buffer)
        {
            own_tid = status::parse(text).innermost_id.map_or(tid, Tid);
        }
        Ok(Some(Seen {
            tid,
            start,
            name,
            letter,
            state,
            own_tid,
            turns,
            syscall,
            wait: waits::wait_of(state, self.kernel_thread, syscall, function),
            clock: kept,
        }))
    }
}
