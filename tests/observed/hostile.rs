//! Processes that are hard to look at, and some that mean harm: each has an answer or a reason, soon.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{lives, until};
use crate::seen::{ask, functions, list, locks, stack, stacks};
use crate::truth::{Build, Program, built, settled};

/// Far above what anything here takes: a hang, not a slow machine.
const HANG: Duration = Duration::from_secs(20);

/// Asks for stacks, whatever the answer is. The exit code, and that it came.
fn outcome(pid: u32, more: &[&str]) -> i32 {
    let asked = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["stacks", &pid.to_string(), "--json"])
        .args(more)
        .output()
        .unwrap();
    assert!(asked.elapsed() < HANG, "it took {:?}", asked.elapsed());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("panicked"), "{errors}");
    let code = output.status.code().expect("no signal ended it");
    if code == 0 {
        let _: Value = serde_json::from_slice(&output.stdout).unwrap();
    }
    code
}

#[test]
fn a_process_whose_main_thread_has_ended_shows_the_others() {
    let program = Program::start("awkward.c", &["leader_gone"]);
    program.blocked(&["waits"]);
    until("the main thread is a zombie", || {
        fs::read_to_string(format!("/proc/{0}/task/{0}/stat", program.pid()))
            .ok()?
            .contains(") Z ")
            .then_some(())
    });
    let answer = stacks(program.pid());
    let names = functions(&answer, program.tid("waits"));
    assert!(names.iter().any(|name| name == "wait_here"), "{names:?}");
    let leader = list(&answer["threads"])
        .iter()
        .find(|row| row["tid"] == program.pid())
        .unwrap();
    assert_eq!(leader["state"], "zombie");
    assert!(
        leader["stack"].is_null() && leader["unknown"]["code"].is_string(),
        "{leader}"
    );
}

#[test]
fn a_process_under_another_tracer_is_left_to_it() {
    let program = Program::start("awkward.c", &["traced"]);
    let child = program.number("child", 1) as u32;
    let letter = || {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap()[..1].to_owned()
    };
    assert_eq!(letter(), "t");
    for more in [&[][..], &["--pause"]] {
        let (answer, code) = ask("stacks", child, more);
        assert_eq!(code, 0);
        assert_eq!(answer["threads"][0]["state"], "traced");
        assert_eq!(answer["paused"], 0);
        let told = !answer["threads"][0]["stack"].is_null() || answer["threads"][0]["unknown"]["why"].is_string();
        assert!(told, "{answer}");
        assert_eq!(letter(), "t");
    }
}

#[test]
fn a_stopped_process_stays_stopped_and_shows_its_stacks_or_why_not() {
    let program = Program::start("deep.c", &["3"]);
    program.settled(5);
    let pid = Pid::from_raw(program.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let stopped = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", program.pid())).unwrap();
        stat.contains(") T ").then_some(())
    };
    until("it is stopped", stopped);
    for more in [&[][..], &["--pause"]] {
        let (answer, _) = ask("stacks", program.pid(), more);
        for row in list(&answer["threads"]) {
            assert!(!row["stack"].is_null() || row["unknown"]["why"].is_string(), "{row}");
        }
        assert_eq!(answer["paused"], 0);
        assert!(stopped().is_some(), "it runs again");
    }
    kill_process(pid, Signal::CONT).unwrap();
    program.settled(5);
    let answer = stacks(program.pid());
    assert!(
        list(&answer["stacks"])
            .iter()
            .all(|stack| stack["end"]["complete"] == true)
    );
}

#[test]
fn names_of_hostile_bytes_go_through_every_sink() {
    let program = Program::start("awkward.c", &["hostile_name"]);
    program.settled(2);
    let answer = stacks(program.pid());
    let names: Vec<&str> = list(&answer["threads"])
        .iter()
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.iter().any(|name| name.contains("<b>")), "{names:?}");
    for command in ["stacks", "locks"] {
        let output = Command::new(env!("CARGO_BIN_EXE_threadscape"))
            .args([command, &program.pid().to_string()])
            .output()
            .unwrap();
        assert!(!output.stdout.contains(&0x1b), "an escape reached the terminal");
    }
}

#[test]
fn unwind_information_that_leads_in_a_circle_ends_the_walk() {
    let program = Program::start("awkward.c", &["looping"]);
    program.blocked(&["circles"]);
    let answer = stacks(program.pid());
    let stack = stack(&answer, program.tid("circles"));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(stack["end"]["complete"], false, "{stack:#}");
        assert!(
            list(&stack["frames"]).len() < 64,
            "{} frames",
            list(&stack["frames"]).len()
        );
    }
    assert!(outcome(program.pid(), &[]) == 0);
}

#[test]
fn sixty_thousand_mappings_are_no_hang() {
    let program = Program::start("awkward.c", &["mappings"]);
    program.blocked(&["waits"]);
    let asked = Instant::now();
    let answer = stacks(program.pid());
    assert!(asked.elapsed() < HANG);
    let names = functions(&answer, program.tid("waits"));
    assert!(names.iter().any(|name| name == "wait_here"), "{names:?}");
    locks(program.pid());
}

#[test]
fn a_program_that_was_deleted_still_has_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("deleted");
    fs::copy(built("deep.c", Build::Optimised), &copy).unwrap();
    let program = Program::run(Command::new(&copy).args(["2"]));
    fs::remove_file(&copy).unwrap();
    program.settled(4);
    check_names(program.pid(), true);
}

/// Another program lies where it was started from: no name of that one may be told.
#[test]
fn a_program_that_was_replaced_is_not_named_by_its_successor() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("replaced");
    fs::copy(built("deep.c", Build::Optimised), &copy).unwrap();
    let program = Program::run(Command::new(&copy).args(["2"]));
    let successor = folder.path().join("successor");
    fs::copy(built("healthy.c", Build::Optimised), &successor).unwrap();
    fs::rename(&successor, &copy).unwrap();
    program.settled(4);
    check_names(program.pid(), true);
    // One that is no program at all.
    fs::write(&successor, b"\x7fELF\x02\x01\x01 and then nothing that makes sense").unwrap();
    fs::rename(&successor, &copy).unwrap();
    check_names(program.pid(), true);
}

/// Each deep stack has its five levels (`whole`), and no name that deep.c does not have.
fn check_names(pid: u32, whole: bool) {
    let answer = stacks(pid);
    let mut levels = 0;
    for folded in list(&answer["stacks"]) {
        for frame in list(&folded["frames"]) {
            let name = frame["function"].as_str().unwrap_or_default();
            levels += u32::from(name.starts_with("level_"));
            assert!(
                !["transfers", "reads_and_writes", "puts_in", "takes_out", "short_life"].contains(&name),
                "{folded:#}"
            );
        }
    }
    if whole {
        assert_eq!(levels, 10, "{answer:#}");
    }
}

#[test]
fn a_program_that_starts_itself_again_and_again_is_never_a_mixture() {
    let program = Program::start("awkward.c", &["execs"]);
    let began = Instant::now();
    let mut answers = 0;
    while began.elapsed() < Duration::from_secs(2) {
        answers += i32::from(outcome(program.pid(), &[]) == 0);
    }
    println!("{answers} answers while it started itself again");
    assert!(lives(program.pid()));
}

#[test]
fn a_process_that_is_killed_while_it_is_read_is_gone() {
    for wait in [0, 1, 2, 4, 8, 16, 32] {
        let program = Program::start("deep.c", &["300"]);
        let pid = program.pid();
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(wait));
            drop(program);
        });
        let code = outcome(pid, &[]);
        assert!([0, 1, 2].contains(&code), "exit {code}");
        killer.join().unwrap();
    }
    // Nobody of this number: an error that says so.
    assert_ne!(outcome(i32::MAX as u32, &[]), 0);
}

/// A map of code made at run time that is a link or a FIFO is refused: it could be anyone's trap.
#[test]
fn planted_perf_maps_are_neither_followed_nor_waited_for() {
    for kind in ["fifo", "link", "garbage", "foreign"] {
        let program = Program::start("deep.c", &["2"]);
        program.settled(4);
        let map = std::env::temp_dir().join(format!("perf-{}.map", program.pid()));
        match kind {
            "fifo" => {
                let made = Command::new("mkfifo").arg(&map).status().unwrap();
                assert!(made.success() && fs::metadata(&map).unwrap().file_type().is_fifo());
            }
            "link" => symlink("/dev/zero", &map).unwrap(),
            "garbage" => fs::write(&map, [0xff; 4096]).unwrap(),
            _ => fs::write(&map, "0 ffffffffffffffff planted_by_a_stranger\n").unwrap(),
        }
        let code = outcome(program.pid(), &[]);
        let answer = stacks(program.pid());
        fs::remove_file(&map).unwrap();
        assert_eq!(code, 0, "{kind}");
        let planted = list(&answer["stacks"])
            .iter()
            .flat_map(|stack| list(&stack["frames"]))
            .any(|frame| frame["function"] == "planted_by_a_stranger" && !frame["module"].is_null());
        assert!(!planted, "{kind}: code of a file was named by a perf map");
        check_names(program.pid(), true);
    }
}

#[test]
fn a_stranger_who_asks_for_somebody_elses_process_is_told_why_not() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can become a stranger");
        return;
    }
    let program = Program::start("deep.c", &["2"]);
    settled(program.pid(), 4);
    // The binary may lie where strangers can't look: run a copy.
    let folder = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = folder.path().join("threadscape");
    fs::copy(env!("CARGO_BIN_EXE_threadscape"), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(&copy)
        .args(["stacks", &program.pid().to_string()])
        .output();
    let Ok(output) = output else {
        println!("skipped: no setpriv");
        return;
    };
    assert_eq!(
        output.status.code(),
        Some(5),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("CAP_SYS_PTRACE") || errors.contains("owner"),
        "{errors}"
    );
}
