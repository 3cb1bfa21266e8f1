//! gdb and eu-stack as judges: the same thread's frames by another unwinder, which stops the process and so knows
//! every register.
//!
//! Held against each other are addresses: names have aliases. A stack is equal when both list the same
//! physical frames. It is wrong when a frame that we call certain (`context`, `unwound`, `frame_pointer`) is not in
//! the judge's chain in this order: that must never be, whatever share is equal.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::seen::{self, list};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub address: u64,
    pub name: String,
}

pub type Stacks = BTreeMap<u32, Vec<Frame>>;

pub fn is_installed(judge: &str) -> bool {
    Command::new(judge)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Every thread's frames as gdb sees them. The process is stopped while gdb looks.
pub fn gdb(pid: u32) -> Stacks {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed/frames.py");
    let output = Command::new("gdb")
        .args(["-nx", "-batch", "-iex", "set auto-load off"])
        .args([
            "-iex",
            "set debuginfod enabled off",
            "-iex",
            "set print thread-events off",
        ])
        .args(["-p", &pid.to_string(), "-x"])
        .arg(script)
        .output()
        .unwrap_or_else(|error| panic!("gdb: {error}; install it (`make need-observed`)"));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut stacks = Stacks::new();
    let mut latest = None;
    for line in text.lines() {
        if let Some(tid) = line.strip_prefix("thread ").and_then(|tid| tid.parse().ok()) {
            latest = Some(stacks.entry(tid).or_default());
        } else if let Some((frames, frame)) = latest.as_mut().zip(line.strip_prefix("frame ")) {
            let mut words = frame.splitn(3, ' ');
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            if kind == "physical" {
                frames.push(Frame {
                    address: number(address),
                    name: name.to_owned(),
                });
            }
        }
    }
    assert!(
        !stacks.is_empty(),
        "gdb said nothing of {pid}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    stacks
}

/// Every thread's frames as eu-stack sees them.
pub fn eu_stack(pid: u32) -> Stacks {
    let output = Command::new("eu-stack")
        .args(["-p", &pid.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("eu-stack: {error}; install elfutils (`make need-observed`)"));
    let mut stacks = Stacks::new();
    let mut latest = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(tid) = line.strip_prefix("TID ") {
            latest = tid
                .trim_end_matches(':')
                .parse()
                .ok()
                .map(|tid| stacks.entry(tid).or_default());
        } else if let (Some(frames), Some(frame)) = (latest.as_mut(), line.trim_start().strip_prefix('#')) {
            let mut words = frame.split_whitespace().skip(1);
            let Some(address) = words.next() else { continue };
            frames.push(Frame {
                address: number(address),
                name: words.next().unwrap_or("?").to_owned(),
            });
        }
    }
    stacks
}

/// Our own physical frames of a thread, each with its trust.
pub fn ours(stacks: &Value, tid: u32) -> Vec<(Frame, String)> {
    list(&seen::stack(stacks, tid)["frames"])
        .iter()
        .filter(|frame| frame["inlined"] == false)
        .map(|frame| {
            let told = Frame {
                address: number(frame["address"].as_str().unwrap()),
                name: frame["function"].as_str().unwrap_or("?").to_owned(),
            };
            (told, frame["trust"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[derive(Debug, Default)]
pub struct Verdict {
    pub threads: usize,
    pub equal: usize,
    /// What differs, in words.
    pub differing: Vec<String>,
    /// Frames that were called certain and are not in the judge's chain.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// Prints it, and holds it against what is promised.
    pub fn hold(&self, what: &str) {
        println!("{what}: {} of {} stacks equal", self.equal, self.threads);
        for difference in &self.differing {
            println!("{difference}");
        }
        assert!(
            self.wrong.is_empty(),
            "{what}: frames that were called certain are wrong:\n{}",
            self.wrong.join("\n")
        );
        assert!(self.threads > 0, "{what}: nothing was compared");
        assert!(
            self.equal * 100 >= self.threads * 95,
            "{what}: only {} of {} stacks are equal:\n{}",
            self.equal,
            self.threads,
            self.differing.join("\n")
        );
    }

    pub fn add(&mut self, other: Verdict) {
        self.threads += other.threads;
        self.equal += other.equal;
        self.differing.extend(other.differing);
        self.wrong.extend(other.wrong);
    }
}

/// Ours against a judge's, thread by thread. `ends` cuts a judge's stack at the first frame where the judge itself is
/// at a loss (code made at run time, say): what comes after is held against nothing.
pub fn compare(stacks: &Value, judge: &Stacks, ends: impl Fn(&Frame) -> bool) -> Verdict {
    let mut verdict = Verdict::default();
    for row in list(&stacks["threads"]) {
        let tid = row["tid"].as_u64().unwrap() as u32;
        let Some(theirs) = judge.get(&tid) else { continue };
        verdict.threads += 1;
        if row["stack"].is_null() {
            verdict
                .differing
                .push(format!("thread {tid}: no stack: {}", row["unknown"]));
            continue;
        }
        let ours = ours(stacks, tid);
        let known = theirs.iter().position(&ends).unwrap_or(theirs.len());
        let cut = known < theirs.len();
        let theirs = &theirs[..known];
        let compared = if cut { ours.len().min(known) } else { ours.len() };
        if ours[..compared]
            .iter()
            .map(|(frame, _)| frame.address)
            .eq(theirs.iter().map(|frame| frame.address))
        {
            verdict.equal += 1;
        } else {
            verdict
                .differing
                .push(side_by_side(tid, &ours, theirs, seen::stack(stacks, tid)));
        }
        // Certain frames must be found in the judge's, each after the one before.
        let mut rest = theirs.iter();
        for (frame, trust) in &ours[..compared] {
            let certain = ["context", "unwound", "frame_pointer"].contains(&trust.as_str());
            if certain && !rest.any(|theirs| theirs.address == frame.address) {
                verdict.wrong.push(format!(
                    "thread {tid}: {:#x} {} is called {trust}\n{}",
                    frame.address,
                    frame.name,
                    side_by_side(tid, &ours, theirs, seen::stack(stacks, tid))
                ));
                break;
            }
        }
    }
    verdict
}

fn side_by_side(tid: u32, ours: &[(Frame, String)], theirs: &[Frame], stack: &Value) -> String {
    let mut text = format!(
        "thread {tid}: ours ends {}, moved {}\n",
        stack["end"]["code"], stack["moved"]
    );
    for at in 0..ours.len().max(theirs.len()) {
        let told = |frame: &Frame| format!("{:#x} {:.40}", frame.address, frame.name);
        let our = ours
            .get(at)
            .map_or(String::new(), |(frame, trust)| format!("{} ({trust})", told(frame)));
        let _ = writeln!(text, "  {our:<78}  {}", theirs.get(at).map(told).unwrap_or_default());
    }
    text
}

pub fn number(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|error| panic!("{text}: {error}"))
}
