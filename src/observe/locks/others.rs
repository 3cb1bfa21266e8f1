//! Families whose locks are told and not read: Go's runtime and the JVM.
//!
//! Go parks goroutines, not threads: a thread (M) sleeps at its own semaphore when it has nothing to run or waits
//! for one of the runtime's own locks. A Java monitor is a word in the object header and a structure that
//! only the JVM can read; its threads sleep at condition variables of their own. Both have better tools
//! of their own for owners (a Go block profile, `jstack`), and the state says so.

use super::waiting::{At, names};
use crate::model::{Frame, WaitMode};

pub(super) fn waits(function: &str) -> Option<At> {
    let of_go = function.strip_prefix("runtime.")?;
    ["futex", "lock2", "notesleep", "notetsleep", "semasleep"]
        .iter()
        .any(|part| of_go.starts_with(part))
        .then_some(At::Go)
}

/// What a thread of the JVM waits for, from the functions around the C library's wait.
pub(super) fn java(outer: &[Frame]) -> Option<At> {
    let mut parked = false;
    for name in names(outer) {
        let of = |part: &str| name.contains(part);
        if of("ObjectMonitor::wait") {
            return Some(At::Java(WaitMode::Signal));
        }
        if of("ObjectMonitor::") || of("ObjectSynchronizer::") {
            return Some(At::Java(WaitMode::Exclusive));
        }
        if of("Parker::park") {
            return Some(At::Java(WaitMode::Signal));
        }
        parked |= of("PlatformEvent::park");
    }
    parked.then_some(At::Java(WaitMode::Signal))
}

/// What is said in place of a state.
pub(super) fn state(at: At) -> &'static str {
    match at {
        At::Go => "a thread of Go's runtime; goroutines are told by Go's own profiles",
        At::Java(WaitMode::Exclusive) => "a Java monitor; its owner is told by jstack",
        At::Java(_) => "a parked Java thread, or one in Object.wait; jstack tells for what",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_of_gos_runtime_are_known() {
        for function in [
            "runtime.futex",
            "runtime.futex.abi0",
            "runtime.futexsleep",
            "runtime.notesleep",
        ] {
            assert_eq!(waits(function), Some(At::Go), "{function}");
        }
        assert_eq!(waits("runtime.mallocgc"), None);
        assert_eq!(waits("futex"), None);
    }
}
