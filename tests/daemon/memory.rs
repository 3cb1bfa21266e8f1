//! The memory picture against `smaps` and `smaps_rollup` of a process that sleeps.

use std::fs;

use crate::harness::{Daemon, Sleeper};

/// The sum of one kind of line, in bytes.
fn sum(text: &str, name: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"))
        .map(|kib| kib.parse::<u64>().unwrap() * 1024)
        .sum()
}

#[test]
fn the_sums_are_the_kernels() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(10);
    let pid = sleeper.pid();
    // Which pages are private changes as others map the same files, this program among them: the
    // answer is held against a reading that was the same before and after it.
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let mut tries = 0;
    let (answer, smaps, rollup) = loop {
        let before = (read("smaps"), read("smaps_rollup"));
        let answer = daemon.get(&format!("/api/v1/processes/{pid}/memory?regions=true"));
        let after = (read("smaps"), read("smaps_rollup"));
        tries += 1;
        if before == after || tries == 50 {
            break (answer, after.0, after.1);
        }
    };

    // vsyscall is a page of the kernel's that smaps lists and statm does not count.
    let vsyscall = if smaps.contains("[vsyscall]") { 4096 } else { 0 };
    let total = &answer["total"];
    assert_eq!(total["virtual_bytes"], sum(&smaps, "Size:") - vsyscall);
    assert_eq!(total["virtual_bytes"], answer["kernel"]["statm_virtual_bytes"]);
    assert_eq!(total["resident_bytes"], sum(&rollup, "Rss:"));
    assert_eq!(total["resident_bytes"], answer["kernel"]["rollup"]["resident_bytes"]);
    let private = sum(&rollup, "Private_Clean:") + sum(&rollup, "Private_Dirty:");
    assert_eq!(total["private_bytes"], private);
    // Pss is rounded to KiB for each mapping, and once in the sum.
    let off = total["proportional_bytes"]
        .as_u64()
        .unwrap()
        .abs_diff(sum(&rollup, "Pss:"));
    assert!(
        off <= 1024 * smaps.lines().filter(|line| line.starts_with("Size:")).count() as u64,
        "{off}"
    );

    let mut parts = 0;
    for group in ["shared", "per_thread"] {
        for part in answer[group].as_object().unwrap().values() {
            parts += part["resident_bytes"].as_u64().unwrap();
        }
    }
    assert_eq!(total["resident_bytes"], parts);
    let listed = answer["regions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|region| region["name"] != "[vsyscall]")
        .count();
    let mapped = smaps.lines().filter(|line| line.starts_with("Size:")).count();
    assert_eq!(listed, mapped - usize::from(vsyscall > 0));
}

#[test]
fn each_sleeping_thread_has_its_own_stack() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(10);
    let answer = daemon.get(&format!("/api/v1/processes/{}/memory", sleeper.pid()));
    let mut starts = Vec::new();
    for row in answer["threads"].as_array().unwrap() {
        if !row["name"].as_str().unwrap().starts_with("sleeper (") {
            continue;
        }
        let stack = &row["stack"];
        let number = |field: &str| stack[field].as_u64().unwrap_or_else(|| panic!("{field}: {row}"));
        assert!(number("reserved_bytes") >= 256 << 10, "{row}");
        assert!(
            number("used_bytes") > 0 && number("used_bytes") <= number("resident_bytes"),
            "{row}"
        );
        assert!(number("guard_bytes") >= 4096, "{row}");
        starts.push(stack["start"].as_str().unwrap().to_owned());
    }
    assert_eq!(starts.len(), 10);
    starts.sort();
    starts.dedup();
    assert_eq!(starts.len(), 10, "two threads share a stack");
}
