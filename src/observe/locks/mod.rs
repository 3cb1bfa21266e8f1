//! Which locks the threads of a process wait for, who holds them, and what follows.
//!
//! A dump gives each thread's futex call and stack at one moment. `identify` tells what lies behind the
//! futex word: `futex` reads the call, `waiting` finds the function that waits, and each family (`glibc`,
//! `musl`, `rust_std`, `parking_lot`, `cpp`, `others`) knows its functions and what its locks look like in the
//! memory that `words` copied. `owner` turns a lock's word on its owner into a thread, `place` says
//! where the lock lies, and `file_locks` has the waits that are no futex. `graph` follows owners to
//! cycles and to the thread that all comes down to. A cycle is a deadlock when a second reading finds
//! it with every thread's switch count unchanged.

mod cpp;
mod file_locks;
mod futex;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod glibc;
mod graph;
mod identify;
#[cfg(test)]
mod made;
mod musl;
mod others;
mod owner;
mod parking_lot;
mod place;
mod rust_std;
mod shape;
#[cfg(test)]
mod tests;
mod waiting;
mod words;

use std::sync::Arc;

use super::InspectError;
use super::stacks::{Dumper, StackOptions};
use super::threads::resolve;
use crate::model::{LockReport, Pid};

/// All lock waits of `pid` with the stacks that prove them.
pub(crate) fn read(dumper: &Dumper, pid: Pid, options: &StackOptions) -> Result<LockReport, InspectError> {
    let dump = Arc::new(dumper.dump(pid, options)?);
    let complete = options.only.is_none() && !dump.truncated;
    let found = identify::identify(dumper, &dump, complete);
    // The locks' memory was read by pid, after the dump: it must still have been that process'.
    if !matches!(resolve(dumper.root(), pid), Ok(Some(key)) if key == dump.process) {
        return Err(InspectError::Ended(pid));
    }
    Ok(graph::report(dumper, dump, found))
}
