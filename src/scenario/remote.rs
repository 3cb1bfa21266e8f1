//! The handle through which the dashboard and the API start, steer and read runs.
//!
//! `http` sees only [`Remote`]; the daemon's end of the workbench link implements [`Runs`].
//! Every call returns within a bounded time: the workbench answers, or its silence is the answer.

use std::sync::Arc;

use crate::model::{PoolStatus, RunStatus};

/// A scenario to start: one of the folder, or text.
#[derive(Clone, Debug)]
pub enum StartRun {
    Named(String),
    Inline(String),
}

/// A file of the scenario folder.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// Without `.toml`.
    pub name: String,
    pub description: String,
    /// Planned length in seconds; `None` when endless.
    pub seconds: Option<f64>,
    /// The file's text.
    pub text: String,
    pub problems: Vec<ValidationProblem>,
}

/// One thing wrong with a scenario text. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationProblem {
    pub line: usize,
    pub column: usize,
    /// The key path, `load[0].workload`; empty for a syntax error.
    pub field: String,
    pub message: String,
    /// The nearest valid name, where there is one.
    pub suggestion: Option<String>,
}

/// Why a run could not be started, steered or shown.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the scenario has {} problem(s); the first: {}", .0.len(), .0.first().map_or("", |p| p.message.as_str()))]
    Invalid(Vec<ValidationProblem>),
    #[error("there is no scenario named {name}{}", .nearest.as_ref().map_or(String::new(), |n| format!("; did you mean {n}?")))]
    UnknownScenario { name: String, nearest: Option<String> },
    #[error("there is no run {0}; GET /api/v1/runs lists them")]
    UnknownRun(String),
    #[error("run {0} is under way; stop it first or wait until it ends")]
    Busy(String),
    #[error("run {0} has ended and cannot be changed")]
    Over(String),
    #[error("the workbench is not available: {0}")]
    Workbench(String),
}

/// What the workbench's daemon end can do. All calls are blocking and bounded (5 s at most).
pub trait Runs: Send + Sync {
    fn start(&self, what: StartRun, seed: Option<u64>) -> Result<RunStatus, RunError>;
    /// Newest first.
    fn list(&self) -> Vec<RunStatus>;
    fn get(&self, id: &str) -> Result<RunStatus, RunError>;
    /// Multiplies every load's rate from now on; 0.0 pauses arrivals.
    fn set_rate(&self, id: &str, factor: f64) -> Result<RunStatus, RunError>;
    /// Ends arrivals, drains, gives the status after the request was taken.
    fn stop(&self, id: &str) -> Result<RunStatus, RunError>;
    /// The finished run's document (JSON text, format version 1).
    fn report(&self, id: &str) -> Result<Arc<str>, RunError>;
    fn pools(&self) -> Vec<PoolStatus>;
    fn scenarios(&self) -> Vec<ScenarioFile>;
    fn validate(&self, text: &str) -> Vec<ValidationProblem>;
    /// Problems that health should tell: `workbench ended by signal 9; the next run starts a new one`.
    fn problems(&self) -> Vec<String>;
    /// The workbench's pid while it lives.
    fn workbench_pid(&self) -> Option<crate::model::Pid>;
}

/// A clonable handle on whoever implements [`Runs`].
#[derive(Clone)]
pub struct Remote(pub Arc<dyn Runs>);

impl std::ops::Deref for Remote {
    type Target = dyn Runs;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
