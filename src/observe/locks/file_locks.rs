//! Threads that wait for a lock of a file: `flock`, and `fcntl` with F_SETLKW.
//!
//! The call names the descriptor, the thread's `fdinfo` the inode, and `/proc/locks` the lock that our process
//! waits for and the process that holds it. Such a lock belongs to a process or to an open file, never to
//! a thread: an owner within this process is named only where there is one thread to name.

use std::fs;
use std::sync::Arc;

use crate::kernel::locks::{self, FileLock, Kind};
use crate::kernel::{ProcRoot, calls};
use crate::model::{
    Call, Dump, Evidence, Lock, LockKind, LockPlace, LockWait, Owner, Pid, Proof, Tid, Unknown, WaitMode,
};

const F_SETLKW: u64 = 7;
const F_OFD_SETLKW: u64 = 38;

/// What a call asks for. `None`: no lock of a file, or one that does not wait.
fn asked(call: &Call) -> Option<(Kind, u32)> {
    let [descriptor, command, ..] = call.arguments;
    let kind = match (calls::name(call.number?)?, command & 0xffff_ffff) {
        ("flock", _) => Kind::Flock,
        ("fcntl", F_SETLKW) => Kind::Posix,
        ("fcntl", F_OFD_SETLKW) => Kind::OpenFile,
        _ => return None,
    };
    Some((kind, descriptor as u32))
}

/// The locks of files that threads of this dump wait for; each wait's `lock` is a place in the list.
pub(super) fn identify(root: &ProcRoot, dump: &Dump, complete: bool) -> Vec<(Lock, Vec<LockWait>)> {
    let waiting: Vec<_> = dump
        .threads
        .iter()
        .filter_map(|thread| {
            let (kind, descriptor) = asked(thread.call.as_ref().ok()?)?;
            Some((thread.tid(), kind, descriptor))
        })
        .collect();
    if waiting.is_empty() || root.is_captured() {
        return Vec::new();
    }
    let pid = dump.process.pid;
    let held = locks::read(root).unwrap_or_default();
    let only = (complete && dump.threads.len() == 1).then(|| dump.threads[0].tid());
    let mut found: Vec<((Kind, u64), Lock, Vec<LockWait>)> = Vec::new();
    for (tid, kind, descriptor) in waiting {
        let inode = inode(root, pid, tid, descriptor);
        let key = (kind, inode.unwrap_or(u64::from(descriptor)));
        let at = found.iter().position(|(known, ..)| *known == key).unwrap_or_else(|| {
            let waits_for = inode.map_or(WaitsFor::default(), |inode| waits_for(&held, pid, kind, inode));
            let lock = lock(root, pid, tid, descriptor, kind, &waits_for, only);
            found.push((key, lock, Vec::new()));
            found.len() - 1
        });
        let (_, lock, waits) = &mut found[at];
        lock.waiters.push(tid);
        let write = inode.is_none_or(|inode| waits_for(&held, pid, kind, inode).write);
        waits.push(LockWait {
            tid,
            lock: at,
            mode: if write { WaitMode::Exclusive } else { WaitMode::Shared },
            timed: false,
            function: Some(Arc::from(if kind == Kind::Flock { "flock" } else { "fcntl" })),
        });
    }
    found.into_iter().map(|(_, lock, waits)| (lock, waits)).collect()
}

/// To whom a lock belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    Process(u32),
    OpenFile,
    /// The kernel does not list it for our namespace.
    #[default]
    Hidden,
}

/// What `/proc/locks` says of a process' wait for an inode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WaitsFor {
    /// None: it is not in the list. More than one: they cannot be told apart.
    holders: usize,
    holder: Holder,
    write: bool,
}

fn waits_for(locks: &[FileLock], pid: Pid, kind: Kind, inode: u64) -> WaitsFor {
    let mut found = WaitsFor {
        write: false,
        ..WaitsFor::default()
    };
    let mut numbers = Vec::new();
    for waiting in locks.iter().filter(|lock| {
        lock.waits && lock.kind == kind && lock.inode == inode && lock.process.is_none_or(|process| process == pid.0)
    }) {
        found.write |= waiting.write;
        if !numbers.contains(&waiting.number) {
            numbers.push(waiting.number);
            let holder = locks.iter().find(|lock| !lock.waits && lock.number == waiting.number);
            found.holder = match holder.map(|lock| lock.process) {
                Some(Some(process)) => Holder::Process(process),
                Some(None) => Holder::OpenFile,
                None => Holder::Hidden,
            };
        }
    }
    found.holders = numbers.len();
    found
}

fn lock(
    root: &ProcRoot,
    pid: Pid,
    tid: Tid,
    descriptor: u32,
    kind: Kind,
    waits_for: &WaitsFor,
    only: Option<Tid>,
) -> Lock {
    let path = fs::read_link(root.thread(pid, tid).join("fd").join(descriptor.to_string()));
    let name = path.map_or_else(
        |_| format!("descriptor {descriptor}"),
        |path| path.to_string_lossy().into_owned(),
    );
    let (owner, state): (Evidence<Owner>, String) = match (waits_for.holders, waits_for.holder) {
        (1, Holder::Process(process)) if process == pid.0 => (
            only.map(|tid| Owner::Thread {
                tid,
                proof: Proof::KernelLock,
            })
            .ok_or(Unknown::OwnerNotRecorded),
            "held by this process itself".to_owned(),
        ),
        (1, Holder::Process(process)) => (
            Ok(Owner::Foreign { own_tid: process }),
            format!("held by process {process}"),
        ),
        (1, Holder::OpenFile) => (
            Err(Unknown::OwnerNotRecorded),
            "held by an open file, whoever has it".to_owned(),
        ),
        (0, _) => (Err(Unknown::NotHeld), "not in the kernel's list".to_owned()),
        (1, Holder::Hidden) => (Err(Unknown::Denied), "its holder is not in our namespace".to_owned()),
        (several, _) => (
            Err(Unknown::OwnerNotRecorded),
            format!("behind one of {several} locks of this file"),
        ),
    };
    Lock {
        address: 0,
        kind: LockKind::FileLock,
        flags: vec![match kind {
            Kind::Flock => "flock",
            Kind::Posix => "posix",
            Kind::OpenFile => "open_file",
        }],
        place: LockPlace::Mapping {
            name: Arc::from(name),
            offset: 0,
        },
        owner,
        readers: None,
        told_by: "call",
        state,
        waiters: Vec::new(),
    }
}

/// `ino:` of the descriptor's `fdinfo` (Linux 5.15). Nothing is opened, and no file system is asked.
fn inode(root: &ProcRoot, pid: Pid, tid: Tid, descriptor: u32) -> Option<u64> {
    let path = root.thread(pid, tid).join("fdinfo").join(descriptor.to_string());
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("ino:"))?
        .trim()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: u64, waits: bool, kind: Kind, process: Option<u32>, inode: u64) -> FileLock {
        FileLock {
            number,
            waits,
            kind,
            write: true,
            process,
            inode,
        }
    }

    #[test]
    fn the_holder_is_the_line_that_the_wait_stands_behind() {
        let locks = [
            line(1, false, Kind::Flock, Some(7), 42),
            line(1, true, Kind::Flock, Some(8), 42),
            line(1, true, Kind::Flock, Some(9), 42),
            line(2, false, Kind::Posix, Some(7), 42),
            line(3, false, Kind::OpenFile, None, 43),
            line(3, true, Kind::OpenFile, None, 43),
        ];
        let of = |pid, kind, inode| {
            let found = waits_for(&locks, Pid(pid), kind, inode);
            (found.holders, found.holder)
        };
        assert_eq!(of(8, Kind::Flock, 42), (1, Holder::Process(7)));
        assert_eq!(of(8, Kind::Posix, 42), (0, Holder::Hidden));
        assert_eq!(of(8, Kind::OpenFile, 43), (1, Holder::OpenFile));
    }

    #[test]
    fn a_lock_of_a_part_may_be_behind_either_of_two() {
        let locks = [
            line(1, false, Kind::Posix, Some(7), 42),
            line(1, true, Kind::Posix, Some(8), 42),
            line(2, false, Kind::Posix, Some(9), 42),
            line(2, true, Kind::Posix, Some(8), 42),
        ];
        assert_eq!(waits_for(&locks, Pid(8), Kind::Posix, 42).holders, 2);
    }
}
