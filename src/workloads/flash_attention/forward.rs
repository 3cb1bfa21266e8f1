//! The forward pass.

use super::{Heads, HeadsMut, Mask};
use crate::Join;
use crate::linear::{Element, Real};

/// Attention of every query: output and the natural logarithm of each row's sum, `[batch][heads][queries]`.
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
    let _ = join;
    q.check("q");
    k.check("k");
    v.check("v");
    let out = output.places("output");
    let scale = T::Sum::of(scale.unwrap_or(1.0 / (q.head_dim as f64).sqrt()));
    for b in 0..q.batch {
        for h in 0..q.heads {
            let kv = h / (q.heads / k.heads);
            for i in 0..q.length {
                let seen = mask.visible(i, q.length, k.length, kv_lens.map_or(k.length, |lens| lens[b]));
                let keys: Vec<usize> = (seen.from..seen.to)
                    .filter(|j| *j < seen.prefix || seen.bits >> (j - seen.prefix) & 1 == 1)
                    .collect();
                let scores: Vec<T::Sum> = keys
                    .iter()
                    .map(|j| {
                        let mut sum = T::Sum::of(0.0);
                        for (a, b) in q.row(b, h, i).iter().zip(k.row(b, kv, *j)) {
                            sum += a.wide() * b.wide();
                        }
                        sum * scale
                    })
                    .collect();
                let most = scores.iter().fold(f64::NEG_INFINITY, |most, s| most.max(s.to_f64()));
                let mut sum = T::Sum::of(0.0);
                let mut row = vec![T::Sum::of(0.0); v.head_dim];
                for (j, s) in keys.iter().zip(&scores) {
                    let weight = (*s - T::Sum::of(most)).exponential();
                    sum += weight;
                    for (into, v) in row.iter_mut().zip(v.row(b, kv, *j)) {
                        *into += weight * v.wide();
                    }
                }
                // SAFETY: one thread visits each row once.
                let to = unsafe { out.row(b, h, i) };
                for (to, x) in to.iter_mut().zip(&row) {
                    *to = T::narrow(if keys.is_empty() { *x } else { *x / sum });
                }
                log_sum_exp[(b * q.heads + h) * q.length + i] = T::Sum::of(most) + sum.logarithm();
            }
        }
    }
}

/// [`forward`] for few queries over many keys.
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
    forward(join, q, k, v, mask, scale, kv_lens, output, log_sum_exp);
}
