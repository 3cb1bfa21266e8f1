//! `threadscape doctor [PID]`: what can be read here, what can't, why, and the fix for each.
//!
//! Every source is tried, on a process or on ourselves. That some are closed is an answer, not a
//! failure; only a process that is not there, or of which nothing at all can be read, is one.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::subject::{no_process, plain, pretty, print, process_named, root_at};
use super::{Exit, Failure};
use crate::http::wire;
use crate::kernel::mountinfo::HidePid;
use crate::model::{Need, Pid, Unknown};
use crate::observe::{self, Capability, Sight};

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
        let seen = observe::sight(&root).ok();
        table(pid, &tried, seen.as_ref())
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

fn table(pid: Option<Pid>, tried: &[Capability], seen: Option<&Sight>) -> String {
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
    let mut closed: Vec<(Need, Vec<&str>)> = Vec::new();
    for capability in tried {
        if let Some(need) = capability.need {
            match closed.iter_mut().find(|(known, _)| *known == need) {
                Some((_, sources)) => sources.push(capability.source),
                None => closed.push((need, vec![capability.source])),
            }
        }
    }
    for (need, sources) in closed {
        let _ = write!(
            text,
            "\n{}\n  needs {}\n  fix: {}\n",
            sources.join(", "),
            need.need,
            need.fix
        );
    }
    if let Some(seen) = seen {
        let _ = write!(text, "\n{}\n", sight(seen));
    }
    text
}

/// How much of the machine is in sight, in words.
fn sight(seen: &Sight) -> String {
    let mut text = match seen.listed {
        1 => "1 process is listed".to_owned(),
        listed => format!("{listed} processes are listed"),
    };
    match (seen.hidden, seen.option) {
        (Ok(0), _) => text.push_str("; none is hidden"),
        (Ok(hidden), Some(HidePid::NoAccess)) => {
            let _ = write!(text, "; {hidden} of them are closed to us (hidepid=1)");
        }
        (Ok(hidden), _) => {
            let _ = write!(text, "; {hidden} more exist and are hidden from us (hidepid)");
        }
        (Err(_), Some(HidePid::Invisible)) => {
            text.push_str("; others may be hidden from us (hidepid), and how many can't be known here");
        }
        (Err(_), _) => text.push_str("; whether others are hidden can't be known here"),
    }
    match seen.outside {
        None => {}
        Some(Ok(outside)) => {
            let _ = write!(
                text,
                "\nthis is a container: the machine has {outside} more processes outside of it, which can't be seen from here"
            );
        }
        Some(Err(_)) => text.push_str(
            "\nthis may be a container: processes outside of it can't be seen, and how many they are can't be known here",
        ),
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
                need: unknown.and_then(Unknown::need),
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
            None,
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
    #[test]
    fn what_is_out_of_sight_is_said_in_words() {
        let seen = |hidden, outside, option| {
            sight(&Sight {
                listed: 12,
                hidden,
                outside,
                option: Some(option),
            })
        };
        assert_eq!(
            seen(Ok(0), None, HidePid::Off),
            "12 processes are listed; none is hidden"
        );
        assert_eq!(
            seen(Ok(31), None, HidePid::Invisible),
            "12 processes are listed; 31 more exist and are hidden from us (hidepid)"
        );
        assert!(seen(Ok(3), None, HidePid::NoAccess).contains("3 of them are closed"));
        let container = seen(Ok(0), Some(Ok(90)), HidePid::Off);
        assert!(
            container.contains("this is a container: the machine has 90 more processes"),
            "{container}"
        );
        let blind = seen(Err(Unknown::Denied), Some(Err(Unknown::Denied)), HidePid::Invisible);
        assert_eq!(blind.matches("can't be known").count(), 2, "{blind}");
    }
}
