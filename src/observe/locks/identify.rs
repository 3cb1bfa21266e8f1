//! What lies behind each futex word that a thread waits at.
//!
//! The calls of all threads come first, then one batched copy of the memory around their words, then the stack
//! and that memory are asked together. A kind needs the stack; an owner needs the stack, memory that
//! fits, and a tid that is somebody's. Without a stack that says so, memory that looks like a lock is told
//! as a hint, and has no owner, with one exception: a thread in FUTEX_LOCK_PI waits for the thread whose
//! tid the word holds by the kernel's own rule.
//!
//! Some locks need a second copy: one that was being taken, one that names its owner by address, one whose
//! waiters sleep elsewhere. Waiters of one object are then put together.

use std::collections::HashMap;
use std::sync::Arc;

use super::futex::{self, Decoded, FutexWait, Operation};
use super::owner::Owners;
use super::place::Places;
use super::shape::{Claim, Shape};
use super::waiting::{At, Waiting, is_musl, waiting};
use super::words::{self, Live, Memory, Window};
use super::{cpp, file_locks, glibc, musl, others, parking_lot, rust_std};
use crate::model::{Dump, Evidence, Lock, LockKind, LockPlace, LockWait, Owner, Proof, Stack, Tid, Unknown, WaitMode};
use crate::observe::stacks::{AddressSpace, Dumper, Symbols};

/// The locks that somebody waits for, and the waits. `LockWait::lock` is a place in `locks`.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub locks: Vec<Lock>,
    pub waits: Vec<LockWait>,
}

/// `complete`: the dump holds every thread of the process.
pub(super) fn identify(dumper: &Dumper, dump: &Dump, complete: bool) -> Found {
    if dumper.root().is_captured() {
        return Found::default();
    }
    let space = dumper.space(dump.process.pid).ok();
    let around = Surroundings {
        memory: &Live(dump.process.pid),
        space: space.as_ref(),
        symbols: Some(dumper.symbols()),
    };
    let mut owners = Owners::new(dumper.root(), dump, complete);
    let futexes = of_futexes(dump, &around, &mut owners);
    let files = file_locks::identify(dumper.root(), dump, complete);
    put_together(futexes, files)
}

/// What a dump's locks are looked at with.
pub(super) struct Surroundings<'a> {
    pub memory: &'a dyn Memory,
    pub space: Option<&'a AddressSpace>,
    pub symbols: Option<&'a Symbols>,
}

/// A thread that sleeps at a futex word.
struct Sleeper {
    tid: Tid,
    wait: FutexWait,
    waiting: Option<Arc<Waiting>>,
    /// Of `futex_waitv`: how many words it sleeps at. This is the first of them.
    words: u64,
}

impl Sleeper {
    fn at(&self) -> Option<At> {
        Some(self.waiting.as_ref()?.at)
    }
}

/// A shape with what spoke for it.
struct Seen {
    shape: Shape,
    told_by: &'static str,
}

impl Seen {
    fn by_stack(mut shape: Shape) -> Seen {
        if shape.fits {
            return Seen {
                shape,
                told_by: "stack and memory",
            };
        }
        shape.claim = Claim::Nobody(Unknown::NoLockShape);
        "its memory does not look like one".clone_into(&mut shape.state);
        shape.flags.clear();
        shape.readers = None;
        Seen {
            shape,
            told_by: "stack",
        }
    }
}

pub(super) fn of_futexes(dump: &Dump, around: &Surroundings<'_>, owners: &mut Owners) -> Vec<(Lock, Vec<LockWait>)> {
    let sleepers = sleepers(dump, around.memory);
    if sleepers.is_empty() {
        return Vec::new();
    }
    let mut addresses: Vec<u64> = sleepers.iter().map(|sleeper| sleeper.wait.address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let windows = words::around(around.memory, &addresses);
    let looks = Looks {
        tid_offset: tid_offset(around),
        old_condition: old_condition(&sleepers, &windows),
    };
    let mut seen: Vec<Seen> = sleepers
        .iter()
        .map(|sleeper| looks.look(sleeper, windows.get(&sleeper.wait.address), owners))
        .collect();
    looks.look_again(&sleepers, &mut seen, around.memory, owners);
    looks.doubt_the_gone(&sleepers, &mut seen, around.memory, owners);
    name_parked(&sleepers, &mut seen, &windows, around.memory);
    name_by_block(&mut seen, around.memory, looks.tid_offset);

    let variable = |address| around.symbols?.variable(around.space?, address);
    let mappings = around.space.map_or(&[][..], |space| &space.mappings);
    let mut places = Places::new(dump, mappings, &variable, around.memory);
    let mut found: Vec<(Lock, Vec<LockWait>)> = Vec::new();
    let mut known: HashMap<(LockKind, u64), usize> = HashMap::new();
    for (sleeper, Seen { shape, told_by }) in sleepers.into_iter().zip(seen) {
        let mode = match (shape.kind, sleeper.at()) {
            (LockKind::PthreadMutex | LockKind::MuslMutex | LockKind::LibcInternal, _) => WaitMode::Exclusive,
            (_, None | Some(At::Other)) if sleeper.wait.operation == Operation::LockPi => WaitMode::Exclusive,
            (_, at) => at.map_or(WaitMode::Signal, At::mode),
        };
        let at = *known.entry((shape.kind, shape.address)).or_insert_with(|| {
            let owner = settle(&shape, owners);
            let place = match &owner {
                Ok(Owner::Thread {
                    tid,
                    proof: Proof::JoinTarget,
                }) => LockPlace::ThreadBlock { tid: *tid },
                _ => places.of(shape.address),
            };
            found.push((
                Lock {
                    address: shape.address,
                    kind: shape.kind,
                    flags: shape.flags,
                    place,
                    owner,
                    readers: shape.readers,
                    told_by,
                    state: shape.state,
                    waiters: Vec::new(),
                },
                Vec::new(),
            ));
            found.len() - 1
        });
        let (lock, waits) = &mut found[at];
        lock.waiters.push(sleeper.tid);
        waits.push(LockWait {
            tid: sleeper.tid,
            lock: at,
            mode,
            timed: sleeper.wait.timed,
            function: sleeper.waiting.as_ref().map(|waiting| Arc::clone(&waiting.function)),
        });
    }
    for (lock, _) in &mut found {
        drop_impossible_owner(lock);
    }
    found
}

/// The threads in a futex wait, in tid order.
fn sleepers(dump: &Dump, memory: &dyn Memory) -> Vec<Sleeper> {
    // Equal stacks are one allocation: each is asked once.
    let mut asked: HashMap<*const Stack, Option<Arc<Waiting>>> = HashMap::new();
    let mut found = Vec::new();
    let mut vectors = Vec::new();
    for thread in &dump.threads {
        let Some(decoded) = thread.call.as_ref().ok().and_then(futex::decode) else {
            continue;
        };
        let waiting = thread.stack.as_ref().ok().and_then(|stack| {
            asked
                .entry(Arc::as_ptr(stack))
                .or_insert_with(|| waiting(stack).map(Arc::new))
                .clone()
        });
        let (wait, words) = match decoded {
            Decoded::Wait(wait) => (wait, 1),
            Decoded::Restarted(wait) => {
                // It may have been any call with a time-out.
                if waiting.as_ref().is_none_or(|waiting| waiting.at == At::Other) {
                    continue;
                }
                (wait, 1)
            }
            Decoded::Vector { list, words, timed } => {
                vectors.push((found.len(), list, timed));
                // The address is filled in below.
                let wait = FutexWait {
                    address: 0,
                    value: 0,
                    operation: Operation::Wait,
                    private: true,
                    timed,
                };
                (wait, words)
            }
        };
        found.push(Sleeper {
            tid: thread.tid(),
            wait,
            waiting,
            words,
        });
    }
    let places: Vec<_> = vectors.iter().map(|(_, list, _)| (*list, 24)).collect();
    for ((at, _, timed), bytes) in vectors.into_iter().zip(memory.read(&places)) {
        if let Some(wait) = bytes.and_then(|bytes| futex::vector_entry(&bytes, timed)) {
            found[at].wait = wait;
        }
    }
    found.retain(|sleeper| sleeper.wait.address != 0);
    found
}

/// Where this libc keeps a thread's tid in its control block: it says so itself, to debuggers.
fn tid_offset(around: &Surroundings<'_>) -> u64 {
    let told = || {
        let (space, symbols) = (around.space?, around.symbols?);
        let address = ["libc.so", "libpthread"]
            .iter()
            .find_map(|module| symbols.address_of(space, module, "_thread_db_pthread_tid"))?;
        // Bits, elements, offset: nptl_db/db_info.c.
        let bytes = around.memory.read(&[(address, 12)]).pop()??;
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (bits, offset) = (word(0)?, word(8)?);
        (bits == 32 && offset > 0 && offset < 4096).then_some(u64::from(offset))
    };
    told().unwrap_or(glibc::TID_OFFSET)
}

/// The layout of this process' condition variables: there is one libc, so the sure ones decide for the others.
fn old_condition(sleepers: &[Sleeper], windows: &HashMap<u64, Window>) -> Option<bool> {
    let (mut old, mut new) = (0, 0);
    for sleeper in sleepers {
        if !matches!(sleeper.at(), Some(At::Cond | At::Java(_))) {
            continue;
        }
        let Some(window) = windows.get(&sleeper.wait.address) else {
            continue;
        };
        let layouts = glibc::condition_layouts(&sleeper.wait, window);
        if layouts.one() {
            old += usize::from(layouts.old);
            new += usize::from(layouts.new);
        }
    }
    (old != new).then_some(old > new)
}

/// What holds for all locks of one process.
struct Looks {
    tid_offset: u64,
    old_condition: Option<bool>,
}

impl Looks {
    fn look(&self, sleeper: &Sleeper, window: Option<&Window>, owners: &Owners) -> Seen {
        let wait = &sleeper.wait;
        let mut seen = match &sleeper.waiting {
            Some(waiting) if waiting.at != At::Other => match window {
                Some(window) => self.told(waiting, wait, window, owners),
                None => None,
            }
            .unwrap_or_else(|| {
                let mut seen = Seen::by_stack(Shape::of(waiting.at.kind(), wait.address));
                if window.is_none() {
                    "its memory could not be read".clone_into(&mut seen.shape.state);
                }
                seen
            }),
            _ => self.untold(wait, window, owners),
        };
        if sleeper.words > 1 {
            seen.shape.state = format!("the first of {} words that are waited at together", sleeper.words);
            seen.shape.claim = Claim::Nobody(Unknown::NoLockShape);
        }
        seen
    }

    /// The stack names the function that waits.
    fn told(&self, waiting: &Waiting, wait: &FutexWait, window: &Window, owners: &Owners) -> Option<Seen> {
        let of_musl = waiting.module.as_deref().is_some_and(is_musl);
        let shape = match waiting.at {
            At::RustMutex | At::RustRwlock(_) | At::RustCondvar | At::RustOnce | At::RustPark => {
                rust_std::look(waiting.at, wait, window)?
            }
            At::CppAtomic => cpp::look(wait, window)?,
            At::ParkingLot(_) => parking_lot::parker(wait, Some(window)),
            At::Go | At::Java(_) => {
                return Some(Seen {
                    shape: Shape {
                        state: others::state(waiting.at).to_owned(),
                        claim: Claim::Nobody(Unknown::OwnerNotRecorded),
                        kind: waiting.at.kind(),
                        ..self.condition(wait, window).map_or_else(
                            || Shape::of(waiting.at.kind(), wait.address),
                            |condition| Shape::of(waiting.at.kind(), condition.address),
                        )
                    },
                    told_by: "stack",
                });
            }
            at if of_musl => musl::look(at, wait, window)?,
            At::Mutex => glibc::mutex(wait, window)
                .filter(|shape| shape.fits)
                // A static program has its libc in its own file.
                .or_else(|| musl::mutex(wait, window).filter(|shape| shape.fits))
                .or_else(|| refused(wait, window))
                .or_else(|| glibc::mutex(wait, window))?,
            At::Cond => self.condition_or_its_mutex(wait, window, owners)?,
            // Only its plain wait is known: another is no lock that we know.
            At::LibcInternal if wait.operation != Operation::Wait || wait.value != 2 => {
                return Some(self.untold(wait, Some(window), owners));
            }
            at => glibc::look(at, wait, window, self.tid_offset)?,
        };
        Some(Seen::by_stack(shape))
    }

    /// `pthread_cond_wait` takes its mutex again at its end, by a function that a stripped libc has no name for.
    fn condition_or_its_mutex(&self, wait: &FutexWait, window: &Window, owners: &Owners) -> Option<Shape> {
        if wait.operation != Operation::WaitBitset || wait.value >> 31 != 0 {
            let mutex = glibc::mutex(wait, window).filter(|shape| shape.fits);
            let owned = |claim| match claim {
                Claim::Recorded(tid) | Claim::FutexWord(tid) => owners.has(tid),
                _ => false,
            };
            if let Some(mutex) = mutex.filter(|mutex| owned(mutex.claim)) {
                return Some(mutex);
            }
        }
        self.condition(wait, window)
    }

    fn condition(&self, wait: &FutexWait, window: &Window) -> Option<Shape> {
        let layouts = glibc::condition_layouts(wait, window);
        let (old, sure) = match (layouts.old, layouts.new, self.old_condition) {
            (true, false, _) => (true, true),
            (false, true, _) => (false, true),
            (_, _, Some(old)) => (old, true),
            (_, _, None) => (false, false),
        };
        let mut shape = glibc::condition(wait, window, old)?;
        if shape.fits && !sure {
            shape.state.push_str("; it may begin 8 bytes before");
        }
        Some(shape)
    }

    /// No function says what this is. What the memory looks like is a hint, and no more.
    fn untold(&self, wait: &FutexWait, window: Option<&Window>, owners: &Owners) -> Seen {
        let mut shape = Shape::of(LockKind::Unknown, wait.address);
        shape.state = format!("waits while the word is {:#x}", wait.value);
        let Some(window) = window else {
            return Seen {
                shape,
                told_by: "nothing",
            };
        };
        let hint = if wait.operation == Operation::LockPi {
            // The kernel's own protocol: the word is the owner's tid, or the call would have failed.
            let tid = window.u32(wait.address).unwrap_or(0) & 0x3fff_ffff;
            shape.flags = vec!["priority_inheritance"];
            shape.claim = if tid == 0 {
                Claim::Nobody(Unknown::NotHeld)
            } else {
                Claim::FutexWord(tid)
            };
            Some("a lock with priority inheritance")
        } else {
            let fitting = |shape: Option<Shape>| shape.filter(|shape| shape.fits).map(|shape| shape.claim);
            let mutex = fitting(glibc::mutex(wait, window));
            let join = fitting(glibc::look(At::Join, wait, window, self.tid_offset));
            let musl = fitting(musl::mutex(wait, window));
            if matches!(mutex, Some(Claim::Recorded(tid) | Claim::FutexWord(tid)) if owners.has(tid)) {
                Some("looks like a pthread mutex")
            } else if matches!(join, Some(Claim::Join(tid)) if owners.has(tid)) {
                Some("looks like a join")
            } else if musl.is_some() && wait.value >> 31 != 0 {
                Some("looks like a mutex of musl")
            } else if wait.operation == Operation::WaitBitset && wait.value == 2 {
                Some("looks like a mutex of Rust's std")
            } else {
                None
            }
        };
        if let Some(hint) = hint {
            shape.state = format!("{}; {hint}", shape.state);
        }
        Seen {
            shape,
            told_by: if hint.is_some() { "call" } else { "nothing" },
        }
    }

    /// A lock that was held with no owner written was on its way: it is read once more.
    fn look_again(&self, sleepers: &[Sleeper], seen: &mut [Seen], memory: &dyn Memory, owners: &Owners) {
        let unsettled: Vec<usize> = (0..seen.len())
            .filter(|at| seen[*at].shape.claim == Claim::Unsettled)
            .collect();
        if unsettled.is_empty() {
            return;
        }
        let addresses: Vec<u64> = unsettled.iter().map(|at| sleepers[*at].wait.address).collect();
        let windows = words::around(memory, &addresses);
        for at in unsettled {
            if let Some(window) = windows.get(&sleepers[at].wait.address) {
                seen[at] = self.look(&sleepers[at], Some(window), owners);
            }
        }
    }

    /// A thread may let go of a lock and end between the reading of the lock and the search for the thread. Only a
    /// lock that names it still, after the search found it gone, was left behind.
    fn doubt_the_gone(&self, sleepers: &[Sleeper], seen: &mut [Seen], memory: &dyn Memory, owners: &mut Owners) {
        let gone: Vec<usize> = (0..seen.len())
            .filter(|at| {
                let owner = settle(&seen[*at].shape, owners);
                matches!(owner, Ok(Owner::Ended { .. } | Owner::Foreign { .. }))
            })
            .collect();
        if gone.is_empty() {
            return;
        }
        let addresses: Vec<u64> = gone.iter().map(|at| sleepers[*at].wait.address).collect();
        let windows = words::around(memory, &addresses);
        for at in gone {
            let again = self.look(&sleepers[at], windows.get(&sleepers[at].wait.address), owners);
            if again.shape.claim != seen[at].shape.claim {
                seen[at] = again;
                // It is in motion: another that is gone by now proves as little.
                let owner = settle(&seen[at].shape, owners);
                if matches!(owner, Ok(Owner::Ended { .. } | Owner::Foreign { .. })) {
                    seen[at].shape.claim = Claim::Nobody(Unknown::NotHeld);
                }
            }
        }
    }
}

/// A mutex with priority inheritance that its own holder locks again: the kernel refuses, and glibc then sleeps for
/// good at a zero of its own.
fn refused(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let is_one = wait.value == 0 && wait.operation != Operation::LockPi && window.u32(wait.address) == Some(0);
    is_one.then(|| Shape {
        state: "the kernel refused the lock (its thread holds it already, or its owner has ended); it sleeps for good"
            .to_owned(),
        fits: true,
        claim: Claim::Nobody(Unknown::OwnerNotRecorded),
        flags: vec!["priority_inheritance"],
        ..Shape::of(LockKind::PthreadMutex, wait.address)
    })
}

/// Threads of parking_lot sleep at words of their own: the lock that they wait for is found by its key.
fn name_parked(sleepers: &[Sleeper], seen: &mut [Seen], windows: &HashMap<u64, Window>, memory: &dyn Memory) {
    let parked: Vec<(usize, parking_lot::What, u64)> = sleepers
        .iter()
        .enumerate()
        .filter_map(|(at, sleeper)| match sleeper.at() {
            Some(At::ParkingLot(what)) => {
                let window = windows.get(&sleeper.wait.address)?;
                Some((at, what, parking_lot::key(&sleeper.wait, window)?))
            }
            _ => None,
        })
        .collect();
    let places: Vec<_> = parked.iter().map(|(_, _, key)| (*key, 8)).collect();
    for ((at, what, key), bytes) in parked.into_iter().zip(memory.read(&places)) {
        let window = bytes.map(|bytes| Window { start: key, bytes });
        if let Some(shape) = window.and_then(|window| parking_lot::lock(what, key, &window)) {
            seen[at] = Seen::by_stack(shape);
        }
    }
}

/// A stdio stream's lock names its owner by the address of its control block.
fn name_by_block(seen: &mut [Seen], memory: &dyn Memory, tid_offset: u64) {
    let named: Vec<(usize, u64)> = seen
        .iter()
        .enumerate()
        .filter_map(|(at, seen)| match seen.shape.claim {
            Claim::ControlBlock(block) => Some((at, block)),
            _ => None,
        })
        .collect();
    let bytes = glibc::block_bytes(tid_offset);
    let places: Vec<_> = named.iter().map(|(_, block)| (*block, bytes)).collect();
    for ((at, start), bytes) in named.into_iter().zip(memory.read(&places)) {
        let shape = &mut seen[at].shape;
        let tid = bytes.and_then(|bytes| glibc::tid_of_block(&Window { start, bytes }, tid_offset));
        shape.claim = match tid {
            Some(tid) => {
                shape.flags.push("stdio");
                Claim::Recorded(tid)
            }
            None => Claim::Nobody(Unknown::OwnerNotRecorded),
        };
    }
}

fn settle(shape: &Shape, owners: &mut Owners) -> Evidence<Owner> {
    match shape.claim {
        Claim::Recorded(tid) => owners.of(tid, Proof::Recorded),
        Claim::FutexWord(tid) => owners.of(tid, Proof::FutexWord),
        // A thread of another process cannot be joined: such a tid is none.
        Claim::Join(tid) => match owners.of(tid, Proof::JoinTarget)? {
            Owner::Foreign { .. } => Err(Unknown::NoLockShape),
            owner => Ok(owner),
        },
        Claim::ControlBlock(_) => Err(Unknown::OwnerNotRecorded),
        Claim::Unsettled => Err(Unknown::NotHeld),
        Claim::Nobody(why) => Err(why),
    }
}

/// Such a mutex lets its owner through or tells him of the deadlock: an owner that waits has got the tid of one
/// that ended, or the lock has changed hands while we looked.
fn drop_impossible_owner(lock: &mut Lock) {
    let lets_owner_through = lock
        .flags
        .iter()
        .any(|flag| matches!(*flag, "recursive" | "error_checking" | "stdio"));
    let owner = lock.owner.as_ref().ok().and_then(Owner::thread);
    if lets_owner_through && owner.is_some_and(|owner| lock.waiters.contains(&owner)) {
        lock.owner = Err(Unknown::NotHeld);
    }
}

/// Locks with most waiters first, and every wait with its lock's place among them.
fn put_together(futexes: Vec<(Lock, Vec<LockWait>)>, files: Vec<(Lock, Vec<LockWait>)>) -> Found {
    let mut all: Vec<_> = futexes.into_iter().chain(files).collect();
    all.sort_by_key(|(lock, _)| (std::cmp::Reverse(lock.waiters.len()), lock.address));
    let mut found = Found::default();
    for (at, (mut lock, waits)) in all.into_iter().enumerate() {
        lock.waiters.sort_unstable();
        found.locks.push(lock);
        found
            .waits
            .extend(waits.into_iter().map(|wait| LockWait { lock: at, ..wait }));
    }
    found.waits.sort_by_key(|wait| wait.tid);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{ProcRoot, calls};
    use crate::model::{Call, Pid, ThreadState};
    use crate::observe::locks::made;
    use crate::observe::locks::waiting::tests::stack;
    use crate::observe::locks::words::tests::Made;
    use proptest::prelude::*;

    const FUNCTIONS: &[&str] = &[
        "",
        "pthread_mutex_lock",
        "pthread_rwlock_rdlock",
        "pthread_rwlock_wrlock",
        "pthread_cond_wait",
        "pthread_barrier_wait",
        "sem_wait",
        "pthread_once",
        "pthread_join",
        "puts",
        "std::sys::sync::mutex::futex::Mutex::lock_contended",
        "std::sys::sync::rwlock::futex::RwLock::write_contended",
        "parking_lot::raw_mutex::RawMutex::lock_slow",
        "std::latch::wait() const",
        "runtime.futex",
        "work",
    ];

    fn sleeping(tid: u32, address: u64, operation: u64, value: u32, function: &str) -> crate::model::DumpThread {
        let mut thread = made::thread(tid, tid + 100, ThreadState::Sleeping);
        thread.stack = Ok(stack(&[("", "/usr/lib/libc.so.6"), (function, "/usr/lib/libc.so.6")]));
        thread.call = Ok(Call {
            number: (0..1000).find(|number| calls::name(*number) == Some("futex")),
            arguments: [address, operation, u64::from(value), 0, 0, 0],
            stack_pointer: 0x7000,
            program_counter: 0x1000,
        });
        thread
    }

    fn locks(threads: Vec<crate::model::DumpThread>, memory: &Made) -> Found {
        let mut dump = made::dump(Pid(1), &[]);
        dump.threads = threads;
        let around = Surroundings {
            memory,
            space: None,
            symbols: None,
        };
        let mut owners = Owners::new(&ProcRoot::captured("/nowhere"), &dump, true);
        put_together(of_futexes(&dump, &around, &mut owners), Vec::new())
    }

    #[test]
    fn the_same_memory_has_an_owner_only_where_the_stack_says_what_it_is() {
        let mut bytes = vec![0; 4096];
        bytes[0x100] = 2;
        bytes[0x108] = 102;
        let memory = Made { start: 0x10000, bytes };
        let owner = |function: &str| {
            let waiting = sleeping(1, 0x10100, 0x80, 2, function);
            let other = made::thread(2, 102, ThreadState::Sleeping);
            locks(vec![waiting, other], &memory).locks[0].owner.clone()
        };
        let proved = Owner::Thread {
            tid: Tid(2),
            proof: Proof::Recorded,
        };
        assert_eq!(owner("pthread_mutex_lock"), Ok(proved));
        assert_eq!(owner("puts"), Err(Unknown::OwnerNotRecorded));
        assert_eq!(owner("work_of_no_library"), Err(Unknown::OwnerNotRecorded));
        assert_eq!(owner(""), Err(Unknown::NoLockShape));
    }

    #[test]
    fn a_layout_that_one_condition_variable_shows_is_that_of_all() {
        let mut bytes = vec![0; 4096];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        // New, at 0x100, and sure: a pointer lies before it.
        for (at, value) in [(0xf8, 0x5555_5000), (0x100, 2003), (0x108, 2000), (0x11c, 8)] {
            put(at, value);
        }
        // At 0x200 or 0x1f8.
        for (at, value) in [(0x1f8, 6), (0x200, 4), (0x208, 2), (0x21c, 8)] {
            put(at, value);
        }
        let memory = Made { start: 0x10000, bytes };
        let sure = || sleeping(1, 0x10120, 0x189, 0, "pthread_cond_wait");
        let unsure = || sleeping(2, 0x10220, 0x189, 0, "pthread_cond_wait");
        let found = locks(vec![sure(), unsure()], &memory).locks;
        let addresses: Vec<_> = found.iter().map(|lock| (lock.address, &*lock.state)).collect();
        assert_eq!(addresses, [(0x10100, "1 waiting"), (0x10200, "1 waiting")]);
        let alone = &locks(vec![unsure()], &memory).locks[0];
        assert_eq!(alone.state, "1 waiting; it may begin 8 bytes before");
    }

    proptest! {
        #[test]
        fn whatever_memory_holds_an_owner_is_a_living_thread(
            words in prop::collection::vec(prop_oneof![0..4u32, 100..106u32, 16..40u32, any::<u32>()], 256),
            sleepers in prop::collection::vec(
                (0..256u64, prop_oneof![Just(0x80u64), Just(0x189), Just(0x109), Just(0x86)], prop_oneof![0..4u32, 100..106u32, any::<u32>()], 0..FUNCTIONS.len()),
                1..6,
            ),
        ) {
            let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let memory = Made { start: 0x10000, bytes };
            let mut threads: Vec<_> = sleepers
                .iter()
                .enumerate()
                .map(|(at, (word, operation, value, function))| {
                    sleeping(at as u32 + 1, 0x10000 + word * 4, *operation, *value, FUNCTIONS[*function])
                })
                .collect();
            threads.push(made::thread(50, 105, ThreadState::Zombie));
            let found = locks(threads, &memory);
            prop_assert_eq!(found.waits.len(), sleepers.len());
            for lock in &found.locks {
                match &lock.owner {
                    Ok(Owner::Thread { tid, .. }) => prop_assert!(tid.0 <= sleepers.len() as u32, "{:?}", lock),
                    Ok(Owner::Ended { own_tid }) => prop_assert_eq!(*own_tid, 105),
                    Ok(owner) => prop_assert!(false, "{:?}", owner),
                    Err(_) => {}
                }
                let own = found.waits.iter().filter(|wait| std::ptr::eq(&raw const found.locks[wait.lock], lock));
                prop_assert_eq!(own.count(), lock.waiters.len());
            }
        }
    }
}
