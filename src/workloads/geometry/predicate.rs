//! On which side, how far, within which circle: by the textbook's eps, or exactly.
//!
//! Every exact answer is the sign of a polynomial in differences of coordinates. A difference of two
//! f64 or of two i64 is exactly a sum of two f64 ([`Coordinate::minus`]), so one code serves both:
//! evaluate in f64; if the value is farther from 0 than its error bound (Shewchuk 1997), that is
//! the sign; else evaluate without any loss ([`expansion`](super::expansion)). Exact means: for the coordinates as they
//! are given; the nearest f64 to 0.1 is not 0.1. Products must neither overflow nor vanish, so
//! coordinates other than 0 must lie from 2^-142 to 2^201 in magnitude, Shewchuk's own condition.

use std::cmp::Ordering;
use std::fmt::Debug;

use super::Point;
use super::expansion::{Double, Expansion, two_product, two_sum};

/// The least magnitude but 0 of a coordinate for which predicates are exact: 2^-142.
pub const LEAST_COORDINATE: f64 = 1.793_662_034_335_766e-43;
/// The greatest magnitude: 2^201.
pub const GREATEST_COORDINATE: f64 = 3.213_876_088_517_980_6e60;

/// Half a unit in the last place of 1.
const ROUNDING: f64 = f64::EPSILON / 2.0;
const SIDE_BOUND: f64 = (3.0 + 16.0 * ROUNDING) * ROUNDING;
const CIRCLE_BOUND: f64 = (10.0 + 96.0 * ROUNDING) * ROUNDING;

/// How near to zero counts as zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// The textbook's: a cross product within `eps` of 0 is 0.
    Eps(f64),
    /// The sign of the real-number value of the coordinates as they are.
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Counter-clockwise.
    Left,
    On,
    Right,
}

impl Side {
    fn of(sign: Ordering) -> Side {
        match sign {
            Ordering::Greater => Side::Left,
            Ordering::Equal => Side::On,
            Ordering::Less => Side::Right,
        }
    }

    pub fn opposite(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::On => Side::On,
            Side::Right => Side::Left,
        }
    }
}

/// A number that points are made of: f64, or i64 over its whole range.
pub trait Coordinate: Copy + PartialOrd + Debug + Default + Send + Sync + 'static {
    /// The difference as the sum of its rounded value and the rest: exact.
    fn minus(self, other: Self) -> (f64, f64);

    /// The difference, rounded once. Never smaller for a greater `self`.
    fn offset(self, from: Self) -> f64;

    fn to_f64(self) -> f64;

    /// Bits that are equal exactly for equal numbers.
    fn bits(self) -> u64;

    /// -0.0 made 0.0: equal numbers, made alike to the bit.
    fn plain(self) -> Self;

    /// About `self` + `offset`, which the caller keeps within the range.
    fn moved(self, offset: f64) -> Self;

    /// Where `c` lies, seen along the line from `a` to `b`: exact.
    fn side(a: Point<Self>, b: Point<Self>, c: Point<Self>) -> Side {
        Side::of(cross_sign(c, a, c, b))
    }

    /// Greater: `p` lies within the circle through `a`, `b`, `c`, which turn counter-clockwise;
    /// Equal: on it. Exact.
    fn circle(a: Point<Self>, b: Point<Self>, c: Point<Self>, p: Point<Self>) -> Ordering {
        circle_roughly(a, b, c, p).unwrap_or_else(|| {
            let [u, v, w] = [a, b, c].map(|point| exact_vector(p, point));
            let term = |lifted: &[Expansion; 2], q: &[Expansion; 2], r: &[Expansion; 2]| {
                &exact_dot(lifted, lifted) * &exact_cross(q, r)
            };
            (&(&term(&u, &v, &w) + &term(&v, &w, &u)) + &term(&w, &u, &v)).sign()
        })
    }
}

impl Coordinate for f64 {
    fn minus(self, other: f64) -> (f64, f64) {
        two_sum(self, -other)
    }

    fn offset(self, from: f64) -> f64 {
        self - from
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn bits(self) -> u64 {
        (self + 0.0).to_bits()
    }

    fn plain(self) -> f64 {
        self + 0.0
    }

    fn moved(self, offset: f64) -> f64 {
        self + offset
    }

    #[inline]
    fn side(a: Point, b: Point, c: Point) -> Side {
        let left = (a.x - c.x) * (b.y - c.y);
        let right = (a.y - c.y) * (b.x - c.x);
        let value = left - right;
        let bound = SIDE_BOUND * (left.abs() + right.abs());
        if value > bound {
            return Side::Left;
        }
        if value < -bound {
            return Side::Right;
        }
        side_adaptively(a, b, c)
    }

    fn circle(a: Point, b: Point, c: Point, p: Point) -> Ordering {
        circle_roughly(a, b, c, p).unwrap_or_else(|| {
            let value = robust::incircle(coord(a), coord(b), coord(c), coord(p));
            value.partial_cmp(&0.0).unwrap_or(Ordering::Equal)
        })
    }
}

/// Shewchuk's own steps, by the `robust` crate: they look no closer than they must.
#[cold]
#[inline(never)]
fn side_adaptively(a: Point, b: Point, c: Point) -> Side {
    let value = robust::orient2d(coord(a), coord(b), coord(c));
    Side::of(value.partial_cmp(&0.0).unwrap_or(Ordering::Equal))
}

fn coord(p: Point) -> robust::Coord<f64> {
    robust::Coord { x: p.x, y: p.y }
}

impl Coordinate for i64 {
    fn minus(self, other: i64) -> (f64, f64) {
        let difference = i128::from(self) - i128::from(other);
        let high = difference as f64;
        (high, (difference - high as i128) as f64)
    }

    fn offset(self, from: i64) -> f64 {
        (i128::from(self) - i128::from(from)) as f64
    }

    fn to_f64(self) -> f64 {
        self as f64
    }

    fn bits(self) -> u64 {
        self as u64
    }

    fn plain(self) -> i64 {
        self
    }

    fn moved(self, offset: f64) -> i64 {
        // As i128: an offset may be up to 2^64.
        (i128::from(self) + offset as i128).clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    fn side(a: Point<i64>, b: Point<i64>, c: Point<i64>) -> Side {
        let less = |p: i64, q: i64| i128::from(p) - i128::from(q);
        Side::of(compare_products(
            [less(b.x, a.x), less(c.y, a.y)],
            [less(b.y, a.y), less(c.x, a.x)],
        ))
    }
}

/// p[0] p[1] against q[0] q[1] of factors below 2^64: a product may take 128 bits and a sign.
fn compare_products(p: [i128; 2], q: [i128; 2]) -> Ordering {
    let signed = |[a, b]: [i128; 2]| {
        let magnitude = a.unsigned_abs() * b.unsigned_abs();
        (magnitude != 0 && (a < 0) != (b < 0), magnitude)
    };
    match (signed(p), signed(q)) {
        ((false, p), (false, q)) => p.cmp(&q),
        ((true, p), (true, q)) => q.cmp(&p),
        ((true, _), (false, _)) => Ordering::Less,
        ((false, _), (true, _)) => Ordering::Greater,
    }
}

impl Comparison {
    /// Where `c` lies, seen along the line from `a` to `b`.
    #[inline]
    pub fn side<T: Coordinate>(self, a: Point<T>, b: Point<T>, c: Point<T>) -> Side {
        match self {
            Comparison::Exact => T::side(a, b, c),
            Comparison::Eps(eps) => {
                let value = rounded_vector(a, b).cross(rounded_vector(a, c));
                if value > eps {
                    Side::Left
                } else if value < -eps {
                    Side::Right
                } else {
                    Side::On
                }
            }
        }
    }
}

pub(super) fn rounded_vector<T: Coordinate>(from: Point<T>, to: Point<T>) -> Point {
    Point::new(to.x.offset(from.x), to.y.offset(from.y))
}

/// The vector from `from` to `to`, exactly.
pub(super) fn exact_vector<T: Coordinate>(from: Point<T>, to: Point<T>) -> [Expansion; 2] {
    [to.x.minus(from.x).into(), to.y.minus(from.y).into()]
}

/// The vector from `from` to `to`, to 32 digits.
pub(super) fn double_vector<T: Coordinate>(from: Point<T>, to: Point<T>) -> [Double; 2] {
    [to.x.minus(from.x).into(), to.y.minus(from.y).into()]
}

pub(super) fn exact_cross(p: &[Expansion; 2], q: &[Expansion; 2]) -> Expansion {
    &(&p[0] * &q[1]) - &(&p[1] * &q[0])
}

pub(super) fn exact_dot(p: &[Expansion; 2], q: &[Expansion; 2]) -> Expansion {
    &(&p[0] * &q[0]) + &(&p[1] * &q[1])
}

fn settled(value: f64, bound: f64) -> Option<Ordering> {
    if value > bound {
        Some(Ordering::Greater)
    } else if value < -bound {
        Some(Ordering::Less)
    } else {
        None
    }
}

/// The sign of the cross product of the vectors a to b and c to d.
#[inline]
pub(super) fn cross_sign<T: Coordinate>(a: Point<T>, b: Point<T>, c: Point<T>, d: Point<T>) -> Ordering {
    let (p, q) = (rounded_vector(a, b), rounded_vector(c, d));
    let (left, right) = (p.x * q.y, p.y * q.x);
    settled(left - right, SIDE_BOUND * (left.abs() + right.abs()))
        .unwrap_or_else(|| exact_cross(&exact_vector(a, b), &exact_vector(c, d)).sign())
}

/// The sign of the dot product of the vectors a to b and c to d.
pub(super) fn dot_sign<T: Coordinate>(a: Point<T>, b: Point<T>, c: Point<T>, d: Point<T>) -> Ordering {
    let (p, q) = (rounded_vector(a, b), rounded_vector(c, d));
    let (left, right) = (p.x * q.x, p.y * q.y);
    settled(left + right, SIDE_BOUND * (left.abs() + right.abs()))
        .unwrap_or_else(|| exact_dot(&exact_vector(a, b), &exact_vector(c, d)).sign())
}

/// The square of the distance: a relative error of at most 4 roundings.
#[inline]
pub(super) fn square_distance<T: Coordinate>(a: Point<T>, b: Point<T>) -> f64 {
    let vector = rounded_vector(a, b);
    vector.dot(vector)
}

/// The distance, to the last digit or almost.
pub(super) fn distance<T: Coordinate>(a: Point<T>, b: Point<T>) -> f64 {
    let [x, y] = double_vector(a, b);
    (x * x + y * y).sqrt().value()
}

/// Whether the first two points are nearer to each other than the second two: exact.
pub(super) fn compare_distances<T: Coordinate>([a, b]: [Point<T>; 2], [c, d]: [Point<T>; 2]) -> Ordering {
    let (p, q) = (square_distance(a, b), square_distance(c, d));
    settled(p - q, 8.0 * ROUNDING * (p + q))
        .or_else(|| lossless_square(a, b)?.partial_cmp(&lossless_square(c, d)?))
        .unwrap_or_else(|| {
            let (p, q) = (exact_vector(a, b), exact_vector(c, d));
            (&exact_dot(&p, &p) - &exact_dot(&q, &q)).sign()
        })
}

/// The square of the distance where nothing is lost on the way but in the last sum: for whole
/// numbers of moderate size, where equal distances are common. Rounding is monotonic, so such
/// pairs compare part by part.
fn lossless_square<T: Coordinate>(a: Point<T>, b: Point<T>) -> Option<(f64, f64)> {
    let ((x, x_lost), (y, y_lost)) = (b.x.minus(a.x), b.y.minus(a.y));
    let ((xx, xx_lost), (yy, yy_lost)) = (two_product(x, x), two_product(y, y));
    (x_lost == 0.0 && y_lost == 0.0 && xx_lost == 0.0 && yy_lost == 0.0).then(|| two_sum(xx, yy))
}

/// [`Coordinate::circle`], if f64 can tell, or two of them.
fn circle_roughly<T: Coordinate>(a: Point<T>, b: Point<T>, c: Point<T>, p: Point<T>) -> Option<Ordering> {
    let [u, v, w] = [a, b, c].map(|point| rounded_vector(p, point));
    let (mut value, mut size) = (0.0, 0.0);
    for (lifted, q, r) in [(u, v, w), (v, w, u), (w, u, v)] {
        let (left, right) = (q.x * r.y, q.y * r.x);
        value += lifted.dot(lifted) * (left - right);
        size += lifted.dot(lifted) * (left.abs() + right.abs());
    }
    settled(value, CIRCLE_BOUND * size).or_else(|| circle_closely(a, b, c, p, size))
}

/// In two parts: many points that were rounded onto one circle are told apart by it.
#[cold]
fn circle_closely<T: Coordinate>(a: Point<T>, b: Point<T>, c: Point<T>, p: Point<T>, size: f64) -> Option<Ordering> {
    let [u, v, w] = [a, b, c].map(|point| double_vector(p, point));
    let term = |lifted: [Double; 2], q: [Double; 2], r: [Double; 2]| {
        (lifted[0] * lifted[0] + lifted[1] * lifted[1]) * (q[0] * r[1] - q[1] * r[0])
    };
    let value = term(u, v, w) + term(v, w, u) + term(w, u, v);
    // Each of a dozen operations is off by a few 2^-104 of what it handles; with a lot to spare.
    settled(value.value(), 2.0_f64.powi(-94) * size)
}

/// By y, then by x: the order in which the hull begins.
#[inline]
pub(super) fn by_height<T: Coordinate>(a: &Point<T>, b: &Point<T>) -> Ordering {
    // Coordinates are numbers, so they can always be compared.
    match a.y.partial_cmp(&b.y) {
        Some(Ordering::Equal) | None => a.x.partial_cmp(&b.x).unwrap_or(Ordering::Equal),
        Some(order) => order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(x: i64, y: i64) -> Point<i64> {
        Point::new(x, y)
    }

    #[test]
    fn a_point_off_the_line_by_one_unit_at_the_ends_of_the_range_is_told() {
        let (a, b) = (near(i64::MIN, i64::MIN), near(i64::MAX, i64::MAX));
        assert_eq!(Comparison::Exact.side(a, b, near(7, 7)), Side::On);
        assert_eq!(Comparison::Exact.side(a, b, near(7, 8)), Side::Left);
        assert_eq!(Comparison::Exact.side(a, b, near(8, 7)), Side::Right);
        assert_eq!(
            Comparison::Exact.side(near(i64::MAX, i64::MIN), near(i64::MIN, i64::MAX), near(0, -1)),
            Side::On
        );
    }

    #[test]
    fn eps_and_exact_differ_where_the_textbook_errs() {
        // Kettner and others, "Classroom examples of robustness problems" (2008): the plain cross
        // product of these is 0 or of the wrong sign for neighbouring f64.
        let (b, c) = (Point::new(12.0, 12.0), Point::new(24.0, 24.0));
        let a = Point::new(0.5 + f64::EPSILON / 2.0, 0.5);
        assert_eq!(Comparison::Exact.side(b, c, a), Side::Right);
        assert_eq!(Comparison::Eps(1e-9).side(b, c, a), Side::On);
    }

    fn exactly(a: Point<i64>, b: Point<i64>, c: Point<i64>, d: Point<i64>) -> (Ordering, Ordering, Ordering) {
        let less = |p: i64, q: i64| i128::from(p) - i128::from(q);
        let ([px, py], [qx, qy]) = ([less(b.x, a.x), less(b.y, a.y)], [less(d.x, c.x), less(d.y, c.y)]);
        (
            (px * qy - py * qx).cmp(&0),
            (px * qx + py * qy).cmp(&0),
            (px * px + py * py).cmp(&(qx * qx + qy * qy)),
        )
    }

    proptest! {
        #[test]
        fn signs_are_those_of_whole_numbers(
            small in proptest::array::uniform8(-3..3_i64),
            large in proptest::array::uniform8(-(1_i64 << 61)..1 << 61),
            factor in 0..2_i64,
        ) {
            // Close to a line for factor 1: the small numbers alone tell.
            let at = |i: usize| if factor == 1 { (large[0] / 4) * (i as i64 / 2 % 3) + small[i] } else { large[i] };
            let [a, b, c, d] = [0, 2, 4, 6].map(|i| near(at(i), at(i + 1)));
            let (cross, dot, distances) = exactly(a, b, c, d);
            prop_assert_eq!(cross_sign(a, b, c, d), cross);
            prop_assert_eq!(dot_sign(a, b, c, d), dot);
            prop_assert_eq!(compare_distances([a, b], [c, d]), distances);
            prop_assert_eq!(i64::side(a, b, c), Side::of(exactly(a, b, a, c).0));
            prop_assert_eq!(Side::of(cross_sign(a, b, a, c)), i64::side(a, b, c));
        }

        #[test]
        fn circles_are_those_of_whole_numbers(points in proptest::array::uniform8(0..9_i64)) {
            let [a, b, c, p] = [0, 2, 4, 6].map(|i| near(points[i], points[i + 1]));
            let (ux, uy, vx, vy, wx, wy) = (a.x - p.x, a.y - p.y, b.x - p.x, b.y - p.y, c.x - p.x, c.y - p.y);
            let value = (ux * ux + uy * uy) * (vx * wy - vy * wx) + (vx * vx + vy * vy) * (wx * uy - wy * ux)
                + (wx * wx + wy * wy) * (ux * vy - uy * vx);
            let far = |p: Point<i64>| near(p.x * (1 << 58) - (1 << 62), p.y * (1 << 58));
            let tenth = |p: Point<i64>| Point::new(p.x as f64 / 1024.0, p.y as f64 / 1024.0);
            prop_assert_eq!(i64::circle(far(a), far(b), far(c), far(p)), value.cmp(&0));
            prop_assert_eq!(f64::circle(tenth(a), tenth(b), tenth(c), tenth(p)), value.cmp(&0));
        }

        #[test]
        fn sides_are_those_of_the_robust_crate(
            grid in proptest::array::uniform6(0..6_i32),
            ulps in proptest::array::uniform6(0..3_u64),
        ) {
            let at = |i: usize| f64::from_bits((0.1 * f64::from(grid[i]) + 7.3).to_bits() + ulps[i]);
            let [a, b, c] = [0, 2, 4].map(|i| Point::new(at(i), at(i + 1)));
            let turn = robust::orient2d(coord(a), coord(b), coord(c)).partial_cmp(&0.0).unwrap();
            prop_assert_eq!(f64::side(a, b, c), Side::of(turn));
            prop_assert_eq!(cross_sign(c, a, c, b), turn);
        }
    }
}
