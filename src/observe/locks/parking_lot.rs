//! parking_lot's locks, whose waiters sleep in their own parkers.
//!
//! Source: parking_lot_core 0.9 and 0.10, `parking_lot.rs` and `thread_parker/linux.rs`; parking_lot 0.12
//! and 0.13, `raw_mutex.rs` and `raw_rwlock.rs`. The futex word belongs to the thread, not to the lock: the
//! lock's address is the `key` of the thread's `ThreadData`, 32 bytes before the word as compilers
//! lay it out today (alignment sorts the word behind the pointers). That place is promised by nobody, so a
//! key counts only when the lock it names says that it has parked threads, as this kind of lock
//! must. No owner is recorded (without the feature `deadlock_detection`).

use super::futex::FutexWait;
use super::shape::{Claim, Shape};
use super::waiting::{At, names};
use super::words::Window;
use crate::model::{Frame, LockKind, Unknown, WaitMode};

/// From the key to the parker's word.
const KEY_BEFORE: u64 = 32;

/// What a thread sleeps in its parker for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Mutex,
    Rwlock(WaitMode),
    Condvar,
    Once,
    Unknown,
}

impl What {
    pub fn mode(self) -> WaitMode {
        match self {
            What::Mutex => WaitMode::Exclusive,
            What::Rwlock(mode) => mode,
            What::Condvar | What::Once | What::Unknown => WaitMode::Signal,
        }
    }
}

/// `function` parks; one of those around it says for what.
pub(super) fn waits(function: &str, outer: &[Frame]) -> Option<At> {
    if !is_ours(function) {
        return None;
    }
    let what = names(outer).find_map(what).unwrap_or(What::Unknown);
    Some(At::ParkingLot(what))
}

fn is_ours(function: &str) -> bool {
    let path = function.trim_start_matches('<');
    path.starts_with("parking_lot::") || path.starts_with("parking_lot_core::")
}

fn what(function: &str) -> Option<What> {
    if !is_ours(function) {
        return None;
    }
    let of = |part: &str| function.contains(part);
    Some(if of("raw_mutex") && of("lock_slow") {
        What::Mutex
    } else if of("raw_rwlock") && of("lock_shared_slow") {
        What::Rwlock(WaitMode::Shared)
    } else if of("raw_rwlock") && (of("slow") || of("wait_for_readers")) {
        What::Rwlock(WaitMode::Exclusive)
    } else if of("condvar") && of("wait") {
        What::Condvar
    } else if of("once") && of("call_once") {
        What::Once
    } else {
        return None;
    })
}

/// Where the lock would lie, if the key lies where we think.
pub(super) fn key(wait: &FutexWait, window: &Window) -> Option<u64> {
    window
        .u64(wait.address.checked_sub(KEY_BEFORE)?)
        .filter(|key| *key > 4096)
}

/// The lock that the key names, from the memory around it. `None`: it has nobody parked, so it is no such lock.
pub(super) fn lock(what: What, key: u64, around: &Window) -> Option<Shape> {
    let word = around.u64(key)?;
    let held = |parked: bool, state: String| {
        parked.then(|| Shape {
            state,
            claim: Claim::Nobody(Unknown::OwnerNotRecorded),
            fits: true,
            ..Shape::of(LockKind::ParkingLot, key)
        })
    };
    match what {
        // One byte: 1 locked, 2 with parked threads.
        What::Mutex => match word & 0xff {
            3 => held(true, "mutex, held, with parked threads".to_owned()),
            2 => held(true, "mutex, free, with parked threads".to_owned()).map(not_held),
            _ => None,
        },
        // 1 parked, 2 a writer parked, 4 upgradable, 8 a writer, readers above.
        What::Rwlock(_) => {
            let readers = word >> 4;
            if word & (1 | 2) == 0 || readers > 1 << 22 || (word & 8 != 0 && readers > 1) {
                return None;
            }
            let (state, count) = match (word & 8 != 0, readers) {
                (true, 0) => ("reader-writer lock, a writer".to_owned(), None),
                (true, _) => ("reader-writer lock, a writer waits for readers".to_owned(), None),
                (false, 0) => ("reader-writer lock, free".to_owned(), Some(0)),
                (false, 1) => ("reader-writer lock, 1 reader".to_owned(), Some(1)),
                (false, count) => (format!("reader-writer lock, {count} readers"), Some(count as u32)),
            };
            let shape = held(true, state).map(|shape| Shape {
                readers: count,
                ..shape
            });
            if count == Some(0) { shape.map(not_held) } else { shape }
        }
        // The mutex that goes with it; 0 when nobody waits.
        What::Condvar => held(word > 4096 || word & 0xff == 3, "condition variable".to_owned()).map(not_held),
        // 4 locked, 8 parked.
        What::Once => held(word & 0xff == 0xc, "once, running".to_owned()),
        What::Unknown => None,
    }
}

fn not_held(shape: Shape) -> Shape {
    Shape {
        claim: Claim::Nobody(Unknown::NotHeld),
        ..shape
    }
}

/// A parker whose lock has no name.
pub(super) fn parker(wait: &FutexWait, window: Option<&Window>) -> Shape {
    let word = window.and_then(|window| window.u32(wait.address));
    Shape {
        fits: word.is_some_and(|word| word <= 1),
        state: "a thread's parker; its lock is not told".to_owned(),
        claim: Claim::Nobody(Unknown::OwnerNotRecorded),
        ..Shape::of(LockKind::ParkingLot, wait.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(word: u64) -> Window {
        Window {
            start: 0x10000,
            bytes: word.to_le_bytes().to_vec(),
        }
    }

    #[test]
    fn the_slow_path_tells_what_for() {
        let check = |name: &str, expected: Option<What>| assert_eq!(what(name), expected, "{name}");
        check("parking_lot::raw_mutex::RawMutex::lock_slow", Some(What::Mutex));
        check("<parking_lot::raw_mutex::RawMutex>::lock_slow", Some(What::Mutex));
        check(
            "parking_lot::raw_rwlock::RawRwLock::lock_shared_slow",
            Some(What::Rwlock(WaitMode::Shared)),
        );
        check(
            "parking_lot::raw_rwlock::RawRwLock::lock_exclusive_slow",
            Some(What::Rwlock(WaitMode::Exclusive)),
        );
        check(
            "parking_lot::condvar::Condvar::wait_until_internal",
            Some(What::Condvar),
        );
        check("parking_lot_core::thread_parker::imp::ThreadParker::park", None);
        check("app::raw_mutex::lock_slow", None);
    }

    #[test]
    fn a_key_counts_only_when_its_lock_has_parked_threads() {
        let named = |what, word| lock(what, 0x10000, &window(word)).is_some();
        assert!(named(What::Mutex, 0xffff_ff03) && !named(What::Mutex, 1) && !named(What::Mutex, 0));
        assert!(named(What::Rwlock(WaitMode::Shared), 9) && !named(What::Rwlock(WaitMode::Shared), 8));
        assert!(!named(What::Rwlock(WaitMode::Shared), u64::MAX));
        assert!(named(What::Condvar, 0x5555_0000_0000) && !named(What::Condvar, 0));
        assert!(!named(What::Unknown, 3));
        assert_eq!(lock(What::Mutex, 0x9000, &window(3)), None);
        let readers = lock(What::Rwlock(WaitMode::Exclusive), 0x10000, &window(2 << 4 | 3)).unwrap();
        assert_eq!(readers.readers, Some(2));
    }
}
