//! The backward pass: weights are computed again, tile by tile, from the saved logarithms.
//!
//! With P the weights and dO the output's gradient (Dao 2023, algorithm 2):
//! dV = P' dO, dP = dO V', dS = P (dP - D) scale with D the sum over d of dO O for each row,
//! dQ = dS K, dK = dS' Q. A tile of keys is brought in once and meets all rows that see it; its
//! rows of dK and dV are then done. dQ grows tile by tile. Where there are few heads the tiles are
//! dealt out to several hands, each with a dQ of its own, added up in order at the end; how many
//! hands depends on the shape alone, so the order of every sum does too.

use super::heads::{Places, Visible};
use super::kernels::{After, Product, Scores};
use super::problem::{Count, Counted, Irregular, Problem, TILE, grain, pieces, take_out, widen};
use super::{Heads, HeadsMut, Mask};
use crate::linear::{Element, Real};
use crate::{Join, for_each_piece};

/// Rows whose scores and gradients are held at once.
const STRIP: usize = 96;
/// Tasks that there should be at least.
const HANDS: usize = 16;

/// Gradients of queries, keys and values, kept as sums, from that of the output. `output` and
/// `log_sum_exp` are what [`forward`](super::forward()) gave for the same operands.
///
/// The numbers that were there before are overwritten. Keys that no query sees have gradient 0.
/// Panics when the operands do not fit each other: that is the caller's mistake.
#[expect(clippy::too_many_arguments, reason = "the operands of the operation")]
pub fn backward<T: Element>(
    join: &dyn Join,
    q: Heads<'_, T>,
    k: Heads<'_, T>,
    v: Heads<'_, T>,
    output: Heads<'_, T>,
    d_output: Heads<'_, T>,
    log_sum_exp: &[T::Sum],
    mask: Mask<'_>,
    scale: Option<f64>,
    kv_lens: Option<&[usize]>,
    d_q: HeadsMut<'_, T::Sum>,
    d_k: HeadsMut<'_, T::Sum>,
    d_v: HeadsMut<'_, T::Sum>,
) {
    let problem = Problem::new(q, k, v, mask, scale, kv_lens);
    problem.differentiate(join, output, d_output, log_sum_exp, [d_q, d_k, d_v], &Count::default());
}

/// How many hands share the tiles of a key head: by the shape alone.
fn hands(heads: usize, keys: usize) -> usize {
    HANDS.div_ceil(heads.max(1)).min(keys.div_ceil(2 * TILE)).max(1)
}

/// What all tasks read, and the rows they write.
struct Shared<'a, T: Element> {
    d_output: Heads<'a, T>,
    log_sum_exp: &'a [T::Sum],
    /// D of every row, as `log_sum_exp`.
    delta: &'a [T::Sum],
    d_k: Places<'a, T::Sum>,
    d_v: Places<'a, T::Sum>,
    /// dQ of every hand: `[batch][key head][hand][row]`, padded.
    d_q: Places<'a, T::Sum>,
}

/// What one thread works in.
struct Scratch<'a, R> {
    /// The tile: keys and values in panels, keys in rows, room to widen values in.
    keys: Counted<'a, R>,
    values: Counted<'a, R>,
    key_rows: Counted<'a, R>,
    value_rows: Counted<'a, R>,
    d_keys: Counted<'a, R>,
    d_values: Counted<'a, R>,
    /// The strip.
    queries: Counted<'a, R>,
    d_rows: Counted<'a, R>,
    scores: Counted<'a, R>,
    d_scores: Counted<'a, R>,
    logarithms: Counted<'a, R>,
    deltas: Counted<'a, R>,
    visible: Vec<Visible>,
    irregular: Vec<Irregular<R>>,
    strip_irregular: Vec<Irregular<R>>,
    stride: usize,
}

/// Lengths of a [`Scratch`]'s arrays.
fn lengths<T: Element>(problem: &Problem<'_, T>) -> [usize; 12] {
    let kernels = problem.kernels;
    let keys = problem.k.length.min(TILE);
    let rows = problem.rows().min(STRIP);
    let (dim, value_dim) = (problem.q.head_dim, problem.v.head_dim);
    let (width, value_width) = (kernels.pad(dim), kernels.pad(value_dim));
    let stride = kernels.pad(keys) + kernels.lanes;
    let panels = keys.next_multiple_of(kernels.panel);
    [
        panels * dim,
        panels * value_dim,
        keys * width,
        keys * value_width,
        keys * width,
        keys * value_width,
        rows * width,
        rows * value_width,
        rows * stride,
        rows * stride,
        rows,
        rows,
    ]
}

impl<'a, R: Real> Scratch<'a, R> {
    fn new<T: Element<Sum = R>>(problem: &Problem<'_, T>, count: &'a Count) -> Scratch<'a, R> {
        let [
            keys,
            values,
            key_rows,
            value_rows,
            d_keys,
            d_values,
            queries,
            d_rows,
            scores,
            d_scores,
            logarithms,
            deltas,
        ] = lengths(problem).map(|length| Counted::zeros(length, count));
        Scratch {
            keys,
            values,
            key_rows,
            value_rows,
            d_keys,
            d_values,
            queries,
            d_rows,
            scores,
            d_scores,
            logarithms,
            deltas,
            visible: Vec::with_capacity(STRIP),
            irregular: Vec::new(),
            strip_irregular: Vec::new(),
            stride: problem.kernels.pad(problem.k.length.min(TILE)) + problem.kernels.lanes,
        }
    }
}

impl<T: Element> Problem<'_, T> {
    /// Bytes that a backward pass allocates at most on a pool of so many threads.
    pub(super) fn backward_bytes(&self, width: usize) -> u64 {
        let heads = self.q.batch * self.k.heads;
        let hands = hands(heads, self.k.length);
        let units = heads * hands;
        let scratch: usize = lengths(self).iter().sum();
        let rows = (heads * self.rows()) as u64;
        let numbers = pieces(
            units,
            grain(units, 3 * self.work(self.rows(), self.k.length) / hands, width),
        ) as u64
            * scratch as u64
            + rows * (1 + hands as u64 * self.kernels.pad(self.q.head_dim) as u64);
        numbers * size_of::<T::Sum>() as u64
    }

    pub(super) fn differentiate(
        &self,
        join: &dyn Join,
        output: Heads<'_, T>,
        d_output: Heads<'_, T>,
        log_sum_exp: &[T::Sum],
        [d_q, d_k, d_v]: [HeadsMut<'_, T::Sum>; 3],
        count: &Count,
    ) {
        output.check("output");
        d_output.check("d_output");
        let shape = (self.q.batch, self.q.heads, self.q.length, self.v.head_dim);
        for (what, heads) in [("output", &output), ("d_output", &d_output)] {
            let found = (heads.batch, heads.heads, heads.length, heads.head_dim);
            assert_eq!(found, shape, "{what} has another shape than q and v give it");
        }
        for (what, from, into) in [("d_q", &self.q, &d_q), ("d_k", &self.k, &d_k), ("d_v", &self.v, &d_v)] {
            assert_eq!(
                (from.batch, from.heads, from.length, from.head_dim),
                (into.batch, into.heads, into.length, into.head_dim),
                "{what} has another shape than what it is the gradient of"
            );
        }
        let rows = self.q.batch * self.q.heads * self.q.length;
        assert_eq!(log_sum_exp.len(), rows, "log_sum_exp has another shape");
        let (d_q, d_k, d_v) = (d_q.places("d_q"), d_k.places("d_k"), d_v.places("d_v"));
        let heads = self.q.batch * self.k.heads;
        let hands = hands(heads, self.k.length);
        let width = self.kernels.pad(self.q.head_dim);

        let mut delta = Counted::zeros(rows, count);
        let places = HeadsMut::dense(&mut delta.numbers, self.q.batch, self.q.heads, self.q.length, 1).places("delta");
        for_each_piece(join, 0..self.q.batch * self.q.heads, 1, &|piece| {
            for at in piece {
                let (b, h) = (at / self.q.heads, at % self.q.heads);
                for i in 0..self.q.length {
                    // SAFETY: each piece has heads of its own.
                    let delta = unsafe { places.row(b, h, i) };
                    for (o, d) in output.row(b, h, i).iter().zip(d_output.row(b, h, i)) {
                        delta[0] += o.wide() * d.wide();
                    }
                }
            }
        });

        let mut partial = Counted::zeros(heads * hands * self.rows() * width, count);
        let shared = Shared {
            d_output,
            log_sum_exp,
            delta: &delta.numbers,
            d_k,
            d_v,
            d_q: HeadsMut::dense(&mut partial.numbers, heads, hands, self.rows(), width).places("partial d_q"),
        };
        let units = heads * hands;
        for_each_piece(
            join,
            0..units,
            grain(units, 3 * self.work(self.rows(), self.k.length) / hands, join.width()),
            &|piece| {
                let mut scratch = Scratch::new(self, count);
                for unit in piece {
                    for tile in (unit % hands..self.k.length.div_ceil(TILE)).step_by(hands) {
                        self.tile_gradients(&mut scratch, &shared, unit / hands, unit % hands, tile);
                    }
                }
            },
        );

        for_each_piece(join, 0..heads, 1, &|piece| {
            for head in piece {
                for row in 0..self.rows() {
                    let (query_head, query) = self.query(head % self.k.heads, row);
                    // SAFETY: each piece has heads of its own.
                    let into = unsafe { d_q.row(head / self.k.heads, query_head, query) };
                    for hand in 0..hands {
                        // SAFETY: as above.
                        let part = unsafe { shared.d_q.row(head, hand, row) };
                        if hand == 0 {
                            into.copy_from_slice(&part[..self.q.head_dim]);
                        } else {
                            into.iter_mut().zip(part).for_each(|(into, part)| *into += *part);
                        }
                    }
                }
            }
        });
    }

    /// One tile of a key head against all rows that see it.
    fn tile_gradients(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        shared: &Shared<'_, T>,
        head: usize,
        hand: usize,
        tile: usize,
    ) {
        let (batch, kv_head) = (head / self.k.heads, head % self.k.heads);
        let start = tile * TILE;
        let count = TILE.min(self.k.length - start);
        let (dim, value_dim) = (self.q.head_dim, self.v.head_dim);
        let (width, value_width) = (self.kernels.pad(dim), self.kernels.pad(value_dim));
        for row in 0..count {
            let (key, value) = (
                self.k.row(batch, kv_head, start + row),
                self.v.row(batch, kv_head, start + row),
            );
            widen(key, &mut scratch.key_rows.numbers[row * width..][..dim]);
            widen(value, &mut scratch.value_rows.numbers[row * value_width..][..value_dim]);
        }
        let (from, into) = (scratch.key_rows.at(0), scratch.keys.at_mut(0));
        // SAFETY: `count` rows were written; the panels have room for a tile.
        unsafe { (self.kernels.transpose)(from, width, count, dim, into) };
        let (from, into) = (scratch.value_rows.at(0), scratch.values.at_mut(0));
        // SAFETY: as above.
        unsafe { (self.kernels.transpose)(from, value_width, count, value_dim, into) };
        let rows = &mut scratch.key_rows.numbers[..count * width];
        self.clean(rows, width, &mut scratch.irregular);
        scratch.d_keys.numbers.fill(T::Sum::of(0.0));
        scratch.d_values.numbers.fill(T::Sum::of(0.0));
        let mut first = 0;
        while first < self.rows() {
            let rows = STRIP.min(self.rows() - first);
            self.strip_gradients(scratch, shared, (head, hand), (start, count), (first, rows));
            first += rows;
        }
        for row in 0..count {
            // SAFETY: a tile of a key head is one thread's.
            let d_k = unsafe { shared.d_k.row(batch, kv_head, start + row) };
            d_k.copy_from_slice(&scratch.d_keys.numbers[row * width..][..dim]);
            // SAFETY: as above.
            let d_v = unsafe { shared.d_v.row(batch, kv_head, start + row) };
            d_v.copy_from_slice(&scratch.d_values.numbers[row * value_width..][..value_dim]);
        }
    }

    /// Takes what is not finite out of the rows, where there is such.
    fn clean(&self, rows: &mut [T::Sum], width: usize, irregular: &mut Vec<Irregular<T::Sum>>) {
        irregular.clear();
        // SAFETY: a slice.
        if !unsafe { (self.kernels.finite)(rows.as_ptr(), rows.len()) } {
            take_out(rows, width, irregular);
        }
    }

    fn strip_gradients(
        &self,
        scratch: &mut Scratch<'_, T::Sum>,
        shared: &Shared<'_, T>,
        (head, hand): (usize, usize),
        (start, count): (usize, usize),
        (first, rows): (usize, usize),
    ) {
        let (batch, kv_head) = (head / self.k.heads, head % self.k.heads);
        let (dim, value_dim) = (self.q.head_dim, self.v.head_dim);
        let (width, value_width) = (self.kernels.pad(dim), self.kernels.pad(value_dim));
        let (zero, lowest) = (T::Sum::of(0.0), T::Sum::of(f64::NEG_INFINITY));
        let within = |visible: &Visible| {
            let from = visible.from.saturating_sub(start).min(count);
            (from, visible.to.saturating_sub(start).clamp(from, count))
        };
        scratch.visible.clear();
        scratch
            .visible
            .extend((first..first + rows).map(|row| self.visible(batch, row)));
        let seen = scratch.visible.iter().map(within).filter(|(from, to)| from < to);
        let Some((from, to)) = seen.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return;
        };
        let from = from / self.kernels.panel * self.kernels.panel;
        let padded = self.kernels.pad(to);
        for row in 0..rows {
            let (query_head, query) = self.query(kv_head, first + row);
            widen(
                self.q.row(batch, query_head, query),
                &mut scratch.queries.numbers[row * width..][..dim],
            );
            widen(
                shared.d_output.row(batch, query_head, query),
                &mut scratch.d_rows.numbers[row * value_width..][..value_dim],
            );
            let at = (batch * self.q.heads + query_head) * self.q.length + query;
            scratch.deltas.numbers[row] = shared.delta[at];
            scratch.logarithms.numbers[row] = if scratch.visible[row].is_empty() {
                // Weights 0 for a row that sees nothing.
                -lowest
            } else {
                shared.log_sum_exp[at] * T::Sum::of(std::f64::consts::LOG2_E)
            };
        }
        let mut product = Product {
            rows,
            depth: dim,
            columns: to - from,
            a: scratch.queries.at(0),
            a_row: width,
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
        product = Product {
            depth: value_dim,
            a: scratch.d_rows.at(0),
            a_row: value_width,
            b: scratch.values.at(from * value_dim),
            b_panel: value_dim * self.kernels.panel,
            c: scratch.d_scores.at_mut(from),
            after: After::Write(T::Sum::of(1.0)),
            ..product
        };
        // SAFETY: as above.
        unsafe { (self.kernels.product)(&product) };
        let scores = Scores {
            at: scratch.scores.at_mut(0),
            stride: scratch.stride,
            rows,
            from,
            to: padded,
        };
        let (d_scores, logarithms, deltas) = (
            scratch.d_scores.at_mut(0),
            scratch.logarithms.at(0),
            scratch.deltas.at(0),
        );
        // SAFETY: both arrays of scores have the strip's rows, the others its length.
        unsafe { (self.kernels.gradient)(scores, d_scores, logarithms, deltas, T::Sum::of(self.scale)) };
        for (row, visible) in scratch.visible.iter().enumerate() {
            let (low, high) = within(visible);
            for line in [&mut scratch.scores, &mut scratch.d_scores] {
                let line = &mut line.numbers[row * scratch.stride..][..padded];
                line[from..low.clamp(from, padded)].fill(zero);
                line[high.clamp(from, padded)..].fill(zero);
                let drafts = visible.prefix.saturating_sub(start).clamp(low, high);
                for (key, value) in line[..high].iter_mut().enumerate().skip(drafts) {
                    if !visible.sees(start + key) {
                        *value = zero;
                    }
                }
            }
        }
        let sees =
            |visible: &[Visible], row: usize, key: usize| (from..to).contains(&key) && visible[row].sees(start + key);

        // dQ = dS K.
        // SAFETY: the block's own rows of this hand, which is one thread's.
        let d_q = unsafe { shared.d_q.at(head, hand, first) };
        let product = Product {
            rows,
            depth: to - from,
            columns: width,
            a: scratch.d_scores.at(from),
            a_row: scratch.stride,
            a_depth: 1,
            b: scratch.key_rows.at(from * width),
            b_panel: self.kernels.panel,
            b_depth: width,
            c: d_q,
            c_row: width,
            after: After::Add,
        };
        // SAFETY: rows of one hand lie one after the other, `width` numbers each.
        unsafe { (self.kernels.product)(&product) };
        for irregular in &scratch.irregular {
            for row in (0..rows).filter(|row| sees(&scratch.visible, *row, irregular.row)) {
                // SAFETY: as above.
                let place = unsafe { d_q.add(row * width + irregular.column) };
                // SAFETY: as above.
                unsafe { *place += scratch.d_scores.numbers[row * scratch.stride + irregular.row] * irregular.value };
            }
        }

        // dK = dS' Q and dV = P' dO.
        let sides = [
            (&mut scratch.queries, &scratch.d_scores, &mut scratch.d_keys, width),
            (&mut scratch.d_rows, &scratch.scores, &mut scratch.d_values, value_width),
        ];
        for (rows_of, scores, into, width) in sides {
            self.clean(
                &mut rows_of.numbers[..rows * width],
                width,
                &mut scratch.strip_irregular,
            );
            let product = Product {
                rows: to - from,
                depth: rows,
                columns: width,
                a: scores.at(from),
                a_row: 1,
                a_depth: scratch.stride,
                b: rows_of.at(0),
                b_panel: self.kernels.panel,
                b_depth: width,
                c: into.at_mut(from * width),
                c_row: width,
                after: After::Add,
            };
            // SAFETY: the strip has so many rows, the tile so many keys.
            unsafe { (self.kernels.product)(&product) };
            for irregular in &scratch.strip_irregular {
                for key in (from..to).filter(|key| sees(&scratch.visible, irregular.row, *key)) {
                    into.numbers[key * width + irregular.column] +=
                        scores.numbers[irregular.row * scratch.stride + key] * irregular.value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::flash_attention::kernels::{Kernels, levels};
    use crate::flash_attention::plain::Operands;
    use crate::flash_attention::samples::{Given, SMALL, Sizes, bits, random};
    use crate::linear::bf16;
    use crate::tests::OnThreads;

    type Gradients<R> = [Vec<R>; 3];

    fn gradients<T: Element>(
        given: &Given<T>,
        d_output: &[T],
        kernels: &'static Kernels<T::Sum>,
        mask: Mask<'_>,
        kv_lens: Option<&[usize]>,
        join: &dyn Join,
    ) -> Gradients<T::Sum> {
        let Sizes {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
        } = given.sizes;
        let (output, sums) = given.attend(kernels, mask, kv_lens, join, false);
        let [q, k, v] = given.heads();
        let mut problem = Problem::new(q, k, v, mask, None, kv_lens);
        problem.kernels = kernels;
        let seven = T::Sum::of(7.0);
        let mut d_q = vec![seven; given.q.len()];
        let (mut d_k, mut d_v) = (vec![seven; given.k.len()], vec![seven; given.v.len()]);
        problem.differentiate(
            join,
            Heads::dense(&output, batch, heads, queries, dim),
            Heads::dense(d_output, batch, heads, queries, dim),
            &sums,
            [
                HeadsMut::dense(&mut d_q, batch, heads, queries, dim),
                HeadsMut::dense(&mut d_k, batch, kv_heads, keys, dim),
                HeadsMut::dense(&mut d_v, batch, kv_heads, keys, dim),
            ],
            &Count::default(),
        );
        [d_q, d_k, d_v]
    }

    fn check<T: Element>(sizes: Sizes, mask: Mask<'_>, kv_lens: Option<&[usize]>, unit: f64) {
        let given = Given::<T>::new(sizes);
        let d_output = random::<T>(given.q.len(), 4);
        let [q, k, v] = given.heads();
        let operands = Operands {
            q,
            k,
            v,
            mask,
            scale: 1.0 / (sizes.dim as f64).sqrt(),
            kv_lens,
        };
        let d_heads = Heads::dense(&d_output, sizes.batch, sizes.heads, sizes.queries, sizes.dim);
        let expected = operands.gradients(d_heads);
        for kernels in levels::<T::Sum>() {
            let found = gradients(&given, &d_output, kernels, mask, kv_lens, &Sequential);
            let forked = gradients(&given, &d_output, kernels, mask, kv_lens, &OnThreads(3));
            for (name, ((found, forked), (expected, magnitude))) in ["d_q", "d_k", "d_v"]
                .iter()
                .zip(found.iter().zip(&forked).zip(&expected))
            {
                assert_eq!(bits(found), bits(forked), "{name} forked");
                for at in 0..found.len() {
                    let bound = unit * 4.0 * (sizes.dim as f64 + 8.0) * magnitude[at];
                    assert!(
                        (found[at].to_f64() - expected[at]).abs() <= bound,
                        "{} {name} {mask:?} {sizes:?} {at}: {:?} for {}, bound {bound}",
                        kernels.name,
                        found[at],
                        expected[at]
                    );
                }
            }
        }
    }

    const F32: f64 = 6e-8;

    #[test]
    fn every_mask_agrees_with_the_textbook() {
        for mask in [
            Mask::Full,
            Mask::TopLeft,
            Mask::BottomRight,
            Mask::Window(1),
            Mask::Window(20),
        ] {
            check::<f32>(SMALL, mask, None, F32);
            check::<f64>(SMALL, mask, Some(&[0, 217]), F32 / 5e8);
        }
        let ancestors: Vec<u64> = (0..SMALL.queries as u64)
            .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15))
            .collect();
        check::<f32>(
            SMALL,
            Mask::Tree {
                prefix: 200,
                ancestors: &ancestors,
            },
            None,
            F32,
        );
    }

    #[test]
    fn odd_shapes_agree_with_the_textbook() {
        for (queries, keys, dim) in [(1, 1, 1), (1, 600, 17), (200, 1, 5), (97, 257, 64), (3, 513, 33)] {
            let sizes = Sizes {
                batch: 1,
                heads: 2,
                kv_heads: 1,
                queries,
                keys,
                dim,
            };
            check::<f32>(sizes, Mask::BottomRight, None, F32);
        }
    }

    /// The output was rounded to bf16 before D was made of it: the bound is that of bf16.
    #[test]
    fn halves_agree_within_their_rounding() {
        check::<bf16>(SMALL, Mask::TopLeft, None, 1.0 / 512.0 / 16.0);
    }

    /// The slope of sum(output * d_output), measured by moving one number up and down.
    #[test]
    fn gradients_are_the_slopes_that_differences_show() {
        let sizes = Sizes {
            batch: 1,
            heads: 2,
            kv_heads: 1,
            queries: 5,
            keys: 9,
            dim: 6,
        };
        let given = Given::<f64>::new(sizes);
        let d_output = random::<f64>(given.q.len(), 4);
        let mask = Mask::BottomRight;
        let found = gradients(&given, &d_output, Kernels::best(), mask, None, &Sequential);
        let value = |given: &Given<f64>| -> f64 {
            let (output, _) = given.attend(Kernels::best(), mask, None, &Sequential, false);
            output.iter().zip(&d_output).map(|(o, d)| o * d).sum()
        };
        let step = 1e-5;
        for (which, found) in found.iter().enumerate() {
            for (at, found) in found.iter().enumerate() {
                let moved = |by: f64| {
                    let mut given = Given::<f64>::new(sizes);
                    [&mut given.q, &mut given.k, &mut given.v][which][at] += by;
                    value(&given)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                assert!(
                    (slope - found).abs() < 1e-8,
                    "operand {which}, {at}: {found} for {slope}"
                );
            }
        }
    }

    /// A value that no query sees reaches nobody; one that some see reaches what it should.
    #[test]
    fn what_is_not_finite_stays_where_it_is_seen() {
        let sizes = Sizes {
            batch: 1,
            heads: 1,
            kv_heads: 1,
            queries: 4,
            keys: 6,
            dim: 3,
        };
        let mut given = Given::<f32>::new(sizes);
        let d_output = random::<f32>(given.q.len(), 4);
        given.k[4 * 3] = f32::NAN;
        given.v[5 * 3 + 1] = f32::INFINITY;
        let [d_q, d_k, d_v] = gradients(&given, &d_output, Kernels::best(), Mask::TopLeft, None, &Sequential);
        for numbers in [&d_q, &d_k, &d_v] {
            assert!(numbers.iter().all(|number| number.is_finite()), "{numbers:?}");
        }
        let [d_q, _, d_v] = gradients(&given, &d_output, Kernels::best(), Mask::BottomRight, None, &Sequential);
        assert!(d_q[..6].iter().all(|number| number.is_finite()));
        assert!(d_q[6..].iter().all(|number| number.is_nan()), "{d_q:?}");
        assert!(d_v.iter().any(|number| number.is_nan()));
    }
}
