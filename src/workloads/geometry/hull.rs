//! The convex hull: the fewest corners whose polygon holds all points.
//!
//! Andrew's monotone chain (1979) over the points sorted by height; every turn is decided by an
//! exact side. Sorting is what costs, so most points are dropped first: the hull of a sample of
//! the points is cut into level bands, and a point between the left and the right border of its
//! band is inside for certain (the idea of Akl and Toussaint, 1978, with as many directions as the
//! sample's hull has corners). One look-up a point, in memory that stays in the first cache. The
//! borders are drawn in by far more than rounding can be wrong, so nothing of the hull is lost.
//!
//! Forked: pieces of the points are filtered and sorted at the same time and then merged, and the
//! hull's right and left side are built at the same time. What is sorted, each point once, depends
//! on no order of work, so the answer is the same whatever the width.

use super::Point;
use super::predicate::{Comparison, Coordinate, Side, by_height};
use crate::Join;

/// Fewer points than this are sorted as they are.
const SMALLEST_FILTERED: usize = 4096;
/// One point of so many is in the sample.
const SAMPLED: usize = 64;
const BANDS: usize = 1024;
/// If more than one point of so many is left, they are filtered once more.
const MANY_LEFT: usize = 32;
/// Fewer points than this are not worth another thread.
const SMALLEST_PIECE: usize = 32 * 1024;

/// The corners of the convex hull, counter-clockwise from the lowest (of equal height the leftmost)
/// point, each once. With `keep_collinear` also the points on the edges between the corners; when
/// all points lie on one line, all of them from the lowest to the highest. Of no points, none.
pub fn convex_hull<T: Coordinate>(
    points: &[Point<T>],
    keep_collinear: bool,
    comparison: Comparison,
    join: &dyn Join,
) -> Vec<Point<T>> {
    // With an eps every point may change what the next is held against, so all are kept.
    let filter = if comparison == Comparison::Exact {
        Filter::new(points, |p| p)
    } else {
        None
    };
    let grain = SMALLEST_PIECE.max(points.len().div_ceil(4 * join.width()));
    let sorted = candidates(points, filter.as_ref(), grain, join);
    around(&sorted, keep_collinear, comparison, join)
}

/// The points that may be on the hull, by height, each once.
fn candidates<T: Coordinate>(
    points: &[Point<T>],
    filter: Option<&Filter<T, impl Fn(Point<T>) -> Point<T> + Sync>>,
    grain: usize,
    join: &dyn Join,
) -> Vec<Point<T>> {
    if points.len() <= grain || join.width() == 1 {
        let mut left: Vec<Point<T>> = match filter {
            Some(filter) => filter.outside(points),
            None => points.to_vec(),
        };
        // Many left? A crowd at the lowest or highest points goes with bands that stand upright.
        if filter.is_some()
            && left.len() > points.len() / MANY_LEFT
            && let Some(upright) = Filter::new(&left, turned)
        {
            left.retain(|p| !upright.is_inside(*p));
        }
        for point in &mut left {
            *point = Point::new(point.x.plain(), point.y.plain());
        }
        left.sort_unstable_by(by_height);
        left.dedup();
        return left;
    }
    let (low, high) = points.split_at(points.len() / 2);
    let (low, high) = join.join(
        || candidates(low, filter, grain, join),
        || candidates(high, filter, grain, join),
    );
    merge(&low, &high)
}

fn merge<T: Coordinate>(a: &[Point<T>], b: &[Point<T>]) -> Vec<Point<T>> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let order = by_height(&a[i], &b[j]);
        merged.push(if order.is_le() { a[i] } else { b[j] });
        i += usize::from(order.is_le());
        j += usize::from(order.is_ge());
    }
    merged.extend_from_slice(&a[i..]);
    merged.extend_from_slice(&b[j..]);
    merged
}

/// One side of the hull from the lowest to the highest point: the right one turns left all the way.
fn chain<T: Coordinate>(
    sorted: &[Point<T>],
    turning: Side,
    keep_collinear: bool,
    comparison: Comparison,
) -> Vec<Point<T>> {
    let mut chain: Vec<Point<T>> = Vec::new();
    for point in sorted {
        while let [.., before, last] = chain[..] {
            let turn = comparison.side(before, last, *point);
            if turn == turning || keep_collinear && turn == Side::On {
                break;
            }
            chain.pop();
        }
        chain.push(*point);
    }
    chain
}

fn around<T: Coordinate>(
    sorted: &[Point<T>],
    keep_collinear: bool,
    comparison: Comparison,
    join: &dyn Join,
) -> Vec<Point<T>> {
    let side = |turning: Side| chain(sorted, turning, keep_collinear, comparison);
    let (mut right, left) = if sorted.len() > SMALLEST_PIECE {
        join.join(|| side(Side::Left), || side(Side::Right))
    } else {
        (side(Side::Left), side(Side::Right))
    };
    if right == left {
        // All on one line.
        return right;
    }
    // Downwards, without the highest and the lowest point again.
    right.extend(left.iter().rev().skip(1).take(left.len().saturating_sub(2)));
    right
}

fn turned<T>(p: Point<T>) -> Point<T> {
    Point::new(p.y, p.x)
}

/// Level bands, and in each what lies inside the hull of a sample for certain. `V` is how it sees
/// points: as they are, or with x and y exchanged, which makes the bands upright.
struct Filter<T, V> {
    view: V,
    low: T,
    middle: T,
    /// Bands for each unit of height.
    scale: f64,
    /// From where to where, along x and relative to `middle`.
    inside: Vec<[f64; 2]>,
}

impl<T: Coordinate, V: Fn(Point<T>) -> Point<T>> Filter<T, V> {
    fn new(points: &[Point<T>], view: V) -> Option<Filter<T, V>> {
        if points.len() < SMALLEST_FILTERED {
            return None;
        }
        let mut sample: Vec<Point<T>> = points.iter().step_by(SAMPLED).map(|p| view(*p)).collect();
        sample.sort_unstable_by(by_height);
        let [right, left] = [Side::Left, Side::Right].map(|turning| chain(&sample, turning, false, Comparison::Exact));
        let (first, last) = (*right.first()?, *right.last()?);
        let (low, middle) = (first.y, first.x);
        let height = last.y.offset(low);
        let scale = BANDS as f64 / height;
        if !(height > 0.0 && scale.is_finite()) {
            return None;
        }
        // Offsets and band numbers are wrong by a few roundings of the whole height and width. By
        // this share of them borders are drawn in: a million times more.
        let wide = right
            .iter()
            .chain(&left)
            .fold(0.0_f64, |wide, p| wide.max(p.x.offset(middle).abs()));
        let margin = 1e-9 * wide;
        // Where a side is at every edge between bands: a bit below (even places), and a bit above (odd).
        let borders = |chain: &[Point<T>]| -> Vec<f64> {
            let mut at = 0;
            let mut borders = Vec::with_capacity(2 * BANDS + 2);
            for edge in 0..=BANDS {
                for bit in [-1e-6, 1e-6] {
                    let y = (edge as f64 + bit) / scale;
                    while at + 2 < chain.len() && chain[at + 1].y.offset(low) < y {
                        at += 1;
                    }
                    let (p, q) = (chain[at], chain[at + 1]);
                    let (from, to) = (p.y.offset(low), q.y.offset(low));
                    let outside = y < 0.0 || y > height;
                    let share = if to > from {
                        ((y - from) / (to - from)).clamp(0.0, 1.0)
                    } else {
                        0.0
                    };
                    let x = p.x.offset(middle) + share * q.x.offset(p.x);
                    borders.push(if outside { f64::NAN } else { x });
                }
            }
            borders
        };
        let (right, left) = (borders(&right), borders(&left));
        // Both sides bulge outwards, so within a band they are farther out than at one of its ends.
        let inside = (0..BANDS)
            .map(|band| {
                let (lower, upper) = (2 * band, 2 * (band + 1) + 1);
                // The first band and the last reach beyond the sample. NaN drops nothing: no comparison
                // with it holds.
                if left[lower].is_nan() || left[upper].is_nan() {
                    return [f64::NAN; 2];
                }
                [
                    left[lower].max(left[upper]) + margin,
                    right[lower].min(right[upper]) - margin,
                ]
            })
            .collect();
        Some(Filter {
            view,
            low,
            middle,
            scale,
            inside,
        })
    }

    /// Whether the point is inside for certain.
    #[inline]
    fn is_inside(&self, point: Point<T>) -> bool {
        let seen = (self.view)(point);
        // Below and above all bands it is the first and the last, which hold nothing for certain.
        let band = (seen.y.offset(self.low) * self.scale) as usize;
        let [from, to] = self.inside[band.min(BANDS - 1)];
        let x = seen.x.offset(self.middle);
        // A product and no `&&`: the second comparison is not jumped over.
        usize::from(from < x) * usize::from(x < to) == 1
    }

    /// The points that are not inside for certain.
    fn outside(&self, points: &[Point<T>]) -> Vec<Point<T>> {
        let mut left = vec![Point::default(); 256];
        let mut count = 0;
        for block in points.chunks(256) {
            if left.len() < count + block.len() {
                left.resize((2 * left.len()).min(count + points.len()), Point::default());
            }
            let room = &mut left[count..count + block.len()];
            let mut kept = 0;
            for point in block {
                // Written everywhere, counted where it stays: no branch to guess wrong.
                room[kept] = *point;
                kept += 1 - usize::from(self.is_inside(*point));
            }
            count += kept;
        }
        left.truncate(count);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    fn hull(points: &[[i64; 2]], keep_collinear: bool) -> Vec<[i64; 2]> {
        let points: Vec<_> = points.iter().map(|[x, y]| Point::new(*x, *y)).collect();
        let hull = convex_hull(&points, keep_collinear, Comparison::Exact, &Sequential);
        let as_f64: Vec<_> = points.iter().map(|p| Point::new(p.x as f64, p.y as f64)).collect();
        let in_f64 = convex_hull(&as_f64, keep_collinear, Comparison::Exact, &Sequential);
        assert_eq!(
            in_f64,
            hull.iter()
                .map(|p| Point::new(p.x as f64, p.y as f64))
                .collect::<Vec<_>>()
        );
        hull.iter().map(|p| [p.x, p.y]).collect()
    }

    /// By definition: a corner is a point that no two or three others have between them; an edge's
    /// point has two. In order of angle about the first.
    fn by_definition(points: &[[i64; 2]], keep_collinear: bool) -> Vec<[i64; 2]> {
        let mut distinct: Vec<[i64; 2]> = points.to_vec();
        distinct.sort_unstable_by_key(|[x, y]| (*y, *x));
        distinct.dedup();
        let cross =
            |a: [i64; 2], b: [i64; 2], c: [i64; 2]| (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        let between = |a: [i64; 2], b: [i64; 2], p: [i64; 2]| {
            cross(a, b, p) == 0 && (a[0] - p[0]) * (b[0] - p[0]) + (a[1] - p[1]) * (b[1] - p[1]) < 0
        };
        let all = distinct.clone();
        let inside = |p: [i64; 2], strictly: bool| {
            all.iter().any(|a| {
                all.iter().any(|b| {
                    (!strictly && between(*a, *b, p))
                        || all
                            .iter()
                            .any(|c| cross(*a, *b, p) > 0 && cross(*b, *c, p) > 0 && cross(*c, *a, p) > 0)
                        || strictly
                            && between(*a, *b, p)
                            && all.iter().any(|c| cross(*a, *b, *c) > 0)
                            && all.iter().any(|c| cross(*a, *b, *c) < 0)
                })
            })
        };
        let kept: Vec<[i64; 2]> = distinct
            .iter()
            .copied()
            .filter(|p| !inside(*p, keep_collinear))
            .collect();
        let Some(&first) = kept.first() else { return kept };
        let Some(&last) = kept.last() else { return kept };
        // Right side upwards, left side downwards.
        let mut around: Vec<[i64; 2]> = kept
            .iter()
            .copied()
            .filter(|p| *p == first || *p == last || cross(first, last, *p) < 0)
            .collect();
        let line = kept.iter().all(|p| cross(first, last, *p) == 0);
        if line {
            return kept;
        }
        // Points on the chord from first to last belong to the side that has no other points.
        let chord = |p: &[i64; 2]| *p != first && *p != last && cross(first, last, *p) == 0;
        if around.len() <= 2 {
            around = kept.iter().copied().filter(|p| cross(first, last, *p) <= 0).collect();
        }
        let strictly_left = kept.iter().any(|p| cross(first, last, *p) > 0);
        around.extend(
            kept.iter()
                .rev()
                .copied()
                .filter(|p| cross(first, last, *p) > 0 || (!strictly_left && chord(p))),
        );
        around
    }

    #[test]
    fn small_hulls() {
        for (points, corners, with_collinear) in [
            (&[][..], &[][..], &[][..]),
            (&[[3, 4]], &[[3, 4]], &[[3, 4]]),
            (&[[3, 4], [3, 4], [3, 4]], &[[3, 4]], &[[3, 4]]),
            (&[[5, 5], [1, 1], [3, 3]], &[[1, 1], [5, 5]], &[[1, 1], [3, 3], [5, 5]]),
            (
                &[[5, 1], [1, 1], [3, 1], [3, 1]],
                &[[1, 1], [5, 1]],
                &[[1, 1], [3, 1], [5, 1]],
            ),
            (
                &[[0, 0], [2, 0], [1, 0], [2, 2], [0, 2], [1, 1], [0, 1], [2, 0]],
                &[[0, 0], [2, 0], [2, 2], [0, 2]],
                &[[0, 0], [1, 0], [2, 0], [2, 2], [0, 2], [0, 1]],
            ),
            (
                &[[4, 0], [0, 0], [2, 3]],
                &[[0, 0], [4, 0], [2, 3]],
                &[[0, 0], [4, 0], [2, 3]],
            ),
        ] {
            assert_eq!(hull(points, false), corners);
            assert_eq!(hull(points, true), with_collinear);
        }
    }

    #[test]
    fn the_ends_of_the_range_are_corners() {
        let (least, most) = (i64::MIN, i64::MAX);
        let points = [[least, least], [most, least], [most, most], [0, 0], [1, 0]].map(|[x, y]| Point::new(x, y));
        let hull = convex_hull(&points, true, Comparison::Exact, &Sequential);
        // (0, 0) is on the diagonal, (1, 0) is not.
        assert_eq!(hull, points[..4]);
        // One unit off the diagonal, where f64 can't tell.
        let points = [[least, least], [most, most], [most - 1, most]].map(|[x, y]| Point::new(x, y));
        assert_eq!(convex_hull(&points, false, Comparison::Exact, &Sequential).len(), 3);
    }

    #[test]
    fn zero_and_minus_zero_are_one_number() {
        let points = [[-0.0, 0.0], [0.0, -0.0], [1.0, -0.0]].map(|[x, y]| Point::new(x, y));
        let hull = convex_hull(&points, true, Comparison::Exact, &Sequential);
        assert_eq!(hull.len(), 2);
        assert!(hull.iter().all(|p| p.x.is_sign_positive() && p.y.is_sign_positive()));
    }

    /// Many points of a kind: what the filter and the forks drop must not be missed.
    #[test]
    fn the_filter_loses_nothing() {
        let mut random = Random::new(5, 0);
        let mut unit = || random.below(1 << 52) as f64 / (1_u64 << 52) as f64 * 2.0 - 1.0;
        for kind in 0..7 {
            let points: Vec<Point> = (0..150_000)
                .map(|at| {
                    let (x, y) = (unit(), unit());
                    match kind {
                        0 => Point::new(x, y),
                        1 => Point::new(x, y) * (1.0 / x.hypot(y)),
                        2 => Point::new((x * 8.0).floor(), (y * 200.0).floor()),
                        3 => Point::new(x * 1e-20, 1e15 + y),
                        4 => Point::new(1e15 + x, y * 1e-20),
                        5 => Point::new(x, x * 0.3 + if at % 1000 == 0 { y } else { 0.0 }),
                        _ => Point::new(x, y) * (1e-6_f64).powf(y.abs() * 20.0),
                    }
                })
                .collect();
            for keep in [false, true] {
                let mut sorted = points.clone();
                sorted.sort_unstable_by(by_height);
                sorted.dedup();
                let expected = around(&sorted, keep, Comparison::Exact, &Sequential);
                let found = convex_hull(&points, keep, Comparison::Exact, &Sequential);
                assert_eq!(found, expected, "kind {kind}");
                assert_eq!(
                    convex_hull(&points, keep, Comparison::Exact, &OnThreads(2)),
                    expected,
                    "kind {kind} forked"
                );
                // An eps may keep other corners, but the same ones on any number of threads.
                let by_eps = convex_hull(&points, keep, Comparison::Eps(1e-9), &Sequential);
                assert_eq!(convex_hull(&points, keep, Comparison::Eps(1e-9), &OnThreads(2)), by_eps);
            }
        }
    }

    proptest! {
        #[test]
        fn hulls_are_those_of_the_definition(points in proptest::collection::vec(proptest::array::uniform2(0..7_i64), 0..14), keep in any::<bool>()) {
            prop_assert_eq!(hull(&points, keep), by_definition(&points, keep));
        }
    }
}
