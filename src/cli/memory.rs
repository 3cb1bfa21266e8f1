//! `threadscape memory PID|NAME`: what the threads of a process share, and what is each one's own.
//!
//! No daemon is needed. The table ends with the kernel's own totals, so that the sums can be held
//! against them. What could not be read is shown as `?`, and a note below says why. `--json` has
//! the shape of `GET /api/v1/processes/{pid}/memory`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{Exit, Failure};
use crate::kernel::ProcRoot;
use crate::model::{Evidence, MemoryMap, Pid, Reason, Region, RegionKind, Sizes, StackUse, Tid, Unknown};
use crate::observe::{self, InspectError};

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
        let answer = answer(&map, &name, SystemTime::now());
        serde_json::to_string_pretty(&answer).map_err(Failure::other)? + "\n"
    } else {
        table(&map, &name)
    };
    print(&text)?;
    Ok(Exit::Fine)
}

/// A reader that goes away (`| head`) is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::other(format!("could not write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

/// The `/proc` of this machine, or a captured tree.
pub(super) fn root_at(folder: Option<&Path>) -> Result<ProcRoot, Failure> {
    let Some(folder) = folder else {
        return Ok(ProcRoot::live());
    };
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "--procfs {}: there is no such folder",
            folder.display()
        )));
    }
    if folder.canonicalize().is_ok_and(|folder| folder == Path::new("/proc")) {
        return Ok(ProcRoot::live());
    }
    Ok(ProcRoot::captured(folder))
}

/// Which process a user means: a pid that exists, `self`, or the one that has this name.
pub(super) fn process_named(root: &ProcRoot, wanted: &str) -> Result<Pid, Failure> {
    if wanted == "self" && !root.is_captured() {
        return Ok(Pid(std::process::id()));
    }
    let digits = wanted.strip_prefix(['-', '+']).unwrap_or(wanted);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match wanted.parse::<i32>() {
            Ok(pid @ 1..) => {
                let pid = Pid(pid.unsigned_abs());
                if root.process(pid).is_dir() {
                    Ok(pid)
                } else {
                    Err(no_process(pid))
                }
            }
            _ => Err(Failure::usage(format!(
                "{wanted} is no process id; it is a whole number from 1 to {}",
                i32::MAX
            ))),
        };
    }
    if wanted.is_empty() {
        return Err(Failure::usage("name a process by its id or its exact name"));
    }
    let namesakes = namesakes(root, wanted)?;
    match namesakes[..] {
        [pid] => Ok(pid),
        [] => Err(Failure::usage(format!(
            "there is no process called {}; give its pid, or its name as `ps -eo pid,comm` shows it",
            plain(wanted)
        ))),
        _ => {
            let mut pids: Vec<String> = namesakes.iter().take(20).map(Pid::to_string).collect();
            if namesakes.len() > pids.len() {
                pids.push(format!("and {} more", namesakes.len() - pids.len()));
            }
            Err(Failure::usage(format!(
                "{} processes are called {}; give one of their pids: {}",
                namesakes.len(),
                plain(wanted),
                pids.join(", ")
            )))
        }
    }
}

/// The kernel keeps 15 bytes of a name, so a longer one is held against what is left of it.
fn namesakes(root: &ProcRoot, wanted: &str) -> Result<Vec<Pid>, Failure> {
    let wanted = &wanted.as_bytes()[..wanted.len().min(15)];
    let entries = std::fs::read_dir(root.path())
        .map_err(|error| Failure::other(format!("could not read {}: {error}", root.path().display())))?;
    let ourselves = std::process::id();
    let mut pids: Vec<Pid> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
        .filter(|pid| root.is_captured() || pid.0 != ourselves)
        .filter(|pid| {
            std::fs::read(root.process(*pid).join("comm"))
                .is_ok_and(|name| name.strip_suffix(b"\n").unwrap_or(&name) == wanted)
        })
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

pub(super) fn no_process(pid: Pid) -> Failure {
    Failure::usage(format!(
        "there is no process {pid}; `ps -e` lists those that can be seen"
    ))
}

fn failure(error: InspectError) -> Failure {
    match error {
        InspectError::NoProcess(pid) => no_process(pid),
        InspectError::Denied(_) => Failure::not_allowed(error),
        InspectError::Unreadable { path, source } => Failure::usage(format!("could not read {path}: {source}")),
        other => Failure::other(other),
    }
}

/// The main thread bears the process' name. It may have ended before the others.
fn own_name(root: &ProcRoot, map: &MemoryMap) -> String {
    let pid = map.process.pid;
    match map.stacks.iter().find(|(tid, ..)| tid.0 == pid.0) {
        Some((_, name, _)) => name.to_string(),
        None => std::fs::read(root.process(pid).join("comm"))
            .map(|name| String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned())
            .unwrap_or_default(),
    }
}

/// Names are hostile bytes: what moves the cursor or turns the reading direction is spelt out.
pub(super) fn plain(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        let turns =
            matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if letter.is_control() || turns {
            let _ = write!(text, "{}", letter.escape_unicode());
        } else {
            text.push(letter);
        }
    }
    text
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

fn total(map: &MemoryMap) -> Sizes {
    map.regions
        .iter()
        .fold(Sizes::default(), |sum, region| sum.plus(region.sizes))
}

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
    text += &line("sum", total(map), map.resident_known);
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

    let _ = writeln!(
        text,
        "\n{:>8}  {:<16}{:>12}{:>12}{:>12}{:>10}  STACK FOUND BY",
        "TID", "NAME", "RESERVED", "RESIDENT", "USED", "GUARD"
    );
    let found = found_by(map);
    for (tid, name, stack) in &map.stacks {
        let of = |field: fn(&StackUse) -> Evidence<u64>| stack.and_then(|stack| field(&stack));
        let cells = [
            notes.show("reserved", of(|stack| Ok(stack.reserved_bytes))),
            notes.show("stack resident", of(|stack| stack.resident_bytes)),
            notes.show("used", of(|stack| stack.used_bytes)),
        ];
        let guard = match stack {
            Ok(stack) => stack.guard_bytes.map_or_else(|| "-".to_owned(), human),
            Err(unknown) => notes.gap("guard", *unknown),
        };
        let [reserved, resident, used] = cells;
        let found = match (found.get(tid), stack) {
            (Some(found), _) => in_words(found),
            // Its bounds come from its control block; the mapping is several threads'.
            (None, Ok(_)) => "exact (shared mapping)",
            (None, Err(_)) => "-",
        };
        let _ = writeln!(
            text,
            "{:>8}  {:<16}{reserved:>12}{resident:>12}{used:>12}{guard:>10}  {found}",
            tid.0,
            plain(name),
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

fn found_by(map: &MemoryMap) -> BTreeMap<Tid, &'static str> {
    let stacks = map.regions.iter().filter(|region| region.kind == RegionKind::Stack);
    stacks
        .filter_map(|region| Some((region.owner?, region.found_by?)))
        .collect()
}

/// The answer of `GET /processes/{pid}/memory?regions=true`, with what only a daemon knows left null.
fn answer(map: &MemoryMap, name: &str, taken_at: SystemTime) -> Value {
    let mut unknown = Gaps::default();
    if let Err(reason) = map.resident_known {
        unknown.note("resident_bytes", reason);
    }
    let resident = map.resident_known.is_ok();
    let sum = |kinds: &[RegionKind]| sizes(map.sum(kinds), resident);
    let named = |kinds: &[(&str, &[RegionKind])]| -> Map<String, Value> {
        kinds
            .iter()
            .map(|(name, kinds)| ((*name).to_owned(), sum(kinds)))
            .collect()
    };
    let rollup = match map.totals.rollup {
        Ok(rollup) => sizes(rollup, true),
        Err(reason) => {
            unknown.note("kernel.rollup", reason);
            Value::Null
        }
    };
    let found = found_by(map);
    let threads: Vec<Value> = map
        .stacks
        .iter()
        .map(|(tid, name, stack)| {
            let mut row = Row {
                codes: Map::new(),
                all: &mut unknown,
            };
            // These come from the scheduler and the ledger, which the daemon reads.
            row.note("state", Unknown::NotAsked);
            row.note("heap", Unknown::NotAsked);
            let stack = match stack {
                Ok(stack) => json!({
                    "start": hex(stack.start),
                    "end": hex(stack.end),
                    "reserved_bytes": stack.reserved_bytes,
                    "resident_bytes": row.value("stack.resident_bytes", stack.resident_bytes),
                    "used_bytes": row.value("stack.used_bytes", stack.used_bytes),
                    "guard_bytes": stack.guard_bytes,
                }),
                Err(reason) => {
                    row.note("stack", *reason);
                    Value::Null
                }
            };
            json!({
                "tid": tid.0,
                "name": &**name,
                "pool": null,
                "state": null,
                // Without a mapping of its own its bounds come from its control block.
                "found_by": found.get(tid).copied().or(stack.is_object().then_some("exact")),
                "stack": stack,
                "heap": null,
                "unknown": row.codes,
            })
        })
        .collect();
    json!({
        "process": {
            "pid": map.process.pid.0,
            "start_time": map.process.start.seconds(),
            "name": name,
            "role": "other",
        },
        "taken_at": humantime::format_rfc3339_millis(taken_at).to_string(),
        "shared": named(&SHARED),
        "per_thread": named(&PER_THREAD),
        "total": sizes(total(map), resident),
        "kernel": {
            "rollup": rollup,
            "statm_virtual_bytes": map.totals.statm_virtual_bytes,
            "statm_resident_bytes": map.totals.statm_resident_bytes,
        },
        "threads": threads,
        "regions": map.regions.iter().map(|region| region_json(region, resident)).collect::<Vec<_>>(),
        "unknown": unknown.0,
    })
}

fn region_json(region: &Region, resident: bool) -> Value {
    json!({
        "start": hex(region.start),
        "end": hex(region.end),
        "kind": region.kind.name(),
        "permissions": String::from_utf8_lossy(&region.permissions),
        "name": &*region.name,
        "owner_tid": region.owner.map(|tid| tid.0),
        "found_by": region.found_by,
        "sizes": sizes(region.sizes, resident),
    })
}

fn sizes(sizes: Sizes, resident: bool) -> Value {
    json!({
        "virtual_bytes": sizes.virtual_bytes,
        "resident_bytes": resident.then_some(sizes.resident_bytes),
        "proportional_bytes": resident.then_some(sizes.proportional_bytes),
        "private_bytes": resident.then_some(sizes.private_bytes),
    })
}

fn hex(address: u64) -> String {
    format!("0x{address:x}")
}

/// Why fields are null, for the whole answer; the first reason of a field stands for all.
#[derive(Default)]
struct Gaps(Map<String, Value>);

impl Gaps {
    fn note(&mut self, field: &str, unknown: Unknown) {
        self.0.entry(field).or_insert_with(|| reason_json(unknown));
    }
}

pub(super) fn reason_json(unknown: Unknown) -> Value {
    let need = unknown.need();
    json!({
        "reason": match unknown.reason() {
            Reason::Denied => "denied",
            Reason::Gone => "gone",
            Reason::Unsupported => "unsupported",
            Reason::NotApplicable => "not_applicable",
        },
        "code": unknown.code(),
        "why": unknown.why(),
        "need": need.map(|need| need.need),
        "fix": need.map(|need| need.fix),
    })
}

/// Why fields of one row are null.
struct Row<'a> {
    codes: Map<String, Value>,
    all: &'a mut Gaps,
}

impl Row<'_> {
    fn note(&mut self, field: &str, unknown: Unknown) {
        self.codes.insert(field.to_owned(), unknown.code().into());
        self.all.note(field, unknown);
    }

    fn value(&mut self, field: &str, value: Evidence<u64>) -> Option<u64> {
        value.map_err(|unknown| self.note(field, unknown)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(name: &str) -> ProcRoot {
        ProcRoot::captured(format!("{}/tests/proc/{name}", env!("CARGO_MANIFEST_DIR")))
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
    fn a_hostile_name_cannot_move_the_cursor() {
        assert_eq!(plain("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(plain("two\nlines"), "two\\u{a}lines");
        assert_eq!(plain("\u{202e}gnp.exe"), "\\u{202e}gnp.exe");
        assert_eq!(plain("线程 ü"), "线程 ü");
    }

    #[test]
    fn a_pid_that_is_none_is_refused_with_what_would_be_one() {
        let root = ProcRoot::live();
        for wanted in ["0", "-1", "4294967297", "99999999999999999999", "+0"] {
            let failure = process_named(&root, wanted).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(wanted), "{}", failure.message);
        }
        assert_eq!(process_named(&root, "2147483000").unwrap_err().exit, Exit::Usage);
        assert_eq!(process_named(&root, "self"), Ok(Pid(std::process::id())));
    }

    #[test]
    fn a_name_finds_its_process_and_two_namesakes_are_listed() {
        let tree = tempfile::tempdir().unwrap();
        for (pid, name) in [
            ("10", "one"),
            ("200", "two"),
            ("30", "two"),
            ("4", "fifteen-bytes-l"),
            ("x", "one"),
        ] {
            std::fs::create_dir(tree.path().join(pid)).unwrap();
            std::fs::write(tree.path().join(pid).join("comm"), format!("{name}\n")).unwrap();
        }
        let root = ProcRoot::captured(tree.path());
        assert_eq!(process_named(&root, "one"), Ok(Pid(10)));
        assert_eq!(process_named(&root, "fifteen-bytes-long"), Ok(Pid(4)));
        assert_eq!(process_named(&root, "10"), Ok(Pid(10)));
        let both = process_named(&root, "two").unwrap_err().message;
        assert!(both.contains("30, 200"), "{both}");
        assert!(
            process_named(&root, "thr\u{1b}ee")
                .unwrap_err()
                .message
                .contains("\\u{1b}")
        );
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
        let answer = answer(&map, "kthreadd", SystemTime::UNIX_EPOCH);
        assert_eq!(answer["shared"]["heap"]["resident_bytes"], Value::Null);
        assert_eq!(answer["unknown"]["resident_bytes"]["code"], "kernel_thread");
        assert_eq!(answer["threads"][0]["unknown"]["stack"], "kernel_thread");
        assert_eq!(answer["taken_at"], "1970-01-01T00:00:00.000Z");
        let text = table(&map, "kthreadd");
        assert!(!text.contains("resident      0 B"), "{text}");
        assert!(text.contains(Unknown::KernelThread.why()));
    }

    #[test]
    fn the_json_has_the_fields_of_the_api() {
        let map = observe::read_memory(&capture("memory-threads"), Pid(18903)).unwrap();
        let answer = answer(&map, "house", SystemTime::UNIX_EPOCH);
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        // In the order of the alphabet, as serde_json keeps them.
        assert_eq!(
            keys(&answer),
            [
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
