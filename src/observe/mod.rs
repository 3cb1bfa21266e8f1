//! What kernel and ledger readings mean: snapshots of processes at thread depth.
//!
//! `sampler` is a plain thread on a fixed grid. It reads the watched processes and delivers a
//! snapshot of each. [`Inspector`] is the handle for a close look on request; it also renews the
//! lease by which a process stays watched.
//!
//! How a snapshot is made: `threads` reads the task directory and each thread's files, with `rates`
//! from two readings, `waits` from system call and kernel function, and `churn` from who is new and
//! who is missing; `companions` add the ledger and the stacks (`own_stack`). `census` is the list of
//! all processes, and `hidden` counts those that it can't hold; `memory` classifies one process' mappings;
//! `capabilities` tries each source, and `rights` names the right that a closed one would need. `stacks`
//! reads where threads stand, `locks` what they wait for and because of whom, and `findings` says what
//! is wrong.

mod bounds;
mod capabilities;
mod census;
mod churn;
mod companions;
mod control_block;
mod findings;
mod glance;
mod hidden;
mod inspect;
mod locks;
mod memory;
mod own_stack;
mod rates;
mod rights;
mod sampler;
mod stacks;
mod threads;
mod waits;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    //! What `crate::fuzzing` may reach of this room.

    type Target = (&'static str, fn(&[u8]));

    /// Some of its targets.
    pub(crate) const TARGETS: [Target; 5] = [
        ("elf", super::stacks::fuzzing::file),
        ("unwind", super::stacks::fuzzing::walk),
        ("perf_map", super::stacks::fuzzing::perf_map),
        ("symbol_name", super::stacks::fuzzing::name),
        ("locks", super::locks::fuzzing::memory),
    ];
}

pub use capabilities::Capability;
pub(crate) use capabilities::probe;
pub use findings::FindingChange;
pub(crate) use hidden::{Sight, is_hidden, look as sight};
pub use inspect::{InspectError, Inspector, Watch};
pub(crate) use locks::read as read_locks;
pub(crate) use memory::read as read_memory;
pub use sampler::{Delivery, Sampler, SamplerCost, Settings, start};
pub use stacks::{Dumper, StackOptions};
