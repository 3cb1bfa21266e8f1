//! `threadscape memory PID|NAME`: what the threads of a process share, and what is each one's own.
//!
//! No daemon is needed. The table ends with the kernel's own totals, so that the sums can be held
//! against them. What could not be read is shown as `?`, and a note below says why. `--json` has
//! the shape of `GET /api/v1/processes/{pid}/memory`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::SystemTime;

use super::subject::{failure, plain, pretty, print, process_named, root_at};
use super::{Exit, Failure};
use crate::http::wire;
use crate::kernel::{ProcRoot, comm};
use crate::model::{Evidence, MemoryLimit, MemoryMap, RegionKind, Role, Sizes, StackUse, Unknown};
use crate::observe;

/// Shows what a process' threads share and what is each one's own, in memory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process: its id, its exact name, or `self`.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    process: String,
    /// Print JSON, with every mapping, in the shape of the REST API.
    #[arg(long)]
    json: bool,
    /// Read a captured tree instead of /proc.
    #[arg(long, value_name = "DIR")]
    procfs: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let root = root_at(args.procfs.as_deref())?;
    let pid = process_named(&root, &args.process)?;
    let map = observe::read_memory(&root, pid).map_err(failure)?;
    let name = own_name(&root, &map);
    let text = if args.json {
        pretty(&answer(&map, name, SystemTime::now()))?
    } else {
        table(&map, &name)
    };
    print(&text)?;
    Ok(Exit::Fine)
}

/// State and heap of the threads come from the scheduler and the ledger, which we do not ask.
fn answer(map: &MemoryMap, name: String, taken_at: SystemTime) -> wire::Memory<'_> {
    let process = wire::ProcessRef {
        pid: map.process.pid.0,
        start_time: map.process.start.seconds(),
        name,
        role: Role::Other.name(),
    };
    wire::Memory::of(map, process, taken_at, Err(Unknown::NotAsked), true)
}

/// The main thread bears the process' name. It may have ended before the others.
fn own_name(root: &ProcRoot, map: &MemoryMap) -> String {
    let pid = map.process.pid;
    match map.stacks.iter().find(|thread| thread.tid.0 == pid.0) {
        Some(thread) => thread.name.to_string(),
        None => std::fs::read(root.process(pid).join("comm"))
            .map(|name| String::from_utf8_lossy(comm::parse(&name)).into_owned())
            .unwrap_or_default(),
    }
}

/// Three digits and a unit: `7.91 MiB`, `132 KiB`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 999.5 would be printed as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = if value >= 99.95 || value.fract() == 0.0 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// Gathers the reasons of every `?` on the way.
#[derive(Default)]
struct Notes(BTreeMap<Unknown, String>);

impl Notes {
    fn show(&mut self, what: &str, value: Evidence<u64>) -> String {
        value.map_or_else(|unknown| self.gap(what, unknown), human)
    }

    fn gap(&mut self, what: &str, unknown: Unknown) -> String {
        let about = self.0.entry(unknown).or_default();
        if !about.split(", ").any(|known| known == what) {
            let comma = if about.is_empty() { "" } else { ", " };
            let _ = write!(about, "{comma}{what}");
        }
        "?".to_owned()
    }
}

/// The kinds of the shared part, as the API names them.
const SHARED: [(&str, &[RegionKind]); 6] = [
    ("heap", &[RegionKind::Heap]),
    ("code", &[RegionKind::Code]),
    ("globals", &[RegionKind::Globals]),
    ("mapped_files", &[RegionKind::MappedFile]),
    ("shared_memory", &[RegionKind::SharedMemory]),
    ("other", &[RegionKind::Kernel, RegionKind::Other]),
];

const PER_THREAD: [(&str, &[RegionKind]); 2] = [("stacks", &[RegionKind::Stack]), ("guards", &[RegionKind::Guard])];

fn row(label: &str, virtual_bytes: &str, resident: &str, proportional: &str, private: &str) -> String {
    format!("{label:<16}{virtual_bytes:>12}{resident:>12}{proportional:>14}{private:>12}\n")
}

fn table(map: &MemoryMap, name: &str) -> String {
    let mut notes = Notes::default();
    let mut text = String::new();
    let count = map.stacks.len();
    let _ = writeln!(
        text,
        "{} (pid {}): {count} thread{}, {} mappings\n",
        plain(name),
        map.process.pid,
        if count == 1 { "" } else { "s" },
        map.regions.len(),
    );
    let mut line = |label: &str, sizes: Sizes, resident: Evidence<()>| {
        let mut cell =
            |what: &str, known: Evidence<()>, of: fn(&Sizes) -> u64| notes.show(what, known.map(|()| of(&sizes)));
        row(
            label,
            &cell("virtual", Ok(()), |sizes| sizes.virtual_bytes),
            &cell("resident", resident, |sizes| sizes.resident_bytes),
            &cell("proportional", resident, |sizes| sizes.proportional_bytes),
            &cell("private", resident, |sizes| sizes.private_bytes),
        )
    };
    text += &row("shared", "VIRTUAL", "RESIDENT", "PROPORTIONAL", "PRIVATE");
    for (label, kinds) in SHARED {
        let label = format!("  {}", label.replace('_', " "));
        text += &line(&label, map.sum(kinds), map.resident_known);
    }
    text += "per thread\n";
    for (label, kinds) in PER_THREAD {
        text += &line(&format!("  {label}"), map.sum(kinds), map.resident_known);
    }
    text += &line("sum", map.total(), map.resident_known);
    // The kernel's own totals. Each of the two files has its own columns; `-` is no gap.
    let rollup = map.totals.rollup;
    text += &row(
        "smaps_rollup",
        "-",
        &notes.show("smaps_rollup", rollup.map(|sizes| sizes.resident_bytes)),
        &notes.show("smaps_rollup", rollup.map(|sizes| sizes.proportional_bytes)),
        &notes.show("smaps_rollup", rollup.map(|sizes| sizes.private_bytes)),
    );
    let totals = &map.totals;
    let statm = [totals.statm_virtual_bytes, totals.statm_resident_bytes].map(human);
    text += &row("statm", &statm[0], &statm[1], "-", "-");
    let bounds = &map.bounds;
    text += &row(
        "peak so far",
        "-",
        &notes.show("peak", bounds.peak_resident_bytes),
        "-",
        "-",
    );
    let mut limit = |what: &str, limit: Evidence<MemoryLimit>| match limit {
        Ok(MemoryLimit::Bytes(bytes)) => human(bytes),
        Ok(MemoryLimit::Unlimited) => "unlimited".to_owned(),
        Err(unknown) => notes.gap(what, unknown),
    };
    let whole = limit("limit", bounds.address_space_limit);
    let _ = writeln!(
        text,
        "{:<16}{whole:>12}   of brk and private memory: {}",
        "limit",
        limit("data limit", bounds.data_limit)
    );

    let _ = writeln!(
        text,
        "\n{:>8}  {:<16}{:>12}{:>12}{:>12}{:>10}  STACK FOUND BY",
        "TID", "NAME", "RESERVED", "RESIDENT", "USED", "GUARD"
    );
    for thread in &map.stacks {
        let stack = thread.stack;
        let of = |field: fn(&StackUse) -> Evidence<u64>| stack.and_then(|stack| field(&stack));
        let cells = [
            notes.show("reserved", of(|stack| Ok(stack.reserved_bytes))),
            notes.show("stack resident", of(|stack| stack.resident_bytes)),
            notes.show("used", of(|stack| stack.used_bytes)),
        ];
        let guard = match stack {
            Ok(stack) => stack.guard_bytes.map_or_else(|| "-".to_owned(), human),
            Err(unknown) => notes.gap("guard", unknown),
        };
        let [reserved, resident, used] = cells;
        let found = thread.found_by.map_or("-", in_words);
        let _ = writeln!(
            text,
            "{:>8}  {:<16}{reserved:>12}{resident:>12}{used:>12}{guard:>10}  {found}",
            thread.tid.0,
            plain(&thread.name),
        );
    }
    if !notes.0.is_empty() {
        text += "\n";
    }
    for (unknown, about) in notes.0 {
        let _ = write!(text, "? {about}: {}", unknown.why());
        if let Some(need) = unknown.need() {
            let _ = write!(text, "; {}", need.fix);
        }
        text += "\n";
    }
    text
}

/// How a stack was found, in words that need no manual.
fn in_words(found_by: &'static str) -> &'static str {
    match found_by {
        // The kernel's name for the mapping, or the threads library's control block in it.
        "exact" => "exact",
        "stack_pointer" => "stack pointer",
        "guess" => "shape (a guess)",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pid;
    use serde_json::Value;

    fn capture(name: &str) -> ProcRoot {
        ProcRoot::captured(format!("{}/tests/proc/{name}", env!("CARGO_MANIFEST_DIR")))
    }

    fn json_of(map: &MemoryMap) -> Value {
        serde_json::to_value(answer(map, "house".to_owned(), SystemTime::UNIX_EPOCH)).unwrap()
    }

    #[test]
    fn a_size_has_three_digits_and_a_unit() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (132 << 10, "132 KiB"),
            (1500, "1.46 KiB"),
            (8 << 20, "8 MiB"),
            (10_485_000, "10.0 MiB"),
            (999 << 10, "999 KiB"),
            (1000 << 10, "0.98 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn the_table_shows_the_sums_beside_the_kernels_own() {
        let map = observe::read_memory(&capture("memory-threads"), Pid(18903)).unwrap();
        let text = table(&map, "house");
        let cells = |label: &str| -> Vec<String> {
            let line = text
                .lines()
                .find(|line| line.starts_with(label))
                .unwrap_or_else(|| panic!("{text}"));
            line[16..]
                .split("  ")
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect()
        };
        assert_eq!(cells("sum")[0], cells("statm")[0]);
        assert_eq!(cells("sum")[1], cells("smaps_rollup")[1], "{text}");
        assert_eq!(cells("sum")[3], cells("smaps_rollup")[3]);
        assert_eq!(cells("smaps_rollup")[0], "-");
        assert!(text.contains("blocked) (1"), "{text}");
        assert!(text.contains("stack pointer"), "{text}");
        assert!(text.contains("? ") && text.contains(Unknown::Running.why()), "{text}");
    }

    #[test]
    fn what_is_unknown_is_null_and_says_why() {
        let map = observe::read_memory(&capture("memory-kernel-thread"), Pid(2)).unwrap();
        let answer = json_of(&map);
        assert_eq!(answer["shared"]["heap"]["resident_bytes"], Value::Null);
        assert_eq!(answer["unknown"]["sizes.resident_bytes"]["code"], "kernel_thread");
        assert_eq!(answer["threads"][0]["unknown"]["stack"], "kernel_thread");
        assert_eq!(answer["taken_at"], "1970-01-01T00:00:00.000Z");
        let text = table(&map, "kthreadd");
        assert!(!text.contains("resident      0 B"), "{text}");
        assert!(text.contains(Unknown::KernelThread.why()));
    }

    #[test]
    fn the_json_has_the_fields_of_the_api() {
        let map = observe::read_memory(&capture("memory-threads"), Pid(18903)).unwrap();
        let answer = json_of(&map);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        // In the order of the alphabet, as serde_json keeps them.
        assert_eq!(
            keys(&answer),
            [
                "bounds",
                "kernel",
                "per_thread",
                "process",
                "regions",
                "shared",
                "taken_at",
                "threads",
                "total",
                "unknown"
            ]
        );
        assert_eq!(
            keys(&answer["shared"]),
            ["code", "globals", "heap", "mapped_files", "other", "shared_memory"]
        );
        assert_eq!(keys(&answer["per_thread"]), ["guards", "stacks"]);
        let parts = |field: &str| -> u64 {
            let of = |part: &str| -> u64 {
                answer[part]
                    .as_object()
                    .unwrap()
                    .values()
                    .map(|sizes| sizes[field].as_u64().unwrap())
                    .sum()
            };
            of("shared") + of("per_thread")
        };
        assert_eq!(parts("virtual_bytes"), answer["kernel"]["statm_virtual_bytes"]);
        assert_eq!(parts("resident_bytes"), answer["kernel"]["rollup"]["resident_bytes"]);
        assert_eq!(parts("private_bytes"), answer["kernel"]["rollup"]["private_bytes"]);
        let stack = &answer["threads"][1]["stack"];
        assert_eq!(stack["reserved_bytes"], 256 << 10);
        assert!(stack["start"].as_str().unwrap().starts_with("0x7f"));
    }
}
