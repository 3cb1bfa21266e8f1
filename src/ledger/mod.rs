//! What a process says of itself: a shared-memory slot per thread.
//!
//! The kernel knows when a thread runs, not what for. A program that calls [`install`] and uses
//! [`Heap`] and [`tasks`] tells the rest: each thread writes its present task, what it has done and what
//! it allocated into a slot of its own; [`Reader`] maps the same memory in another process and
//! copies the slots without stopping anyone. The workbench does so; any Rust program can.
//!
//! The memory is a `memfd` named `threadscape-ledger`. A reader finds it among `/proc/<pid>/fd`, so
//! there is no socket, no path and no agreement beyond this page. It is sealed against changes of
//! size (a reader cannot be made to fault) and against new writable mappings (nobody else can forge it).
//! It is closed on exec. A program that closes all descriptors it does not know closes this one
//! too: it then goes on writing, and nobody finds it.
//!
//! # Layout, version 1
//!
//! All words are 64 bits, little-endian, and atomics. `layout.rs` is the same in code.
//!
//! | offset | what |
//! |---|---|
//! | 0 | header, line 1, written once: magic `TSLEDGER` (last, with release), version, header size, name capacity, slot size, slot count, pid in its own namespace, when it was made |
//! | 64 | header, line 2: names in use, slots ever used (a reader looks no further) |
//! | 128 | header, line 3, added to by many: threads without a slot; their tasks done, bytes allocated and freed, allocations and frees |
//! | 192 | 1024 names of 32 bytes, UTF-8 padded with zeros, append-only. Number 1 is the first; 0 is no name |
//! | 32 960 | slots of 192 bytes, up to 65 536 |
//!
//! | slot, offset | what | written by |
//! |---|---|---|
//! | 0 | line 1: sequence; owner (tid, pool, workload, flags); task id; task start; tasks done, queue wait, service time | the owner, under the seqlock |
//! | 64 | line 2: bytes allocated, bytes freed, allocations, frees | the owner, each word alone |
//! | 128 | line 3: how often the slot was taken; all seven counters as they were at the last taking (the *base*) | a thread that takes the slot, under the seqlock |
//!
//! # States of a slot
//!
//! | sequence | owner | state | who may do what |
//! |---|---|---|---|
//! | even | 0 | free | any thread: compare-exchange to odd, and so begin to take it |
//! | odd | 0 | being taken, or being given back in its last step | that thread |
//! | even | tid | held | the owner: store odd, and so begin to write |
//! | odd | tid | being written | the owner: store even, and so end |
//!
//! The sequence never goes back: it is the generation too. A copy between two equal even readings
//! is of one state and one owner; a slot that changed hands has another sequence.
//!
//! **A thread's end loses nothing and counts nothing twice, because nothing is moved.** The counters
//! of a slot are never set back. Whoever takes it notes them as its base, under the seqlock; a
//! thread's own tally is counters minus base. So each slot's copy splits in one go into what ended
//! threads did (base, or everything in a free slot) and what the present owner did, and the sum over
//! all slots only grows. Giving a slot back is one store of the owner word. There is no folding into
//! common totals, and so no lock among threads that end.
//!
//! **The heap's words are outside the seqlock.** Each tally stands alone: a reader wants a recent value of
//! each, not a moment common to all four, and an allocation must not cost a fence. So in one copy
//! `allocations` may be one ahead of `allocated_bytes`.
//!
//! **More threads than slots.** A thread that finds none is counted once and adds to the shared
//! words of the header with locked instructions from then on. The same words take what a thread does
//! to the heap after it gave its slot back, while its last thread-locals are destroyed.
//!
//! **Fork.** A child shares the mapping, and its thread-local pointer names a slot of the parent. A
//! `pthread_atfork` handler makes the child forget both before it can write; it has no ledger until it
//! makes one. (Not `MADV_DONTFORK`: the child's first allocation would then be a fault.) `vfork` and
//! `posix_spawn` run the child on the parent's suspended thread: one writer still. A bare `clone` system
//! call runs no handlers; such a child may spoil tallies of its parent, and nothing else. Readers
//! refuse a ledger whose pid is not that of the process that holds it.
//!
//! **The reader's patience is bounded.** All slots of one reading share a budget of retries; one that
//! stays torn is counted in `unreadable_slots`, and its ended threads enter the sums as last seen.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod heap;
mod layout;
mod own;
mod reader;
mod slot;
mod sync;
pub mod tasks;

pub use heap::Heap;
pub use reader::{Reader, ReaderError};

use std::io;

use crate::model::Nanos;

/// Makes this process' ledger: a sealed memory file that any reader finds among our descriptors.
///
/// Called once, early; a second call changes nothing. Without it every write is a cheap no-op.
pub fn install(slots: usize) -> io::Result<()> {
    own::install(slots)
}

/// A number for a name, the same for the life of the process. 0 when the table is full or there is
/// no ledger: the reader then shows no name. Names are cut to 32 bytes; two that are alike up to
/// there are one.
pub fn intern(name: &str) -> u32 {
    own::intern(name)
}

/// Now on `CLOCK_MONOTONIC`: the clock that task times are told in.
pub fn now() -> Nanos {
    crate::kernel::clock::monotonic()
}
