//! Deals an output's rows to threads.

use crate::Join;

/// Below this many bytes of output a piece isn't worth another thread: about 20 µs of work.
const SMALLEST_PIECE: usize = 128 * 1024;

/// Calls `body` with runs of whole rows of `output`, each with the number of its first row, in
/// parallel: about four runs for each thread, so that one that is late delays the others little.
pub(super) fn for_each_run<T: Send>(
    join: &dyn Join,
    output: &mut [T],
    row: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    if row == 0 || output.is_empty() {
        return;
    }
    let rows = output.len() / row;
    let smallest = (SMALLEST_PIECE / (row * size_of::<T>())).max(1);
    let grain = if join.width() > 1 {
        rows.div_ceil(4 * join.width()).max(smallest)
    } else {
        rows
    };
    runs(join, output, row, 0, grain, body);
}

fn runs<T: Send>(
    join: &dyn Join,
    output: &mut [T],
    row: usize,
    first: usize,
    grain: usize,
    body: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let rows = output.len() / row;
    if rows <= grain {
        body(first, output);
        return;
    }
    let half = rows / 2;
    let (low, high) = output.split_at_mut(half * row);
    join.join(
        || runs(join, low, row, first, grain, body),
        || runs(join, high, row, first + half, grain, body),
    );
}

/// At most how many runs [`for_each_run`] makes at once for a pool of `width` threads.
pub(super) fn most_runs(width: usize) -> u64 {
    if width > 1 { 8 * width as u64 } else { 1 }
}
