//! Where every thread of a process stands, without stopping it.
//!
//! For a blocked thread the kernel's `syscall` file gives stack pointer and program counter, and
//! `process_vm_readv` the stack's bytes (`look` and `walk`). `space` says which file is mapped where, and
//! keeps what was read of it for all processes; `unwind` goes from frame to frame by what `cfi` reads of
//! its unwind information and by frame pointers, and `recover` finds a frame pointer that the kernel does
//! not tell. `fold` keeps equal stacks once, and `symbols` names the places. Threads that run are sampled
//! (`running`); on request a thread is stopped for a moment (`pause`). Before and after its memory is read, a thread's turns on a CPU are compared: one that
//! has moved is read again, and in the end marked.

mod cfi;
mod fold;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing;
mod look;
mod pause;
mod reach;
mod recover;
mod running;
mod space;
mod symbols;
#[cfg(test)]
mod tests;
mod unwind;
mod walk;

use std::time::Duration;

pub(super) use pause::may_pause;
pub(super) use running::may_sample;
pub(super) use space::{AddressSpace, Mapped, ModuleCache};
pub(super) use symbols::{Symbols, Variable};

use super::InspectError;
use crate::kernel::ProcRoot;
use crate::model::{Dump, Pid, Tid};

/// How a dump is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackOptions {
    /// Stop threads that run, one at a time, each for 50 ms at most. Off: nothing is disturbed.
    pub pause: bool,
    /// Most frames of one stack.
    pub max_depth: usize,
    /// What is not read by then is left out, and the dump says so.
    pub patience: Duration,
    /// Functions, files and lines. Without them frames have addresses and modules.
    pub symbols: bool,
    /// Take a sample of threads that run, which costs up to 20 ms for all of them.
    pub sample_running: bool,
    /// Only this thread.
    pub only: Option<Tid>,
}

impl Default for StackOptions {
    fn default() -> StackOptions {
        StackOptions {
            pause: false,
            max_depth: 256,
            patience: Duration::from_secs(5),
            symbols: true,
            sample_running: true,
            only: None,
        }
    }
}

/// Reads stacks, and keeps what it learnt of modules for the next time and the next process. Shared by
/// all who ask.
pub struct Dumper {
    root: ProcRoot,
    modules: ModuleCache,
    symbols: Symbols,
}

impl Dumper {
    pub fn new(root: &ProcRoot) -> Dumper {
        Dumper {
            root: root.clone(),
            symbols: Symbols::new(),
            modules: ModuleCache::default(),
        }
    }

    /// Every thread of `pid`, in one pass.
    pub fn dump(&self, pid: Pid, options: &StackOptions) -> Result<Dump, InspectError> {
        walk::dump(self, pid, options)
    }

    pub(super) fn root(&self) -> &ProcRoot {
        &self.root
    }

    pub(super) fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// What is mapped where in `pid` now.
    pub(super) fn space(&self, pid: Pid) -> crate::model::Evidence<AddressSpace> {
        AddressSpace::read(&self.root, pid, &self.modules)
    }
}

impl std::fmt::Debug for Dumper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dumper")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The registers that a walk begins with. What is not known is `None`, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub program_counter: u64,
    pub stack_pointer: u64,
    pub frame_pointer: Option<u64>,
    /// Where a leaf function keeps its return address on AArch64 (x30).
    pub link: Option<u64>,
}

/// A thread's registers with the bytes of its stack from the stack pointer up.
#[derive(Clone, Debug)]
pub(super) struct Caught {
    pub registers: Registers,
    /// From `registers.stack_pointer` on; may end before the stack does.
    pub stack: Vec<u8>,
}

/// What the tests of `running` and `pause` share.
#[cfg(test)]
mod tests_of_catching {
    use crate::kernel::ProcRoot;
    use crate::kernel::trials::Busy;
    use crate::model::{Pid, ProcessKey, ThreadKey, Tid};
    use crate::observe::glance;

    pub(super) fn key_of(pid: Pid, tid: Tid) -> ThreadKey {
        let root = ProcRoot::live();
        let start = |folder: std::path::PathBuf| glance::stat(&root, &folder).unwrap().start;
        ThreadKey {
            process: ProcessKey {
                pid,
                start: start(root.process(pid)),
            },
            tid,
            start: start(root.thread(pid, tid)),
        }
    }

    pub(super) fn busy_key(busy: &Busy) -> ThreadKey {
        key_of(busy.pid(), busy.tid)
    }

    /// A busy program of 32 bits that is no child of ours, where the compiler can make one.
    pub(super) struct Narrow {
        shell: std::process::Child,
        pub(super) key: ThreadKey,
        _folder: tempfile::TempDir,
    }

    impl Narrow {
        pub(super) fn start() -> Option<Narrow> {
            use std::io::BufRead as _;
            use std::process::{Command, Stdio};
            let folder = tempfile::tempdir().unwrap();
            let (source, program) = (folder.path().join("narrow.c"), folder.path().join("narrow"));
            std::fs::write(&source, "void _start(void) { for (;;); }").unwrap();
            let made = Command::new("cc")
                .args([
                    "-m32",
                    "-nostdlib",
                    "-static",
                    "-ffreestanding",
                    "-fno-pic",
                    "-no-pie",
                    "-o",
                ])
                .args([&program, &source])
                .stderr(Stdio::null())
                .status();
            if !made.is_ok_and(|status| status.success()) {
                return None;
            }
            let mut shell = Command::new("sh")
                .args(["-c", "\"$0\" & echo $!; read end; kill $!"])
                .arg(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            std::io::BufReader::new(shell.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            let pid = Pid(line.trim().parse().unwrap());
            // Until exec it is the shell, and where the kernel can't run it, it ends.
            let link = format!("/proc/{}/exe", pid.0);
            crate::kernel::trials::until("exec", || {
                std::fs::read_link(&link).map_or(true, |exe| exe.ends_with("narrow"))
            });
            if !std::path::Path::new(&link).exists() {
                let _ = shell.wait();
                return None;
            }
            Some(Narrow {
                key: key_of(pid, Tid(pid.0)),
                shell,
                _folder: folder,
            })
        }
    }

    impl Drop for Narrow {
        fn drop(&mut self) {
            // The shell reads the end of its input, kills the program, and ends.
            drop(self.shell.stdin.take());
            let _ = self.shell.wait();
        }
    }
}
