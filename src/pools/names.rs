//! Workload names as numbers, for the ledger and back for the pool's own status.
//!
//! The ledger interns a name once and readers in other processes look it up there. We remember the
//! way back, so that a status can say what a worker has in hand without reading its own ledger. A
//! name that the ledger has no room for (or no ledger) gets a number of ours, marked by its top
//! bit, and is written to the ledger as 0.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

use crate::ledger;

/// Numbers that the ledger does not know.
const OURS: u32 = 1 << 31;

#[derive(Default)]
struct Names {
    by_name: HashMap<Arc<str>, u32>,
    by_id: HashMap<u32, Arc<str>>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(RwLock::default);

/// The number to put into [`Task::workload`](super::Task::workload): the same for the same name, for
/// the life of the process. Ask once per load, not per task.
pub fn workload_id(name: &str) -> u32 {
    if let Some(id) = NAMES.read().by_name.get(name) {
        return *id;
    }
    let mut names = NAMES.write();
    if let Some(id) = names.by_name.get(name) {
        return *id;
    }
    let id = match ledger::intern(name) {
        0 => OURS | names.by_name.len() as u32,
        known => known,
    };
    let name: Arc<str> = name.into();
    names.by_name.insert(Arc::clone(&name), id);
    names.by_id.insert(id, name);
    id
}

/// The name behind a number that [`workload_id`] gave.
pub(super) fn workload_name(id: u32) -> Option<Arc<str>> {
    NAMES.read().by_id.get(&id).cloned()
}

/// The number as the ledger knows it.
pub(super) fn for_ledger(id: u32) -> u32 {
    if id & OURS == 0 { id } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_the_number_its_name() {
        let (a, b) = (workload_id("names-test-a"), workload_id("names-test-b"));
        assert_ne!(a, b);
        assert_eq!(a, workload_id("names-test-a"));
        assert_eq!(workload_name(b).as_deref(), Some("names-test-b"));
        assert_eq!(workload_name(0), None);
    }
}
