//! Counting what becomes of tasks, cheaply on the worker and exactly in the sum.
//!
//! A worker that ends a task adds it to a [`Shard`]: one of a few, picked by the thread, so that two
//! workers seldom share a lock. The collector swaps each shard against an empty one, so the lock is
//! held for a moment whatever the histogram's size, and adds what it took to the totals. Every
//! ending is counted in exactly one place; `arrived` is counted before a task is handed over and
//! read after the endings, so `arrived - endings` is never negative and is what is outstanding.
//!
//! [`Tally`] is a log-linear histogram (the idea of HdrHistogram): 64 steps an octave, so a
//! quantile is within 0.8 % of the truth, from 1 ns to over an hour; longer times count as that.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::utils::CachePadded;
use parking_lot::Mutex;

use crate::model::{Nanos, Spread};

const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// 2^42 ns are 73 minutes.
const TOP_BITS: u32 = 42;
const BUCKETS: usize = (TOP_BITS - STEP_BITS + 1) as usize * STEPS;

/// A distribution of times.
#[derive(Clone, Debug)]
pub struct Tally {
    buckets: Box<[u64]>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

fn bucket(nanos: u64) -> usize {
    let nanos = nanos.min((1 << TOP_BITS) - 1);
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEP_BITS;
    (shift as usize) * STEPS + (nanos >> shift) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let shift = (bucket / STEPS - 1) as u32;
    let low = ((bucket % STEPS + STEPS) as u64) << shift;
    low + (1 << shift) / 2
}

impl Tally {
    pub fn add(&mut self, time: Nanos) {
        self.buckets[bucket(time.0)] += 1;
        self.count += 1;
        self.sum = self.sum.saturating_add(time.0);
        self.max = self.max.max(time.0);
    }

    pub fn merge(&mut self, other: &Tally) {
        if other.count == 0 {
            return;
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    pub fn clear(&mut self) {
        if self.count > 0 {
            self.buckets.fill(0);
            (self.count, self.sum, self.max) = (0, 0, 0);
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn mean(&self) -> Nanos {
        Nanos(self.sum.checked_div(self.count).unwrap_or(0))
    }

    pub fn max(&self) -> Nanos {
        Nanos(self.max)
    }

    /// The time that a share `q` of all stays at or below; 0 when there is none.
    pub fn quantile(&self, q: f64) -> Nanos {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Nanos(middle(index).min(self.max));
            }
        }
        Nanos(self.max)
    }

    pub fn spread(&self) -> Spread {
        Spread {
            count: self.count,
            mean: self.mean(),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            max: self.max(),
        }
    }
}

/// What became of the tasks of one load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub arrived: u64,
    pub done: u64,
    pub shed: u64,
    pub late: u64,
    pub cancelled: u64,
    pub panicked: u64,
    /// Answers checked, found wrong, and those whose check was left out because the checker was busy.
    pub verified: u64,
    pub wrong: u64,
    pub unchecked: u64,
}

impl Counts {
    pub fn ended(&self) -> u64 {
        self.done + self.shed + self.late + self.cancelled + self.panicked
    }

    pub fn outstanding(&self) -> u64 {
        self.arrived.saturating_sub(self.ended())
    }

    pub fn add(&mut self, other: &Counts) {
        self.arrived += other.arrived;
        self.done += other.done;
        self.shed += other.shed;
        self.late += other.late;
        self.cancelled += other.cancelled;
        self.panicked += other.panicked;
        self.verified += other.verified;
        self.wrong += other.wrong;
        self.unchecked += other.unchecked;
    }
}

/// Counts and the four latencies of a load, or of all.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub counts: Counts,
    /// From the intended start into the queue.
    pub lag: Tally,
    /// In the queue.
    pub queue: Tally,
    /// In a worker's hands.
    pub service: Tally,
    /// From the intended start to the end: the sum of the three.
    pub response: Tally,
    /// The most heap that one task had in use at once, in bytes. `None`: nothing counted it.
    pub heap_peak: Option<u64>,
    /// How long the load has been on.
    pub seconds: f64,
}

impl Summary {
    pub fn merge(&mut self, other: &Summary) {
        self.counts.add(&other.counts);
        self.lag.merge(&other.lag);
        self.queue.merge(&other.queue);
        self.service.merge(&other.service);
        self.response.merge(&other.response);
        self.heap_peak = self.heap_peak.max(other.heap_peak);
    }

    pub fn clear(&mut self) {
        self.counts = Counts::default();
        self.lag.clear();
        self.queue.clear();
        self.service.clear();
        self.response.clear();
        self.heap_peak = None;
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    Shed,
    Late,
    Cancelled,
    Panicked,
}

/// The clock readings of a task that was run.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub intended: Nanos,
    pub enqueued: Nanos,
    pub started: Nanos,
    pub ended: Nanos,
    /// In bytes; `None`: nothing counted it.
    pub heap_peak: Option<u64>,
}

/// Where the endings of one load are counted.
pub struct Recorder {
    shards: Box<[CachePadded<Mutex<Summary>>]>,
}

impl Recorder {
    /// `threads` is about how many will record at once.
    pub fn new(threads: usize) -> Recorder {
        Recorder {
            shards: (0..threads.clamp(1, 16)).map(|_| CachePadded::default()).collect(),
        }
    }

    pub fn record(&self, fate: Fate, times: Option<Times>) {
        let mut shard = self.shards[ticket() % self.shards.len()].lock();
        let counts = &mut shard.counts;
        match fate {
            Fate::Done => counts.done += 1,
            Fate::Shed => counts.shed += 1,
            Fate::Late => counts.late += 1,
            Fate::Cancelled => counts.cancelled += 1,
            Fate::Panicked => counts.panicked += 1,
        }
        if let Some(times) = times {
            shard.lag.add(times.enqueued.saturating_sub(times.intended));
            shard.queue.add(times.started.saturating_sub(times.enqueued));
            shard.service.add(times.ended.saturating_sub(times.started));
            shard.response.add(times.ended.saturating_sub(times.intended));
            shard.heap_peak = shard.heap_peak.max(times.heap_peak);
        }
    }

    /// Adds to `into` what was recorded since the last call. `spare` is empty, before and after.
    pub fn take(&self, into: &mut Summary, spare: &mut Summary) {
        for shard in &self.shards {
            std::mem::swap(&mut *shard.lock(), spare);
            into.merge(spare);
            spare.clear();
        }
    }
}

/// A small number for the calling thread, the same for its life.
fn ticket() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            // Relaxed: any distinct number will do.
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_its_middle_and_is_narrow(nanos in 1u64..(1 << 42)) {
            let middle = middle(bucket(nanos));
            prop_assert_eq!(bucket(middle), bucket(nanos));
            prop_assert!((middle as f64 / nanos as f64 - 1.0).abs() < 0.0080, "{nanos} became {middle}");
        }

        #[test]
        fn quantiles_are_near_the_sorted_truth(mut times in prop::collection::vec(1u64..10_000_000_000, 1..300), q in 0.0..1.0f64) {
            let mut tally = Tally::default();
            for time in &times {
                tally.add(Nanos(*time));
            }
            times.sort_unstable();
            let rank = ((q * times.len() as f64).ceil() as usize).clamp(1, times.len());
            let truth = times[rank - 1] as f64;
            prop_assert!((tally.quantile(q).0 as f64 / truth - 1.0).abs() < 0.009);
        }
    }

    #[test]
    fn too_long_a_time_counts_in_the_last_bucket() {
        let mut tally = Tally::default();
        tally.add(Nanos(u64::MAX));
        assert_eq!((tally.count(), tally.max()), (1, Nanos(u64::MAX)));
        assert!(tally.quantile(0.5).0 > 1 << 41);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn an_empty_tally_has_no_times() {
        assert_eq!(Tally::default().spread(), Spread::default());
    }

    #[test]
    fn nothing_is_lost_between_the_shards() {
        let recorder = Recorder::new(4);
        let mut total = Summary::default();
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..5_000 {
                            let times = Times {
                                intended: Nanos(10),
                                enqueued: Nanos(12),
                                started: Nanos(20),
                                ended: Nanos(50),
                                heap_peak: None,
                            };
                            recorder.record(Fate::Done, Some(times));
                        }
                    })
                })
                .collect();
            let mut spare = Summary::default();
            while workers.iter().any(|worker| !worker.is_finished()) {
                recorder.take(&mut total, &mut spare);
            }
            recorder.take(&mut total, &mut spare);
        });
        assert_eq!((total.counts.done, total.response.count()), (20_000, 20_000));
        assert_eq!(
            total.lag.max().0 + total.queue.max().0 + total.service.max().0,
            total.response.max().0
        );
    }
}
