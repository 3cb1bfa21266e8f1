//! `threadscape threads PID|NAME`: every thread of a process, as a table, JSON or CSV.
//!
//! No daemon is needed: we sample the process ourselves, twice, because a rate needs two readings.
//! What could not be read is `?` in the table, `null` in JSON and empty in CSV; the reasons stand
//! below the table and in `unknown`. `--json` has the shape of `GET /api/v1/processes/{pid}/threads`;
//! with `--watch` it is one object a line.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::Value;

use super::subject::{failure, no_process, plain, pretty, print, process_named, root_at};
use super::{Exit, Failure};
use crate::http::wire;
use crate::model::{Evidence, Nanos, Snapshot, Thread, ThreadState, Unknown};
use crate::observe::{self, Delivery, Inspector, Settings};

/// Between two readings: long enough for a rate, short enough to wait for.
const INTERVAL: Duration = Duration::from_millis(500);
/// With `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Rates over less than this say little: clocks move in ticks.
const LEAST_INTERVAL: Nanos = Nanos(200_000_000);

/// Lists the threads of a process: state, clocks, waits, stacks.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process: its id, its exact name, or `self`.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    process: String,
    /// Print JSON in the shape of the REST API.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print comma-separated values with a header line.
    #[arg(long)]
    csv: bool,
    /// What to sort by; what is unknown comes last.
    #[arg(long, value_enum, default_value_t = Sort::Cpu)]
    sort: Sort,
    /// Ascending or descending; without it, numbers descend and words and ids ascend.
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Only threads in these states (runnable, sleeping, parked…), separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = state)]
    state: Vec<ThreadState>,
    /// Only threads whose name holds this text.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only the first so many rows.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print again each second until the process ends.
    #[arg(long, conflicts_with = "csv")]
    watch: bool,
    /// Read a captured tree instead of /proc.
    #[arg(long, value_name = "DIR")]
    procfs: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    Cpu,
    Tid,
    Name,
    State,
    OnCpu,
    RunDelay,
    Switches,
    Faults,
    Stack,
    Heap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

fn state(name: &str) -> Result<ThreadState, String> {
    ThreadState::from_name(name).ok_or_else(|| {
        let known = ThreadState::ALL.map(ThreadState::name).join(", ");
        format!("there is no such state; there are {known}")
    })
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let root = root_at(args.procfs.as_deref())?;
    let pid = process_named(&root, &args.process)?;
    let captured = root.is_captured();
    let settings = Settings {
        procfs: root,
        ..Settings::default()
    };
    let deliver = |_: Delivery| {};
    let (sampler, inspector) = observe::start(settings, || None, deliver)
        .map_err(|error| Failure::usage(format!("could not start to read: {error}")))?;
    let interval = if args.watch { WATCH_INTERVAL } else { INTERVAL };
    let guard = inspector.watch(pid, interval).map_err(failure)?;
    let mut snapshot = inspector.snapshot(pid).map_err(failure)?;
    while !captured && snapshot.interval.is_ok_and(|interval| interval < LEAST_INTERVAL) | snapshot.interval.is_err() {
        snapshot = newer(&inspector, &snapshot)?;
    }
    show(&args, &snapshot)?;
    // Nothing moves in a captured tree: it is shown once.
    if args.watch && !captured {
        keep_showing(&args, &inspector, snapshot)?;
    }
    drop(guard);
    sampler.stop();
    Ok(Exit::Fine)
}

fn keep_showing(args: &Args, inspector: &Inspector, mut snapshot: Arc<Snapshot>) -> Result<(), Failure> {
    loop {
        snapshot = match newer(inspector, &snapshot) {
            Ok(snapshot) => snapshot,
            // It was watched to its end: that is what was asked for.
            Err(Failure { exit: Exit::Usage, .. }) => {
                eprintln!("process {} has ended", snapshot.process.pid);
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        show(args, &snapshot)?;
    }
}

fn newer(inspector: &Inspector, snapshot: &Snapshot) -> Result<Arc<Snapshot>, Failure> {
    let pid = snapshot.process.pid;
    let next = inspector.snapshot_after(pid, snapshot.taken_at).map_err(failure)?;
    if next.process == snapshot.process {
        Ok(next)
    } else {
        Err(no_process(pid))
    }
}

fn show(args: &Args, snapshot: &Snapshot) -> Result<(), Failure> {
    let rows = chosen(args, snapshot);
    let page = &rows[..args.limit.unwrap_or(rows.len()).min(rows.len())];
    let text = if args.json {
        let answer = wire::Threads::of(snapshot, rows.len(), page);
        if args.watch {
            serde_json::to_string(&answer).map_err(Failure::other)? + "\n"
        } else {
            pretty(&answer)?
        }
    } else if args.csv {
        csv(page)?
    } else {
        let clear = if args.watch && io::stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        clear.to_owned() + &table(snapshot, &rows, args.limit)
    };
    print(&text)
}

/// The rows that were asked for, sorted.
fn chosen<'a>(args: &Args, snapshot: &'a Snapshot) -> Vec<&'a Thread> {
    let is_meant = |row: &&Thread| {
        (args.state.is_empty() || args.state.contains(&row.state))
            && args.name.as_ref().is_none_or(|part| row.name.contains(&**part))
    };
    let mut rows: Vec<&Thread> = snapshot.threads.iter().filter(is_meant).collect();
    let words = matches!(args.sort, Sort::Tid | Sort::Name | Sort::State);
    let descends = args.order.map_or(!words, |order| order == Order::Desc);
    // Stable, and the rows come in tid order: equal ones stay in it.
    rows.sort_by(|a, b| match args.sort {
        Sort::Name => directed(a.name.cmp(&b.name), descends),
        Sort::State => directed(a.state.name().cmp(b.state.name()), descends),
        Sort::Tid => directed(a.tid().cmp(&b.tid()), descends),
        _ => match (number(a, args.sort), number(b, args.sort)) {
            (Ok(a), Ok(b)) => directed(a.total_cmp(&b), descends),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => Ordering::Equal,
        },
    });
    rows
}

fn directed(order: Ordering, descends: bool) -> Ordering {
    if descends { order.reverse() } else { order }
}

fn number(row: &Thread, sort: Sort) -> Evidence<f64> {
    match sort {
        Sort::OnCpu => row.on_cpu.map(Nanos::seconds),
        Sort::RunDelay => row.run_delay.map(Nanos::seconds),
        Sort::Switches => switches(row).map(|count| count as f64),
        Sort::Faults => Ok((row.minor_faults? + row.major_faults?) as f64),
        Sort::Stack => row.stack.and_then(|stack| stack.used_bytes).map(|bytes| bytes as f64),
        Sort::Heap => row.heap.map(|heap| heap.net_bytes() as f64),
        Sort::Cpu | Sort::Tid | Sort::Name | Sort::State => row.cpu_ratio,
    }
}

fn switches(row: &Thread) -> Evidence<u64> {
    Ok(row.voluntary_switches? + row.involuntary_switches?)
}

/// Gathers the reason of every `?`, with what it stands for and in how many rows.
#[derive(Default)]
struct Notes(BTreeMap<(&'static str, Unknown), u32>);

impl Notes {
    fn cell<T>(&mut self, what: &'static str, value: Evidence<T>, show: impl FnOnce(T) -> String) -> String {
        match value {
            Ok(value) => show(value),
            // There is nothing to know: a thread that runs waits for nothing, a kernel thread has no stack.
            Err(Unknown::NotWaiting | Unknown::KernelThread | Unknown::Zombie) => "-".to_owned(),
            Err(why) => {
                *self.0.entry((what, why)).or_default() += 1;
                "?".to_owned()
            }
        }
    }
}

fn table(snapshot: &Snapshot, rows: &[&Thread], limit: Option<usize>) -> String {
    let mut notes = Notes::default();
    let mut text = String::new();
    let count = snapshot.threads.len();
    let _ = write!(
        text,
        "{} (pid {}): {count} thread{}",
        plain(&snapshot.name),
        snapshot.process.pid,
        if count == 1 { "" } else { "s" }
    );
    for (index, state) in present_states(snapshot).enumerate() {
        let separator = if index == 0 { ": " } else { ", " };
        let _ = write!(text, "{separator}{} {}", snapshot.counts.get(state), state.name());
    }
    if let Ok(interval) = snapshot.interval {
        let cpu = notes.cell("CPU of the process", snapshot.cpu_ratio, |ratio| format!("{ratio:.2}"));
        let _ = write!(text, "; {cpu} CPUs busy over {:.1} s", interval.seconds());
    }
    for words in condition_of(snapshot) {
        let _ = write!(text, "; {words}");
    }
    if snapshot.truncated {
        text += "; some threads could not be read in time";
    }
    let _ = writeln!(
        text,
        "\n\n{:>8}  {:<16}{:<11}{:>7}{:>12}{:>12}{:>10}{:>10}{:>10}  WAITS FOR",
        "TID", "NAME", "STATE", "CPU", "ON CPU", "RUN DELAY", "SWITCHES", "FAULTS", "STACK"
    );
    let shown = limit.unwrap_or(rows.len()).min(rows.len());
    for row in &rows[..shown] {
        let seconds = |time: Nanos| format!("{:.3} s", time.seconds());
        let stack = row.stack.and_then(|stack| stack.used_bytes);
        // Its depth can't be told while it runs: no gap, as for the wait.
        let stack = stack.map_err(|why| {
            if why == Unknown::Running {
                Unknown::NotWaiting
            } else {
                why
            }
        });
        let _ = writeln!(
            text,
            "{:>8}  {:<16}{:<11}{:>7}{:>12}{:>12}{:>10}{:>10}{:>10}  {}",
            row.tid(),
            plain(&row.name),
            row.state.name(),
            notes.cell("CPU", row.cpu_ratio, |ratio| format!("{:.1} %", ratio * 100.0)),
            notes.cell("on CPU", row.on_cpu, seconds),
            notes.cell("run delay", row.run_delay, seconds),
            notes.cell("switches", switches(row), |count| count.to_string()),
            notes.cell("faults", row.minor_faults, |minor| {
                (minor + row.major_faults.unwrap_or(0)).to_string()
            }),
            notes.cell("stack", stack, |bytes| format!("{} KiB", bytes.div_ceil(1024))),
            waits_for(row, &mut notes),
        );
    }
    if shown < rows.len() {
        let _ = writeln!(text, "and {} more", rows.len() - shown);
    }
    for ((what, why), threads) in notes.0 {
        let _ = write!(text, "\n? {what}, {threads}x: {}", why.why());
        if let Some(need) = why.need() {
            let _ = write!(text, "; {}", need.fix);
        }
    }
    if !text.ends_with('\n') {
        text += "\n";
    }
    text
}

/// What is out of the ordinary about the process.
fn condition_of(snapshot: &Snapshot) -> Vec<String> {
    let condition = &snapshot.condition;
    condition
        .marks()
        .into_iter()
        .map(|mark| match (mark, condition.tracer) {
            ("traced", Ok(Some(tracer))) => format!("traced by {tracer}"),
            ("vfork_parent", _) => "waits for its vfork child".to_owned(),
            ("frozen", _) => match &condition.cgroup {
                Ok(cgroup) => format!("frozen with control group {}", plain(cgroup)),
                Err(_) => "frozen".to_owned(),
            },
            _ => mark.replace('_', " "),
        })
        .collect()
}

fn present_states(snapshot: &Snapshot) -> impl Iterator<Item = ThreadState> {
    ThreadState::ALL
        .into_iter()
        .filter(|state| snapshot.counts.get(*state) > 0)
}

fn waits_for(row: &Thread, notes: &mut Notes) -> String {
    let told = row.wait.as_ref().map_err(|why| *why);
    notes.cell("wait", told, |wait| {
        let mut words = vec![wait.syscall.unwrap_or(wait.kind.name()).to_owned()];
        if let Some(address) = wait.address {
            words.push(format!("{address:#x}"));
        }
        let object = wait.object.as_ref().ok().filter(|object| object.kind != "futex_word");
        if let Some(object) = object {
            // An epoll's own number says less than what is in it.
            if let Some(fd) = object.fd.filter(|_| object.kind != "epoll") {
                words.push(format!("fd {fd}"));
            }
            words.push(plain(&object.name));
        }
        if wait.timed == Some(true) && object.is_none_or(|object| object.kind != "timer") {
            words.push("(timed)".to_owned());
        }
        // The call and its object say it better, where they are known.
        if object.is_none()
            && let Ok(function) = &wait.kernel_function
        {
            words.push(format!("in {}", plain(function)));
        }
        words.join(" ")
    })
}

/// The columns of the JSON rows, nested ones as `wait_kind` and so on.
const COLUMNS: &[&str] = &[
    "/tid",
    "/name",
    "/state",
    "/java_state",
    "/suspended",
    "/pool",
    "/cpu_ratio",
    "/user_seconds",
    "/system_seconds",
    "/on_cpu_seconds",
    "/run_delay_seconds",
    "/run_delay_ratio",
    "/timeslices",
    "/voluntary_switches",
    "/involuntary_switches",
    "/minor_faults",
    "/major_faults",
    "/last_cpu",
    "/nice",
    "/policy",
    "/rt_priority",
    "/allowed_cpus",
    "/start_time",
    "/wait/kind",
    "/wait/syscall",
    "/wait/address",
    "/wait/object/kind",
    "/wait/object/fd",
    "/wait/object/name",
    "/wait/timed",
    "/wait/kernel_function",
    "/stack/reserved_bytes",
    "/stack/used_bytes",
    "/stack/guard_bytes",
    "/heap/allocated_bytes",
    "/heap/freed_bytes",
    "/task/workload",
    "/task/done",
];

/// RFC 4180, with line feeds alone.
fn csv(rows: &[&Thread]) -> Result<String, Failure> {
    let header: Vec<String> = COLUMNS.iter().map(|column| column[1..].replace('/', "_")).collect();
    let mut text = header.join(",") + "\n";
    let mut gaps = wire::Gaps::default();
    for row in rows {
        let value = serde_json::to_value(wire::Thread::of(row, &mut gaps)).map_err(Failure::other)?;
        let cells: Vec<String> = COLUMNS
            .iter()
            .map(|column| match value.pointer(column) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(word)) => csv_word(word),
                Some(number) => number.to_string(),
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join(","));
    }
    Ok(text)
}

/// Names are hostile: a spreadsheet would run what begins like a formula, so such a word gets an
/// apostrophe in front, and control characters are spelt out.
fn csv_word(word: &str) -> String {
    let mut word = plain(word);
    if word.starts_with(['=', '+', '-', '@']) {
        word.insert(0, '\'');
    }
    if word.contains([',', '"']) {
        format!("\"{}\"", word.replace('"', "\"\""))
    } else {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pid;
    use clap::Parser;
    use serde_json::json;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(words: &[&str]) -> Result<Args, clap::Error> {
        Line::try_parse_from(["threads"].iter().chain(words)).map(|line| line.args)
    }

    const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proc/threads");

    fn captured() -> Arc<Snapshot> {
        let settings = Settings {
            procfs: root_at(Some(std::path::Path::new(TREE))).unwrap(),
            ..Settings::default()
        };
        let (_sampler, inspector) = observe::start(settings, || None, |_| {}).unwrap();
        inspector.snapshot(Pid(4321)).unwrap()
    }

    fn tids(words: &[&str], snapshot: &Snapshot) -> Vec<u32> {
        let args = args(&[&["4321"], words].concat()).unwrap();
        chosen(&args, snapshot).iter().map(|row| row.tid().0).collect()
    }

    #[test]
    fn rows_are_sorted_and_what_is_unknown_comes_last() {
        let snapshot = captured();
        assert_eq!(tids(&["--sort", "on-cpu"], &snapshot), [4322, 4321, 4323]);
        assert_eq!(
            tids(&["--sort", "on-cpu", "--order", "asc"], &snapshot),
            [4321, 4322, 4323]
        );
        assert_eq!(tids(&["--sort", "name"], &snapshot), [4321, 4323, 4322]);
        assert_eq!(
            tids(&["--sort", "tid", "--order", "desc"], &snapshot),
            [4323, 4322, 4321]
        );
    }

    #[test]
    fn rows_are_chosen_by_state_and_name() {
        let snapshot = captured();
        assert_eq!(
            tids(&["--state", "runnable,disk_sleep", "--sort", "tid"], &snapshot),
            [4322, 4323]
        );
        assert_eq!(tids(&["--name", "pool ("], &snapshot), [4322]);
        assert_eq!(tids(&["--name", "nobody"], &snapshot), [0u32; 0]);
    }

    #[test]
    fn wrong_words_are_refused_with_the_right_ones() {
        let message = args(&["1", "--state", "busy"]).unwrap_err().to_string();
        assert!(message.contains("disk_sleep"), "{message}");
        let message = args(&["1", "--sort", "speed"]).unwrap_err().to_string();
        assert!(message.contains("run-delay"), "{message}");
        assert!(args(&["1", "--json", "--csv"]).is_err());
        assert!(args(&[]).is_err());
    }

    #[test]
    fn json_has_null_and_a_reason_for_what_is_unknown() {
        let snapshot = captured();
        let rows: Vec<&Thread> = snapshot.threads.iter().collect();
        let answer = serde_json::to_value(wire::Threads::of(&snapshot, rows.len(), &rows[..2])).unwrap();
        assert_eq!(answer["total"], 3);
        assert_eq!(answer["threads"].as_array().unwrap().len(), 2);
        assert_eq!(answer["counts"]["runnable"], 1);
        let worker = &answer["threads"][1];
        assert_eq!(
            (&worker["name"], &worker["policy"]),
            (&json!("io) pool (2"), &json!("fifo"))
        );
        assert_eq!(worker["wait"], Value::Null);
        assert_eq!(worker["unknown"]["wait"], "not_waiting");
        assert_eq!(worker["unknown"]["cpu_ratio"], "seen_once");
        assert_eq!(answer["threads"][0]["wait"]["address"], "0x7f0100001000");
        assert_eq!(answer["unknown"]["cpu_ratio"]["reason"], "not_applicable");
        assert_eq!(answer["unknown"]["cpu_ratio"]["threads"], 2);
        assert_eq!(answer["unknown"]["interval_seconds"]["code"], "seen_once");
    }

    #[test]
    fn the_table_shows_a_question_mark_and_says_why() {
        let snapshot = captured();
        let rows: Vec<&Thread> = snapshot.threads.iter().collect();
        let text = table(&snapshot, &rows, None);
        assert!(
            text.starts_with("app (main) (pid 4321): 3 threads: 1 runnable, 1 sleeping, 1 disk_sleep\n"),
            "{text}"
        );
        assert!(text.contains("? CPU, 3x: a rate needs two readings"), "{text}");
        assert!(text.contains("futex 0x7f0100001000 in futex_do_wait"), "{text}");
        assert!(text.contains("capture the tree again"), "{text}");
    }

    #[test]
    fn the_table_says_what_a_thread_waits_for_and_what_is_odd_about_its_process() {
        let mut snapshot = (*captured()).clone();
        snapshot.condition = crate::model::Condition {
            main_thread_gone: true,
            tracer: Ok(Some(Pid(9))),
            frozen: Ok(true),
            cgroup: Ok("/a\x1bb".into()),
            ..crate::model::Condition::UNREMARKABLE
        };
        let text = table(&snapshot, &snapshot.threads.iter().collect::<Vec<_>>(), None);
        let head = text.lines().next().unwrap();
        assert!(
            head.ends_with("; main thread gone; frozen with control group /a\\u{1b}b; traced by 9"),
            "{head}"
        );

        let mut row = snapshot.threads[0].clone();
        let mut check = |syscall, kind, fd, name: &str, timed, expected: &str| {
            let wait = row.wait.as_mut().unwrap();
            wait.syscall = Some(syscall);
            wait.address = None;
            wait.timed = timed;
            wait.object = Ok(crate::model::WaitObject {
                kind,
                fd,
                name: name.into(),
            });
            assert_eq!(waits_for(&row, &mut Notes::default()), expected);
        };
        check("read", "pipe", Some(5), "pipe:[123]", None, "read fd 5 pipe:[123]");
        check(
            "epoll_wait",
            "epoll",
            Some(3),
            "12 fds",
            Some(true),
            "epoll_wait 12 fds (timed)",
        );
        check(
            "clock_nanosleep",
            "timer",
            None,
            "for 60 s",
            Some(true),
            "clock_nanosleep for 60 s",
        );
        check("wait4", "process", None, "any child", Some(false), "wait4 any child");
        check("read", "file", Some(1), "/a\nb", None, "read fd 1 /a\\u{a}b");
    }

    #[test]
    fn csv_leaves_unknown_empty_and_disarms_formulas() {
        let snapshot = captured();
        let rows: Vec<&Thread> = snapshot.threads.iter().collect();
        let text = csv(&rows).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("tid,name,state,java_state,suspended,pool,cpu_ratio,"));
        assert!(
            lines[1].starts_with("4321,app (main),sleeping,WAITING,,,,0.12,"),
            "{}",
            lines[1]
        );
        assert_eq!(csv_word("=1+1"), "'=1+1");
        assert_eq!(csv_word("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(csv_word("x\x1b[2J\n"), "x\\u{1b}[2J\\u{a}");
    }

    #[test]
    fn our_own_process_can_be_listed_with_rates() {
        let text = std::process::id().to_string();
        let exit = run(args(&[&text, "--json", "--limit", "1"]).unwrap());
        assert_eq!(exit, Ok(Exit::Fine));
        let failure = run(args(&["no-such-name-here"]).unwrap()).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }
}
