//! Findings of real programs whose truth is known, from a running sampler.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::model::{FindingKind, FindingState, Pid, Severity, Tid};
use crate::observe::{Delivery, FindingChange, Inspector, Sampler, Settings, StackOptions, start};

const WAIT: Duration = Duration::from_secs(60);

fn compiled(folder: &Path) -> PathBuf {
    let program = folder.join("programs");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/observe/findings/programs.c");
    let built = Command::new("cc")
        .args(["-O1", "-g", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .status()
        .expect("a C compiler is there");
    assert!(built.success());
    program
}

/// A program that is ended with its guard.
struct Program {
    child: Child,
    /// The tids that it told.
    tids: Vec<Tid>,
}

impl Program {
    fn start(program: &Path, what: &str, count: usize) -> Program {
        let mut child = Command::new(program)
            .args([what, &count.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut tids = Vec::new();
        if what != "abandoned" {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            tids = line.split_whitespace().map(|tid| Tid(tid.parse().unwrap())).collect();
        }
        Program { child, tids }
    }

    fn pid(&self) -> Pid {
        Pid(self.child.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Observed {
    _sampler: Sampler,
    inspector: Inspector,
    changes: mpsc::Receiver<FindingChange>,
}

fn observe() -> Observed {
    let (send, changes) = mpsc::channel();
    let deliver = move |delivery| {
        if let Delivery::Finding(change) = delivery {
            let _ = send.send(change);
        }
    };
    let (sampler, inspector) = start(Settings::default(), || None, deliver).unwrap();
    Observed {
        _sampler: sampler,
        inspector,
        changes,
    }
}

impl Observed {
    /// The next change of a finding of this kind in this process. The watch is kept up meanwhile.
    fn next(&self, pid: Pid, kind: FindingKind) -> FindingChange {
        let deadline = Instant::now() + WAIT;
        loop {
            assert!(Instant::now() < deadline, "no {kind:?} in time");
            let _ = self.inspector.snapshot(pid);
            if let Ok(change) = self.changes.recv_timeout(Duration::from_millis(200))
                && change.finding.process.pid == pid
                && change.finding.kind == kind
            {
                return change;
            }
        }
    }
}

#[test]
fn two_threads_that_wait_for_each_other_are_one_deadlock_with_their_tids() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(&compiled(folder.path()), "circle", 2);
    let pid = program.pid();
    let observed = observe();
    let raised = observed.next(pid, FindingKind::Deadlock);
    assert_eq!(raised.state, FindingState::Raised);
    let mut expected = program.tids.clone();
    expected.sort_unstable();
    assert_eq!(raised.finding.culprits, expected);
    assert_eq!(raised.finding.severity, Severity::Critical);
    assert!(raised.finding.summary.contains("locks"), "{}", raised.finding.summary);
    // It stays one, however often it is looked at.
    let found = observed.inspector.findings(pid).unwrap();
    let deadlocks = found.iter().filter(|finding| finding.kind == FindingKind::Deadlock);
    assert_eq!(deadlocks.count(), 1);
    drop(program);
    assert_eq!(observed.next_gone(pid).state, FindingState::Cleared);
}

impl Observed {
    fn next_gone(&self, pid: Pid) -> FindingChange {
        let deadline = Instant::now() + WAIT;
        loop {
            assert!(Instant::now() < deadline, "nothing was cleared in time");
            if let Ok(change) = self.changes.recv_timeout(Duration::from_millis(200))
                && change.finding.process.pid == pid
                && change.state == FindingState::Cleared
            {
                return change;
            }
        }
    }
}

#[test]
fn a_circle_is_confirmed_in_order_and_one_with_time_outs_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compiled(folder.path());
    let observed = observe();
    let program = Program::start(&compiled, "circle", 5);
    let deadline = Instant::now() + WAIT;
    let report = loop {
        let report = observed
            .inspector
            .locks(program.pid(), &StackOptions::default())
            .unwrap();
        // The last of them may still have been on its way.
        if report.deadlocks.iter().any(|deadlock| deadlock.confirmed) {
            break report;
        }
        assert!(Instant::now() < deadline, "{report:?}");
    };
    let steps = &report.deadlocks[0].steps;
    assert_eq!((report.deadlocks.len(), steps.len()), (1, 5));
    for (n, step) in steps.iter().enumerate() {
        let next = steps[(n + 1) % steps.len()];
        assert_eq!(step.wants, next.holds);
        let at = program.tids.iter().position(|tid| *tid == step.tid).unwrap();
        assert_eq!(next.tid, program.tids[(at + 1) % 5]);
    }
    assert!(report.confirmed_after.is_some());

    let timed = Program::start(&compiled, "timed", 3);
    loop {
        let report = observed.inspector.locks(timed.pid(), &StackOptions::default()).unwrap();
        assert!(report.deadlocks.is_empty(), "{:?}", report.deadlocks);
        if report.waits.len() == 3 && report.chains.len() == 1 {
            assert_eq!(report.chains[0].root_doing, crate::model::RootDoing::InCycle);
            break;
        }
        assert!(Instant::now() < deadline, "{report:?}");
    }
}

#[test]
fn a_lock_of_a_thread_that_ended_and_one_from_before_a_fork_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = compiled(folder.path());
    let observed = observe();
    let abandoned = Program::start(&compiled, "abandoned", 1);
    assert_eq!(
        observed.next(abandoned.pid(), FindingKind::AbandonedLock).state,
        FindingState::Raised
    );
    let inherited = Program::start(&compiled, "inherited", 1);
    let child = Pid(inherited.tids[0].0);
    let change = observed.next(child, FindingKind::InheritedLock);
    assert_eq!(
        (change.state, &change.finding.culprits[..]),
        (FindingState::Raised, &[Tid(child.0)][..])
    );
    // The child is not ours to wait for: it ends with its alarm, or now.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(child.0 as i32).unwrap(),
        rustix::process::Signal::KILL,
    );
}

#[test]
fn threads_behind_one_that_sleeps_are_found_with_the_one_first() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(&compiled(folder.path()), "behind", 12);
    let observed = observe();
    let change = observed.next(program.pid(), FindingKind::BlockedBehind);
    let finding = &change.finding;
    assert_eq!(
        (finding.severity, finding.culprits[0]),
        (Severity::Warning, Tid(program.pid().0))
    );
    assert!(finding.summary.contains("sleeps"), "{}", finding.summary);
    assert!(
        finding.summary.starts_with("12 threads have waited"),
        "{}",
        finding.summary
    );
}

#[test]
fn a_healthy_program_that_fights_for_locks_has_no_finding_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::start(&compiled(folder.path()), "healthy", 24);
    let observed = observe();
    let pid = program.pid();
    let until = Instant::now() + Duration::from_secs(4);
    let mut waits = 0;
    while Instant::now() < until {
        let report = observed.inspector.locks(pid, &StackOptions::default()).unwrap();
        assert!(report.deadlocks.is_empty(), "{:?}", report.deadlocks);
        waits += report.waits.len();
    }
    assert!(waits > 0, "nobody ever waited");
    let found = observed.inspector.findings(pid).unwrap();
    let wrong = found.iter().filter(|finding| {
        matches!(
            finding.kind,
            FindingKind::Deadlock
                | FindingKind::AbandonedLock
                | FindingKind::InheritedLock
                | FindingKind::BlockedBehind
                | FindingKind::SamePlace
        )
    });
    assert_eq!(wrong.count(), 0, "{found:?}");
}
