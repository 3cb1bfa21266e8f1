//! `threadscape locks PID|NAME`: who waits for what, held by whom; deadlocks first.
//!
//! No daemon is needed. The exit code is 1 when there is a deadlock: a cycle over owners that are
//! proved, seen twice with nobody in it having moved. What is only likely is marked and never makes
//! one. `--json` has the shape of `GET /api/v1/processes/{pid}/locks`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::stacks::{self, named};
use super::subject::{failure, plain, pretty, print, process_named};
use super::{Exit, Failure};
use crate::http::wire;
use crate::kernel::ProcRoot;
use crate::model::{
    Chain, Deadlock, DumpThread, Lock, LockPlace, LockReport, Owner, RootDoing, Tid, Unknown, WaitMode,
};
use crate::observe::{self, Dumper, InspectError, StackOptions};

/// Waiters that are named before the rest is only counted.
const MOST_NAMED: usize = 8;

/// Shows who waits for what, held by whom.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process: its id or its exact name.
    #[arg(value_name = "PID|NAME", allow_negative_numbers = true)]
    process: String,
    /// Print JSON in the shape of the REST API.
    #[arg(long)]
    json: bool,
    /// Leave out what was not read by then, and say so.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = humantime::parse_duration)]
    patience: Duration,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let root = ProcRoot::live();
    let pid = process_named(&root, &args.process)?;
    let options = StackOptions {
        patience: args.patience,
        ..StackOptions::default()
    };
    let report = observe::read_locks(&Dumper::new(&root), pid, &options).map_err(failure)?;
    print(&if args.json {
        pretty(&shape(&report))?
    } else {
        table(&report)
    })?;
    verdict(&report)
}

fn verdict(report: &LockReport) -> Result<Exit, Failure> {
    let threads = &report.dump.threads;
    let refused = |thread: &DumpThread| matches!(thread.call, Err(Unknown::PtraceDenied | Unknown::Denied));
    if !threads.is_empty() && threads.iter().all(refused) {
        return Err(Failure::not_allowed(InspectError::Denied(report.dump.process.pid)));
    }
    let deadlocked = report.deadlocks.iter().any(|deadlock| deadlock.confirmed);
    Ok(if deadlocked { Exit::Found } else { Exit::Fine })
}

fn shape(report: &LockReport) -> wire::Locks<'_> {
    let taken_at = wire::rfc3339(report.dump.wall_clock);
    wire::Locks::of(report, stacks::reference(&report.dump), taken_at)
}

fn table(report: &LockReport) -> String {
    let mut text = stacks::head(&report.dump);
    for deadlock in &report.deadlocks {
        text += &cycle(report, deadlock);
    }
    if !report.chains.is_empty() {
        text += "\nWho waits because of whom\n";
        for chain in &report.chains {
            text += &chain_lines(report, chain);
        }
    }
    let unread = unread(report);
    if report.locks.is_empty() {
        text += if unread.is_empty() {
            "\nno thread waits for a lock\n"
        } else {
            "\nno wait for a lock was seen, but not all waits could be read\n"
        };
    } else {
        text += "\nLocks that somebody waits for\n";
        for (id, lock) in report.locks.iter().enumerate() {
            text += &lock_lines(report, id, lock);
        }
    }
    text + &unread
}

fn cycle(report: &LockReport, deadlock: &Deadlock) -> String {
    let count = deadlock.steps.len();
    let mut text = match (deadlock.confirmed, count) {
        (true, 1) => "\nDEADLOCK of a thread with itself".to_owned(),
        (true, _) => format!("\nDEADLOCK of {count} threads"),
        (false, _) => format!("\nA circle of {count} threads that moved while it was looked at twice: no deadlock"),
    };
    if let Some(after) = report.confirmed_after.filter(|_| deadlock.confirmed) {
        let _ = write!(
            text,
            " (seen twice, {:.0} ms apart; nobody moved)",
            after.seconds() * 1e3
        );
    }
    text += "\n";
    for step in &deadlock.steps {
        let _ = writeln!(
            text,
            "  {} holds {} and wants {}",
            thread(report, step.tid),
            lock_in_words(report, step.holds),
            lock_in_words(report, step.wants),
        );
        if let Some(Ok(stack)) = report.dump.thread(step.tid).map(|thread| &thread.stack) {
            text += &stacks::frames(stack);
        }
    }
    text
}

fn chain_lines(report: &LockReport, chain: &Chain) -> String {
    let mut text = String::from("  ");
    for link in &chain.links {
        let likely = link.proof.is_some_and(|proof| !proof.is_proved());
        let _ = write!(
            text,
            "{} waits for {}, {} ",
            thread(report, link.waiter),
            lock_in_words(report, link.lock),
            match (link.owner, likely) {
                (Some(_), true) => "likely held by",
                (Some(_), false) => "held by",
                (None, _) => "whose holder",
            }
        );
    }
    if let Some(root) = chain.root {
        let _ = write!(text, "{}, which ", thread(report, root));
    }
    text += doing(chain.root_doing);
    if chain.behind_root > 1 {
        let _ = write!(text, "; {} threads wait behind it", chain.behind_root);
    }
    text + "\n"
}

fn doing(root: RootDoing) -> &'static str {
    match root {
        RootDoing::OnCpu => "is on a CPU",
        RootDoing::Runnable => "runs, or waits for a CPU",
        RootDoing::Sleeping => "sleeps",
        RootDoing::DiskSleep => "is in uninterruptible sleep",
        RootDoing::InputOutput => "waits for input or output",
        RootDoing::WaitingForSignal => "waits to be woken",
        RootDoing::Stopped => "is stopped",
        RootDoing::InCycle => "is part of a circle",
        RootDoing::OwnerUnknown => "is not known",
        RootDoing::Ended => "has ended",
    }
}

fn lock_lines(report: &LockReport, id: usize, lock: &Lock) -> String {
    let mut text = format!("  {}", lock_in_words(report, id));
    if !lock.flags.is_empty() {
        let _ = write!(text, " ({})", lock.flags.join(", "));
    }
    let _ = writeln!(text, ", told by {}", lock.told_by);
    let holder = match &lock.owner {
        Ok(Owner::Thread { tid, proof }) => format!(
            "{} {}",
            if proof.is_proved() { "held by" } else { "likely held by" },
            thread(report, *tid)
        ),
        Ok(Owner::Ended { own_tid }) => format!("held by thread {own_tid}, which has ended: abandoned"),
        Ok(Owner::Foreign { own_tid }) => format!("held by thread {own_tid}, which is not of this process"),
        Err(unknown) => format!("holder unknown: {}", unknown.why()),
    };
    let _ = write!(text, "      {holder}");
    if !lock.state.is_empty() {
        let _ = write!(text, " ({})", lock.state);
    }
    let waiters: Vec<String> = lock
        .waiters
        .iter()
        .take(MOST_NAMED)
        .map(|tid| thread(report, *tid))
        .collect();
    let _ = write!(
        text,
        "\n      {} waiter{}: {}",
        lock.waiters.len(),
        if lock.waiters.len() == 1 { "" } else { "s" },
        waiters.join(", ")
    );
    if lock.waiters.len() > MOST_NAMED {
        let _ = write!(text, " and {} more", lock.waiters.len() - MOST_NAMED);
    }
    text + "\n"
}

/// `pthread_mutex 0x5581… (queue_lock+0x8)`.
fn lock_in_words(report: &LockReport, id: usize) -> String {
    let Some(lock) = report.locks.get(id) else {
        return "a lock".to_owned();
    };
    let place = match &lock.place {
        LockPlace::Global { symbol, offset: 0, .. } => plain(symbol),
        LockPlace::Global { symbol, offset, .. } => format!("{}+{offset:#x}", plain(symbol)),
        LockPlace::Mapping { name, offset } | LockPlace::SharedMemory { name, offset } => {
            format!("{}+{offset:#x}", plain(name))
        }
        LockPlace::Heap => "heap".to_owned(),
        LockPlace::Stack { tid } => format!("stack of {tid}"),
        LockPlace::ThreadBlock { tid } => format!("own block of {tid}"),
        LockPlace::Unknown => "?".to_owned(),
    };
    format!("{} {:#x} ({place})", lock.kind.name(), lock.address)
}

fn thread(report: &LockReport, tid: Tid) -> String {
    report.dump.thread(tid).map_or_else(|| tid.to_string(), named)
}

/// Under a stack: what its threads wait for, in the words of `jstack`.
pub(super) fn waits_of(report: &LockReport, threads: &[&DumpThread]) -> String {
    let mut waits: BTreeMap<usize, (WaitMode, usize)> = BTreeMap::new();
    for thread in threads {
        if let Ok(at) = report.waits.binary_search_by_key(&thread.tid(), |wait| wait.tid) {
            let wait = &report.waits[at];
            waits.entry(wait.lock).or_insert((wait.mode, 0)).1 += 1;
        }
    }
    let mut text = String::new();
    for (id, (mode, count)) in waits {
        let verb = match mode {
            WaitMode::Exclusive | WaitMode::Shared => "waiting to lock",
            WaitMode::Signal => "waiting on",
            WaitMode::End => "waiting for the end at",
        };
        let _ = write!(text, "        - {verb} {}", lock_in_words(report, id));
        if let Some(Ok(Owner::Thread { tid, proof })) = report.locks.get(id).map(|lock| &lock.owner) {
            let held = if proof.is_proved() { "held by" } else { "likely held by" };
            let _ = write!(text, ", {held} {}", thread(report, *tid));
        }
        if threads.len() > 1 {
            let _ = write!(text, " ({count} of {})", threads.len());
        }
        text += "\n";
    }
    text
}

/// Threads whose call could not be read: their waits are missing above.
fn unread(report: &LockReport) -> String {
    let mut reasons: BTreeMap<Unknown, usize> = BTreeMap::new();
    for thread in &report.dump.threads {
        if let Some(unknown) = thread.wait_unread() {
            *reasons.entry(unknown).or_default() += 1;
        }
    }
    let mut text = String::new();
    for (unknown, count) in reasons {
        let _ = write!(text, "\n? waits of {count} threads: {}", unknown.why());
        if let Some(need) = unknown.need() {
            let _ = write!(text, "; {}", need.fix);
        }
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;

    #[test]
    fn a_deadlock_comes_first_with_stacks_and_ends_with_one() {
        let report = fakes::deadlock();
        let text = table(&report);
        let first = fakes::OTHER.0;
        assert!(
            text.contains("DEADLOCK of 2 threads (seen twice, 60 ms apart; nobody moved)"),
            "{text}"
        );
        assert!(text.find("DEADLOCK") < text.find("Locks that"), "{text}");
        assert!(
            text.contains(&format!(
                "holds pthread_mutex 0x2000 (stack of {first}) and wants pthread_mutex 0x1000 (left+0x28)"
            )),
            "{text}"
        );
        assert!(text.contains("function_20"), "{text}");
        assert_eq!(verdict(&report), Ok(Exit::Found));
    }

    #[test]
    fn a_circle_that_moved_is_no_deadlock() {
        let mut report = fakes::deadlock();
        report.deadlocks[0].confirmed = false;
        assert_eq!(verdict(&report), Ok(Exit::Fine));
        assert!(table(&report).contains("no deadlock"));
    }

    #[test]
    fn an_owner_that_is_not_known_says_why() {
        let text = table(&fakes::deadlock());
        assert!(text.contains(Unknown::OwnerNotRecorded.why()), "{text}");
        assert!(text.contains("whose holder is not known"), "{text}");
    }

    #[test]
    fn what_was_refused_is_not_an_answer() {
        let mut report = fakes::deadlock();
        let mut dump = (*report.dump).clone();
        for thread in &mut dump.threads {
            thread.call = Err(Unknown::PtraceDenied);
        }
        report.dump = dump.into();
        assert_eq!(verdict(&report).unwrap_err().exit, Exit::NotAllowed);
        report.locks.clear();
        assert!(!table(&report).contains("no thread waits"), "{}", table(&report));
        assert!(unread(&report).contains("waits of 3 threads"));
    }

    #[test]
    fn nobody_waits() {
        let mut report = fakes::deadlock();
        let mut dump = (*report.dump).clone();
        for thread in &mut dump.threads {
            thread.call = Err(Unknown::NotWaiting);
        }
        report.dump = dump.into();
        report.locks.clear();
        report.waits.clear();
        report.deadlocks.clear();
        report.chains.clear();
        assert!(table(&report).contains("no thread waits for a lock"));
        assert_eq!(verdict(&report), Ok(Exit::Fine));
    }

    #[test]
    fn a_stack_names_the_lock_that_it_waits_for_and_its_holder() {
        let report = fakes::deadlock();
        let threads: Vec<&DumpThread> = report.dump.threads.iter().take(1).collect();
        let text = waits_of(&report, &threads);
        assert!(
            text.contains("waiting to lock pthread_mutex 0x1000 (left+0x28), held by"),
            "{text}"
        );
    }
}
