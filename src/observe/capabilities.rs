//! Each evidence source, tried: works or not, why not, and the fix.
//!
//! A right is proved by using it. Capability bits, Yama's level and mount options together do not
//! decide what a security module, a user namespace or a container lets us do, so none is asked whether
//! something works. Each trial opens what the daemon opens, reads as much as shows that it works, and no more.
//! Trials stop nothing: a pause is tried by taking the thread and letting it go without stopping it. What a closed
//! source would need is for `rights` to say.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::rights::{self, Right, Standing};
use super::stacks::{may_pause, may_sample};
use super::{glance, hidden};
use crate::kernel::maps::{self, refusal};
use crate::kernel::{ProcRoot, process_vm, robust_list};
use crate::ledger::{Reader, ReaderError};
use crate::model::{Evidence, Need, Pid, ProcessKey, ThreadKey, Unknown};

/// What came of trying one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Capability {
    /// `stat`, `schedstat`, `syscall`, `wchan`, `smaps`, `ledger`…
    pub source: &'static str,
    /// What it gives, in a few words.
    pub gives: &'static str,
    /// `None`: it works.
    pub unknown: Option<Unknown>,
    /// What would open it to us as we are: more to the point than the reason's own words.
    pub need: Option<Need>,
}

/// How one source is tried.
type Trial = fn(&Subject<'_>) -> Evidence<()>;

/// In the order in which a reader comes to need them.
const SOURCES: [(&str, &str, Right, Trial); 22] = [
    ("processes", "the list of all processes", Right::Public, all_processes),
    ("task_list", "which threads there are", Right::Public, |subject| {
        glance::tids(subject.root, subject.pid).map(|_| ())
    }),
    (
        "stat",
        "state, CPU time in ticks, faults, priority",
        Right::Public,
        |subject| subject.whole("stat"),
    ),
    ("status", "context switches, allowed CPUs", Right::Public, |subject| {
        subject.whole("status")
    }),
    ("comm", "thread names", Right::Public, |subject| {
        subject.thread_file("comm")
    }),
    ("schedstat", "exact CPU time and run delay", Right::Public, |subject| {
        subject.thread_file("schedstat")
    }),
    ("statm", "the size of the whole process", Right::Public, |subject| {
        subject.whole("statm")
    }),
    ("cgroup", "the control group and its limits", Right::Public, |subject| {
        subject.whole("cgroup")
    }),
    (
        "syscall",
        "what a thread waits for, where its stack is",
        Right::OwnersFileAttach,
        |subject| subject.thread_file("syscall"),
    ),
    ("wchan", "the kernel function a thread sleeps in", Right::Read, wchan),
    ("maps", "mappings, stacks and guards", Right::Read, |subject| {
        subject.memory_file("maps")
    }),
    ("smaps", "resident memory by mapping", Right::Read, |subject| {
        subject.memory_file("smaps")
    }),
    (
        "smaps_rollup",
        "resident memory of the process",
        Right::Read,
        |subject| subject.memory_file("smaps_rollup"),
    ),
    ("memory", "the words behind locks and stacks", Right::Attach, memory),
    ("exe", "the path of the program", Right::Read, exe),
    ("root", "binaries, as the process sees them", Right::Read, process_root),
    ("map_files", "deleted and replaced binaries", Right::Restore, map_files),
    ("fd", "what a descriptor is", Right::OwnersFile, descriptors),
    ("robust_list", "robust mutexes that a thread holds", Right::Read, robust),
    ("perf_event", "stacks of running threads", Right::Sample, sample),
    ("ptrace", "a pause to read a stack, on request", Right::Attach, pause),
    (
        "ledger",
        "tasks, heap by thread, locks by name",
        Right::OwnersFile,
        ledger,
    ),
];

/// Tries every source on `pid`, or on ourselves.
pub(crate) fn probe(root: &ProcRoot, pid: Option<Pid>) -> Vec<Capability> {
    let subject = Subject {
        root,
        pid: pid.unwrap_or(Pid(std::process::id())),
    };
    let is_hidden = hidden::is_hidden(root, subject.pid);
    let standing = Standing::of(root, subject.pid);
    SOURCES
        .iter()
        .map(|(source, gives, right, trial)| {
            let unknown = match trial(&subject).err() {
                // It isn't gone, it is kept from us.
                Some(Unknown::Gone) if is_hidden => Some(Unknown::Denied),
                unknown => unknown,
            };
            let right = if is_hidden { Right::Public } else { *right };
            Capability {
                source,
                gives,
                unknown,
                need: unknown.and_then(|unknown| rights::need(right, unknown, standing)),
            }
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

    fn thread_folder(&self) -> Evidence<std::path::PathBuf> {
        if self.root.is_captured() {
            return Err(Unknown::NotCaptured);
        }
        glance::memory_folder(self.root, self.pid)
    }

    /// A thread that can be asked through ptrace: the first that lives.
    fn thread(&self) -> Evidence<ThreadKey> {
        let folder = self.thread_folder()?;
        let tid = glance::reader_of(&folder).ok_or(Unknown::Unreadable)?;
        Ok(ThreadKey {
            process: ProcessKey {
                pid: self.pid,
                start: glance::stat(self.root, &self.root.process(self.pid))?.start,
            },
            tid: crate::model::Tid(tid.0),
            start: glance::stat(self.root, &folder)?.start,
        })
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

/// The process' own root folder, through which its files are found when it has another than we.
fn process_root(subject: &Subject<'_>) -> Evidence<()> {
    let link = subject.thread_folder()?.join("root");
    match fs::metadata(link) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal(subject.root, &error)),
    }
}

/// The first mapped file, opened as it is mapped.
fn map_files(subject: &Subject<'_>) -> Evidence<()> {
    let folder = subject.thread_folder()?;
    let mut first = None;
    maps::read(subject.root, &folder, |mapping| {
        if first.is_none() && mapping.inode != 0 && mapping.name.starts_with(b"/") {
            first = Some(format!("{:x}-{:x}", mapping.start, mapping.end));
        }
    })?;
    let Some(first) = first else { return Ok(()) };
    // Only a process has this folder, not a thread.
    let files = subject.root.process(subject.pid).join("map_files");
    if let Err(error) = fs::read_dir(&files) {
        return Err(refusal(subject.root, &error));
    }
    match File::open(files.join(first)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Unknown::Denied),
        Err(error) => Err(refusal(subject.root, &error)),
    }
}

/// Listing them is one right, reading what each is another.
fn descriptors(subject: &Subject<'_>) -> Evidence<()> {
    let denied = |error: std::io::Error| refusal(subject.root, &error);
    let mut entries = fs::read_dir(subject.thread_folder()?.join("fd")).map_err(denied)?;
    let Some(first) = entries.next() else {
        // With none open, the folder itself tells: its listing is empty for all, its entries are not.
        return Ok(());
    };
    match fs::read_link(first.map_err(denied)?.path()) {
        // Closed since we listed it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(denied(error)),
        Ok(_) => Ok(()),
    }
}

fn robust(subject: &Subject<'_>) -> Evidence<()> {
    let thread = subject.thread()?;
    robust_list::held(subject.pid, thread.tid).map(|_| ())
}

/// An event is made and taken away again; nothing is sampled.
fn sample(subject: &Subject<'_>) -> Evidence<()> {
    may_sample(subject.thread()?)
}

/// The thread is taken and let go, and runs all the while.
fn pause(subject: &Subject<'_>) -> Evidence<()> {
    may_pause(subject.thread()?)
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
    use crate::kernel::trials::{Program, until};
    use rustix::thread::{CapabilitySet, CapabilitySets};
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
            "stat",
            "status",
            "comm",
            "statm",
            "syscall",
            "maps",
            "smaps",
            "memory",
            "exe",
            "task_list",
            "cgroup",
            "root",
            "fd",
            "robust_list",
        ] {
            assert_eq!(of(&tried, source), None, "{source}");
        }
        assert_eq!(of(&tried, "ledger"), Some(Unknown::NoLedger));
        assert_eq!(of(&tried, "ptrace"), Some(Unknown::Ourselves));
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
        for source in [
            "maps",
            "smaps",
            "smaps_rollup",
            "memory",
            "exe",
            "ledger",
            "root",
            "map_files",
            "fd",
            "robust_list",
            "perf_event",
            "ptrace",
        ] {
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

    /// What a thread of ours with these capabilities and nobody's user may do with `pid`. Credentials are a
    /// thread's own in the kernel: only this one changes.
    fn as_nobody(pid: Pid, with: CapabilitySet) -> Vec<super::Capability> {
        std::thread::spawn(move || {
            rustix::thread::set_keep_capabilities(true).unwrap();
            let nobody = rustix::process::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            rustix::thread::set_capabilities(
                None,
                CapabilitySets {
                    effective: with,
                    permitted: with,
                    inheritable: CapabilitySet::empty(),
                },
            )
            .unwrap();
            probe(&ProcRoot::live(), Some(pid))
        })
        .join()
        .unwrap()
    }

    /// A sleeping process of root, to whom that is a stranger's.
    fn sleeper() -> Program {
        let program = Program::start(
            "sleeper",
            "#include <unistd.h>\n#include <stdio.h>\nint main(void){puts(\"up\");fflush(stdout);for(;;)pause();}",
            &[],
        );
        program.line();
        // Asleep, so that a `0` from wchan is a refusal.
        until("it to sleep", || {
            glance::stack_pointer(&ProcRoot::live(), program.pid(), crate::model::Tid(program.pid().0)).is_ok()
        });
        program
    }

    const PUBLIC: [&str; 7] = ["processes", "task_list", "stat", "status", "comm", "statm", "cgroup"];

    /// Which sources are open, closed with a need that names each of these words, and with none of those.
    fn check(tried: &[super::Capability], open: &[&str], closed: &[(&str, &[&str])]) {
        for source in PUBLIC.iter().chain(open) {
            assert_eq!(of(tried, source), None, "{source}");
        }
        for (source, words) in closed {
            let capability = tried.iter().find(|capability| capability.source == *source).unwrap();
            assert!(capability.unknown.is_some(), "{source} is open");
            let need = capability.need.unwrap_or_else(|| panic!("{source} has no need"));
            for word in *words {
                assert!(need.need.contains(word), "{source}: {}", need.need);
            }
        }
    }

    #[test]
    fn a_stranger_reads_what_is_public_and_is_told_what_the_rest_needs() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let program = sleeper();
        let tried = as_nobody(program.pid(), CapabilitySet::empty());
        let trace: &[&str] = &["CAP_SYS_PTRACE", "same user"];
        let both: &[&str] = &["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "same user"];
        check(
            &tried,
            &[],
            &[
                ("syscall", both),
                ("wchan", trace),
                ("maps", trace),
                ("smaps", trace),
                ("smaps_rollup", trace),
                ("memory", trace),
                ("exe", trace),
                ("root", trace),
                ("map_files", both),
                ("fd", both),
                ("robust_list", trace),
                ("perf_event", &["CAP_PERFMON", "same user"]),
                ("ptrace", trace),
                ("ledger", both),
            ],
        );
        assert_eq!(of(&tried, "perf_event"), Some(Unknown::SamplingDenied));
    }

    #[test]
    fn each_capability_opens_its_own_and_the_rest_names_what_is_still_missing() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let program = sleeper();
        let pid = program.pid();
        // The program is root's, whose capabilities the tracer must have, or CAP_SYS_PTRACE.
        check(
            &as_nobody(pid, CapabilitySet::SYS_PTRACE),
            &[
                "wchan",
                "maps",
                "smaps",
                "smaps_rollup",
                "memory",
                "exe",
                "root",
                "robust_list",
                "perf_event",
            ],
            &[
                ("syscall", &["CAP_DAC_READ_SEARCH as well"]),
                ("fd", &["CAP_DAC_READ_SEARCH as well"]),
            ],
        );
        check(
            &as_nobody(pid, CapabilitySet::DAC_READ_SEARCH),
            &[],
            &[
                ("syscall", &["CAP_SYS_PTRACE"]),
                ("fd", &["CAP_SYS_PTRACE"]),
                ("maps", &["CAP_SYS_PTRACE"]),
                ("perf_event", &["CAP_PERFMON"]),
            ],
        );
        let perfmon = as_nobody(pid, CapabilitySet::PERFMON);
        check(&perfmon, &["perf_event"], &[("maps", &["CAP_SYS_PTRACE"])]);
        check(
            &as_nobody(pid, CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH),
            &["syscall", "wchan", "maps", "memory", "fd", "root", "perf_event"],
            &[("map_files", &["CAP_CHECKPOINT_RESTORE"])],
        );
    }

    #[test]
    fn a_process_of_the_same_user_is_open() {
        let program = sleeper();
        let tried = probe(&ProcRoot::live(), Some(program.pid()));
        check(
            &tried,
            &["syscall", "maps", "memory", "exe", "root", "fd", "robust_list"],
            &[],
        );
        // It is a child of ours, whose end its parent waits for.
        assert_eq!(of(&tried, "ptrace"), Some(Unknown::Ourselves));
    }

    #[test]
    fn trying_a_pause_stops_nothing_and_leaves_no_tracer() {
        let busy = crate::kernel::trials::Busy::start();
        let (root, pid, tid) = (ProcRoot::live(), busy.pid(), busy.tid);
        let start = |folder: std::path::PathBuf| glance::stat(&root, &folder).unwrap().start;
        let key = ThreadKey {
            process: ProcessKey {
                pid,
                start: start(root.process(pid)),
            },
            tid,
            start: start(root.thread(pid, tid)),
        };
        for _ in 0..5 {
            assert_eq!(may_pause(key), Ok(()));
            assert_eq!(busy.state(), 'R');
        }
        busy.runs_on();
    }
}
