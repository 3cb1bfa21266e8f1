//! Keeps the arrows between the rooms of `src/`: data goes one way, and nothing calls backwards.
//!
//! A room is a folder of `src/`. The table says which other rooms its files may name as
//! `crate::ROOM`. Unit tests (from the first `#[cfg(test)]` module on) may reach further.

use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom. `cli` and the two wiring files see everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("kernel", &["model"]),
    ("history", &["model"]),
    ("ledger", &["kernel", "model"]),
    ("observe", &["kernel", "ledger", "model"]),
    ("workloads", &[]),
    ("pools", &["workloads", "ledger", "model"]),
    ("scenario", &["pools", "workloads", "model"]),
    ("workbench", &["scenario", "pools", "ledger", "kernel", "model"]),
    // Of observe, scenario and workloads only a few words each: see HANDLES.
    ("http", &["model", "history", "observe", "scenario", "workloads"]),
];

/// What `http` may name of those rooms: two handles with what they take and give, the two ways to
/// write a report, and the words of the catalogue.
const HANDLES: &[(&str, &[&str])] = &[
    (
        "observe",
        &[
            "Inspector",
            "InspectError",
            "Capability",
            "SamplerCost",
            "StackOptions",
            "Watch",
        ],
    ),
    (
        "scenario",
        &[
            "Remote",
            "Runs",
            "RunError",
            "ScenarioFile",
            "StartRun",
            "ValidationProblem",
            "report_csv",
            "report_html",
        ],
    ),
    ("workloads", &["CATALOGUE", "About", "Domain", "nearest"]),
];

const EVERYTHING: &[&str] = &["cli", "daemon.rs", "config.rs", "main.rs", "lib.rs", "fuzzing.rs"];

struct Source {
    room: String,
    path: PathBuf,
    /// Without the unit tests.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for path in files(&root) {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(&root).unwrap();
        // A file of unit tests beside its subject is a test too.
        if relative.ends_with("tests.rs") {
            continue;
        }
        let room = relative.components().next().unwrap().as_os_str();
        found.push(Source {
            room: room.to_string_lossy().into_owned(),
            path: relative.to_owned(),
            text: text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned(),
        });
    }
    assert!(found.len() > 20, "src/ was not found where it should be");
    found
}

/// All Rust files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The first words of all paths that begin with `crate::`.
fn imports(text: &str) -> Vec<String> {
    paths(text).into_iter().map(|path| segment(&path, 0)).collect()
}

/// What is named of one room: by its whole path, and behind its own name where that was imported.
fn words_of(room: &str, text: &str) -> Vec<String> {
    let (whole, bare): (Vec<String>, Vec<String>) = paths(text)
        .into_iter()
        .filter(|path| segment(path, 0) == room)
        .partition(|path| !["", "self"].contains(&&*segment(path, 1)));
    let mut words: Vec<String> = whole.iter().map(|path| segment(path, 1)).collect();
    if !bare.is_empty() {
        let code = code(text);
        let behind = format!("{room}::");
        for (at, _) in code.match_indices(&behind) {
            if !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                let mut found = Vec::new();
                expand(&code[at + behind.len()..], "", &mut found);
                words.extend(found.iter().map(|path| segment(path, 0)));
            }
        }
    }
    words.retain(|word| word != "self");
    words.sort();
    words.dedup();
    words
}

fn segment(path: &str, at: usize) -> String {
    path.split("::").nth(at).unwrap_or_default().to_owned()
}

/// Comment lines left out.
fn code(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every path that begins with `crate::`, without that; a list in braces gives a path each.
fn paths(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for after in code(text).split("crate::").skip(1) {
        expand(after, "", &mut found);
    }
    found
}

fn expand(tree: &str, before: &str, found: &mut Vec<String>) {
    let tree = tree.trim_start();
    let end = tree
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(tree.len());
    let path = format!("{before}{}", &tree[..end]);
    let Some(list) = tree[end..]
        .strip_prefix('{')
        .filter(|_| end == 0 || path.ends_with("::"))
    else {
        let path = path.trim_end_matches(':');
        if !path.is_empty() {
            found.push(path.to_owned());
        }
        return;
    };
    let (mut depth, mut start) = (0, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let part = list[start..at].trim();
                if !part.is_empty() {
                    expand(part, &path, found);
                }
                start = at + 1;
                if letter == '}' {
                    return;
                }
            }
            _ => {}
        }
    }
}

#[test]
fn nothing_calls_backwards() {
    let rooms: Vec<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    let mut wrong = Vec::new();
    for source in sources() {
        if EVERYTHING.contains(&source.room.as_str()) {
            continue;
        }
        let (_, allowed) = ARROWS
            .iter()
            .find(|(room, _)| *room == source.room)
            .unwrap_or_else(|| panic!("{} is in no room that tests/rooms.rs knows", source.path.display()));
        for named in imports(&source.text) {
            let known = rooms.contains(&named.as_str()) || ["cli", "daemon", "config"].contains(&named.as_str());
            if known && named != source.room && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{} imports {named}", source.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point backwards:\n{}", wrong.join("\n"));
}

#[test]
fn http_sees_two_handles() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|source| source.room == "http") {
        // What tests put in the handles' place is a test too.
        if source.path.ends_with("fakes.rs") {
            continue;
        }
        for (room, allowed) in HANDLES {
            for word in words_of(room, &source.text) {
                if !allowed.contains(&word.as_str()) {
                    wrong.push(format!("{} names {room}::{word}", source.path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "more than handles:\n{}", wrong.join("\n"));
}

#[test]
fn only_the_command_line_starts_the_daemon() {
    for source in sources().into_iter().filter(|source| source.room != "cli") {
        assert!(
            !imports(&source.text).contains(&"daemon".to_owned()),
            "{}",
            source.path.display()
        );
    }
}

#[test]
fn tokio_stays_at_the_door() {
    for source in sources() {
        let allowed = ["http", "daemon.rs"].contains(&source.room.as_str());
        assert!(
            allowed || !source.text.contains("tokio::"),
            "{} uses tokio",
            source.path.display()
        );
    }
}

#[test]
fn unsafe_stays_where_it_is_argued() {
    for source in sources() {
        let allowed = ["kernel", "ledger", "pools", "workloads"].contains(&source.room.as_str());
        let used = source.text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn")
        });
        assert!(allowed || !used, "{} uses unsafe", source.path.display());
    }
}

#[test]
fn a_workload_makes_no_threads_and_reads_no_clock() {
    for source in sources().into_iter().filter(|source| source.room == "workloads") {
        for forbidden in [
            "thread::spawn",
            "thread::Builder",
            "Instant::now",
            "SystemTime::now",
            "thread::scope",
        ] {
            // Cases that report seconds, and deadlines, have theirs from here.
            let allowed = forbidden == "Instant::now" && source.path.ends_with("workloads/stopwatch.rs");
            // A program beside the workloads, which trains a model of theirs and tells how long it took.
            let allowed = allowed || source.path.starts_with("workloads/examples");
            assert!(
                allowed || !source.text.contains(forbidden),
                "{} uses {forbidden}",
                source.path.display()
            );
        }
    }
}

#[test]
fn every_file_tells_its_story_first() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // In two pieces, or we would find it here.
    let promise = concat!("(being", " built)");
    for folder in ["src", "benches", "tests"].map(|folder| root.join(folder)) {
        for path in files(&folder) {
            let text = fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with("//!"),
                "{} has no module doc at its head",
                path.display()
            );
            assert!(!text.contains(promise), "{} promises what is not there", path.display());
        }
    }
}

#[test]
fn an_import_list_is_read_word_by_word() {
    assert_eq!(
        imports("use crate::{\n    model,\n    kernel::{stat, task},\n};\nlet x = crate::ledger::open();"),
        ["model", "kernel", "kernel", "ledger"]
    );
    assert!(imports("// crate::http is not an import").is_empty());
    assert!(imports("pub(crate) fn open() {}").is_empty());
}

#[test]
fn what_is_named_of_a_room_is_found_behind_its_name_too() {
    let text = "use crate::{history, scenario::{self, Remote}};\nlet x: &scenario::Plan = my::scenario::other();";
    assert_eq!(words_of("scenario", text), ["Plan", "Remote"]);
    // Another module of that name.
    assert!(words_of("workloads", "use super::workloads;\nroute(workloads::list)").is_empty());
}
