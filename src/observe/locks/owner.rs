//! Whose tid a lock's word holds: a thread of the process, one that has ended, or somebody else's.
//!
//! Programs write the tids of their own pid namespace, so a dump's `own_tid` leads to the thread. A tid that no
//! thread of the process has is looked for among all threads of that namespace: there is one, and
//! the lock was taken before a fork or is shared with that process; there is none, and its thread has
//! ended. What cannot be looked through to the end gives no owner.
//!
//! A tid can be given anew. That a new thread got the very tid of one that ended with a lock held cannot be
//! seen in one reading, except where the lock could not be waited for by its owner: see `identify`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kernel::{ProcRoot, stat};
use crate::model::{Dump, Evidence, Owner, Pid, Proof, ThreadState, Tid, Unknown};

/// For looking through all threads of a namespace, once a report.
const PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Owners {
    root: ProcRoot,
    pid: Pid,
    /// By the tid in their own namespace: ours, and whether that one has ended (a leader that is gone stays listed).
    threads: HashMap<u32, (Tid, bool)>,
    /// The dump holds every thread.
    complete: bool,
    /// The process counts its threads as we do.
    same_numbers: bool,
    others: HashMap<u32, Evidence<Owner>>,
    /// The tids of the process' namespace, where it is not ours; read when they are first asked for.
    namespace: Option<Evidence<HashMap<u32, Pid>>>,
}

impl Owners {
    pub fn new(root: &ProcRoot, dump: &Dump, complete: bool) -> Owners {
        let pid = dump.process.pid;
        let threads: HashMap<_, _> = dump
            .threads
            .iter()
            .map(|thread| {
                let ended = matches!(thread.state, ThreadState::Zombie | ThreadState::Dead);
                (thread.own_tid.0, (thread.tid(), ended))
            })
            .collect();
        Owners {
            root: root.clone(),
            pid,
            same_numbers: same_namespace(root, pid).unwrap_or_else(|| {
                // Equal numbers for all of them: it would be a strange accident.
                dump.threads.iter().all(|thread| thread.own_tid == thread.tid())
            }),
            threads,
            complete,
            others: HashMap::new(),
            namespace: None,
        }
    }

    /// The owner that this tid stands for.
    pub fn of(&mut self, own_tid: u32, proof: Proof) -> Evidence<Owner> {
        match self.threads.get(&own_tid) {
            Some((_, true)) => Ok(Owner::Ended { own_tid }),
            Some((tid, false)) => Ok(Owner::Thread { tid: *tid, proof }),
            None => {
                if let Some(known) = self.others.get(&own_tid) {
                    return known.clone();
                }
                let found = self.look_for(own_tid, proof);
                self.others.insert(own_tid, found.clone());
                found
            }
        }
    }

    /// Whether this is a living thread of the process.
    pub fn has(&self, own_tid: u32) -> bool {
        self.threads.get(&own_tid).is_some_and(|(_, ended)| !ended)
    }

    fn look_for(&mut self, own_tid: u32, proof: Proof) -> Evidence<Owner> {
        if self.root.is_captured() {
            return Err(Unknown::NotCaptured);
        }
        let of_process = |tid: Tid, process: Pid, pid: Pid| {
            if process == pid {
                Owner::Thread { tid, proof }
            } else {
                Owner::Foreign { own_tid }
            }
        };
        if self.same_numbers {
            let tid = Tid(own_tid);
            // A thread that began after the dump's list was made, or that the dump left out.
            if let Some(ended) = ended(&self.root.thread(self.pid, tid)) {
                return Ok(if ended {
                    Owner::Ended { own_tid }
                } else {
                    Owner::Thread { tid, proof }
                });
            }
            return match process_of(&self.root, own_tid) {
                Ok(Some(process)) => Ok(of_process(tid, process, self.pid)),
                Ok(None) => Ok(Owner::Ended { own_tid }),
                Err(why) => Err(why),
            };
        }
        let pid = self.pid;
        let root = &self.root;
        let namespace = self
            .namespace
            .get_or_insert_with(|| threads_of_namespace(root, pid))
            .as_ref()
            .map_err(|why| *why)?;
        match namespace.get(&own_tid) {
            Some(process) if *process != pid => Ok(Owner::Foreign { own_tid }),
            // One of its own that the dump does not hold; it has no number of ours here.
            Some(_) => Err(if self.complete {
                Unknown::Gone
            } else {
                Unknown::NotAsked
            }),
            None => Ok(Owner::Ended { own_tid }),
        }
    }
}

/// Whether the process lives in the namespace that we count by. `None`: not allowed to see.
fn same_namespace(root: &ProcRoot, pid: Pid) -> Option<bool> {
    let theirs = fs::read_link(root.process(pid).join("ns/pid")).ok()?;
    let ours = fs::read_link(root.path().join("self/ns/pid")).ok()?;
    Some(theirs == ours)
}

/// `None`: there is no such thread. True for one that has ended and is still listed.
fn ended(thread: &Path) -> Option<bool> {
    let line = fs::read(thread.join("stat")).ok()?;
    Some(matches!(stat::parse(&line)?.state, b'Z' | b'X' | b'x'))
}

/// The process of any thread of our namespace. `/proc/<tid>` is there for every thread, though only leaders are listed.
fn process_of(root: &ProcRoot, tid: u32) -> Evidence<Option<Pid>> {
    let path = root.path().join(tid.to_string()).join("status");
    if let Ok(text) = fs::read(path) {
        let process = crate::kernel::status::parse(&text).process;
        return process.map(|pid| Some(Pid(pid))).ok_or(Unknown::Unreadable);
    }
    // With hidepid others' processes are not there to be seen, and have not ended.
    let raw = i32::try_from(tid).ok().and_then(rustix::process::Pid::from_raw);
    let Some(raw) = raw else { return Ok(None) };
    match rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        // EINVAL and ENOENT: a thread, and not its process' first.
        _ => Err(Unknown::Denied),
    }
}

/// Every thread that the process' namespace counts, by its number there.
fn threads_of_namespace(root: &ProcRoot, pid: Pid) -> Evidence<HashMap<u32, Pid>> {
    let until = Instant::now() + PATIENCE;
    let link = |pid: Pid| fs::read_link(root.process(pid).join("ns/pid"));
    let namespace = link(pid).map_err(|_| Unknown::PtraceDenied)?;
    let numbers = |status: &[u8]| -> Vec<u32> {
        status
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"NSpid:"))
            .map(|ids| {
                ids.split(u8::is_ascii_whitespace)
                    .filter_map(|id| std::str::from_utf8(id).ok()?.parse().ok())
                    .collect()
            })
            .unwrap_or_default()
    };
    let leader = fs::read(root.process(pid).join("status")).map_err(|_| Unknown::Gone)?;
    // How deep the namespace lies below ours: its number is the so-manieth of every thread in or below it.
    let depth = numbers(&leader).len().checked_sub(1).ok_or(Unknown::Unreadable)?;
    let ids = |path: &Path| -> Vec<u32> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect()
    };
    let mut found = HashMap::new();
    for process in ids(root.path()) {
        let process = Pid(process);
        let folder = root.process(process);
        let Ok(status) = fs::read(folder.join("status")) else {
            continue;
        };
        let own = numbers(&status);
        let inside = match own.len().cmp(&(depth + 1)) {
            std::cmp::Ordering::Less => false,
            // A sibling is as deep as we look, and another namespace.
            std::cmp::Ordering::Equal => link(process).map_or(true, |theirs| theirs == namespace),
            std::cmp::Ordering::Greater => true,
        };
        if !inside {
            continue;
        }
        for tid in ids(&folder.join("task")) {
            if Instant::now() > until {
                return Err(Unknown::Late);
            }
            if let Ok(status) = fs::read(folder.join("task").join(tid.to_string()).join("status"))
                && let Some(own) = numbers(&status).get(depth)
            {
                found.insert(*own, process);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::locks::made;

    fn us() -> (Pid, Tid) {
        let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
        (Pid(std::process::id()), Tid(tid))
    }

    #[test]
    fn a_tid_of_the_process_is_its_thread_and_a_listed_dead_one_has_ended() {
        let mut dump = made::dump(us().0, &[]);
        dump.threads.push(made::thread(7, 107, ThreadState::Sleeping));
        dump.threads.push(made::thread(8, 108, ThreadState::Zombie));
        let mut owners = Owners::new(&ProcRoot::live(), &dump, true);
        assert_eq!(
            owners.of(107, Proof::Recorded),
            Ok(Owner::Thread {
                tid: Tid(7),
                proof: Proof::Recorded
            })
        );
        assert_eq!(owners.of(108, Proof::Recorded), Ok(Owner::Ended { own_tid: 108 }));
        assert!(owners.has(107) && !owners.has(108) && !owners.has(7));
    }

    #[test]
    fn a_thread_that_the_dump_left_out_is_found_and_an_ended_one_is_not() {
        let (pid, tid) = us();
        let mut owners = Owners::new(&ProcRoot::live(), &made::dump(pid, &[]), false);
        let expected = Owner::Thread {
            tid,
            proof: Proof::FutexWord,
        };
        assert_eq!(owners.of(tid.0, Proof::FutexWord), Ok(expected));
        let ended = std::thread::spawn(|| us().1).join().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while ProcRoot::live().thread(pid, ended).exists() && Instant::now() < deadline {}
        assert_eq!(
            owners.of(ended.0, Proof::Recorded),
            Ok(Owner::Ended { own_tid: ended.0 })
        );
        // Our parent is somebody else.
        let parent = std::os::unix::process::parent_id();
        assert_eq!(
            owners.of(parent, Proof::Recorded),
            Ok(Owner::Foreign { own_tid: parent })
        );
    }

    #[test]
    fn a_captured_tree_names_nobody_who_is_not_in_it() {
        let mut owners = Owners::new(&ProcRoot::captured("/nowhere"), &made::dump(Pid(1), &[]), true);
        assert_eq!(owners.of(7, Proof::Recorded), Err(Unknown::NotCaptured));
    }
}
