//! Where `/proc` is: the kernel's own, or a captured tree that is read as if it were.

use std::path::{Path, PathBuf};

use crate::model::{Pid, Tid};

/// The root that every reader takes as a value, so that a captured tree is as good as a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcRoot {
    path: PathBuf,
    captured: bool,
}

impl ProcRoot {
    /// This machine's `/proc`.
    pub fn live() -> ProcRoot {
        ProcRoot {
            path: PathBuf::from("/proc"),
            captured: false,
        }
    }

    /// A copied tree: a missing file means that it was not captured, and nothing in it moves.
    pub fn captured(path: impl Into<PathBuf>) -> ProcRoot {
        ProcRoot {
            path: path.into(),
            captured: true,
        }
    }

    pub fn is_captured(&self) -> bool {
        self.captured
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn process(&self, pid: Pid) -> PathBuf {
        self.path.join(pid.to_string())
    }

    pub fn thread(&self, pid: Pid, tid: Tid) -> PathBuf {
        self.process(pid).join("task").join(tid.to_string())
    }
}
