//! What two convex polygons have in common, and their Minkowski sum.
//!
//! A polygon is taken as the convex hull of its points, so it may start anywhere, go either way round and have
//! repeated or collinear points; a point and a segment are polygons too, and so is nothing.

use std::cmp::Ordering;

use super::predicate::{by_height, cross_sign};
use super::{Comparison, Coordinate, Meeting, Point, Side, convex_hull, crossings, segment_intersection};
use crate::Sequential;

/// The corners of what two convex polygons have in common: counter-clockwise from the lowest, then leftmost. One
/// point or the two ends of a segment where they only touch, none when they are apart.
///
/// These are the corners of each that lie in the other, its border included, and the crossings of edges.
/// Which they are is decided exactly; a crossing's coordinates are
/// worked out to 32 digits and rounded once, and a corner that this makes straight is left out. O(n log n).
pub fn convex_intersection(a: &[Point], b: &[Point]) -> Vec<Point> {
    let (a, b) = (hull(a), hull(b));
    let mut corners: Vec<Point> = a.iter().copied().filter(|p| holds(&b, *p)).collect();
    corners.extend(b.iter().filter(|p| holds(&a, **p)));
    corners.extend(edge_crossings(&a, &b));
    hull(&corners)
}

fn hull(points: &[Point]) -> Vec<Point> {
    convex_hull(points, false, Comparison::Exact, &Sequential)
}

/// Whether the point is in the polygon or on its border. Exact; O(log n).
fn holds(polygon: &[Point], p: Point) -> bool {
    let side = |a: Point, b: Point| f64::side(a, b, p);
    match *polygon {
        [] => false,
        [a] => a == p,
        [a, b] => {
            let within = |a: f64, b: f64, p: f64| a.min(b) <= p && p <= a.max(b);
            side(a, b) == Side::On && within(a.x, b.x, p.x) && within(a.y, b.y, p.y)
        }
        [first, ..] => {
            // The fan of triangles at the first corner: the last of its diagonals that p is not right of.
            let diagonals = &polygon[1..];
            let not_left_of = diagonals.partition_point(|corner| side(first, *corner) != Side::Right);
            match not_left_of {
                0 => false,
                // Beyond the last edge, or on it or its line.
                all if all == diagonals.len() => holds(&[first, diagonals[all - 1]], p),
                at => side(diagonals[at - 1], diagonals[at]) != Side::Right,
            }
        }
    }
}

fn edges(polygon: &[Point]) -> impl Iterator<Item = [Point; 2]> {
    // A segment has one edge, a point none.
    let count = if polygon.len() > 2 {
        polygon.len()
    } else {
        polygon.len().saturating_sub(1)
    };
    (0..count).map(|i| [polygon[i], polygon[(i + 1) % polygon.len()]])
}

/// Where an edge of one passes through an edge of the other. Ends on edges don't count: they are corners inside.
fn edge_crossings(a: &[Point], b: &[Point]) -> Vec<Point> {
    let all: Vec<[Point; 2]> = edges(a).chain(edges(b)).collect();
    let of_a = edges(a).count() as u32;
    crossings(&all, &Sequential)
        .into_iter()
        .filter(|(i, j)| *i < of_a && *j >= of_a)
        .filter_map(
            |(i, j)| match segment_intersection(all[i as usize], all[j as usize], Comparison::Exact) {
                Meeting::Crossing(at) => Some(at),
                _ => None,
            },
        )
        .collect()
}

/// All sums of a point of `a` and a point of `b`: the edges of both in the order of their directions, compared exactly.
/// Counter-clockwise from the lowest, then leftmost. Each coordinate is rounded once. O(n log n), O(n) once both are hulls.
pub fn minkowski_sum(a: &[Point], b: &[Point]) -> Vec<Point> {
    let (a, b) = (hull(a), hull(b));
    if a.is_empty() || b.is_empty() {
        return Vec::new();
    }
    let mut sum = Vec::with_capacity(a.len() + b.len());
    // How many edges of each are done. A polygon of one point has an edge that goes nowhere: none.
    let (mut i, mut j) = (0, 0);
    let edges = |polygon: &[Point]| if polygon.len() > 1 { polygon.len() } else { 0 };
    let corner = |polygon: &[Point], at: usize| polygon[at % polygon.len()];
    loop {
        sum.push(corner(&a, i) + corner(&b, j));
        let order = match (i < edges(&a), j < edges(&b)) {
            (false, false) => break,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => by_direction([corner(&a, i), corner(&a, i + 1)], [corner(&b, j), corner(&b, j + 1)]),
        };
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    // The last edge has come back to the start, and corners may have become one in rounding.
    sum.pop();
    if sum.is_empty() {
        sum.push(a[0] + b[0]);
    }
    sum.dedup();
    sum
}

/// Directions from right (0) counter-clockwise to less than a whole turn.
fn by_direction([a, b]: [Point; 2], [c, d]: [Point; 2]) -> Ordering {
    let falls = |from: &Point, to: &Point| by_height(from, to) == Ordering::Greater;
    falls(&a, &b)
        .cmp(&falls(&c, &d))
        .then_with(|| cross_sign(a, b, c, d).reverse())
}

#[cfg(test)]
mod tests {
    use super::super::polygon_area;
    use super::*;
    use crate::random::Random;
    use proptest::prelude::*;

    fn whole(points: &[(i32, i32)]) -> Vec<Point> {
        points
            .iter()
            .map(|(x, y)| Point::new(f64::from(*x), f64::from(*y)))
            .collect()
    }

    #[test]
    fn squares_apart_touching_overlapping_and_within() {
        let square = |x: i32, y: i32, side: i32| whole(&[(x, y), (x + side, y), (x + side, y + side), (x, y + side)]);
        let unit = square(0, 0, 4);
        for (other, common) in [
            (square(9, 9, 4), vec![]),
            (square(4, 4, 4), vec![(4, 4)]),
            (square(4, 1, 4), vec![(4, 1), (4, 4)]),
            (square(2, 3, 4), vec![(2, 3), (4, 3), (4, 4), (2, 4)]),
            (square(1, 1, 2), vec![(1, 1), (3, 1), (3, 3), (1, 3)]),
            (square(0, 0, 4), vec![(0, 0), (4, 0), (4, 4), (0, 4)]),
            (square(-1, -1, 9), vec![(0, 0), (4, 0), (4, 4), (0, 4)]),
            // A diamond that cuts all corners off, a segment through, a point in, nothing.
            (
                whole(&[(2, -1), (5, 2), (2, 5), (-1, 2)]),
                vec![(1, 0), (3, 0), (4, 1), (4, 3), (3, 4), (1, 4), (0, 3), (0, 1)],
            ),
            (whole(&[(-4, 0), (8, 6)]), vec![(0, 2), (4, 4)]),
            (whole(&[(2, 2), (2, 2), (2, 2)]), vec![(2, 2)]),
            (vec![], vec![]),
        ] {
            assert_eq!(convex_intersection(&unit, &other), whole(&common), "{other:?}");
            let mut clockwise = other.clone();
            clockwise.reverse();
            assert_eq!(convex_intersection(&clockwise, &unit), whole(&common), "{other:?}");
        }
    }

    #[test]
    fn sums_of_points_segments_and_polygons() {
        let triangle = whole(&[(0, 0), (2, 0), (0, 2)]);
        for (other, sum) in [
            (whole(&[(3, 4)]), whole(&[(3, 4), (5, 4), (3, 6)])),
            (whole(&[(0, 0), (1, 0)]), whole(&[(0, 0), (3, 0), (1, 2), (0, 2)])),
            (triangle.clone(), whole(&[(0, 0), (4, 0), (0, 4)])),
            (
                whole(&[(0, 0), (-2, 0), (0, -2)]),
                whole(&[(0, -2), (2, -2), (2, 0), (0, 2), (-2, 2), (-2, 0)]),
            ),
            (vec![], vec![]),
        ] {
            assert_eq!(minkowski_sum(&triangle, &other), sum, "{other:?}");
            assert_eq!(minkowski_sum(&other, &triangle), sum, "{other:?}");
        }
        let (p, q) = (whole(&[(1, 1), (2, 3)]), whole(&[(5, 5), (7, 9)]));
        assert_eq!(minkowski_sum(&p, &q), whole(&[(6, 6), (9, 12)]));
        assert_eq!(minkowski_sum(&p[..1], &q[..1]), whole(&[(6, 6)]));
    }

    /// Sutherland and Hodgman's clipping, in ratios of i128 kept as homogeneous coordinates: exact.
    fn clipped(a: &[(i128, i128)], b: &[(i128, i128)]) -> Vec<(f64, f64)> {
        type Home = (i128, i128, i128);
        let reduced = |(x, y, w): Home| {
            let gcd = |mut a: i128, mut b: i128| {
                while b != 0 {
                    (a, b) = (b, a % b);
                }
                a.abs().max(1)
            };
            let by = gcd(gcd(x, y), w) * w.signum();
            (x / by, y / by, w / by)
        };
        let mut ring: Vec<Home> = a.iter().map(|(x, y)| (*x, *y, 1)).collect();
        for i in 0..b.len() {
            let ((px, py), (qx, qy)) = (b[i], b[(i + 1) % b.len()]);
            let side = |(x, y, w): Home| (qx - px) * (y - py * w) - (qy - py) * (x - px * w);
            let mut next = Vec::new();
            for k in 0..ring.len() {
                let (from, to) = (ring[k], ring[(k + 1) % ring.len()]);
                let (s, t) = (side(from), side(to));
                if s >= 0 {
                    next.push(from);
                }
                if (s > 0 && t < 0) || (s < 0 && t > 0) {
                    let mix = |u: i128, v: i128| u * t - v * s;
                    next.push(reduced((mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))));
                }
            }
            ring = next;
        }
        let mut corners: Vec<(f64, f64)> = ring
            .iter()
            .map(|(x, y, w)| (*x as f64 / *w as f64, *y as f64 / *w as f64))
            .collect();
        corners.sort_by(|p, q| p.partial_cmp(q).unwrap());
        corners.dedup();
        corners
    }

    fn polygon(points: &[(i32, i32)]) -> Vec<Point> {
        hull(&whole(points))
    }

    fn points(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(i32, i32)>> {
        prop::collection::vec((0..9, 0..9), count)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn common_parts_agree_with_clipping(a in points(3..9), b in points(3..9)) {
            let (a, b) = (polygon(&a), polygon(&b));
            prop_assume!(a.len() > 2 && b.len() > 2);
            let common = convex_intersection(&a, &b);
            prop_assert_eq!(&convex_intersection(&b, &a), &common);
            let ring = |p: &[Point]| p.iter().map(|p| (p.x as i128, p.y as i128)).collect::<Vec<_>>();
            let expected = clipped(&ring(&a), &ring(&b));
            let near = |p: &Point, (x, y): &(f64, f64)| p.x == *x && p.y == *y;
            // Clipping keeps corners that are straight; all others must be there, and nothing else.
            for p in &common {
                prop_assert!(expected.iter().any(|e| near(p, e)), "{:?} has no {:?} of {:?}", expected, p, common);
            }
            let expected_hull = hull(&expected.iter().map(|(x, y)| Point::new(*x, *y)).collect::<Vec<_>>());
            prop_assert!((polygon_area(&expected_hull) - polygon_area(&common)).abs() < 1e-12);
            prop_assert_eq!(common.is_empty(), expected.is_empty());
        }

        #[test]
        fn sums_agree_with_the_hull_of_all_sums(a in points(0..9), b in points(0..9)) {
            let (a, b) = (whole(&a), whole(&b));
            let all: Vec<Point> = a.iter().flat_map(|p| b.iter().map(|q| *p + *q)).collect();
            prop_assert_eq!(minkowski_sum(&a, &b), hull(&all));
        }

        #[test]
        fn a_point_is_held_as_by_all_edges(a in points(1..9), p in (0..9, 0..9)) {
            let (a, p) = (polygon(&a), whole(&[p])[0]);
            let sides: Vec<Side> = (0..a.len()).map(|i| f64::side(a[i], a[(i + 1) % a.len()], p)).collect();
            let expected = match a.len() {
                1 => a[0] == p,
                2 => sides[0] == Side::On && (a[0] - p).dot(a[1] - p) <= 0.0,
                _ => !sides.contains(&Side::Right),
            };
            prop_assert_eq!(holds(&a, p), expected, "{:?} {:?}", a, p);
        }
    }

    #[test]
    fn two_discs_have_a_lens_in_common_and_a_wider_disc_as_their_sum() {
        let mut random = Random::new(6, 6);
        let mut disc = |x: f64, count: u64| -> Vec<Point> {
            (0..count)
                .map(|_| {
                    let angle = std::f64::consts::TAU * random.below(1 << 50) as f64 / (1_u64 << 50) as f64;
                    Point::new(x + angle.cos(), angle.sin())
                })
                .collect()
        };
        let (a, b) = (disc(0.0, 20_000), disc(1.0, 30_000));
        let lens = 2.0 * std::f64::consts::FRAC_PI_3 - 0.75_f64.sqrt();
        assert!((polygon_area(&convex_intersection(&a, &b)) - lens).abs() < 1e-5);
        assert!((polygon_area(&minkowski_sum(&a, &b)) - 4.0 * std::f64::consts::PI).abs() < 1e-5);
    }
}
