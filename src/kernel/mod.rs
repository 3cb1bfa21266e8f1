//! What Linux says, word for word: one file per `/proc` file or system call.
//!
//! Each file has a `read`, which touches the system and takes the `/proc` root as a value, and a
//! pure `parse`, which cites its source. Meaning is given in `observe`.

pub mod clock;
pub mod root;
pub mod stop_signals;
pub mod syscall;

pub use root::ProcRoot;
