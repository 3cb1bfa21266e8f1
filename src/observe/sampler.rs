//! The loop: a plain thread on a fixed grid. (signatures; being built)

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Inspector;
use crate::kernel::ProcRoot;
use crate::model::{Nanos, Pid, ProcessKey, Snapshot};

/// What the config file may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub procfs: ProcRoot,
    /// Between two snapshots of a watched process.
    pub interval: Duration,
    /// Between two lists of all processes, while somebody looks.
    pub census_interval: Duration,
    /// A watch ends when nobody renewed it for this long.
    pub lease: Duration,
    /// Processes that are watched for good, by pid or exact name.
    pub watch: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            procfs: ProcRoot::live(),
            interval: Duration::from_secs(1),
            census_interval: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            watch: Vec::new(),
        }
    }
}

/// What the sampler hands on.
#[derive(Clone, Debug)]
pub enum Delivery {
    Snapshot(Arc<Snapshot>),
    /// A watched process has ended.
    Gone(ProcessKey),
}

/// Totals since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerCost {
    pub snapshots: u64,
    pub cpu: Nanos,
    /// Of the latest pass, and the worst so far.
    pub lateness: Nanos,
    pub worst_lateness: Nanos,
    pub watched: usize,
}

/// The running loop. Dropping it without `stop` stops it as well.
pub struct Sampler(());

impl Sampler {
    /// Ends the loop and waits for it.
    pub fn stop(self) {}
}

/// Starts the loop. `workbench` gives the workbench's pid while it lives; ourselves and it are always watched.
/// `deliver` runs on the sampler thread and must not block.
pub fn start(
    settings: Settings,
    workbench: impl Fn() -> Option<Pid> + Send + Sync + 'static,
    deliver: impl Fn(Delivery) + Send + 'static,
) -> io::Result<(Sampler, Inspector)> {
    let _ = (settings, workbench, deliver);
    unimplemented!()
}
