//! What Linux says, word for word: one file per `/proc` file or system call.
//!
//! Each file has a `read`, which touches the system and takes the `/proc` root as a value, and a
//! pure `parse`, which cites its source. Meaning is given in `observe`.

pub mod boot_id;
pub mod calls;
pub mod cgroup;
pub mod clock;
pub mod cmdline;
pub mod comm;
pub mod elf;
pub mod elf_file;
pub mod file;
pub mod limits;
pub mod loadavg;
pub mod locks;
pub mod maps;
pub mod meminfo;
pub mod mountinfo;
pub mod open_file;
pub mod pagemap;
pub mod perf_event;
pub mod process_vm;
pub mod ptrace;
pub mod registers;
pub mod robust_list;
pub mod root;
pub mod schedstat;
pub mod signals;
pub mod smaps;
pub mod sockets;
pub mod stat;
pub mod statm;
pub mod status;
pub mod stop_signals;
pub mod syscall;
pub mod task;
pub mod wchan;

pub use root::ProcRoot;

#[cfg(test)]
pub(crate) mod trials;
