//! Stacks of programs of known truth: by the truth they tell, and by what gdb and eu-stack see.

use std::thread;
use std::time::{Duration, Instant};

use crate::judges::{self, compare, eu_stack, gdb};
use crate::seen::{functions, list, stack, stacks};
use crate::truth::{Build, Program};

const LEVELS: [&str; 5] = ["level_five", "level_four", "level_three", "level_two", "level_one"];

/// `twelve` threads at six kinds of blocking calls, each five calls deep.
fn check_depth(build: Build) {
    let program = Program::start_built("deep.c", build, &["12"]);
    program.settled(14);
    let answer = stacks(program.pid());
    assert_eq!(answer["total"], 14);
    assert_eq!(answer["paused"], 0);
    assert_eq!(answer["truncated"], false);
    let mut deep = 0;
    for folded in list(&answer["stacks"]) {
        let names: Vec<&str> = list(&folded["frames"])
            .iter()
            .filter_map(|frame| frame["function"].as_str())
            .collect();
        let Some(at) = names.iter().position(|name| *name == LEVELS[0]) else {
            continue;
        };
        deep += folded["count"].as_u64().unwrap();
        assert_eq!(names[at..at + 5], LEVELS, "{build:?}");
        assert_eq!(names[at + 5], "body");
        assert_eq!(folded["end"]["complete"], true, "{folded:#}");
        assert_eq!(folded["source"], "syscall");
        assert_eq!(folded["moved"], false);
        assert!(folded["frames"][at]["file"].as_str().unwrap().ends_with("deep.c"));
    }
    assert_eq!(deep, 12, "{answer:#}");
    let ours = stacks(program.pid());
    compare(&ours, &gdb(program.pid()), |_| false).hold(&format!("deep.c, {build:?}, gdb"));
}

#[test]
fn five_calls_deep_are_five_frames_without_frame_pointers() {
    check_depth(Build::Optimised);
}

#[test]
fn five_calls_deep_are_five_frames_with_frame_pointers() {
    check_depth(Build::FramePointers);
}

#[test]
fn five_calls_deep_are_five_frames_without_optimisation() {
    check_depth(Build::Plain);
}

/// eu-stack leaves out nothing that we show and shows nothing that we do not.
#[test]
fn stacks_are_those_of_eu_stack() {
    let program = Program::start("deep.c", &["6"]);
    program.settled(8);
    compare(&stacks(program.pid()), &eu_stack(program.pid()), |_| false).hold("deep.c, eu-stack");
}

/// A stop makes the kernel restart a blocked call in another way; the stack is the same.
#[test]
fn a_debugger_that_has_left_leaves_no_trace_in_our_stacks() {
    let program = Program::start("deep.c", &["6"]);
    program.settled(8);
    let judged = gdb(program.pid());
    program.settled(8);
    compare(&stacks(program.pid()), &judged, |_| false).hold("deep.c after gdb");
}

#[test]
fn equal_stacks_are_told_once_with_all_their_threads() {
    let program = Program::start("deep.c", &["40", "same"]);
    program.settled(42);
    let answer = stacks(program.pid());
    assert_eq!(answer["stacks"][0]["count"], 40, "{:#}", answer["stacks"][0]);
    assert_eq!(list(&answer["stacks"][0]["tids"]).len(), 40);
    assert_eq!(answer["stacks"][0]["states"]["sleeping"], 40);
    assert_eq!(list(&answer["stacks"]).len(), 3);
}

#[test]
fn inlined_and_demangled_functions_of_cpp_are_named() {
    let program = Program::start("modern.cpp", &[]);
    let names = ["alice", "bob", "writer", "reader", "atomic", "future"];
    program.blocked(&names);
    let answer = stacks(program.pid());
    let alice = functions(&answer, program.tid("alice"));
    assert!(
        alice.iter().any(|name| name.contains("ledger::transfer<long>")),
        "{alice:?}"
    );
    let frames = list(&stack(&answer, program.tid("alice"))["frames"]);
    let inlined = |name: &str| {
        frames
            .iter()
            .any(|frame| frame["inlined"] == true && frame["function"].as_str().unwrap().contains(name))
    };
    assert!(inlined("lock_guard") || inlined("mutex::lock"), "{frames:#?}");
    compare(&answer, &gdb(program.pid()), |_| false).hold("modern.cpp, gdb");
}

/// A thread that never blocks is sampled: where it may be, its stack is that of the loop it is in.
#[test]
fn a_thread_that_runs_has_the_stack_of_its_loop_or_a_reason() {
    let program = Program::start_built("busy.c", Build::FramePointers, &["1"]);
    let tid = program.tid("busy");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = stacks(program.pid());
        let row = list(&answer["threads"]).iter().find(|row| row["tid"] == tid).unwrap();
        if row["stack"].is_null() {
            let code = row["unknown"]["code"].as_str().unwrap().to_owned();
            assert!(["sampling_denied", "running", "late"].contains(&&*code), "{row}");
            if code == "sampling_denied" {
                println!("threads that run cannot be sampled here: {}", row["unknown"]);
                return;
            }
        } else {
            assert_eq!(stack(&answer, tid)["source"], "sample");
            let names = functions(&answer, tid);
            assert!(names[0] == "spin_inside", "{names:?}");
            // Where the sample's registers are whole, so is the stack.
            assert!(names.iter().any(|name| name == "spin_middle"), "{names:?}");
            assert!(names.iter().any(|name| name == "spin_outside"), "{names:?}");
            return;
        }
        assert!(Instant::now() < deadline, "no sample of a busy thread: {row}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The promise itself: the largest pause that the program notices while it is dumped again and again is not
/// above what it notices by itself, and none of its blocked calls was broken off.
#[test]
fn a_dump_stops_nobody() {
    let mut program = Program::start("heartbeat.c", &["200"]);
    let pid = program.pid();
    let mut answers = 0;
    // On a machine that does other things too, gaps are large with and without us: what a stop can't hide is EINTR.
    for _ in 0..5 {
        let answer = stacks(pid);
        assert_eq!(answer["paused"], 0);
        answers += 1;
        program.ask();
        assert_eq!(program.number("broken", answers), 0, "a blocked call was broken off");
    }
    // The counter does see a stop: a debugger's is one.
    if judges::is_installed("gdb") {
        gdb(pid);
        program.ask();
        assert!(program.number("broken", answers + 1) > 0, "the counter is blind");
    }
}

#[test]
fn a_pause_on_request_stops_for_a_moment_and_lets_go() {
    let mut program = Program::start("heartbeat.c", &["8"]);
    let (answer, code) = crate::seen::ask("stacks", program.pid(), &["--pause"]);
    assert_eq!(code, 0);
    assert!(answer["paused"].as_u64().is_some());
    // It lives on: its heart beats.
    program.ask();
    let first = program.number("gap", 1);
    assert!(first > 0);
    let busy = Program::start("busy.c", &["1"]);
    let (answer, _) = crate::seen::ask("stacks", busy.pid(), &["--pause"]);
    let names = functions(&answer, busy.tid("busy"));
    assert!(names.iter().any(|name| name == "spin_outside"), "{names:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", busy.pid())).unwrap();
    assert!(status.contains("TracerPid:\t0"), "{status}");
}
