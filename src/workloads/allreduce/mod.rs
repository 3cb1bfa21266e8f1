//! Allreduce: every participant ends with the same reduction of what all of them brought.

mod combine;
mod cost;
mod failure;
mod fused;
mod oracle;
mod participant;
mod participants;
mod plan;
mod rows;
mod value;

pub use cost::{Costs, cost};
pub use failure::Failure;
pub use fused::{all_gather, all_reduce, reduce_scatter};
pub use participant::{Link, Participant, Sent, Stream};
pub use participants::{Course, Exchange, exchange};
pub use plan::{Algorithm, Op, Traffic, chunk, kept_chunk, traffic};
pub use value::Value;
