//! Which process a command is about, and how its answer is printed: what `threads`, `memory` and
//! `doctor` have in common.
//!
//! Names come from other programs and are hostile: nothing of them reaches a terminal but through
//! [`plain`].

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;

use super::{Exit, Failure};
use crate::kernel::{ProcRoot, comm};
use crate::model::Pid;
use crate::observe::{self, InspectError};

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
                } else if observe::is_hidden(root, pid) {
                    Err(Failure::not_allowed(format!(
                        "process {pid} exists, and /proc hides it from us (hidepid); run threadscape as its owner, as \
                         root, or with CAP_SYS_PTRACE"
                    )))
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
        .filter(|pid| std::fs::read(root.process(*pid).join("comm")).is_ok_and(|name| comm::parse(&name) == wanted))
        .collect();
    pids.sort_unstable();
    Ok(pids)
}

pub(super) fn no_process(pid: Pid) -> Failure {
    Failure::usage(format!(
        "there is no process {pid}; `ps -e` lists those that can be seen"
    ))
}

/// What the user can do about a process that could not be read.
pub(super) fn failure(error: InspectError) -> Failure {
    match error {
        InspectError::NoProcess(pid) => no_process(pid),
        InspectError::NoThread { .. } => Failure::usage(error),
        InspectError::Denied(_) => Failure::not_allowed(error),
        InspectError::Late(..) => Failure {
            exit: Exit::TimeLimit,
            message: error.to_string(),
        },
        InspectError::Unreadable { path, source } => Failure::usage(format!("could not read {path}: {source}")),
        other => Failure::other(other),
    }
}

/// JSON for a person: indented, and with a line feed at its end.
pub(super) fn pretty(answer: &impl Serialize) -> Result<String, Failure> {
    Ok(serde_json::to_string_pretty(answer).map_err(Failure::other)? + "\n")
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
