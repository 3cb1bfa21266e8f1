//! The workbench as a real child process: its end, garbage on its link, drain, and what is kept.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use threadscape::model::{RunPhase, RunStatus};
use threadscape::scenario::{RunError, Runs as _, StartRun};
use threadscape::workbench::{Bench, Change, Settings};

const PATIENCE: Duration = Duration::from_secs(30);

fn settings(state: Option<&Path>) -> Settings {
    Settings {
        exe: PathBuf::from(env!("CARGO_BIN_EXE_threadscape")),
        ..Settings::new(
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios")),
            state,
        )
    }
}

fn bench(state: Option<&Path>) -> Bench {
    Bench::new(settings(state), |_| ()).unwrap()
}

fn scenario(duration: &str) -> StartRun {
    StartRun::Inline(format!(
        r#"
version = 1
[run]
name = "test"
duration = "{duration}"
max_lateness = "60s"
[pools.main]
kind = "stealing"
workers = 2
[[load]]
name = "a"
pool = "main"
executor = "open"
rate = "100/s"
mix = [{{ workload = "maximum_gap", params = {{ elements = 1000 }} }}]
"#
    ))
}

/// Polls until `done` gives something; the deadline is for a broken product, not a slow machine.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u32) -> bool {
    // A zombie has ended; only its parent has not looked yet.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    })
}

fn kill(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

fn running(bench: &Bench, id: &str) -> RunStatus {
    until("the run is under way and has done tasks", || {
        let status = bench.get(id).unwrap();
        assert!(!status.phase.is_over(), "{status:?}");
        (status.loads.first()?.done > 0).then_some(status)
    })
}

#[test]
fn a_run_plays_to_its_end_and_is_read_back_after_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (id, report) = {
        let bench = bench(Some(state.path()));
        let id = bench.start(scenario("600ms"), Some(9)).unwrap().id;
        let status = bench.wait(&id.0, PATIENCE).unwrap();
        assert_eq!(status.phase, RunPhase::Finished, "{status:?}");
        assert_eq!((status.seed, status.verdict.as_deref()), (9, Some("pass")));
        let load = &status.loads[0];
        assert_eq!((load.outstanding, load.done), (0, load.arrived));
        let report = bench.report(&id.0).unwrap();
        (id, report)
    };
    let again = bench(Some(state.path()));
    assert_eq!(again.list().iter().map(|run| &run.id).collect::<Vec<_>>(), [&id]);
    assert_eq!(again.report(&id.0).unwrap(), report);
    assert!(matches!(again.stop(&id.0), Err(RunError::Over(_))));
    assert!(again.workbench_pid().is_none(), "nobody asked for one");

    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let threads = report["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 2);
    assert!(
        threads.iter().all(|thread| thread["on_cpu_seconds"].as_f64().is_some()),
        "{threads:?}"
    );
    assert!(!report["series"]["at_seconds"].as_array().unwrap().is_empty());
}

#[test]
fn a_killed_workbench_fails_its_run_and_the_next_one_gets_another() {
    let state = tempfile::tempdir().unwrap();
    let bench = bench(Some(state.path()));
    let first = bench.start(scenario("200ms"), None).unwrap().id;
    assert_eq!(bench.wait(&first.0, PATIENCE).unwrap().phase, RunPhase::Finished);
    let second = bench.start(scenario("endless"), None).unwrap().id;
    running(&bench, &second.0);
    let pid = bench.workbench_pid().unwrap().0;
    kill(pid, Signal::KILL);
    let failed = bench.wait(&second.0, PATIENCE).unwrap();
    assert_eq!(failed.phase, RunPhase::Failed);
    assert!(
        failed.messages.iter().any(|message| message.contains("signal 9")),
        "{failed:?}"
    );
    assert!(failed.loads[0].done > 0, "what was last known is kept");
    assert!(bench.report(&second.0).unwrap().contains("\"failed\""));
    until("the problem is told", || {
        bench
            .problems()
            .iter()
            .any(|problem| problem.contains("signal 9"))
            .then_some(())
    });
    until("the workbench is gone", || {
        bench.workbench_pid().is_none().then_some(())
    });

    let third = bench.start(scenario("200ms"), None).unwrap().id;
    assert_eq!(bench.wait(&third.0, PATIENCE).unwrap().phase, RunPhase::Finished);
    assert_ne!(bench.workbench_pid().unwrap().0, pid);
    let ids: Vec<_> = bench.list().into_iter().map(|run| run.id).collect();
    assert_eq!(ids, [third, second, first.clone()], "no finished run is lost");
    bench.report(&first.0).unwrap();
}

#[test]
fn shutdown_drains_keeps_the_run_and_leaves_no_child() {
    let state = tempfile::tempdir().unwrap();
    let bench = bench(Some(state.path()));
    let id = bench.start(scenario("endless"), None).unwrap().id;
    running(&bench, &id.0);
    let pid = bench.workbench_pid().unwrap().0;
    // Service managers send it to the whole group: the workbench leaves the winding up to us.
    kill(pid, Signal::TERM);
    bench.shutdown(Duration::from_secs(10));
    assert!(!is_alive(pid));
    let status = bench.get(&id.0).unwrap();
    assert_eq!(
        (status.phase, status.loads[0].outstanding),
        (RunPhase::Stopped, 0),
        "{status:?}"
    );
    assert!(bench.problems().is_empty(), "{:?}", bench.problems());
    assert!(matches!(bench.start(scenario("1s"), None), Err(RunError::Workbench(_))));
}

#[test]
fn one_run_at_a_time_and_its_rate_can_be_changed() {
    let changes = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&changes);
    let bench = Bench::new(settings(None), move |change| {
        if matches!(change, Change::Run(_)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
    .unwrap();
    let id = bench.start(scenario("endless"), None).unwrap().id;
    assert!(matches!(bench.start(scenario("1s"), None), Err(RunError::Busy(busy)) if busy == *id.0));
    running(&bench, &id.0);
    assert_eq!(bench.pools()[0].workers.len(), 2);
    assert_eq!(bench.set_rate(&id.0, 0.0).unwrap().rate_factor, 0.0);
    assert!(matches!(bench.set_rate(&id.0, f64::NAN), Err(RunError::Invalid(_))));
    assert!(matches!(
        bench.set_rate("../../etc/passwd", 1.0),
        Err(RunError::UnknownRun(_))
    ));
    assert!(matches!(bench.report(&id.0), Err(RunError::Busy(_))));
    bench.stop(&id.0).unwrap();
    assert_eq!(bench.wait(&id.0, PATIENCE).unwrap().phase, RunPhase::Stopped);
    until("pools are gone with their run", || {
        bench.pools().is_empty().then_some(())
    });
    assert!(changes.load(Ordering::Relaxed) >= 3);
}

#[test]
fn a_stopped_workbench_does_not_hang_its_caller() {
    let bench = bench(None);
    let id = bench.start(scenario("endless"), None).unwrap().id;
    running(&bench, &id.0);
    let pid = bench.workbench_pid().unwrap().0;
    kill(pid, Signal::STOP);
    let asked = Instant::now();
    assert!(matches!(bench.set_rate(&id.0, 2.0), Err(RunError::Workbench(_))));
    assert!(asked.elapsed() < PATIENCE);
    // Whether it did what it was asked is not known, so it is ended, and the run with it.
    assert_eq!(bench.wait(&id.0, PATIENCE).unwrap().phase, RunPhase::Failed);
    until("the stopped workbench is gone", || (!is_alive(pid)).then_some(()));
}

#[test]
fn the_folder_is_listed_and_names_are_not_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("bad.toml"), "version = 1\nspeed = 3\n").unwrap();
    fs::write(folder.path().join("note.txt"), "not a scenario").unwrap();
    let mut settings = settings(None);
    settings.scenarios = folder.path().to_owned();
    let bench = Bench::new(settings, |_| ()).unwrap();
    let files = bench.scenarios();
    assert_eq!(files.len(), 1);
    assert!(files[0].problems.iter().any(|problem| problem.line == 2), "{files:?}");
    for name in ["../bad", "/etc/passwd", "bad.toml", ""] {
        let start = bench.start(StartRun::Named(name.into()), None);
        assert!(matches!(start, Err(RunError::UnknownScenario { .. })), "{name}");
    }
    let nearest = bench.start(StartRun::Named("badd".into()), None);
    assert!(matches!(nearest, Err(RunError::UnknownScenario { nearest: Some(near), .. }) if near == "bad"));
    assert!(matches!(
        bench.start(StartRun::Named("bad".into()), None),
        Err(RunError::Invalid(_))
    ));
    assert!(bench.workbench_pid().is_none(), "a bad file starts no process");
}

#[test]
fn a_program_that_is_no_workbench_is_told() {
    let mut settings = settings(None);
    settings.exe = PathBuf::from("/bin/true");
    let bench = Bench::new(settings, |_| ()).unwrap();
    let refused = bench.start(scenario("1s"), None).unwrap_err().to_string();
    assert!(refused.contains("did not start"), "{refused}");
    assert!(bench.list().is_empty());
}

/// A workbench process with our hands on its link.
fn by_hand() -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["workbench", "--parent", &std::process::id().to_string()])
        .stdin(OwnedFd::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (child, ours)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

fn ends(mut child: Child) -> Option<i32> {
    let status = until("the workbench ends", || child.try_wait().unwrap());
    status.code()
}

#[test]
fn garbage_on_the_link_ends_the_workbench() {
    let hello = frame(br#"{"hello":{"version":1}}"#);
    for garbage in [
        frame(b"not JSON"),
        frame(br#"{"dance":{}}"#),
        frame(br#"{"stop":{"request":1,"run":"x","limit_ms":null,"more":1}}"#),
        hello.clone(),
        vec![0xff; 64],
    ] {
        let (child, mut link) = by_hand();
        link.write_all(&hello).unwrap();
        link.write_all(&garbage).unwrap();
        assert_eq!(ends(child), Some(3), "{garbage:?}");
    }
    let (child, mut link) = by_hand();
    link.write_all(&frame(br#"{"hello":{"version":99}}"#)).unwrap();
    assert_eq!(ends(child), Some(3), "another version is refused");
}

#[test]
fn a_closed_link_ends_the_workbench() {
    let (child, mut link) = by_hand();
    link.write_all(&frame(br#"{"hello":{"version":1}}"#)).unwrap();
    let mut first = [0; 4];
    link.read_exact(&mut first).unwrap();
    drop(link);
    assert_eq!(ends(child), Some(0));
}

#[test]
fn the_workbench_is_no_command_for_people() {
    let output = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["workbench", "--parent", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("threadscape serve"));
}

fn scenario_file(folder: &Path, duration: &str) -> PathBuf {
    let StartRun::Inline(text) = scenario(duration) else {
        unreachable!("a text")
    };
    let path = folder.join("test.toml");
    fs::write(&path, text).unwrap();
    path
}

/// The only child of a process that is a workbench.
fn workbench_of(parent: u32) -> Option<u32> {
    let children = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let ppid: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        (ppid == parent).then_some(pid)
    });
    children.into_iter().next()
}

#[test]
fn the_workbench_dies_with_a_parent_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .arg("run")
        .arg(scenario_file(folder.path(), "endless"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = until("the run has a workbench", || workbench_of(run.id()));
    // Also one that cannot read its link any more.
    kill(child, Signal::STOP);
    run.kill().unwrap();
    run.wait().unwrap();
    until("the workbench is gone", || (!is_alive(child)).then_some(()));
}

#[test]
fn the_workbench_has_a_name_and_not_our_secret() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .arg("run")
        .arg(scenario_file(folder.path(), "endless"))
        .env("THREADSCAPE_TOKEN", "not-for-children")
        .env("THREADSCAPE_TEST", "for children")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = until("the run has a workbench", || workbench_of(run.id()));
    until("it has named itself", || {
        (fs::read_to_string(format!("/proc/{child}/comm")).ok()? == "ts-workbench\n").then_some(())
    });
    let environment = fs::read(format!("/proc/{child}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let command = fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap();
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(environment.contains("THREADSCAPE_TEST"), "{environment}");
    assert!(!environment.contains("not-for-children"), "{environment}");
    assert!(command.starts_with("threadscape\0workbench\0"), "{command}");
}

#[test]
fn run_gives_the_verdict_as_its_exit_code_and_stops_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let page = folder.path().join("out.html");
    let program = || Command::new(env!("CARGO_BIN_EXE_threadscape"));
    let file = scenario_file(folder.path(), "5s");
    let ended = program()
        .arg("run")
        .arg(&file)
        .args(["--time-scale", "10", "--seed", "3", "--json"])
        .arg(&out)
        .arg("--html")
        .arg(&page)
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        String::from_utf8_lossy(&ended.stdout).contains("test: pass"),
        "{ended:?}"
    );
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((&report["seed"], &report["verdict"]), (&3.into(), &"pass".into()));
    assert!(fs::read_to_string(&page).unwrap().starts_with("<!doctype html>"));

    let text = fs::read_to_string(&file).unwrap() + "[[threshold]]\nrequire = \"throughput > 1000000/s\"\n";
    fs::write(&file, text).unwrap();
    let missed = program()
        .arg("run")
        .arg(&file)
        .args(["--time-scale", "20"])
        .output()
        .unwrap();
    assert_eq!(missed.status.code(), Some(1), "{missed:?}");

    let endless = scenario_file(folder.path(), "endless");
    let stopped = program()
        .arg("run")
        .arg(&endless)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the run has a workbench", || workbench_of(stopped.id()));
    kill(stopped.id(), Signal::INT);
    let stopped = stopped.wait_with_output().unwrap();
    // An endless run is judged when it is stopped; one that had not begun yet has no verdict.
    assert!(matches!(stopped.status.code(), Some(0 | 3)), "{stopped:?}");
}

#[test]
fn check_tells_every_problem_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = scenario_file(folder.path(), "5");
    let text = fs::read_to_string(&file).unwrap().replace("workers = 2", "workrs = 2");
    fs::write(&file, text).unwrap();
    for command in ["check", "run"] {
        let refused = Command::new(env!("CARGO_BIN_EXE_threadscape"))
            .arg(command)
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(2));
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains("test.toml:5:12: duration: \"5\" has no unit"), "{told}");
        assert!(
            told.contains("test.toml:9:1: unknown key \"workrs\"") && told.contains("did you mean workers?"),
            "{told}"
        );
    }
}
