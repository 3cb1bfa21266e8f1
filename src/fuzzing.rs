//! The parsers of bytes that somebody else wrote, each behind the same small door: bytes in, no answer.
//!
//! A target's only promises are that it returns, soon, and that what it asserts holds. `fuzz/` drives them
//! with libFuzzer, one at a time; the test below plays all seeds that are kept in `fuzz/seeds/TARGET/`. The
//! doors of private parsers are in their rooms (`ledger/fuzzing.rs`, `observe/stacks/fuzzing.rs`…).

use std::path::Path;

use crate::kernel::{
    ProcRoot, comm, elf, loadavg, maps, meminfo, mountinfo, schedstat, smaps, stat, statm, status, syscall, wchan,
};
use crate::{http, ledger, scenario};

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
