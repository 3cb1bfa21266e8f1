//! The child process that hosts pools and player, and the daemon's end of the link to it.
//!
//! Faults are played in a process of their own, so that one that kills it leaves the daemon standing.
//! [`Bench`] is the daemon's end: it starts `threadscape workbench` with the first run, passes
//! requests on, keeps finished runs, and tells of changes. [`child_main`] is that process.
//!
//! The link is a Unix socket pair, the child's standard input; `messages.rs` has its frames.
//!
//! | the daemon's end is | it says | the child answers | then |
//! |---|---|---|---|
//! | *starting* | `hello` with a version, at once | `hello` with its version and pid, within 5 s | *ready*; another version, silence or anything else: the child is ended, *none* |
//! | *ready* | `start`, `set_rate`, `stop`, each with a number | `taken` with that number: the run, or why not, within 5 s | *ready*; silence: the child is ended, *none* |
//! | *ready* | nothing | `progress`, every 250 ms in a run, every second else | *ready*; 10 s of silence: the child is ended, *none* |
//! | *ready* | nothing | `ended` with the report, once for each run | the run is kept, *ready* |
//! | *ready* | closes the link | ends within 2 s, or is killed | *none* |
//! | any | a frame that is too long or no known message, from either side | | the child ends, or is ended, *none* |
//! | *none* | | | the next `start` begins a new child |
//!
//! A run whose child is gone is kept as failed, with what was last known of it. A daemon that dies,
//! however, takes the child with it: the link closes, and the kernel kills the child when the
//! thread that forked it is gone (`PR_SET_PDEATHSIG`), even when the child is stopped or busy.

mod bench;
mod child;
mod messages;
mod store;

pub use bench::{Bench, BenchError, Change, Settings, read_scenario};
pub use child::main as child_main;
pub use store::write_whole;
