//! The two points farthest from each other.
//!
//! They are corners of the convex hull that two parallel lines can touch with the hull between
//! them. Turning the lines once around meets all such pairs (rotating calipers; Shamos 1978, named
//! by Toussaint 1983). Directions and distances are compared exactly, so that of equally distant
//! pairs the one with the smallest numbers is told.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::predicate::{Coordinate, compare_distances, cross_sign, distance, rounded_vector, square_distance};
use super::{Comparison, Pair, Point, convex_hull};
use crate::Join;

/// The two farthest points; of equally far ones the pair with the smallest numbers. None of fewer
/// than two points. Exactly, or with an eps as f64 come out.
pub fn diameter<T: Coordinate>(points: &[Point<T>], comparison: Comparison, join: &dyn Join) -> Option<Pair> {
    if points.len() < 2 {
        return None;
    }
    let hull = convex_hull(points, false, comparison, join);
    if hull.len() < 2 {
        return Some(Pair {
            distance: 0.0,
            pair: [0, 1],
        });
    }
    let farthest = farthest(&hull, comparison);
    let [a, b] = farthest[0];
    Some(Pair {
        distance: match comparison {
            Comparison::Exact => distance(a, b),
            Comparison::Eps(_) => square_distance(a, b).sqrt(),
        },
        pair: first_pair(points, &farthest),
    })
}

/// All pairs of corners that are as far apart as any.
fn farthest<T: Coordinate>(hull: &[Point<T>], comparison: Comparison) -> Vec<[Point<T>; 2]> {
    let corner = |at: usize| hull[at % hull.len()];
    let mut best = vec![[hull[0], hull[1]]];
    let mut offer = |a: usize, b: usize| {
        let pair = [corner(a), corner(b)];
        let order = match comparison {
            Comparison::Exact => compare_distances(pair, best[0]),
            Comparison::Eps(_) => {
                let [new, old] = [pair, best[0]].map(|[a, b]| square_distance(a, b));
                new.partial_cmp(&old).unwrap_or(Ordering::Equal)
            }
        };
        match order {
            Ordering::Less => {}
            Ordering::Equal => best.push(pair),
            Ordering::Greater => best = vec![pair],
        }
    };
    let mut across = 1;
    for at in 0..hull.len() {
        // As long as the next edge across still leads away from this one, go on.
        loop {
            let turn = turn(
                [corner(at), corner(at + 1)],
                [corner(across), corner(across + 1)],
                comparison,
            );
            if turn == Ordering::Less || across >= at + hull.len() {
                break;
            }
            offer(at, across);
            offer(at + 1, across);
            if turn == Ordering::Equal {
                // Parallel edges: all four pairs of ends touch the two lines.
                offer(at, across + 1);
                offer(at + 1, across + 1);
                break;
            }
            across += 1;
        }
        offer(at, across);
        offer(at + 1, across);
    }
    best
}

fn turn<T: Coordinate>([a, b]: [Point<T>; 2], [c, d]: [Point<T>; 2], comparison: Comparison) -> Ordering {
    match comparison {
        Comparison::Exact => cross_sign(a, b, c, d),
        Comparison::Eps(eps) => {
            let value = rounded_vector(a, b).cross(rounded_vector(c, d));
            if value > eps {
                Ordering::Greater
            } else if value < -eps {
                Ordering::Less
            } else {
                Ordering::Equal
            }
        }
    }
}

/// The smallest numbers that points at one of these pairs of places have.
fn first_pair<T: Coordinate>(points: &[Point<T>], pairs: &[[Point<T>; 2]]) -> [u32; 2] {
    let key = |p: Point<T>| (p.x.bits(), p.y.bits());
    let mut first: HashMap<(u64, u64), u32> = pairs.iter().flatten().map(|p| (key(*p), u32::MAX)).collect();
    let few: Vec<Point<T>> = if pairs.len() <= 4 {
        pairs.iter().flatten().copied().collect()
    } else {
        Vec::new()
    };
    for (number, point) in points.iter().enumerate() {
        if (few.is_empty() || few.contains(point))
            && let Some(first) = first.get_mut(&key(*point))
        {
            *first = (*first).min(number as u32);
        }
    }
    let numbered = pairs.iter().map(|pair| {
        let [a, b] = pair.map(|p| first[&key(p)]);
        [a.min(b), a.max(b)]
    });
    numbered.min().unwrap_or([0, 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use proptest::prelude::*;

    fn check<T: Coordinate>(points: &[Point<T>]) {
        let mut best: Option<[usize; 2]> = None;
        for i in 0..points.len() {
            for j in i + 1..points.len() {
                if best.is_none_or(|[p, q]| {
                    compare_distances([points[i], points[j]], [points[p], points[q]]) == Ordering::Greater
                }) {
                    best = Some([i, j]);
                }
            }
        }
        let found = diameter(points, Comparison::Exact, &Sequential);
        assert_eq!(
            found.map(|found| found.pair),
            best.map(|pair| pair.map(|i| i as u32)),
            "{points:?}"
        );
    }

    #[test]
    fn small_diameters() {
        for points in [
            &[][..],
            &[[1, 1]],
            &[[1, 1], [1, 1], [1, 1]],
            &[[1, 1], [1, 1], [2, 2]],
            &[[5, 0], [0, 0], [3, 0]],
            &[[0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [0, 0]],
            &[[0, 0], [4, 0], [2, 3]],
            &[
                [i64::MIN, i64::MIN],
                [i64::MAX, i64::MAX],
                [i64::MIN, i64::MAX],
                [i64::MAX, i64::MIN],
                [i64::MAX - 1, i64::MAX],
            ],
        ] {
            check(&points.iter().map(|[x, y]| Point::new(*x, *y)).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn the_farthest_pair_is_found(points in proptest::collection::vec(proptest::array::uniform2(0..12_i64), 0..40)) {
            check(&points.iter().map(|[x, y]| Point::new(*x, *y)).collect::<Vec<_>>());
            check(&points.iter().map(|[x, y]| Point::new(*x as f64 * 0.1, *y as f64 * 0.3)).collect::<Vec<_>>());
        }

        #[test]
        fn on_a_circle_too(count in 2..80_usize, turned in 0.0..7.0_f64) {
            let points: Vec<Point> = (0..count)
                .map(|at| Point::new(1.0, 0.0).rotated(turned + at as f64 / count as f64 * std::f64::consts::TAU))
                .collect();
            check(&points);
        }
    }
}
