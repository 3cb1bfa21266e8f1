//! Which locks the threads of a process wait for, who holds them, and what follows.
//!
//! A dump gives each thread's futex call and stack at one moment. `identify` tells what lies behind the
//! futex word, by the function that waits and the memory's own shape; `graph` follows owners to cycles
//! and to the thread that all comes down to. A cycle is a deadlock when a second reading finds it
//! with every thread's switch count unchanged.

mod graph;
mod identify;

use std::sync::Arc;

use super::InspectError;
use super::stacks::{Dumper, StackOptions};
use crate::model::{LockReport, Pid};

/// All lock waits of `pid` with the stacks that prove them.
pub(crate) fn read(dumper: &Dumper, pid: Pid, options: &StackOptions) -> Result<LockReport, InspectError> {
    let dump = Arc::new(dumper.dump(pid, options)?);
    let found = identify::identify(dumper, &dump);
    Ok(graph::report(dumper, dump, found))
}
