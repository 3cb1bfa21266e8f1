//! What a blocked thread waits for, told from its system call and the kernel function it sleeps in.
//!
//! `kernel::syscall` gives the call, `kernel::wchan` the function. The call says more; the function
//! is left when the call is denied, when there is none (a page fault) and for kernel threads. The
//! numbers are those of this machine's own architecture: a 32-bit program on a 64-bit kernel uses
//! another table, so its calls get no name (see `is_narrow`). What the call is about is understood in
//! `call` and looked up in `object`, which costs more and is done apart. Who holds a lock is left to others.

mod call;
mod object;
mod time_limit;

use std::sync::Arc;

use crate::kernel::calls;
use crate::kernel::syscall::Syscall;
use crate::model::{Evidence, ThreadState, Unknown, Wait, WaitKind};

/// What the kernel's letter means. `proc_pid_stat(5)`; letters of old kernels included.
pub(super) fn state_of(letter: u8) -> ThreadState {
    match letter {
        // W was "waking" from 2.6.33 to 3.13.
        b'R' | b'W' => ThreadState::Runnable,
        b'D' | b'K' => ThreadState::DiskSleep,
        b'T' => ThreadState::Stopped,
        b't' => ThreadState::Traced,
        b'Z' => ThreadState::Zombie,
        b'X' | b'x' => ThreadState::Dead,
        // P is a kernel thread that was told to stand aside: idle, and no parked worker of ours.
        b'I' | b'P' => ThreadState::Idle,
        // S, and any letter that is newer than this table: the row shows the letter itself.
        _ => ThreadState::Sleeping,
    }
}

pub(super) use call::{Arguments, Call};
pub(super) use object::{Depth, SocketBook, Thread, limit_of, look};

/// The call a blocked thread is in, where its number is one of our own table.
pub(super) fn call_of(syscall: &Evidence<Syscall>) -> Option<(&'static str, Arguments)> {
    match syscall {
        Ok(Syscall::Blocked {
            number: Some(number),
            arguments,
            stack_pointer,
            program_counter,
        }) if !is_narrow(*stack_pointer, *program_counter) => Some((calls::name(*number)?, *arguments)),
        _ => None,
    }
}

/// What a call with these arguments is about.
pub(super) fn understand(name: &str, arguments: &Arguments) -> Call {
    call::understand(name, arguments)
}

pub(super) fn is_blocked(state: ThreadState) -> bool {
    matches!(
        state,
        ThreadState::Sleeping | ThreadState::DiskSleep | ThreadState::Idle | ThreadState::Parked
    )
}

/// Joins the two readings of one thread. `function` is `None` where `wchan` read `0`.
pub(super) fn wait_of(
    state: ThreadState,
    kernel_thread: bool,
    syscall: Evidence<Syscall>,
    function: Evidence<Option<Arc<str>>>,
) -> Evidence<Wait> {
    if matches!(state, ThreadState::Zombie | ThreadState::Dead) {
        return Err(Unknown::Zombie);
    }
    if !is_blocked(state) {
        return Err(Unknown::NotWaiting);
    }
    // A kernel thread makes no calls; what the file says of one is left over from its birth.
    let call = match syscall {
        _ if kernel_thread => None,
        Ok(Syscall::Blocked { .. }) => syscall.ok(),
        // It woke between the two readings.
        Ok(Syscall::Running) => return Err(Unknown::Running),
        Err(why) => match function {
            Ok(Some(_)) => None,
            _ => return Err(why),
        },
    };
    let kernel_function = match function {
        Ok(Some(name)) => Ok(name),
        // A refusal reads `0` like a waking does: where the call was told, ptrace access is there.
        Ok(None) => Err(if call.is_some() {
            Unknown::Running
        } else {
            Unknown::Denied
        }),
        Err(why) => Err(why),
    };
    let by_function = || match &kernel_function {
        Ok(name) => kind_of_function(name),
        Err(_) => WaitKind::Other,
    };
    let denied = match (&call, syscall) {
        (None, Err(why)) if !kernel_thread => why,
        _ => Unknown::NoObject,
    };
    let mut wait = Wait {
        kind: WaitKind::Other,
        syscall: None,
        address: None,
        kernel_function: kernel_function.clone(),
        object: Err(denied),
        timed: None,
        lock: None,
        owner: None,
    };
    match call {
        Some(Syscall::Blocked {
            number: Some(number),
            arguments,
            stack_pointer,
            program_counter,
        }) if !is_narrow(stack_pointer, program_counter) => {
            wait.syscall = calls::name(number);
            wait.kind = wait.syscall.and_then(kind_of_call).unwrap_or_else(by_function);
            wait.address = wait.syscall.is_some_and(has_futex_word).then_some(arguments[0]);
            if let Some(name) = wait.syscall {
                wait.timed = understand(name, &arguments).timed;
                wait.object = Err(Unknown::NotAsked);
            }
        }
        // Blocked outside a call: a page is being fetched, unless the function says otherwise.
        Some(Syscall::Blocked { number: None, .. }) => {
            wait.kind = match by_function() {
                WaitKind::Other if state == ThreadState::DiskSleep => WaitKind::Io,
                kind => kind,
            };
        }
        _ => wait.kind = by_function(),
    }
    Ok(wait)
}

/// Whether both addresses lie below 4 GiB: then this is a 32-bit program (a 64-bit one has its
/// stacks far above), whose numbers are those of another table.
fn is_narrow(stack_pointer: u64, program_counter: u64) -> bool {
    stack_pointer < 1 << 32 && program_counter < 1 << 32
}

/// Whether the first argument is the address of the word that is waited on.
fn has_futex_word(call: &str) -> bool {
    matches!(call, "futex" | "futex_wait")
}

/// `None` for a call that says nothing about the kind by itself (`ioctl`, `close`…).
fn kind_of_call(call: &str) -> Option<WaitKind> {
    Some(match call {
        "futex" | "futex_wait" | "futex_waitv" => WaitKind::Futex,
        "poll" | "ppoll" | "select" | "pselect6" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => WaitKind::Poll,
        "read" | "pread64" | "readv" | "preadv" | "preadv2" | "getdents" | "getdents64" => WaitKind::Read,
        "write" | "pwrite64" | "writev" | "pwritev" | "pwritev2" => WaitKind::Write,
        "nanosleep" | "clock_nanosleep" => WaitKind::Sleep,
        "wait4" | "waitid" | "vfork" | "clone" | "clone3" => WaitKind::Child,
        "pause" | "rt_sigsuspend" | "rt_sigtimedwait" | "rt_sigtimedwait_time64" => WaitKind::Signal,
        "accept" | "accept4" | "connect" | "recvfrom" | "recvmsg" | "recvmmsg" | "sendto" | "sendmsg" | "sendmmsg" => {
            WaitKind::Socket
        }
        "fsync" | "fdatasync" | "sync" | "syncfs" | "sync_file_range" | "msync" | "io_getevents" | "io_pgetevents"
        | "io_uring_enter" | "open" | "openat" | "openat2" | "splice" | "sendfile" | "copy_file_range"
        | "fallocate" | "ftruncate" | "truncate" | "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" => {
            WaitKind::Io
        }
        _ => return None,
    })
}

/// By the beginnings and parts of the names that kernels have given these functions over time.
fn kind_of_function(function: &str) -> WaitKind {
    const KINDS: &[(&str, WaitKind)] = &[
        ("futex", WaitKind::Futex),
        ("ep_poll", WaitKind::Poll),
        ("do_epoll", WaitKind::Poll),
        ("do_sys_poll", WaitKind::Poll),
        ("poll_schedule", WaitKind::Poll),
        ("do_poll", WaitKind::Poll),
        ("do_select", WaitKind::Poll),
        ("nanosleep", WaitKind::Sleep),
        ("do_wait", WaitKind::Child),
        ("wait_for_vfork", WaitKind::Child),
        ("kernel_wait4", WaitKind::Child),
        ("sigtimedwait", WaitKind::Signal),
        ("sigsuspend", WaitKind::Signal),
        ("sys_pause", WaitKind::Signal),
        ("pipe_read", WaitKind::Read),
        ("pipe_write", WaitKind::Write),
        ("n_tty_read", WaitKind::Read),
        ("eventfd_read", WaitKind::Read),
        ("signalfd", WaitKind::Signal),
        ("accept", WaitKind::Socket),
        ("skb", WaitKind::Socket),
        ("sk_wait", WaitKind::Socket),
        ("sk_stream", WaitKind::Socket),
        ("unix_stream", WaitKind::Socket),
        ("inet_", WaitKind::Socket),
        ("folio_wait", WaitKind::Io),
        ("wait_on_page", WaitKind::Io),
        ("io_schedule", WaitKind::Io),
        ("wait_on_buffer", WaitKind::Io),
        ("blk_", WaitKind::Io),
        ("jbd2", WaitKind::Io),
    ];
    KINDS
        .iter()
        .find(|(part, _)| function.contains(part))
        .map_or(WaitKind::Other, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "the shape of the reading it stands for")]
    fn blocked(number: Option<u64>) -> Evidence<Syscall> {
        Ok(Syscall::Blocked {
            number,
            arguments: [0x7f01, 0, 0, 0, 0, 0],
            stack_pointer: 0x7ffc_0000_0000,
            program_counter: 0x7f02_0000_0000,
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape of the reading it stands for")]
    fn function(name: &str) -> Evidence<Option<Arc<str>>> {
        Ok(Some(Arc::from(name)))
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_futex_wait_has_its_word_and_a_sleep_has_none() {
        let wait = wait_of(ThreadState::Sleeping, false, blocked(Some(202)), function("futex_wait")).unwrap();
        assert_eq!(
            (wait.kind, wait.syscall, wait.address),
            (WaitKind::Futex, Some("futex"), Some(0x7f01))
        );
        let wait = wait_of(
            ThreadState::Sleeping,
            false,
            blocked(Some(230)),
            function("hrtimer_nanosleep"),
        )
        .unwrap();
        assert_eq!(
            (wait.kind, wait.syscall, wait.address),
            (WaitKind::Sleep, Some("clock_nanosleep"), None)
        );
    }

    #[test]
    fn a_call_that_says_little_leaves_the_word_to_the_kernel_function() {
        // ioctl has this number on both tables' architectures or is unnamed: either way the function decides.
        let ioctl = if cfg!(target_arch = "aarch64") { 29 } else { 16 };
        let wait = wait_of(
            ThreadState::Sleeping,
            false,
            blocked(Some(ioctl)),
            function("unix_stream_read"),
        )
        .unwrap();
        assert_eq!(wait.kind, WaitKind::Socket);
    }

    #[test]
    fn without_ptrace_access_nothing_is_told_and_it_says_so() {
        let wait = wait_of(ThreadState::Sleeping, false, Err(Unknown::PtraceDenied), Ok(None));
        assert_eq!(wait, Err(Unknown::PtraceDenied));
        // With wchan alone readable the kind is still known.
        let wait = wait_of(
            ThreadState::Sleeping,
            false,
            Err(Unknown::PtraceDenied),
            function("do_wait"),
        )
        .unwrap();
        assert_eq!((wait.kind, wait.syscall), (WaitKind::Child, None));
    }

    #[test]
    fn who_is_not_blocked_waits_for_nothing() {
        for state in [ThreadState::Runnable, ThreadState::Stopped, ThreadState::Traced] {
            assert_eq!(
                wait_of(state, false, blocked(Some(0)), Ok(None)),
                Err(Unknown::NotWaiting)
            );
        }
        assert_eq!(
            wait_of(ThreadState::Zombie, false, blocked(Some(0)), Ok(None)),
            Err(Unknown::Zombie)
        );
        let woke = wait_of(ThreadState::Sleeping, false, Ok(Syscall::Running), Ok(None));
        assert_eq!(woke, Err(Unknown::Running));
    }

    #[test]
    fn a_page_fault_is_a_wait_for_a_page() {
        let wait = wait_of(
            ThreadState::DiskSleep,
            false,
            blocked(None),
            function("folio_wait_bit_common"),
        )
        .unwrap();
        assert_eq!((wait.kind, wait.syscall), (WaitKind::Io, None));
    }

    #[test]
    fn a_kernel_thread_makes_no_calls() {
        let wait = wait_of(ThreadState::Sleeping, true, blocked(Some(0)), function("kthreadd")).unwrap();
        assert_eq!((wait.kind, wait.syscall), (WaitKind::Other, None));
    }

    #[test]
    fn the_calls_of_a_32_bit_program_are_not_named_by_the_wrong_table() {
        let narrow = Ok(Syscall::Blocked {
            number: Some(3),
            arguments: [0; 6],
            stack_pointer: 0xffb0_0000,
            program_counter: 0xf7f0_0000,
        });
        let wait = wait_of(ThreadState::Sleeping, false, narrow, function("pipe_read")).unwrap();
        assert_eq!((wait.kind, wait.syscall), (WaitKind::Read, None));
    }

    #[test]
    fn every_letter_has_a_state() {
        for (letters, state) in [
            ("R", ThreadState::Runnable),
            ("S?", ThreadState::Sleeping),
            ("DK", ThreadState::DiskSleep),
            ("T", ThreadState::Stopped),
            ("t", ThreadState::Traced),
            ("Z", ThreadState::Zombie),
            ("Xx", ThreadState::Dead),
            ("IP", ThreadState::Idle),
        ] {
            for letter in letters.bytes() {
                assert_eq!(state_of(letter), state);
            }
        }
    }
}
