//! The textbook's way, in cache-sized parts: least and greatest value of every bucket.
//!
//! Buckets are no wider than the pigeonhole bound, so the largest gap lies between two of them.
//! A table for all of them at once would be several times the input, and every access to it a
//! miss. So the values are first parted by range, each piece of the input for itself (no thread
//! writes where another does), and then each range needs a table that stays in the cache.

use super::super::Join;
use super::{Grid, distance};

/// Buckets in a range: with 16 bytes each, half of a usual second-level cache.
const RANGE_BITS: u32 = 15;

/// What a piece's table and its bounds of ranges take, for so many values.
pub(super) fn table_bytes(elements: u64) -> u64 {
    let ranges = ((2 * elements) >> RANGE_BITS) + 2;
    (16 << RANGE_BITS) + ranges * (8 + 8 + 24) + 256
}

/// Values of a piece of the input, as distances from the grid's low end, ordered by range.
struct Parted {
    offsets: Vec<u64>,
    /// Where each range starts, and the end.
    starts: Vec<usize>,
}

impl Parted {
    fn range(&self, number: usize) -> &[u64] {
        &self.offsets[self.starts[number]..self.starts[number + 1]]
    }
}

/// What is known of a stretch of ranges: its ends, if it holds any value, and the gap within.
#[derive(Clone, Copy)]
struct Stretch {
    least: u64,
    greatest: u64,
    gap: u64,
}

const EMPTY: Stretch = Stretch {
    least: u64::MAX,
    greatest: 0,
    gap: 0,
};

impl Stretch {
    fn is_empty(self) -> bool {
        self.least > self.greatest
    }

    fn followed_by(self, next: Stretch) -> Stretch {
        if self.is_empty() {
            return next;
        }
        if next.is_empty() {
            return self;
        }
        Stretch {
            least: self.least,
            greatest: next.greatest,
            gap: self.gap.max(next.gap).max(next.least - self.greatest),
        }
    }
}

/// The largest gap. The grid's buckets must not be wider than it.
pub(super) fn gap(nums: &[i64], grid: Grid, pieces: usize, join: &dyn Join) -> u64 {
    let ranges = (grid.cells >> RANGE_BITS) + 1;
    let mut parts = Vec::new();
    part(nums, grid, ranges, pieces, join, &mut parts);
    stretch(&parts, grid, 0, ranges, pieces, join).gap
}

fn part(nums: &[i64], grid: Grid, ranges: usize, pieces: usize, join: &dyn Join, parts: &mut Vec<Parted>) {
    if pieces <= 1 {
        parts.push(part_one(nums, grid, ranges));
        return;
    }
    let (left, right) = nums.split_at(nums.len() / 2);
    let half = pieces / 2;
    let mut others = Vec::new();
    join.join(
        || part(left, grid, ranges, half, join, parts),
        || part(right, grid, ranges, pieces - half, join, &mut others),
    );
    parts.append(&mut others);
}

/// Counting sort by range.
fn part_one(nums: &[i64], grid: Grid, ranges: usize) -> Parted {
    let mut next = vec![0_usize; ranges];
    for &x in nums {
        next[grid.cell(x) >> RANGE_BITS] += 1;
    }
    let mut starts = Vec::with_capacity(ranges + 1);
    let mut start = 0;
    for place in &mut next {
        starts.push(start);
        start += *place;
        *place = start - *place;
    }
    starts.push(start);
    let mut offsets = vec![0_u64; nums.len()];
    for &x in nums {
        let place = &mut next[grid.cell(x) >> RANGE_BITS];
        offsets[*place] = distance(grid.low, x);
        *place += 1;
    }
    Parted { offsets, starts }
}

fn stretch(parts: &[Parted], grid: Grid, first: usize, end: usize, pieces: usize, join: &dyn Join) -> Stretch {
    if pieces > 1 && end - first > 1 {
        let middle = first + (end - first) / 2;
        let half = pieces / 2;
        let (low, high) = join.join(
            || stretch(parts, grid, first, middle, half, join),
            || stretch(parts, grid, middle, end, pieces - half, join),
        );
        return low.followed_by(high);
    }
    let cells = grid.cells.min(1 << RANGE_BITS);
    let mut table = vec![(u64::MAX, 0_u64); cells];
    let mut whole = EMPTY;
    for number in first..end {
        for part in parts {
            for &offset in part.range(number) {
                let cell = (offset >> grid.shift) as usize & ((1 << RANGE_BITS) - 1);
                let (least, greatest) = &mut table[cell];
                *least = offset.min(*least);
                *greatest = offset.max(*greatest);
            }
        }
        whole = whole.followed_by(scan(&mut table));
    }
    whole
}

/// The gaps between the buckets of one range; leaves the table as it was before.
fn scan(table: &mut [(u64, u64)]) -> Stretch {
    let Some(first) = table.iter().position(|(least, greatest)| least <= greatest) else {
        return EMPTY;
    };
    let least = table[first].0;
    let (mut last, mut gap) = (least, 0);
    for bucket in &mut table[first..] {
        let (low, high) = *bucket;
        *bucket = (u64::MAX, 0);
        // Half of the buckets are empty, in no order: choose, do not branch.
        let empty = low > high;
        gap = gap.max(if empty { 0 } else { low.wrapping_sub(last) });
        last = if empty { last } else { high };
    }
    Stretch {
        least,
        greatest: last,
        gap,
    }
}
