//! Which function waits: the stack's own word on what a thread sleeps at.
//!
//! From the innermost frame out, functions that only carry a wait to the kernel (`syscall`,
//! `__futex_abstimed_wait…`, `__lll_lock_wait`) are passed over, and so are functions of the threads
//! library that no symbol table names: a stripped libc names what it exports and nothing else. The
//! first function that is left decides, each family by its own names.
//!
//! A frame that was only guessed decides nothing.

use std::sync::Arc;

use super::{cpp, glibc, others, parking_lot, rust_std};
use crate::model::{Frame, LockKind, Stack, Trust, WaitMode};

/// Frames looked at. From a lock function to the system call there are four at most.
const DEEPEST: usize = 24;

/// What the stack says a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub at: At,
    /// The function's name as the stack has it.
    pub function: Arc<str>,
    /// The file that its code lies in.
    pub module: Option<Arc<str>>,
}

/// The families by their waiting functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Mutex,
    /// Reader (`Shared`) or writer (`Exclusive`).
    Rwlock(WaitMode),
    Cond,
    Barrier,
    Semaphore,
    Once,
    Join,
    /// A lock inside the C library.
    LibcInternal,
    RustMutex,
    RustRwlock(WaitMode),
    RustCondvar,
    RustOnce,
    RustPark,
    ParkingLot(parking_lot::What),
    CppAtomic,
    Go,
    /// A monitor of the JVM (`Exclusive`), or a parked Java thread.
    Java(WaitMode),
    /// A function that we know nothing of.
    Other,
}

impl At {
    pub fn mode(self) -> WaitMode {
        match self {
            At::Mutex | At::LibcInternal | At::RustMutex => WaitMode::Exclusive,
            At::Rwlock(mode) | At::RustRwlock(mode) | At::Java(mode) => mode,
            At::ParkingLot(what) => what.mode(),
            At::Join => WaitMode::End,
            At::Cond
            | At::Barrier
            | At::Semaphore
            | At::Once
            | At::RustCondvar
            | At::RustOnce
            | At::RustPark
            | At::CppAtomic
            | At::Go
            | At::Other => WaitMode::Signal,
        }
    }

    /// The kind where the memory does not say otherwise.
    pub fn kind(self) -> LockKind {
        match self {
            At::Mutex => LockKind::PthreadMutex,
            At::Rwlock(_) => LockKind::PthreadRwlock,
            At::Cond => LockKind::PthreadCond,
            At::Barrier => LockKind::PthreadBarrier,
            At::Semaphore => LockKind::Semaphore,
            At::Once => LockKind::PthreadOnce,
            At::Join => LockKind::Join,
            At::LibcInternal => LockKind::LibcInternal,
            At::RustMutex => LockKind::RustMutex,
            At::RustRwlock(_) => LockKind::RustRwlock,
            At::RustCondvar => LockKind::RustCondvar,
            At::RustOnce => LockKind::RustOnce,
            At::RustPark => LockKind::RustPark,
            At::ParkingLot(_) => LockKind::ParkingLot,
            At::CppAtomic => LockKind::CppAtomicWait,
            At::Go => LockKind::Go,
            At::Java(_) => LockKind::Java,
            At::Other => LockKind::Unknown,
        }
    }
}

/// `None`: no function that could wait has a name.
pub(super) fn waiting(stack: &Stack) -> Option<Waiting> {
    let mut private = false;
    let mut frames = stack.frames.iter().take(DEEPEST).enumerate();
    let (depth, function, module) = 'found: loop {
        let (depth, frame) = frames.next()?;
        if frame.trust == Trust::Guessed {
            return None;
        }
        let module = &frame.place.module;
        let Ok(functions) = &frame.place.functions else {
            if module.as_deref().is_some_and(is_thread_library) {
                continue;
            }
            return None;
        };
        private |= functions
            .iter()
            .any(|function| bare(&function.name) == "lll_lock_wait_private");
        let mut telling = functions.iter().filter(|function| !is_carrier(bare(&function.name)));
        // Of functions that the compiler has put into one, the first that is known tells.
        let known = telling
            .clone()
            .find(|function| of_function(&function.name, &stack.frames[depth..]).is_some());
        if let Some(function) = known.or_else(|| telling.next_back()) {
            break 'found (depth, Arc::clone(&function.name), module.clone());
        }
    };
    let outer = &stack.frames[depth..stack.frames.len().min(DEEPEST)];
    let at = if private {
        At::LibcInternal
    } else {
        of_function(&function, outer).unwrap_or_else(|| {
            // glibc's own lock wait has been passed over, and its caller is part of it.
            if depth > 0 && module.as_deref().is_some_and(is_libc) {
                At::LibcInternal
            } else {
                At::Other
            }
        })
    };
    Some(Waiting { at, function, module })
}

fn of_function(function: &str, outer: &[Frame]) -> Option<At> {
    let at = glibc::waits(bare(function))
        .or_else(|| rust_std::waits(function))
        .or_else(|| parking_lot::waits(function, outer))
        .or_else(|| cpp::waits(function))
        .or_else(|| others::waits(function))?;
    // The JVM's monitors and parked threads sleep at condition variables of their own.
    Some(match at {
        At::Cond | At::Mutex => others::java(outer).unwrap_or(at),
        _ => at,
    })
}

/// The names of all functions of these frames, innermost first.
pub(super) fn names(frames: &[Frame]) -> impl Iterator<Item = &str> {
    frames
        .iter()
        .filter_map(|frame| frame.place.functions.as_ref().ok())
        .flatten()
        .map(|function| &*function.name)
}

/// A C function's name without what compilers, linkers and glibc's build put around it:
/// `__GI___pthread_mutex_lock.constprop.0@@GLIBC_2.2.5` is `pthread_mutex_lock`.
pub(super) fn bare(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    let name = ["constprop", "isra", "part", "cold", "lto_priv"]
        .iter()
        .filter_map(|suffix| name.find(&format!(".{suffix}")))
        .min()
        .map_or(name, |at| &name[..at]);
    let name = name.trim_start_matches('_');
    name.strip_prefix("GI_").unwrap_or(name).trim_start_matches('_')
}

/// Functions that take a wait to the kernel and know nothing of what it is for.
fn is_carrier(name: &str) -> bool {
    const EXACT: &[&str] = &[
        "syscall",
        "internal_syscall_cancel",
        "kernel_vsyscall",
        "do_futex_wait",
        "lll_lock_wait",
        "lll_lock_wait_private",
        "lll_mutex_lock_optimized",
        "lll_timedlock_wait",
        "lll_clocklock_wait",
        "lll_robust_lock_wait",
        "lll_robust_timedlock_wait",
        // musl
        "wait",
        "timedwait",
        "timedwait_cp",
        "syscall_cp",
        "syscall_cp_c",
        "syscall_cp_asm",
        "cp_begin",
        "cp_end",
        "cp_cancel",
        "syscall3",
        "syscall4",
        "syscall6",
    ];
    const BEGINNINGS: &[&str] = &["syscall_cancel", "futex_", "libc_futex"];
    EXACT.contains(&name)
        || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        || rust_std::is_carrier(name)
}

fn file_name(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

/// The C library itself: `libc.so.6`, `libc-2.31.so`.
pub(super) fn is_libc(module: &str) -> bool {
    let name = file_name(module);
    name.starts_with("libc.so") || name.starts_with("libc-2.") || name.starts_with("libpthread")
}

pub(super) fn is_musl(module: &str) -> bool {
    let name = file_name(module);
    name.starts_with("ld-musl") || name.starts_with("libc.musl")
}

/// Where functions without a name are passed over.
fn is_thread_library(module: &str) -> bool {
    is_libc(module) || is_musl(module) || module == "[vdso]"
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{Function, Place, StackEnd, StackSource, Unknown};

    /// A stack of these functions, innermost first; an empty name is one without a symbol.
    pub(in super::super) fn stack(functions: &[(&str, &str)]) -> Arc<Stack> {
        let frame = |(name, module): &(&str, &str)| Frame {
            place: Arc::new(Place {
                address: 0x1000,
                module: (!module.is_empty()).then(|| Arc::from(*module)),
                module_address: 0x1000,
                functions: if name.is_empty() {
                    Err(Unknown::NoSymbols)
                } else {
                    let last = name.split('|').count() - 1;
                    let one = |(at, part): (usize, &str)| Function {
                        name: Arc::from(part),
                        file: None,
                        line: None,
                        inlined: at < last,
                    };
                    Ok(name.split('|').enumerate().map(one).collect())
                },
                function_offset: None,
            }),
            trust: Trust::Unwound,
        };
        Arc::new(Stack {
            frames: functions.iter().map(frame).collect(),
            end: StackEnd::Complete,
            source: StackSource::Syscall,
            moved: false,
        })
    }

    const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";

    fn at(functions: &[(&str, &str)]) -> Option<At> {
        waiting(&stack(functions)).map(|waiting| waiting.at)
    }

    #[test]
    fn the_names_of_one_function_are_one() {
        for name in [
            "pthread_mutex_lock",
            "__pthread_mutex_lock",
            "___pthread_mutex_lock",
            "__GI___pthread_mutex_lock",
            "pthread_mutex_lock@@GLIBC_2.2.5",
            "___pthread_mutex_lock.constprop.0",
        ] {
            assert_eq!(bare(name), "pthread_mutex_lock", "{name}");
        }
        assert_eq!(bare("____"), "");
        assert_eq!(bare(""), "");
    }

    #[test]
    fn what_carries_a_wait_is_passed_over_named_or_not() {
        for inner in [
            vec![],
            vec![("", LIBC)],
            vec![("__lll_lock_wait", LIBC)],
            vec![
                ("__futex_abstimed_wait_common64", LIBC),
                ("__futex_abstimed_wait64", LIBC),
            ],
            vec![
                ("__syscall_cancel_arch", LIBC),
                ("__internal_syscall_cancel", LIBC),
                ("__syscall_cancel", LIBC),
                ("", LIBC),
            ],
        ] {
            let mut frames = inner;
            frames.extend([("___pthread_mutex_lock", LIBC), ("work", "/bin/app")]);
            assert_eq!(at(&frames), Some(At::Mutex), "{frames:?}");
        }
        // With debug information, parts of the function have names too.
        let parts = [
            ("futex_wait|__GI___lll_lock_wait", LIBC),
            ("lll_mutex_lock_optimized|___pthread_mutex_lock", LIBC),
        ];
        assert_eq!(at(&parts), Some(At::Mutex));
    }

    #[test]
    fn a_program_without_names_says_nothing() {
        assert_eq!(at(&[("", "/bin/static"), ("pthread_mutex_lock", LIBC)]), None);
        assert_eq!(at(&[("", "")]), None);
        assert_eq!(at(&[("syscall", LIBC)]), None);
        assert_eq!(at(&[]), None);
        assert_eq!(at(&[("syscall", LIBC), ("my_lock", "/bin/app")]), Some(At::Other));
    }

    #[test]
    fn a_guess_decides_nothing() {
        let mut stack = (*stack(&[("", LIBC), ("pthread_mutex_lock", LIBC)])).clone();
        stack.frames[1].trust = Trust::Recovered;
        assert!(waiting(&stack).is_some());
        stack.frames[1].trust = Trust::Guessed;
        assert_eq!(waiting(&stack), None);
    }

    #[test]
    fn a_lock_of_the_c_library_itself_is_no_mutex() {
        let private = [
            ("__lll_lock_wait_private", LIBC),
            ("malloc", LIBC),
            ("work", "/bin/app"),
        ];
        assert_eq!(at(&private), Some(At::LibcInternal));
        assert_eq!(at(&[("", LIBC), ("_IO_puts", LIBC)]), Some(At::LibcInternal));
        // Whatever locks a mutex for somebody, the wait is the mutex'.
        let inner = [
            ("__lll_lock_wait", LIBC),
            ("pthread_mutex_lock", LIBC),
            ("mtx_lock", LIBC),
        ];
        assert_eq!(at(&inner), Some(At::Mutex));
    }

    #[test]
    fn what_the_compiler_put_into_a_function_counts() {
        let frames = [
            ("syscall", LIBC),
            (
                "std::sys::pal::unix::futex::futex_wait|std::sys::sync::mutex::futex::Mutex::lock_contended",
                "/bin/app",
            ),
        ];
        let found = waiting(&stack(&frames)).unwrap();
        assert_eq!(found.at, At::RustMutex);
        assert_eq!(&*found.function, "std::sys::sync::mutex::futex::Mutex::lock_contended");
    }

    #[test]
    fn a_java_monitor_is_told_from_the_condition_variable_under_it() {
        const JVM: &str = "/usr/lib/jvm/lib/server/libjvm.so";
        let java = |functions: &[&'static str]| {
            let mut frames = vec![("", LIBC), ("pthread_cond_wait", LIBC)];
            frames.extend(functions.iter().map(|name| (*name, JVM)));
            at(&frames).unwrap()
        };
        let monitor = ["os::PlatformEvent::park()", "ObjectMonitor::EnterI(JavaThread*)"];
        assert_eq!(java(&monitor), At::Java(WaitMode::Exclusive));
        let waiting = [
            "os::PlatformEvent::park()",
            "ObjectMonitor::wait(long, bool, JavaThread*)",
        ];
        assert_eq!(java(&waiting), At::Java(WaitMode::Signal));
        assert_eq!(java(&["Parker::park(bool, long)"]), At::Java(WaitMode::Signal));
        assert_eq!(java(&["PlatformMonitor::wait(unsigned long)"]), At::Cond);
    }
}
