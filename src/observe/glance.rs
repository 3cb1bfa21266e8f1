//! One look at a process or a thread by its path: who, which threads, and where each of them stands.
//!
//! The sampler keeps folders open because it comes back every second; the memory view and the
//! probes come once, so they read by path. Both hand the text to the same parsers in `kernel`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kernel::maps::refusal;
use crate::kernel::syscall::{self, Syscall};
use crate::kernel::{ProcRoot, comm, stat, statm, status};
use crate::model::{Evidence, Pid, Ticks, Tid, Unknown};

/// What `stat` says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) state: u8,
    pub(super) is_kernel_thread: bool,
    pub(super) start: Ticks,
}

impl Glance {
    /// Ended, and with its memory given back.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// `stat` of a process' folder or a thread's.
pub(super) fn stat(root: &ProcRoot, folder: &Path) -> Evidence<Glance> {
    let text = small(root, &folder.join("stat"))?;
    let stat = stat::parse(&text).ok_or(Unknown::Unreadable)?;
    Ok(Glance {
        state: stat.state,
        is_kernel_thread: stat.is_kernel_thread(),
        start: stat.start,
    })
}

/// The threads of a process, in tid order.
pub(super) fn tids(root: &ProcRoot, pid: Pid) -> Evidence<Vec<Tid>> {
    let entries = fs::read_dir(root.process(pid).join("task")).map_err(|error| refusal(root, &error))?;
    let mut tids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| refusal(root, &error))?;
        tids.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Tid));
    }
    tids.sort_unstable();
    Ok(tids)
}

/// The place of each thread in the list, by its tid in the pid namespace of its process. That is
/// ours too, unless the process is in a container.
pub(super) fn own_tids(root: &ProcRoot, pid: Pid, tids: impl Iterator<Item = Tid>) -> HashMap<u32, usize> {
    let innermost = |folder: &Path| status::parse(&small(root, &folder.join("status")).ok()?).innermost_id;
    // Absent before Linux 4.1: then what we see is all there is to go by.
    let translated = innermost(&root.process(pid)).is_some_and(|inner| inner != pid.0);
    tids.enumerate()
        .filter_map(|(at, tid)| {
            let own = if translated {
                innermost(&root.thread(pid, tid))?
            } else {
                tid.0
            };
            Some((own, at))
        })
        .collect()
}

/// The name of a process or a thread as text. Hostile bytes are replaced, never obeyed.
pub(super) fn name(root: &ProcRoot, folder: &Path) -> Evidence<Arc<str>> {
    let name = small(root, &folder.join("comm"))?;
    Ok(String::from_utf8_lossy(comm::parse(&name)).into())
}

/// Where a thread stands: its stack pointer, while it is blocked.
pub(super) fn stack_pointer(root: &ProcRoot, pid: Pid, tid: Tid) -> Evidence<u64> {
    match syscall(root, &root.thread(pid, tid))? {
        Syscall::Running => Err(Unknown::Running),
        // A thread that has begun to end keeps neither.
        Syscall::Blocked { stack_pointer: 0, .. } => Err(Unknown::Gone),
        Syscall::Blocked { stack_pointer, .. } => Ok(stack_pointer),
    }
}

pub(super) fn syscall(root: &ProcRoot, folder: &Path) -> Evidence<Syscall> {
    let text = small(root, &folder.join("syscall"))?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(syscall::parse)
        .ok_or(Unknown::Unreadable)
}

/// The folder in which the memory files of this process speak: its own, or that of a thread that
/// lives on after the main thread has ended (then the process' own files are empty).
pub(super) fn memory_folder(root: &ProcRoot, pid: Pid) -> Evidence<PathBuf> {
    let folder = root.process(pid);
    let glance = match stat(root, &folder) {
        Ok(glance) => glance,
        // Captured without `stat`: whatever memory files there are speak for themselves.
        Err(Unknown::NotCaptured) => return Ok(folder),
        Err(unknown) => return Err(unknown),
    };
    if glance.is_kernel_thread {
        return Err(Unknown::KernelThread);
    }
    if !glance.is_dead() {
        return Ok(folder);
    }
    // Bounded: the first living thread is nearly always the first after the leader.
    for tid in tids(root, pid)?.into_iter().filter(|tid| tid.0 != pid.0) {
        let folder = root.thread(pid, tid);
        if stat(root, &folder).is_ok_and(|thread| !thread.is_dead()) {
            return Ok(folder);
        }
    }
    Err(Unknown::Zombie)
}

/// Through whom the memory of such a folder is read.
pub(super) fn reader_of(folder: &Path) -> Option<Pid> {
    folder.file_name()?.to_str()?.parse().ok().map(Pid)
}

/// Size and resident in bytes, by `statm`, or by `status` where a captured tree has only that.
pub(super) fn totals(root: &ProcRoot, folder: &Path, page_bytes: u64) -> Evidence<(u64, u64)> {
    match statm::read(root, folder) {
        Ok(statm) => Ok((
            statm.size.saturating_mul(page_bytes),
            statm.resident.saturating_mul(page_bytes),
        )),
        // The same two counters, in KiB.
        Err(Unknown::NotCaptured) => {
            let status = small(root, &folder.join("status"))?;
            let kib = |name: &str| {
                let line = status
                    .split(|byte| *byte == b'\n')
                    .find(|line| line.starts_with(name.as_bytes()))?;
                let words = std::str::from_utf8(&line[name.len()..]).ok()?;
                words
                    .split_ascii_whitespace()
                    .next()?
                    .parse::<u64>()
                    .ok()?
                    .checked_mul(1024)
            };
            kib("VmSize:").zip(kib("VmRSS:")).ok_or(Unknown::Unreadable)
        }
        Err(unknown) => Err(unknown),
    }
}

/// The soft limit on stack size, which is also the size the threads library gives by default.
pub(super) fn stack_limit(root: &ProcRoot, pid: Pid) -> Evidence<u64> {
    let limits = small(root, &root.process(pid).join("limits"))?;
    let text = String::from_utf8_lossy(&limits);
    let line = text.lines().find_map(|line| line.strip_prefix("Max stack size"));
    // `unlimited` is no number, and no size that a thread could be given.
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .ok_or(Unknown::Unreadable)
}

/// A file that fits in a few pages.
pub(super) fn small(root: &ProcRoot, path: &Path) -> Evidence<Vec<u8>> {
    let mut text = Vec::with_capacity(512);
    open(root, path)?
        .take(64 << 10)
        .read_to_end(&mut text)
        .map_err(|error| refusal(root, &error))?;
    Ok(text)
}

/// A missing file of a process that lives was not built into this kernel.
pub(super) fn open(root: &ProcRoot, path: &Path) -> Evidence<File> {
    File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound if !root.is_captured() && path.parent().is_some_and(Path::exists) => {
            Unknown::NoKernelSupport
        }
        _ => refusal(root, &error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_find_ourselves_and_our_threads() {
        let (root, pid) = (ProcRoot::live(), Pid(std::process::id()));
        assert!(!stat(&root, &root.process(pid)).unwrap().is_dead());
        assert!(tids(&root, pid).unwrap().contains(&Tid(pid.0)));
        assert_eq!(memory_folder(&root, pid), Ok(root.process(pid)));
        assert_eq!(stat(&root, &root.process(Pid(0x7fff_ffff))), Err(Unknown::Gone));
    }

    #[test]
    fn a_file_that_this_kernel_lacks_is_told_from_a_process_that_is_gone() {
        let (root, pid) = (ProcRoot::live(), Pid(std::process::id()));
        let missing = |pid| small(&root, &root.process(pid).join("no_such_file"));
        assert_eq!(missing(pid), Err(Unknown::NoKernelSupport));
        assert_eq!(missing(Pid(0x7fff_ffff)), Err(Unknown::Gone));
    }
}
