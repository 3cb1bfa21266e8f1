//! What kernel and ledger readings mean: snapshots of processes at thread depth. (signatures; being built)
//!
//! `sampler` is a plain thread on a fixed grid. It reads the watched processes and delivers a
//! snapshot of each. [`Inspector`] is the handle for a close look on request; it also renews the
//! lease by which a process stays watched.

mod capabilities;
mod census;
mod churn;
mod companions;
mod control_block;
mod glance;
mod inspect;
mod memory;
mod own_stack;
mod rates;
mod sampler;
mod threads;
mod waits;

pub use capabilities::Capability;
pub(crate) use capabilities::probe;
pub use inspect::{InspectError, Inspector, Watch};
pub(crate) use memory::read as read_memory;
pub use sampler::{Delivery, Sampler, SamplerCost, Settings, start};
