//! The futex locks of Rust's standard library.
//!
//! Source: library/std/src/sys/sync/{mutex,rwlock,condvar,once,thread_parking}/futex.rs, Rust 1.62 to
//! 1.95 (before 1.82 the modules lay under sys/locks and sys/unix/locks). Each is one word; only the
//! reader-writer lock has a second. All wait by FUTEX_WAIT_BITSET, private. None records an owner:
//! who holds one can be guessed from stacks at best, and is not.

use super::futex::FutexWait;
use super::shape::{Claim, Shape};
use super::waiting::At;
use super::words::Window;
use crate::model::{LockKind, Unknown, WaitMode};

/// How many readers fit below the two waiting bits; all ones is a writer.
const READERS: u32 = (1 << 30) - 1;
const READERS_WAITING: u32 = 1 << 30;
const WRITERS_WAITING: u32 = 1 << 31;
/// PARKED of the thread parker.
const PARKED: u32 = u32::MAX;

/// Both manglings, and methods of generic types: `<std::a::B<T>>::c::<U>` is `std::a::B::c` as far as we ask.
fn is_of(function: &str, module: &str, method: &str) -> bool {
    function.trim_start_matches('<').starts_with("std::")
        && function.contains(module)
        && function
            .split("::")
            .any(|segment| segment.trim_end_matches('>') == method)
}

pub(super) fn waits(function: &str) -> Option<At> {
    let of = |module, method| is_of(function, module, method);
    // The names of modules before and after they were sorted anew.
    Some(if of("mutex", "lock_contended") {
        At::RustMutex
    } else if of("rwlock", "read_contended") {
        At::RustRwlock(WaitMode::Shared)
    } else if of("rwlock", "write_contended") {
        At::RustRwlock(WaitMode::Exclusive)
    } else if of("condvar", "wait") || of("condvar", "wait_timeout") || of("condvar", "wait_optional_timeout") {
        At::RustCondvar
    } else if of("once::futex", "call") || of("once::futex", "wait") {
        At::RustOnce
    } else if of("park", "park")
        || of("park", "park_timeout")
        || of("thread", "park")
        || of("thread", "park_timeout")
        || of("mpmc::context", "wait_until")
        || of("mpsc::blocking", "wait")
    {
        At::RustPark
    } else {
        return None;
    })
}

/// `std::sys::…::futex::futex_wait`, by any of its paths.
pub(super) fn is_carrier(function: &str) -> bool {
    is_of(function, "futex", "futex_wait")
}

/// The lock at the word, as the waiting function says.
pub(super) fn look(at: At, wait: &FutexWait, window: &Window) -> Option<Shape> {
    let word = window.u32(wait.address)?;
    let shape = |kind, fits, state: String| Shape {
        fits,
        state,
        claim: Claim::Nobody(Unknown::OwnerNotRecorded),
        ..Shape::of(kind, wait.address)
    };
    let no_owner = |mut shape: Shape, why| {
        shape.claim = Claim::Nobody(why);
        shape
    };
    Some(match at {
        At::RustMutex => {
            let lock = shape(LockKind::RustMutex, word <= 2, held(word).to_owned());
            if word == 0 {
                no_owner(lock, Unknown::NotHeld)
            } else {
                lock
            }
        }
        At::RustRwlock(mode) => {
            // A writer waits at the word behind the state.
            let address = match mode {
                WaitMode::Exclusive => wait.address.checked_sub(4)?,
                _ => wait.address,
            };
            rwlock(address, window.u32(address)?)
        }
        At::RustCondvar => no_owner(
            shape(LockKind::RustCondvar, true, format!("notified {word} times")),
            Unknown::NotHeld,
        ),
        At::RustOnce => {
            let state = match word & 3 {
                0 => "complete",
                1 => "running",
                2 => "poisoned",
                _ => "not begun",
            };
            shape(LockKind::RustOnce, word & !7 == 0, state.to_owned())
        }
        At::RustPark => {
            let state = match word {
                0 => "awake",
                1 => "notified",
                PARKED => "parked",
                _ => "no parker",
            };
            let fits = word <= 1 || word == PARKED;
            no_owner(shape(LockKind::RustPark, fits, state.to_owned()), Unknown::NotHeld)
        }
        _ => return None,
    })
}

fn held(word: u32) -> &'static str {
    match word {
        0 => "free",
        1 => "held",
        2 => "held, with waiters",
        _ => "no lock word",
    }
}

fn rwlock(address: u64, word: u32) -> Shape {
    let readers = word & READERS;
    let waiting = match (word & READERS_WAITING != 0, word & WRITERS_WAITING != 0) {
        (true, true) => ", readers and writers wait",
        (true, false) => ", readers wait",
        (false, true) => ", writers wait",
        (false, false) => "",
    };
    let (holder, claim, count) = match readers {
        0 => ("free".to_owned(), Unknown::NotHeld, Some(0)),
        READERS => ("a writer".to_owned(), Unknown::OwnerNotRecorded, None),
        1 => ("1 reader".to_owned(), Unknown::OwnerNotRecorded, Some(1)),
        count => (format!("{count} readers"), Unknown::OwnerNotRecorded, Some(count)),
    };
    Shape {
        // A million readers is no lock: threads are fewer.
        fits: readers == READERS || readers < 1 << 22,
        state: format!("{holder}{waiting}"),
        claim: Claim::Nobody(claim),
        readers: count,
        ..Shape::of(LockKind::RustRwlock, address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::locks::futex::Operation;

    #[test]
    fn the_functions_of_std_are_known_by_every_name_they_had() {
        let check = |function: &str, expected: Option<At>| assert_eq!(waits(function), expected, "{function}");
        check(
            "std::sys::sync::mutex::futex::Mutex::lock_contended",
            Some(At::RustMutex),
        );
        check(
            "<std::sys::sync::mutex::futex::Mutex>::lock_contended",
            Some(At::RustMutex),
        );
        check(
            "std::sys::unix::locks::futex_mutex::Mutex::lock_contended",
            Some(At::RustMutex),
        );
        check(
            "std::sys::sync::rwlock::futex::RwLock::read_contended",
            Some(At::RustRwlock(WaitMode::Shared)),
        );
        check(
            "std::sys::unix::locks::futex_rwlock::RwLock::write_contended",
            Some(At::RustRwlock(WaitMode::Exclusive)),
        );
        check(
            "std::sys::sync::condvar::futex::Condvar::wait_optional_timeout",
            Some(At::RustCondvar),
        );
        check(
            "std::sync::poison::condvar::Condvar::wait::<bool>",
            Some(At::RustCondvar),
        );
        check("std::sys::sync::once::futex::Once::call", Some(At::RustOnce));
        check(
            "std::sys::sync::thread_parking::futex::Parker::park",
            Some(At::RustPark),
        );
        check("std::thread::park", Some(At::RustPark));
        check("std::thread::functions::park", Some(At::RustPark));
        check("std::sync::mpmc::context::Context::wait_until", Some(At::RustPark));
        check("app::mutex::Mine::lock_contended", None);
        check("std::io::stdio::stdin", None);
        check("std::thread::JoinHandle<T>::join", None);
        assert!(is_carrier("std::sys::pal::unix::futex::futex_wait"));
        assert!(is_carrier("std::sys::futex::futex_wait"));
        assert!(!is_carrier("app::futex::futex_wait"));
    }

    #[test]
    fn a_reader_writer_lock_counts_its_readers_and_never_names_them() {
        let check = |word: u32, readers: Option<u32>, state: &str| {
            let shape = rwlock(0x1000, word);
            assert!(shape.fits);
            assert_eq!((shape.readers, &*shape.state), (readers, state));
            assert!(matches!(shape.claim, Claim::Nobody(_)));
        };
        check(0, Some(0), "free");
        check(3 | WRITERS_WAITING, Some(3), "3 readers, writers wait");
        check(READERS | READERS_WAITING, None, "a writer, readers wait");
        assert!(!rwlock(0x1000, 1 << 29).fits);
    }

    #[test]
    fn a_writer_waits_behind_the_state() {
        let mut bytes = vec![0; 16];
        bytes[4..8].copy_from_slice(&(2 | WRITERS_WAITING).to_le_bytes());
        let window = Window { start: 0x1000, bytes };
        let wait = FutexWait {
            address: 0x1008,
            value: 0,
            operation: Operation::WaitBitset,
            private: true,
            timed: false,
        };
        let shape = look(At::RustRwlock(WaitMode::Exclusive), &wait, &window).unwrap();
        assert_eq!((shape.address, shape.readers), (0x1004, Some(2)));
    }
}
