//! `ptrace`: stops one thread of another process for a moment, and lets it go again whatever happens.
//!
//! Source: ptrace(2) and kernel/ptrace.c, kernel/signal.c. `PTRACE_SEIZE` takes a thread without
//! stopping it, `PTRACE_INTERRUPT` asks it to stop without a signal, `PTRACE_DETACH` lets it go.
//!
//! | what we see of the seized thread | what it means | what is done |
//! |---|---|---|
//! | nothing yet | on its way to stop, or in a sleep that nothing ends (disk, vfork) | look again until the deadline |
//! | trapped, `EVENT_STOP`, SIGTRAP | our interrupt | read, detach |
//! | trapped, `EVENT_STOP`, a stop signal | a job-control stop that began meanwhile | detach: the kernel keeps it stopped |
//! | trapped, no event, signal *n* | a signal was about to be delivered | read, detach *with n*: it is delivered |
//! | exited, killed | ended, perhaps by exec of another thread | nothing: its parent reaps it |
//! | still nothing at the deadline | cannot be detached, since it is not stopped | end our thread: the kernel detaches |
//!
//! **Why it can't stay stopped.** All requests for a thread must come from the thread that seized it, and when
//! *that* ends (returns, panics, is killed with our process), the kernel detaches from all it had seized,
//! stopped or not, and takes back an interrupt that was still on its way (`exit_ptrace`). So [`Seized`]
//! belongs on a thread that ends with it.
//!
//! **Why no signal is lost.** Stops are looked at with `WNOWAIT`: a signal that the tracee was about to
//! take stays its own until we detach, so that it is delivered even when we are killed in between. And the end
//! of a process is never consumed by us: its exit status is there for its parent, which may be ourselves.
//!
//! **What could still hold it.** To be stopped ourselves (SIGSTOP, Ctrl-Z, a frozen control group) in the very
//! moment in which it is: it waits until we are continued or end.
//!
//! **What it does cost.** The system call that the thread was in may end with EINTR, where signal(7) says
//! that a stop does that: epoll_wait, semop, sigtimedwait, sockets with a time-out. Programs that take EINTR for
//! an error have been seen to fail on it. That is why this is done on request only.

use std::io;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use super::registers::{self, SET_WORDS, UserRegisters};
use crate::model::Tid;

/// The pauses between two looks: the first ones short, since a thread on a CPU stops within microseconds.
const FIRST_PAUSE: Duration = Duration::from_micros(5);
const LONGEST_PAUSE: Duration = Duration::from_micros(500);

/// `NT_PRSTATUS` of elf.h: the general registers.
const GENERAL: usize = 1;

/// What a seized thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Stopped by our interrupt.
    Interrupted,
    /// In a stop of job control, which goes on when we let go.
    Group,
    /// Stopped before this signal was delivered to it; it gets the signal when we let go.
    Signal(i32),
    Ended,
    /// Not stopped by the deadline.
    Late,
}

/// A thread that is ours to stop. Dropped: it runs on. Bound to the thread that seized it, which should end soon
/// after: that lets go of a tracee that would not stop.
#[derive(Debug)]
pub struct Seized {
    tid: Tid,
    stop: Option<Stop>,
    /// The kernel takes requests from the seizing thread alone.
    _stays: PhantomData<*const ()>,
}

impl Seized {
    /// Takes a thread, which runs on. EPERM: not allowed, or another has it; ESRCH: ended.
    pub fn seize(tid: Tid) -> io::Result<Seized> {
        request(libc::PTRACE_SEIZE, tid, 0, std::ptr::null_mut())?;
        Ok(Seized {
            tid,
            stop: None,
            _stays: PhantomData,
        })
    }

    /// Asks it to stop and waits until it has. A thread that has stopped stays so until `self` is dropped.
    pub fn interrupt(&mut self, deadline: Instant) -> io::Result<Stop> {
        match request(libc::PTRACE_INTERRUPT, self.tid, 0, std::ptr::null_mut()) {
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(Stop::Ended),
            outcome => outcome?,
        }
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(stop) = look(self.tid)? {
                self.stop = Some(stop);
                return Ok(stop);
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(Stop::Late);
            }
            std::thread::sleep(pause.min(deadline - now));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Of a stopped thread. `None`: of a program of 32 bits, or of a machine whose registers we don't know.
    pub fn registers(&self) -> io::Result<Option<UserRegisters>> {
        let mut words = [0u64; SET_WORDS];
        let mut set = libc::iovec {
            iov_base: words.as_mut_ptr().cast(),
            iov_len: size_of_val(&words),
        };
        request(libc::PTRACE_GETREGSET, self.tid, GENERAL, (&raw mut set).cast())?;
        // A compat program's set is shorter, and so is what was filled.
        Ok(if set.iov_len == size_of_val(&words) {
            registers::of_set(&words)
        } else {
            None
        })
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        let stop = match self.stop {
            Some(stop) => Some(stop),
            // Its stop may have come since.
            None => look(self.tid).ok().flatten(),
        };
        let signal = match stop {
            Some(Stop::Signal(signal)) => signal,
            Some(Stop::Ended) => return,
            _ => 0,
        };
        // Refused where it never stopped; then the end of this thread lets go of it.
        let data = std::ptr::without_provenance_mut(signal as usize);
        let _ = request(libc::PTRACE_DETACH, self.tid, 0, data);
    }
}

/// Whether the thread has stopped or ended, without taking that news from anybody.
fn look(tid: Tid) -> io::Result<Option<Stop>> {
    // SAFETY: siginfo_t is a C struct for which all zeros is a value.
    let mut news: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: `news` is ours and outlives the call.
    let failed = unsafe { libc::waitid(libc::P_PID, tid.0, &raw mut news, options) };
    if failed != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            // Nobody of that id is ours any more: the thread ended and was reaped, as exec does.
            Some(libc::ECHILD) => Ok(Some(Stop::Ended)),
            Some(libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    // No news leaves the zeros.
    if news.si_signo == 0 {
        return Ok(None);
    }
    // SAFETY: news of a child have a status in this place, and waitid gives no others.
    let status = unsafe { news.si_status() };
    Ok(Some(meaning(news.si_code, status)))
}

/// A stop's status is the signal, with the ptrace event above it.
fn meaning(code: i32, status: i32) -> Stop {
    match (code, status >> 8, status & 0xff) {
        (libc::CLD_TRAPPED | libc::CLD_STOPPED, libc::PTRACE_EVENT_STOP, libc::SIGTRAP) => Stop::Interrupted,
        (libc::CLD_TRAPPED | libc::CLD_STOPPED, libc::PTRACE_EVENT_STOP, _) => Stop::Group,
        (libc::CLD_TRAPPED | libc::CLD_STOPPED, 0, signal) => Stop::Signal(signal),
        // Other events come only to those who ask for them.
        (libc::CLD_TRAPPED | libc::CLD_STOPPED, _, _) => Stop::Interrupted,
        _ => Stop::Ended,
    }
}

fn request(what: libc::c_uint, tid: Tid, address: usize, data: *mut libc::c_void) -> io::Result<()> {
    let address: *mut libc::c_void = std::ptr::without_provenance_mut(address);
    // SAFETY: of the requests made here only GETREGSET writes, through an iovec of its caller that outlives the
    // call; `address` and the other `data` are numbers to the kernel.
    match unsafe { libc::ptrace(what, tid.0 as libc::pid_t, address, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
