//! The few things that the lock-free files here ask of the standard library.
//!
//! `idle.rs` and `latch.rs` name nothing but this module, so that `tests/loom.rs` can compile the
//! same two files against loom's models of these types and try every interleaving.

pub use std::sync::Arc;
pub use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
pub use std::thread::{Thread, current, park};

pub use parking_lot::Mutex;
