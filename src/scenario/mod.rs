//! (being built)

mod remote;

pub use remote::{Remote, RunError, Runs, ScenarioFile, StartRun, ValidationProblem};
