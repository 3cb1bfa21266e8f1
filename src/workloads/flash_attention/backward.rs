//! The backward pass.

use super::{Heads, HeadsMut, Mask};
use crate::Join;
use crate::linear::{Element, Real};

/// Gradients of queries, keys and values from that of the output.
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
    let _ = join;
    let scale = T::Sum::of(scale.unwrap_or(1.0 / (q.head_dim as f64).sqrt()));
    let zero = T::Sum::of(0.0);
    let (d_q, d_k, d_v) = (d_q.places("d_q"), d_k.places("d_k"), d_v.places("d_v"));
    for b in 0..q.batch {
        for h in 0..k.heads {
            for j in 0..k.length {
                // SAFETY: one thread, and the rows are let go at once.
                unsafe { d_k.row(b, h, j) }.fill(zero);
                // SAFETY: as above.
                unsafe { d_v.row(b, h, j) }.fill(zero);
            }
        }
        for h in 0..q.heads {
            let kv = h / (q.heads / k.heads);
            for i in 0..q.length {
                // SAFETY: one thread; rows of three different arrays.
                let dq = unsafe { d_q.row(b, h, i) };
                dq.fill(zero);
                let seen = mask.visible(i, q.length, k.length, kv_lens.map_or(k.length, |lens| lens[b]));
                let lse = log_sum_exp[(b * q.heads + h) * q.length + i];
                let dot = |a: &[T], b: &[T]| {
                    let mut sum = zero;
                    for (a, b) in a.iter().zip(b) {
                        sum += a.wide() * b.wide();
                    }
                    sum
                };
                let delta = dot(output.row(b, h, i), d_output.row(b, h, i));
                for j in (seen.from..seen.to).filter(|j| *j < seen.prefix || seen.bits >> (j - seen.prefix) & 1 == 1) {
                    let p = (dot(q.row(b, h, i), k.row(b, kv, j)) * scale - lse).exponential();
                    let ds = p * (dot(d_output.row(b, h, i), v.row(b, kv, j)) - delta) * scale;
                    // SAFETY: as above.
                    let dk = unsafe { d_k.row(b, kv, j) };
                    // SAFETY: as above.
                    let dv = unsafe { d_v.row(b, kv, j) };
                    for d in 0..q.head_dim {
                        dq[d] += ds * k.row(b, kv, j)[d].wide();
                        dk[d] += ds * q.row(b, h, i)[d].wide();
                        dv[d] += p * d_output.row(b, h, i)[d].wide();
                    }
                }
            }
        }
    }
}
