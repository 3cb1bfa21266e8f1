//! What memory at a lock's place says, before anybody believes it.
//!
//! Each family reads a [`Shape`] out of a window. Whether the shape fits is for the memory to say; that
//! it is this kind of lock at all, only the stack can. A [`Claim`] is the lock's word on its owner,
//! in the numbers of the process: `owner` turns it into a thread, or into a reason.

use crate::model::{LockKind, Unknown};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Of the object.
    pub address: u64,
    pub kind: LockKind,
    pub flags: Vec<&'static str>,
    pub state: String,
    pub claim: Claim,
    pub readers: Option<u32>,
    /// The memory looks like a lock of this kind.
    pub fits: bool,
}

impl Shape {
    /// One of which nothing more is known.
    pub fn of(kind: LockKind, address: u64) -> Shape {
        Shape {
            address,
            kind,
            flags: Vec::new(),
            state: String::new(),
            claim: Claim::Nobody(Unknown::NoLockShape),
            readers: None,
            fits: false,
        }
    }
}

/// Who holds it, says the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// A field of the lock holds this tid.
    Recorded(u32),
    /// The futex word itself does.
    FutexWord(u32),
    /// The thread that is joined.
    Join(u32),
    /// The owner's control block lies here (stdio).
    ControlBlock(u64),
    /// Held, and the owner not written yet: a legal instant. Worth a second look.
    Unsettled,
    Nobody(Unknown),
}
