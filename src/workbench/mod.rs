//! (being built)

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Pid, PoolStatus, RunStatus};
use crate::scenario::{RunError, Runs, ScenarioFile, StartRun, ValidationProblem};

pub enum Change {
    Run(RunStatus),
    Pools(Vec<PoolStatus>, Option<Pid>),
}
pub struct Settings;
impl Settings {
    pub fn new(_: &Path, _: Option<&Path>) -> Settings {
        Settings
    }
}
pub struct Bench;
impl Bench {
    pub fn new(_: Settings, _: impl Fn(Change) + Send + 'static) -> Result<Bench, RunError> {
        Ok(Bench)
    }
    pub fn shutdown(&self, _: Duration) {}
}
impl Runs for Bench {
    fn start(&self, _: StartRun, _: Option<u64>) -> Result<RunStatus, RunError> {
        Err(RunError::Workbench("not built".to_owned()))
    }
    fn list(&self) -> Vec<RunStatus> {
        Vec::new()
    }
    fn get(&self, id: &str) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.to_owned()))
    }
    fn set_rate(&self, id: &str, _: f64) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.to_owned()))
    }
    fn stop(&self, id: &str) -> Result<RunStatus, RunError> {
        Err(RunError::UnknownRun(id.to_owned()))
    }
    fn report(&self, id: &str) -> Result<Arc<str>, RunError> {
        Err(RunError::UnknownRun(id.to_owned()))
    }
    fn pools(&self) -> Vec<PoolStatus> {
        Vec::new()
    }
    fn scenarios(&self) -> Vec<ScenarioFile> {
        Vec::new()
    }
    fn validate(&self, _: &str) -> Vec<ValidationProblem> {
        Vec::new()
    }
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
    fn workbench_pid(&self) -> Option<Pid> {
        None
    }
}
