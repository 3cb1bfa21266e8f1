//! `threadscape doctor [PID]`: what can be read here, what can't, why, and the fix for each.
//!
//! Every source is tried, on a process or on ourselves. That some are closed is an answer, not a
//! failure; only a process that is not there, or of which nothing at all can be read, is one.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::subject::{no_process, plain, pretty, print, process_named, root_at};
use super::{Exit, Failure};
use crate::http::wire;
use crate::model::{Pid, Unknown};
use crate::observe::{self, Capability};

/// Says what can be read here, what can't, why, and the fix for each.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Try it on this process: its id or its exact name. Without it: on threadscape itself, which
    /// shows what the kernel offers; another user's process shows what we are allowed.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    process: Option<String>,
    /// Print JSON, in the shape of GET /api/v1/capabilities.
    #[arg(long)]
    json: bool,
    /// Look into a captured tree instead of /proc.
    #[arg(long, value_name = "DIR")]
    procfs: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let root = root_at(args.procfs.as_deref())?;
    let pid = match &args.process {
        Some(wanted) => Some(process_named(&root, wanted)?),
        None if root.is_captured() => {
            return Err(Failure::usage(
                "--procfs needs a process of the captured tree; give its pid",
            ));
        }
        None => None,
    };
    let tried = observe::probe(&root, pid);
    let verdict = verdict(pid, &tried)?;
    print(&if args.json {
        pretty(&wire::Capabilities::of(&tried))?
    } else {
        table(pid, &tried)
    })?;
    match verdict {
        Exit::NotAllowed => Err(Failure::not_allowed(format!(
            "nothing can be read of process {}; run threadscape as its owner or as root",
            pid.unwrap_or(Pid(std::process::id()))
        ))),
        exit => Ok(exit),
    }
}

fn verdict(pid: Option<Pid>, tried: &[Capability]) -> Result<Exit, Failure> {
    // The list of processes is no source about this one.
    let about = || tried.iter().filter(|capability| capability.source != "processes");
    if about().any(|capability| capability.unknown.is_none()) {
        return Ok(Exit::Fine);
    }
    match pid {
        Some(pid) if about().all(|capability| capability.unknown == Some(Unknown::Gone)) => Err(no_process(pid)),
        _ => Ok(Exit::NotAllowed),
    }
}

fn table(pid: Option<Pid>, tried: &[Capability]) -> String {
    let mut text = match pid {
        Some(pid) => format!("what can be read of process {pid}\n\n"),
        None => "what can be read of threadscape itself\n\n".to_owned(),
    };
    let width = tried.iter().map(|capability| capability.gives.len()).max().unwrap_or(0);
    for capability in tried {
        let state = match capability.unknown {
            None => "works".to_owned(),
            Some(unknown) => format!("no: {}", unknown.why()),
        };
        let _ = writeln!(
            text,
            "{:<14}{:<width$}  {}",
            capability.source,
            plain(capability.gives),
            state
        );
    }
    // A fix is told once, with all that it would open.
    let mut closed: Vec<(Unknown, Vec<&str>)> = Vec::new();
    for capability in tried {
        if let Some(unknown) = capability.unknown.filter(|unknown| unknown.need().is_some()) {
            match closed.iter_mut().find(|(known, _)| *known == unknown) {
                Some((_, sources)) => sources.push(capability.source),
                None => closed.push((unknown, vec![capability.source])),
            }
        }
    }
    for (unknown, sources) in closed {
        if let Some(need) = unknown.need() {
            let _ = write!(
                text,
                "\n{}\n  needs {}\n  fix: {}\n",
                sources.join(", "),
                need.need,
                need.fix
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(unknowns: &[(&'static str, Option<Unknown>)]) -> Vec<Capability> {
        unknowns
            .iter()
            .map(|(source, unknown)| Capability {
                source,
                gives: "something",
                unknown: *unknown,
            })
            .collect()
    }

    #[test]
    fn some_closed_sources_are_an_answer() {
        let some = tried(&[("stat", None), ("maps", Some(Unknown::PtraceDenied))]);
        assert_eq!(verdict(Some(Pid(7)), &some), Ok(Exit::Fine));
    }

    #[test]
    fn nothing_readable_is_not_allowed_and_nobody_there_is_bad_usage() {
        let none = tried(&[
            ("processes", None),
            ("stat", Some(Unknown::Denied)),
            ("maps", Some(Unknown::PtraceDenied)),
        ]);
        assert_eq!(verdict(Some(Pid(7)), &none), Ok(Exit::NotAllowed));
        let gone = tried(&[
            ("processes", None),
            ("stat", Some(Unknown::Gone)),
            ("maps", Some(Unknown::Gone)),
        ]);
        assert_eq!(verdict(Some(Pid(7)), &gone).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_fix_is_told_once_with_all_that_it_opens() {
        let text = table(
            Some(Pid(7)),
            &tried(&[
                ("stat", None),
                ("maps", Some(Unknown::PtraceDenied)),
                ("smaps", Some(Unknown::PtraceDenied)),
                ("ledger", Some(Unknown::NoLedger)),
            ]),
        );
        assert_eq!(text.matches("fix: ").count(), 2, "{text}");
        assert!(text.contains("maps, smaps\n  needs CAP_SYS_PTRACE"), "{text}");
    }

    #[test]
    fn json_has_a_row_a_source() {
        let tried = tried(&[("stat", None), ("maps", Some(Unknown::PtraceDenied))]);
        let answer = serde_json::to_value(wire::Capabilities::of(&tried)).unwrap();
        assert_eq!(answer["sources"][0]["works"], true);
        assert_eq!(answer["sources"][0]["fix"], serde_json::Value::Null);
        assert_eq!(answer["sources"][1]["reason"], Unknown::PtraceDenied.why());
    }
}
