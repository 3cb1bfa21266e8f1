//! What a blocking system call is about, and until when, told from its name and its six arguments.
//!
//! Pure: addresses are kept as addresses, open files as numbers; `object` looks them up. Sources are
//! the calls' own manual pages, and for the futex family futex(2) and include/uapi/linux/futex.h. Arguments
//! are registers: a 32-bit one has its upper half cut, since a caller may leave anything there.

/// The arguments as the kernel's `syscall` file gives them.
pub(in crate::observe) type Arguments = [u64; 6];

/// What a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum About {
    /// A word of memory.
    Word {
        expects: u32,
        /// Not private to the process.
        shared: bool,
        /// The word holds its owner's tid and the kernel lends it the waiter's priority.
        inherits_priority: bool,
    },
    /// `struct futex_waitv`s.
    Words {
        array: u64,
        count: u32,
    },
    File(u32),
    /// `struct pollfd`s.
    PollList {
        array: u64,
        count: u32,
    },
    /// Three `fd_set`s, any of them 0.
    FdSets {
        count: u32,
        sets: [u64; 3],
    },
    /// Nothing but time to pass.
    Time,
    Child(Which),
    /// A child that shares this process' memory.
    VforkChild,
    /// A `sigset_t`, or any signal.
    Signals {
        set: Option<u64>,
    },
    FileLock(u32),
    MessageQueue(u32),
    SystemVQueue(u32),
    SystemVSemaphores(u32),
    /// A path of the process' memory.
    Path(u64),
    Nothing,
}

/// Which child is waited for. Numbers are those of the caller's pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Which {
    Any,
    Process(u32),
    /// 0: the caller's own.
    Group(u32),
    PidFd(u32),
}

/// Where a time-out or the end of a sleep stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Time {
    Milliseconds(u32),
    /// A `struct timespec`.
    Timespec {
        at: u64,
        clock: Clock,
        absolute: bool,
    },
    /// A `struct timeval`, relative.
    Timeval(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) enum Clock {
    Monotonic,
    Realtime,
    Boottime,
    Other,
}

impl Clock {
    /// `CLOCK_…` of include/uapi/linux/time.h.
    fn of(id: u64) -> Clock {
        match id as u32 {
            0 | 8 => Clock::Realtime,
            1 => Clock::Monotonic,
            7 | 9 => Clock::Boottime,
            _ => Clock::Other,
        }
    }
}

/// One call, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe) struct Call {
    pub(in crate::observe) about: About,
    /// Whether it ends by itself. `None`: the call doesn't say (a socket may have a time-out set).
    pub(in crate::observe) timed: Option<bool>,
    pub(in crate::observe) time: Option<Time>,
}

impl Call {
    fn plain(about: About) -> Call {
        Call {
            about,
            timed: None,
            time: None,
        }
    }

    fn endless(about: About) -> Call {
        Call {
            timed: Some(false),
            ..Call::plain(about)
        }
    }

    fn until(about: About, time: Option<Time>) -> Call {
        Call {
            about,
            timed: Some(time.is_some()),
            time,
        }
    }

    /// Nothing has to be looked up to name what it is about in a row.
    pub(in crate::observe) fn is_told_by_arguments(&self) -> bool {
        matches!(
            self.about,
            About::Word { .. } | About::Words { .. } | About::Signals { .. } | About::Nothing
        )
    }

    /// The value of a wait that may be a join: on a word that is not private, although it is in the
    /// process, for it is the kernel that clears it and wakes the waiter when the thread ends. Source:
    /// `__pthread_clockjoin_ex` in nptl/pthread_join_common.c: the word is the thread's own tid.
    pub(in crate::observe) fn may_join(&self) -> Option<u32> {
        match self.about {
            About::Word {
                expects,
                shared: true,
                inherits_priority: false,
            } => Some(expects),
            _ => None,
        }
    }

    /// What is waited on can change without the arguments telling.
    pub(in crate::observe) fn is_in_memory(&self) -> bool {
        matches!(self.about, About::PollList { .. } | About::FdSets { .. } | About::Time)
    }
}

const PRIVATE: u64 = 128;
const CLOCK_REALTIME: u64 = 256;
const CLONE_VFORK: u64 = 0x4000;

pub(in crate::observe) fn understand(name: &str, arguments: &Arguments) -> Call {
    let [first, second, third, fourth, fifth, sixth] = *arguments;
    let relative = |at: u64| {
        (at != 0).then_some(Time::Timespec {
            at,
            clock: Clock::Monotonic,
            absolute: false,
        })
    };
    // -1 is for ever; what else is below 0 too.
    let milliseconds = |count: u64| u32::try_from(count as i32).ok().map(Time::Milliseconds);
    match name {
        "futex" | "futex_time64" => futex(arguments),
        // word, value, mask, flags, time-out, clock
        "futex_wait" => Call::until(
            About::Word {
                expects: second as u32,
                shared: fourth & PRIVATE == 0,
                inherits_priority: false,
            },
            absolute(fifth, Clock::of(sixth)),
        ),
        // waiters, count, flags, time-out, clock
        "futex_waitv" => Call::until(
            About::Words {
                array: first,
                count: second as u32,
            },
            absolute(fourth, Clock::of(fifth)),
        ),

        "read" | "write" | "pread64" | "pwrite64" | "readv" | "writev" | "preadv" | "pwritev" | "preadv2"
        | "pwritev2" | "recvfrom" | "recvmsg" | "sendto" | "sendmsg" | "sendmmsg" | "accept" | "accept4"
        | "connect" | "fsync" | "fdatasync" | "syncfs" | "sync_file_range" | "fallocate" | "ftruncate" | "ioctl"
        | "getdents" | "getdents64" | "splice" | "tee" | "vmsplice" | "sendfile" | "copy_file_range" | "fstat"
        | "shutdown" | "io_uring_enter" => file(first, Call::plain),
        "recvmmsg" => file(first, |about| match relative(fifth) {
            // It is looked at only between two messages: no promise that the call ends.
            time @ Some(_) => Call {
                time,
                ..Call::plain(about)
            },
            None => Call::plain(about),
        }),
        "mq_timedsend" | "mq_timedreceive" => Call::until(
            number(first).map_or(About::Nothing, About::MessageQueue),
            absolute(fifth, Clock::Realtime),
        ),
        "flock" => lock(first),
        // F_SETLKW, F_OFD_SETLKW
        "fcntl" if matches!(second as u32, 7 | 38) => lock(first),
        "fcntl" => file(first, Call::plain),

        "poll" => poll(first, second, milliseconds(third)),
        "ppoll" => poll(first, second, relative(third)),
        "select" => Call::until(sets(arguments), (fifth != 0).then_some(Time::Timeval(fifth))),
        "pselect6" => Call::until(sets(arguments), relative(fifth)),
        "epoll_wait" | "epoll_pwait" => file(first, |about| Call::until(about, milliseconds(fourth))),
        "epoll_pwait2" => file(first, |about| Call::until(about, relative(fourth))),
        "io_getevents" | "io_pgetevents" => Call::until(About::Nothing, relative(fifth)),

        "nanosleep" => Call::until(About::Time, relative(first)),
        "clock_nanosleep" => Call::until(
            About::Time,
            // TIMER_ABSTIME
            Some(Time::Timespec {
                at: third,
                clock: Clock::of(first),
                absolute: second & 1 != 0,
            }),
        ),

        "wait4" => Call::endless(About::Child(match first as i32 {
            -1 => Which::Any,
            0 => Which::Group(0),
            pid if pid > 0 => Which::Process(pid.unsigned_abs()),
            group => Which::Group(group.unsigned_abs()),
        })),
        // P_ALL, P_PID, P_PGID, P_PIDFD
        "waitid" => match first as u32 {
            0 => Call::endless(About::Child(Which::Any)),
            1 => Call::endless(About::Child(Which::Process(second as u32))),
            2 => Call::endless(About::Child(Which::Group(second as u32))),
            3 => Call::endless(About::Child(Which::PidFd(second as u32))),
            _ => Call::endless(About::Nothing),
        },
        "vfork" => Call::endless(About::VforkChild),
        "clone" if first & CLONE_VFORK != 0 => Call::endless(About::VforkChild),

        "rt_sigtimedwait" => Call::until(About::Signals { set: Some(first) }, relative(third)),
        "pause" | "rt_sigsuspend" => Call::endless(About::Signals { set: None }),

        "msgrcv" | "msgsnd" => Call::endless(About::SystemVQueue(first as u32)),
        "semop" => Call::endless(About::SystemVSemaphores(first as u32)),
        "semtimedop" => Call::until(About::SystemVSemaphores(first as u32), relative(fourth)),

        "open" | "truncate" | "unlink" | "rename" => Call::plain(About::Path(first)),
        "openat" | "openat2" | "unlinkat" | "renameat" | "renameat2" => Call::plain(About::Path(second)),
        // The kernel goes on with a call that a signal had interrupted: one of those with a time-out.
        // Its arguments were those of that call, whichever it was.
        "restart_syscall" => Call {
            timed: Some(true),
            ..Call::plain(About::Nothing)
        },
        _ => Call::plain(About::Nothing),
    }
}

/// `operation` in the low seven bits.
fn futex(arguments: &Arguments) -> Call {
    let [_, operation, expects, at, ..] = *arguments;
    let clock = if operation & CLOCK_REALTIME != 0 {
        Clock::Realtime
    } else {
        Clock::Monotonic
    };
    let word = |inherits_priority| About::Word {
        expects: expects as u32,
        shared: operation & PRIVATE == 0,
        inherits_priority,
    };
    match operation & 0x7f {
        // FUTEX_WAIT, the only one whose time is a span.
        0 => Call::until(
            word(false),
            (at != 0).then_some(Time::Timespec {
                at,
                clock,
                absolute: false,
            }),
        ),
        // FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI
        9 | 11 => Call::until(word(false), absolute(at, clock)),
        // FUTEX_LOCK_PI has no flag for its clock; FUTEX_LOCK_PI2 has.
        6 => Call::until(word(true), absolute(at, Clock::Realtime)),
        13 => Call::until(word(true), absolute(at, clock)),
        _ => Call::plain(word(false)),
    }
}

fn absolute(at: u64, clock: Clock) -> Option<Time> {
    (at != 0).then_some(Time::Timespec {
        at,
        clock,
        absolute: true,
    })
}

fn number(fd: u64) -> Option<u32> {
    u32::try_from(fd as i32).ok()
}

fn file(fd: u64, call: impl FnOnce(About) -> Call) -> Call {
    call(number(fd).map_or(About::Nothing, About::File))
}

fn lock(fd: u64) -> Call {
    Call::endless(number(fd).map_or(About::Nothing, About::FileLock))
}

fn poll(array: u64, count: u64, time: Option<Time>) -> Call {
    let about = match count as u32 {
        0 => About::Time,
        count => About::PollList { array, count },
    };
    Call::until(about, time)
}

fn sets(arguments: &Arguments) -> About {
    let sets = [arguments[1], arguments[2], arguments[3]];
    match arguments[0] as u32 {
        _ if sets == [0; 3] => About::Time,
        count => About::FdSets { count, sets },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, arguments: Arguments, about: About, timed: Option<bool>) {
        let call = understand(name, &arguments);
        assert_eq!((call.about, call.timed), (about, timed), "{name} {arguments:x?}");
    }

    fn word(expects: u32, shared: bool, inherits_priority: bool) -> About {
        About::Word {
            expects,
            shared,
            inherits_priority,
        }
    }

    #[test]
    fn a_futex_says_what_its_word_held_and_whether_it_gives_up() {
        check("futex", [0x7f01, 0x80, 2, 0, 0, 0], word(2, false, false), Some(false));
        check(
            "futex",
            [0x7f01, 0x189, 0, 0, 0, u64::MAX],
            word(0, false, false),
            Some(false),
        );
        check(
            "futex",
            [0x7f01, 0x109, 0x60d0, 0, 0, 0],
            word(0x60d0, true, false),
            Some(false),
        );
        check(
            "futex",
            [0x7f01, 0x86, 0, 0x7fff, 0, 0],
            word(0, false, true),
            Some(true),
        );
        check(
            "futex_wait",
            [0x7f01, 7, u64::MAX, 0x82, 0, 1],
            word(7, false, false),
            Some(false),
        );
        // The registers' upper halves are anything.
        check(
            "futex",
            [1, 0x80, 0xdead_0000_0002, 0, 0, 0],
            word(2, false, false),
            Some(false),
        );
    }

    #[test]
    fn only_a_plain_futex_wait_counts_from_now() {
        let time = |operation, at| understand("futex", &[1, operation, 2, at, 0, 0]).time;
        let expected = |clock, absolute| Some(Time::Timespec { at: 9, clock, absolute });
        assert_eq!(time(0x80, 9), expected(Clock::Monotonic, false));
        assert_eq!(time(0x89, 9), expected(Clock::Monotonic, true));
        assert_eq!(time(0x189, 9), expected(Clock::Realtime, true));
        assert_eq!(time(0x86, 9), expected(Clock::Realtime, true));
        assert_eq!(time(0x8d, 9), expected(Clock::Monotonic, true));
        assert_eq!(time(0x80, 0), None);
    }

    #[test]
    fn files_are_named_by_number() {
        check("read", [5, 0, 0, 0, 0, 0], About::File(5), None);
        check("accept4", [4, 0, 0, 0, 0, 0], About::File(4), None);
        check("read", [u64::MAX, 0, 0, 0, 0, 0], About::Nothing, None);
        check("epoll_wait", [3, 0, 64, u64::MAX, 0, 0], About::File(3), Some(false));
        // -1 of an int, in a register whose upper half was cleared.
        check("epoll_wait", [3, 0, 64, 0xffff_ffff, 0, 0], About::File(3), Some(false));
        check("epoll_wait", [3, 0, 64, 250, 0, 0], About::File(3), Some(true));
        check("flock", [6, 2, 0, 0, 0, 0], About::FileLock(6), Some(false));
        check("fcntl", [6, 7, 0, 0, 0, 0], About::FileLock(6), Some(false));
        check("fcntl", [6, 3, 0, 0, 0, 0], About::File(6), None);
    }

    #[test]
    fn a_poll_for_nothing_is_a_sleep() {
        check("poll", [0, 0, 1000, 0, 0, 0], About::Time, Some(true));
        check("select", [0, 0, 0, 0, 0x7fff, 0], About::Time, Some(true));
        check(
            "poll",
            [0x7f00, 3, u64::MAX, 0, 0, 0],
            About::PollList {
                array: 0x7f00,
                count: 3,
            },
            Some(false),
        );
        check(
            "pselect6",
            [8, 0x10, 0, 0x20, 0x30, 0],
            About::FdSets {
                count: 8,
                sets: [0x10, 0, 0x20],
            },
            Some(true),
        );
    }

    #[test]
    fn a_sleep_is_for_a_span_or_until_a_moment() {
        let asked = |arguments| understand("clock_nanosleep", &arguments).time;
        let expected = |clock, absolute| Some(Time::Timespec { at: 9, clock, absolute });
        assert_eq!(asked([0, 0, 9, 0, 0, 0]), expected(Clock::Realtime, false));
        assert_eq!(asked([1, 1, 9, 0, 0, 0]), expected(Clock::Monotonic, true));
        assert_eq!(asked([7, 1, 9, 0, 0, 0]), expected(Clock::Boottime, true));
        check("nanosleep", [9, 9, 0, 0, 0, 0], About::Time, Some(true));
    }

    #[test]
    fn a_wait_says_which_child_it_is_for() {
        for (first, which) in [
            (u64::MAX, Which::Any),
            (0xffff_ffff, Which::Any),
            (0, Which::Group(0)),
            (71, Which::Process(71)),
            (-71i64 as u64, Which::Group(71)),
            (i32::MIN as u64, Which::Group(1 << 31)),
        ] {
            check("wait4", [first, 0, 0, 0, 0, 0], About::Child(which), Some(false));
        }
        check("waitid", [3, 5, 0, 4, 0, 0], About::Child(Which::PidFd(5)), Some(false));
        check(
            "waitid",
            [1, 5, 0, 4, 0, 0],
            About::Child(Which::Process(5)),
            Some(false),
        );
        check("clone", [0x4111, 0, 0, 0, 0, 0], About::VforkChild, Some(false));
        check("clone", [0x11, 0, 0, 0, 0, 0], About::Nothing, None);
    }

    #[test]
    fn signals_and_message_queues() {
        check("pause", [0; 6], About::Signals { set: None }, Some(false));
        check(
            "rt_sigtimedwait",
            [0x10, 0, 0x20, 8, 0, 0],
            About::Signals { set: Some(0x10) },
            Some(true),
        );
        check(
            "semtimedop",
            [12, 0, 1, 0, 0, 0],
            About::SystemVSemaphores(12),
            Some(false),
        );
        check("msgrcv", [3, 0, 1, 0, 0, 0], About::SystemVQueue(3), Some(false));
        check("restart_syscall", [3; 6], About::Nothing, Some(true));
        check("mmap", [3; 6], About::Nothing, None);
    }

    proptest::proptest! {
        #[test]
        fn no_arguments_make_it_panic(arguments: [u64; 6], at in 0..crate::kernel::calls::X86_64.len()) {
            let (_, name) = crate::kernel::calls::X86_64[at];
            let call = understand(name, &arguments);
            // A time that was given is a time-out, but for one call whose time-out is not kept.
            if call.time.is_some() {
                assert!(call.timed == Some(true) || name == "recvmmsg");
            }
        }
    }
}
