//! The oracle: standard attention by its definition in f64, one row at a time, and its gradient by
//! the textbook's formulas. Shares nothing with the kernels but the operands' shapes.

use super::{Heads, Mask};
use crate::linear::{Element, Real};

/// Whether query `i` sees key `j`, from the masks' definitions.
pub(super) fn sees(mask: Mask<'_>, i: usize, j: usize, queries: usize, keys: usize, kv_len: usize) -> bool {
    let (row, column) = (i as i64, j as i64);
    j < kv_len
        && match mask {
            Mask::Full => true,
            Mask::TopLeft => column <= row,
            Mask::BottomRight => column <= row + keys as i64 - queries as i64,
            Mask::Window(width) => row - (width.min(1 << 40) as i64) < column && column <= row,
            Mask::Tree { prefix, ancestors } => {
                j < prefix || j - prefix < 64 && (ancestors[i] >> (j - prefix)) & 1 == 1
            }
        }
}

/// The operands of a case.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, T> {
    pub q: Heads<'a, T>,
    pub k: Heads<'a, T>,
    pub v: Heads<'a, T>,
    pub mask: Mask<'a>,
    pub scale: f64,
    pub kv_lens: Option<&'a [usize]>,
}

/// A row's result: its output, the logarithm of its sum, and the sums of |terms| that error bounds
/// are measured by.
pub(super) struct Row {
    pub output: Vec<f64>,
    pub log_sum_exp: f64,
    /// For each column of the output, the sum of weight times |value|.
    pub magnitude: Vec<f64>,
    /// The greatest sum over d of |q k scale| of the keys seen.
    pub score: f64,
}

fn wide<T: Element>(row: &[T]) -> Vec<f64> {
    row.iter().map(|value| value.wide().to_f64()).collect()
}

impl<T: Element> Operands<'_, T> {
    fn kv_head(&self, head: usize) -> usize {
        head / (self.q.heads / self.k.heads)
    }

    /// Keys that a row sees, with their weights and the logarithm of the sum; and [`Row::score`].
    fn weights(&self, b: usize, h: usize, i: usize) -> (Vec<(usize, f64)>, f64, f64) {
        let kv_len = self.kv_lens.map_or(self.k.length, |lens| lens[b]);
        let query = wide(self.q.row(b, h, i));
        let mut bound = 0.0_f64;
        let scores: Vec<(usize, f64)> = (0..self.k.length)
            .filter(|j| sees(self.mask, i, *j, self.q.length, self.k.length, kv_len))
            .map(|j| {
                let key = wide(self.k.row(b, self.kv_head(h), j));
                let terms = || query.iter().zip(&key).map(|(q, k)| q * k);
                bound = bound.max(terms().map(f64::abs).sum::<f64>() * self.scale.abs());
                (j, terms().sum::<f64>() * self.scale)
            })
            .collect();
        if scores.is_empty() {
            return (Vec::new(), f64::NEG_INFINITY, 0.0);
        }
        let most = scores.iter().fold(f64::NEG_INFINITY, |most, (_, s)| most.max(*s));
        let sum: f64 = scores.iter().map(|(_, s)| (s - most).exp()).sum();
        let weights = scores.iter().map(|(j, s)| (*j, (s - most).exp() / sum)).collect();
        (weights, most + sum.ln(), bound)
    }

    pub fn row(&self, b: usize, h: usize, i: usize) -> Row {
        let (weights, log_sum_exp, score) = self.weights(b, h, i);
        let mut output = vec![0.0; self.v.head_dim];
        let mut magnitude = vec![0.0; self.v.head_dim];
        for (j, weight) in weights {
            for (d, v) in wide(self.v.row(b, self.kv_head(h), j)).into_iter().enumerate() {
                output[d] += weight * v;
                magnitude[d] += (weight * v).abs();
            }
        }
        Row {
            output,
            log_sum_exp,
            magnitude,
            score,
        }
    }

    /// Gradients of q, k and v, dense, from that of the output; and sizes that errors are
    /// measured by: the sums of their |terms| before anything cancels, times 1 + |score|.
    pub fn gradients(&self, d_output: Heads<'_, T>) -> [(Vec<f64>, Vec<f64>); 3] {
        let (dim, value_dim) = (self.q.head_dim, self.v.head_dim);
        let empty = |heads: usize, length: usize, dim: usize| {
            let count = self.q.batch * heads * length * dim;
            (vec![0.0; count], vec![0.0; count])
        };
        let mut d_q = empty(self.q.heads, self.q.length, dim);
        let mut d_k = empty(self.k.heads, self.k.length, dim);
        let mut d_v = empty(self.v.heads, self.v.length, value_dim);
        let add = |into: &mut (Vec<f64>, Vec<f64>), at: usize, term: f64, size: f64| {
            into.0[at] += term;
            into.1[at] += size;
        };
        for b in 0..self.q.batch {
            for h in 0..self.q.heads {
                for i in 0..self.q.length {
                    let (weights, _, bound) = self.weights(b, h, i);
                    let query = wide(self.q.row(b, h, i));
                    let d_row = wide(d_output.row(b, h, i));
                    let d_weights: Vec<(f64, f64)> = weights
                        .iter()
                        .map(|(j, _)| {
                            let value = wide(self.v.row(b, self.kv_head(h), *j));
                            let terms = || d_row.iter().zip(&value).map(|(d, v)| d * v);
                            (terms().sum(), terms().map(f64::abs).sum())
                        })
                        .collect();
                    let pairs = || weights.iter().zip(&d_weights);
                    let mean: f64 = pairs().map(|((_, w), (d, _))| w * d).sum();
                    let mean_size: f64 = pairs().map(|((_, w), (_, size))| w * size).sum();
                    let q_at = ((b * self.q.heads + h) * self.q.length + i) * dim;
                    for ((j, weight), (d_weight, size)) in pairs() {
                        let kv = (b * self.k.heads + self.kv_head(h)) * self.k.length + j;
                        let d_score = weight * (d_weight - mean) * self.scale;
                        let size = weight * (size + mean_size) * self.scale.abs() * (1.0 + bound);
                        let key = wide(self.k.row(b, self.kv_head(h), *j));
                        for d in 0..dim {
                            add(&mut d_q, q_at + d, d_score * key[d], size * key[d].abs());
                            add(&mut d_k, kv * dim + d, d_score * query[d], size * query[d].abs());
                        }
                        for d in 0..value_dim {
                            let size = weight * d_row[d].abs() * (1.0 + bound);
                            add(&mut d_v, kv * value_dim + d, weight * d_row[d], size);
                        }
                    }
                }
            }
        }
        [d_q, d_k, d_v]
    }
}
