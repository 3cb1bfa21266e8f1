//! What is wrong with a process: a detector per file, each with its rule in words.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::{Finding, ProcessKey};

/// What the detectors found last, of every process that is watched. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<Finding>>>);

impl Board {
    /// Of one process.
    pub fn of(&self, process: ProcessKey) -> Vec<Finding> {
        let board = self.0.lock();
        board
            .iter()
            .filter(|finding| finding.process == process)
            .cloned()
            .collect()
    }

    /// Of all.
    pub fn all(&self) -> Vec<Finding> {
        self.0.lock().clone()
    }
}
