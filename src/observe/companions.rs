//! What `threads` needs beside the task directory: the process' ledger and its mappings.
//!
//! Both are dear to find, so they are looked for seldom. The ledger is searched for among the open
//! files of the process: at first at every pass, then ever more rarely, because a program may make
//! one late. The mappings are read again only when a stack pointer lies in no known stack or a
//! thread is newer than the last reading, and never so often that it takes more than a tenth of
//! the time: in a process that makes threads all the time, new ones wait for their stack.

use std::sync::Arc;

use super::own_stack::StackMap;
use crate::kernel::{ProcRoot, clock};
use crate::ledger;
use crate::model::{Evidence, LedgerView, Nanos, Pid, StackUse, Unknown};

/// A stack that is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub stack_pointer: u64,
    /// When the thread was first seen: mappings read before that may not hold its stack, or, worse,
    /// hold an older one in the same place with other bounds.
    pub first_seen: Nanos,
}

pub(super) trait Companions: Send {
    /// What the process says of itself now.
    fn ledger(&mut self, now: Nanos) -> Evidence<Arc<LedgerView>>;

    /// Called before `stack` with all that will be asked for.
    fn prepare_stacks(&mut self, wanted: &[Wanted], now: Nanos);

    /// One stack. `NotAsked`: ask again later.
    fn stack(&mut self, wanted: Wanted) -> Evidence<StackUse>;

    /// The main thread's stack, if the mappings have been read: known whatever that thread does.
    fn main_stack(&mut self) -> Option<StackUse>;

    /// The process has called exec: neither ledger nor mappings are what they were.
    fn another_program(&mut self);
}

/// Makes the companions of a process. Tests of the reader put their own in place.
pub(super) type Make = fn(&ProcRoot, Pid) -> Box<dyn Companions>;

pub(super) fn live(root: &ProcRoot, pid: Pid) -> Box<dyn Companions> {
    Box::new(Live {
        root: root.clone(),
        pid,
        ledger: None,
        why_none: Unknown::NoLedger,
        patience: Patience::default(),
        stacks: None,
    })
}

struct Live {
    root: ProcRoot,
    pid: Pid,
    ledger: Option<ledger::Reader>,
    why_none: Unknown,
    patience: Patience,
    stacks: Option<Stacks>,
}

struct Stacks {
    map: Evidence<StackMap>,
    read_at: Nanos,
    /// How long the reading took.
    took: Nanos,
}

impl Companions for Live {
    fn ledger(&mut self, _now: Nanos) -> Evidence<Arc<LedgerView>> {
        if self.ledger.is_none() && self.patience.is_over() {
            match ledger::Reader::find(&self.root, self.pid) {
                Ok(found) => {
                    self.ledger = found;
                    self.why_none = Unknown::NoLedger;
                }
                Err(error) => {
                    self.why_none = match error {
                        ledger::ReaderError::Denied(_) => Unknown::PtraceDenied,
                        ledger::ReaderError::Ended(_) => Unknown::Gone,
                        ledger::ReaderError::Version { .. } | ledger::ReaderError::Garbage(..) => {
                            tracing::debug!(%error, "a ledger could not be used");
                            Unknown::Unreadable
                        }
                    };
                }
            }
        }
        match &self.ledger {
            Some(reader) => Ok(Arc::new(reader.read())),
            None => Err(self.why_none),
        }
    }

    fn prepare_stacks(&mut self, wanted: &[Wanted], now: Nanos) {
        if let Some(stacks) = &self.stacks {
            let strange = |wanted: &Wanted| match &stacks.map {
                // Mapped then and in no stack: a goroutine's, say. Reading again will not help.
                Ok(map) => {
                    wanted.first_seen > stacks.read_at
                        || !(map.holds(wanted.stack_pointer) || map.has_mapped(wanted.stack_pointer))
                }
                Err(_) => true,
            };
            let rested = now.saturating_sub(stacks.read_at).0 >= stacks.took.0.saturating_mul(10);
            if !rested || !wanted.iter().any(strange) {
                return;
            }
        }
        let map = StackMap::read(&self.root, self.pid);
        self.stacks = Some(Stacks {
            map,
            read_at: now,
            took: clock::monotonic().saturating_sub(now),
        });
    }

    fn stack(&mut self, wanted: Wanted) -> Evidence<StackUse> {
        let Some(stacks) = &self.stacks else {
            return Err(Unknown::NotAsked);
        };
        let map = stacks.map.as_ref().map_err(|why| *why)?;
        if wanted.first_seen > stacks.read_at {
            return Err(Unknown::NotAsked);
        }
        map.find(wanted.stack_pointer)
    }

    fn main_stack(&mut self) -> Option<StackUse> {
        self.stacks.as_ref()?.map.as_ref().ok()?.main()
    }

    fn another_program(&mut self) {
        self.ledger = None;
        self.why_none = Unknown::NoLedger;
        self.patience = Patience::default();
        self.stacks = None;
    }
}

/// Says at which passes to try again: the first few, then with gaps that double up to 64.
#[derive(Debug, Default)]
struct Patience {
    passes: u32,
    next: u32,
}

impl Patience {
    const EAGER: u32 = 4;
    const LONGEST: u32 = 64;

    fn is_over(&mut self) -> bool {
        self.passes = self.passes.saturating_add(1);
        if self.passes < self.next {
            return false;
        }
        let gap = if self.passes <= Self::EAGER {
            1
        } else {
            self.passes.min(Self::LONGEST)
        };
        self.next = self.passes.saturating_add(gap);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_stacks_are_found_in_our_own_mappings() {
        let root = ProcRoot::live();
        let mut live = live(&root, Pid(std::process::id()));
        let here = 0u64;
        let now = clock::monotonic();
        let wanted = Wanted {
            stack_pointer: &raw const here as u64,
            first_seen: now,
        };
        assert_eq!(live.stack(wanted), Err(Unknown::NotAsked));
        live.prepare_stacks(&[wanted], clock::monotonic());
        let stack = live.stack(wanted).unwrap();
        assert!(stack.start < wanted.stack_pointer && wanted.stack_pointer < stack.end);
        assert_eq!(stack.used_bytes, Ok(stack.end - wanted.stack_pointer));
        assert!(
            live.main_stack()
                .is_some_and(|main| main.used_bytes == Err(Unknown::Running))
        );

        // A thread that is newer than the reading has to wait for the next one.
        let newer = Wanted {
            first_seen: clock::monotonic(),
            ..wanted
        };
        assert_eq!(live.stack(newer), Err(Unknown::NotAsked));
        live.another_program();
        assert_eq!(live.stack(wanted), Err(Unknown::NotAsked));
    }

    #[test]
    fn a_process_without_a_ledger_says_so() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mut live = live(&ProcRoot::live(), Pid(child.id()));
        assert_eq!(live.ledger(Nanos(0)), Err(Unknown::NoLedger));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn patience_grows_but_never_ends() {
        let mut patience = Patience::default();
        let tries: Vec<u32> = (1..=300).filter(|_| patience.is_over()).collect();
        assert_eq!(tries, [1, 2, 3, 4, 5, 10, 20, 40, 80, 144, 208, 272]);
    }
}
