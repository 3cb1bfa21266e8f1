//! Circles: where one meets a line or another circle, and their tangents.
//!
//! Which case it is, is told apart as [`Comparison`] says. `Exact`: by the sign of a polynomial in the given numbers
//! (d² against (r + s)², and so on), so a circle touches only if it does so exactly: with coordinates that are not
//! whole numbers hardly ever. `Eps`: what is within eps of touching touches, distances being compared with
//! distances, and centres and radii within eps are the same.
//!
//! Coordinates are worked out to 32 digits and rounded once, from products such as
//! ((r + s)² - d²)·(d² - (r - s)²) that do not cancel where circles nearly touch. Radii must not be negative; with
//! radius 0 a circle is a point.

use std::cmp::Ordering;

use super::expansion::{Double, Expansion, two_sum};
use super::predicate::{double_vector, exact_cross, exact_dot, exact_vector, rounded_vector, square_distance};
use super::{Comparison, Point, distance};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circle {
    pub center: Point,
    pub radius: f64,
}

/// What a circle has in common with a line or another circle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CircleMeeting {
    None,
    Touching(Point),
    Points([Point; 2]),
    /// Two circles are one.
    Same,
}

/// The tangents from a point to a circle, by where they touch it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TangentsFrom {
    /// The point is inside.
    None,
    /// The point is on the circle, and touches it there; or the circle is a point, which is given.
    One(Point),
    /// Seen from the point: on the left side of the circle, and on the right.
    Two([Point; 2]),
}

/// A line that touches two circles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CommonTangent {
    /// Both circles are on one side of it; an inner one passes between them.
    pub outer: bool,
    /// Where it touches the first circle and the second. Where the circles themselves touch, both are that point, and
    /// the tangent is at right angles to the line of the centres.
    pub touches: [Point; 2],
}

#[derive(Clone, Debug, PartialEq)]
pub enum CommonTangents {
    /// The circles are one: all its tangents.
    Same,
    /// At most four: first the outer ones, and of each kind first the one that touches the first circle on the left,
    /// as seen from its centre towards the second's.
    Lines(Vec<CommonTangent>),
}

/// Where a circle meets the line through two points, in the order of the line's direction. If the points are one, so
/// is the line.
pub fn circle_line(circle: Circle, [a, b]: [Point; 2], comparison: Comparison) -> CircleMeeting {
    let Circle { center, radius } = circle;
    if a == b {
        let on = against_square([a, center], (radius, 0.0), comparison) == Ordering::Equal;
        return if on {
            CircleMeeting::Touching(a)
        } else {
            CircleMeeting::None
        };
    }
    let ([dx, dy], [fx, fy]) = (double_vector(a, b), double_vector(a, center));
    let square = dx * dx + dy * dy;
    let cross = dx * fy - dy * fx;
    let order = match comparison {
        Comparison::Eps(eps) => within(cross.value().abs() / square.sqrt().value() - radius, eps),
        Comparison::Exact => line_against(circle, [a, b], cross, square),
    };
    let foot = (fx * dx + fy * dy) / square;
    let at = |share: Double| Point::new(moved(a.x, dx * share), moved(a.y, dy * share));
    match order {
        Ordering::Greater => CircleMeeting::None,
        Ordering::Equal => CircleMeeting::Touching(at(foot)),
        Ordering::Less => {
            // (r² d² - cross²) / d⁴, as a product.
            let reach = Double::from(radius) * square.sqrt();
            let half = ((reach - cross) * (reach + cross)).sqrt() / square;
            CircleMeeting::Points([at(foot - half), at(foot + half)])
        }
    }
}

/// The distance of the centre from the line against the radius: cross² against r²·d².
fn line_against(circle: Circle, [a, b]: [Point; 2], cross: Double, square: Double) -> Ordering {
    let radius = Double::from(circle.radius);
    let value = (cross * cross - radius * radius * square).value();
    let (p, q) = (rounded_vector(a, b), rounded_vector(a, circle.center));
    let size = (p.x * q.y).abs() + (p.y * q.x).abs();
    // The error is some 2^-100 of what was subtracted.
    if value.abs() > 1e-25 * (size * size + circle.radius * circle.radius * square.value()) {
        return value.total_cmp(&0.0);
    }
    let (p, q) = (exact_vector(a, b), exact_vector(a, circle.center));
    let cross = exact_cross(&p, &q);
    let radius = Expansion::from((circle.radius, 0.0));
    (&(&cross * &cross) - &(&(&radius * &radius) * &exact_dot(&p, &p))).sign()
}

/// Where two circles meet: first the point on the left, as seen from the first centre towards the second.
pub fn circle_circle(a: Circle, b: Circle, comparison: Comparison) -> CircleMeeting {
    let centers = [a.center, b.center];
    if same(a, b, comparison) {
        return if a.radius == 0.0 {
            CircleMeeting::Touching(a.center)
        } else {
            CircleMeeting::Same
        };
    }
    let (sum, difference) = (two_sum(a.radius, b.radius), two_sum(a.radius, -b.radius));
    let (to_sum, to_difference) = (
        against_square(centers, sum, comparison),
        against_square(centers, difference, comparison),
    );
    // One around the other, with one centre: nothing below could divide by the distance. So with eps too.
    if to_sum == Ordering::Greater || to_difference == Ordering::Less || a.center == b.center {
        return CircleMeeting::None;
    }
    let [vx, vy] = double_vector(a.center, b.center);
    let square = vx * vx + vy * vy;
    let at = |along: Double, aside: Double| {
        Point::new(
            moved(a.center.x, vx * along - vy * aside),
            moved(a.center.y, vy * along + vx * aside),
        )
    };
    if to_sum == Ordering::Equal || to_difference == Ordering::Equal {
        // Beyond the first centre if the first circle is inside the second.
        let outside = to_sum == Ordering::Equal || a.radius > b.radius;
        let share = Double::from(a.radius) / square.sqrt();
        return CircleMeeting::Touching(at(if outside { share } else { -share }, Double::default()));
    }
    let (sum, difference) = (Double::from(sum), Double::from(difference));
    let twice = square + square;
    let along = (square + sum * difference) / twice;
    let aside = ((sum * sum - square) * (square - difference * difference)).sqrt() / twice;
    CircleMeeting::Points([at(along, aside), at(along, -aside)])
}

/// The tangents from a point to a circle.
pub fn tangents_from(point: Point, circle: Circle, comparison: Comparison) -> TangentsFrom {
    let Circle { center, radius } = circle;
    match against_square([center, point], (radius, 0.0), comparison) {
        Ordering::Less => TangentsFrom::None,
        Ordering::Equal => TangentsFrom::One(point),
        Ordering::Greater if radius == 0.0 => TangentsFrom::One(center),
        Ordering::Greater => {
            // The touching points seen from the centre: the radius turned by ± the angle to the point.
            let normals = normals([center, point], Double::from(radius));
            TangentsFrom::Two(normals.map(|normal| along(center, normal, radius)))
        }
    }
}

/// All lines that touch both circles.
pub fn common_tangents(a: Circle, b: Circle, comparison: Comparison) -> CommonTangents {
    if same(a, b, comparison) {
        return CommonTangents::Same;
    }
    let centers = [a.center, b.center];
    let mut lines = Vec::with_capacity(4);
    for outer in [true, false] {
        // A point has no inner side: what touches it is called outer.
        if a.center == b.center || (!outer && (a.radius == 0.0 || b.radius == 0.0)) {
            continue;
        }
        // The unit normal n of a tangent has n·(b - a) = r - s (outer) or r + s (inner).
        let other = if outer { b.radius } else { -b.radius };
        let shift = two_sum(a.radius, -other);
        let order = against_square(centers, shift, comparison);
        if order == Ordering::Less {
            continue;
        }
        let [right, left] = normals(centers, Double::from(shift));
        let touches = |normal: [Double; 2]| [along(a.center, normal, a.radius), along(b.center, normal, other)];
        if order == Ordering::Equal {
            let direction = unit(centers, shift.0 < 0.0);
            let at = if a.radius == 0.0 {
                a.center
            } else {
                along(a.center, direction, a.radius)
            };
            lines.push(CommonTangent {
                outer,
                touches: [at; 2],
            });
        } else {
            lines.push(CommonTangent {
                outer,
                touches: touches(left),
            });
            // Through two points there is one line.
            if a.radius != 0.0 || b.radius != 0.0 {
                lines.push(CommonTangent {
                    outer,
                    touches: touches(right),
                });
            }
        }
    }
    CommonTangents::Lines(lines)
}

fn same(a: Circle, b: Circle, comparison: Comparison) -> bool {
    match comparison {
        Comparison::Exact => a == b,
        Comparison::Eps(eps) => distance(a.center, b.center) <= eps && (a.radius - b.radius).abs() <= eps,
    }
}

/// Equal when a difference of distances counts as none.
fn within(difference: f64, eps: f64) -> Ordering {
    if difference.abs() <= eps {
        Ordering::Equal
    } else {
        difference.total_cmp(&0.0)
    }
}

/// The distance of two points against the magnitude of the sum of two f64.
fn against_square([p, q]: [Point; 2], length: (f64, f64), comparison: Comparison) -> Ordering {
    if let Comparison::Eps(eps) = comparison {
        return within(distance(p, q) - length.0.abs(), eps);
    }
    let (square, of_length) = (square_distance(p, q), length.0 * length.0);
    // A relative error of 4 roundings each at most.
    if (square - of_length).abs() > 2.0 * f64::EPSILON * (square + of_length) {
        return square.total_cmp(&of_length);
    }
    let (vector, length) = (exact_vector(p, q), Expansion::from(length));
    (&exact_dot(&vector, &vector) - &(&length * &length)).sign()
}

/// The coordinate `from` moved by `by`, rounded once; never a negative zero.
fn moved(from: f64, by: Double) -> f64 {
    (Double::from(from) + by).value() + 0.0
}

fn along(from: Point, direction: [Double; 2], by: f64) -> Point {
    let [x, y] = direction.map(|part| part * Double::from(by));
    Point::new(moved(from.x, x), moved(from.y, y))
}

fn unit([from, to]: [Point; 2], backwards: bool) -> [Double; 2] {
    let [x, y] = double_vector(from, to);
    let length = (x * x + y * y).sqrt();
    [x, y].map(|part| if backwards { -part / length } else { part / length })
}

/// The two vectors of length 1 whose dot product with the vector between the points is `shift`: the one on the right
/// of it, and the one on the left.
fn normals([from, to]: [Point; 2], shift: Double) -> [[Double; 2]; 2] {
    let [x, y] = double_vector(from, to);
    let square = x * x + y * y;
    let length = square.sqrt();
    let aside = ((length - shift) * (length + shift)).sqrt();
    [-aside, aside].map(|aside| [(x * shift - y * aside) / square, (y * shift + x * aside) / square])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXACT: Comparison = Comparison::Exact;

    fn p(x: f64, y: f64) -> Point {
        Point::new(x, y)
    }

    fn circle(x: f64, y: f64, radius: f64) -> Circle {
        Circle {
            center: p(x, y),
            radius,
        }
    }

    #[test]
    fn a_line_misses_touches_and_cuts() {
        let five = circle(0.0, 0.0, 5.0);
        for (line, expected) in [
            ([p(6.0, 0.0), p(6.0, 1.0)], CircleMeeting::None),
            ([p(5.0, 9.0), p(5.0, 7.0)], CircleMeeting::Touching(p(5.0, 0.0))),
            (
                [p(0.0, 3.0), p(1.0, 3.0)],
                CircleMeeting::Points([p(-4.0, 3.0), p(4.0, 3.0)]),
            ),
            (
                [p(1.0, 3.0), p(0.0, 3.0)],
                CircleMeeting::Points([p(4.0, 3.0), p(-4.0, 3.0)]),
            ),
            // Tangent at (3, 4): no coordinate is on an axis.
            ([p(-1.0, 7.0), p(7.0, 1.0)], CircleMeeting::Touching(p(3.0, 4.0))),
            ([p(3.0, 4.0), p(3.0, 4.0)], CircleMeeting::Touching(p(3.0, 4.0))),
            ([p(3.0, 3.0), p(3.0, 3.0)], CircleMeeting::None),
        ] {
            assert_eq!(circle_line(five, line, EXACT), expected, "{line:?}");
        }
        assert_eq!(
            circle_line(circle(1.0, 1.0, 0.0), [p(0.0, 0.0), p(2.0, 2.0)], EXACT),
            CircleMeeting::Touching(p(1.0, 1.0))
        );
    }

    #[test]
    fn eps_calls_touching_what_exact_tells_apart() {
        let unit = circle(0.0, 0.0, 1.0);
        for (x, exactly_none) in [(1.0 + 1e-12, true), (1.0 - 1e-12, false)] {
            let line = [p(x, -1.0), p(x, 1.0)];
            assert!(matches!(
                circle_line(unit, line, Comparison::Eps(1e-9)),
                CircleMeeting::Touching(_)
            ));
            let exact = circle_line(unit, line, EXACT);
            assert_eq!(exact == CircleMeeting::None, exactly_none);
            let other = circle(1.0 + x, 0.0, 1.0);
            assert!(matches!(
                circle_circle(unit, other, Comparison::Eps(1e-9)),
                CircleMeeting::Touching(_)
            ));
            assert_eq!(circle_circle(unit, other, EXACT) == CircleMeeting::None, exactly_none);
            let on = tangents_from(p(x, 0.0), unit, Comparison::Eps(1e-9));
            assert!(matches!(on, TangentsFrom::One(_)));
        }
        assert_eq!(
            circle_circle(unit, circle(1e-12, 0.0, 1.0), Comparison::Eps(1e-9)),
            CircleMeeting::Same
        );
        assert!(matches!(
            circle_circle(unit, circle(1e-12, 0.0, 1.0), EXACT),
            CircleMeeting::Points(_)
        ));
    }

    #[test]
    fn two_circles_in_every_position() {
        let five = circle(0.0, 0.0, 5.0);
        for (other, expected, tangents) in [
            (
                circle(8.0, 0.0, 5.0),
                CircleMeeting::Points([p(4.0, 3.0), p(4.0, -3.0)]),
                2,
            ),
            (circle(20.0, 0.0, 5.0), CircleMeeting::None, 4),
            (circle(10.0, 0.0, 5.0), CircleMeeting::Touching(p(5.0, 0.0)), 3),
            // In a direction that is no axis, from outside and from inside, and around.
            (circle(6.0, 8.0, 5.0), CircleMeeting::Touching(p(3.0, 4.0)), 3),
            (circle(1.5, 2.0, 2.5), CircleMeeting::Touching(p(3.0, 4.0)), 1),
            (circle(-3.0, -4.0, 10.0), CircleMeeting::Touching(p(3.0, 4.0)), 1),
            (circle(1.0, 0.0, 2.0), CircleMeeting::None, 0),
            (circle(0.0, 0.0, 2.0), CircleMeeting::None, 0),
            // Points: on the circle, inside, outside.
            (circle(3.0, 4.0, 0.0), CircleMeeting::Touching(p(3.0, 4.0)), 1),
            (circle(3.0, 3.0, 0.0), CircleMeeting::None, 0),
            (circle(9.0, 4.0, 0.0), CircleMeeting::None, 2),
        ] {
            assert_eq!(circle_circle(five, other, EXACT), expected, "{other:?}");
            for (a, b) in [(five, other), (other, five)] {
                let CommonTangents::Lines(lines) = common_tangents(a, b, EXACT) else {
                    panic!("not the same")
                };
                assert_eq!(lines.len(), tangents, "{a:?} {b:?}");
                for line in &lines {
                    touches_both(a, b, line);
                }
            }
        }
        assert_eq!(circle_circle(five, five, EXACT), CircleMeeting::Same);
        assert_eq!(common_tangents(five, five, EXACT), CommonTangents::Same);
        let (a, b) = (circle(1.0, 1.0, 0.0), circle(4.0, 5.0, 0.0));
        assert_eq!(circle_circle(a, a, EXACT), CircleMeeting::Touching(p(1.0, 1.0)));
        let line = CommonTangent {
            outer: true,
            touches: [p(1.0, 1.0), p(4.0, 5.0)],
        };
        assert_eq!(common_tangents(a, b, EXACT), CommonTangents::Lines(vec![line]));
        // Left first: above, when the second circle is to the right.
        let CommonTangents::Lines(lines) = common_tangents(circle(0.0, 0.0, 1.0), circle(4.0, 0.0, 1.0), EXACT) else {
            panic!("not the same")
        };
        assert_eq!(
            lines[0],
            CommonTangent {
                outer: true,
                touches: [p(0.0, 1.0), p(4.0, 1.0)]
            }
        );
        assert!(!lines[2].outer && lines[2].touches[0].y > 0.0 && lines[2].touches[1].y < 0.0);
    }

    /// Each touching point is on its circle, and the line between them is at right angles to both radii.
    fn touches_both(a: Circle, b: Circle, line: &CommonTangent) {
        let size = a.radius + b.radius + distance(a.center, b.center);
        let along = line.touches[1] - line.touches[0];
        for (circle, touch) in [a, b].iter().zip(line.touches) {
            assert!(
                (distance(circle.center, touch) - circle.radius).abs() < 1e-14 * size,
                "{circle:?} {line:?}"
            );
            assert!(
                along.dot(touch - circle.center).abs() < 1e-13 * size * size,
                "{circle:?} {line:?}"
            );
        }
        let sides = [a, b].map(|circle| along.cross(circle.center - line.touches[0]));
        if along.length() > 0.0 && a.radius.min(b.radius) > 0.0 {
            assert_eq!(sides[0] * sides[1] > 0.0, line.outer, "{a:?} {b:?} {line:?}");
        }
    }

    #[test]
    fn tangents_from_outside_on_and_inside() {
        let five = circle(0.0, 0.0, 5.0);
        assert_eq!(tangents_from(p(1.0, 1.0), five, EXACT), TangentsFrom::None);
        assert_eq!(tangents_from(p(3.0, 4.0), five, EXACT), TangentsFrom::One(p(3.0, 4.0)));
        // From the right, looking left: the lower one is on the left.
        assert_eq!(
            tangents_from(p(6.25, 0.0), five, EXACT),
            TangentsFrom::Two([p(4.0, -3.0), p(4.0, 3.0)])
        );
        assert_eq!(
            tangents_from(p(1.0, 1.0), circle(4.0, 5.0, 0.0), EXACT),
            TangentsFrom::One(p(4.0, 5.0))
        );
    }

    #[test]
    fn circles_that_barely_meet_meet_to_the_last_digits() {
        // Two unit circles whose centres are 2 - 2^-50 apart: the half chord is sqrt(2^-50 - 2^-102).
        let tiny = 0.5_f64.powi(50);
        let CircleMeeting::Points([left, right]) =
            circle_circle(circle(0.0, 0.0, 1.0), circle(2.0 - tiny, 0.0, 1.0), EXACT)
        else {
            panic!("they meet twice")
        };
        let half = 0.5_f64.powi(25);
        assert!((left.y - half).abs() <= half * 1e-15 && left.y == -right.y);
        // The same far away from the origin, where the coordinates are coarse.
        let far = circle_circle(circle(1e6, 1e6, 1.0), circle(1e6 + 2.0, 1e6, 1.0), EXACT);
        assert_eq!(far, CircleMeeting::Touching(p(1e6 + 1.0, 1e6)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn kinds_agree_with_integers_and_points_are_on_both(v in prop::collection::vec(-12_i64..=12, 4), r in 0_i64..14, s in 0_i64..14) {
            let f = |i: usize| v[i] as f64;
            let (a, b) = (circle(f(0), f(1), r as f64), circle(f(2), f(3), s as f64));
            let (x, y) = (v[2] - v[0], v[3] - v[1]);
            let square = x * x + y * y;
            let kinds = match circle_circle(a, b, EXACT) {
                CircleMeeting::None => 0,
                CircleMeeting::Touching(_) => 1,
                CircleMeeting::Points(_) => 2,
                CircleMeeting::Same => 3,
            };
            let (sum, difference) = ((r + s).pow(2), (r - s).pow(2));
            let expected = if square == 0 && r == s {
                if r == 0 { 1 } else { 3 }
            } else if square > sum || square < difference {
                0
            } else if square == sum || square == difference {
                1
            } else {
                2
            };
            prop_assert_eq!(kinds, expected);
            if let CircleMeeting::Points(points) = circle_circle(a, b, EXACT) {
                for point in points {
                    prop_assert!((distance(a.center, point) - a.radius).abs() < 1e-14);
                    prop_assert!((distance(b.center, point) - b.radius).abs() < 1e-14);
                }
                prop_assert!((b.center - a.center).cross(points[0] - a.center) > 0.0);
            }
            if let CommonTangents::Lines(lines) = common_tangents(a, b, EXACT) {
                for line in &lines {
                    touches_both(a, b, line);
                }
                if r > 0 && s > 0 {
                    let count = |bound: i64| match square.cmp(&bound) {
                        Ordering::Less => 0,
                        Ordering::Equal => usize::from(square > 0),
                        Ordering::Greater => 2,
                    };
                    prop_assert_eq!(lines.len(), count(sum) + count(difference));
                }
            }
            // The line through the origin and b's centre.
            prop_assume!(v[2] != 0 || v[3] != 0);
            let cross = v[2] * v[1] - v[3] * v[0];
            let order = (cross * cross).cmp(&(r * r * (v[2] * v[2] + v[3] * v[3])));
            let line = [p(0.0, 0.0), b.center];
            match circle_line(a, line, EXACT) {
                CircleMeeting::None => prop_assert_eq!(order, Ordering::Greater),
                CircleMeeting::Touching(at) => {
                    prop_assert_eq!(order, Ordering::Equal);
                    prop_assert!((distance(a.center, at) - a.radius).abs() < 1e-14);
                }
                CircleMeeting::Points([q, t]) => {
                    prop_assert_eq!(order, Ordering::Less);
                    for at in [q, t] {
                        prop_assert!((distance(a.center, at) - a.radius).abs() < 1e-14);
                        prop_assert!(line[1].cross(at).abs() < 1e-12);
                    }
                    prop_assert!((t - q).dot(line[1]) > 0.0);
                }
                CircleMeeting::Same => prop_assert!(false),
            }
            match (tangents_from(b.center, a, EXACT), square.cmp(&(r * r))) {
                (TangentsFrom::None, Ordering::Less) | (TangentsFrom::One(_), Ordering::Equal) => {}
                (TangentsFrom::One(at), Ordering::Greater) => prop_assert!(r == 0 && at == a.center),
                (TangentsFrom::Two(touches), Ordering::Greater) => {
                    for at in touches {
                        prop_assert!((distance(a.center, at) - a.radius).abs() < 1e-14);
                        prop_assert!((at - a.center).dot(at - b.center).abs() < 1e-11);
                    }
                    prop_assert!((a.center - b.center).cross(touches[0] - b.center) > 0.0);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
