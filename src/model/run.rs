//! A run of a scenario while it lasts, and after. The finished run's document is made by
//! `scenario::report`.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Nanos, Spread};

/// Names a run in the API and on disk: sortable by start, safe in a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunPhase {
    /// Inputs are being made.
    Preparing,
    Running,
    /// The load has ended; what is under way is being finished.
    Draining,
    /// Ended by itself: the verdict says how.
    Finished,
    /// Ended on request.
    Stopped,
    /// Ended because the workbench died or could not start it; `message` says why.
    Failed,
}

impl RunPhase {
    pub fn name(self) -> &'static str {
        match self {
            RunPhase::Preparing => "preparing",
            RunPhase::Running => "running",
            RunPhase::Draining => "draining",
            RunPhase::Finished => "finished",
            RunPhase::Stopped => "stopped",
            RunPhase::Failed => "failed",
        }
    }

    pub fn is_over(self) -> bool {
        matches!(self, RunPhase::Finished | RunPhase::Stopped | RunPhase::Failed)
    }
}

/// Where one load stands. Counts keep the identity
/// `arrived = done + shed + late + cancelled + panicked + outstanding`.
#[derive(Clone, Debug)]
pub struct LoadProgress {
    pub name: Arc<str>,
    pub workload: Arc<str>,
    pub pool: Arc<str>,
    /// `open` or `closed`.
    pub executor: &'static str,
    pub arrived: u64,
    pub done: u64,
    pub shed: u64,
    pub late: u64,
    pub cancelled: u64,
    pub panicked: u64,
    pub outstanding: u64,
    /// Answers that were checked, and those found wrong.
    pub verified: u64,
    pub wrong: u64,
    /// Intended arrivals a second now (open), or users now (closed).
    pub target: f64,
    /// Finished tasks a second over the last progress interval.
    pub throughput: f64,
    pub lag: Spread,
    pub queue: Spread,
    pub service: Spread,
    /// From the intended start to the end.
    pub response: Spread,
}

/// A run as the list and the overview show it.
#[derive(Clone, Debug)]
pub struct RunStatus {
    pub id: RunId,
    pub scenario: Arc<str>,
    pub phase: RunPhase,
    pub started_at: SystemTime,
    pub ended_at: Option<SystemTime>,
    pub elapsed: Nanos,
    /// `None`: endless.
    pub planned: Option<Nanos>,
    pub seed: u64,
    /// Multiplies every rate; changed by `PATCH`.
    pub rate_factor: f64,
    pub loads: Vec<LoadProgress>,
    /// `pass`, `fail`, `invalid`; `None` while it runs or when it was stopped before it could be judged.
    pub verdict: Option<Arc<str>>,
    /// Why it failed or is invalid; each threshold that was missed.
    pub messages: Vec<Arc<str>>,
}
