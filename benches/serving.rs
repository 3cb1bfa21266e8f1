//! What an answer costs: a page of 100 threads out of 10 000, over a socket, alone and with every
//! CPU busy.
//!
//! The truth is a child process of ours with that many sleeping threads; another child burns all
//! CPUs at our own priority. Server and sampler are the daemon's: `observe::start`, `history::new`,
//! `http::serve` on one runtime thread.

mod table;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use table::ms;
use threadscape::kernel::clock;
use threadscape::model::{Pid, PoolStatus, RunStatus};
use threadscape::scenario::{Remote, RunError, Runs, ScenarioFile, StartRun, ValidationProblem};
use threadscape::{history, http, observe};

const THREADS: usize = 10_000;
const REQUESTS: usize = 300;

/// A program of ours that does one thing until it is ended.
struct Helper(Child);

impl Helper {
    /// Starts ourselves in `role` and waits until it says how far it came.
    fn start(role: &str) -> (Helper, String) {
        let own = env::current_exe().expect("our own path");
        let mut child = Command::new(own)
            .env("THREADSCAPE_BENCH_ROLE", role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a child of ourselves");
        let mut line = String::new();
        let out = child.stdout.take().expect("it was piped");
        BufReader::new(out)
            .read_line(&mut line)
            .expect("the child says something");
        (Helper(child), line.trim().to_owned())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends when our parent goes away: its end of the pipe closes.
fn until_orphaned() {
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

fn sleep_in_many_threads() {
    let mut made = 0;
    for _ in 1..THREADS {
        let spawned = thread::Builder::new().stack_size(64 << 10).spawn(|| {
            loop {
                thread::park();
            }
        });
        if spawned.is_err() {
            break;
        }
        made += 1;
    }
    println!("{}", made + 1);
    until_orphaned();
}

fn burn_every_cpu() {
    let cpus = thread::available_parallelism().map_or(2, usize::from);
    for _ in 0..cpus {
        thread::spawn(|| {
            let mut x = 1u64;
            loop {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        });
    }
    println!("{cpus}");
    until_orphaned();
}

/// No workbench: nothing here runs scenarios.
struct NoRuns;

impl Runs for NoRuns {
    fn start(&self, _: StartRun, _: Option<u64>) -> Result<RunStatus, RunError> {
        Err(RunError::Workbench("none in this bench".into()))
    }
    fn list(&self) -> Vec<RunStatus> {
        Vec::new()
    }
    fn get(&self, id: &str) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.into()))
    }
    fn set_rate(&self, id: &str, _: f64) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.into()))
    }
    fn stop(&self, id: &str) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.into()))
    }
    fn report(&self, id: &str) -> Result<Arc<str>, RunError> {
        Err(RunError::UnknownRun(id.into()))
    }
    fn pools(&self) -> Vec<PoolStatus> {
        Vec::new()
    }
    fn scenarios(&self) -> Vec<ScenarioFile> {
        Vec::new()
    }
    fn validate(&self, _: &str) -> Vec<ValidationProblem> {
        Vec::new()
    }
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
    fn workbench_pid(&self) -> Option<Pid> {
        None
    }
}

/// One connection that is kept alive.
struct Client {
    stream: BufReader<TcpStream>,
    token: String,
}

impl Client {
    fn new(address: SocketAddr, token: &str) -> Client {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Client {
            stream: BufReader::new(stream),
            token: token.to_owned(),
        }
    }

    /// The body's length, and the time from the request to its last byte.
    fn get(&mut self, path: &str) -> (usize, Duration) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
            self.token
        );
        let begun = Instant::now();
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .expect("the request is sent");
        let (mut length, mut line) = (0, String::new());
        let mut status = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("a head");
            if status.is_empty() {
                status.clone_from(&line);
            }
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        let taken = begun.elapsed();
        assert!(
            status.starts_with("HTTP/1.1 200"),
            "{status}{}",
            String::from_utf8_lossy(&body)
        );
        (length, taken)
    }
}

fn row(what: &str, measured: &str, against: &str, met: Option<bool>) {
    table::row("serving", what, measured, against, met);
}

fn measure(client: &mut Client, what: &str, path: &str, limit: Option<Duration>) {
    let mut times = Vec::with_capacity(REQUESTS);
    let mut bytes = 0;
    for _ in 0..REQUESTS {
        let (length, taken) = client.get(path);
        bytes = length;
        times.push(taken);
        // As a dashboard would, not as fast as it goes.
        thread::sleep(Duration::from_millis(10));
    }
    times.sort_unstable();
    let p99 = times[times.len() * 99 / 100];
    row(
        &format!("{what}, p50 ({} KiB)", bytes >> 10),
        &ms(times[times.len() / 2]),
        "",
        None,
    );
    row(
        &format!("{what}, p99"),
        &ms(p99),
        &limit.map_or(String::new(), |limit| format!("at most {} ms", limit.as_millis())),
        limit.map(|limit| p99 <= limit),
    );
}

/// `serve` as it is shipped, with no client and no run.
fn idle_daemon() {
    let state = env::temp_dir().join(format!("threadscape-bench-idle-{}", std::process::id()));
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["serve", "--listen", "127.0.0.1:0", "--state-dir"])
        .arg(&state)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the daemon starts");
    let mut link = String::new();
    let out = daemon.stdout.take().expect("it was piped");
    BufReader::new(out).read_line(&mut link).expect("it prints its link");
    // What its first seconds cost is not what idling costs.
    thread::sleep(Duration::from_secs(2));
    let pid = Pid(daemon.id());
    let cpu = || clock::cpu_of(pid).expect("it lives").seconds();
    let (before, began) = (cpu(), Instant::now());
    thread::sleep(Duration::from_secs(10));
    let share = (cpu() - before) / began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(u64::MAX);
    row(
        "serve without client or run: CPU over 10 s",
        &format!("{:.2} %", share * 100.0),
        "at most 0.5 % of a core",
        Some(share <= 0.005),
    );
    row(
        "serve without client or run: resident",
        &format!("{:.1} MiB", resident_kib as f64 / 1024.0),
        "at most 40 MiB",
        Some(resident_kib <= 40 << 10),
    );
    let _ = daemon.kill();
    let _ = daemon.wait();
    let _ = std::fs::remove_dir_all(&state);
}

fn main() {
    match env::var("THREADSCAPE_BENCH_ROLE").as_deref() {
        Ok("sleep") => return sleep_in_many_threads(),
        Ok("burn") => return burn_every_cpu(),
        _ => {}
    }
    idle_daemon();
    let (sleeper, made) = Helper::start("sleep");
    if made != THREADS.to_string() {
        row(
            &format!("only {made} threads could be made; limits are for {THREADS}"),
            "",
            "",
            None,
        );
    }
    let pid = sleeper.0.id();

    let live = http::Live::new();
    let (writer, reader) = history::new(history::Settings::default());
    let told = live.clone();
    let deliver = move |delivery: observe::Delivery| match delivery {
        observe::Delivery::Snapshot(snapshot) => {
            writer.push(&snapshot);
            told.snapshot(&snapshot);
        }
        observe::Delivery::Gone(process) => {
            writer.ended(process);
            told.gone(process);
        }
        observe::Delivery::Finding(change) => told.finding(&change.finding, change.state),
    };
    let (sampler, inspector) =
        observe::start(observe::Settings::default(), || None, deliver).expect("the sampler starts");
    let state = env::temp_dir().join(format!("threadscape-bench-{}", std::process::id()));
    let token = http::Token::load_or_make(&state).expect("a token");
    let settings = http::Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        ..http::Settings::default()
    };
    let listener = http::bind(&settings).expect("a free port");
    let address = listener.address();
    let handles = http::Handles {
        inspector,
        runs: Remote(Arc::new(NoRuns)),
        history: reader,
    };
    let secret = token.reveal().to_owned();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let until = async {
            let _ = ended.await;
        };
        runtime.block_on(http::serve(listener, handles, live, token, until))
    });

    let mut client = Client::new(address, &secret);
    let limit = Some(Duration::from_millis(20));
    let page = format!("/api/v1/processes/{pid}/threads?limit=100");
    let sparkling = format!("{page}&sort=voluntary_switches&offset=5000&sparkline=60");
    let (_, first) = client.get(&page);
    row(&format!("first look at {made} threads"), &ms(first), "", None);
    measure(&mut client, "100 of 10 000 threads, idle machine", &page, None);
    let burner = Helper::start("burn");
    measure(&mut client, "100 of 10 000 threads, every CPU busy", &page, limit);
    measure(
        &mut client,
        "the same from the middle, with sparklines, busy",
        &sparkling,
        limit,
    );
    measure(&mut client, "health, every CPU busy", "/api/v1/health", None);
    drop(burner);

    let _ = end.send(());
    let _ = server.join();
    sampler.stop();
    drop(sleeper);
    let _ = std::fs::remove_dir_all(&state);
}
