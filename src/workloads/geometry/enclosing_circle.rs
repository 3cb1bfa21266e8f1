//! The smallest circle around all points.
//!
//! Only corners of the convex hull can touch it, so only they are looked at, in Welzl's order
//! (1991): when the next point is outside, it is on the border of the circle around all points so
//! far, and so again for a second and a third. Which two or three points carry the circle is found
//! by exact predicates; centre and radius follow from them in 32 digits, rounded once.

use std::cmp::Ordering;

use super::expansion::{Double, Expansion};
use super::predicate::{
    Comparison, Coordinate, Side, distance, dot_sign, double_vector, exact_cross, exact_dot, exact_vector,
};
use super::{Point, convex_hull};
use crate::Join;
use crate::random::Random;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Enclosing {
    pub center: Point,
    pub radius: f64,
}

/// The points that carry the circle: ends of a diameter, or three on the border.
#[derive(Clone, Copy, Debug)]
enum Support<T> {
    One(Point<T>),
    Two(Point<T>, Point<T>),
    /// Counter-clockwise.
    Three(Point<T>, Point<T>, Point<T>),
}

/// The smallest circle that holds all points, border included. None of no points. With an eps, the
/// textbook's: in f64, and a point that is so much outside counts as inside.
pub fn min_enclosing_circle<T: Coordinate>(
    points: &[Point<T>],
    comparison: Comparison,
    join: &dyn Join,
) -> Option<Enclosing> {
    let mut corners = convex_hull(points, false, Comparison::Exact, join);
    // Any order gives the same circle; a random one makes the expected time linear.
    Random::new(0, corners.len() as u64).shuffle(&mut corners);
    match comparison {
        Comparison::Exact => {
            let support = grow(&corners, Support::One, Support::Two, Support::three, Support::holds)?;
            Some(support.circle())
        }
        Comparison::Eps(eps) => {
            let corners: Vec<Point> = corners.iter().map(|p| Point::new(p.x.to_f64(), p.y.to_f64())).collect();
            grow(
                &corners,
                |a| Enclosing { center: a, radius: 0.0 },
                plain_two,
                |a, b, c| plain_three(a, b, c, eps),
                |circle, p| (p - circle.center).length() <= circle.radius + eps,
            )
        }
    }
}

/// Welzl's three loops.
fn grow<P: Copy, C>(
    points: &[P],
    one: impl Fn(P) -> C,
    two: impl Fn(P, P) -> C,
    three: impl Fn(P, P, P) -> C,
    holds: impl Fn(&C, P) -> bool,
) -> Option<C> {
    let mut circle = one(*points.first()?);
    for (i, &a) in points.iter().enumerate() {
        if holds(&circle, a) {
            continue;
        }
        circle = one(a);
        for (j, &b) in points[..i].iter().enumerate() {
            if holds(&circle, b) {
                continue;
            }
            circle = two(a, b);
            for &c in &points[..j] {
                if !holds(&circle, c) {
                    circle = three(a, b, c);
                }
            }
        }
    }
    Some(circle)
}

impl<T: Coordinate> Support<T> {
    fn three(a: Point<T>, b: Point<T>, c: Point<T>) -> Support<T> {
        match T::side(a, b, c) {
            Side::Right => Support::Three(a, c, b),
            _ => Support::Three(a, b, c),
        }
    }

    fn holds(&self, p: Point<T>) -> bool {
        match *self {
            Support::One(a) => a == p,
            // The angle at p over the diameter is a right one on the circle, and wider inside.
            Support::Two(a, b) => dot_sign(p, a, p, b) != Ordering::Greater,
            Support::Three(a, b, c) => T::circle(a, b, c, p) != Ordering::Less,
        }
    }

    fn circle(&self) -> Enclosing {
        let half = Double::from(0.5);
        let moved = |from: Point<T>, x: Double, y: Double| {
            let place = |from: T, by: Double| (Double::from(from.minus(T::default())) + by).value();
            Point::new(place(from.x, x), place(from.y, y))
        };
        match *self {
            Support::One(a) => Enclosing {
                center: Point::new(a.x.to_f64(), a.y.to_f64()),
                radius: 0.0,
            },
            Support::Two(a, b) => {
                let [x, y] = double_vector(a, b);
                Enclosing {
                    center: moved(a, x * half, y * half),
                    radius: distance(a, b) / 2.0,
                }
            }
            Support::Three(a, b, c) => {
                let (u, v) = (exact_vector(a, b), exact_vector(a, c));
                let (uu, vv) = (exact_dot(&u, &u), exact_dot(&v, &v));
                let twice = exact_cross(&u, &v).rounded() * Double::from(2.0);
                let share = |p: &Expansion, q: &Expansion, r: &Expansion, s: &Expansion| {
                    (&(p * q) - &(r * s)).rounded() / twice
                };
                let (x, y) = (share(&uu, &v[1], &vv, &u[1]), share(&vv, &u[0], &uu, &v[0]));
                Enclosing {
                    center: moved(a, x, y),
                    radius: (x * x + y * y).sqrt().value(),
                }
            }
        }
    }
}

fn plain_two(a: Point, b: Point) -> Enclosing {
    Enclosing {
        center: (a + b) * 0.5,
        radius: (b - a).length() / 2.0,
    }
}

fn plain_three(a: Point, b: Point, c: Point, eps: f64) -> Enclosing {
    let (u, v) = (b - a, c - a);
    let twice = 2.0 * u.cross(v);
    if twice.abs() <= eps {
        let pairs = [plain_two(a, b), plain_two(b, c), plain_two(c, a)];
        return pairs.into_iter().fold(
            pairs[0],
            |most, circle| if circle.radius > most.radius { circle } else { most },
        );
    }
    let to = Point::new(
        (v.y * u.dot(u) - u.y * v.dot(v)) / twice,
        (u.x * v.dot(v) - v.x * u.dot(u)) / twice,
    );
    Enclosing {
        center: a + to,
        radius: to.length(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use proptest::prelude::*;

    fn circle(points: &[[i64; 2]]) -> Option<Enclosing> {
        let points: Vec<_> = points.iter().map(|[x, y]| Point::new(*x, *y)).collect();
        min_enclosing_circle(&points, Comparison::Exact, &Sequential)
    }

    #[test]
    fn small_circles() {
        for (points, expected) in [
            (&[][..], None),
            (&[[3, 4]], Some((3.0, 4.0, 0.0))),
            (&[[3, 4], [3, 4]], Some((3.0, 4.0, 0.0))),
            (&[[0, 0], [4, 0]], Some((2.0, 0.0, 2.0))),
            (&[[0, 0], [4, 0], [1, 0], [4, 0]], Some((2.0, 0.0, 2.0))),
            (&[[0, 0], [4, 0], [4, 3], [0, 3]], Some((2.0, 1.5, 2.5))),
            (&[[0, 0], [4, 0], [2, 1]], Some((2.0, 0.0, 2.0))),
            (&[[-3, -4], [5, 0], [-3, 4]], Some((0.0, 0.0, 5.0))),
        ] {
            let expected = expected.map(|(x, y, radius)| Enclosing {
                center: Point::new(x, y),
                radius,
            });
            assert_eq!(circle(points), expected, "{points:?}");
        }
        let corner = i64::MAX - 1;
        let far = circle(&[[corner, corner], [corner - 2, corner], [corner, corner - 2]]).unwrap();
        assert_eq!(far.radius, 2.0_f64.sqrt());
    }

    /// The smallest of all circles over two and three points that hold all.
    fn by_definition(points: &[Point]) -> Option<f64> {
        let mut circles: Vec<Enclosing> = points
            .iter()
            .map(|p| Enclosing {
                center: *p,
                radius: 0.0,
            })
            .collect();
        for (i, a) in points.iter().enumerate() {
            for (j, b) in points[..i].iter().enumerate() {
                circles.push(plain_two(*a, *b));
                circles.extend(
                    points[..j]
                        .iter()
                        .filter(|c| (*b - *a).cross(**c - *a) != 0.0)
                        .map(|c| plain_three(*a, *b, *c, 0.0)),
                );
            }
        }
        let holds = |circle: &Enclosing| {
            points
                .iter()
                .all(|p| (*p - circle.center).length() <= circle.radius + 1e-9)
        };
        circles
            .iter()
            .filter(|circle| holds(circle))
            .map(|circle| circle.radius)
            .min_by(f64::total_cmp)
    }

    proptest! {
        #[test]
        fn no_circle_over_two_or_three_points_is_smaller(points in proptest::collection::vec(proptest::array::uniform2(0..9_i64), 0..9)) {
            let as_f64: Vec<Point> = points.iter().map(|[x, y]| Point::new(*x as f64, *y as f64)).collect();
            let found = circle(&points);
            prop_assert_eq!(found, min_enclosing_circle(&as_f64, Comparison::Exact, &Sequential));
            let by_eps = min_enclosing_circle(&as_f64, Comparison::Eps(1e-9), &Sequential);
            let radii = [found, by_eps].map(|circle| circle.map(|circle| circle.radius));
            match (by_definition(&as_f64), radii) {
                (Some(expected), [Some(exact), Some(by_eps)]) => {
                    prop_assert!((exact - expected).abs() < 1e-8 && (by_eps - expected).abs() < 1e-8, "{} {} {}", exact, by_eps, expected);
                }
                (None, [None, None]) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
