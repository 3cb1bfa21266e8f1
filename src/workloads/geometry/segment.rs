//! Lines and segments: where two meet, and how far a point is from one.
//!
//! Whether two segments meet, and in a point or a stretch, is decided by sides alone, so exactly.
//! Where the point is one of the given ends, it is that end; where it is not, its coordinates are
//! worked out to 32 digits and rounded once.

use std::cmp::Ordering;

use super::expansion::Double;
use super::predicate::{
    Comparison, Coordinate, Side, dot_sign, double_vector, exact_cross, exact_vector, rounded_vector,
};
use super::{Point, distance};

/// What two segments have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meeting<T = f64> {
    None,
    /// An end of at least one of them.
    End(Point<T>),
    /// A point within both.
    Crossing(Point),
    /// More than a point: its ends, the left one first (of equal x the lower).
    Overlap([Point<T>; 2]),
}

/// What the segments `a` and `b` have in common; one whose ends are equal is a point.
pub fn segment_intersection<T: Coordinate>(a: [Point<T>; 2], b: [Point<T>; 2], comparison: Comparison) -> Meeting<T> {
    let sides = |line: [Point<T>; 2], of: [Point<T>; 2]| of.map(|point| comparison.side(line[0], line[1], point));
    let (of_a, of_b) = (sides(b, a), sides(a, b));
    let on = [of_a[0], of_a[1], of_b[0], of_b[1]].map(|side| side == Side::On);
    // A point is collinear with any line it lies on; so is one beside it that the other's line
    // meets, and the order along the line tells them apart.
    if on == [true; 4] {
        return collinear(a, b, comparison);
    }
    let apart = |[p, q]: [Side; 2]| p == q && p != Side::On;
    let degenerate = |[p, q]: [Point<T>; 2]| p == q;
    // A single point has every point on its line; the other segment's line must hold it.
    if apart(of_a) || apart(of_b) || degenerate(a) && !on[0] || degenerate(b) && !on[2] {
        return Meeting::None;
    }
    match on.iter().position(|on| *on) {
        Some(at) => Meeting::End([a[0], a[1], b[0], b[1]][at]),
        None => Meeting::Crossing(crossing(a, b, comparison)),
    }
}

fn collinear<T: Coordinate>(a: [Point<T>; 2], b: [Point<T>; 2], comparison: Comparison) -> Meeting<T> {
    let (a, b) = (from_the_left(a), from_the_left(b));
    let first = if along(&a[0], &b[0]).is_lt() { b[0] } else { a[0] };
    let last = if along(&b[1], &a[1]).is_lt() { b[1] } else { a[1] };
    let near = match comparison {
        Comparison::Exact => first == last,
        Comparison::Eps(eps) => rounded_vector(first, last).length() <= eps,
    };
    if near {
        Meeting::End(first)
    } else if along(&first, &last).is_lt() {
        Meeting::Overlap([first, last])
    } else {
        Meeting::None
    }
}

fn along<T: Coordinate>(p: &Point<T>, q: &Point<T>) -> Ordering {
    (p.x, p.y).partial_cmp(&(q.x, q.y)).unwrap_or(Ordering::Equal)
}

fn from_the_left<T: Coordinate>([p, q]: [Point<T>; 2]) -> [Point<T>; 2] {
    if along(&q, &p).is_lt() { [q, p] } else { [p, q] }
}

/// Where the lines of `a` and `b` cross, which must not be parallel.
fn crossing<T: Coordinate>(a: [Point<T>; 2], b: [Point<T>; 2], comparison: Comparison) -> Point {
    let start = Point::new(a[0].x.to_f64(), a[0].y.to_f64());
    if let Comparison::Eps(_) = comparison {
        let (along_a, along_b) = (rounded_vector(a[0], a[1]), rounded_vector(b[0], b[1]));
        let share = rounded_vector(a[0], b[0]).cross(along_b) / along_a.cross(along_b);
        return start + along_a * share;
    }
    let (along_a, along_b) = (exact_vector(a[0], a[1]), exact_vector(b[0], b[1]));
    let share = exact_cross(&exact_vector(a[0], b[0]), &along_b).rounded() / exact_cross(&along_a, &along_b).rounded();
    let [x, y] = double_vector(a[0], a[1]);
    let place = |from: T, along: Double| (Double::from(from.minus(T::default())) + along * share).value();
    Point::new(place(a[0].x, x), place(a[0].y, y))
}

/// What two lines have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LineMeeting {
    Parallel,
    Point(Point),
    Same,
}

/// Where the lines through `a` and through `b` meet. The two points of each must differ.
pub fn line_intersection<T: Coordinate>(a: [Point<T>; 2], b: [Point<T>; 2], comparison: Comparison) -> LineMeeting {
    let parallel = match comparison {
        Comparison::Exact => super::predicate::cross_sign(a[0], a[1], b[0], b[1]) == Ordering::Equal,
        Comparison::Eps(eps) => rounded_vector(a[0], a[1]).cross(rounded_vector(b[0], b[1])).abs() <= eps,
    };
    if !parallel {
        LineMeeting::Point(crossing(a, b, comparison))
    } else if comparison.side(a[0], a[1], b[0]) == Side::On {
        LineMeeting::Same
    } else {
        LineMeeting::Parallel
    }
}

/// How far `point` is from the line through `line`, whose points must differ: positive on its left.
pub fn line_distance<T: Coordinate>(line: [Point<T>; 2], point: Point<T>) -> f64 {
    let cross = exact_cross(&exact_vector(line[0], line[1]), &exact_vector(line[0], point)).rounded();
    (cross / length(line)).value()
}

/// The point of the line through `line` that is nearest to `point`.
pub fn foot<T: Coordinate>(line: [Point<T>; 2], point: Point<T>) -> Point {
    let ([x, y], [px, py]) = (double_vector(line[0], line[1]), double_vector(line[0], point));
    let share = (x * px + y * py) / (x * x + y * y);
    let place = |from: T, along: Double| (Double::from(from.minus(T::default())) + along * share).value();
    Point::new(place(line[0].x, x), place(line[0].y, y))
}

/// How far `point` is from the segment, and the segment's point nearest to it.
pub fn segment_distance<T: Coordinate>([a, b]: [Point<T>; 2], point: Point<T>) -> (f64, Point) {
    let as_f64 = |p: Point<T>| Point::new(p.x.to_f64(), p.y.to_f64());
    if a == b || dot_sign(a, b, a, point) != Ordering::Greater {
        return (distance(a, point), as_f64(a));
    }
    if dot_sign(b, a, b, point) != Ordering::Greater {
        return (distance(b, point), as_f64(b));
    }
    (line_distance([a, b], point).abs(), foot([a, b], point))
}

fn length<T: Coordinate>([a, b]: [Point<T>; 2]) -> Double {
    let [x, y] = double_vector(a, b);
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(ends: [i64; 4]) -> [Point<i64>; 2] {
        [Point::new(ends[0], ends[1]), Point::new(ends[2], ends[3])]
    }

    fn meet(a: [i64; 4], b: [i64; 4]) -> Meeting<i64> {
        segment_intersection(segment(a), segment(b), Comparison::Exact)
    }

    #[test]
    fn every_kind_of_meeting() {
        let end = |x, y| Meeting::End(Point::new(x, y));
        let overlap = |ends: [i64; 4]| Meeting::Overlap(segment(ends));
        for (what, a, b, expected) in [
            (
                "crossing",
                [0, 0, 4, 4],
                [0, 4, 4, 0],
                Meeting::Crossing(Point::new(2.0, 2.0)),
            ),
            (
                "not whole",
                [0, 0, 3, 3],
                [0, 1, 1, 0],
                Meeting::Crossing(Point::new(0.5, 0.5)),
            ),
            ("an end within", [0, 0, 4, 0], [2, 0, 2, 5], end(2, 0)),
            ("two ends", [0, 0, 4, 0], [4, 0, 9, 5], end(4, 0)),
            (
                "lines cross, segments do not",
                [0, 0, 1, 1],
                [0, 9, 9, 0],
                Meeting::None,
            ),
            ("beside the end", [0, 0, 4, 0], [5, -1, 5, 1], Meeting::None),
            ("parallel", [0, 0, 4, 0], [0, 1, 4, 1], Meeting::None),
            ("collinear, apart", [0, 0, 1, 1], [2, 2, 3, 3], Meeting::None),
            ("collinear, end to end", [0, 0, 1, 1], [3, 3, 1, 1], end(1, 1)),
            ("overlap", [4, 4, 0, 0], [2, 2, 9, 9], overlap([2, 2, 4, 4])),
            (
                "one within the other",
                [0, 9, 0, 0],
                [0, 2, 0, 3],
                overlap([0, 2, 0, 3]),
            ),
            ("the same, turned", [0, 0, 3, 1], [3, 1, 0, 0], overlap([0, 0, 3, 1])),
            ("a point within", [0, 0, 4, 2], [2, 1, 2, 1], end(2, 1)),
            ("a point on the line only", [0, 0, 4, 2], [6, 3, 6, 3], Meeting::None),
            ("a point beside", [0, 0, 4, 2], [2, 2, 2, 2], Meeting::None),
            ("the same point", [7, 7, 7, 7], [7, 7, 7, 7], end(7, 7)),
            ("two points", [7, 7, 7, 7], [7, 8, 7, 8], Meeting::None),
        ] {
            assert_eq!(meet(a, b), expected, "{what}");
            assert_eq!(meet(b, a), expected, "{what}, turned");
        }
    }

    #[test]
    fn numbers_beyond_f64_stay_whole() {
        let far = i64::MAX - 1;
        assert_eq!(
            meet([far, far, 0, 0], [far, far, far, 0]),
            Meeting::End(Point::new(far, far))
        );
        assert_eq!(meet([far, far, 0, 0], [far, far - 1, far, 0]), Meeting::None);
        let Meeting::Crossing(at) = meet(
            [i64::MIN, i64::MIN, i64::MAX, i64::MAX],
            [i64::MIN, i64::MAX, i64::MAX, i64::MIN],
        ) else {
            panic!("the diagonals cross");
        };
        assert_eq!(at, Point::new(-0.5, -0.5));
    }

    #[test]
    fn almost_parallel_lines_cross_where_they_do() {
        // y = 0 and a line through (1, 0) that rises one part in 2^50: plain f64 has few digits left.
        let rise = f64::EPSILON;
        let a = [Point::new(0.0, 0.0), Point::new(1e6, 0.0)];
        let b = [Point::new(0.0, -rise / 3.0), Point::new(3.0, -rise / 3.0 + rise)];
        let LineMeeting::Point(at) = line_intersection(a, b, Comparison::Exact) else {
            panic!("not parallel");
        };
        assert!((at.x - 1.0).abs() < 1e-15, "{at:?}");
        assert_eq!(line_intersection(a, b, Comparison::Eps(1e-9)), LineMeeting::Same);
    }

    #[test]
    fn distances_to_lines_and_segments() {
        let line = segment([0, 0, 3, 4]);
        assert_eq!(line_distance(line, Point::new(0, 5)), 3.0);
        assert_eq!(line_distance(line, Point::new(0, -5)), -3.0);
        assert_eq!(foot(line, Point::new(7, 1)), Point::new(3.0, 4.0));
        assert_eq!(segment_distance(line, Point::new(7, 1)), (5.0, Point::new(3.0, 4.0)));
        assert_eq!(segment_distance(line, Point::new(-3, -4)), (5.0, Point::new(0.0, 0.0)));
        assert_eq!(
            segment_distance(segment([1, 1, 1, 1]), Point::new(4, 5)),
            (5.0, Point::new(1.0, 1.0))
        );
    }

    /// The definition, in whole numbers: p + s (q - p) = u + t (v - u) for s and t from 0 to 1.
    fn meets_by_fractions(a: [i64; 4], b: [i64; 4]) -> bool {
        let (dx, dy, ex, ey) = (a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]);
        let (fx, fy) = (b[0] - a[0], b[1] - a[1]);
        let cross = dx * ey - dy * ex;
        if cross != 0 {
            let (s, t) = (fx * ey - fy * ex, fx * dy - fy * dx);
            let within = |value: i64| (0..=cross.abs()).contains(&(value * cross.signum()));
            return within(s) && within(t);
        }
        // Parallel or points: if any two points are common, an end is.
        let on = |s: [i64; 4], x: i64, y: i64| {
            (s[2] - s[0]) * (y - s[1]) == (s[3] - s[1]) * (x - s[0])
                && (s[0].min(s[2])..=s[0].max(s[2])).contains(&x)
                && (s[1].min(s[3])..=s[1].max(s[3])).contains(&y)
        };
        on(a, b[0], b[1]) || on(a, b[2], b[3]) || on(b, a[0], a[1]) || on(b, a[2], a[3])
    }

    proptest! {
        #[test]
        fn segments_meet_exactly_when_fractions_say_so(a in proptest::array::uniform4(-4..5_i64), b in proptest::array::uniform4(-4..5_i64)) {
            let meeting = meet(a, b);
            prop_assert_eq!(meeting != Meeting::None, meets_by_fractions(a, b), "{:?}", meeting);
            let doubled = |s: [i64; 4]| segment(s).map(|p| Point::new(p.x as f64 * 0.1, p.y as f64 * 0.1));
            // The eps comparison agrees on numbers that only just differ from whole tenths.
            let by_eps = segment_intersection(doubled(a), doubled(b), Comparison::Eps(1e-9));
            prop_assert_eq!(by_eps != Meeting::None, meeting != Meeting::None);
            prop_assert_eq!(matches!(by_eps, Meeting::Overlap(_)), matches!(meeting, Meeting::Overlap(_)));
        }
    }
}
