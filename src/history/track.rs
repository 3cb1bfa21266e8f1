//! What is kept of one process: frames of its own numbers, and its threads' numbers by change.
//!
//! A *tick* is the number of a frame since the track began. A thread's [`Life`] holds its four points only at
//! ticks where one of them changed, so that a sleeping thread costs nothing; its value at a tick is
//! the last change at or before it. Snapshots and lives are both in tid order: taking one in is a
//! walk along both, and in the steady state nothing moves.

use std::collections::VecDeque;

use super::point::Point;
use super::{Series, Settings};
use crate::model::{Evidence, Nanos, Snapshot, Thread, ThreadState, Ticks, Tid, Unknown};

/// Length of a coarse frame.
const COARSE_STEP: u64 = 10_000_000_000;
/// Places of the four series of a thread in its points.
pub(super) const OF_THREAD: [Series; 4] = [
    Series::CpuRatio,
    Series::RunDelayRatio,
    Series::VoluntarySwitches,
    Series::InvoluntarySwitches,
];

/// All series of the process at one tick.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) at: u64,
    /// How much of the time before `at` it speaks for; 0 for a first snapshot.
    pub(super) covers: u64,
    /// In the order of `Series::ALL`.
    pub(super) points: [Point; Series::ALL.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    tick: u32,
    points: [Point; OF_THREAD.len()],
}

/// One thread, from the tick it was first seen at.
pub(super) struct Life {
    tid: Tid,
    start: Ticks,
    /// When it was last in a snapshot.
    seen: u32,
    voluntary: Evidence<u64>,
    involuntary: Evidence<u64>,
    /// Never empty; in tick order.
    changes: VecDeque<Change>,
}

impl Life {
    fn bytes(&self) -> usize {
        size_of::<Life>() + self.changes.capacity() * size_of::<Change>()
    }

    fn note(&mut self, tick: u32, points: [Point; OF_THREAD.len()]) {
        if self.changes.back().is_none_or(|last| last.points != points) {
            // Not the doubling of `push_back`: ten thousand half-empty rings would be megabytes.
            if self.changes.len() == self.changes.capacity() {
                self.changes.reserve_exact(self.changes.len() / 4 + 3);
            }
            self.changes.push_back(Change { tick, points });
        }
    }

    /// Forgets what only ticks before `oldest` need.
    fn forget_before(&mut self, oldest: u32) {
        while self.changes.get(1).is_some_and(|second| second.tick <= oldest) {
            self.changes.pop_front();
        }
    }

    /// The oldest tick whose value is known.
    fn first(&self) -> u32 {
        self.changes.front().map_or(u32::MAX, |change| change.tick)
    }

    /// Its points at each tick from `from` on, as far as it lived.
    pub(super) fn from(&self, from: u32) -> impl Iterator<Item = (u32, [Point; OF_THREAD.len()])> {
        let from = from.max(self.first());
        let mut next = self.changes.partition_point(|change| change.tick <= from);
        (from..=self.seen).map(move |tick| {
            while self.changes.get(next).is_some_and(|change| change.tick <= tick) {
                next += 1;
            }
            (tick, self.changes[next - 1].points)
        })
    }
}

/// A sum over threads that says when it cannot be told.
#[derive(Default)]
struct Sum {
    known: Option<f64>,
    /// It is hidden from us: then the sum is too.
    refused: Option<Unknown>,
    /// It has no value yet or any more: the sum goes without it.
    absent: Option<Unknown>,
}

impl Sum {
    fn add(&mut self, value: Evidence<f64>) {
        match value {
            Ok(value) => *self.known.get_or_insert(0.0) += value,
            Err(unknown @ (Unknown::SeenOnce | Unknown::Gone | Unknown::Zombie)) => self.absent = Some(unknown),
            Err(unknown) => self.refused = Some(unknown),
        }
    }

    fn total(self) -> Evidence<f64> {
        match (self.refused, self.known) {
            (Some(unknown), _) => Err(unknown),
            (None, Some(sum)) => Ok(sum),
            (None, None) => Err(self.absent.unwrap_or(Unknown::Gone)),
        }
    }
}

/// A coarse frame in the making.
struct Bucket {
    number: u64,
    begins: u64,
    ends: u64,
    sums: [f64; Series::ALL.len()],
    weights: [f64; Series::ALL.len()],
    points: [Point; Series::ALL.len()],
}

impl Bucket {
    fn new(frame: &Frame) -> Bucket {
        Bucket {
            number: frame.at / COARSE_STEP,
            begins: frame.at - frame.covers,
            ends: frame.at,
            sums: [0.0; Series::ALL.len()],
            weights: [0.0; Series::ALL.len()],
            points: frame.points,
        }
    }

    fn add(&mut self, frame: &Frame) {
        self.ends = frame.at;
        for (index, series) in Series::ALL.into_iter().enumerate() {
            let value = match frame.points[index].value() {
                Ok(value) => f64::from(value),
                // A reason is kept only as long as nothing is known.
                Err(_) if self.weights[index] > 0.0 => continue,
                Err(_) => {
                    self.points[index] = frame.points[index];
                    continue;
                }
            };
            let weight = frame.covers.max(1) as f64;
            let kept = if series.takes_maximum() {
                match self.points[index].value() {
                    Ok(before) if self.weights[index] > 0.0 => value.max(f64::from(before)),
                    _ => value,
                }
            } else {
                self.sums[index] += value * weight;
                self.sums[index] / (self.weights[index] + weight)
            };
            self.weights[index] += weight;
            self.points[index] = Point::of(Ok(kept));
        }
    }

    fn frame(&self) -> Frame {
        Frame {
            at: self.ends,
            covers: self.ends - self.begins,
            points: self.points,
        }
    }
}

impl Series {
    /// Counts and bytes: a peak must not vanish when one looks from afar. Ratios and rates take the mean.
    pub(super) fn takes_maximum(self) -> bool {
        matches!(self, Series::RssBytes | Series::Threads | Series::Runnable)
    }
}

/// One process.
pub(super) struct Track {
    full_rate: u64,
    coarse_span: u64,
    frames: VecDeque<Frame>,
    /// Of the oldest frame.
    first_tick: u32,
    coarse: VecDeque<Frame>,
    bucket: Option<Bucket>,
    /// In tid order.
    living: Vec<Life>,
    /// In the order of their ends.
    dead: VecDeque<Life>,
    living_bytes: usize,
    dead_bytes: usize,
    /// How many ticks of its threads are kept; lowered when memory is short.
    detail_ticks: u32,
    has_ended: bool,
}

impl Track {
    pub(super) fn new(settings: &Settings) -> Track {
        let nanos = |span: std::time::Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        Track {
            full_rate: nanos(settings.full_rate),
            coarse_span: nanos(settings.coarse),
            frames: VecDeque::new(),
            first_tick: 0,
            coarse: VecDeque::new(),
            bucket: None,
            living: Vec::new(),
            dead: VecDeque::new(),
            living_bytes: 0,
            dead_bytes: 0,
            detail_ticks: u32::MAX,
            has_ended: false,
        }
    }

    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let at = snapshot.taken_at.0;
        let previous = self.frames.back().map(|frame| frame.at);
        if previous.is_some_and(|previous| previous >= at) {
            return;
        }
        self.has_ended = false;
        let tick = self.first_tick + self.frames.len() as u32;
        let since = previous.map_or(at, |previous| at - previous);
        let covers = snapshot.interval.map_or(0, |interval| interval.0.min(since));

        let [run_delay, voluntary, involuntary] = self.walk(snapshot, tick, covers);
        let points = Series::ALL.map(|series| {
            Point::of(match series {
                Series::CpuRatio => snapshot.cpu_ratio,
                Series::RunDelayRatio => run_delay,
                Series::RssBytes => snapshot.rss_bytes.map(|bytes| bytes as f64),
                Series::Threads => Ok(snapshot.threads.len() as f64),
                Series::Runnable => Ok(f64::from(snapshot.counts.get(ThreadState::Runnable))),
                Series::VoluntarySwitches => voluntary,
                Series::InvoluntarySwitches => involuntary,
            })
        });
        let frame = Frame { at, covers, points };
        self.frames.push_back(frame);
        while self.frames.front().is_some_and(|front| at - front.at > self.full_rate) {
            self.frames.pop_front();
            self.first_tick += 1;
        }
        self.add_coarse(&frame);
        self.detail_ticks = self.detail_ticks.saturating_add(1);
        self.forget_old_detail(false);
    }

    /// Along the snapshot's threads and ours. Gives the three sums that the snapshot does not have.
    fn walk(&mut self, snapshot: &Snapshot, tick: u32, covers: u64) -> [Evidence<f64>; 3] {
        let mut threads: Vec<&Thread> = snapshot.threads.iter().collect();
        threads.sort_by_key(|thread| thread.tid());
        threads.dedup_by_key(|thread| thread.tid());

        let same = self.living.len() == threads.len()
            && self
                .living
                .iter()
                .zip(&threads)
                .all(|(life, thread)| life.tid == thread.key.tid && life.start == thread.key.start);
        if !same {
            self.meet(&threads, snapshot.truncated, tick);
        }

        let mut sums = [const { None }; 3].map(|_: Option<()>| Sum::default());
        let mut threads = threads.into_iter().peekable();
        for life in &mut self.living {
            let Some(thread) = threads.next_if(|thread| thread.key.tid == life.tid) else {
                // It was not read for want of time: alive, but unknown.
                life.note(tick, [Point::unknown(Unknown::NotAsked); OF_THREAD.len()]);
                life.seen = tick;
                life.voluntary = Err(Unknown::NotAsked);
                life.involuntary = Err(Unknown::NotAsked);
                continue;
            };
            let voluntary = rate(life.voluntary, thread.voluntary_switches, covers);
            let involuntary = rate(life.involuntary, thread.involuntary_switches, covers);
            let values = [thread.cpu_ratio, thread.run_delay_ratio, voluntary, involuntary];
            for (sum, value) in sums.iter_mut().zip(&values[1..]) {
                sum.add(*value);
            }
            life.note(tick, values.map(Point::of));
            life.seen = tick;
            life.voluntary = thread.voluntary_switches;
            life.involuntary = thread.involuntary_switches;
        }
        sums.map(Sum::total)
    }

    /// Makes our threads those of the snapshot: new ones begin, missing ones end (or, when the
    /// snapshot was cut short, stay).
    fn meet(&mut self, threads: &[&Thread], truncated: bool, tick: u32) {
        let mut ours = std::mem::take(&mut self.living).into_iter().peekable();
        let mut met = Vec::with_capacity(threads.len());
        for thread in threads {
            while let Some(life) = ours.next_if(|life| life.tid < thread.key.tid) {
                if truncated {
                    met.push(life);
                } else {
                    self.bury(life);
                }
            }
            let same_tid = ours.next_if(|life| life.tid == thread.key.tid);
            match same_tid {
                Some(life) if life.start == thread.key.start => met.push(life),
                other => {
                    // The tid was reused: another thread.
                    if let Some(life) = other {
                        self.bury(life);
                    }
                    met.push(Life {
                        tid: thread.key.tid,
                        start: thread.key.start,
                        seen: tick,
                        voluntary: Err(Unknown::SeenOnce),
                        involuntary: Err(Unknown::SeenOnce),
                        changes: VecDeque::new(),
                    });
                }
            }
        }
        for life in ours {
            if truncated {
                met.push(life);
            } else {
                self.bury(life);
            }
        }
        self.living = met;
    }

    fn bury(&mut self, life: Life) {
        self.dead_bytes += life.bytes();
        self.dead.push_back(life);
    }

    fn add_coarse(&mut self, frame: &Frame) {
        if self
            .bucket
            .as_ref()
            .is_some_and(|bucket| bucket.number != frame.at / COARSE_STEP)
            && let Some(full) = self.bucket.take()
        {
            self.coarse.push_back(full.frame());
        }
        self.bucket.get_or_insert_with(|| Bucket::new(frame)).add(frame);
        while self
            .coarse
            .front()
            .is_some_and(|front| frame.at - front.at > self.coarse_span)
        {
            self.coarse.pop_front();
        }
    }

    /// Forgets what no kept tick needs of threads, and counts what is left.
    fn forget_old_detail(&mut self, shrink: bool) {
        let next_tick = self.first_tick + self.frames.len() as u32;
        let oldest = self.first_tick.max(next_tick.saturating_sub(self.detail_ticks));
        self.living_bytes = self.living.capacity() * size_of::<Life>();
        for life in &mut self.living {
            life.forget_before(oldest);
            if shrink {
                life.changes.shrink_to_fit();
            }
            self.living_bytes += life.bytes() - size_of::<Life>();
        }
        while self.dead.front().is_some_and(|life| life.seen < oldest) {
            if let Some(life) = self.dead.pop_front() {
                self.dead_bytes -= life.bytes();
            }
        }
        if shrink {
            self.dead.shrink_to_fit();
            self.living.shrink_to_fit();
        }
    }

    /// Keeps a quarter fewer ticks of threads. `false` when there is nothing left to give.
    pub(super) fn shorten_detail(&mut self) -> bool {
        let kept = self.detail_ticks.min(self.frames.len() as u32);
        if kept <= 1 {
            return false;
        }
        self.detail_ticks = kept * 3 / 4;
        self.forget_old_detail(true);
        true
    }

    pub(super) fn end(&mut self) {
        self.has_ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// When its newest frame was taken.
    pub(super) fn latest(&self) -> Nanos {
        Nanos(self.frames.back().map_or(0, |frame| frame.at))
    }

    pub(super) fn detail_bytes(&self) -> usize {
        self.living_bytes + self.dead_bytes + (self.dead.capacity() - self.dead.len()) * size_of::<Life>()
    }

    /// An estimate from above of the heap this holds; allocator overhead is not in it.
    pub(super) fn bytes(&self) -> usize {
        let frames = self.frames.capacity() + self.coarse.capacity();
        // The track, its lock and counts, and its place in the map.
        size_of::<Track>() + 128 + frames * size_of::<Frame>() + self.detail_bytes()
    }

    /// Frames with the stretches of time they speak for, oldest first and without overlap: the
    /// coarse ones end where the full ones begin.
    pub(super) fn stretches(&self) -> impl Iterator<Item = (u64, u64, &Frame)> {
        let begin = self.frames.front().map_or(u64::MAX, |front| front.at - front.covers);
        let coarse = self
            .coarse
            .iter()
            .map(move |frame| (frame.at - frame.covers, frame.at.min(begin), frame))
            .filter(|(begin, end, _)| begin < end);
        coarse.chain(
            self.frames
                .iter()
                .map(|frame| (frame.at - frame.covers, frame.at, frame)),
        )
    }

    /// The frame of a tick that is still kept.
    pub(super) fn frame(&self, tick: u32) -> Option<&Frame> {
        self.frames.get(tick.checked_sub(self.first_tick)? as usize)
    }

    pub(super) fn first_tick(&self) -> u32 {
        self.first_tick
    }

    /// The latest thread that had this tid.
    pub(super) fn life(&self, tid: Tid) -> Option<&Life> {
        match self.living.binary_search_by_key(&tid, |life| life.tid) {
            Ok(index) => self.living.get(index),
            Err(_) => self.dead.iter().rev().find(|life| life.tid == tid),
        }
    }

    pub(super) fn sparkline(&self, tid: Tid, points: usize) -> Vec<Evidence<f32>> {
        let Some(life) = self.life(tid) else {
            return Vec::new();
        };
        let points = u32::try_from(points).unwrap_or(u32::MAX);
        let from = (life.seen + 1).saturating_sub(points).max(self.first_tick);
        life.from(from).map(|(_, points)| points[0].value()).collect()
    }
}

/// Per second, from two readings of a counter that never runs backwards.
fn rate(before: Evidence<u64>, now: Evidence<u64>, over: u64) -> Evidence<f64> {
    let now = now?;
    let before = before.map_err(|_| Unknown::SeenOnce)?;
    if over == 0 {
        return Err(Unknown::SeenOnce);
    }
    let grown = now.checked_sub(before).ok_or(Unknown::Unreadable)?;
    Ok(grown as f64 / Nanos(over).seconds())
}
