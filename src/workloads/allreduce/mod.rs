//! Allreduce: every participant ends with the same reduction of what all of them brought.

mod combine;
mod cost;
mod failure;
mod fused;
mod oracle;
mod participants;
mod plan;
mod rows;
mod value;

pub use cost::{Costs, cost};
pub use failure::Failure;
pub use fused::{all_gather, all_reduce, reduce_scatter};
pub use participants::{Course, Exchange, exchange};
pub use plan::{Algorithm, Op, Traffic, chunk, kept_chunk};
pub use value::Value;
