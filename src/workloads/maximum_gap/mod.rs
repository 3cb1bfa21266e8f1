//! The largest difference between neighbours in sorted order, found without sorting.
//!
//! The pigeonhole argument: n values over a range leave a gap of at least range / (n - 1), so
//! values that share a bucket narrower than that can't be the two sides of the largest gap, and
//! of a bucket only its least and greatest value matter. We go one step further, because a table
//! of two numbers a bucket is larger than the input and every access to it misses the cache:
//!
//! 1. One pass finds the ends of the range.
//! 2. One pass sets a *bit* for each bucket of four mean gaps that holds a value. The largest gap
//!    is a run of empty buckets, and the run's length tells the gap up to two bucket widths.
//!    Random values almost always have a gap three times as wide as such a bucket.
//! 3. One pass keeps least and greatest value, but only of the few buckets beside a longest run or
//!    one shorter by one; the others can't win.
//!
//! Evenly spread values have no such runs, or too many. Then the values are first parted into
//! ranges whose tables of least and greatest fit the cache, and each range is done by the book
//! (`parted.rs`). Either way time is linear. All differences are taken in wrapping 64-bit
//! arithmetic, which is exact for any two `i64`.

mod parted;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::json::Case;
use super::random::Random;
use super::{About, Answer, BadInput, Domain, Join, Mismatch, Parameter, Params, Prepared, Workload, for_each_piece};

/// Pieces below this are not worth handing to another thread: about 20 µs of work.
const SMALLEST_PIECE: usize = 16 * 1024;

/// The largest difference between neighbours in sorted order; 0 for fewer than two values.
pub fn maximum_gap(nums: &[i64], join: &dyn Join) -> u64 {
    if nums.len() < 2 {
        return 0;
    }
    let pieces = join.width().min(nums.len() / SMALLEST_PIECE).max(1);
    let (low, high) = ends(nums, pieces, join);
    let range = distance(low, high);
    if range == 0 {
        return 0;
    }
    let count = nums.len() as u64;
    // The largest gap is at least this: the pigeonhole bound.
    let bound = range.div_ceil(count - 1);
    // Values that lie close get a bit each.
    let width = if range / 4 <= count { 1 } else { bound.saturating_mul(4) };
    let grid = Grid::new(low, range, width);
    let bits = occupied(nums, grid, pieces, join);
    let longest = Runs::over(&bits, grid.cells).map(|run| run.length).max().unwrap_or(0);
    if grid.shift == 0 {
        // A bucket is a value: the longest run of absent ones, and the step onto the next.
        return longest as u64 + 1;
    }
    // With `longest` empty buckets between them, two neighbours are more than `longest` widths
    // apart; with two fewer, less than that. With a longest run below two, a gap without an empty
    // bucket (less than two widths) might still be the largest.
    if longest >= 2
        && let Some(marks) = contenders(nums.len(), grid, &bits, longest)
    {
        return exact(nums, grid, &bits, longest, marks, pieces, join);
    }
    drop(bits);
    parted::gap(nums, Grid::new(low, range, bound), pieces, join)
}

/// How far `high` is above `low`: exact for any two `i64`.
fn distance(low: i64, high: i64) -> u64 {
    (high as u64).wrapping_sub(low as u64)
}

/// Equal buckets, a power of two wide, from the least value up.
#[derive(Clone, Copy)]
struct Grid {
    low: i64,
    shift: u32,
    cells: usize,
}

impl Grid {
    /// The widest power of two that is at most `width`.
    fn new(low: i64, range: u64, width: u64) -> Grid {
        let shift = width.ilog2();
        Grid {
            low,
            shift,
            cells: (range >> shift) as usize + 1,
        }
    }

    #[inline(always)]
    fn cell(self, value: i64) -> usize {
        (distance(self.low, value) >> self.shift) as usize
    }
}

/// Least and greatest value.
fn ends(nums: &[i64], pieces: usize, join: &dyn Join) -> (i64, i64) {
    if pieces <= 1 {
        return nums
            .iter()
            .fold((i64::MAX, i64::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    }
    let (left, right) = nums.split_at(nums.len() / 2);
    let half = pieces / 2;
    let (a, b) = join.join(|| ends(left, half, join), || ends(right, pieces - half, join));
    (a.0.min(b.0), a.1.max(b.1))
}

/// A bit for every bucket that holds a value.
fn occupied(nums: &[i64], grid: Grid, pieces: usize, join: &dyn Join) -> Vec<u64> {
    if pieces <= 1 {
        let mut bits = vec![0_u64; grid.cells.div_ceil(64)];
        for &x in nums {
            let cell = grid.cell(x);
            bits[cell / 64] |= 1 << (cell % 64);
        }
        return bits;
    }
    let (left, right) = nums.split_at(nums.len() / 2);
    let half = pieces / 2;
    let (mut bits, others) = join.join(
        || occupied(left, grid, half, join),
        || occupied(right, grid, pieces - half, join),
    );
    for (ours, theirs) in bits.iter_mut().zip(others) {
        *ours |= theirs;
    }
    bits
}

/// Empty buckets in a row.
struct Run {
    start: usize,
    length: usize,
}

/// Goes over the runs of empty buckets. The first and the last bucket are never empty: they hold
/// the least and the greatest value.
struct Runs<'a> {
    bits: &'a [u64],
    cells: usize,
    at: usize,
}

impl<'a> Runs<'a> {
    fn over(bits: &'a [u64], cells: usize) -> Runs<'a> {
        Runs { bits, cells, at: 0 }
    }

    /// The first bucket from `from` on whose bit is `wanted`.
    fn first_bit(&self, from: usize, wanted: bool) -> usize {
        let flip = if wanted { 0 } else { u64::MAX };
        let mut word = from / 64;
        let Some(&first) = self.bits.get(word) else {
            return self.cells;
        };
        let mut rest = (first ^ flip) & (u64::MAX << (from % 64));
        while rest == 0 {
            word += 1;
            match self.bits.get(word) {
                Some(&next) => rest = next ^ flip,
                None => return self.cells,
            }
        }
        (word * 64 + rest.trailing_zeros() as usize).min(self.cells)
    }
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let start = self.first_bit(self.at, false);
        if start >= self.cells {
            return None;
        }
        self.at = self.first_bit(start, true);
        Some(Run {
            start,
            length: self.at - start,
        })
    }
}

/// Marks the buckets on either side of the runs that can win: those of `longest` or one less.
/// `None` when they are so many that most values would have to be looked at one by one.
fn contenders(values: usize, grid: Grid, bits: &[u64], longest: usize) -> Option<Vec<u64>> {
    let most = 64 + values / 64;
    let mut marks = vec![0_u64; bits.len()];
    for (number, run) in winning(grid, bits, longest).enumerate() {
        if number >= most {
            return None;
        }
        for side in [run.start - 1, run.start + run.length] {
            marks[side / 64] |= 1 << (side % 64);
        }
    }
    Some(marks)
}

fn winning(grid: Grid, bits: &[u64], longest: usize) -> impl Iterator<Item = Run> {
    Runs::over(bits, grid.cells).filter(move |run| run.length + 1 >= longest)
}

/// The largest gap among the runs that can win.
fn exact(
    nums: &[i64],
    grid: Grid,
    bits: &[u64],
    longest: usize,
    marks: Vec<u64>,
    pieces: usize,
    join: &dyn Join,
) -> u64 {
    let sides = Sides::of(marks);
    // One piece alone needs no read-modify-write, which costs ten times a plain store.
    if pieces <= 1 {
        sides.note::<false>(nums, grid);
    } else {
        for_each_piece(join, 0..nums.len(), nums.len().div_ceil(pieces), &|piece| {
            sides.note::<true>(&nums[piece], grid);
        });
    }
    winning(grid, bits, longest)
        .map(|run| sides.least(run.start + run.length) - sides.greatest(run.start - 1))
        .max()
        .unwrap_or(0)
}

/// Least and greatest value of the marked buckets, as distances from the grid's low end.
struct Sides {
    marks: Vec<u64>,
    /// How many buckets are marked before each word of `marks`.
    before: Vec<u32>,
    table: Vec<(AtomicU64, AtomicU64)>,
}

impl Sides {
    fn of(marks: Vec<u64>) -> Sides {
        let mut count = 0_u32;
        let before = marks
            .iter()
            .map(|word| {
                let before = count;
                count += word.count_ones();
                before
            })
            .collect();
        let table = (0..count)
            .map(|_| (AtomicU64::new(u64::MAX), AtomicU64::new(0)))
            .collect();
        Sides { marks, before, table }
    }

    #[inline(always)]
    fn slot(&self, cell: usize) -> usize {
        let below = self.marks[cell / 64] & ((1 << (cell % 64)) - 1);
        (self.before[cell / 64] + below.count_ones()) as usize
    }

    fn note<const SHARED: bool>(&self, nums: &[i64], grid: Grid) {
        for &x in nums {
            let cell = grid.cell(x);
            if self.marks[cell / 64] >> (cell % 64) & 1 == 0 {
                continue;
            }
            let offset = distance(grid.low, x);
            let (least, greatest) = &self.table[self.slot(cell)];
            // Relaxed: minima and maxima commute, and the join that ends the pass orders them
            // before they are read.
            if offset < least.load(Ordering::Relaxed) {
                if SHARED {
                    least.fetch_min(offset, Ordering::Relaxed);
                } else {
                    least.store(offset, Ordering::Relaxed);
                }
            }
            if offset >= greatest.load(Ordering::Relaxed) {
                if SHARED {
                    greatest.fetch_max(offset, Ordering::Relaxed);
                } else {
                    greatest.store(offset, Ordering::Relaxed);
                }
            }
        }
    }

    fn least(&self, cell: usize) -> u64 {
        self.table[self.slot(cell)].0.load(Ordering::Relaxed)
    }

    fn greatest(&self, cell: usize) -> u64 {
        self.table[self.slot(cell)].1.load(Ordering::Relaxed)
    }
}

/// The catalogue's entry.
pub struct MaximumGap;

static ABOUT: About = About {
    name: "maximum_gap",
    title: "Maximum gap",
    summary: "The largest difference between neighbours in sorted order, in linear time and without sorting.",
    parameters: &[
        Parameter {
            name: "elements",
            meaning: "values in each input",
            unit: "elements",
            domain: Domain::Integer {
                min: 0,
                max: 50_000_000,
            },
            default: "200000",
        },
        Parameter {
            name: "shape",
            meaning: "how the values lie: uniform in 0..2^31, over all of 64 bits, in ten clusters, evenly spread, or all equal",
            unit: "",
            domain: Domain::Choice(&["uniform", "full", "clustered", "even", "equal"]),
            default: "uniform",
        },
        Parameter {
            name: "inputs",
            meaning: "different inputs that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the inputs, read only",
    per_thread: "a bit map of the buckets, or a table of least and greatest values; the pieces of a forked task share one small table, updated atomically",
    checked: "every answer against a sort and a scan of the same input",
    input_example: r#"{"nums":[3,6,9,1]}"#,
    output_example: r#"{"gap":3}"#,
    notes: "Linear time: three passes over the input, or four and a copy of it when it is spread evenly. \
            Exact for any 64-bit values: the gap is up to 2^64-1. \
            Fewer than two values have the gap 0.",
};

impl Workload for MaximumGap {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let elements = params.integer("elements") as u64;
        let inputs = params.integer("inputs") as u64;
        let workers = workers.max(1) as u64;
        // At most four bits a value for each piece of a forked task, as many for the marks, half
        // of that for their counts; few sides. Or the parted values and a table for each piece.
        let bits = elements / 2 + 64;
        let by_bits = bits * workers + bits + bits / 2 + 32 * (elements / 64 + 64);
        let parted = elements * 8 + workers * parted::table_bytes(elements);
        let task = by_bits.max(parted) + 1024;
        inputs * (elements * 8 + 64) + workers * task
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let elements = params.size("elements");
        let shape = params.text("shape");
        let inputs = (0..params.size("inputs"))
            .map(|number| generate(elements, shape, Random::new(seed, number as u64)))
            .collect();
        Ok(Box::new(Gaps { inputs }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        let case = Case::open(input, &["nums"])?;
        Ok(json!({ "gap": maximum_gap(&case.integers("nums")?, join) }))
    }
}

fn generate(elements: usize, shape: &str, mut random: Random) -> Vec<i64> {
    match shape {
        "full" => (0..elements).map(|_| random.next() as i64).collect(),
        "clustered" => {
            let centres: Vec<i64> = (0..10).map(|_| random.next() as i64).collect();
            (0..elements)
                .map(|_| centres[random.below(10) as usize].saturating_add(random.below(1 << 20) as i64))
                .collect()
        }
        "even" => {
            // Steps of 1000 with a little jitter: the shape that leaves no bucket empty.
            let mut nums: Vec<i64> = (0..elements)
                .map(|at| at as i64 * 1000 + random.below(100) as i64)
                .collect();
            random.shuffle(&mut nums);
            nums
        }
        "equal" => vec![random.next() as i64; elements],
        _ => (0..elements).map(|_| random.below(1 << 31) as i64).collect(),
    }
}

struct Gaps {
    inputs: Vec<Vec<i64>>,
}

impl Gaps {
    fn input(&self, task: u64) -> &[i64] {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }
}

impl Prepared for Gaps {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        let gap = maximum_gap(self.input(task), join);
        Answer {
            text: format!("gap {gap}"),
            words: vec![gap],
        }
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let expected = by_sorting(self.input(task));
        if answer.words == [expected] {
            return Ok(());
        }
        Err(Mismatch {
            task,
            message: format!("{} but sorting gives gap {expected}", answer.text),
        })
    }
}

/// The oracle: sort, then look at neighbours. In 128 bits, so that not even the arithmetic is shared.
fn by_sorting(nums: &[i64]) -> u64 {
    let mut sorted = nums.to_vec();
    sorted.sort_unstable();
    sorted
        .windows(2)
        .map(|pair| i128::from(pair[1]) - i128::from(pair[0]))
        .max()
        .map_or(0, |gap| gap as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::tests::{OnThreads, solve};
    use proptest::prelude::*;

    fn check(nums: &[i64], expected: u64) {
        assert_eq!(maximum_gap(nums, &Sequential), expected, "{nums:?}");
        assert_eq!(by_sorting(nums), expected, "the oracle on {nums:?}");
    }

    #[test]
    fn small_cases() {
        check(&[], 0);
        check(&[10], 0);
        check(&[3, 6, 9, 1], 3);
        check(&[7, 7, 7], 0);
        check(&[1, 1, 1, 1, 1, 5, 5, 5, 5, 5], 4);
        check(&[1, 10_000_000], 9_999_999);
        check(&[1, 2, 3, 4, 5, 6, 7, 8, 9], 1);
    }

    #[test]
    fn the_ends_of_sixty_four_bits_do_not_overflow() {
        check(&[i64::MIN, i64::MAX], u64::MAX);
        check(&[i64::MAX, i64::MIN, 0], 1 << 63);
        check(&[i64::MIN, i64::MIN + 1], 1);
        check(&[i64::MIN; 5], 0);
    }

    #[test]
    fn an_answer_beyond_signed_range_is_an_exact_json_number() {
        assert_eq!(
            solve(&MaximumGap, r#"{"nums":[-9223372036854775808,9223372036854775807]}"#).unwrap(),
            r#"{"gap":18446744073709551615}"#
        );
        assert_eq!(solve(&MaximumGap, r#"{"nums":[]}"#).unwrap(), r#"{"gap":0}"#);
    }

    #[test]
    fn every_shape_agrees_with_sorting_sequential_and_forked() {
        for shape in ["uniform", "full", "clustered", "even", "equal"] {
            for elements in [2, 3, 100, 1000, 70_000] {
                let nums = generate(elements, shape, Random::new(3, elements as u64));
                let expected = by_sorting(&nums);
                assert_eq!(maximum_gap(&nums, &Sequential), expected, "{shape} {elements}");
                assert_eq!(maximum_gap(&nums, &OnThreads(3)), expected, "{shape} {elements} forked");
            }
        }
    }

    #[test]
    fn an_even_spread_and_even_clusters_are_parted() {
        for (elements, step) in [(1000, 64), (200_000, 1000)] {
            let nums = generate(elements, "even", Random::new(4, 0));
            let clusters: Vec<i64> = nums.iter().map(|x| x / step / 16 * step * 16 + x % 7).collect();
            for nums in [nums, clusters] {
                let expected = by_sorting(&nums);
                assert_eq!(maximum_gap(&nums, &Sequential), expected);
                assert_eq!(maximum_gap(&nums, &OnThreads(2)), expected);
            }
        }
    }

    #[test]
    fn an_exactly_even_spread_has_its_step_as_gap() {
        for step in [1, 2, 3, 7, 1000, 1 << 40] {
            let nums: Vec<i64> = (0..1000).map(|i| i * step).collect();
            check(&nums, step as u64);
        }
    }

    #[test]
    fn runs_cross_words_and_stop_at_the_last_cell() {
        let mut bits = vec![0_u64; 3];
        for cell in [0, 1, 130] {
            bits[cell / 64] |= 1 << (cell % 64);
        }
        let runs: Vec<_> = Runs::over(&bits, 131).map(|run| (run.start, run.length)).collect();
        assert_eq!(runs, [(2, 128)]);
    }

    proptest! {
        #[test]
        fn it_agrees_with_sorting(nums in prop::collection::vec(any::<i64>(), 0..200)) {
            prop_assert_eq!(maximum_gap(&nums, &Sequential), by_sorting(&nums));
        }

        #[test]
        fn it_agrees_with_sorting_where_values_crowd(
            nums in prop::collection::vec(-50_i64..50, 0..300),
            scale in 1_i64..1 << 50,
        ) {
            let nums: Vec<i64> = nums.iter().map(|x| x * scale).collect();
            prop_assert_eq!(maximum_gap(&nums, &Sequential), by_sorting(&nums));
        }

        #[test]
        fn the_parted_way_agrees_with_sorting(nums in prop::collection::vec(any::<i64>(), 2..400), bits in 0_u32..64) {
            let nums: Vec<i64> = nums.iter().map(|x| x >> bits).collect();
            let (low, high) = ends(&nums, 1, &Sequential);
            let range = distance(low, high);
            prop_assume!(range > 0);
            let grid = Grid::new(low, range, range.div_ceil(nums.len() as u64 - 1));
            prop_assert_eq!(parted::gap(&nums, grid, 1, &Sequential), by_sorting(&nums));
            prop_assert_eq!(parted::gap(&nums, grid, 3, &OnThreads(3)), by_sorting(&nums));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn it_agrees_with_sorting_when_forked(seed in any::<u64>(), bits in 1_u32..64) {
            let mut random = Random::new(seed, 0);
            let nums: Vec<i64> = (0..40_000).map(|_| (random.next() >> (64 - bits)) as i64).collect();
            prop_assert_eq!(maximum_gap(&nums, &OnThreads(2)), by_sorting(&nums));
        }
    }
}
