//! libFuzzer on one of the targets that `src/fuzzing.rs` lists: the one that `THREADSCAPE_FUZZ_TARGET` names.
//!
//! One program for all, since linking one for each would take longer than a short run of it. It is built by
//! stable Rust: `instrument` asks the compiler for the coverage counters that libFuzzer reads. A run is
//! started by `run`, a single input is played by giving its file as the argument.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("THREADSCAPE_FUZZ_TARGET").unwrap_or_default();
        let Some(run) = threadscape::fuzzing::target(&name) else {
            for (name, _) in threadscape::fuzzing::TARGETS {
                println!("{name}");
            }
            std::process::exit(if name.is_empty() { 0 } else { 2 });
        };
        let _ = TARGET.set(run);
    },
    |bytes: &[u8]| {
        if let Some(run) = TARGET.get() {
            run(bytes);
        }
    }
);
