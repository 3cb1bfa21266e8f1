//! musl's locks, where they differ from glibc's: in every offset.
//!
//! Source: musl 1.1.24 to 1.2.5, include/alltypes.h.in, src/internal/pthread_impl.h and
//! src/thread/pthread_mutex_timedlock.c, pthread_rwlock_timed{rd,wr}lock.c, sem_timedwait.c. A mutex: type at
//! 0, lock word at 4, waiters at 8. The word is the owner's tid, but of a normal mutex it is 16 (EBUSY)
//! whoever holds it. A waiter sets the word's highest bit and waits for it so, which no lock of
//! glibc does but a robust one.

use super::futex::{FutexWait, Operation};
use super::shape::{Claim, Shape};
use super::waiting::At;
use super::words::Window;
use crate::model::{LockKind, Unknown};

const WAITERS: u32 = 0x8000_0000;
const WORD_TID: u32 = 0x3fff_ffff;
const OWNER_DIED: u32 = 0x4000_0000;
const EBUSY: u32 = 16;
const MOST_TID: u32 = 4 * 1024 * 1024;
/// A writer, in a reader-writer lock's word.
const WRITER: u32 = 0x7fff_ffff;

pub(super) fn look(at: At, wait: &FutexWait, window: &Window) -> Option<Shape> {
    match at {
        At::Mutex => mutex(wait, window),
        At::Rwlock(_) => rwlock(wait, window),
        // The words of the others lie where the wait is, or on the waiter's own stack.
        _ => Some(Shape {
            state: format!("word {}", window.u32(wait.address)?),
            claim: Claim::Nobody(Unknown::OwnerNotRecorded),
            ..Shape::of(at.kind(), wait.address)
        }),
    }
}

pub(super) fn mutex(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let base = wait.address.checked_sub(4)?;
    let (kind, word) = (window.u32(base)?, window.u32(wait.address)?);
    let mut shape = Shape::of(LockKind::MuslMutex, base);
    shape.flags = match kind & 3 {
        1 => vec!["recursive"],
        2 => vec!["error_checking"],
        _ => vec![],
    };
    for (bit, name) in [(4, "robust"), (8, "priority_inheritance"), (128, "process_shared")] {
        if kind & bit != 0 {
            shape.flags.push(name);
        }
    }
    let tid = word & WORD_TID;
    let normal = kind & (3 | 4 | 8) == 0;
    let call_is_one = match wait.operation {
        Operation::LockPi => kind & 8 != 0,
        Operation::Wait => wait.value & WAITERS != 0 && (!normal || wait.value & !WAITERS == EBUSY),
        _ => false,
    };
    shape.fits = kind & !0x8f == 0
        && kind & 3 != 3
        && call_is_one
        && if normal {
            matches!(word & !WAITERS, 0 | EBUSY)
        } else {
            tid < MOST_TID
        };
    let (claim, state) = match (normal, tid) {
        (_, 0) if word & OWNER_DIED != 0 => (Claim::Nobody(Unknown::NotHeld), "its owner died"),
        (_, 0) => (Claim::Nobody(Unknown::NotHeld), "free"),
        (true, _) => (Claim::Nobody(Unknown::OwnerNotRecorded), "held, with waiters"),
        (false, tid) => (Claim::FutexWord(tid), "held, with waiters"),
    };
    (shape.claim, shape.state) = (claim, state.to_owned());
    Some(shape)
}

fn rwlock(wait: &FutexWait, window: &Window) -> Option<Shape> {
    let word = window.u32(wait.address)? & !WAITERS;
    let (state, claim, readers) = match word {
        0 => ("free".to_owned(), Unknown::NotHeld, Some(0)),
        WRITER => ("a writer".to_owned(), Unknown::OwnerNotRecorded, None),
        1 => ("1 reader".to_owned(), Unknown::OwnerNotRecorded, Some(1)),
        count => (format!("{count} readers"), Unknown::OwnerNotRecorded, Some(count)),
    };
    Some(Shape {
        state,
        claim: Claim::Nobody(claim),
        readers,
        fits: word == WRITER || word < MOST_TID,
        ..Shape::of(LockKind::PthreadRwlock, wait.address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mutex_with_a_type_names_its_owner() {
        let check = |kind: u32, word: u32, fits: bool, claim: Claim| {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&kind.to_le_bytes());
            bytes[4..8].copy_from_slice(&word.to_le_bytes());
            let wait = FutexWait {
                address: 0x1004,
                value: word,
                operation: Operation::Wait,
                private: true,
                timed: false,
            };
            let shape = mutex(&wait, &Window { start: 0x1000, bytes }).unwrap();
            assert_eq!((shape.address, shape.fits, shape.claim), (0x1000, fits, claim));
        };
        check(0, WAITERS | EBUSY, true, Claim::Nobody(Unknown::OwnerNotRecorded));
        check(1, WAITERS | 0x2a, true, Claim::FutexWord(42));
        check(2, WAITERS | 0x2a, true, Claim::FutexWord(42));
        // glibc's value, and no type of a mutex.
        check(0, 2, false, Claim::Nobody(Unknown::OwnerNotRecorded));
        check(3, WAITERS | 0x2a, false, Claim::FutexWord(42));
        check(4, WAITERS | OWNER_DIED, true, Claim::Nobody(Unknown::NotHeld));
    }
}
