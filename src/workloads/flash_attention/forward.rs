//! The forward pass: tile after tile, with a running maximum and sum for every row.
//!
//! For a row, tile t of its keys gives the maximum m_t of its scores, the sum l_t of its weights
//! 2^(s - m_t), and o_t, the sum of weights times values. Tiles are taken together in order:
//! m' = max(m, m_t), l' = l 2^(m - m') + l_t 2^(m_t - m'), and o likewise; at the end o / l (Dao
//! 2023, algorithm 1, in powers of two). A tile's three results depend on nothing but the row and
//! the tile, so tiles may as well be computed on different threads and taken together afterwards:
//! that is how few queries over many keys are split, and the bits are the same.
//!
//! Drafts of a tree are numbered through for each row as if the keys that it does not see were not
//! there: so a draft's result has the bits that it would have at the end of plain text.

use super::heads::{Places, Visible};
use super::kernels::{After, Product, Scores};
use super::problem::{
    Count, Counted, DRAFTS, Irregular, Problem, STRIP, TILE, as_sums, grain, pieces, take_out, widen,
};
use super::{Heads, HeadsMut, Mask};
use crate::linear::{Element, Real};
use crate::{Join, for_each_piece};

/// Rows that share a tile while it is in the processor's cache.
const BLOCK: usize = 192;
/// Up to so many rows a key head's tiles are worth splitting over threads.
const FEW: usize = 64;

/// Attention: `output` gets the weighted values of every query, and `log_sum_exp`
/// (`[batch][heads][queries]`, dense) the natural logarithm of the sum of each row's exponentials,
/// which [`backward`](super::backward()) needs.
///
/// `scale` is 1 / sqrt(head_dim) if not given. Of batch item b only the first `kv_lens[b]` keys are
/// seen. There may be fewer key heads than query heads: query head h reads key head
/// h / (heads / key heads). A row that sees no key gives zeros and minus infinity. A row's bits do
/// not depend on the rows beside it, on the pool, or on whether this or [`decode`] was called.
///
/// Panics when the operands do not fit each other: that is the caller's mistake.
#[expect(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn forward<T: Element>(
    join: &dyn Join,
    q: Heads<'_, T>,
    k: Heads<'_, T>,
    v: Heads<'_, T>,
    mask: Mask<'_>,
    scale: Option<f64>,
    kv_lens: Option<&[usize]>,
    output: HeadsMut<'_, T>,
    log_sum_exp: &mut [T::Sum],
) {
    let problem = Problem::new(q, k, v, mask, scale, kv_lens);
    problem.attend(join, output, log_sum_exp, &Count::default(), false);
}

/// [`forward`] for few queries over many keys: the keys are split over the pool. Same bits.
#[expect(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn decode<T: Element>(
    join: &dyn Join,
    q: Heads<'_, T>,
    k: Heads<'_, T>,
    v: Heads<'_, T>,
    mask: Mask<'_>,
    scale: Option<f64>,
    kv_lens: Option<&[usize]>,
    output: HeadsMut<'_, T>,
    log_sum_exp: &mut [T::Sum],
) {
    let problem = Problem::new(q, k, v, mask, scale, kv_lens);
    problem.attend(join, output, log_sum_exp, &Count::default(), true);
}

/// How the work is cut.
enum Plan {
    /// One key head after the other, its tiles on different threads.
    Split,
    /// So many blocks of so many rows, `grain` of them at a time.
    Blocks { rows: usize, units: usize, grain: usize },
}

/// Rows `first..first + count` of a key head.
#[derive(Clone, Copy)]
struct Block {
    batch: usize,
    kv_head: usize,
    first: usize,
    count: usize,
}

/// Where a tile's results go.
enum Sink<'a, R> {
    /// Into the running ones.
    Running,
    /// Into slots of their own, to be taken together later: tile by tile `most` and `sum` for the
    /// block's rows, and their values.
    Slots(&'a Slots<R>),
}

/// Results of every tile of a block, written by several threads, a slot by one.
struct Slots<R> {
    most: *mut R,
    sum: *mut R,
    values: *mut R,
    rows: usize,
    width: usize,
}

// SAFETY: plain numbers; each slot is written by the one thread that computes its tile.
unsafe impl<R: Send> Sync for Slots<R> {}

/// What one thread works in.
struct Scratch<'a, R> {
    queries: Counted<'a, R>,
    /// o of every row.
    total: Counted<'a, R>,
    /// m and l of every row.
    most: Counted<'a, R>,
    sum: Counted<'a, R>,
    /// Those of the tile; after they are taken in, the factors for what there was and what is new.
    tile_most: Counted<'a, R>,
    tile_sum: Counted<'a, R>,
    scores: Counted<'a, R>,
    /// Weights at the keys' places, and a row without gaps: for drafts of a tree.
    weights: Counted<'a, R>,
    line: Counted<'a, R>,
    /// A tile's keys in panels, its values in rows, and room to widen keys in.
    keys: Counted<'a, R>,
    values: Counted<'a, R>,
    wide: Counted<'a, R>,
    irregular: Vec<Irregular<R>>,
    visible: Vec<Visible>,
    /// Distance of rows of scores.
    stride: usize,
}

/// Lengths of the arrays of a [`Scratch`].
fn lengths<T: Element>(problem: &Problem<'_, T>, rows: usize) -> [usize; 12] {
    let kernels = problem.kernels;
    let keys = problem.tile_keys();
    let (rows, strip) = (rows.next_multiple_of(16), rows.min(STRIP));
    let stride = kernels.pad(keys) + kernels.lanes;
    let width = kernels.pad(problem.v.head_dim);
    let tree = usize::from(problem.tail().is_some());
    let widened = usize::from(size_of::<T>() != size_of::<T::Sum>());
    [
        rows * problem.q.head_dim,
        rows * width,
        rows,
        rows,
        STRIP,
        STRIP,
        strip * stride,
        tree * strip * stride,
        tree * (TILE + kernels.lanes),
        keys.next_multiple_of(kernels.panel) * problem.q.head_dim,
        keys * width,
        widened * keys * problem.q.head_dim,
    ]
}

impl<'a, R: Real> Scratch<'a, R> {
    fn new<T: Element<Sum = R>>(problem: &Problem<'_, T>, rows: usize, count: &'a Count) -> Scratch<'a, R> {
        let [
            queries,
            total,
            most,
            sum,
            tile_most,
            tile_sum,
            scores,
            weights,
            line,
            keys,
            values,
            wide,
        ] = lengths(problem, rows).map(|length| Counted::zeros(length, count));
        Scratch {
            queries,
            total,
            most,
            sum,
            tile_most,
            tile_sum,
            scores,
            weights,
            line,
            keys,
            values,
            wide,
            irregular: Vec::new(),
            visible: Vec::with_capacity(rows),
            stride: problem.kernels.pad(problem.tile_keys()) + problem.kernels.lanes,
        }
    }
}

impl<T: Element> Problem<'_, T> {
    /// The forward pass; `split` or few rows a key head: with tiles on different threads.
    pub(super) fn attend(
        &self,
        join: &dyn Join,
        output: HeadsMut<'_, T>,
        log_sum_exp: &mut [T::Sum],
        count: &Count,
        split: bool,
    ) {
        assert_eq!(
            (output.batch, output.heads, output.length, output.head_dim),
            (self.q.batch, self.q.heads, self.q.length, self.v.head_dim),
            "output has another shape"
        );
        let logarithms = log_sum_exp.len();
        let sums = HeadsMut::dense(log_sum_exp, self.q.batch, self.q.heads, self.q.length, 1).places("log_sum_exp");
        assert_eq!(
            logarithms,
            self.q.batch * self.q.heads * self.q.length,
            "log_sum_exp has another shape"
        );
        let output = output.places("output");
        let heads = self.q.batch * self.k.heads;
        if heads == 0 || self.rows() == 0 {
            return;
        }
        match self.plan(join.width(), split) {
            Plan::Split => {
                for head in 0..heads {
                    self.split(join, head, &output, &sums, count);
                }
            }
            Plan::Blocks { rows, units, grain } => for_each_piece(join, 0..units, grain, &|piece| {
                self.blocks(piece, rows, &output, &sums, count);
            }),
        }
    }

    /// How the work is cut for a pool of so many threads. No bit of the result depends on it.
    fn plan(&self, width: usize, split: bool) -> Plan {
        let width = width.max(1);
        let heads = self.q.batch * self.k.heads;
        let few = self.rows() <= FEW && self.k.length > 2 * TILE;
        if width > 1 && few && heads < if split { 4 * width } else { 2 * width } {
            return Plan::Split;
        }
        // Smaller blocks when there would be too few for the pool.
        let rows = (heads * self.rows())
            .div_ceil(4 * width)
            .next_multiple_of(STRIP)
            .clamp(STRIP, BLOCK)
            .min(self.rows());
        let units = heads * self.rows().div_ceil(rows.max(1));
        Plan::Blocks {
            rows,
            units,
            grain: grain(units, self.work(rows, self.k.length), width),
        }
    }

    /// The steps in a piece of a head that is split.
    fn steps_together(&self, steps: usize, width: usize) -> usize {
        grain(steps, self.work(self.rows(), TILE), width)
    }

    /// Bytes that a forward pass allocates at most on a pool of so many threads.
    pub(super) fn forward_bytes(&self, width: usize, split: bool) -> u64 {
        if self.q.batch * self.k.heads * self.rows() == 0 {
            return 0;
        }
        let scratch = |rows: usize| {
            let numbers: usize = lengths(self, rows).iter().sum();
            (numbers * size_of::<T::Sum>() + rows * size_of::<Visible>()) as u64
        };
        match self.plan(width, split) {
            Plan::Split => {
                let rows = self.rows();
                let tiles = self.k.length.div_ceil(TILE) + 2;
                let slot = 2 * rows.next_multiple_of(16) + rows * self.kernels.pad(self.v.head_dim);
                let pieces = pieces(tiles, self.steps_together(tiles, width));
                (1 + pieces) as u64 * scratch(rows) + (tiles * slot * size_of::<T::Sum>()) as u64
            }
            Plan::Blocks { rows, units, grain } => pieces(units, grain) as u64 * scratch(rows),
        }
    }

    /// Blocks of so many rows, numbered through all key heads.
    fn blocks(
        &self,
        piece: std::ops::Range<usize>,
        rows: usize,
        output: &Places<'_, T>,
        sums: &Places<'_, T::Sum>,
        count: &Count,
    ) {
        let mut scratch = Scratch::new(self, rows, count);
        let blocks = self.rows().div_ceil(rows);
        for unit in piece {
            let (head, first) = (unit / blocks, unit % blocks * rows);
            let block = Block {
                batch: head / self.k.heads,
                kv_head: head % self.k.heads,
                first,
                count: rows.min(self.rows() - first),
            };
            self.enter(&mut scratch, block);
            for step in self.steps(&scratch) {
                self.step(&mut scratch, block, step, &Sink::Running);
            }
            self.finish(&mut scratch, block, output, sums);
        }
    }

    /// One key head whose tiles go to different threads.
    fn split(&self, join: &dyn Join, head: usize, output: &Places<'_, T>, sums: &Places<'_, T::Sum>, count: &Count) {
        let rows = self.rows();
        let block = Block {
            batch: head / self.k.heads,
            kv_head: head % self.k.heads,
            first: 0,
            count: rows,
        };
        let mut scratch = Scratch::new(self, rows, count);
        self.enter(&mut scratch, block);
        let steps = self.steps(&scratch);
        let tiles = steps.end + 1;
        let (width, padded) = (self.kernels.pad(self.v.head_dim), rows.next_multiple_of(16));
        let mut most = Counted::zeros(tiles * padded, count);
        most.numbers.fill(T::Sum::of(f64::NEG_INFINITY));
        let mut sum = Counted::zeros(tiles * padded, count);
        let mut values = Counted::zeros(tiles * rows * width, count);
        let slots = Slots {
            most: most.at_mut(0),
            sum: sum.at_mut(0),
            values: values.at_mut(0),
            rows,
            width,
        };
        let grain = self.steps_together(steps.len(), join.width());
        for_each_piece(join, steps.clone(), grain, &|piece| {
            let mut scratch = Scratch::new(self, rows, count);
            self.enter(&mut scratch, block);
            for step in piece {
                self.step(&mut scratch, block, step, &Sink::Slots(&slots));
            }
        });
        // As many rows as a strip at a time, since a tile's arrays hold a strip.
        let one = [T::Sum::of(1.0)];
        for tile in 0..tiles {
            let mut first = 0;
            while first < rows {
                let count = STRIP.min(rows - first);
                let from = tile * padded + first;
                scratch.tile_most.numbers[..count].copy_from_slice(&most.numbers[from..][..count]);
                scratch.tile_sum.numbers[..count].copy_from_slice(&sum.numbers[from..][..count]);
                let (tile_most, tile_sum) = (scratch.tile_most.at_mut(0), scratch.tile_sum.at_mut(0));
                let (all_most, all_sum) = (scratch.most.at_mut(first), scratch.sum.at_mut(first));
                // SAFETY: all four hold `count` numbers, padded to sixteen.
                unsafe { (self.kernels.take_in)(count, tile_most, tile_sum, all_most, all_sum) };
                for row in 0..count {
                    let product = Product {
                        rows: 1,
                        depth: 1,
                        columns: width,
                        a: one.as_ptr(),
                        a_row: 0,
                        a_depth: 0,
                        b: values.at((tile * rows + first + row) * width),
                        b_panel: self.kernels.panel,
                        b_depth: 0,
                        c: scratch.total.at_mut((first + row) * width),
                        c_row: width,
                        after: After::Merge {
                            old: scratch.tile_most.at(row),
                            new: scratch.tile_sum.at(row),
                        },
                    };
                    // SAFETY: b and c are rows of `width` numbers.
                    unsafe { (self.kernels.product)(&product) };
                }
                first += count;
            }
        }
        self.finish(&mut scratch, block, output, sums);
    }

    /// Reads a block's queries and forgets what was before.
    fn enter(&self, scratch: &mut Scratch<'_, T::Sum>, block: Block) {
        let dim = self.q.head_dim;
        scratch.visible.clear();
        for row in 0..block.count {
            let (head, query) = self.query(block.kv_head, block.first + row);
            widen(
                self.q.row(block.batch, head, query),
                &mut scratch.queries.numbers[row * dim..][..dim],
            );
            scratch.visible.push(self.visible(block.batch, block.first + row));
        }
        scratch.total.numbers.fill(T::Sum::of(0.0));
        scratch.most.numbers.fill(T::Sum::of(f64::NEG_INFINITY));
        scratch.sum.numbers.fill(T::Sum::of(0.0));
    }

    /// The tiles that some row of the block sees; the tail of a tree is the last.
    fn steps(&self, scratch: &Scratch<'_, T::Sum>) -> std::ops::Range<usize> {
        let seen = scratch.visible.iter().filter(|visible| !visible.is_empty());
        let from = seen.clone().map(|visible| visible.from).min().unwrap_or(0);
        let to = seen.map(|visible| visible.to).max().unwrap_or(0);
        match self.tail() {
            // The tail is one step however far it goes.
            Some(tail) if to > tail => from / TILE..tail / TILE + 1,
            _ => from / TILE..to.div_ceil(TILE),
        }
    }

    /// One tile for all rows of the block.
    fn step(&self, scratch: &mut Scratch<'_, T::Sum>, block: Block, step: usize, sink: &Sink<'_, T::Sum>) {
        let start = step * TILE;
        let in_tail = self.tail() == Some(start);
        let longest = if in_tail { TILE + DRAFTS } else { TILE };
        let most = scratch.visible.iter().map(|visible| visible.to).max().unwrap_or(0);
        let end = most.min(start + longest);
        if end <= start {
            return;
        }
        let values = self.load(scratch, block, start, end - start);
        let mut first = 0;
        while first < block.count {
            let rows = STRIP.min(block.count - first);
            if in_tail {
                self.draft_strip(scratch, start, end - start, first, rows, values, step, sink);
            } else {
                self.strip(scratch, start, end - start, first, rows, values, step, sink);
            }
            first += rows;
        }
    }

    /// Brings a tile's keys into panels and its values into rows; gives back where the values lie.
    fn load(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        block: Block,
        start: usize,
        count: usize,
    ) -> (*const T::Sum, usize) {
        let Block { batch, kv_head, .. } = block;
        let dim = self.k.head_dim;
        let into = scratch.keys.at_mut(0);
        let (from, stride) = match as_sums(self.k.data) {
            Some(sums) => {
                let first = self.k.batch_stride * batch + self.k.head_stride * kv_head + self.k.row_stride * start;
                (sums[first..].as_ptr(), self.k.row_stride)
            }
            None => {
                for (row, into) in scratch.wide.numbers.chunks_exact_mut(dim).take(count).enumerate() {
                    widen(self.k.row(batch, kv_head, start + row), into);
                }
                (scratch.wide.at(0), dim)
            }
        };
        // SAFETY: so many rows of keys were checked to lie there, and the scratch has room for a tile.
        unsafe { (self.kernels.transpose)(from, stride, count, dim, into) };
        scratch.irregular.clear();
        let dim = self.v.head_dim;
        let width = self.kernels.pad(dim);
        // Few rows do not pay for a copy of the values.
        if block.count < STRIP
            && width == dim
            && let Some(sums) = as_sums(self.v.data)
        {
            let first = self.v.batch_stride * batch + self.v.head_stride * kv_head + self.v.row_stride * start;
            let rows = &sums[first..][..(count - 1) * self.v.row_stride + dim];
            let finite = if self.v.row_stride == dim {
                // SAFETY: a slice.
                unsafe { (self.kernels.finite)(rows.as_ptr(), rows.len()) }
            } else {
                // SAFETY: a slice.
                rows.chunks(self.v.row_stride)
                    .all(|row| unsafe { (self.kernels.finite)(row.as_ptr(), dim) })
            };
            if finite {
                return (rows.as_ptr(), self.v.row_stride);
            }
        }
        let rows = &mut scratch.values.numbers[..count * width];
        for (row, into) in rows.chunks_exact_mut(width).enumerate() {
            widen(self.v.row(batch, kv_head, start + row), &mut into[..dim]);
        }
        // SAFETY: a slice.
        if !unsafe { (self.kernels.finite)(rows.as_ptr(), rows.len()) } {
            take_out(rows, width, &mut scratch.irregular);
        }
        (scratch.values.at(0), width)
    }

    /// Scores of a strip's rows for places `from..to` of the tile, in powers of two.
    fn scores(&self, scratch: &mut Scratch<'_, T::Sum>, first: usize, rows: usize, from: usize, to: usize) {
        let dim = self.q.head_dim;
        let product = Product {
            rows,
            depth: dim,
            columns: to - from,
            a: scratch.queries.at(first * dim),
            a_row: dim,
            a_depth: 1,
            b: scratch.keys.at(from * dim),
            b_panel: dim * self.kernels.panel,
            b_depth: self.kernels.panel,
            c: scratch.scores.at_mut(from),
            c_row: scratch.stride,
            after: After::Write(T::Sum::of(self.scale * std::f64::consts::LOG2_E)),
        };
        // SAFETY: `from` is where a panel begins; rows of scores have room for a tile.
        unsafe { (self.kernels.product)(&product) };
    }

    #[expect(clippy::too_many_arguments, reason = "a place among tiles and rows")]
    fn strip(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        start: usize,
        count: usize,
        first: usize,
        rows: usize,
        values: (*const T::Sum, usize),
        step: usize,
        sink: &Sink<'_, T::Sum>,
    ) {
        let lowest = T::Sum::of(f64::NEG_INFINITY);
        let within = |visible: &Visible| {
            let from = visible.from.saturating_sub(start).min(count);
            (from, visible.to.saturating_sub(start).clamp(from, count))
        };
        let seen = scratch.visible[first..][..rows]
            .iter()
            .map(within)
            .filter(|(from, to)| from < to);
        let Some((from, to)) = seen.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return;
        };
        let from = from / self.kernels.panel * self.kernels.panel;
        let padded = self.kernels.pad(to);
        self.scores(scratch, first, rows, from, to);
        for row in 0..rows {
            let (low, high) = within(&scratch.visible[first + row]);
            let line = &mut scratch.scores.numbers[row * scratch.stride..][..padded];
            line[from..low.clamp(from, padded)].fill(lowest);
            line[high.clamp(from, padded)..].fill(lowest);
        }
        let scores = Scores {
            at: scratch.scores.at_mut(0),
            stride: scratch.stride,
            rows,
            from,
            to: padded,
        };
        let (tile_most, tile_sum) = (scratch.tile_most.at_mut(0), scratch.tile_sum.at_mut(0));
        // SAFETY: the arrays hold a strip.
        unsafe { (self.kernels.softmax)(scores, tile_most, tile_sum) };
        let weights = scratch.scores.at(0);
        self.weigh(scratch, first, rows, weights, (from, to), values, start, step, sink);
    }

    /// A strip in the tail of a tree: each row's keys without gaps, in at most two tiles.
    #[expect(clippy::too_many_arguments, reason = "a place among tiles and rows")]
    fn draft_strip(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        start: usize,
        count: usize,
        first: usize,
        rows: usize,
        values: (*const T::Sum, usize),
        step: usize,
        sink: &Sink<'_, T::Sum>,
    ) {
        let lowest = T::Sum::of(f64::NEG_INFINITY);
        let zero = T::Sum::of(0.0);
        self.scores(scratch, first, rows, 0, count);
        for part in 0..2 {
            let mut any = false;
            for row in 0..rows {
                let visible = scratch.visible[first + row];
                // The part's first key, counted without gaps.
                let skipped = part * TILE;
                let keys = || visible.keys(start, start + count).skip(skipped).take(TILE);
                let scores = &scratch.scores.numbers[row * scratch.stride..];
                let mut held = 0;
                for key in keys() {
                    scratch.line.numbers[held] = scores[key - start];
                    held += 1;
                }
                let padded = self.kernels.pad(held);
                scratch.line.numbers[held..padded].fill(lowest);
                let line = Scores {
                    at: scratch.line.at_mut(0),
                    stride: 0,
                    rows: 1,
                    from: 0,
                    to: padded,
                };
                let (tile_most, tile_sum) = (scratch.tile_most.at_mut(row), scratch.tile_sum.at_mut(row));
                // SAFETY: a line has room for a tile; the arrays hold a strip.
                unsafe { (self.kernels.softmax)(line, tile_most, tile_sum) };
                let weights = &mut scratch.weights.numbers[row * scratch.stride..][..count];
                weights.fill(zero);
                for (key, weight) in keys().zip(&scratch.line.numbers) {
                    weights[key - start] = *weight;
                }
                any |= held > 0;
            }
            if any {
                let weights = scratch.weights.at(0);
                self.weigh(
                    scratch,
                    first,
                    rows,
                    weights,
                    (0, count),
                    values,
                    start,
                    step + part,
                    sink,
                );
            }
        }
    }

    /// Takes a tile's weights times its values into the rows' results.
    #[expect(clippy::too_many_arguments, reason = "a place among tiles and rows")]
    fn weigh(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        first: usize,
        rows: usize,
        weights: *const T::Sum,
        (from, to): (usize, usize),
        (values, distance): (*const T::Sum, usize),
        start: usize,
        tile: usize,
        sink: &Sink<'_, T::Sum>,
    ) {
        let width = self.kernels.pad(self.v.head_dim);
        let (tile_most, tile_sum) = (scratch.tile_most.at_mut(0), scratch.tile_sum.at_mut(0));
        let (c, after) = match sink {
            Sink::Running => {
                let (most, sum) = (scratch.most.at_mut(first), scratch.sum.at_mut(first));
                // SAFETY: a strip begins at a multiple of sixteen rows, and all are padded to that.
                unsafe { (self.kernels.take_in)(rows, tile_most, tile_sum, most, sum) };
                let after = After::Merge {
                    old: tile_most.cast_const(),
                    new: tile_sum.cast_const(),
                };
                (scratch.total.at_mut(first * width), after)
            }
            Sink::Slots(slots) => {
                let at = tile * slots.rows.next_multiple_of(16) + first;
                for row in 0..rows {
                    // SAFETY: the tile's slot, which has a place for each row, is this thread's.
                    let most = unsafe { slots.most.add(at + row) };
                    // SAFETY: as above.
                    let sum = unsafe { slots.sum.add(at + row) };
                    // SAFETY: as above.
                    unsafe { most.write(scratch.tile_most.numbers[row]) };
                    // SAFETY: as above.
                    unsafe { sum.write(scratch.tile_sum.numbers[row]) };
                }
                // SAFETY: as above.
                let c = unsafe { slots.values.add((tile * slots.rows + first) * slots.width) };
                (c, After::Write(T::Sum::of(1.0)))
            }
        };
        let product = Product {
            rows,
            depth: to - from,
            columns: width,
            // SAFETY: `from` lies in the first row of weights.
            a: unsafe { weights.add(from) },
            a_row: scratch.stride,
            a_depth: 1,
            // SAFETY: the tile has more than `from` rows of values.
            b: unsafe { values.add(from * distance) },
            b_panel: self.kernels.panel,
            b_depth: distance,
            c,
            c_row: width,
            after,
        };
        // SAFETY: the tile has `to` rows of values; c has room for the strip's rows.
        unsafe { (self.kernels.product)(&product) };
        for irregular in &scratch.irregular {
            for row in 0..rows {
                if (from..to).contains(&irregular.row) && scratch.visible[first + row].sees(start + irregular.row) {
                    // SAFETY: rows of weights reach to `to`; c has `width` columns.
                    let weight = unsafe { weights.add(row * scratch.stride + irregular.row) };
                    // SAFETY: as above.
                    let place = unsafe { c.add(row * width + irregular.column) };
                    // SAFETY: as above.
                    let share = unsafe { *weight } * irregular.value;
                    // SAFETY: as above.
                    unsafe { *place += share };
                }
            }
        }
    }

    /// Divides by the sums and writes the rows out.
    fn finish(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        block: Block,
        output: &Places<'_, T>,
        sums: &Places<'_, T::Sum>,
    ) {
        let width = self.kernels.pad(self.v.head_dim);
        for row in 0..block.count {
            let (head, query) = self.query(block.kv_head, block.first + row);
            let sum = scratch.sum.numbers[row];
            let total = &mut scratch.total.numbers[row * width..][..self.v.head_dim];
            let nothing = scratch.visible[row].is_empty();
            if !nothing {
                for value in &mut *total {
                    *value = *value / sum;
                }
            }
            // SAFETY: the row belongs to this block only.
            T::narrow_all(total, unsafe { output.row(block.batch, head, query) });
            // SAFETY: as above.
            let logarithm = unsafe { sums.row(block.batch, head, query) };
            logarithm[0] = scratch.most.numbers[row] * T::Sum::of(std::f64::consts::LN_2) + sum.logarithm();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::flash_attention::kernels::{Kernels, levels};
    use crate::flash_attention::plain::Operands;
    use crate::flash_attention::samples::{Given, SMALL, Sizes, bits};
    use crate::linear::{bf16, f16};
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    /// Against the definition, with every instruction set; and forked and split for the same bits.
    fn check<T: Element>(given: &Given<T>, mask: Mask<'_>, kv_lens: Option<&[usize]>, unit: f64, stored: f64) {
        let Sizes {
            batch,
            heads,
            queries,
            dim,
            ..
        } = given.sizes;
        let [q, k, v] = given.heads();
        let operands = Operands {
            q,
            k,
            v,
            mask,
            scale: 1.0 / (dim as f64).sqrt(),
            kv_lens,
        };
        for kernels in levels::<T::Sum>() {
            let (output, sums) = given.attend(kernels, mask, kv_lens, &Sequential, false);
            for (join, split) in [(&OnThreads(2) as &dyn Join, false), (&OnThreads(3), true)] {
                let again = given.attend(kernels, mask, kv_lens, join, split);
                assert!(
                    output == again.0,
                    "{} {:?} {mask:?} forked, split {split}",
                    kernels.name,
                    given.sizes
                );
                assert_eq!(bits(&sums), bits(&again.1));
            }
            for b in 0..batch {
                for h in 0..heads {
                    for i in 0..queries {
                        let expected = operands.row(b, h, i);
                        let at = (b * heads + h) * queries + i;
                        let error = unit * (dim as f64 + 8.0) * (expected.score + 1.0);
                        let lse = sums[at].to_f64();
                        assert!(
                            lse == expected.log_sum_exp || (lse - expected.log_sum_exp).abs() <= error,
                            "{} row {at}: {lse} for {}",
                            kernels.name,
                            expected.log_sum_exp
                        );
                        for d in 0..dim {
                            let found = output[at * dim + d].wide().to_f64();
                            let bound =
                                (4.0 * error + unit * 32.0) * expected.magnitude[d] + stored * expected.output[d].abs();
                            assert!(
                                (found - expected.output[d]).abs() <= bound,
                                "{} {:?} {mask:?} row {at} {d}: {found} for {}, bound {bound}",
                                kernels.name,
                                given.sizes,
                                expected.output[d]
                            );
                        }
                    }
                }
            }
        }
    }

    const F32: f64 = 6e-8;

    #[test]
    fn every_mask_agrees_with_the_definition() {
        let given = Given::<f32>::new(SMALL);
        for mask in [
            Mask::Full,
            Mask::TopLeft,
            Mask::BottomRight,
            Mask::Window(1),
            Mask::Window(20),
            Mask::Window(usize::MAX),
        ] {
            check(&given, mask, None, F32, 0.0);
            check(&given, mask, Some(&[0, 217]), F32, 0.0);
        }
    }

    #[test]
    fn odd_shapes_agree_with_the_definition() {
        for (queries, keys, dim) in [
            (1, 1, 1),
            (1, 0, 3),
            (0, 5, 3),
            (5, 700, 64),
            (200, 257, 16),
            (49, 255, 128),
            (3, 512, 33),
            (7, 1300, 256),
        ] {
            let sizes = Sizes {
                batch: 1,
                heads: 2,
                kv_heads: 1,
                queries,
                keys,
                dim,
            };
            check(&Given::<f32>::new(sizes), Mask::BottomRight, None, F32, 0.0);
            check(&Given::<f64>::new(sizes), Mask::TopLeft, None, 1.2e-16, 0.0);
        }
    }

    #[test]
    fn halves_are_stored_and_sums_are_single() {
        check(&Given::<bf16>::new(SMALL), Mask::TopLeft, None, F32, 1.0 / 256.0);
        check(
            &Given::<f16>::new(SMALL),
            Mask::Full,
            Some(&[300, 1]),
            F32,
            1.0 / 2048.0,
        );
    }

    /// Bits of a sub-range of the rows computed alone.
    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it() {
        let sizes = Sizes {
            batch: 1,
            heads: 2,
            kv_heads: 1,
            queries: 40,
            keys: 900,
            dim: 48,
        };
        let given = Given::<f32>::new(sizes);
        for kernels in levels() {
            let (together, sums) = given.attend(kernels, Mask::BottomRight, None, &Sequential, false);
            for at in [0, 1, 17, 39] {
                // The query alone, in front of as many keys as it saw.
                let seen = sizes.keys - sizes.queries + at + 1;
                let alone = Given {
                    sizes: Sizes {
                        queries: 1,
                        keys: seen,
                        ..sizes
                    },
                    q: [0, 1]
                        .iter()
                        .flat_map(|head| given.q[(head * 40 + at) * 48..][..48].to_vec())
                        .collect(),
                    k: given.k[..seen * 48].to_vec(),
                    v: given.v[..seen * 48].to_vec(),
                };
                for split in [false, true] {
                    let (output, logarithms) = alone.attend(kernels, Mask::Full, None, &OnThreads(2), split);
                    for head in 0..2 {
                        assert_eq!(
                            bits(&output[head * 48..][..48]),
                            bits(&together[(head * 40 + at) * 48..][..48]),
                            "{} row {at}",
                            kernels.name
                        );
                        assert_eq!(logarithms[head].to_bits(), sums[head * 40 + at].to_bits());
                    }
                }
            }
        }
    }

    /// Drafts behind a common text: each has the bits of its path as plain text. Prefixes around a
    /// tile's end, so that paths cross it at other places than the drafts do.
    #[test]
    fn drafts_of_a_tree_have_the_bits_of_plain_text() {
        let dim = 32;
        for prefix in [0, 1, 100, 200, 250, 255, 256, 257, 500, 511, 760] {
            // Draft i's parent is a third of it: a tree of many branches.
            let drafts = 64;
            let mut ancestors = vec![1_u64; drafts];
            for draft in 1..drafts {
                ancestors[draft] = ancestors[(draft - 1) / 3] | 1 << draft;
            }
            let sizes = Sizes {
                batch: 1,
                heads: 2,
                kv_heads: 1,
                queries: drafts,
                keys: prefix + drafts,
                dim,
            };
            let given = Given::<f32>::new(sizes);
            let mask = Mask::Tree {
                prefix,
                ancestors: &ancestors,
            };
            check(&given, mask, None, F32, 0.0);
            for valid in [prefix / 2, prefix, prefix + 30] {
                check(&given, mask, Some(&[valid]), F32, 0.0);
            }
            let (together, sums) = given.attend(Kernels::best(), mask, None, &Sequential, false);
            for draft in [0, 1, 2, 20, 40, 62, 63] {
                let path = |rows: &[f32]| -> Vec<f32> {
                    let on_path = |row: &usize| *row < prefix || ancestors[draft] >> (row - prefix) & 1 == 1;
                    (0..sizes.keys)
                        .filter(on_path)
                        .flat_map(|row| rows[row * dim..][..dim].to_vec())
                        .collect()
                };
                let (k, v) = (path(&given.k), path(&given.v));
                let alone = Given {
                    sizes: Sizes {
                        queries: 1,
                        keys: k.len() / dim,
                        ..sizes
                    },
                    q: [0, 1]
                        .iter()
                        .flat_map(|head| given.q[(head * drafts + draft) * dim..][..dim].to_vec())
                        .collect(),
                    k,
                    v,
                };
                let (output, logarithms) = alone.attend(Kernels::best(), Mask::BottomRight, None, &Sequential, false);
                for head in 0..2 {
                    let at = head * drafts + draft;
                    assert_eq!(
                        bits(&output[head * dim..][..dim]),
                        bits(&together[at * dim..][..dim]),
                        "{prefix} {draft}"
                    );
                    assert_eq!(logarithms[head].to_bits(), sums[at].to_bits());
                }
            }
        }
    }

    #[test]
    fn rows_that_see_nothing_are_zeros() {
        let given = Given::<f32>::new(Sizes { queries: 310, ..SMALL });
        let (output, sums) = given.attend(Kernels::best(), Mask::BottomRight, Some(&[0, 300]), &Sequential, false);
        let (rows, dim) = (310, SMALL.dim);
        for head in 0..8 {
            // Of the first item nothing is valid; the second's first ten queries come before all keys.
            let blind = if head < 4 { rows } else { 10 };
            assert!(
                output[head * rows * dim..][..blind * dim]
                    .iter()
                    .all(|value| *value == 0.0)
            );
            assert!(sums[head * rows..][..blind].iter().all(|sum| *sum == f32::NEG_INFINITY));
            assert!(sums[head * rows..][blind..rows].iter().all(|sum| sum.is_finite()));
        }
    }

    #[test]
    fn what_is_not_finite_goes_the_way_of_the_definition() {
        let sizes = Sizes {
            batch: 1,
            heads: 1,
            kv_heads: 1,
            queries: 300,
            keys: 300,
            dim: 2,
        };
        let clean = Given::<f32>::new(sizes);
        for kernels in levels() {
            let (before, _) = clean.attend(kernels, Mask::TopLeft, None, &Sequential, false);
            for (key, value) in [(0, f32::INFINITY), (3, f32::NAN), (270, f32::NEG_INFINITY)] {
                let mut given = Given::<f32>::new(sizes);
                given.v[key * 2 + 1] = value;
                let (after, _) = given.attend(kernels, Mask::TopLeft, None, &Sequential, false);
                for row in 0..300 {
                    assert_eq!(after[row * 2].to_bits(), before[row * 2].to_bits());
                    let found = after[row * 2 + 1];
                    if row < key {
                        assert_eq!(
                            found.to_bits(),
                            before[row * 2 + 1].to_bits(),
                            "{} {row} {key}",
                            kernels.name
                        );
                    } else {
                        assert!(
                            found == value || found.is_nan() && value.is_nan(),
                            "{} {row} {key}: {found}",
                            kernels.name
                        );
                    }
                }
                let mut given = Given::<f32>::new(sizes);
                given.k[key * 2] = f32::NAN;
                let (after, sums) = given.attend(kernels, Mask::TopLeft, None, &OnThreads(2), true);
                for row in 0..300 {
                    assert_eq!(after[row * 2].is_nan(), row >= key, "{} {row} {key}", kernels.name);
                    assert_eq!(sums[row].is_nan(), row >= key);
                }
            }
            // All scores -infinity: 0 / 0. One score +infinity: infinity - infinity.
            for (q, k, expected_sum) in [
                (1.0, f32::NEG_INFINITY, f32::NEG_INFINITY),
                (1.0, f32::INFINITY, f32::NAN),
            ] {
                let one = Given::<f32> {
                    sizes: Sizes {
                        queries: 1,
                        keys: 1,
                        dim: 1,
                        ..sizes
                    },
                    q: vec![q],
                    k: vec![k],
                    v: vec![1.0],
                };
                let (output, sums) = one.attend(kernels, Mask::Full, None, &Sequential, false);
                assert!(output[0].is_nan(), "{} {k}: {output:?}", kernels.name);
                assert_eq!(sums[0].is_nan(), expected_sum.is_nan());
            }
            // Scores far from each other: weight 1 for the greatest, whatever its size.
            let far = Given::<f32> {
                sizes: Sizes {
                    queries: 1,
                    keys: 3,
                    dim: 1,
                    ..sizes
                },
                q: vec![1e18],
                k: vec![-3e18, 2e18, 1e18],
                v: vec![1.0, 2.0, 3.0],
            };
            let (output, _) = far.attend(kernels, Mask::Full, None, &Sequential, false);
            assert_eq!(output, [2.0], "{}", kernels.name);
        }
    }

    #[test]
    fn tokens_whose_heads_lie_side_by_side_are_read_in_place() {
        let Sizes {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
        } = SMALL;
        let given = Given::<f32>::new(SMALL);
        let (expected, expected_sums) = given.attend(Kernels::best(), Mask::TopLeft, None, &Sequential, false);
        // [b][h][i][d] to [b][i][h][d].
        let turned = |from: &[f32], heads: usize, length: usize| {
            let mut into = vec![0.0; from.len()];
            for (at, row) in from.chunks_exact(dim).enumerate() {
                let (b, h, i) = (at / length / heads, at / length % heads, at % length);
                into[((b * length + i) * heads + h) * dim..][..dim].copy_from_slice(row);
            }
            into
        };
        let (q, k, v) = (
            turned(&given.q, heads, queries),
            turned(&given.k, kv_heads, keys),
            turned(&given.v, kv_heads, keys),
        );
        let (mut output, mut sums) = (vec![0.0; q.len()], vec![0.0; expected_sums.len()]);
        for operation in [forward::<f32>, decode::<f32>] {
            operation(
                &OnThreads(2),
                Heads::side_by_side(&q, batch, queries, heads, dim),
                Heads::side_by_side(&k, batch, keys, kv_heads, dim),
                Heads::side_by_side(&v, batch, keys, kv_heads, dim),
                Mask::TopLeft,
                None,
                None,
                HeadsMut::side_by_side(&mut output, batch, queries, heads, dim),
                &mut sums,
            );
            assert_eq!(bits(&output), bits(&turned(&expected, heads, queries)));
            assert_eq!(bits(&sums), bits(&expected_sums));
        }
    }

    #[test]
    #[should_panic(expected = "rows overlap")]
    fn overlapping_rows_to_write_to_are_refused() {
        let (data, mut into, mut sums) = ([0.0_f32; 4], [0.0_f32; 4], [0.0_f32; 2]);
        let heads = Heads::dense(&data, 1, 1, 2, 2);
        let mut output = HeadsMut::dense(&mut into, 1, 1, 2, 2);
        output.row_stride = 1;
        forward(
            &Sequential,
            heads,
            heads,
            heads,
            Mask::Full,
            None,
            None,
            output,
            &mut sums,
        );
    }

    /// No more is allocated than was said, and it grows with the length, not with its square.
    #[test]
    fn memory_is_bounded_by_tiles() {
        let mut before = None;
        for queries in [300, 600, 1200] {
            let sizes = Sizes {
                batch: 1,
                heads: 2,
                kv_heads: 1,
                queries,
                keys: 2 * queries,
                dim: 64,
            };
            let given = Given::<f32>::new(sizes);
            let [q, k, v] = given.heads();
            let problem = Problem::new(q, k, v, Mask::Full, None, None);
            for width in [1, 2] {
                let count = Count::default();
                let (mut output, mut sums) = (vec![0.0; given.q.len()], vec![0.0; 2 * queries]);
                let into = HeadsMut::dense(&mut output, 1, 2, queries, 64);
                problem.attend(&OnThreads(width), into, &mut sums, &count, false);
                let told = problem.forward_bytes(width, false);
                assert!(count.peak() as u64 <= told, "{} > {told}", count.peak());
                if width == 1 {
                    assert!(*before.get_or_insert(told) == told);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn any_shape_agrees_with_the_definition(
            heads in 1..3_usize,
            group in 1..3_usize,
            queries in 1..60_usize,
            keys in 1..600_usize,
            dim in 1..40_usize,
            which in 0..4_usize,
            window in 0..300_usize,
            valid in 0..600_usize,
        ) {
            let sizes = Sizes { batch: 1, heads: heads * group, kv_heads: heads, queries, keys, dim };
            let mask = [Mask::Full, Mask::TopLeft, Mask::BottomRight, Mask::Window(window)][which];
            check(&Given::<f32>::new(sizes), mask, Some(&[valid.min(keys)]), F32, 0.0);
        }
    }
}
