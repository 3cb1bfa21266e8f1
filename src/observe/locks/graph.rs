//! Who waits for whom: cycles, and chains to the thread that all comes down to.

use std::sync::Arc;

use super::identify::Found;
use crate::model::{Dump, LockReport};
use crate::observe::stacks::Dumper;

pub(super) fn report(_dumper: &Dumper, dump: Arc<Dump>, found: Found) -> LockReport {
    LockReport {
        dump,
        locks: found.locks,
        waits: found.waits,
        deadlocks: Vec::new(),
        chains: Vec::new(),
        confirmed_after: None,
    }
}
