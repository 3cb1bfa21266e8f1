//! Each evidence source, tried: works or not, why not, and the fix.
//!
//! A right is proved by using it. Capability bits, Yama's level and mount options together do not
//! decide what a security module, a user namespace or a container lets us do, so none is read.
//! Each trial opens what the daemon opens, reads as much as shows that it works, and no more.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::glance;
use crate::kernel::maps::{self, refusal};
use crate::kernel::{ProcRoot, process_vm};
use crate::ledger::{Reader, ReaderError};
use crate::model::{Evidence, Pid, Unknown};

/// What came of trying one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Capability {
    /// `stat`, `schedstat`, `syscall`, `wchan`, `smaps`, `ledger`…
    pub source: &'static str,
    /// What it gives, in a few words.
    pub gives: &'static str,
    /// `None`: it works.
    pub unknown: Option<Unknown>,
}

/// How one source is tried.
type Trial = fn(&Subject<'_>) -> Evidence<()>;

/// In the order in which a reader comes to need them.
const SOURCES: [(&str, &str, Trial); 14] = [
    ("processes", "the list of all processes", all_processes),
    ("stat", "state, CPU time in ticks, faults, priority", |subject| {
        subject.whole("stat")
    }),
    ("status", "context switches, allowed CPUs", |subject| {
        subject.whole("status")
    }),
    ("comm", "thread names", |subject| subject.thread_file("comm")),
    ("schedstat", "exact CPU time and run delay", |subject| {
        subject.thread_file("schedstat")
    }),
    ("statm", "the size of the whole process", |subject| {
        subject.whole("statm")
    }),
    ("syscall", "what a thread waits for, how deep its stack is", |subject| {
        subject.thread_file("syscall")
    }),
    ("wchan", "the kernel function a thread sleeps in", wchan),
    ("maps", "mappings, stacks and guards", |subject| {
        subject.memory_file("maps")
    }),
    ("smaps", "resident memory by mapping", |subject| {
        subject.memory_file("smaps")
    }),
    ("smaps_rollup", "resident memory of the process", |subject| {
        subject.memory_file("smaps_rollup")
    }),
    ("memory", "the words behind locks and stacks", memory),
    ("exe", "the path of the program", exe),
    ("ledger", "tasks, heap by thread, locks by name", ledger),
];

/// Tries every source on `pid`, or on ourselves.
pub(crate) fn probe(root: &ProcRoot, pid: Option<Pid>) -> Vec<Capability> {
    let subject = Subject {
        root,
        pid: pid.unwrap_or(Pid(std::process::id())),
    };
    SOURCES
        .iter()
        .map(|(source, gives, trial)| Capability {
            source,
            gives,
            unknown: trial(&subject).err(),
        })
        .collect()
}

struct Subject<'a> {
    root: &'a ProcRoot,
    pid: Pid,
}

impl Subject<'_> {
    /// A file that everybody may read, or a part of it.
    fn whole(&self, name: &str) -> Evidence<()> {
        self.something(&self.root.process(self.pid).join(name))
    }

    /// A file of a thread: of the first one, which is as good as any.
    fn thread_file(&self, name: &str) -> Evidence<()> {
        let tid = glance::tids(self.root, self.pid)?
            .into_iter()
            .next()
            .ok_or(Unknown::Gone)?;
        self.something(&self.root.thread(self.pid, tid).join(name))
    }

    /// A file about memory, which a kernel thread and a zombie do not have.
    fn memory_file(&self, name: &str) -> Evidence<()> {
        let folder = glance::memory_folder(self.root, self.pid)?;
        self.something(&folder.join(name))
    }

    /// The first bytes. An empty answer is none: the process has ended since.
    fn something(&self, path: &Path) -> Evidence<()> {
        let mut first = [0; 64];
        let count = glance::open(self.root, path)?
            .read(&mut first)
            .map_err(|error| refusal(self.root, &error))?;
        if count > 0 { Ok(()) } else { Err(Unknown::Gone) }
    }
}

/// With hidepid the processes of others are missing or locked; process 1 is always another's,
/// unless we may see all.
fn all_processes(subject: &Subject<'_>) -> Evidence<()> {
    fs::read_dir(subject.root.path()).map_err(|error| refusal(subject.root, &error))?;
    if subject.root.is_captured() {
        return Ok(());
    }
    match glance::stat(subject.root, &subject.root.process(Pid(1))) {
        Ok(_) => Ok(()),
        Err(_) => Err(Unknown::Denied),
    }
}

/// A denied `wchan` reads `0`, as that of a running thread does. So a `0` says nothing unless the
/// thread is known to sleep; then it is a refusal when `syscall`, which needs the same right, is
/// refused too, and a kernel without symbols when it is not.
fn wchan(subject: &Subject<'_>) -> Evidence<()> {
    let (root, pid) = (subject.root, subject.pid);
    let mut refused = None;
    for tid in glance::tids(root, pid)?.into_iter().take(16) {
        let folder = root.thread(pid, tid);
        let text = glance::small(root, &folder.join("wchan"))?;
        if text.trim_ascii() != b"0" {
            return Ok(());
        }
        let asleep = glance::stat(root, &folder).is_ok_and(|thread| matches!(thread.state, b'S' | b'D' | b'I'));
        match glance::syscall(root, &folder) {
            Err(unknown @ (Unknown::PtraceDenied | Unknown::Denied)) => refused = Some(unknown),
            Ok(_) if asleep => refused = refused.or(Some(Unknown::NoKernelSupport)),
            _ => {}
        }
    }
    // All were running: the file is there and is ours to read.
    refused.map_or(Ok(()), Err)
}

/// The first word of the first readable mapping.
fn memory(subject: &Subject<'_>) -> Evidence<()> {
    if subject.root.is_captured() {
        return Err(Unknown::NotCaptured);
    }
    let folder = glance::memory_folder(subject.root, subject.pid)?;
    let reader = glance::reader_of(&folder).ok_or(Unknown::Unreadable)?;
    let mut address = None;
    maps::read(subject.root, &folder, |mapping| {
        if address.is_none() && mapping.permissions[0] == b'r' {
            address = Some(mapping.start);
        }
    })?;
    match process_vm::read(reader, address.ok_or(Unknown::Gone)?, &mut [0; 8]) {
        Ok(_) => Ok(()),
        // Filtered away, as containers do.
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(Unknown::NoKernelSupport),
        Err(error) => Err(refusal(subject.root, &error)),
    }
}

/// Of a kernel thread there is none. A main thread that has ended has lost it to the others.
fn exe(subject: &Subject<'_>) -> Evidence<()> {
    let folder = glance::memory_folder(subject.root, subject.pid)?;
    match fs::read_link(folder.join("exe")) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal(subject.root, &error)),
    }
}

/// Found and held for a ledger by the reader that the sampler uses too. A captured tree keeps links, not memory.
fn ledger(subject: &Subject<'_>) -> Evidence<()> {
    glance::memory_folder(subject.root, subject.pid)?;
    if subject.root.is_captured() {
        return Err(Unknown::NotCaptured);
    }
    match Reader::find(subject.root, subject.pid) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Unknown::NoLedger),
        Err(ReaderError::Denied(_)) => Err(Unknown::PtraceDenied),
        Err(ReaderError::Ended(_)) => Err(Unknown::Gone),
        Err(ReaderError::Version { .. } | ReaderError::Garbage(..)) => Err(Unknown::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn of(tried: &[Capability], source: &str) -> Option<Unknown> {
        tried
            .iter()
            .find(|capability| capability.source == source)
            .unwrap()
            .unknown
    }

    #[test]
    fn of_ourselves_we_may_read_everything() {
        let tried = probe(&ProcRoot::live(), None);
        for source in [
            "stat", "status", "comm", "statm", "syscall", "maps", "smaps", "memory", "exe",
        ] {
            assert_eq!(of(&tried, source), None, "{source}");
        }
        assert_eq!(of(&tried, "ledger"), Some(Unknown::NoLedger));
    }

    #[test]
    fn a_process_without_a_ledger_is_told_from_a_tree_that_cannot_hold_one() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let tried = probe(&ProcRoot::live(), Some(Pid(child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(of(&tried, "ledger"), Some(Unknown::NoLedger));
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("7")).unwrap();
        let tried = probe(&ProcRoot::captured(tree.path()), Some(Pid(7)));
        assert_eq!(of(&tried, "ledger"), Some(Unknown::NotCaptured));
    }

    #[test]
    fn a_process_that_is_gone_is_gone_in_every_source() {
        let tried = probe(&ProcRoot::live(), Some(Pid(0x7fff_fff0)));
        for capability in tried.iter().filter(|capability| capability.source != "processes") {
            assert_eq!(capability.unknown, Some(Unknown::Gone), "{}", capability.source);
        }
    }

    #[test]
    fn a_kernel_thread_has_clocks_but_no_memory() {
        let root = ProcRoot::live();
        let kthreadd = Pid(2);
        if glance::memory_folder(&root, kthreadd) != Err(Unknown::KernelThread) {
            return; // In a pid namespace there are none.
        }
        let tried = probe(&root, Some(kthreadd));
        assert_eq!(of(&tried, "stat"), None);
        for source in ["maps", "smaps", "smaps_rollup", "memory", "exe", "ledger"] {
            assert_eq!(of(&tried, source), Some(Unknown::KernelThread), "{source}");
        }
    }

    #[test]
    fn a_process_whose_main_thread_has_ended_is_read_through_another() {
        let root = ProcRoot::captured(format!("{}/tests/proc/memory-leader-gone", env!("CARGO_MANIFEST_DIR")));
        let tried = probe(&root, Some(Pid(18904)));
        for source in ["maps", "smaps", "smaps_rollup", "syscall"] {
            assert_eq!(of(&tried, source), None, "{source}");
        }
    }

    #[test]
    fn a_captured_tree_has_what_was_captured() {
        let root = ProcRoot::captured(format!("{}/tests/proc/memory-threads", env!("CARGO_MANIFEST_DIR")));
        let tried = probe(&root, Some(Pid(18903)));
        assert_eq!(of(&tried, "smaps"), None);
        assert_eq!(of(&tried, "syscall"), None);
        for source in ["schedstat", "memory", "wchan", "ledger"] {
            assert_eq!(of(&tried, source), Some(Unknown::NotCaptured), "{source}");
        }
    }

    #[test]
    fn another_users_process_keeps_its_memory_to_itself() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid(child.id());
        // Asleep, so that a `0` from wchan is a refusal.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while glance::stack_pointer(&ProcRoot::live(), pid, crate::model::Tid(pid.0)).is_err() {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        // Credentials are a thread's own in the kernel: only this one becomes nobody.
        let tried = std::thread::spawn(move || {
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            probe(&ProcRoot::live(), Some(pid))
        })
        .join()
        .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        for source in ["stat", "status", "comm", "statm"] {
            assert_eq!(of(&tried, source), None, "{source} is for everybody");
        }
        for source in [
            "syscall",
            "wchan",
            "maps",
            "smaps",
            "smaps_rollup",
            "memory",
            "exe",
            "ledger",
        ] {
            assert_eq!(of(&tried, source), Some(Unknown::PtraceDenied), "{source}");
        }
    }
}
