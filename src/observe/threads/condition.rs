//! What is out of the ordinary about a process as a whole: ended main thread, freezer, tracer…
//!
//! What its rows and its own `stat` tell is told with every pass. Tracer, control group and freezer take
//! three files more and are asked for at most twice a second.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::kernel::cgroup::{self, Groups, Mounts};
use crate::kernel::file::{self, Buffer};
use crate::kernel::status;
use crate::kernel::{ProcRoot, clock};
use crate::model::{Condition, Evidence, Nanos, Pid, Thread, ThreadState, Tid, Unknown};

/// How old tracer, control group and freezer may be.
const OLDEST: Nanos = Nanos(500_000_000);

/// What the process' own `stat` says.
#[derive(Clone, Copy)]
pub(super) struct Leader {
    pub(super) kernel_thread: bool,
    pub(super) zombie: bool,
}

/// The control groups of a thread and whether they are frozen; where the groups' files are is read once.
#[derive(Default)]
struct Freezer {
    mounts: Option<Mounts>,
}

impl Freezer {
    fn look(
        &mut self,
        root: &ProcRoot,
        task: &OwnedFd,
        tid: Tid,
        buffer: &mut Buffer,
    ) -> (Evidence<Arc<str>>, Evidence<bool>) {
        let groups: Groups = match file::read_at(task, &format!("{tid}/cgroup"), buffer) {
            Ok(Some(text)) => cgroup::parse(text),
            Ok(None) if root.is_captured() => return (Err(Unknown::NotCaptured), Err(Unknown::NotCaptured)),
            Ok(None) => return (Err(Unknown::NoKernelSupport), Err(Unknown::NoKernelSupport)),
            Err(error) => return (Err(super::row::refused(&error)), Err(super::row::refused(&error))),
        };
        let path = groups
            .path()
            .map(|path| Arc::from(String::from_utf8_lossy(path)))
            .ok_or(Unknown::NoKernelSupport);
        // The groups of a captured tree are not ours to look into.
        if root.is_captured() {
            return (path, Err(Unknown::NotCaptured));
        }
        let mounts = self.mounts.get_or_insert_with(|| {
            let text = std::fs::read(root.path().join("self/mountinfo")).unwrap_or_default();
            cgroup::parse_mounts(&String::from_utf8_lossy(&text))
        });
        (path, mounts.frozen(&groups).ok_or(Unknown::Denied))
    }
}

/// Keeps what was asked for lately.
pub(super) struct Conditions {
    freezer: Freezer,
    latest: Condition,
    read_at: Option<Nanos>,
}

impl Conditions {
    pub(super) fn new() -> Conditions {
        Conditions {
            freezer: Freezer::default(),
            latest: Condition::UNREMARKABLE,
            read_at: None,
        }
    }

    /// The control groups of one thread, asked for now.
    pub(super) fn groups_of(
        &mut self,
        root: &ProcRoot,
        task: &OwnedFd,
        tid: Tid,
        buffer: &mut Buffer,
    ) -> (Evidence<Arc<str>>, Evidence<bool>) {
        self.freezer.look(root, task, tid, buffer)
    }

    pub(super) fn read<'a>(
        &mut self,
        root: &ProcRoot,
        task: &OwnedFd,
        leader: Leader,
        rows: impl Iterator<Item = &'a Thread> + Clone,
        buffer: &mut Buffer,
    ) -> Condition {
        let mut living = rows
            .filter(|row| !matches!(row.state, ThreadState::Zombie | ThreadState::Dead))
            .peekable();
        let first = living.peek().map(|row| row.tid());
        let now = clock::monotonic();
        let due = self.read_at.is_none_or(|at| now.saturating_sub(at) >= OLDEST);
        if due && let Some(first) = first {
            self.read_at = Some(now);
            self.ask(root, task, first, buffer);
        }
        let (mut stopped, mut vfork_parent) = (first.is_some(), false);
        for row in living {
            stopped &= row.state == ThreadState::Stopped;
            vfork_parent |= is_in_vfork(row);
        }
        Condition {
            kernel_thread: leader.kernel_thread,
            zombie: leader.zombie && first.is_none(),
            main_thread_gone: leader.zombie && first.is_some(),
            vfork_parent,
            stopped,
            ..self.latest.clone()
        }
    }

    /// The main thread, or the first that lives: the files of one that has gone are those of nobody.
    fn ask(&mut self, root: &ProcRoot, task: &OwnedFd, tid: Tid, buffer: &mut Buffer) {
        let status = match file::read_at(task, &format!("{tid}/status"), buffer) {
            Ok(Some(text)) => Ok(text),
            Ok(None) if root.is_captured() => Err(Unknown::NotCaptured),
            Ok(None) => Err(Unknown::Gone),
            Err(error) => Err(super::row::refused(&error)),
        };
        let status = status.map(status::parse);
        self.latest.tracer = tracer_of(&status);
        self.latest.namespace_pid =
            status.and_then(|status| status.innermost_process.map(Pid).ok_or(Unknown::Unreadable));
        (self.latest.cgroup, self.latest.frozen) = self.freezer.look(root, task, tid, buffer);
    }
}

pub(super) fn tracer_of(status: &Evidence<status::Status<'_>>) -> Evidence<Option<Pid>> {
    let tracer = status.and_then(|status| status.tracer.ok_or(Unknown::Unreadable))?;
    Ok((tracer != 0).then_some(Pid(tracer)))
}

/// `wait_for_vfork_done` of kernel/fork.c, which newer compilers fold into `kernel_clone`.
fn is_in_vfork(row: &Thread) -> bool {
    let Ok(wait) = &row.wait else { return false };
    wait.syscall == Some("vfork")
        || wait
            .object
            .as_ref()
            .is_ok_and(|object| object.name.starts_with("vfork child"))
        || wait
            .kernel_function
            .as_deref()
            .is_ok_and(|function| function.contains("vfork") || function == "kernel_clone")
}
