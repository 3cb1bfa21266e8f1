//! The one trait through which a pool lends a workload its parallelism.
//!
//! A workload never makes threads. It is handed a [`Join`] and splits its work in two again and
//! again; whoever runs it decides whether the second half is stolen by another worker or run right
//! here. [`Sequential`] is the pool of one: the same code, on the calling thread, in order.

/// Runs two halves, perhaps at the same time, and returns when both are done.
///
/// A panic in either half is resumed in the caller after both have ended. Implementations must not
/// return before both closures have returned or unwound, since they borrow from the caller's stack.
pub trait Join: Sync {
    /// The object-safe heart; call [`join`](#method.join) instead.
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send));

    /// How many threads may take part. A hint for choosing the grain; 1 means sequential.
    fn width(&self) -> usize;
}

impl dyn Join + '_ {
    /// Runs `a` and `b`, perhaps at the same time, and gives back both results.
    pub fn join<A, B, RA, RB>(&self, a: A, b: B) -> (RA, RB)
    where
        A: FnOnce() -> RA + Send,
        B: FnOnce() -> RB + Send,
        RA: Send,
        RB: Send,
    {
        let (mut a, mut b) = (Some(a), Some(b));
        let (mut from_a, mut from_b) = (None, None);
        self.both(&mut || from_a = a.take().map(|a| a()), &mut || {
            from_b = b.take().map(|b| b());
        });
        match (from_a, from_b) {
            (Some(a), Some(b)) => (a, b),
            _ => unreachable!("a Join returned before it ran both halves"),
        }
    }
}

/// Everything on the calling thread, first `a`, then `b`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Join for Sequential {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        a();
        b();
    }

    fn width(&self) -> usize {
        1
    }
}

/// Splits `range` into pieces of at most `grain` and runs `body` on each, in parallel.
pub fn for_each_piece(
    join: &dyn Join,
    range: std::ops::Range<usize>,
    grain: usize,
    body: &(dyn Fn(std::ops::Range<usize>) + Sync),
) {
    if range.len() <= grain.max(1) {
        if !range.is_empty() {
            body(range);
        }
        return;
    }
    let middle = range.start + range.len() / 2;
    let (left, right) = (range.start..middle, middle..range.end);
    join.join(
        || for_each_piece(join, left, grain, body),
        || for_each_piece(join, right, grain, body),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn join_gives_back_both_results_in_order() {
        let join: &dyn Join = &Sequential;
        assert_eq!(join.join(|| 1, || "two"), (1, "two"));
    }

    #[test]
    fn every_index_is_visited_once() {
        let seen: Vec<AtomicUsize> = (0..1000).map(|_| AtomicUsize::new(0)).collect();
        for_each_piece(&Sequential, 0..1000, 7, &|piece| {
            for i in piece {
                seen[i].fetch_add(1, Ordering::Relaxed);
            }
        });
        assert!(seen.iter().all(|n| n.load(Ordering::Relaxed) == 1));
    }
}
