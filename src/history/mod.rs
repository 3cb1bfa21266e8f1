//! Snapshots over time, in memory: a ring at full rate and a coarser one behind it.
//!
//! [`Writer::push`] takes what we keep of a snapshot and lets the rest go: seven numbers of the process, four
//! of each thread. A process has a ring of full-rate frames (`full_rate`, 5 minutes) and one of 10 s
//! frames (`coarse`, an hour). A thread's four numbers are kept at full rate only, and by change: a
//! thread that stays at 0, as most of ten thousand do, costs one comparison a tick and no memory.
//! Numbers are `f32` (bytes of memory are right to seven digits); an unknown is kept with its reason
//! and is never 0.
//!
//! **Bounds.** Everything together stays below `memory_bytes`. When it would not: processes that have
//! ended or were not pushed for a minute go first, the least recently pushed one before others; then
//! the process with the most threads in motion keeps fewer ticks of its threads (ten thousand threads that all
//! run keep about a minute at the default bound); then whole processes, least recently pushed first.
//!
//! **What a point means.** A rate holds for the interval before it, and so does every other number
//! here: a point covers the time since the previous snapshot. A cell of a query is the mean of what
//! covers it, weighted by time, for ratios and rates, and the maximum for counts and bytes, so that
//! a peak does not vanish when one looks from afar. Time that no point covers, or only unknown ones,
//! is a gap. A first snapshot covers nothing before it and stands in the cell of its moment.
//!
//! `voluntary_switches` and `involuntary_switches` are per second, from the counters of two snapshots
//! that follow each other; of a process they are the sum over threads that were in both.

mod point;
mod query;
mod track;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use crate::model::{Evidence, Nanos, ProcessKey, Snapshot, Tid, Unknown};
use query::Grid;
use track::Track;

/// Points that one query may ask for.
pub const MOST_POINTS: u64 = 5_000;

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

/// What is asked for. `from` and `to` are points on `CLOCK_MONOTONIC`; a `step` of 0 asks for about
/// three hundred points. A `thread` is the latest one that had this tid.
#[derive(Clone, Debug)]
pub struct Query {
    pub process: ProcessKey,
    pub thread: Option<Tid>,
    pub series: Vec<Series>,
    pub from: Nanos,
    pub to: Nanos,
    pub step: Nanos,
}

/// One column a series, all as long as `times`; `None` is a gap. A time is the start of its cell,
/// a whole multiple of `step`, so that a sliding query meets the same cells again.
#[derive(Clone, Debug, PartialEq)]
pub struct Columns {
    pub times: Vec<Nanos>,
    pub step: Nanos,
    pub series: Vec<(Series, Vec<Option<f64>>)>,
    /// Why a whole column is a gap. A column that is a gap because nobody watched then is not named.
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

/// What both ends share. The map's lock is held for moments only; a process' own lock while one
/// snapshot is taken in or one answer is copied out.
struct Shelf {
    settings: Settings,
    tracks: RwLock<HashMap<ProcessKey, Arc<RwLock<Track>>>>,
}

/// The one writer.
pub struct Writer(Arc<Shelf>);

impl Writer {
    /// Takes a snapshot in. One that is not newer than the last of its process is left out.
    pub fn push(&self, snapshot: &Arc<Snapshot>) {
        let shelf = &self.0;
        let known = shelf.tracks.read().get(&snapshot.process).cloned();
        let track = known.unwrap_or_else(|| {
            let fresh = Arc::new(RwLock::new(Track::new(&shelf.settings)));
            shelf.tracks.write().insert(snapshot.process, Arc::clone(&fresh));
            fresh
        });
        track.write().push(snapshot);
        shelf.age_out(snapshot.taken_at);
        shelf.fit(snapshot.taken_at);
    }

    /// The process has ended; what is kept stays until it ages out.
    pub fn ended(&self, process: ProcessKey) {
        let track = self.0.tracks.read().get(&process).cloned();
        if let Some(track) = track {
            track.write().end();
        }
    }
}

/// A process that was not pushed for this long goes before one that was.
const STALE: Nanos = Nanos(60 * 1_000_000_000);

impl Shelf {
    fn memory_bytes(&self) -> usize {
        self.tracks.read().values().map(|track| track.read().bytes()).sum()
    }

    /// Forgets processes whose newest point is older than anything we promise to keep.
    fn age_out(&self, now: Nanos) {
        let longest = self.settings.full_rate.max(self.settings.coarse);
        let longest = Nanos(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX));
        let old = |track: &RwLock<Track>| now.saturating_sub(track.read().latest()) > longest;
        if self.tracks.read().values().any(|track| old(track)) {
            self.tracks.write().retain(|_, track| !old(track));
        }
    }

    /// Keeps the bound; the order is told at the head of this file.
    fn fit(&self, now: Nanos) {
        let bound = self.settings.memory_bytes;
        while self.memory_bytes() > bound {
            if self.forget_oldest(|track| track.has_ended() || now.saturating_sub(track.latest()) > STALE) {
                continue;
            }
            let largest = self
                .tracks
                .read()
                .values()
                .max_by_key(|track| track.read().detail_bytes())
                .cloned();
            if largest.is_some_and(|track| track.write().shorten_detail()) {
                continue;
            }
            if !self.forget_oldest(|_| true) {
                return;
            }
        }
    }

    fn forget_oldest(&self, may_go: impl Fn(&Track) -> bool) -> bool {
        let mut tracks = self.tracks.write();
        let oldest = tracks
            .iter()
            .filter(|(_, track)| may_go(&track.read()))
            .min_by_key(|(_, track)| track.read().latest())
            .map(|(process, _)| *process);
        oldest.is_some_and(|process| tracks.remove(&process).is_some())
    }

    fn track(&self, process: ProcessKey) -> Option<Arc<RwLock<Track>>> {
        self.tracks.read().get(&process).cloned()
    }
}

/// Any number of readers; they never make the writer wait for long.
#[derive(Clone)]
pub struct Reader(Arc<Shelf>);

impl Reader {
    pub fn query(&self, query: &Query) -> Result<Columns, HistoryError> {
        let grid = Grid::new(query.from, query.to, query.step)?;
        if query.thread.is_some()
            && let Some(series) = query.series.iter().find(|series| !series.of_thread())
        {
            return Err(HistoryError::NotOfThreads(series.name()));
        }
        let track = self.0.track(query.process).ok_or(HistoryError::Nothing)?;
        let track = track.read();
        match query.thread {
            None => Ok(query::of_process(&track, &grid, &query.series)),
            Some(tid) => query::of_thread(&track, tid, &grid, &query.series).ok_or(HistoryError::Nothing),
        }
    }

    /// The newest `points` values of `cpu_ratio` of each thread asked for, oldest first. All end at
    /// the latest snapshot; a thread that is younger than `points` snapshots has fewer, one that is
    /// not kept has none.
    pub fn sparklines(&self, process: ProcessKey, threads: &[Tid], points: usize) -> Vec<Vec<Evidence<f32>>> {
        let Some(track) = self.0.track(process) else {
            return vec![Vec::new(); threads.len()];
        };
        let track = track.read();
        threads.iter().map(|tid| track.sparkline(*tid, points)).collect()
    }

    /// What is held now, bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

pub fn new(settings: Settings) -> (Writer, Reader) {
    let shelf = Arc::new(Shelf {
        settings,
        tracks: RwLock::new(HashMap::new()),
    });
    (Writer(Arc::clone(&shelf)), Reader(shelf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Condition, Pid, Role, SelfCost, StateCounts, Thread, ThreadKey, ThreadState, Ticks};
    use proptest::prelude::*;
    use std::time::SystemTime;

    const SECOND: u64 = 1_000_000_000;

    fn process(pid: u32) -> ProcessKey {
        ProcessKey {
            pid: Pid(pid),
            start: Ticks(1),
        }
    }

    fn thread(tid: u32, cpu: Evidence<f64>, switches: u64) -> Thread {
        let unknown = Unknown::NotAsked;
        Thread {
            key: ThreadKey {
                process: process(1),
                tid: Tid(tid),
                start: Ticks(5),
            },
            name: "t".into(),
            name_bytes: None,
            state: ThreadState::Runnable,
            state_letter: b'R',
            cpu_ratio: cpu,
            user_time: Err(unknown),
            system_time: Err(unknown),
            on_cpu: Err(unknown),
            run_delay: Err(unknown),
            run_delay_ratio: cpu,
            timeslices: Err(unknown),
            voluntary_switches: Ok(switches),
            involuntary_switches: Err(Unknown::PtraceDenied),
            minor_faults: Err(unknown),
            major_faults: Err(unknown),
            last_cpu: Err(unknown),
            nice: Err(unknown),
            policy: Err(unknown),
            rt_priority: Err(unknown),
            allowed_cpus: Err(unknown),
            wait: Err(unknown),
            stack: Err(unknown),
            heap: Err(unknown),
            task: Err(unknown),
            pool: None,
        }
    }

    /// A snapshot that speaks for the second before it.
    fn snapshot(at: u64, threads: Vec<Thread>) -> Snapshot {
        Snapshot {
            process: process(1),
            role: Role::Other,
            name: "p".into(),
            condition: Condition::UNREMARKABLE,
            sequence: 0,
            taken_at: Nanos(at),
            wall_clock: SystemTime::UNIX_EPOCH,
            interval: Ok(Nanos(SECOND)),
            counts: StateCounts::of(&threads),
            threads,
            peak: 0,
            watched_since: Nanos(0),
            started_total: 0,
            started_exact: false,
            ended_total: 0,
            truncated: false,
            ledger: Err(Unknown::NoLedger),
            cpu_ratio: Ok(0.5),
            rss_bytes: Ok(1 << 20),
            cost: SelfCost::default(),
        }
    }

    fn history() -> (Writer, Reader) {
        new(Settings::default())
    }

    fn ask(reader: &Reader, thread: Option<u32>, series: Series, seconds: [u64; 3]) -> Result<Columns, HistoryError> {
        let [from, to, step] = seconds.map(|seconds| Nanos(seconds * SECOND));
        reader.query(&Query {
            process: process(1),
            thread: thread.map(Tid),
            series: vec![series],
            from,
            to,
            step,
        })
    }

    fn column(reader: &Reader, thread: Option<u32>, series: Series, seconds: [u64; 3]) -> Vec<Option<f64>> {
        let columns = ask(reader, thread, series, seconds).unwrap();
        assert_eq!(columns.times.len(), columns.series[0].1.len());
        columns.series[0].1.clone()
    }

    #[test]
    fn an_unknown_is_a_gap_with_its_reason_and_never_zero() {
        let (writer, reader) = history();
        for at in 1..=3 {
            let threads = vec![thread(7, Err(Unknown::PtraceDenied), 0), thread(8, Ok(0.0), 0)];
            writer.push(&Arc::new(snapshot(at * SECOND, threads)));
        }
        let columns = ask(&reader, Some(7), Series::CpuRatio, [0, 3, 1]).unwrap();
        assert_eq!(columns.series[0].1, [None; 3]);
        assert_eq!(columns.unknown, [(Series::CpuRatio, Unknown::PtraceDenied)]);
        assert_eq!(column(&reader, Some(8), Series::CpuRatio, [0, 3, 1]), [Some(0.0); 3]);
        // One hidden thread hides the sum.
        let sum = ask(&reader, None, Series::RunDelayRatio, [0, 3, 1]).unwrap();
        assert_eq!(sum.unknown, [(Series::RunDelayRatio, Unknown::PtraceDenied)]);
        let lines = reader.sparklines(process(1), &[Tid(7), Tid(8), Tid(9)], 2);
        assert_eq!(lines, [vec![Err(Unknown::PtraceDenied); 2], vec![Ok(0.0); 2], vec![]]);
    }

    #[test]
    fn switches_are_told_per_second_from_two_readings() {
        let (writer, reader) = history();
        writer.push(&Arc::new(snapshot(10 * SECOND, vec![thread(7, Ok(0.1), 100)])));
        let mut second = snapshot(
            12 * SECOND,
            vec![thread(7, Ok(0.1), 150), thread(8, Ok(0.1), 1_000_000)],
        );
        second.interval = Ok(Nanos(2 * SECOND));
        writer.push(&Arc::new(second));
        let ask = |thread| column(&reader, thread, Series::VoluntarySwitches, [9, 12, 1]);
        assert_eq!(ask(Some(7)), [None, Some(25.0), Some(25.0)]);
        assert_eq!(ask(Some(8)), [None; 3], "seen once: no rate yet");
        // The sum goes without the newcomer.
        assert_eq!(ask(None), [None, Some(25.0), Some(25.0)]);
        let lost = column(&reader, None, Series::InvoluntarySwitches, [9, 12, 1]);
        assert_eq!(lost, [None; 3]);
    }

    #[test]
    fn a_late_snapshot_leaves_no_hole_in_the_grid() {
        let (writer, reader) = history();
        // Cell 2 to 3 holds no snapshot, but time that the next one speaks for.
        let mut before = 0;
        for at in [SECOND, 2 * SECOND - 1000, 3 * SECOND + 1000, 4 * SECOND] {
            let mut next = snapshot(at, vec![]);
            next.interval = Ok(Nanos(at - before));
            before = at;
            writer.push(&Arc::new(next));
        }
        assert_eq!(column(&reader, None, Series::CpuRatio, [0, 4, 1]), [Some(0.5); 4]);
    }

    #[test]
    fn a_pause_in_watching_is_a_gap() {
        let (writer, reader) = history();
        for at in [1, 2, 8, 9] {
            let mut next = snapshot(at * SECOND, vec![thread(7, Ok(0.25), 0)]);
            if at == 8 {
                next.interval = Err(Unknown::SeenOnce);
                next.cpu_ratio = Err(Unknown::SeenOnce);
            }
            writer.push(&Arc::new(next));
        }
        let (known, gap) = (Some(0.5), None);
        assert_eq!(
            column(&reader, None, Series::CpuRatio, [0, 10, 1]),
            [known, known, gap, gap, gap, gap, gap, gap, known, gap]
        );
        // A count needs no interval: it stands in the cell of its moment.
        let threads = column(&reader, None, Series::Threads, [7, 10, 1]);
        assert_eq!(threads, [None, Some(1.0), None]);
    }

    #[test]
    fn a_reused_tid_is_another_thread() {
        let (writer, reader) = history();
        for at in 1..=4 {
            let mut newer = thread(7, Ok(if at <= 2 { 0.25 } else { 0.75 }), 0);
            newer.key.start = Ticks(if at <= 2 { 5 } else { 6 });
            writer.push(&Arc::new(snapshot(at * SECOND, vec![newer])));
        }
        let latest = column(&reader, Some(7), Series::CpuRatio, [0, 4, 1]);
        assert_eq!(latest, [None, None, Some(0.75), Some(0.75)]);
        writer.push(&Arc::new(snapshot(5 * SECOND, vec![])));
        let ended = column(&reader, Some(7), Series::CpuRatio, [0, 5, 1]);
        assert_eq!(ended, [None, None, Some(0.75), Some(0.75), None]);
    }

    #[test]
    fn a_thread_that_was_not_read_in_time_is_unknown_and_goes_on() {
        let (writer, reader) = history();
        for at in 1..=3 {
            let mut next = snapshot(at * SECOND, vec![thread(3, Ok(0.5), 0), thread(7, Ok(0.5), 0)]);
            if at == 2 {
                next.threads.pop();
                next.truncated = true;
            }
            writer.push(&Arc::new(next));
        }
        let line = &reader.sparklines(process(1), &[Tid(7)], 9)[0];
        assert_eq!(line[..], [Ok(0.5), Err(Unknown::NotAsked), Ok(0.5)]);
    }

    #[test]
    fn a_wrong_question_gets_a_clear_answer() {
        let (writer, reader) = history();
        let cpu = Series::CpuRatio;
        assert_eq!(ask(&reader, None, cpu, [0, 9, 1]), Err(HistoryError::Nothing));
        writer.push(&Arc::new(snapshot(SECOND, vec![])));
        assert_eq!(ask(&reader, None, cpu, [5, 5, 1]), Err(HistoryError::EmptyRange));
        assert_eq!(
            ask(&reader, None, cpu, [0, 5001, 1]),
            Err(HistoryError::TooMany(5001, 5000))
        );
        assert_eq!(ask(&reader, Some(1), cpu, [0, 9, 1]), Err(HistoryError::Nothing));
        assert_eq!(
            ask(&reader, Some(1), Series::RssBytes, [0, 9, 1]),
            Err(HistoryError::NotOfThreads("rss_bytes"))
        );
        // Without a step the answer chooses one.
        let columns = ask(&reader, None, cpu, [0, 600, 0]).unwrap();
        assert_eq!((columns.step, columns.times.len()), (Nanos(2 * SECOND), 300));
    }

    #[test]
    fn the_coarse_ring_begins_where_the_full_one_ends() {
        let (writer, reader) = new(Settings {
            full_rate: Duration::from_secs(25),
            ..Settings::default()
        });
        for at in 1..=120 {
            let mut next = snapshot(at * SECOND, vec![]);
            next.cpu_ratio = Ok(if at <= 60 { 0.25 } else { 0.75 });
            next.rss_bytes = Ok(if at == 33 { 900 } else { 100 });
            writer.push(&Arc::new(next));
        }
        let cpu = column(&reader, None, Series::CpuRatio, [0, 120, 20]);
        assert!(cpu.iter().all(Option::is_some), "{cpu:?}");
        assert!((cpu[0].unwrap() - 0.25).abs() < 1e-6 && (cpu[5].unwrap() - 0.75).abs() < 1e-6);
        // A peak of a count is still there when the full ring has forgotten it.
        let rss = column(&reader, None, Series::RssBytes, [20, 60, 20]);
        assert_eq!(rss, [Some(900.0), Some(100.0)]);
        let every_second = column(&reader, None, Series::CpuRatio, [0, 120, 1]);
        assert!(every_second.iter().all(Option::is_some), "{every_second:?}");
    }

    #[test]
    fn ten_thousand_sleeping_threads_fit_with_room_to_spare() {
        let (writer, reader) = history();
        for at in 1..=20 {
            let threads = (1..=10_000).map(|tid| thread(tid, Ok(0.0), 3)).collect();
            writer.push(&Arc::new(snapshot(at * SECOND, threads)));
        }
        assert!(reader.memory_bytes() < 4 << 20, "{}", reader.memory_bytes());
        let lines = reader.sparklines(process(1), &[Tid(1), Tid(10_000)], 60);
        assert!(
            lines
                .iter()
                .all(|line| line.len() == 20 && line.iter().all(|point| *point == Ok(0.0)))
        );
    }

    #[test]
    fn busy_threads_keep_less_and_the_process_keeps_all() {
        let (writer, reader) = new(Settings {
            memory_bytes: 1 << 20,
            ..Settings::default()
        });
        for at in 1..=100_u64 {
            let threads = (1..=1000)
                .map(|tid| thread(tid, Ok(f64::from(tid + at as u32) / 2000.0), at * 7))
                .collect();
            writer.push(&Arc::new(snapshot(at * SECOND, threads)));
            assert!(reader.memory_bytes() <= 1 << 20);
        }
        let line = &reader.sparklines(process(1), &[Tid(500)], 1000)[0];
        assert!(line.len() >= 20 && line.len() < 100, "{}", line.len());
        assert_eq!(line.last(), Some(&Ok(0.3)));
        let whole = column(&reader, None, Series::CpuRatio, [0, 100, 1]);
        assert!(whole.iter().all(Option::is_some));
    }

    #[test]
    fn an_ended_process_goes_before_a_living_one() {
        let settings = Settings {
            memory_bytes: 64 << 10,
            ..Settings::default()
        };
        let (writer, reader) = new(settings);
        let push = |pid: u32, at: u64| {
            let mut next = snapshot(
                at * SECOND,
                (1..50).map(|tid| thread(tid, Ok(at as f64 / 1e3), at)).collect(),
            );
            next.process = process(pid);
            writer.push(&Arc::new(next));
        };
        let kept = |pid: u32| reader.0.track(process(pid)).is_some();
        push(1, 1);
        push(2, 2);
        writer.ended(process(2));
        let mut at = 3;
        while kept(2) {
            assert!(kept(1));
            push(1, at);
            at += 1;
            assert!(at < 1000);
        }
        assert!(kept(1));
        assert!(reader.memory_bytes() <= 64 << 10);
    }

    #[test]
    fn what_is_older_than_every_ring_is_forgotten() {
        let (writer, reader) = history();
        let mut old = snapshot(SECOND, vec![]);
        old.process = process(2);
        writer.push(&Arc::new(old));
        writer.push(&Arc::new(snapshot(3600 * SECOND, vec![])));
        assert!(reader.0.track(process(2)).is_some());
        writer.push(&Arc::new(snapshot(3602 * SECOND, vec![])));
        assert!(reader.0.track(process(2)).is_none());
    }

    #[test]
    fn readers_and_the_writer_do_not_stop_each_other() {
        let (writer, reader) = history();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let reader = reader.clone();
                scope.spawn(move || {
                    while ask(&reader, Some(1), Series::CpuRatio, [0, 300, 1])
                        .ok()
                        .and_then(|columns| columns.series[0].1[199])
                        .is_none()
                    {
                        reader.sparklines(process(1), &[Tid(1)], 60);
                        std::thread::yield_now();
                    }
                });
            }
            for at in 1..=200 {
                writer.push(&Arc::new(snapshot(at * SECOND, vec![thread(1, Ok(0.5), at)])));
            }
        });
    }

    proptest! {
        #[test]
        fn a_cell_is_the_mean_of_what_it_covers(
            values in prop::collection::vec(prop::option::of(0u8..=8), 1..60),
            step in 1u64..7,
            from in 0u64..20,
        ) {
            let (writer, reader) = history();
            let values: Vec<Option<f64>> = values.iter().map(|value| value.map(|eighths| f64::from(eighths) / 8.0)).collect();
            for (index, value) in values.iter().enumerate() {
                let cpu = value.ok_or(Unknown::Denied);
                writer.push(&Arc::new(snapshot((index as u64 + 1) * SECOND, vec![thread(7, cpu, 0)])));
            }
            let to = from + values.len() as u64;
            let told = column(&reader, Some(7), Series::CpuRatio, [from, to, step]);
            let first = from / step;
            prop_assert_eq!(told.len() as u64, (to - 1) / step - first + 1);
            for (cell, told) in told.iter().enumerate() {
                let begin = (first + cell as u64) * step;
                let within: Vec<f64> = (begin..begin + step).filter_map(|second| *values.get(second as usize)?).collect();
                let mean = (!within.is_empty()).then(|| within.iter().sum::<f64>() / within.len() as f64);
                match (told, mean) {
                    (Some(told), Some(mean)) => prop_assert!((told - mean).abs() < 1e-9),
                    (told, mean) => prop_assert_eq!(*told, mean),
                }
            }
        }

        #[test]
        fn whatever_comes_the_bound_holds_and_nothing_panics(
            pushes in prop::collection::vec(
                (1u32..4, 0u64..100, prop::option::of(0u64..10), prop::collection::vec((0u32..12, 0u64..3, any::<f64>(), any::<u64>()), 0..10), any::<bool>()),
                0..60,
            ),
            memory_bytes in prop_oneof![Just(0usize), 1000usize..40_000],
            range in (any::<u64>(), any::<u64>(), any::<u64>()),
        ) {
            let (writer, reader) = new(Settings {
                full_rate: Duration::from_secs(20),
                coarse: Duration::from_secs(60),
                memory_bytes,
            });
            for (pid, at, interval, threads, truncated) in pushes {
                let threads = threads
                    .into_iter()
                    .map(|(tid, start, cpu, switches)| {
                        let mut thread = thread(tid, Ok(cpu), switches);
                        thread.key.start = Ticks(start);
                        thread
                    })
                    .collect();
                let mut next = snapshot(at * SECOND, threads);
                next.process = process(pid);
                next.truncated = truncated;
                next.interval = interval.map(|seconds| Nanos(seconds * SECOND)).ok_or(Unknown::SeenOnce);
                writer.push(&Arc::new(next));
                prop_assert!(reader.memory_bytes() <= memory_bytes);
                reader.sparklines(process(pid), &[Tid(1), Tid(2)], 7);
            }
            for thread in [None, Some(Tid(3))] {
                for (from, to, step) in [range, (0, 200 * SECOND, SECOND)] {
                    let _ = reader.query(&Query {
                        process: process(1),
                        thread,
                        series: Series::ALL.into_iter().filter(|series| thread.is_none() || series.of_thread()).collect(),
                        from: Nanos(from),
                        to: Nanos(to),
                        step: Nanos(step),
                    });
                }
            }
        }
    }
}
