//! glibc's locks: which functions wait for them, and how they lie in memory.
//!
//! Source: sysdeps/nptl/bits/{struct_mutex,struct_rwlock,thread-shared-types}.h with their x86 and
//! AArch64 variants, nptl/pthread_{mutex_lock,rwlock_common,cond_wait,barrier_wait,join_common}.c,
//! at the tags 2.31 to 2.42. Little-endian, 64 bits.
//!
//! **No version is asked for, on purpose.** Of all offsets used here one pair has moved between 2.31 and
//! 2.42: the signal words of the condition variable went from 40 and 44 to 32 and 36 when 2.41 dropped
//! `__g_refs`, and the branches of 2.38, 2.39 and 2.40 took that change in without another version. So
//! the version string does not decide, and memory does: see [`condition_layouts`]. All others are part of
//! the binary interface (static initialisers are compiled into programs) and stay. Where a thread's
//! control block keeps its tid is asked of libc itself (`_thread_db_pthread_tid`).
//!
//! | object | fields (byte: name) | a waiter sleeps at |
//! |---|---|---|
//! | mutex | 0 lock, 4 count, 8 owner, 12 users, 16 kind | 0 |
//! | reader-writer lock | 0 readers, 4 writers, 8 write phase, 12 writers' word, 24 writer, 28 shared, 48 flags | 8, 12 or 0 |
//! | condition, old | 0 wseq, 8 g1_start, 16 g_refs, 24 g_size, 32 g1_orig_size, 36 wrefs, 40 and 44 g_signals | 40, 44 |
//! | condition, new | 0 wseq, 8 g1_start, 16 g_size, 24 g1_orig_size, 28 wrefs, 32 and 36 g_signals | 32, 36 |
//! | barrier | 0 in, 4 round, 8 count, 12 shared, 16 out | 4, leavers 0 |
//! | semaphore | 0 value, 4 waiters, 8 private | 0 |
//! | once | 0 state | 0 |
//! | join | the joined thread's control block | its tid |

use super::futex::{FutexWait, Operation};
use super::shape::{Claim, Shape};
use super::waiting::At;
use super::words::Window;
use crate::model::{LockKind, Unknown, WaitMode};

/// PID_MAX_LIMIT, include/linux/threads.h: no tid is higher.
const MOST_TID: u32 = 4 * 1024 * 1024;

/// Bits of a mutex' kind.
const ROBUST: u32 = 0x10;
const PRIORITY_INHERITANCE: u32 = 0x20;
const PRIORITY_PROTECT: u32 = 0x40;
const PROCESS_SHARED: u32 = 0x80;
const ELISION: u32 = 0x100;
const KIND_BITS: u32 = 0x3f3;
/// The ceiling lies above these bits of a priority-protected mutex' word.
const BELOW_CEILING: u32 = 0x7_ffff;

/// FUTEX_TID_MASK and FUTEX_OWNER_DIED.
const WORD_TID: u32 = 0x3fff_ffff;
const WORD_DIED: u32 = 0x4000_0000;
/// PTHREAD_MUTEX_INCONSISTENT and PTHREAD_MUTEX_NOTRECOVERABLE: in the owner's place, and no tids.
const INCONSISTENT: u32 = 0x7fff_ffff;
const NOT_RECOVERABLE: u32 = 0x7fff_fffe;

/// Bits of a reader-writer lock's readers.
const WRITE_PHASE: u32 = 1;
const WRITE_LOCKED: u32 = 2;
const READER_SHIFT: u32 = 3;

/// Where `struct pthread` keeps its tid, when libc cannot be asked.
pub(super) const TID_OFFSET: u64 = if cfg!(target_arch = "aarch64") { 208 } else { 720 };

/// By the bare name of a function of libc (see `waiting::bare`).
pub(super) fn waits(name: &str) -> Option<At> {
    let name = name.strip_suffix("64").unwrap_or(name);
    Some(match name {
        "pthread_mutex_lock"
        | "pthread_mutex_lock_full"
        | "pthread_mutex_timedlock"
        | "pthread_mutex_clocklock"
        | "pthread_mutex_clocklock_common"
        | "pthread_mutex_cond_lock"
        | "pthread_mutex_cond_lock_full"
        | "pthread_mutex_cond_lock_adjust"
        | "mtx_lock"
        | "mtx_timedlock" => At::Mutex,
        "pthread_rwlock_rdlock"
        | "pthread_rwlock_rdlock_full"
        | "pthread_rwlock_timedrdlock"
        | "pthread_rwlock_clockrdlock" => At::Rwlock(WaitMode::Shared),
        "pthread_rwlock_wrlock"
        | "pthread_rwlock_wrlock_full"
        | "pthread_rwlock_timedwrlock"
        | "pthread_rwlock_clockwrlock" => At::Rwlock(WaitMode::Exclusive),
        "pthread_cond_wait"
        | "pthread_cond_wait_common"
        | "pthread_cond_timedwait"
        | "pthread_cond_clockwait"
        | "pthread_cond_destroy"
        | "pthread_cond_signal"
        | "pthread_cond_broadcast"
        | "cnd_wait"
        | "cnd_timedwait" => At::Cond,
        "sem_wait" | "sem_timedwait" | "sem_clockwait" | "new_sem_wait" | "new_sem_wait_slow" | "new_sem_wait_fast" => {
            At::Semaphore
        }
        "pthread_barrier_wait" | "pthread_barrier_destroy" => At::Barrier,
        "pthread_once" | "pthread_once_slow" | "pthread_once_full" | "call_once" => At::Once,
        "pthread_join"
        | "pthread_timedjoin_np"
        | "pthread_clockjoin_np"
        | "pthread_clockjoin_ex"
        | "pthread_timedjoin_ex"
        | "lll_wait_tid"
        | "lll_timedwait_tid"
        | "thrd_join" => At::Join,
        _ => return None,
    })
}

/// The object at the word, as the waiting function says; conditions have their own way.
pub(super) fn look(at: At, wait: &FutexWait, window: &Window, tid_offset: u64) -> Option<Shape> {
    match at {
        At::Mutex => mutex(wait, window),
        At::Rwlock(mode) => rwlock(mode, wait, window),
        At::Barrier => barrier(wait, window),
        At::Semaphore => semaphore(wait, window),
        At::Once => once(wait, window),
        At::Join => join(wait, window, tid_offset),
        At::LibcInternal => internal(wait, window),
        _ => None,
    }
}

pub(super) fn mutex(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let base = wait.address;
    let word = |offset: u64| window.u32(base.checked_add(offset)?);
    let (lock, owner, kind) = (word(0)?, word(8)?, word(16)?);
    let mut shape = Shape::of(LockKind::PthreadMutex, base);
    if kind == u32::MAX {
        shape.fits = true;
        "destroyed".clone_into(&mut shape.state);
        shape.claim = Claim::Nobody(Unknown::NotHeld);
        return Some(shape);
    }
    shape.flags = flags(kind);
    let of_tid = kind & (ROBUST | PRIORITY_INHERITANCE) != 0;
    let word = if kind & PRIORITY_PROTECT != 0 {
        lock & BELOW_CEILING
    } else {
        lock
    };
    let owner_is_one = owner < MOST_TID || matches!(owner, INCONSISTENT | NOT_RECOVERABLE);
    let word_is_one = if of_tid { word & WORD_TID < MOST_TID } else { word <= 2 };
    let call_is_one = match wait.operation {
        Operation::LockPi => kind & PRIORITY_INHERITANCE != 0,
        Operation::Wait | Operation::WaitBitset => {
            kind & PRIORITY_INHERITANCE == 0
                && (of_tid
                    || wait.value
                        & if kind & PRIORITY_PROTECT != 0 {
                            BELOW_CEILING
                        } else {
                            u32::MAX
                        }
                        == 2)
        }
        Operation::WaitRequeuePi => false,
    };
    shape.fits = kind & !KIND_BITS == 0 && owner_is_one && word_is_one && call_is_one;
    (shape.claim, shape.state) = if of_tid {
        of_word(word, owner)
    } else {
        of_field(word, owner, kind)
    };
    Some(shape)
}

/// A robust mutex or one with priority inheritance: the word is the owner's tid.
fn of_word(word: u32, owner: u32) -> (Claim, String) {
    let (claim, state) = match word & WORD_TID {
        0 if owner == NOT_RECOVERABLE => (Claim::Nobody(Unknown::NotHeld), "not recoverable"),
        0 if word & WORD_DIED != 0 => (Claim::Nobody(Unknown::NotHeld), "its owner died"),
        0 => (Claim::Nobody(Unknown::NotHeld), "free"),
        tid if owner == INCONSISTENT => (Claim::FutexWord(tid), "held, inconsistent since an owner died"),
        tid if word & WORD_DIED != 0 => (Claim::FutexWord(tid), "held, after an owner that died"),
        tid if word >> 31 != 0 => (Claim::FutexWord(tid), "held, with waiters"),
        tid => (Claim::FutexWord(tid), "held"),
    };
    (claim, state.to_owned())
}

/// Any other mutex: the owner has a field, written after the word and zeroed before it.
fn of_field(word: u32, owner: u32, kind: u32) -> (Claim, String) {
    let state = match word {
        0 => "free",
        1 => "held",
        _ => "held, with waiters",
    };
    let claim = match (word, owner) {
        (0, _) => Claim::Nobody(Unknown::NotHeld),
        // A lock that is taken by a transaction notes nobody.
        (_, 0) if kind & ELISION != 0 => Claim::Nobody(Unknown::OwnerNotRecorded),
        (_, 0) => Claim::Unsettled,
        (_, tid) => Claim::Recorded(tid),
    };
    (claim, state.to_owned())
}

fn flags(kind: u32) -> Vec<&'static str> {
    let mut flags = match kind & 3 {
        1 => vec!["recursive"],
        2 => vec!["error_checking"],
        3 => vec!["adaptive"],
        _ => vec![],
    };
    for (bit, name) in [
        (ROBUST, "robust"),
        (PRIORITY_INHERITANCE, "priority_inheritance"),
        (PRIORITY_PROTECT, "priority_protect"),
        (PROCESS_SHARED, "process_shared"),
        (ELISION, "elided"),
    ] {
        // Every robust mutex has the shared bit, because the kernel wakes its waiters so.
        if kind & bit != 0 && !(bit == PROCESS_SHARED && kind & ROBUST != 0) {
            flags.push(name);
        }
    }
    flags
}

/// Where in the lock the word lies is told by who waits and for what value: a reader for the write
/// phase to end (3, at 8) or for a preferred writer (at 0), a writer for the readers to go (2, at 8)
/// or for another writer (3, at 12).
fn rwlock(mode: WaitMode, wait: &FutexWait, window: &Window) -> Option<Shape> {
    let offsets: [u64; 3] = match (mode, wait.value) {
        (WaitMode::Exclusive, 3) => [12, 8, 0],
        (WaitMode::Exclusive, _) => [8, 12, 0],
        (_, 3) => [8, 0, 12],
        _ => [0, 8, 12],
    };
    offsets
        .into_iter()
        .filter_map(|offset| rwlock_at(wait.address.checked_sub(offset)?, window))
        .find(|shape| shape.fits)
        .or_else(|| {
            Some(Shape::of(
                LockKind::PthreadRwlock,
                wait.address.checked_sub(offsets[0])?,
            ))
        })
}

fn rwlock_at(base: u64, window: &Window) -> Option<Shape> {
    let word = |offset: u64| window.u32(base.checked_add(offset)?);
    let (readers, phase, writers_word) = (word(0)?, word(8)?, word(12)?);
    let (writer, shared, flags) = (word(24)?, word(28)?, word(48)?);
    let mut shape = Shape::of(LockKind::PthreadRwlock, base);
    let count = readers >> READER_SHIFT;
    shape.fits = phase <= 3 && writers_word <= 3 && writer < MOST_TID && count < MOST_TID && shared <= 1 && flags <= 2;
    if shared != 0 {
        shape.flags.push("process_shared");
    }
    if flags != 0 {
        shape.flags.push("prefers_writers");
    }
    let write_locked = readers & WRITE_LOCKED != 0;
    (shape.claim, shape.state) = if readers & WRITE_PHASE != 0 {
        match (write_locked, writer) {
            (false, _) => (Claim::Nobody(Unknown::NotHeld), "free".to_owned()),
            (true, 0) => (Claim::Unsettled, "a writer".to_owned()),
            (true, tid) => (Claim::Recorded(tid), "a writer".to_owned()),
        }
    } else {
        shape.readers = Some(count);
        let behind = if write_locked { ", a writer waits" } else { "" };
        match count {
            0 => (Claim::Nobody(Unknown::NotHeld), format!("no readers{behind}")),
            1 => (Claim::Nobody(Unknown::OwnerNotRecorded), format!("1 reader{behind}")),
            _ => (
                Claim::Nobody(Unknown::OwnerNotRecorded),
                format!("{count} readers{behind}"),
            ),
        }
    };
    Some(shape)
}

fn barrier(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let at = |base: u64| {
        let word = |offset: u64| window.u32(base.checked_add(offset)?);
        let (entered, round, count, shared) = (word(0)?, word(4)?, word(8)?, word(12)?);
        let arrived = entered.wrapping_sub(round);
        let mut shape = Shape::of(LockKind::PthreadBarrier, base);
        shape.fits = (1..=MOST_TID).contains(&count) && arrived <= count && matches!(shared, 0 | 1 | 128);
        if shared != 0 {
            shape.flags.push("process_shared");
        }
        shape.state = format!("{arrived} of {count} have come");
        shape.claim = Claim::Nobody(Unknown::NotHeld);
        Some(shape)
    };
    let base = wait.address.checked_sub(4)?;
    at(base)
        .filter(|shape| shape.fits)
        .or_else(|| at(wait.address).filter(|shape| shape.fits))
        .or_else(|| Some(Shape::of(LockKind::PthreadBarrier, base)))
}

fn semaphore(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let base = wait.address;
    let (value, waiting, private) = (
        window.u32(base)?,
        window.u32(base.checked_add(4)?)?,
        window.u32(base.checked_add(8)?)?,
    );
    let mut shape = Shape::of(LockKind::Semaphore, base);
    // SEM_VALUE_MAX. `private` is 128 for one of several processes, by the inverse of its name.
    shape.fits = i32::try_from(value).is_ok() && waiting < MOST_TID && matches!(private, 0 | 128);
    if private != 0 {
        shape.flags.push("process_shared");
    }
    shape.state = format!("count {value}, {waiting} waiting");
    shape.claim = Claim::Nobody(Unknown::OwnerNotRecorded);
    Some(shape)
}

fn once(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let word = window.u32(wait.address)?;
    let mut shape = Shape::of(LockKind::PthreadOnce, wait.address);
    shape.fits = word & 3 != 3;
    let state = match word & 3 {
        0 => "not begun",
        1 => "running",
        _ => "done",
    };
    state.clone_into(&mut shape.state);
    shape.claim = Claim::Nobody(Unknown::OwnerNotRecorded);
    Some(shape)
}

/// The word is the joined thread's tid, which the kernel zeroes at its end: shared, because the kernel wakes it so.
fn join(wait: &FutexWait, window: &Window, tid_offset: u64) -> Option<Shape> {
    let word = window.u32(wait.address)?;
    let mut shape = Shape::of(LockKind::Join, wait.address.checked_sub(tid_offset)?);
    shape.fits = !wait.private && (1..MOST_TID).contains(&wait.value) && (word == wait.value || word == 0);
    (shape.claim, shape.state) = if word == 0 {
        (Claim::Nobody(Unknown::NotHeld), "the thread has ended".to_owned())
    } else {
        (Claim::Join(wait.value), "the thread has not ended".to_owned())
    };
    Some(shape)
}

/// A lock inside libc is a bare word; that of a stdio stream is followed by a count and its owner's control block.
fn internal(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let word = window.u32(wait.address)?;
    let mut shape = Shape::of(LockKind::LibcInternal, wait.address);
    shape.fits = word <= 2;
    let stream = || {
        let count = window.u32(wait.address.checked_add(4)?)?;
        let block = window.u64(wait.address.checked_add(8)?)?;
        let is_one = (1..1 << 20).contains(&count) && block > 4096 && block.is_multiple_of(16);
        is_one.then_some(block)
    };
    (shape.claim, shape.state) = match (word, stream()) {
        (0, _) => (Claim::Nobody(Unknown::NotHeld), "free".to_owned()),
        (_, Some(block)) if cfg!(target_arch = "x86_64") => {
            (Claim::ControlBlock(block), "held, with waiters".to_owned())
        }
        _ => (
            Claim::Nobody(Unknown::OwnerNotRecorded),
            "held, with waiters".to_owned(),
        ),
    };
    Some(shape)
}

/// Bytes of a control block to read for [`tid_of_block`].
pub(super) fn block_bytes(tid_offset: u64) -> usize {
    tid_offset as usize + 4
}

/// The tid in a control block. It points to itself twice (x86-64: `tcb` at 0, `self` at 16), or it is none.
pub(super) fn tid_of_block(block: &Window, tid_offset: u64) -> Option<u32> {
    let start = block.start;
    let is_one = block.u64(start)? == start && block.u64(start.checked_add(16)?)? == start;
    let tid = block.u32(start.checked_add(tid_offset)?)?;
    (is_one && (1..MOST_TID).contains(&tid)).then_some(tid)
}

/// Which of the two layouts a condition variable may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layouts {
    pub old: bool,
    pub new: bool,
}

impl Layouts {
    pub fn one(self) -> bool {
        self.old != self.new
    }
}

/// Where the condition variable begins in the new layout, and which of the two groups is waited in. In the old
/// layout it begins 8 bytes before. The object is aligned to 8 bytes, so the word's own alignment tells.
fn new_base(wait: &FutexWait) -> Option<(u64, u64)> {
    let group = u64::from(!wait.address.is_multiple_of(8));
    Some((wait.address.checked_sub(32 + 4 * group)?, group))
}

/// Which layouts the memory around a waiter's word allows.
///
/// Read either way, group sizes, `g1_orig_size`, `wrefs` and signals are the same bytes; the sequence numbers
/// lie 8 bytes apart. The number of the next waiter runs ahead of the first group's start, by that group's
/// size at least; and in the old layout the group that is waited in has a reference, of which
/// there are no more than waiters.
pub(super) fn condition_layouts(wait: &FutexWait, window: &Window) -> Layouts {
    let allowed = || {
        let (base, group) = new_base(wait)?;
        let first_group = window.u32(base + 24)? >> 2;
        let waiters = window.u32(base + 28)? >> 3;
        let ahead = |next: u64, start: u64| {
            (next >> 1)
                .checked_sub(start >> 1)
                .is_some_and(|ahead| ahead >= u64::from(first_group) && ahead <= u64::from(MOST_TID))
        };
        let (second, third) = (window.u64(base)?, window.u64(base + 8)?);
        let is_one = (1..MOST_TID).contains(&waiters);
        let references = window.u32(base + 8 + 4 * group)? >> 1;
        let old = base
            .checked_sub(8)
            .and_then(|base| window.u64(base))
            .is_some_and(|first| {
                // Somebody waits, so somebody has been numbered.
                first >> 1 > 0 && ahead(first, second) && (1..=waiters).contains(&references)
            });
        Some(Layouts {
            old: is_one && old,
            new: is_one && second >> 1 > 0 && ahead(second, third),
        })
    };
    allowed().unwrap_or_default()
}

/// The condition variable in one of its layouts.
pub(super) fn condition(wait: &FutexWait, window: &Window, old: bool) -> Option<Shape> {
    let (new, _) = new_base(wait)?;
    let references = window.u32(new + 28)?;
    let mut shape = Shape::of(LockKind::PthreadCond, if old { new.checked_sub(8)? } else { new });
    let layouts = condition_layouts(wait, window);
    shape.fits = if old { layouts.old } else { layouts.new };
    if references & 1 != 0 {
        shape.flags.push("process_shared");
    }
    shape.state = format!("{} waiting", references >> 3);
    shape.claim = Claim::Nobody(Unknown::NotHeld);
    Some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wait(address: u64, value: u32, operation: Operation) -> FutexWait {
        FutexWait {
            address,
            value,
            operation,
            private: true,
            timed: false,
        }
    }

    /// A window from 0x1000 on that holds these words (offset, value).
    fn window(words: &[(u64, u32)]) -> Window {
        let mut bytes = vec![0; 192];
        for (offset, value) in words {
            bytes[*offset as usize..*offset as usize + 4].copy_from_slice(&value.to_le_bytes());
        }
        Window { start: 0x1000, bytes }
    }

    #[test]
    fn a_mutex_names_its_owner_by_field_or_by_word() {
        let check = |words: [(u64, u32); 3], call: FutexWait, fits: bool, claim: Claim| {
            let shape = mutex(&call, &window(&words)).unwrap();
            assert_eq!((shape.fits, shape.claim), (fits, claim), "{words:?}");
        };
        let plain = wait(0x1000, 2, Operation::Wait);
        check([(0, 2), (8, 42), (16, 0)], plain, true, Claim::Recorded(42));
        check([(0, 2), (8, 42), (16, 1)], plain, true, Claim::Recorded(42));
        check([(0, 2), (8, 0), (16, 0)], plain, true, Claim::Unsettled);
        check([(0, 0), (8, 42), (16, 0)], plain, true, Claim::Nobody(Unknown::NotHeld));
        check(
            [(0, 2), (8, 0), (16, 0x100)],
            plain,
            true,
            Claim::Nobody(Unknown::OwnerNotRecorded),
        );
        // Another value than 2 is waited for by no such mutex.
        check(
            [(0, 2), (8, 42), (16, 0)],
            wait(0x1000, 1, Operation::Wait),
            false,
            Claim::Recorded(42),
        );
        check([(0, 3), (8, 42), (16, 0)], plain, false, Claim::Recorded(42));
        check([(0, 2), (8, 1 << 30), (16, 0)], plain, false, Claim::Recorded(1 << 30));
        check([(0, 2), (8, 42), (16, 0x400)], plain, false, Claim::Recorded(42));
        let robust = wait(0x1000, 0x8000_002a, Operation::Wait);
        check(
            [(0, 0x8000_002a), (8, 42), (16, 0x10)],
            robust,
            true,
            Claim::FutexWord(42),
        );
        check(
            [(0, 0xc000_0000), (8, 42), (16, 0x10)],
            robust,
            true,
            Claim::Nobody(Unknown::NotHeld),
        );
        check(
            [(0, 0xc000_002b), (8, INCONSISTENT), (16, 0x10)],
            robust,
            true,
            Claim::FutexWord(43),
        );
        let inheriting = wait(0x1000, 0, Operation::LockPi);
        check(
            [(0, 0x8000_002a), (8, 42), (16, 0x20)],
            inheriting,
            true,
            Claim::FutexWord(42),
        );
        check([(0, 2), (8, 42), (16, 0)], inheriting, false, Claim::Recorded(42));
        let ceiling = wait(0x1000, 5 << 19 | 2, Operation::Wait);
        check(
            [(0, 5 << 19 | 2), (8, 42), (16, 0x40)],
            ceiling,
            true,
            Claim::Recorded(42),
        );
    }

    #[test]
    fn the_kind_tells_the_flags() {
        assert_eq!(flags(0), [""; 0]);
        assert_eq!(flags(1 | 0x10 | 0x80), ["recursive", "robust"]);
        assert_eq!(flags(2 | 0x20), ["error_checking", "priority_inheritance"]);
        assert_eq!(flags(3), ["adaptive"]);
        let shape = mutex(&wait(0x1000, 2, Operation::Wait), &window(&[(0, 2), (16, u32::MAX)])).unwrap();
        assert_eq!(
            (&*shape.state, shape.claim),
            ("destroyed", Claim::Nobody(Unknown::NotHeld))
        );
    }

    #[test]
    fn a_reader_writer_lock_is_found_from_any_of_its_words() {
        let check = |mode, offset: u64, value, words: &[(u64, u32)], claim, readers| {
            let shape = rwlock(mode, &wait(0x1000 + offset, value, Operation::Wait), &window(words)).unwrap();
            assert!(shape.fits);
            assert_eq!((shape.address, shape.claim, shape.readers), (0x1000, claim, readers));
        };
        // A writer behind two readers; a reader, and a writer, behind a writer; a reader behind a preferred writer.
        let behind_readers = [(0, 2 << 3 | 2), (8, 2), (12, 1)];
        let unnamed = Claim::Nobody(Unknown::OwnerNotRecorded);
        check(WaitMode::Exclusive, 8, 2, &behind_readers, unnamed, Some(2));
        let behind_writer = [(0, 1 << 3 | 3), (8, 3), (12, 3), (24, 42)];
        check(WaitMode::Shared, 8, 3, &behind_writer, Claim::Recorded(42), None);
        check(WaitMode::Exclusive, 12, 3, &behind_writer, Claim::Recorded(42), None);
        let preferred = [(0, 2 << 3 | 6), (8, 2), (12, 1), (48, 2)];
        check(WaitMode::Shared, 0, 2 << 3 | 6, &preferred, unnamed, Some(2));
        check(WaitMode::Shared, 8, 3, &[(0, 11), (8, 3)], Claim::Unsettled, None);
    }

    #[test]
    fn a_condition_variable_is_told_by_its_sequence_numbers() {
        let check = |offset: u64, words: &[(u64, u32)], old: bool, new: bool| {
            let found = condition_layouts(&wait(0x1000 + offset, 0, Operation::WaitBitset), &window(words));
            assert_eq!(found, Layouts { old, new }, "{words:?}");
        };
        // Old, at 0x1010: one waiter in group 0, in group 1, and after a thousand rounds.
        let first = [(16, 2), (32, 2), (16 + 36, 8)];
        check(16 + 40, &first, true, false);
        let second = [(16, 3), (36, 2), (16 + 36, 8)];
        check(16 + 44, &second, true, false);
        let later = [(16, 2003), (24, 2001), (36, 2), (16 + 32, 1 << 2), (16 + 36, 8)];
        check(16 + 44, &later, true, false);
        // New, at 0x1010, with a mutex' zeros before it and with a pointer there.
        let first = [(16, 2), (16 + 28, 8)];
        check(16 + 32, &first, false, true);
        let later = [(8, 0x5555_5000), (16, 2003), (24, 2000), (16 + 28, 8)];
        check(16 + 36, &later, false, true);
        check(16 + 32, &later, false, true);
        // The numbers alone may allow both: then a neighbour decides, or nobody.
        let unsure = [(8, 6), (16, 4), (24, 2), (16 + 28, 8)];
        check(16 + 32, &unsure, true, true);
        check(16 + 32, &[], false, false);
    }

    #[test]
    fn a_barrier_a_semaphore_and_a_once_say_how_they_stand() {
        let at_round = wait(0x1014, 0, Operation::Wait);
        let shape = barrier(&at_round, &window(&[(16, 2), (20, 0), (24, 3)])).unwrap();
        assert_eq!(
            (shape.address, &*shape.state, shape.fits),
            (0x1010, "2 of 3 have come", true)
        );
        let shape = semaphore(&wait(0x1000, 0, Operation::WaitBitset), &window(&[(4, 3)])).unwrap();
        assert_eq!((&*shape.state, shape.fits), ("count 0, 3 waiting", true));
        let shape = once(&wait(0x1000, 1, Operation::Wait), &window(&[(0, 5)])).unwrap();
        assert_eq!((&*shape.state, shape.fits), ("running", true));
    }

    #[test]
    fn a_join_names_the_thread_by_the_value_it_waits_for() {
        let call = FutexWait {
            private: false,
            ..wait(0x1010, 42, Operation::WaitBitset)
        };
        let shape = join(&call, &window(&[(16, 42)]), 720).unwrap();
        assert_eq!(
            (shape.address, shape.claim, shape.fits),
            (0x1010 - 720, Claim::Join(42), true)
        );
        assert!(!join(&call, &window(&[(16, 43)]), 720).unwrap().fits);
        assert_eq!(
            join(&call, &window(&[]), 720).unwrap().claim,
            Claim::Nobody(Unknown::NotHeld)
        );
        let private = FutexWait { private: true, ..call };
        assert!(!join(&private, &window(&[(16, 42)]), 720).unwrap().fits);
    }

    #[test]
    fn a_control_block_points_to_itself_or_is_none() {
        let mut block = window(&[(0, 0x1000), (16, 0x1000), (100, 42)]);
        assert_eq!(tid_of_block(&block, 100), Some(42));
        assert_eq!(tid_of_block(&block, 96), None);
        block.bytes[16] ^= 8;
        assert_eq!(tid_of_block(&block, 100), None);
        assert_eq!(tid_of_block(&Window::default(), u64::MAX), None);
    }

    proptest! {
        #[test]
        fn any_memory_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<u64>(), start in any::<u64>(), value: u32, near in 0u64..200) {
            let kinds = [
                At::Mutex, At::Rwlock(WaitMode::Shared), At::Rwlock(WaitMode::Exclusive), At::Barrier,
                At::Semaphore, At::Once, At::Join, At::LibcInternal,
            ];
            for start in [start, at.wrapping_sub(near)] {
                let window = Window { start, bytes: bytes.clone() };
                for operation in [Operation::Wait, Operation::WaitBitset, Operation::LockPi] {
                    let call = wait(at & !3, value, operation);
                    for kind in kinds {
                        let _ = look(kind, &call, &window, 720);
                    }
                    let _ = condition_layouts(&call, &window);
                    let _ = condition(&call, &window, true);
                    let _ = tid_of_block(&window, 720);
                }
            }
        }
    }
}
