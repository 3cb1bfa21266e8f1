//! The parsers of bytes that somebody else wrote, each behind the same small door: bytes in, no answer.
//!
//! A target's only promises are that it returns, soon, and that what it asserts holds. `fuzz/` drives them
//! with libFuzzer, one at a time; the test below plays all seeds that are kept in `fuzz/seeds/TARGET/`. The
//! doors of private parsers are in their rooms (`ledger/fuzzing.rs`, `observe/stacks/fuzzing.rs`…).

use crate::kernel::{
    ProcRoot, cgroup, comm, elf, loadavg, locks, maps, meminfo, mountinfo, open_file, perf_event, robust_list,
    schedstat, smaps, sockets, stat, statm, status, syscall, wchan,
};
use crate::model::Unknown;
use crate::{http, ledger, observe, scenario};

/// A parser under a name, which is also that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: &[Target] = &[
    ("stat", stat),
    ("status", status),
    ("maps", maps),
    ("smaps", smaps),
    ("small", small),
    ("mountinfo", mountinfo),
    ("elf_tail", elf_tail),
    ("ledger", ledger::fuzzing::segment),
    ("scenario", scenario),
    ("ask", http::fuzzing::ask),
    ("perf_ring", perf_ring),
    ("robust_list", robust_list),
    ("descriptors", descriptors),
    observe::fuzzing::TARGETS[0],
    observe::fuzzing::TARGETS[1],
    observe::fuzzing::TARGETS[2],
    observe::fuzzing::TARGETS[3],
    observe::fuzzing::TARGETS[4],
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}

fn stat(bytes: &[u8]) {
    let _ = stat::parse(bytes);
}

fn status(bytes: &[u8]) {
    let _ = status::parse(bytes);
}

fn maps(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = maps::parse_line(line);
    }
}

fn smaps(bytes: &[u8]) {
    let root = ProcRoot::captured("/nonexistent");
    let _ = smaps::parse(&root, bytes, |_, _| {});
}

/// Files of one line, each too simple for a target of its own; the first byte chooses.
fn small(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes);
    match (choice % 7, text) {
        (0, Ok(text)) => drop(syscall::parse(text)),
        (1, _) => drop(wchan::parse(bytes)),
        (2, _) => drop(comm::parse(bytes)),
        (3, _) => drop(schedstat::parse(bytes)),
        (4, _) => drop(statm::parse(bytes)),
        (5, Ok(text)) => drop(loadavg::parse(text)),
        (6, Ok(text)) => drop(meminfo::parse(text)),
        _ => {}
    }
}

fn mountinfo(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = mountinfo::parse(text, "/proc");
    }
}

fn elf_tail(bytes: &[u8]) {
    let _ = elf::parse_tail(bytes, 4096);
}

fn perf_ring(bytes: &[u8]) {
    let _ = perf_event::first_sample(bytes);
}

/// A list in a memory that is all ours: it must end, whatever it links.
fn robust_list(bytes: &[u8]) {
    const START: u64 = 0x1000;
    let read = |address: u64, into: &mut [u8]| {
        let from = address.checked_sub(START).and_then(|at| usize::try_from(at).ok());
        let there = from.and_then(|from| bytes.get(from..)?.get(..into.len()));
        into.copy_from_slice(there.ok_or(Unknown::Gone)?);
        Ok(())
    };
    let _ = robust_list::follow(START, read);
}

/// What the kernel says of open files, sockets, control groups and file locks; the first byte chooses.
fn descriptors(bytes: &[u8]) {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes);
    match (choice % 6, text) {
        (0, _) => {
            let _ = open_file::parse_link(bytes);
        }
        (1, _) => drop(open_file::parse_info(bytes)),
        (2, _) => {
            let mut found = sockets::Sockets::default();
            for table in ["tcp", "tcp6", "udp", "udp6", "unix", "netlink"] {
                sockets::parse(table, bytes, &mut found);
            }
        }
        (3, _) => drop(cgroup::parse(bytes)),
        (4, Ok(text)) => drop(cgroup::parse_mounts(text)),
        (5, Ok(text)) => {
            for line in text.lines() {
                let _ = locks::parse_line(line);
            }
        }
        _ => {}
    }
}

/// A plan that was understood must survive what is done to plans; problems must lie within the text.
fn scenario(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(plan) = scenario::Plan::parse(text) {
        let _ = plan.threads();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// Whoever finds a new crash keeps its input as a seed: it is played here from then on.
    #[test]
    fn all_seeds_are_survived() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for (name, run) in TARGETS {
            let mut played = 0;
            let folder = seeds.join(name);
            let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for seed in listed.flatten() {
                let bytes = fs::read(seed.path()).unwrap();
                assert!(bytes.len() < 256 << 10, "{} is not small", seed.path().display());
                // Whole, cut at every length, and with every byte turned: cheap, and it finds the plain mistakes.
                run(&bytes);
                for cut in (0..bytes.len()).step_by(1 + bytes.len() / 64) {
                    run(&bytes[..cut]);
                    let mut turned = bytes.clone();
                    turned[cut] ^= 0xff;
                    run(&turned);
                }
                played += 1;
            }
            assert!(played > 0, "{name} has no seeds");
        }
    }
}
