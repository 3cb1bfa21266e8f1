//! `threadscape stacks PID|NAME`: where every thread of a process stands, without stopping it.
//!
//! No daemon is needed. Equal stacks are printed once, with their threads. A mark before a frame says
//! when it was not proved: `~` its frame pointer was found again on the stack, `?` it was guessed; a
//! function that the compiler put into its caller is indented and has no address. `--locks` adds what each thread
//! waits for and who holds it, from the same moment: together what `jstack -l` prints of a JVM.
//! `--json` has the shape of `GET /api/v1/processes/{pid}/stacks` (with `--locks`: of `/dump`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::subject::{failure, plain, pretty, print, process_named};
use super::{Exit, Failure, locks};
use crate::http::wire;
use crate::kernel::ProcRoot;
use crate::model::{Dump, DumpThread, Frame, LockReport, Role, Stack, StackEnd, StackSource, Tid, Trust, Unknown};
use crate::observe::{self, Dumper, InspectError, StackOptions};

/// Threads that are named before the rest is only counted.
const MOST_NAMED: usize = 8;

/// Shows where every thread of a process stands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process: its id or its exact name.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    process: String,
    /// Print JSON in the shape of the REST API.
    #[arg(long)]
    json: bool,
    /// Only this thread.
    #[arg(long, value_name = "TID", value_parser = clap::value_parser!(u32).range(1..))]
    tid: Option<u32>,
    /// Most frames of one stack.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_depth: u32,
    /// Stop threads that run, one at a time and each for 50 ms at most, to read their stacks.
    #[arg(long)]
    pause: bool,
    /// Add what each thread waits for and who holds it.
    #[arg(long, conflicts_with = "tid")]
    locks: bool,
    /// Leave out what was not read by then, and say so.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let root = ProcRoot::live();
    let pid = process_named(&root, &args.process)?;
    let only = args.tid.map(Tid);
    let options = StackOptions {
        pause: args.pause,
        max_depth: args.max_depth as usize,
        patience: args.patience,
        only,
        ..StackOptions::default()
    };
    let dumper = Dumper::new(&root);
    let (dump, report) = if args.locks {
        let report = observe::read_locks(&dumper, pid, &options).map_err(failure)?;
        (report.dump.clone(), Some(report))
    } else {
        (dumper.dump(pid, &options).map_err(failure)?.into(), None)
    };
    if let Some(tid) = only.filter(|tid| dump.thread(*tid).is_none()) {
        return Err(Failure::usage(InspectError::NoThread { pid, tid }));
    }
    let text = match (args.json, &report) {
        (true, Some(report)) => {
            let taken_at = wire::rfc3339(dump.wall_clock);
            pretty(&wire::Dump::of(report, &reference(&dump), &taken_at))?
        }
        (true, None) => pretty(&shape(&dump))?,
        (false, _) => table(&dump, report.as_ref()),
    };
    print(&text)?;
    verdict(&dump)
}

/// Nothing could be read because it was refused: that is not an answer.
fn verdict(dump: &Dump) -> Result<Exit, Failure> {
    let refused = |thread: &DumpThread| matches!(thread.stack, Err(Unknown::PtraceDenied | Unknown::Denied));
    if !dump.threads.is_empty() && dump.threads.iter().all(refused) {
        return Err(Failure::not_allowed(InspectError::Denied(dump.process.pid)));
    }
    Ok(Exit::Fine)
}

pub(super) fn reference(dump: &Dump) -> wire::ProcessRef {
    wire::ProcessRef {
        pid: dump.process.pid.0,
        start_time: dump.process.start.seconds(),
        name: dump.name.to_string(),
        role: Role::Other.name(),
    }
}

fn shape(dump: &Dump) -> wire::Stacks<'_> {
    wire::Stacks::of(dump, reference(dump), wire::rfc3339(dump.wall_clock))
}

fn table(dump: &Dump, report: Option<&LockReport>) -> String {
    let mut text = head(dump);
    for (stack, threads) in dump.folded() {
        let threads: Vec<&DumpThread> = threads.into_iter().map(|at| &dump.threads[at]).collect();
        let _ = writeln!(text, "\n{}", who(&threads));
        if let Some(report) = report {
            text += &locks::waits_of(report, &threads);
        }
        text += &frames(&stack);
    }
    text + &without(dump)
}

/// One line: the process, its threads, and what reading them cost.
pub(super) fn head(dump: &Dump) -> String {
    let count = dump.threads.len();
    let mut text = format!(
        "{} (pid {}), {count} thread{}, read in {:.1} ms",
        plain(&dump.name),
        dump.process.pid,
        if count == 1 { "" } else { "s" },
        dump.took.seconds() * 1e3,
    );
    match dump.paused {
        0 => text += " without a stop",
        paused => {
            let _ = write!(text, ", {paused} of them stopped for a moment");
        }
    }
    if dump.truncated {
        text += "; the time was over before all were read";
    }
    text + "\n"
}

/// `3 threads, sleeping: 71 main, 72 worker, 73 worker`.
fn who(threads: &[&DumpThread]) -> String {
    let mut states: BTreeMap<&str, usize> = BTreeMap::new();
    for thread in threads {
        *states.entry(thread.state.name()).or_default() += 1;
    }
    let states: Vec<String> = match states.len() {
        1 => states.into_keys().map(str::to_owned).collect(),
        _ => states.iter().map(|(state, count)| format!("{count} {state}")).collect(),
    };
    let mut text = match threads.len() {
        1 => format!("1 thread, {}: ", states.join(", ")),
        count => format!("{count} threads, {}: ", states.join(", ")),
    };
    let named = threads.iter().take(MOST_NAMED).map(|thread| named(thread));
    text += &named.collect::<Vec<_>>().join(", ");
    if threads.len() > MOST_NAMED {
        let _ = write!(text, " and {} more", threads.len() - MOST_NAMED);
    }
    text
}

pub(super) fn named(thread: &DumpThread) -> String {
    format!("{} {}", thread.tid(), plain(&thread.name))
}

/// A line for each function, innermost first, and why the walk ended where it did.
pub(super) fn frames(stack: &Stack) -> String {
    let mut text = String::new();
    for (depth, frame) in stack.frames.iter().enumerate() {
        text += &frame_lines(depth, frame);
    }
    if stack.end != StackEnd::Complete {
        let _ = writeln!(text, "        … {}", stack.end.why());
    }
    let source = match stack.source {
        StackSource::Syscall => None,
        StackSource::Sample => Some("sampled while it ran"),
        StackSource::Pause => Some("read while it was stopped for a moment"),
    };
    if let Some(source) = source {
        let _ = writeln!(text, "        ({source})");
    }
    if stack.moved {
        text += "        (it ran on while it was read: frames may be of different moments)\n";
    }
    text
}

fn frame_lines(depth: usize, frame: &Frame) -> String {
    let place = &*frame.place;
    let mark = match frame.trust {
        Trust::Recovered => '~',
        Trust::Guessed => '?',
        Trust::Context | Trust::Unwound | Trust::FramePointer => ' ',
    };
    let module = place.module.as_deref().map_or("no file", |module| {
        module.rsplit_once('/').map_or(module, |(_, name)| name)
    });
    let mut text = String::new();
    let Ok(functions) = &place.functions else {
        let _ = writeln!(text, "{depth:>5} {mark} {:#018x}  {}", place.address, plain(module));
        return text;
    };
    for function in functions {
        let number = if function.inlined {
            String::new()
        } else {
            depth.to_string()
        };
        let _ = write!(text, "{number:>5} {mark} {}", plain(&function.name));
        match (&function.file, function.inlined, place.function_offset) {
            (Some(file), ..) => {
                let _ = write!(text, "  {}", plain(file));
                if let Some(line) = function.line {
                    let _ = write!(text, ":{line}");
                }
                if function.inlined {
                    text += " (inlined)";
                }
            }
            (None, true, _) => text += "  (inlined)",
            (None, false, Some(offset)) => {
                let _ = write!(text, "+{offset:#x}  {}", plain(module));
            }
            (None, false, None) => {
                let _ = write!(text, "  {}", plain(module));
            }
        }
        text += "\n";
    }
    text
}

/// The threads that have no stack, by reason.
pub(super) fn without(dump: &Dump) -> String {
    let mut reasons: BTreeMap<Unknown, Vec<&DumpThread>> = BTreeMap::new();
    for thread in &dump.threads {
        if let Err(unknown) = thread.stack {
            reasons.entry(unknown).or_default().push(thread);
        }
    }
    let mut text = String::new();
    for (unknown, threads) in reasons {
        let _ = write!(text, "\nNo stack of {}\n        {}", who(&threads), unknown.why());
        if let Some(need) = unknown.need() {
            let _ = write!(text, "; {}", need.fix);
        }
        if unknown == Unknown::Running {
            text += "; --pause stops it for a moment";
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use crate::model::{Function, Place};
    use std::sync::Arc;

    #[test]
    fn equal_stacks_are_printed_once_with_their_threads() {
        let text = table(&fakes::dump(&[&[0x10, 0x20], &[0x10, 0x30], &[0x10, 0x30]]), None);
        assert_eq!(text.matches("function_30").count(), 1, "{text}");
        assert!(text.contains("\n2 threads, "), "{text}");
        assert!(text.find("function_30") < text.find("function_20"), "{text}");
        assert!(text.contains("without a stop"), "{text}");
    }

    #[test]
    fn who_has_no_stack_is_listed_with_the_reason_and_the_way_out() {
        let text = table(&fakes::dump(&[&[]]), None);
        assert!(text.contains("No stack of 1 thread"), "{text}");
        assert!(text.contains("--pause"), "{text}");
    }

    #[test]
    fn many_threads_are_counted_and_not_all_named() {
        let stacks: Vec<&[u64]> = vec![&[0x10]; 50];
        let text = table(&fakes::dump(&stacks), None);
        assert!(text.contains(" and 42 more"), "{text}");
    }

    #[test]
    fn what_was_refused_is_not_an_answer() {
        let mut dump = fakes::dump(&[&[], &[0x10]]);
        dump.threads[0].stack = Err(Unknown::PtraceDenied);
        assert_eq!(verdict(&dump), Ok(Exit::Fine));
        dump.threads.pop();
        assert_eq!(verdict(&dump).unwrap_err().exit, Exit::NotAllowed);
    }

    #[test]
    fn a_frame_shows_its_mark_its_inlined_functions_and_no_control_bytes() {
        let function = |name: &str, inlined: bool| Function {
            name: name.into(),
            file: inlined.then(|| "src/a.rs".into()),
            line: Some(7),
            inlined,
        };
        let frame = Frame {
            place: Arc::new(Place {
                address: 0x1234,
                module: Some("/opt/b\x1b[2J".into()),
                module_address: 0x234,
                functions: Ok(vec![function("inner", true), function("outer", false)]),
                function_offset: Some(0x10),
            }),
            trust: Trust::Recovered,
        };
        let text = frame_lines(3, &frame);
        assert_eq!(
            text,
            "      ~ inner  src/a.rs:7 (inlined)\n    3 ~ outer+0x10  b\\u{1b}[2J\n"
        );
    }

    #[test]
    fn a_cut_stack_says_why() {
        let mut stack = Stack::clone(fakes::dump(&[&[0x10]]).threads[0].stack.as_ref().unwrap());
        stack.end = StackEnd::NoUnwindInfo;
        stack.moved = true;
        let text = frames(&stack);
        assert!(
            text.contains(StackEnd::NoUnwindInfo.why()) && text.contains("ran on"),
            "{text}"
        );
    }
}
