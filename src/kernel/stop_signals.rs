//! The signals that ask a process to stop: SIGINT (Ctrl-C), SIGTERM and SIGHUP.
//!
//! A program that must wind something up before it ends can *hold* them: they stay pending in
//! the kernel, no handler runs, and [`wait`] takes them one by one. A helper process whose parent
//! does the winding up can *ignore* them. Source: signal(7), sigtimedwait(2).

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

const STOP: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// From now on the stop signals do nothing to this process.
pub fn ignore() {
    for signal in STOP {
        // SAFETY: sets a disposition to SIG_IGN; no handler of ours is involved.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Holds the stop signals back for this thread and those it starts later, for [`wait`] to take.
pub fn hold() -> io::Result<()> {
    let set = set();
    // SAFETY: `set` is initialised and outlives the call; no old mask is asked for.
    let failed = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Waits for a held stop signal, at most for `limit`; tells whether one came.
pub fn wait(limit: Duration) -> bool {
    let set = set();
    let limit = libc::timespec {
        tv_sec: limit.as_secs() as libc::time_t,
        tv_nsec: limit.subsec_nanos() as _,
    };
    // SAFETY: set and limit are initialised and outlive the call; no siginfo is asked for.
    let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const limit) };
    signal > 0
}

fn set() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the whole set it is given.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: initialised by the line above.
    let mut set = unsafe { set.assume_init() };
    for signal in STOP {
        // SAFETY: the set is initialised and the numbers are valid signals.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_signal_is_taken_by_waiting() {
        std::thread::spawn(|| {
            hold().unwrap();
            assert!(!wait(Duration::from_millis(1)));
            // SAFETY: no preconditions.
            let this = unsafe { libc::pthread_self() };
            // SAFETY: `this` is the calling thread, which is alive and holds the signal.
            unsafe { libc::pthread_kill(this, libc::SIGTERM) };
            assert!(wait(Duration::from_secs(5)));
        })
        .join()
        .unwrap();
    }
}
