//! All pairs of n segments that have a point in common, by a line that sweeps over the plane along x.
//!
//! Whether two segments meet is decided by exact orientation of their ends, so no answer depends on rounded
//! crossing points, and touching ends, overlaps, vertical segments, points and many segments through one point
//! need no luck. What is left to the sweep is to test few pairs in vain; there are two of them.
//!
//! **The first** keeps the segments under the sweep line in buckets by y, as high as a segment is on
//! average. A new segment is tested against those in the buckets that it touches. For short
//! segments that is O(n log n + k) with a small constant. For long slanting ones it is quadratic,
//! so it stops when it has tested 100 pairs in vain for each segment, and
//!
//! **the second** takes over: Balaban's intermediate algorithm (An optimal algorithm for finding segments
//! intersections, 1995), O(n log² n + k) always: 10^5 long parallels cost no more than as many short ones. It
//! divides the plane into vertical strips at the ends of segments, and those again. Of the segments sorted along a
//! strip's left border it picks a *staircase*: some that go through to the right border and do not meet on the way.
//! Finding what meets the staircase is a binary search for each other segment and a walk over what it meets. Only
//! the others go on into the strip's halves. All it ever asks is which of two segments is higher at the
//! end of a third: a determinant of degree 3, exact by expansions where plain arithmetic cannot tell.
//! Unlike Bentley and Ottmann's sweep it never sorts crossing points.
//!
//! Both run in pieces on several threads: buckets, or strips. Exact for the coordinates that `predicate.rs` allows.

use std::cmp::Ordering;
use std::ops::Range;

use super::expansion::{Expansion, two_sum};
use super::{Coordinate, Point, Side};
use crate::Join;

/// More pairs were found than asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} pairs of segments meet; give fewer segments or raise the limit")]
pub struct TooMany {
    pub limit: usize,
}

/// All pairs `(i, j)`, i < j, of segments with a common point (ends belong to them), sorted. Coordinates must be
/// finite.
pub fn crossings(segments: &[[Point; 2]], join: &dyn Join) -> Vec<(u32, u32)> {
    crossings_at_most(segments, usize::MAX, join).unwrap_or_default()
}

/// As [`crossings`], but gives up when there are more than `limit` pairs, so that memory stays O(n + limit): some
/// 160 bytes for a segment and at most 64 for a pair of the limit.
pub fn crossings_at_most(segments: &[[Point; 2]], limit: usize, join: &dyn Join) -> Result<Vec<(u32, u32)>, TooMany> {
    let sorted = from_left_to_right(segments);
    // Less than some thousand segments are not worth a fork.
    let pieces = if join.width() > 1 {
        (2 * join.width()).min(segments.len() / 2048).max(1)
    } else {
        1
    };
    let found = match by_buckets(&sorted, limit, pieces, join) {
        Err(Stop::InVain) => by_staircases(&sorted, limit, pieces, join),
        other => other,
    };
    match found {
        Ok(found) => Ok(in_order(&found, segments.len())),
        Err(_) => Err(TooMany { limit }),
    }
}

/// Why a sweep stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    TooMany,
    /// Too many tests of segments that do not meet.
    InVain,
}

/// Two segments, the lesser number in the upper half.
type Pair = u64;

#[derive(Clone, Copy, Debug)]
struct Segment {
    /// The end with the lesser x, or the lesser y where x is equal.
    a: Point,
    b: Point,
    /// Its place in the input.
    number: u32,
}

impl Segment {
    fn pair(&self, other: &Segment) -> Pair {
        let (low, high) = (self.number.min(other.number), self.number.max(other.number));
        u64::from(low) << 32 | u64::from(high)
    }

    fn low(&self) -> f64 {
        self.a.y.min(self.b.y)
    }

    fn high(&self) -> f64 {
        self.a.y.max(self.b.y)
    }

    /// Whether they have a common point, if the boxes around them have.
    #[inline]
    fn meets(&self, other: &Segment) -> bool {
        let parts = |s: &Segment, t: &Segment| {
            let first = f64::side(s.a, s.b, t.a);
            first == Side::On || first != f64::side(s.a, s.b, t.b)
        };
        // Each line parts (or touches) the other's ends; on one common line the boxes have told.
        parts(self, other) && parts(other, self)
    }
}

fn from_left_to_right(segments: &[[Point; 2]]) -> Vec<Segment> {
    let key = |p: &Point| (p.x, p.y);
    let mut sorted: Vec<Segment> = segments
        .iter()
        .zip(0..)
        .map(|([a, b], number)| {
            let (a, b) = if key(b) < key(a) { (*b, *a) } else { (*a, *b) };
            Segment { a, b, number }
        })
        .collect();
    // Not total_cmp: -0 and 0 are one place.
    sorted.sort_unstable_by(|s, t| key(&s.a).partial_cmp(&key(&t.a)).unwrap_or(Ordering::Equal));
    sorted
}

/// Runs `work` on so many pieces, perhaps at the same time, and puts what they found in one list.
fn gather(
    join: &dyn Join,
    pieces: Range<usize>,
    work: &(dyn Fn(usize) -> Result<Vec<Pair>, Stop> + Sync),
) -> Result<Vec<Pair>, Stop> {
    if pieces.len() <= 1 {
        return pieces.map(work).next().unwrap_or(Ok(Vec::new()));
    }
    let middle = pieces.start + pieces.len() / 2;
    let (left, right) = join.join(
        || gather(join, pieces.start..middle, work),
        || gather(join, middle..pieces.end, work),
    );
    let mut found = left?;
    found.append(&mut right?);
    Ok(found)
}

/// Sorts by the lesser number: counted, not compared. Pairs found twice become one.
fn in_order(found: &[Pair], segments: usize) -> Vec<(u32, u32)> {
    let lesser = |pair: Pair| (pair >> 32) as usize;
    let mut ends = vec![0_usize; segments + 1];
    for pair in found {
        ends[lesser(*pair)] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        sum += std::mem::replace(end, sum);
    }
    let mut greater = vec![0_u32; found.len()];
    for pair in found {
        let at = &mut ends[lesser(*pair)];
        greater[*at] = *pair as u32;
        *at += 1;
    }
    let mut sorted = Vec::with_capacity(found.len());
    let mut start = 0;
    for (first, end) in ends.iter().take(segments).enumerate() {
        let partners = &mut greater[start..*end];
        partners.sort_unstable();
        sorted.extend(partners.iter().map(|second| (first as u32, *second)));
        start = *end;
    }
    sorted.dedup();
    sorted
}

// The first sweep.

/// Tests in vain that each segment may cost on average.
const PATIENCE: usize = 100;

/// Which bucket a height falls in.
struct Buckets {
    lowest: f64,
    for_one: f64,
    count: usize,
}

impl Buckets {
    /// As high as the average segment, but no more of them than segments.
    fn new(segments: &[Segment]) -> Buckets {
        let (mut low, mut high, mut heights) = (f64::INFINITY, f64::NEG_INFINITY, 0.0);
        for segment in segments {
            low = low.min(segment.low());
            high = high.max(segment.high());
            heights += segment.high() - segment.low();
        }
        let all = high - low;
        let count = (all / (heights / segments.len() as f64))
            .min(segments.len() as f64)
            .max(1.0);
        // Written so that heights which are not finite, or 0 of 0, give one bucket.
        let for_one = if all > 0.0 && (count / all).is_finite() {
            count / all
        } else {
            0.0
        };
        Buckets {
            lowest: low,
            for_one,
            count: if for_one > 0.0 { count as usize } else { 1 },
        }
    }

    /// Never falls when `y` grows.
    fn of(&self, y: f64) -> usize {
        (((y - self.lowest) * self.for_one) as usize).min(self.count - 1)
    }
}

/// A segment under the sweep line, as far as a first look needs it.
#[derive(Clone, Copy)]
struct Active {
    ends_x: f64,
    low: f64,
    high: f64,
    lowest_bucket: u32,
    at: u32,
}

fn by_buckets(segments: &[Segment], limit: usize, pieces: usize, join: &dyn Join) -> Result<Vec<Pair>, Stop> {
    if segments.is_empty() {
        return Ok(Vec::new());
    }
    let buckets = Buckets::new(segments);
    let pieces = pieces.min(buckets.count);
    gather(join, 0..pieces, &|piece| {
        let part = buckets.count * piece / pieces..buckets.count * (piece + 1) / pieces;
        sweep_buckets(segments, &buckets, part, PATIENCE * segments.len() / pieces, limit)
    })
}

/// The pairs whose lowest common bucket is in `part`.
fn sweep_buckets(
    segments: &[Segment],
    buckets: &Buckets,
    part: Range<usize>,
    patience: usize,
    limit: usize,
) -> Result<Vec<Pair>, Stop> {
    let mut active: Vec<Vec<Active>> = vec![Vec::new(); part.len()];
    let mut found = Vec::new();
    let mut tests = 0;
    for (at, segment) in segments.iter().enumerate() {
        let (low, high) = (segment.low(), segment.high());
        let (first, last) = (buckets.of(low), buckets.of(high));
        if last < part.start || first >= part.end {
            continue;
        }
        let entry = Active {
            ends_x: segment.b.x,
            low,
            high,
            lowest_bucket: first as u32,
            at: at as u32,
        };
        for number in first.max(part.start)..(last + 1).min(part.end) {
            let bucket = &mut active[number - part.start];
            tests += bucket.len();
            let mut place = 0;
            while let Some(other) = bucket.get(place) {
                if other.ends_x < segment.a.x {
                    // The sweep line has passed it.
                    bucket.swap_remove(place);
                    continue;
                }
                place += 1;
                if other.low <= high
                    && other.high >= low
                    && other.lowest_bucket.max(first as u32) as usize == number
                    && segments[other.at as usize].meets(segment)
                {
                    found.push(segment.pair(&segments[other.at as usize]));
                }
            }
            bucket.push(entry);
        }
        if found.len() > limit {
            return Err(Stop::TooMany);
        }
        if tests > patience + 4 * found.len() {
            return Err(Stop::InVain);
        }
    }
    Ok(found)
}

// The second sweep.

/// A segment that strips cut.
struct Slant {
    a: Point,
    b: Point,
    slope: f64,
    /// How far a height computed from the slope may be off.
    slack: f64,
    number: u32,
    /// The places of its ends' x among all.
    from: u32,
    to: u32,
}

impl Slant {
    fn rough_height(&self, x: f64) -> f64 {
        self.a.y + self.slope * (x - self.a.x)
    }
}

/// What all strips read.
struct Plane {
    /// From left to right, as sorted before.
    slants: Vec<Slant>,
    /// The different x of all ends.
    xs: Vec<f64>,
    /// Where the segments that start at each x, and those after, begin among `slants`.
    starts: Vec<u32>,
}

impl Plane {
    fn new(segments: &[Segment]) -> Plane {
        let mut xs: Vec<f64> = segments.iter().flat_map(|s| [s.a.x, s.b.x]).collect();
        xs.sort_unstable_by(|p, q| p.partial_cmp(q).unwrap_or(Ordering::Equal));
        xs.dedup();
        let place = |x: f64| xs.partition_point(|other| *other < x) as u32;
        let slants: Vec<Slant> = segments
            .iter()
            .map(|s| Slant {
                a: s.a,
                b: s.b,
                slope: (s.b.y - s.a.y) / (s.b.x - s.a.x),
                // 5 roundings on the product, which is at most the difference of the ends; 1 on the sum.
                slack: 8.0 * f64::EPSILON * (s.a.y.abs() + s.b.y.abs()) + 1e-290,
                number: s.number,
                from: place(s.a.x),
                to: place(s.b.x),
            })
            .collect();
        let starts = (0..=xs.len() as u32)
            .map(|x| slants.partition_point(|s| s.from < x) as u32)
            .collect();
        Plane { slants, xs, starts }
    }

    fn slant(&self, at: u32) -> &Slant {
        &self.slants[at as usize]
    }

    fn starting_at(&self, x: u32) -> Range<u32> {
        self.starts[x as usize]..self.starts[x as usize + 1]
    }

    /// Those that start strictly between two places.
    fn starting_between(&self, left: u32, right: u32) -> Range<u32> {
        self.starts[left as usize + 1]..self.starts[right as usize]
    }

    /// Where the segment `s` lies to the point `p`, which is neither left nor right of it: `Less` is below.
    fn against_point(&self, s: u32, p: Point) -> Ordering {
        let s = self.slant(s);
        let apart = s.rough_height(p.x) - p.y;
        if apart.abs() > s.slack + 4.0 * f64::EPSILON * p.y.abs() {
            return apart.total_cmp(&0.0);
        }
        below(s, p)
    }

    /// Where `s` lies to `t` at an x that both reach; `Less` is below.
    fn against(&self, s: u32, t: u32, x: u32) -> Ordering {
        let (p, q) = (self.slant(s), self.slant(t));
        let at = self.xs[x as usize];
        let apart = p.rough_height(at) - q.rough_height(at);
        if apart.abs() > p.slack + q.slack {
            return apart.total_cmp(&0.0);
        }
        if q.to == x {
            below(p, q.b)
        } else if p.to == x {
            below(q, p.b).reverse()
        } else {
            heights(p, q, at)
        }
    }

    /// Where `s`, which crosses the whole strip that ends at `right`, lies to `t` at the end of `t` or of the strip.
    fn at_the_end(&self, s: u32, t: u32, right: u32) -> Ordering {
        let other = self.slant(t);
        if other.to < right || other.from == other.to {
            self.against_point(s, other.b)
        } else {
            self.against(s, t, right)
        }
    }

    fn on_one_line(&self, s: u32, t: u32) -> bool {
        let (s, t) = (self.slant(s), self.slant(t));
        [t.a, t.b].iter().all(|end| f64::side(s.a, s.b, *end) == Side::On)
    }
}

/// Where a segment lies to a point that is neither left nor right of it; `Less` is below. Exact.
fn below(s: &Slant, p: Point) -> Ordering {
    match f64::side(s.a, s.b, p) {
        Side::Left => Ordering::Less,
        Side::On => Ordering::Equal,
        Side::Right => Ordering::Greater,
    }
}

/// Compares the heights of two segments at `x` exactly.
fn heights(p: &Slant, q: &Slant, x: f64) -> Ordering {
    let difference = |a: f64, b: f64| Expansion::from(two_sum(a, -b));
    let width = |s: &Slant| difference(s.b.x, s.a.x);
    // The height times the width.
    let height = |s: &Slant| {
        let base = &width(s) * &Expansion::from((s.a.y, 0.0));
        &base + &(&difference(s.b.y, s.a.y) * &difference(x, s.a.x))
    };
    (&(&height(p) * &width(q)) - &(&height(q) * &width(p))).sign()
}

fn by_staircases(segments: &[Segment], limit: usize, pieces: usize, join: &dyn Join) -> Result<Vec<Pair>, Stop> {
    if segments.is_empty() {
        return Ok(Vec::new());
    }
    let plane = Plane::new(segments);
    let last = plane.xs.len() - 1;
    let pieces = pieces.clamp(1, last.max(1));
    gather(join, 0..pieces, &|piece| {
        let mut sweep = Staircases {
            plane: &plane,
            found: Vec::new(),
            limit,
        };
        sweep.piece((last * piece / pieces) as u32, (last * (piece + 1) / pieces) as u32)?;
        Ok(sweep.found)
    })
}

/// Balaban's recursion over the strips of one piece.
///
/// Of two segments that meet at one point only, a strip tells if that point is in it, the right border with it, the
/// left without. Two that overlap are told where the later one starts. So a *border* has to compare only what starts
/// there with what is there, and some pairs are told twice, by neighbours.
struct Staircases<'a> {
    plane: &'a Plane,
    found: Vec<Pair>,
    limit: usize,
}

impl Staircases<'_> {
    /// All that lies between two places, with the left border and, at the very end, the right one.
    fn piece(&mut self, left: u32, right: u32) -> Result<(), Stop> {
        let plane = self.plane;
        let mut there: Vec<u32> = (0..plane.starts[left as usize])
            .filter(|s| plane.slant(*s).to >= left)
            .collect();
        there.sort_unstable_by(|s, t| plane.against(*s, *t, left));
        let from_left = self.border(left, there)?;
        if right > left {
            let from_left = self.strip(left, right, from_left)?;
            if right as usize + 1 == plane.xs.len() {
                self.border(right, from_left)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, s: u32, t: u32) -> Result<(), Stop> {
        let (p, q) = (self.plane.slant(s).number, self.plane.slant(t).number);
        self.found.push(u64::from(p.min(q)) << 32 | u64::from(p.max(q)));
        if self.found.len() / 2 > self.limit {
            self.found.sort_unstable();
            self.found.dedup();
            if self.found.len() > self.limit {
                return Err(Stop::TooMany);
            }
        }
        Ok(())
    }

    /// Takes those that reach the border from the left, sorted along it; tells what starts there and meets them or
    /// each other; gives those that go on to the right.
    fn border(&mut self, x: u32, reaching: Vec<u32>) -> Result<Vec<u32>, Stop> {
        let plane = self.plane;
        let starting = plane.starting_at(x);
        let mut on = Vec::with_capacity(reaching.len() + starting.len());
        let mut passed = 0;
        for new in starting.clone() {
            let slant = plane.slant(new);
            let vertical = slant.to == x;
            // Upwards along the border: a vertical segment covers a part of it, all others one point.
            let top = if vertical { slant.b } else { slant.a };
            for other in new + 1..starting.end {
                if plane.slant(other).a.y > top.y {
                    break;
                }
                self.tell(new, other)?;
            }
            // Starts are sorted by y, so the first that is not below `new` is never before the last one's.
            let rest = &reaching[passed..];
            let below = rest.partition_point(|s| plane.against_point(*s, slant.a) == Ordering::Less);
            on.extend(rest[..below].iter().filter(|s| plane.slant(**s).to > x));
            passed += below;
            for s in &reaching[passed..] {
                if plane.against_point(*s, top) == Ordering::Greater {
                    break;
                }
                self.tell(*s, new)?;
            }
            if !vertical {
                on.push(new);
            }
        }
        on.extend(reaching[passed..].iter().filter(|s| plane.slant(**s).to > x));
        Ok(on)
    }

    /// Takes those that go on from the left border, sorted along it; gives those that reach the right one, sorted
    /// along that.
    fn strip(&mut self, left: u32, right: u32, mut entering: Vec<u32>) -> Result<Vec<u32>, Stop> {
        let plane = self.plane;
        let inside = plane.starting_between(left, right);
        // Where no segment starts or ends on the way, staircases are picked until nothing is left.
        let undivided = right == left + 1;
        let mut staircases: Vec<Vec<u32>> = Vec::new();
        let mut reaching = loop {
            if entering.is_empty() && inside.is_empty() {
                break Vec::new();
            }
            let (staircase, rest) = self.pick(right, entering)?;
            for new in inside.clone() {
                self.start_among(&staircase, new, right)?;
            }
            staircases.push(staircase);
            if undivided {
                entering = rest;
                continue;
            }
            let middle = left + (right - left) / 2;
            let at_middle = self.strip(left, middle, rest)?;
            let from_middle = self.border(middle, at_middle)?;
            break self.strip(middle, right, from_middle)?;
        };
        for staircase in staircases.into_iter().rev() {
            reaching = self.merge(staircase, reaching, right);
        }
        Ok(reaching)
    }

    /// Picks a staircase, and tells what of the rest meets it.
    fn pick(&mut self, right: u32, entering: Vec<u32>) -> Result<(Vec<u32>, Vec<u32>), Stop> {
        let plane = self.plane;
        let mut staircase: Vec<u32> = Vec::with_capacity(entering.len());
        let mut rest = Vec::new();
        let mut steps_below = Vec::new();
        for s in entering {
            let fits = plane.slant(s).to >= right
                && staircase
                    .last()
                    .is_none_or(|last| match plane.against(s, *last, right) {
                        Ordering::Greater => true,
                        // Overlaps were told where they start, and cannot put a staircase out of order.
                        Ordering::Equal => plane.on_one_line(s, *last),
                        Ordering::Less => false,
                    });
            if fits {
                staircase.push(s);
            } else {
                rest.push(s);
                steps_below.push(staircase.len());
            }
        }
        for (t, below) in rest.iter().zip(steps_below) {
            for s in &staircase[below..] {
                if plane.at_the_end(*s, *t, right) == Ordering::Greater {
                    break;
                }
                self.tell(*s, *t)?;
            }
            for s in staircase[..below].iter().rev() {
                if plane.at_the_end(*s, *t, right) == Ordering::Less {
                    break;
                }
                self.tell(*s, *t)?;
            }
        }
        Ok((staircase, rest))
    }

    /// Tells what a segment that starts between the borders meets of the staircase.
    fn start_among(&mut self, staircase: &[u32], new: u32, right: u32) -> Result<(), Stop> {
        let plane = self.plane;
        let start = plane.slant(new).a;
        let below = staircase.partition_point(|s| plane.against_point(*s, start) == Ordering::Less);
        for s in &staircase[below..] {
            if plane.at_the_end(*s, new, right) == Ordering::Greater
                && plane.against_point(*s, start) != Ordering::Equal
            {
                break;
            }
            self.tell(*s, new)?;
        }
        for s in staircase[..below].iter().rev() {
            if plane.at_the_end(*s, new, right) == Ordering::Less {
                break;
            }
            self.tell(*s, new)?;
        }
        Ok(())
    }

    /// Merges two lists that are sorted along the right border.
    fn merge(&self, staircase: Vec<u32>, others: Vec<u32>, right: u32) -> Vec<u32> {
        if others.is_empty() {
            return staircase;
        }
        let plane = self.plane;
        let mut merged = Vec::with_capacity(staircase.len() + others.len());
        let mut rest = &staircase[..];
        for t in others {
            let is_below = |s: &u32| plane.against(*s, t, right) == Ordering::Less;
            // The next is near where others are many: look at 1, 2, 4, … first.
            let mut step = 1;
            while step < rest.len() && is_below(&rest[step]) {
                step *= 2;
            }
            let near = &rest[..rest.len().min(step + 1)];
            let below = near.partition_point(is_below);
            merged.extend_from_slice(&rest[..below]);
            rest = &rest[below..];
            merged.push(t);
        }
        merged.extend_from_slice(rest);
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    type Whole = [(i64, i64); 2];

    /// The definition, in integers: both parameters of the crossing in 0..=1, or overlap on one line.
    fn meet(s: &Whole, t: &Whole) -> bool {
        let [(ax, ay), (bx, by)] = *s;
        let [(cx, cy), (dx, dy)] = *t;
        let cross = |ux: i64, uy: i64, vx: i64, vy: i64| ux * vy - uy * vx;
        let area = cross(bx - ax, by - ay, dx - cx, dy - cy);
        if area != 0 {
            let along_s = cross(cx - ax, cy - ay, dx - cx, dy - cy) * area.signum();
            let along_t = cross(cx - ax, cy - ay, bx - ax, by - ay) * area.signum();
            return (0..=area.abs()).contains(&along_s) && (0..=area.abs()).contains(&along_t);
        }
        let on = |(px, py): (i64, i64), [(ax, ay), (bx, by)]: Whole| {
            cross(bx - ax, by - ay, px - ax, py - ay) == 0
                && (ax.min(bx)..=ax.max(bx)).contains(&px)
                && (ay.min(by)..=ay.max(by)).contains(&py)
        };
        on(s[0], *t) || on(s[1], *t) || on(t[0], *s) || on(t[1], *s)
    }

    fn by_definition(segments: &[Whole]) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for (i, s) in segments.iter().enumerate() {
            for (j, t) in segments.iter().enumerate().skip(i + 1) {
                if meet(s, t) {
                    pairs.push((i as u32, j as u32));
                }
            }
        }
        pairs
    }

    fn plain(segments: &[Whole], scale: f64) -> Vec<[Point; 2]> {
        let point = |(x, y): (i64, i64)| Point::new(x as f64 * scale, y as f64 * scale);
        segments.iter().map(|[a, b]| [point(*a), point(*b)]).collect()
    }

    /// Both sweeps, whole and in pieces.
    fn check(segments: &[Whole]) {
        let expected = by_definition(segments);
        // A power of two keeps the grid exact; the ends' differences too.
        let given = plain(segments, 0.125);
        assert_eq!(crossings(&given, &Sequential), expected, "{segments:?}");
        let sorted = from_left_to_right(&given);
        for (pieces, join) in [(1, &Sequential as &dyn Join), (2, &Sequential), (5, &OnThreads(2))] {
            let found = by_buckets(&sorted, usize::MAX, pieces, join);
            if let Ok(found) = found {
                assert_eq!(
                    in_order(&found, given.len()),
                    expected,
                    "{segments:?} in {pieces} parts"
                );
            }
            let found = by_staircases(&sorted, usize::MAX, pieces, join).unwrap();
            assert_eq!(
                in_order(&found, given.len()),
                expected,
                "{segments:?} in {pieces} staircases"
            );
        }
    }

    #[test]
    fn small_cases() {
        check(&[]);
        check(&[[(0, 0), (1, 1)]]);
        // A cross, a touch at an end, an end on a side, parallels.
        check(&[
            [(0, 0), (2, 2)],
            [(0, 2), (2, 0)],
            [(2, 2), (5, 2)],
            [(1, 1), (1, 9)],
            [(0, 1), (2, 3)],
        ]);
        // Identical ones (turned round too), points on and off, verticals that overlap and that do not.
        check(&[
            [(0, 0), (3, 3)],
            [(3, 3), (0, 0)],
            [(1, 1), (1, 1)],
            [(1, 1), (1, 1)],
            [(1, 2), (1, 2)],
        ]);
        check(&[
            [(0, 0), (0, 3)],
            [(0, 2), (0, 5)],
            [(0, 5), (0, 6)],
            [(0, 8), (0, 9)],
            [(-1, 4), (1, 4)],
        ]);
        // On one line, end to end and overlapping.
        check(&[
            [(0, 0), (2, 1)],
            [(2, 1), (4, 2)],
            [(0, 0), (6, 3)],
            [(8, 4), (10, 5)],
            [(6, 3), (8, 4)],
        ]);
    }

    #[test]
    fn a_hundred_through_one_point_all_meet() {
        let star: Vec<Whole> = (-50..50).map(|i| [(-50, i), (50, -i)]).collect();
        check(&star);
        assert_eq!(crossings(&plain(&star, 1.0), &Sequential).len(), 100 * 99 / 2);
    }

    #[test]
    fn more_pairs_than_the_limit_are_refused() {
        let star: Vec<Whole> = (0..20).map(|i| [(-50, i), (50, -i)]).collect();
        let star = plain(&star, 1.0);
        assert_eq!(
            crossings_at_most(&star, 190, &Sequential).map(|pairs| pairs.len()),
            Ok(190)
        );
        assert_eq!(crossings_at_most(&star, 189, &Sequential), Err(TooMany { limit: 189 }));
        let sorted = from_left_to_right(&star);
        for limit in [0, 50, 189] {
            let found = by_staircases(&sorted, limit, 1, &Sequential).map(|found| in_order(&found, 20).len() > limit);
            assert!(matches!(found, Err(Stop::TooMany) | Ok(true)), "{limit}");
        }
    }

    fn segments(side: i64, longest: i64, count: usize) -> impl Strategy<Value = Vec<Whole>> {
        let end = (0..=side, 0..=side, -longest..=longest, -longest..=longest);
        prop::collection::vec(end.prop_map(|(x, y, dx, dy)| [(x, y), (x + dx, y + dy)]), 0..count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn on_a_tiny_grid_where_everything_touches(s in segments(4, 3, 14)) {
            check(&s);
        }

        #[test]
        fn long_ones_on_a_small_grid(s in segments(12, 12, 40)) {
            check(&s);
        }

        #[test]
        fn on_few_lines_with_many_overlaps(
            s in prop::collection::vec((0..3_i64, 0..3_i64, 0..20_i64, 0..20_i64), 0..40)
        ) {
            // y = rise x + base at two places.
            let s: Vec<Whole> = s
                .iter()
                .map(|(rise, base, from, to)| [*from, *to].map(|x| (x, rise * x + base)))
                .collect();
            check(&s);
        }

        #[test]
        fn far_apart_and_near(s in segments(1 << 20, 1 << 20, 30), t in segments(1 << 10, 4, 30)) {
            check(&[s, t].concat());
        }
    }

    fn random_segments(count: usize, length: f64, seed: u64) -> Vec<[Point; 2]> {
        let mut random = Random::new(seed, 0);
        let mut unit = || random.below(1 << 40) as f64 / (1_u64 << 40) as f64;
        (0..count)
            .map(|_| {
                let a = Point::new(unit(), unit());
                let angle = std::f64::consts::TAU * unit();
                [a, a + Point::new(angle.cos(), angle.sin()) * length]
            })
            .collect()
    }

    #[test]
    fn both_sweeps_agree_on_many_segments() {
        for (count, length) in [(20_000, 0.01), (2_000, 0.5)] {
            let given = random_segments(count, length, 7);
            let sorted = from_left_to_right(&given);
            let staircases = by_staircases(&sorted, usize::MAX, 3, &OnThreads(2)).unwrap();
            let buckets = Buckets::new(&sorted);
            let buckets = sweep_buckets(&sorted, &buckets, 0..buckets.count, usize::MAX / 2, usize::MAX).unwrap();
            let expected = in_order(&buckets, count);
            assert!(in_order(&staircases, count) == expected, "{count}");
            assert!(crossings(&given, &OnThreads(2)) == expected, "{count}");
        }
    }

    #[test]
    fn long_parallels_under_one_sweep_line_are_not_quadratic() {
        let count = 100_000;
        let given: Vec<[Point; 2]> = (0..count)
            .map(|i| {
                // Ends at many different places.
                let end = |step: usize| (i * step % count) as f64 * 1e-6;
                let (from, to, base) = (end(7919), 1.0 + end(104_729), i as f64 * 1e-5);
                [Point::new(from, from + base), Point::new(to, to + base)]
            })
            .collect();
        assert_eq!(
            by_buckets(&from_left_to_right(&given), usize::MAX, 1, &Sequential),
            Err(Stop::InVain)
        );
        assert_eq!(crossings(&given, &Sequential), vec![]);
    }
}
