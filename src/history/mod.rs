//! Snapshots over time, in memory: a ring at full rate and coarser rings behind it. (signatures; being built)

use std::sync::Arc;
use std::time::Duration;

use crate::model::{Evidence, Nanos, ProcessKey, Snapshot, Tid, Unknown};

/// What the config file may set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How far back full-rate points go.
    pub full_rate: Duration,
    /// How far back the coarse ring (10 s a point) goes.
    pub coarse: Duration,
    /// Bound on all of it; the oldest goes first.
    pub memory_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            full_rate: Duration::from_secs(300),
            coarse: Duration::from_secs(3600),
            memory_bytes: 16 << 20,
        }
    }
}

/// A value that is kept over time. Of a process or of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    CpuRatio,
    RunDelayRatio,
    RssBytes,
    Threads,
    Runnable,
    /// Per second.
    VoluntarySwitches,
    InvoluntarySwitches,
}

impl Series {
    pub const ALL: [Series; 7] = [
        Series::CpuRatio,
        Series::RunDelayRatio,
        Series::RssBytes,
        Series::Threads,
        Series::Runnable,
        Series::VoluntarySwitches,
        Series::InvoluntarySwitches,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Series::CpuRatio => "cpu_ratio",
            Series::RunDelayRatio => "run_delay_ratio",
            Series::RssBytes => "rss_bytes",
            Series::Threads => "threads",
            Series::Runnable => "runnable",
            Series::VoluntarySwitches => "voluntary_switches",
            Series::InvoluntarySwitches => "involuntary_switches",
        }
    }

    pub fn from_name(name: &str) -> Option<Series> {
        Self::ALL.into_iter().find(|series| series.name() == name)
    }

    /// Whether it is kept for a single thread too.
    pub fn of_thread(self) -> bool {
        !matches!(self, Series::RssBytes | Series::Threads | Series::Runnable)
    }
}

/// What is asked for. `from` and `to` are points on `CLOCK_MONOTONIC`.
#[derive(Clone, Debug)]
pub struct Query {
    pub process: ProcessKey,
    pub thread: Option<Tid>,
    pub series: Vec<Series>,
    pub from: Nanos,
    pub to: Nanos,
    pub step: Nanos,
}

/// One column a series, all as long as `times`; `None` is a gap.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    pub times: Vec<Nanos>,
    pub step: Nanos,
    pub series: Vec<(Series, Vec<Option<f64>>)>,
    /// Why a whole column is a gap.
    pub unknown: Vec<(Series, Unknown)>,
}

/// Why a query was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    #[error("from must lie before to")]
    EmptyRange,
    #[error("this asks for {0} points; at most {1} are given, so take a larger step")]
    TooMany(u64, u64),
    #[error("series {0} is kept for whole processes only")]
    NotOfThreads(&'static str),
    #[error("nothing is kept of this process yet; it is watched from its first request on")]
    Nothing,
}

/// The one writer.
pub struct Writer(());

impl Writer {
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let _ = (snapshot, &self.0);
    }

    /// The process has ended; what is kept stays until it ages out.
    pub fn ended(&self, process: ProcessKey) {
        let _ = process;
    }
}

/// Any number of readers; they never make the writer wait for long.
#[derive(Clone)]
pub struct Reader(Arc<()>);

impl Reader {
    pub fn query(&self, query: &Query) -> Result<Columns, HistoryError> {
        let _ = (query, &self.0);
        unimplemented!()
    }

    /// The newest `points` values of `cpu_ratio` of each thread asked for, oldest first.
    pub fn sparklines(&self, process: ProcessKey, threads: &[Tid], points: usize) -> Vec<Vec<Evidence<f32>>> {
        let _ = (process, threads, points);
        unimplemented!()
    }

    /// What is held now, bytes.
    pub fn memory_bytes(&self) -> usize {
        unimplemented!()
    }
}

pub fn new(settings: Settings) -> (Writer, Reader) {
    let _ = settings;
    (Writer(()), Reader(Arc::new(())))
}
