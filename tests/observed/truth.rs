//! Starts the programs of known truth, and waits until they stand still.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::harness::until;

/// How a program is built. The same sources with other flags are other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    Optimised,
    FramePointers,
    Plain,
}

impl Build {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Build::Optimised => &["-O2", "-g", "-fomit-frame-pointer"],
            Build::FramePointers => &["-O2", "-g", "-fno-omit-frame-pointer"],
            Build::Plain => &["-O0", "-g"],
        }
    }
}

/// The program's path; built if no earlier test has.
pub fn built(source: &str, build: Build) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/programs");
    let path = folder.join(source);
    let is_cpp = path.extension().is_some_and(|extension| extension == "cpp");
    let compiler = if is_cpp { "c++" } else { "cc" };
    let mut flags = vec!["-pthread", "-w"];
    if is_cpp {
        flags.push("-std=c++20");
    }
    flags.extend(build.flags());
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("observed");
    fs::create_dir_all(&into).unwrap();
    let program = into.join(format!("{}-{build:?}", source.replace('.', "-")).to_lowercase());
    let newest = [&path, &folder.join("truth.h")]
        .iter()
        .map(|source| fs::metadata(source).unwrap().modified().unwrap())
        .max()
        .unwrap();
    if fs::metadata(&program).is_ok_and(|built| built.modified().unwrap() > newest) {
        return program;
    }
    // Tests run as processes of their own: whoever is last puts an equal program in place.
    let mine = into.join(format!("building-{}-{source}", std::process::id()));
    let output = Command::new(compiler)
        .args(flags)
        .arg(&path)
        .arg("-o")
        .arg(&mine)
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}; install gcc and g++ (`make need-observed`)"));
    assert!(
        output.status.success(),
        "{source}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&mine, &program).unwrap();
    program
}

#[derive(Debug, Default)]
struct Told {
    threads: BTreeMap<String, Vec<u32>>,
    locks: BTreeMap<String, u64>,
    numbers: BTreeMap<String, Vec<u64>>,
    ready: bool,
}

/// A program that tells the truth about itself.
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    told: Arc<Mutex<Told>>,
}

impl Program {
    pub fn start(source: &str, arguments: &[&str]) -> Program {
        Program::start_built(source, Build::Optimised, arguments)
    }

    pub fn start_built(source: &str, build: Build, arguments: &[&str]) -> Program {
        Program::run(Command::new(built(source, build)).args(arguments))
    }

    /// Any command that tells of itself in the same lines.
    pub fn run(command: &mut Command) -> Program {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let told = Arc::new(Mutex::new(Told::default()));
        let out = BufReader::new(child.stdout.take().unwrap());
        let listening = Arc::clone(&told);
        // Lines of threads that are slow to start may come after `ready`.
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let mut told = listening.lock().unwrap();
                let words: Vec<&str> = line.split(' ').collect();
                match words[..] {
                    ["thread", name, tid] => {
                        told.threads
                            .entry(name.to_owned())
                            .or_default()
                            .push(tid.parse().unwrap());
                    }
                    ["lock", name, address] => {
                        told.locks
                            .insert(name.to_owned(), u64::from_str_radix(address, 16).unwrap());
                    }
                    ["process", name, number] | [name, number] => {
                        if let Ok(number) = number.parse() {
                            told.numbers.entry(name.to_owned()).or_default().push(number);
                        }
                    }
                    ["ready"] => told.ready = true,
                    _ => {}
                }
            }
        });
        let input = child.stdin.take();
        let mut program = Program { child, input, told };
        until("the program is ready", || {
            assert!(
                program.child.try_wait().unwrap().is_none(),
                "it ended before it was ready"
            );
            program.told.lock().unwrap().ready.then_some(())
        });
        program
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn tid(&self, name: &str) -> u32 {
        let told = &self.told;
        until(&format!("thread {name} is told"), || {
            told.lock().unwrap().threads.get(name).map(|tids| tids[0])
        })
    }

    pub fn lock(&self, name: &str) -> String {
        format!("{:#x}", self.told.lock().unwrap().locks[name])
    }

    /// The latest number of this name, once there are `count` of them.
    pub fn number(&self, name: &str, count: usize) -> u64 {
        let told = &self.told;
        until(&format!("{name} is told"), || {
            let told = told.lock().unwrap();
            let numbers = told.numbers.get(name)?;
            (numbers.len() >= count).then(|| numbers[count - 1])
        })
    }

    pub fn ask(&mut self) {
        let input = self.input.as_mut().unwrap();
        input.write_all(b"\n").unwrap();
        input.flush().unwrap();
    }

    /// Waits until all its threads, `count` with the one that waits for our end, are blocked and stay so.
    pub fn settled(&self, count: usize) -> &Program {
        settled(self.pid(), count);
        self
    }

    /// Waits until these threads are blocked for good.
    pub fn blocked(&self, names: &[&str]) -> &Program {
        let tids: Vec<u32> = names.iter().map(|name| self.tid(name)).collect();
        until(&format!("{names:?} are blocked"), || {
            still(self.pid(), &tids).then_some(())
        });
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn tids(pid: u32) -> Vec<u32> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| task.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Waits until a process has `count` threads and all are blocked.
pub fn settled(pid: u32, count: usize) {
    until(&format!("{count} threads of {pid} are blocked"), || {
        let tids = tids(pid);
        (tids.len() == count && still(pid, &tids)).then_some(())
    });
}

/// Waits until all threads of a process are blocked, however many there are.
pub fn quiet(pid: u32) {
    until(&format!("the threads of {pid} are blocked"), || {
        let tids = tids(pid);
        (!tids.is_empty() && still(pid, &tids)).then_some(())
    });
}

/// Blocked now and a little later, without a turn in between.
fn still(pid: u32, tids: &[u32]) -> bool {
    let turns = || -> Option<Vec<String>> {
        tids.iter()
            .map(|tid| {
                let task = format!("/proc/{pid}/task/{tid}");
                let call = fs::read_to_string(format!("{task}/syscall")).ok()?;
                // A name may be of any bytes.
                let status = String::from_utf8_lossy(&fs::read(format!("{task}/status")).ok()?).into_owned();
                let switches = status.split_once("voluntary_ctxt_switches")?.1;
                (!call.starts_with("running")).then(|| format!("{call}{switches}"))
            })
            .collect()
    };
    let Some(before) = turns() else { return false };
    thread::sleep(std::time::Duration::from_millis(20));
    turns() == Some(before)
}
