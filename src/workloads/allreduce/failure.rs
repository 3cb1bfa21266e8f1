//! How an exchange fails: always with the rank that is to blame.

use std::time::Duration;

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("rank {rank} brings {brings} elements and rank 0 brings {first}; all must bring the same number")]
    Ragged { rank: usize, brings: usize, first: usize },
    /// It is alive, as far as anyone knows, but nothing came of it.
    #[error("rank {rank} did not send step {step} within {within:?}")]
    Stalled { rank: usize, step: usize, within: Duration },
    #[error("rank {rank} ended at step {step}: {why}")]
    Died { rank: usize, step: usize, why: String },
    #[error("rank {rank} did not connect within {within:?}")]
    Absent { rank: usize, within: Duration },
    /// It takes part in something else.
    #[error("rank {rank} does not do what we do: {what}; start all ranks with the same operation and lengths")]
    Disagrees { rank: usize, what: String },
    #[error("could not meet the others at {place}: {why}")]
    NoPlace { place: String, why: String },
}

impl Failure {
    /// Whose fault it is.
    pub fn rank(&self) -> Option<usize> {
        match self {
            Failure::Ragged { rank, .. }
            | Failure::Stalled { rank, .. }
            | Failure::Died { rank, .. }
            | Failure::Absent { rank, .. }
            | Failure::Disagrees { rank, .. } => Some(*rank),
            Failure::NoPlace { .. } => None,
        }
    }
}
