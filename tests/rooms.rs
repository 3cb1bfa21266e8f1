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
    // Of observe and scenario only the handles; `http_sees_two_handles` checks that.
    ("http", &["model", "history", "observe", "scenario", "workloads"]),
];

const EVERYTHING: &[&str] = &["cli", "daemon.rs", "config.rs", "main.rs", "lib.rs"];

struct Source {
    room: String,
    path: PathBuf,
    /// Without the unit tests.
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    gather(&root, &root, &mut found);
    assert!(found.len() > 20, "src/ was not found where it should be");
    found
}

fn gather(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(root, &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
            let relative = path.strip_prefix(root).unwrap();
            let room = relative
                .components()
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            // A file of unit tests beside its subject is a test too.
            if !relative.ends_with("tests.rs") {
                found.push(Source {
                    room,
                    path: relative.to_owned(),
                    text: code,
                });
            }
        }
    }
}

/// The words that follow `crate::` in code, comments left out.
fn imports(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for after in line.split("crate::").skip(1) {
            match after.strip_prefix('{') {
                Some(list) => rooms.extend(list.split(',').map(first_word)),
                None => rooms.push(first_word(after)),
            }
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
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
            assert!(
                !source.text.contains(forbidden),
                "{} uses {forbidden}",
                source.path.display()
            );
        }
    }
}

#[test]
fn every_file_tells_its_story_first() {
    for source in sources() {
        assert!(
            source.text.starts_with("//!"),
            "{} has no module doc at its head",
            source.path.display()
        );
    }
}

#[test]
fn an_import_list_is_read_word_by_word() {
    assert_eq!(
        imports("use crate::{model, kernel::stat};\nlet x = crate::ledger::open();"),
        ["model", "kernel", "ledger"]
    );
    assert!(imports("// crate::http is not an import").is_empty());
}
