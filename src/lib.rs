//! threadscape: what every thread of a Linux process is doing, waiting for and costing.
//!
//! The story of one reading, from kernel to screen. The rooms below are declared in its order:
//!
//! 1. [`model`] holds the words all rooms share: plain data, no behaviour that touches the system.
//! 2. [`kernel`] reads what Linux says, word for word: one file per `/proc` file or system call.
//! 3. [`ledger`] is what a process says of itself: one shared-memory slot per thread, written by
//!    its own threads, read without stopping anyone.
//! 4. [`observe`] turns both into meaning: a [`model::Snapshot`] of one process at one tick.
//! 5. [`history`] keeps snapshots over time and answers queries.
//! 6. [`workloads`] are ten algorithms: input in, checkable answer out; no threads of their own.
//! 7. [`pools`] are the threads that run them.
//! 8. [`scenario`] says which work, where, how fast, and gives the verdict.
//! 9. [`workbench`] is the child process that hosts pools and player, and the daemon's link to it.
//! 10. [`http`] is what outsiders see: REST, events, metrics, the dashboard's files.
//!
//! [`daemon`] wires the rooms; [`config`] gathers the settings each room declares; [`cli`] speaks
//! to the terminal. Data goes one way; `tests/rooms.rs` keeps the arrows.

pub mod model;

pub mod kernel;

pub mod ledger;

pub mod observe;

pub mod history;

pub use threadscape_workloads as workloads;

pub mod pools;

pub mod scenario;

pub mod workbench;

pub mod http;

pub mod config;
pub mod daemon;

pub mod cli;

#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
