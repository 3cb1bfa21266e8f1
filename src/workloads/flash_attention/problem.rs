//! What the passes have in common: the operands, checked; the numbering of rows; the tiles' sizes;
//! and the copies of tiles that kernels work on.

use std::any::TypeId;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::heads::Visible;
use super::kernels::Kernels;
use super::{Heads, Mask};
use crate::linear::{Element, Real};

/// Keys of a tile. Part of the result's definition: a row's sum starts anew with every tile, at
/// multiples of it, and the tiles' sums are taken together in order.
pub(super) const TILE: usize = 256;
/// Rows whose scores are held at once.
pub(super) const STRIP: usize = 48;
/// Drafts of a tree.
pub(super) const DRAFTS: usize = 64;

/// Attention to be computed. A key head serves `group` query heads: their rows are numbered through,
/// so that they share its tiles.
pub(super) struct Problem<'a, T: Element> {
    pub q: Heads<'a, T>,
    pub k: Heads<'a, T>,
    pub v: Heads<'a, T>,
    pub mask: Mask<'a>,
    pub scale: f64,
    pub kv_lens: Option<&'a [usize]>,
    pub group: usize,
    pub kernels: &'static Kernels<T::Sum>,
}

impl<'a, T: Element> Problem<'a, T> {
    /// Panics when the operands do not fit each other: that is the caller's mistake.
    pub fn new(
        q: Heads<'a, T>,
        k: Heads<'a, T>,
        v: Heads<'a, T>,
        mask: Mask<'a>,
        scale: Option<f64>,
        kv_lens: Option<&'a [usize]>,
    ) -> Problem<'a, T> {
        assert!(q.head_dim > 0 && v.head_dim > 0, "head_dim is 0");
        q.check("q");
        k.check("k");
        v.check("v");
        assert_eq!(
            (q.batch, q.head_dim),
            (k.batch, k.head_dim),
            "q and k differ in batch or head_dim"
        );
        assert_eq!(
            (k.batch, k.heads, k.length),
            (v.batch, v.heads, v.length),
            "k and v differ in batch, heads or length"
        );
        assert!(
            q.heads == 0 || k.heads > 0 && q.heads.is_multiple_of(k.heads),
            "{} query heads can not share {} key heads evenly",
            q.heads,
            k.heads
        );
        if let Some(lens) = kv_lens {
            assert_eq!(lens.len(), q.batch, "kv_lens needs a length for each batch item");
            assert!(lens.iter().all(|len| *len <= k.length), "kv_lens exceeds the keys");
        }
        if let Mask::Tree { ancestors, .. } = mask {
            assert!(ancestors.len() >= q.length, "ancestors needs a word for each query");
        }
        Problem {
            q,
            k,
            v,
            mask,
            scale: scale.unwrap_or(1.0 / (q.head_dim.max(1) as f64).sqrt()),
            kv_lens,
            group: q.heads.checked_div(k.heads).unwrap_or(0),
            kernels: Kernels::best(),
        }
    }

    /// A problem of this shape without operands: to ask for its memory.
    pub fn shape(batch: usize, heads: [usize; 2], lengths: [usize; 2], head_dim: usize) -> Problem<'a, T> {
        let shaped = |heads, length| Heads::dense(&[], batch, heads, length, head_dim);
        Problem {
            q: shaped(heads[0], lengths[0]),
            k: shaped(heads[1], lengths[1]),
            v: shaped(heads[1], lengths[1]),
            mask: Mask::Full,
            scale: 1.0,
            kv_lens: None,
            group: heads[0] / heads[1].max(1),
            kernels: Kernels::best(),
        }
    }

    /// Rows of a key head.
    pub fn rows(&self) -> usize {
        self.group * self.q.length
    }

    /// The query head and the query of a key head's row.
    pub fn query(&self, kv_head: usize, row: usize) -> (usize, usize) {
        (kv_head * self.group + row / self.q.length, row % self.q.length)
    }

    /// Multiply-adds of so many rows and keys; reading a key costs about as much as sixteen rows of it.
    pub fn work(&self, rows: usize, keys: usize) -> usize {
        (rows + 16) * keys * self.q.head_dim
    }

    pub fn visible(&self, batch: usize, row: usize) -> Visible {
        let kv_len = self.kv_lens.map_or(self.k.length, |lens| lens[batch]);
        self.mask
            .visible(row % self.q.length, self.q.length, self.k.length, kv_len)
    }

    /// Where drafts of a tree begin to be told apart: the start of the tile that the prefix ends in.
    pub fn tail(&self) -> Option<usize> {
        match self.mask {
            Mask::Tree { prefix, .. } => Some(prefix.min(self.k.length) / TILE * TILE),
            _ => None,
        }
    }

    /// The most keys that are looked at together.
    pub fn tile_keys(&self) -> usize {
        let most = if self.tail().is_some() { TILE + DRAFTS } else { TILE };
        self.k.length.min(most)
    }
}

/// Multiply-adds that are worth another thread: some twenty microseconds.
const LEAST_WORK: usize = 1 << 21;

/// Units of a piece, each of so many multiply-adds: a few pieces for each thread of the pool, none
/// too small to be worth a fork, and one piece for one thread.
pub(super) fn grain(units: usize, work: usize, width: usize) -> usize {
    if width <= 1 {
        return units;
    }
    units.div_ceil(4 * width).max(LEAST_WORK / work.max(1))
}

/// How many pieces [`for_each_piece`](crate::for_each_piece) makes. A pool has as many under way at
/// once as it has threads; but whoever makes a thread for each fork may have all of them.
pub(super) fn pieces(units: usize, grain: usize) -> usize {
    if units <= grain.max(1) {
        return 1;
    }
    let half = units / 2;
    pieces(half, grain) + pieces(units - half, grain)
}

/// Bytes that are allocated now, and the most there were.
#[derive(Debug, Default)]
pub(super) struct Count {
    now: AtomicUsize,
    peak: AtomicUsize,
}

impl Count {
    pub fn add(&self, bytes: usize) {
        // Relaxed: a tally, read when all is done.
        let now = self.now.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    pub fn remove(&self, bytes: usize) {
        self.now.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

/// Zeros that are counted as long as they live.
pub(super) struct Counted<'a, R> {
    pub numbers: Vec<R>,
    count: &'a Count,
}

impl<'a, R: Real> Counted<'a, R> {
    pub fn zeros(length: usize, count: &'a Count) -> Counted<'a, R> {
        count.add(length * size_of::<R>());
        Counted {
            numbers: vec![R::of(0.0); length],
            count,
        }
    }

    pub fn at(&self, place: usize) -> *const R {
        self.numbers[place..].as_ptr()
    }

    pub fn at_mut(&mut self, place: usize) -> *mut R {
        self.numbers[place..].as_mut_ptr()
    }
}

impl<R> Drop for Counted<'_, R> {
    fn drop(&mut self) {
        self.count.remove(self.numbers.len() * size_of::<R>());
    }
}

/// The values as sums, when they are stored as such.
pub(super) fn as_sums<T: Element>(values: &[T]) -> Option<&[T::Sum]> {
    (TypeId::of::<T>() == TypeId::of::<T::Sum>()).then(|| {
        // SAFETY: the two types are one.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    })
}

/// Values stored as sums, widened where they are not.
pub(super) fn widen<T: Element>(from: &[T], into: &mut [T::Sum]) {
    match as_sums(from) {
        Some(sums) => into.copy_from_slice(sums),
        None => T::widen_all(from, into),
    }
}

/// A value of a tile that is not finite. It is kept apart, and a 0 in its place: a 0 weight of a key
/// that a row does not see would make NaN of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Irregular<R> {
    pub row: usize,
    pub column: usize,
    pub value: R,
}

/// Takes the values that are not finite out of `rows` rows of `width`.
pub(super) fn take_out<R: Real>(numbers: &mut [R], width: usize, irregular: &mut Vec<Irregular<R>>) {
    let zero = R::of(0.0);
    for (at, number) in numbers.iter_mut().enumerate() {
        if !number.to_f64().is_finite() {
            irregular.push(Irregular {
                row: at / width,
                column: at % width,
                value: *number,
            });
            *number = zero;
        }
    }
}
