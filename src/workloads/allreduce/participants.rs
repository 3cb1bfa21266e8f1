//! Participants that exchange step by step, each a thread of the pool where there are enough.
//!
//! A workload has no threads of its own, so N participants cannot each own one: a fork over a
//! [`Join`] may get fewer threads than pieces, and a piece that blocks on one still queued behind
//! it would wait for ever. So a participant is a state machine in a table that all pieces share,
//! and a piece is a *driver*. A driver takes a participant's next segment when it may go, and
//! waits only when no participant it may drive can move. Its own participant comes first; others
//! only as long as their own driver has not begun. So one thread alone carries all participants to
//! the end, and with a thread for each, everyone moves only itself, and waits in a futex for
//! whoever is late: that one is seen on a CPU.
//!
//! A participant is in one of these states:
//!
//! | state | how it is told | leaves it |
//! |---|---|---|
//! | blocked | a stage it depends on has not passed the segment's end | when another participant publishes |
//! | ready | all have | a driver claims it |
//! | claimed | `claimed` | its driver publishes the segment: blocked, ready or finished |
//! | finished | no stage is left | never |
//!
//! and a driver in one of these:
//!
//! | state | what it does | leaves it |
//! |---|---|---|
//! | choosing | holds the table's lock | claims; waits; or its participant is finished, or the exchange has failed: it returns |
//! | moving | combines or copies one segment, without the lock | publishes and wakes the waiting |
//! | waiting | on the table's condition, with the rest of the deadline | woken: chooses; late: follows the waits and names who is at their end |
//!
//! Messages do not lie about in buffers: a receiver reads the elements in the sender's row. That
//! is safe by the table's two rules, which are made from the programs of `plan` once: a segment is
//! received when the sender's earlier stages have passed it, and elements are written over when
//! all to whom they were sent before have read them. Every element is then touched by one
//! participant at a time, and the table's lock orders these times.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::linear::Element;
use crate::stopwatch::Stopwatch;
use crate::{Join, for_each_piece};

use super::combine::{combine, divide};
use super::failure::Failure;
use super::plan::{Algorithm, Op, Step, Take, Traffic, program};
use super::rows::Rows;

/// Times that a driver looks again before it lies down: a neighbour's segment is often only
/// microseconds away, and a futex costs more.
const LOOKS: u32 = 500;

/// How long a driver leaves others' participants to drivers that are about to begin, where there
/// should be one for each.
const GRACE: Duration = Duration::from_micros(500);

/// An exchange and what its participants do around it.
#[derive(Clone, Copy)]
pub struct Course<'a, T> {
    pub algorithm: Algorithm,
    pub op: Op,
    /// Elements of a segment: what is received before the next participant may have it.
    pub segment: usize,
    /// How long may pass without anything moving before someone is named.
    pub deadline: Duration,
    /// Makes the rank's row what it contributes. Until then, the others wait for it.
    pub bring: &'a (dyn Fn(usize, &mut [T]) + Sync),
    /// Gets the rank's row when it is reduced.
    pub taken: &'a (dyn Fn(usize, &[T]) + Sync),
    /// Called before a rank receives a segment of a step: for faults.
    pub before: Option<&'a (dyn Fn(usize, usize) + Sync)>,
}

/// What was seen of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Counted segment by segment as they were received.
    pub traffic: Traffic,
    /// How long the drivers of others lay waiting because of a rank, all together.
    pub waited_for: Vec<Duration>,
    /// From the moment the last rank had brought its row to the end.
    pub took: Duration,
}

/// Runs the exchange over the rows, a row a rank: all end with the same bits.
///
/// A participant that panics ends the exchange with [`Failure::Died`], one that does not move
/// within the deadline with [`Failure::Stalled`]; the other drivers return at once. The call
/// itself returns when all drivers have, also the one that is late: it works on the caller's rows.
pub fn exchange<T: Element>(
    join: &dyn Join,
    rows: &mut [&mut [T]],
    course: &Course<'_, T>,
) -> Result<Exchange, Failure> {
    let rows = Rows::new(rows)?;
    let ranks = rows.ranks();
    let plans = plans(course.algorithm, ranks, rows.elements());
    let scratch_length = if course.algorithm == Algorithm::Direct && ranks > 1 {
        rows.elements()
    } else {
        0
    };
    let mut scratch: Vec<Vec<T>> = (0..ranks).map(|_| vec![T::default(); scratch_length]).collect();
    let mut scratch: Vec<&mut [T]> = scratch.iter_mut().map(Vec::as_mut_slice).collect();
    let scratch = Rows::new(&mut scratch)?;
    let board = Board {
        course,
        rows: &rows,
        scratch: &scratch,
        plans: &plans,
        grace: if join.width() >= ranks { GRACE } else { Duration::ZERO },
        begun: Stopwatch::start(),
        moves: AtomicU64::new(0),
        table: Mutex::new(Table::new(&plans)),
        moved: Condvar::new(),
    };
    for_each_piece(join, 0..ranks, 1, &|piece| board.drive(piece.start));
    let table = board.table.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = table.failure {
        return Err(failure);
    }
    Ok(Exchange {
        traffic: Traffic {
            steps: program(course.algorithm, ranks.max(1), 0, rows.elements()).len(),
            sent_elements: table.sent,
        },
        waited_for: table.waited_for,
        took: table.took,
    })
}

/// What a participant does in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Its contribution, at one go.
    Bring,
    /// From this rank.
    Receive(usize, Take),
    /// All rows in the order of ranks, into the scratch row: what `Take::Keep` comes to where the
    /// others' rows can be read.
    ReduceAll,
    /// The scratch row becomes the row.
    Settle,
    /// Its row is handed on, at one go.
    Taken,
}

/// That a stage of a rank has passed the end of the segment in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    rank: usize,
    stage: usize,
}

#[derive(Debug)]
struct Stage {
    act: Act,
    /// As the messages count.
    step: usize,
    range: Range<usize>,
    needs: Vec<Needs>,
}

/// The stages of every rank.
fn plans(algorithm: Algorithm, ranks: usize, elements: usize) -> Vec<Vec<Stage>> {
    let programs: Vec<Vec<Step>> = (0..ranks)
        .map(|rank| program(algorithm, ranks, rank, elements))
        .collect();
    let stage = |act, step, range| Stage {
        act,
        step,
        range,
        needs: Vec::new(),
    };
    let mut plans: Vec<Vec<Stage>> = programs
        .iter()
        .map(|steps| {
            let mut stages = vec![stage(Act::Bring, 0, 0..elements)];
            if algorithm == Algorithm::Direct {
                if ranks > 1 && elements > 0 {
                    stages.push(stage(Act::ReduceAll, 0, 0..elements));
                    stages.push(stage(Act::Settle, steps.len() - 1, 0..elements));
                }
            } else {
                stages.extend(steps.iter().enumerate().filter_map(|(number, step)| {
                    let (from, take) = step.receive.as_ref()?;
                    Some(stage(Act::Receive(from.peer, *take), number, from.range.clone()))
                }));
            }
            stages.push(stage(Act::Taken, steps.len(), 0..elements));
            stages
        })
        .collect();
    for rank in 0..ranks {
        for at in 0..plans[rank].len() {
            plans[rank][at].needs = needs(&programs, &plans, rank, at);
        }
    }
    plans
}

fn needs(programs: &[Vec<Step>], plans: &[Vec<Stage>], rank: usize, at: usize) -> Vec<Needs> {
    let stage = &plans[rank][at];
    let meets = |range: &Range<usize>| range.start < stage.range.end && stage.range.start < range.end;
    let all_others = |stage: usize| {
        (0..plans.len())
            .filter(|other| *other != rank)
            .map(|rank| Needs { rank, stage })
            .collect()
    };
    match stage.act {
        Act::Bring | Act::Taken => Vec::new(),
        // Everyone's first stage is to bring, the next to reduce.
        Act::ReduceAll => all_others(0),
        Act::Settle => all_others(1),
        Act::Receive(from, _) => {
            // What the sender itself received before it sends this.
            let earlier = plans[from]
                .iter()
                .enumerate()
                .filter(|(_, earlier)| matches!(earlier.act, Act::Receive(..)))
                .filter(|(_, earlier)| earlier.step < stage.step && meets(&earlier.range));
            let mut needs = vec![Needs { rank: from, stage: 0 }];
            needs.extend(earlier.map(|(stage, _)| Needs { rank: from, stage }));
            // Those to whom we sent, before, what will now be written over. (In all four
            // algorithms what is written here has come of what they read; but that the slices don't
            // overlap must not hang on it.)
            for (number, step) in programs[rank].iter().enumerate().take(stage.step) {
                let Some(send) = step.send.as_ref().filter(|send| meets(&send.range)) else {
                    continue;
                };
                let receiving = plans[send.peer].iter().position(|stage| {
                    stage.step == number && matches!(stage.act, Act::Receive(from, _) if from == rank)
                });
                needs.extend(receiving.map(|stage| Needs { rank: send.peer, stage }));
            }
            needs
        }
    }
}

struct Table {
    /// Each rank's stage, and the element its next segment begins with.
    at: Vec<(usize, usize)>,
    claimed: Vec<bool>,
    /// A driver of its own has begun.
    attended: Vec<bool>,
    /// The participant that its driver moves meanwhile.
    helps: Vec<Option<usize>>,
    sent: Vec<u64>,
    waited_for: Vec<Duration>,
    waiting: usize,
    /// Ranks that have not brought their row yet; when none is left, the exchange proper begins.
    to_bring: usize,
    brought: Option<Stopwatch>,
    took: Duration,
    failure: Option<Failure>,
}

impl Table {
    fn new(plans: &[Vec<Stage>]) -> Table {
        let ranks = plans.len();
        Table {
            at: vec![(0, 0); ranks],
            claimed: vec![false; ranks],
            attended: vec![false; ranks],
            helps: vec![None; ranks],
            sent: vec![0; ranks],
            waited_for: vec![Duration::ZERO; ranks],
            waiting: 0,
            to_bring: ranks,
            brought: None,
            took: Duration::ZERO,
            failure: None,
        }
    }
}

struct Board<'a, T> {
    course: &'a Course<'a, T>,
    rows: &'a Rows<'a, T>,
    /// Only of use to [`Algorithm::Direct`]; empty rows otherwise.
    scratch: &'a Rows<'a, T>,
    plans: &'a [Vec<Stage>],
    grace: Duration,
    begun: Stopwatch,
    /// How many segments were published: for those who look before they wait.
    moves: AtomicU64,
    table: Mutex<Table>,
    moved: Condvar,
}

impl<T: Element> Board<'_, T> {
    /// Drives `own` to its end, and others meanwhile whose driver has not begun.
    fn drive(&self, own: usize) {
        let mut table = self.lock();
        table.attended[own] = true;
        let mut grace = self.grace;
        // Counts from the last time anything moved.
        let mut idle: Option<(u64, Stopwatch)> = None;
        let mut looks = 0;
        loop {
            if table.failure.is_some() || self.finished(&table, own) {
                return;
            }
            if let Some(rank) = self.movable(&table, own, grace.is_zero()) {
                idle = None;
                looks = 0;
                table.helps[own] = (rank != own).then_some(rank);
                table = self.step(table, rank);
                table.helps[own] = None;
                continue;
            }
            // Relaxed: the table's lock orders it; without the lock it is a hint.
            let moves = self.moves.load(Ordering::Relaxed);
            if looks < LOOKS {
                drop(table);
                while looks < LOOKS && self.moves.load(Ordering::Relaxed) == moves {
                    looks += 1;
                    std::hint::spin_loop();
                }
                looks = LOOKS;
                table = self.lock();
                continue;
            }
            let since = match idle {
                Some((then, since)) if then == moves => since,
                _ => {
                    let since = Stopwatch::start();
                    idle = Some((moves, since));
                    since
                }
            };
            let (late, step) = self.end_of_waits(&table, own);
            let Some(left) = self.course.deadline.checked_sub(since.elapsed()) else {
                table.failure = Some(Failure::Stalled {
                    rank: late,
                    step,
                    within: self.course.deadline,
                });
                self.moved.notify_all();
                return;
            };
            let left = if grace.is_zero() || table.attended.iter().all(|attended| *attended) {
                left
            } else {
                grace = self.grace.saturating_sub(self.begun.elapsed());
                if grace.is_zero() {
                    continue;
                }
                left.min(grace)
            };
            table.waiting += 1;
            let lay = Stopwatch::start();
            table = self
                .moved
                .wait_timeout(table, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            table.waiting -= 1;
            table.waited_for[late] += lay.elapsed();
            looks = 0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing that can panic runs under the lock, and a poisoned table would be whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finished(&self, table: &Table, rank: usize) -> bool {
        table.at[rank].0 == self.plans[rank].len()
    }

    /// `own` when it can move, or else, with `help`, the next rank after it that can and has no
    /// driver.
    fn movable(&self, table: &Table, own: usize, help: bool) -> Option<usize> {
        let ranks = self.plans.len();
        (own..own + ranks)
            .map(|rank| rank % ranks)
            .filter(|rank| !table.claimed[*rank] && (*rank == own || (help && !table.attended[*rank])))
            .find(|rank| !self.finished(table, *rank) && self.lacks(table, *rank).is_none())
    }

    /// The next segment of a rank that is not finished.
    fn segment(&self, table: &Table, rank: usize) -> Range<usize> {
        let (stage, start) = table.at[rank];
        let stage = &self.plans[rank][stage];
        match stage.act {
            Act::Bring | Act::Taken => stage.range.clone(),
            _ => start..(start + self.course.segment.max(1)).min(stage.range.end),
        }
    }

    /// The rank that this one must wait for before its next segment.
    fn lacks(&self, table: &Table, rank: usize) -> Option<usize> {
        let end = self.segment(table, rank).end;
        let stage = &self.plans[rank][table.at[rank].0];
        let missing = stage.needs.iter().find(|needs| {
            let (at, next) = table.at[needs.rank];
            let range = &self.plans[needs.rank][needs.stage].range;
            let passed = at > needs.stage
                || (at == needs.stage && needs.stage > 0 && next >= end.min(range.end))
                || (needs.stage > 0 && range.start >= end);
            !passed
        });
        missing.map(|needs| needs.rank)
    }

    /// From a rank that can't move, along those it waits for, to the one that could: its step too.
    fn end_of_waits(&self, table: &Table, rank: usize) -> (usize, usize) {
        let mut late = rank;
        // A chain of waits is not longer than there are ranks.
        for _ in 0..self.plans.len() {
            if table.claimed[late] || self.finished(table, late) {
                break;
            }
            // One that could move does not while its driver moves another.
            match self.lacks(table, late).or(table.helps[late]) {
                Some(next) => late = next,
                None => break,
            }
        }
        let step = self.plans[late].get(table.at[late].0).map_or(0, |stage| stage.step);
        (late, step)
    }

    /// Moves a rank by one segment.
    fn step<'t>(&'t self, mut table: MutexGuard<'t, Table>, rank: usize) -> MutexGuard<'t, Table> {
        let segment = self.segment(&table, rank);
        let stage = &self.plans[rank][table.at[rank].0];
        table.claimed[rank] = true;
        drop(table);
        let moved = catch_unwind(AssertUnwindSafe(|| self.act(rank, stage, segment.clone())));
        let mut table = self.lock();
        table.claimed[rank] = false;
        match moved {
            Ok(()) => self.publish(&mut table, rank, stage, segment),
            Err(panic) => {
                table.failure.get_or_insert(Failure::Died {
                    rank,
                    step: stage.step,
                    why: format!("panicked: {}", told(&*panic)),
                });
            }
        }
        // Relaxed: see `drive`.
        self.moves.fetch_add(1, Ordering::Relaxed);
        if table.waiting > 0 {
            self.moved.notify_all();
        }
        table
    }

    fn publish(&self, table: &mut Table, rank: usize, stage: &Stage, segment: Range<usize>) {
        match stage.act {
            Act::Bring => {
                table.to_bring -= 1;
                if table.to_bring == 0 {
                    table.brought = Some(Stopwatch::start());
                }
            }
            Act::Receive(from, _) => table.sent[from] += segment.len() as u64,
            Act::ReduceAll => {
                for (from, sent) in table.sent.iter_mut().enumerate() {
                    *sent += if from == rank { 0 } else { segment.len() as u64 };
                }
            }
            Act::Settle | Act::Taken => {}
        }
        let (at, next) = &mut table.at[rank];
        *next = segment.end;
        if segment.end == stage.range.end {
            *at += 1;
            *next = self.plans[rank].get(*at).map_or(0, |stage| stage.range.start);
        }
        if matches!(stage.act, Act::Receive(..) | Act::Settle)
            && let Some(brought) = table.brought
        {
            table.took = brought.elapsed();
        }
    }

    /// Does one segment of a stage whose needs are met.
    fn act(&self, rank: usize, stage: &Stage, segment: Range<usize>) {
        let Course {
            op,
            bring,
            taken,
            before,
            ..
        } = self.course;
        if let (Some(before), Act::Receive(..) | Act::ReduceAll) = (before, stage.act) {
            before(rank, stage.step);
        }
        match stage.act {
            Act::Bring => {
                // SAFETY: nobody reads a row before its rank's first stage is passed.
                let row = unsafe { self.rows.exclusive(rank, segment) };
                bring(rank, row);
            }
            Act::Receive(from, take) => {
                // SAFETY: the sender's earlier stages have passed the segment, and it writes to it
                // again only when this stage has passed it.
                let theirs = unsafe { self.rows.shared(from, segment.clone()) };
                // SAFETY: those to whom these elements of ours were sent have read them, and those
                // to whom they will be sent wait for this stage to pass them.
                let ours = unsafe { self.rows.exclusive(rank, segment) };
                match take {
                    Take::Reduce { last } => {
                        combine(*op, ours, theirs);
                        if last && *op == Op::Mean {
                            divide(ours, self.rows.ranks());
                        }
                    }
                    Take::Copy | Take::Keep => ours.copy_from_slice(theirs),
                }
            }
            Act::ReduceAll => {
                // SAFETY: scratch row `rank` is touched by this rank's stages only.
                let into = unsafe { self.scratch.exclusive(rank, segment.clone()) };
                for from in 0..self.rows.ranks() {
                    // SAFETY: all have brought their rows, and none settles these elements before
                    // all have reduced them, this rank included.
                    let theirs = unsafe { self.rows.shared(from, segment.clone()) };
                    if from == 0 {
                        into.copy_from_slice(theirs);
                    } else {
                        combine(*op, into, theirs);
                    }
                }
                if *op == Op::Mean {
                    divide(into, self.rows.ranks());
                }
            }
            Act::Settle => {
                // SAFETY: as for `ReduceAll`.
                let from = unsafe { self.scratch.shared(rank, segment.clone()) };
                // SAFETY: all have reduced these elements, so nobody reads them here any more.
                let into = unsafe { self.rows.exclusive(rank, segment) };
                into.copy_from_slice(from);
            }
            Act::Taken => {
                // SAFETY: all stages of this rank are passed: nobody writes to its row.
                let row = unsafe { self.rows.shared(rank, segment) };
                taken(rank, row);
            }
        }
    }
}

/// What a panic said.
fn told(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::allreduce::all_reduce;
    use crate::allreduce::oracle::by_definition;
    use crate::allreduce::value::Value;
    use crate::linear::bf16;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;
    use std::sync::atomic::AtomicUsize;

    /// A pool of so many threads: a fork that gets none runs its halves in order.
    struct Bounded {
        width: usize,
        busy: AtomicUsize,
    }

    impl Bounded {
        fn new(width: usize) -> Bounded {
            Bounded {
                width,
                busy: AtomicUsize::new(1),
            }
        }
    }

    impl Join for Bounded {
        fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
            if self.busy.fetch_add(1, Ordering::Relaxed) < self.width {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        b();
                        self.busy.fetch_sub(1, Ordering::Relaxed);
                    });
                    a();
                });
            } else {
                self.busy.fetch_sub(1, Ordering::Relaxed);
                a();
                b();
            }
        }

        fn width(&self) -> usize {
            self.width
        }
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    fn random_rows<T: Value>(ranks: usize, elements: usize, seed: u64) -> Vec<Vec<T>> {
        let mut random = Random::new(seed, 0);
        (0..ranks)
            .map(|_| {
                (0..elements)
                    .map(|_| T::of((random.below(1 << 20) as f64 - 524_288.0) / 65_536.0 + 0.001))
                    .collect()
            })
            .collect()
    }

    fn slices<T>(rows: &mut [Vec<T>]) -> Vec<&mut [T]> {
        rows.iter_mut().map(Vec::as_mut_slice).collect()
    }

    fn run<T: Element>(
        join: &dyn Join,
        input: &[Vec<T>],
        algorithm: Algorithm,
        op: Op,
        segment: usize,
    ) -> (Vec<Vec<T>>, Exchange) {
        let mut rows: Vec<Vec<T>> = input.iter().map(|row| vec![T::default(); row.len()]).collect();
        let handed_on = AtomicUsize::new(0);
        let course = Course {
            algorithm,
            op,
            segment,
            deadline: PATIENCE,
            bring: &|rank, row| row.copy_from_slice(&input[rank]),
            taken: &|_, _| {
                handed_on.fetch_add(1, Ordering::Relaxed);
            },
            before: None,
        };
        let seen = exchange(join, &mut slices(&mut rows), &course).unwrap();
        assert_eq!(handed_on.into_inner(), input.len());
        (rows, seen)
    }

    /// Step by step, in one pass, and by definition: the same bits in every row.
    fn check<T: Value>(join: &dyn Join, input: &[Vec<T>], algorithm: Algorithm, op: Op, segment: usize) {
        let (rows, seen) = run(join, input, algorithm, op, segment);
        let bits = |row: &[T]| row.iter().map(|value| value.bits()).collect::<Vec<_>>();
        let expected = bits(&by_definition(input, algorithm, op));
        for (rank, row) in rows.iter().enumerate() {
            assert_eq!(bits(row), expected, "{algorithm:?} {op:?} rank {rank}");
        }
        let mut fused = input.to_vec();
        let told = all_reduce(join, &mut slices(&mut fused), algorithm, op).unwrap();
        assert_eq!(told, seen.traffic);
        for row in &fused {
            assert_eq!(bits(row), expected, "{algorithm:?} {op:?} in one pass");
        }
    }

    #[test]
    fn every_algorithm_and_operation_gives_the_bits_of_its_definition() {
        for algorithm in Algorithm::ALL {
            for ranks in 1..10 {
                for elements in [0, 1, 2, 7, 64, 1001] {
                    for op in Op::ALL {
                        let seed = (ranks * 10_000 + elements) as u64;
                        check(
                            &Sequential,
                            &random_rows::<f32>(ranks, elements, seed),
                            algorithm,
                            op,
                            50,
                        );
                        check(
                            &Sequential,
                            &random_rows::<bf16>(ranks, elements, seed),
                            algorithm,
                            op,
                            50,
                        );
                        check(
                            &Sequential,
                            &random_rows::<f64>(ranks, elements, seed),
                            algorithm,
                            op,
                            50,
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// Fewer threads than ranks, as many, and more.
        #[test]
        fn any_number_of_threads_carries_all_to_the_end(
            ranks in 1_usize..9,
            width in 1_usize..10,
            elements in 0_usize..3000,
            segment in 1_usize..700,
            algorithm in 0_usize..4,
            op in 0_usize..5,
            seed in 0_u64..1000,
        ) {
            // A segment of one element of thousands is a test of the lock alone.
            let segment = segment.max(elements / 50);
            let input = random_rows::<f32>(ranks, elements, seed);
            check(&Bounded::new(width), &input, Algorithm::ALL[algorithm], Op::ALL[op], segment);
        }
    }

    #[test]
    fn a_participant_that_panics_is_named_and_nobody_hangs() {
        for algorithm in Algorithm::ALL {
            for width in [1, 2, 4] {
                let mut rows = random_rows::<f32>(4, 1000, 1);
                let course = Course {
                    algorithm,
                    op: Op::Sum,
                    segment: 100,
                    deadline: PATIENCE,
                    bring: &|rank, _| assert!(rank != 2, "no gradient"),
                    taken: &|_, _| (),
                    before: None,
                };
                let failure = exchange(&Bounded::new(width), &mut slices(&mut rows), &course).unwrap_err();
                assert_eq!(failure.to_string(), "rank 2 ended at step 0: panicked: no gradient");
            }
        }
    }

    #[test]
    fn one_that_panics_on_the_way_is_named_with_its_step() {
        let mut rows = random_rows::<f32>(4, 1000, 1);
        let course = Course {
            algorithm: Algorithm::Ring,
            op: Op::Sum,
            segment: 100,
            deadline: PATIENCE,
            bring: &|_, _| (),
            taken: &|_, _| (),
            before: Some(&|rank, step| assert!((rank, step) != (1, 3), "gone")),
        };
        let failure = exchange(&OnThreads(4), &mut slices(&mut rows), &course).unwrap_err();
        assert_eq!(failure.to_string(), "rank 1 ended at step 3: panicked: gone");
    }

    #[test]
    fn one_that_stalls_is_named_by_all_who_wait_for_it_directly_or_not() {
        for (late, algorithm) in Algorithm::ALL.into_iter().enumerate() {
            let mut rows = random_rows::<f32>(4, 1000, 1);
            let course = Course {
                algorithm,
                op: Op::Sum,
                segment: 100,
                deadline: Duration::from_millis(250),
                bring: &|rank, _| {
                    if rank == late {
                        std::thread::sleep(Duration::from_millis(800));
                    }
                },
                taken: &|_, _| (),
                before: None,
            };
            let failure = exchange(&OnThreads(4), &mut slices(&mut rows), &course).unwrap_err();
            assert_eq!(
                failure.to_string(),
                format!("rank {late} did not send step 0 within 250ms"),
                "{algorithm:?}"
            );
        }
    }

    #[test]
    fn the_straggler_is_the_one_most_waited_for() {
        let mut rows = random_rows::<f32>(4, 10_000, 1);
        let course = Course {
            algorithm: Algorithm::Ring,
            op: Op::Sum,
            segment: 1000,
            deadline: PATIENCE,
            bring: &|rank, _| {
                if rank == 1 {
                    std::thread::sleep(Duration::from_millis(300));
                }
            },
            taken: &|_, _| (),
            before: None,
        };
        let seen = exchange(&OnThreads(4), &mut slices(&mut rows), &course).unwrap();
        assert_eq!(
            seen.waited_for.iter().max(),
            Some(&seen.waited_for[1]),
            "{:?}",
            seen.waited_for
        );
    }
}
