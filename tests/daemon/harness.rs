//! Starts the daemon and programs to look at, and talks HTTP to it.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than anything here takes unless it hangs, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {LONG:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn lives(pid: u32) -> bool {
    // A zombie has ended; its parent has not looked yet.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    pub token: String,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Daemon {
    pub fn start(state: &Path) -> Daemon {
        let mut child = command(state).stderr(Stdio::inherit()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let link = loop {
            let mut line = String::new();
            assert!(
                out.read_line(&mut line).unwrap() > 0,
                "the daemon ended before it printed its link"
            );
            if let Some((_, link)) = line.split_once("http://") {
                break link.trim().to_owned();
            }
        };
        // Nobody reads on, but the pipe must not fill.
        thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let (host, token) = link.split_once("/?token=").unwrap();
        Daemon {
            child,
            address: host.parse().unwrap(),
            token: token.to_owned(),
        }
    }

    pub fn with_state() -> (Daemon, TempDir) {
        let state = tempfile::tempdir().unwrap();
        (Daemon::start(state.path()), state)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request as it is given, and reads until the daemon closes.
    pub fn raw(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        let all = String::from_utf8_lossy(&all);
        let (head, body) = all.split_once("\r\n\r\n").unwrap_or((&all, ""));
        Answer {
            status: head
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub fn send(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n",
            self.address, self.token
        );
        let body = body.map_or(String::new(), |body| body.to_string());
        if !body.is_empty() {
            let _ = write!(
                request,
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            );
        }
        self.raw(&format!("{request}\r\n{body}"))
    }

    pub fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Starts the scenario and gives the run's id once it runs.
    pub fn run(&self, toml: &str) -> String {
        let started = self.send("POST", "/api/v1/runs", Some(json!({ "toml": toml })));
        assert_eq!(started.status, 201, "{}", started.body);
        let id = started.json()["id"].as_str().unwrap().to_owned();
        until("the run is under way", || {
            let run = self.get(&format!("/api/v1/runs/{id}"));
            let done = run["loads"]
                .as_array()?
                .iter()
                .any(|load| load["done"].as_u64() > Some(0));
            (run["phase"] == "running" && done).then_some(())
        });
        id
    }

    pub fn workbench(&self) -> Option<u32> {
        self.get("/api/v1/pools")["workbench_pid"]
            .as_u64()
            .map(|pid| pid as u32)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid() as i32).unwrap(), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the daemon ends", || child.try_wait().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `threadscape serve` with this state folder, not yet started.
pub fn command(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_threadscape"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(state)
        .env_remove("THREADSCAPE_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A load that neither ends nor hurts.
pub const GENTLE: &str = r#"
version = 1
[run]
name = "gentle"
duration = "endless"
[pools.demo]
kind = "stealing"
workers = 3
[[load]]
name = "gaps"
pool = "demo"
executor = "open"
arrivals = "even"
rate = "50/s"
mix = [{ workload = "maximum_gap", params = { elements = 1000 } }]
"#;

/// A child of ours with threads of known names, all asleep: this test program, told by a
/// variable to be something else.
pub struct Sleeper {
    child: Child,
    _out: BufReader<ChildStdout>,
}

const SLEEPER: &str = "THREADSCAPE_TEST_SLEEPER";

impl Sleeper {
    pub fn start(threads: usize) -> Sleeper {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "harness::sleeper", "--nocapture", "--test-threads=1"])
            .env(SLEEPER, threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("all asleep") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0, "the sleeper ended early");
        }
        Sleeper { child, _out: out }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sleeper itself; as a test of its own it does nothing.
#[test]
fn sleeper() {
    let Some(threads) = std::env::var(SLEEPER)
        .ok()
        .and_then(|threads| threads.parse::<usize>().ok())
    else {
        return;
    };
    let ready = Arc::new(Barrier::new(threads + 1));
    for n in 0..threads {
        let ready = ready.clone();
        thread::Builder::new()
            .name(format!("sleeper ({n})"))
            .stack_size(256 << 10)
            .spawn(move || {
                ready.wait();
                loop {
                    thread::park();
                }
            })
            .unwrap();
    }
    ready.wait();
    println!("all asleep");
    // Until whoever started us goes away.
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}
