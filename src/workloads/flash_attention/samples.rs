//! Operands for the tests.

use super::kernels::Kernels;
use super::problem::{Count, Problem};
use super::{Heads, HeadsMut, Mask};
use crate::Join;
use crate::linear::{Element, Real};
use crate::random::Random;

/// Numbers between -2 and 2.
pub(super) fn random<T: Element>(count: usize, stream: u64) -> Vec<T> {
    let mut random = Random::new(11, stream);
    (0..count)
        .map(|_| T::narrow(T::Sum::of(random.below(1 << 24) as f64 / f64::from(1 << 22) - 2.0)))
        .collect()
}

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub queries: usize,
    pub keys: usize,
    pub dim: usize,
}

pub(super) const SMALL: Sizes = Sizes {
    batch: 2,
    heads: 4,
    kv_heads: 2,
    queries: 70,
    keys: 300,
    dim: 24,
};

pub(super) fn bits<R: Real>(values: &[R]) -> Vec<u64> {
    values.iter().map(|value| value.to_f64().to_bits()).collect()
}

pub(super) struct Given<T: Element> {
    pub sizes: Sizes,
    pub q: Vec<T>,
    pub k: Vec<T>,
    pub v: Vec<T>,
}

impl<T: Element> Given<T> {
    pub fn new(sizes: Sizes) -> Given<T> {
        let Sizes {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
        } = sizes;
        Given {
            sizes,
            q: random(batch * heads * queries * dim, 1),
            k: random(batch * kv_heads * keys * dim, 2),
            v: random(batch * kv_heads * keys * dim, 3),
        }
    }

    pub fn heads(&self) -> [Heads<'_, T>; 3] {
        let Sizes {
            batch,
            heads,
            kv_heads,
            queries,
            keys,
            dim,
        } = self.sizes;
        [
            Heads::dense(&self.q, batch, heads, queries, dim),
            Heads::dense(&self.k, batch, kv_heads, keys, dim),
            Heads::dense(&self.v, batch, kv_heads, keys, dim),
        ]
    }

    pub fn attend(
        &self,
        kernels: &'static Kernels<T::Sum>,
        mask: Mask<'_>,
        kv_lens: Option<&[usize]>,
        join: &dyn Join,
        split: bool,
    ) -> (Vec<T>, Vec<T::Sum>) {
        let Sizes {
            batch,
            heads,
            queries,
            dim,
            ..
        } = self.sizes;
        let [q, k, v] = self.heads();
        let mut output = vec![T::narrow(T::Sum::of(7.0)); self.q.len()];
        let mut sums = vec![T::Sum::of(7.0); batch * heads * queries];
        let mut problem = Problem::new(q, k, v, mask, None, kv_lens);
        problem.kernels = kernels;
        let into = HeadsMut::dense(&mut output, batch, heads, queries, dim);
        let count = Count::default();
        problem.attend(join, into, &mut sums, &count, split);
        (output, sums)
    }
}
