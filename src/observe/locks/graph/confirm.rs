//! The second reading: a cycle is a deadlock when a moment later nothing of it has moved.
//!
//! One reading takes time, so it can put together a cycle of waits that never were at one moment. The
//! threads of a cycle are therefore read again: before and after a pause, and once more when the locks
//! have been read anew. If a thread has had no turn on a CPU over all of it, it was blocked all the
//! time, and so what the second reading says of all of them is true of one moment. A thread that was
//! woken and waits for a CPU has no new turn either: the kernel then says `running`, and that is no
//! blocked call.

use std::thread;
use std::time::Duration;

use super::super::identify;
use crate::kernel::file::{self, Buffer};
use crate::kernel::{clock, schedstat, syscall};
use crate::model::{Call, CycleStep, Dump, DumpThread, Lock, Nanos, Tid};
use crate::observe::stacks::Dumper;
use crate::observe::threads::resolve;

/// Between the two readings. Any lock that is merely busy has changed hands by then.
const PAUSE: Duration = Duration::from_millis(75);

/// What the second reading says of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Same,
    /// A thread has moved or ended, or a lock has another owner.
    Moved,
    /// What could be read once can't be read again.
    Unreadable,
}

/// Reads all of these cycles again. Gives an answer for each, and how long after the dump's beginning the
/// second reading was; `None` when nothing was asked.
pub(super) fn read_again(
    dumper: &Dumper,
    dump: &Dump,
    locks: &[Lock],
    cycles: &[&[CycleStep]],
) -> (Vec<Again>, Option<Nanos>) {
    if cycles.is_empty() {
        return (Vec::new(), None);
    }
    // Nothing moves in a captured tree: that it is the same says nothing.
    if dumper.root().is_captured() {
        return (vec![Again::Unreadable; cycles.len()], None);
    }
    let mut tids: Vec<Tid> = cycles
        .iter()
        .flat_map(|steps| steps.iter().map(|step| step.tid))
        .collect();
    tids.sort_unstable();
    tids.dedup();
    let before: Vec<Look> = tids.iter().map(|tid| look(dumper, dump, *tid)).collect();
    thread::sleep(PAUSE);
    let second_at = clock::monotonic();
    let between = Dump {
        process: dump.process,
        name: dump.name.clone(),
        taken_at: second_at,
        wall_clock: std::time::SystemTime::now(),
        took: Nanos(0),
        // They stand where they stood, or what follows says that they have moved.
        threads: tids.iter().filter_map(|tid| dump.thread(*tid)).cloned().collect(),
        truncated: true,
        paused: 0,
    };
    let found = identify::identify(dumper, &between, false);
    let after: Vec<Look> = tids.iter().map(|tid| look(dumper, dump, *tid)).collect();
    let same_process = matches!(resolve(dumper.root(), dump.process.pid), Ok(Some(key)) if key == dump.process);
    let answers = cycles
        .iter()
        .map(|steps| {
            if !same_process {
                return Again::Moved;
            }
            let of_step = |step: &CycleStep| -> Again {
                let Ok(at) = tids.binary_search(&step.tid) else {
                    return Again::Unreadable;
                };
                let stayed = stayed(dump.thread(step.tid), before[at], after[at]);
                if stayed != Again::Same {
                    return stayed;
                }
                let Some(was) = locks.get(step.wants) else {
                    return Again::Unreadable;
                };
                let now = found.waits.iter().find(|wait| wait.tid == step.tid);
                match now.and_then(|wait| found.locks.get(wait.lock)) {
                    Some(now) if now.address == was.address && now.owner == was.owner => Again::Same,
                    _ => Again::Moved,
                }
            };
            // One that has moved is enough; all of them must be the same.
            let told: Vec<Again> = steps.iter().map(of_step).collect();
            if told.contains(&Again::Moved) {
                Again::Moved
            } else if told.contains(&Again::Unreadable) {
                Again::Unreadable
            } else {
                Again::Same
            }
        })
        .collect();
    (answers, Some(second_at.saturating_sub(dump.taken_at)))
}

/// One thread at one moment, in the kernel's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Blocked {
        turns: u64,
        call: Call,
    },
    /// It runs, waits for a CPU, or has ended.
    Elsewhere,
    Refused,
}

fn look(dumper: &Dumper, dump: &Dump, tid: Tid) -> Look {
    let mut buffer = Buffer::default();
    let path = dumper.root().thread(dump.process.pid, tid);
    let dir = match file::open_dir(&path) {
        Ok(Some(dir)) => dir,
        Ok(None) => return Look::Elsewhere,
        Err(_) => return Look::Refused,
    };
    let turns = match file::read_at(&dir, "schedstat", &mut buffer) {
        Ok(Some(line)) => schedstat::parse(line).map(|clock| clock.slices),
        Ok(None) => return Look::Elsewhere,
        Err(_) => return Look::Refused,
    };
    let said = match file::read_at(&dir, "syscall", &mut buffer) {
        Ok(Some(line)) => std::str::from_utf8(line).ok().and_then(syscall::parse),
        Ok(None) => return Look::Elsewhere,
        Err(_) => return Look::Refused,
    };
    match (turns, said) {
        (
            Some(turns),
            Some(syscall::Syscall::Blocked {
                number,
                arguments,
                stack_pointer,
                program_counter,
            }),
        ) => Look::Blocked {
            turns,
            call: Call {
                number,
                arguments,
                stack_pointer,
                program_counter,
            },
        },
        (_, Some(syscall::Syscall::Running)) => Look::Elsewhere,
        _ => Look::Refused,
    }
}

/// Whether a thread was blocked in the call of the dump all the time between the two looks.
fn stayed(dumped: Option<&DumpThread>, before: Look, after: Look) -> Again {
    let Some(dumped) = dumped else {
        return Again::Unreadable;
    };
    match (before, after) {
        (
            Look::Blocked { turns, call },
            Look::Blocked {
                turns: later,
                call: now,
            },
        ) => {
            let as_dumped = dumped.call.is_ok_and(|dumped| dumped == call);
            if turns == later && call == now && as_dumped {
                Again::Same
            } else {
                Again::Moved
            }
        }
        (Look::Elsewhere, _) | (_, Look::Elsewhere) => Again::Moved,
        (Look::Refused, _) | (_, Look::Refused) => Again::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::super::made;
    use super::*;
    use crate::model::ThreadState;

    fn call(word: u64) -> Call {
        Call {
            number: Some(202),
            arguments: [word, 0x80, 2, 0, 0, 0],
            stack_pointer: 0x7ff0,
            program_counter: 0x1000,
        }
    }

    #[test]
    fn only_a_thread_without_a_new_turn_in_the_same_call_has_stayed() {
        let mut dumped = made::thread(5, ThreadState::Sleeping, None);
        dumped.call = Ok(call(0x10));
        let at = |turns, word| Look::Blocked {
            turns,
            call: call(word),
        };
        let check = |before, after, expected| assert_eq!(stayed(Some(&dumped), before, after), expected);
        check(at(7, 0x10), at(7, 0x10), Again::Same);
        check(at(7, 0x10), at(8, 0x10), Again::Moved);
        check(at(7, 0x10), at(7, 0x20), Again::Moved);
        // Between the dump and the first look it went elsewhere, and stayed there.
        check(at(7, 0x20), at(7, 0x20), Again::Moved);
        // Woken, and waiting for a CPU.
        check(at(7, 0x10), Look::Elsewhere, Again::Moved);
        check(at(7, 0x10), Look::Refused, Again::Unreadable);
        assert_eq!(stayed(None, at(7, 0x10), at(7, 0x10)), Again::Unreadable);
    }

    #[test]
    fn a_thread_that_waits_is_blocked_and_one_that_is_not_there_is_elsewhere() {
        use crate::kernel::ProcRoot;
        let dumper = Dumper::new(&ProcRoot::live());
        let own = std::process::id();
        let mut dump = (*made::dump(Vec::new())).clone();
        dump.process.pid = crate::model::Pid(own);
        assert_eq!(look(&dumper, &dump, Tid(u32::MAX >> 1)), Look::Elsewhere);
        let (say, hear) = std::sync::mpsc::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let other = thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_nonzero().get() as u32)
                .unwrap();
            let _ = wait.recv();
        });
        let tid = Tid(hear.recv().unwrap());
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !matches!(look(&dumper, &dump, tid), Look::Blocked { .. }) {
            assert!(std::time::Instant::now() < deadline);
            thread::yield_now();
        }
        drop(release);
        other.join().unwrap();
    }
}
