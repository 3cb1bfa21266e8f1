//! Checks of answers by what they must be, sharing no code with how they were found.
//!
//! Signs come from the `robust` crate here, distances from plain f64 with room for its rounding.
//! Where a full check would cost the square, it is done in part: up to a budget of steps, over
//! items that a stride spreads through all of them.

use std::collections::HashSet;

use super::{Enclosing, HalfPlanes, Pair, Place, Point};

/// Steps that a check in part may take.
const BUDGET: usize = 4_000_000;

fn turn(a: Point, b: Point, c: Point) -> f64 {
    let coord = |p: Point| robust::Coord { x: p.x, y: p.y };
    robust::orient2d(coord(a), coord(b), coord(c))
}

fn key(p: Point) -> (u64, u64) {
    ((p.x + 0.0).to_bits(), (p.y + 0.0).to_bits())
}

/// 0..`count` in an order that visits all parts early.
fn spread(count: usize) -> impl Iterator<Item = usize> {
    // A prime that divides no count in use, so every number comes once.
    (0..count).map(move |at| (at as u128 * 2_147_483_647 % count as u128) as usize)
}

/// A hull: corners of the input, each turning left, and no point outside any edge.
pub(super) fn hull(points: &[Point], hull: &[Point]) -> Result<(), String> {
    let (Some(first), Some(last)) = (hull.first(), hull.last()) else {
        return if points.is_empty() {
            Ok(())
        } else {
            Err("no corner around some points".to_owned())
        };
    };
    are_of(points, hull)?;
    if let [only] = hull {
        let other = points.iter().find(|p| *p != only);
        return other.map_or(Ok(()), |p| Err(format!("one corner, but {p:?} is elsewhere")));
    }
    let below = |a: Point, b: Point| (a.y, a.x) < (b.y, b.x);
    // Up on the right, down on the left: once around.
    let top = (0..hull.len()).fold(0, |top, at| if below(hull[top], hull[at]) { at } else { top });
    let upwards = hull[..=top].windows(2).all(|pair| below(pair[0], pair[1]));
    let downwards = hull[top..].windows(2).all(|pair| below(pair[1], pair[0]));
    if !upwards || !downwards || top + 1 < hull.len() && !below(*first, *last) {
        return Err("the corners do not go around once from the lowest".to_owned());
    }
    if hull.len() > 2 {
        for at in 0..hull.len() {
            let [a, b, c] = [at, at + 1, at + 2].map(|at| hull[at % hull.len()]);
            if turn(a, b, c) <= 0.0 {
                return Err(format!("the corner {b:?} does not turn left"));
            }
        }
    }
    let right = &hull[..=top];
    let mut left = hull[top..].to_vec();
    left.push(*first);
    left.reverse();
    for p in points {
        // The edge of either side at the point's height.
        for (side, sign) in [(right, 1.0), (&left[..], -1.0)] {
            let at = side
                .partition_point(|corner| below(*corner, *p))
                .clamp(1, side.len() - 1);
            let outside = turn(side[at - 1], side[at], *p) * sign < 0.0;
            if outside || below(*p, *first) || below(hull[top], *p) {
                return Err(format!("the point {p:?} is outside"));
            }
        }
    }
    Ok(())
}

/// Every corner is one of the points.
pub(super) fn are_of(points: &[Point], corners: &[Point]) -> Result<(), String> {
    let mut missing: HashSet<_> = corners.iter().map(|p| key(*p)).collect();
    if missing.len() < corners.len() {
        return Err("a corner comes twice".to_owned());
    }
    for p in points {
        missing.remove(&key(*p));
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err("a corner is none of the points".to_owned())
    }
}

fn apart(a: Point, b: Point) -> f64 {
    ((a.x - b.x) * (a.x - b.x) + (a.y - b.y) * (a.y - b.y)).sqrt()
}

fn same(told: f64, found: f64) -> bool {
    (told - found).abs() <= 1e-14 * found
}

/// The closest pair: no two points, in order along x, are nearer.
pub(super) fn closest(points: &[Point], told: Option<Pair>) -> Result<(), String> {
    let Some(Pair { distance, pair }) = told else {
        return if points.len() < 2 {
            Ok(())
        } else {
            Err("no pair".to_owned())
        };
    };
    let found = apart(points[pair[0] as usize], points[pair[1] as usize]);
    if pair[0] >= pair[1] || !same(distance, found) {
        return Err(format!("the pair {pair:?} is {found} apart, not {distance}"));
    }
    let mut sorted = points.to_vec();
    sorted.sort_unstable_by(|a, b| a.x.total_cmp(&b.x));
    let mut budget = BUDGET;
    for at in spread(sorted.len()) {
        for other in &sorted[at + 1..] {
            if budget == 0 {
                return Ok(());
            }
            budget -= 1;
            if other.x - sorted[at].x > distance {
                break;
            }
            let nearer = apart(sorted[at], *other);
            if nearer < distance * (1.0 - 1e-14) {
                return Err(format!("two points are only {nearer} apart, not {distance}"));
            }
        }
    }
    Ok(())
}

/// The farthest pair: from no point, first of all from those that are extreme in some direction,
/// another is farther.
pub(super) fn farthest(points: &[Point], told: Option<Pair>) -> Result<(), String> {
    let Some(Pair { distance, pair }) = told else {
        return if points.len() < 2 {
            Ok(())
        } else {
            Err("no pair".to_owned())
        };
    };
    let found = apart(points[pair[0] as usize], points[pair[1] as usize]);
    if pair[0] >= pair[1] || !same(distance, found) {
        return Err(format!("the pair {pair:?} is {found} apart, not {distance}"));
    }
    let directions = (0..16).map(|at| Point::new(1.0, 0.0).rotated(f64::from(at) * 0.4));
    let extreme = directions.filter_map(|d| points.iter().copied().max_by(|a, b| a.dot(d).total_cmp(&b.dot(d))));
    let some = spread(points.len()).map(|at| points[at]).take(BUDGET / points.len());
    for a in extreme.chain(some) {
        if let Some(b) = points.iter().find(|b| apart(a, **b) > distance * (1.0 + 1e-14)) {
            return Err(format!(
                "{a:?} and {b:?} are {} apart, more than {distance}",
                apart(a, *b)
            ));
        }
    }
    Ok(())
}

/// A circle that holds all points and couldn't be smaller: those on its border leave no half of it empty.
pub(super) fn enclosing(points: &[Point], told: Option<Enclosing>) -> Result<(), String> {
    let Some(Enclosing { center, radius }) = told else {
        return if points.is_empty() {
            Ok(())
        } else {
            Err("no circle".to_owned())
        };
    };
    let slack = 1e-9 * (1.0 + radius);
    let mut touching = Vec::new();
    for p in points {
        let far = apart(*p, center);
        if far > radius + slack {
            return Err(format!("{p:?} is {far} from the centre, more than {radius}"));
        }
        if far >= radius - slack && radius > slack {
            touching.push((p.y - center.y).atan2(p.x - center.x));
        }
    }
    touching.sort_unstable_by(f64::total_cmp);
    let around = touching.first().map(|first| first + std::f64::consts::TAU);
    let next = touching.iter().skip(1).copied().chain(around);
    let widest = touching.iter().zip(next).map(|(a, b)| b - a).fold(0.0, f64::max);
    if radius > slack && (touching.len() < 2 || widest > std::f64::consts::PI + 1e-3) {
        return Err(format!(
            "{} points on the border leave half of the circle empty",
            touching.len()
        ));
    }
    Ok(())
}

/// Places by winding numbers, for some of the points. With `slack`, a point that near to the border may be on it.
pub(super) fn places(polygon: &[Point], points: &[Point], told: &[Place], slack: f64) -> Result<(), String> {
    for at in spread(points.len()).take((BUDGET / polygon.len().max(1)).max(1)) {
        let p = points[at];
        let (mut winding, mut on, mut near) = (0, false, false);
        for (i, a) in polygon.iter().enumerate() {
            let b = polygon[(i + 1) % polygon.len()];
            let sign = turn(*a, b, p);
            let within = (a.x.min(b.x)..=a.x.max(b.x)).contains(&p.x) && (a.y.min(b.y)..=a.y.max(b.y)).contains(&p.y);
            on |= sign == 0.0 && within;
            near |= sign.abs() <= slack * apart(*a, b) * 2.0;
            if a.y <= p.y && b.y > p.y && sign > 0.0 {
                winding += 1;
            } else if a.y > p.y && b.y <= p.y && sign < 0.0 {
                winding -= 1;
            }
        }
        let expected = match winding {
            _ if on => Place::Boundary,
            0 => Place::Outside,
            _ => Place::Inside,
        };
        if told[at] != expected && !(slack > 0.0 && near) {
            return Err(format!("{p:?} is {}, not {}", expected.name(), told[at].name()));
        }
    }
    Ok(())
}

fn meet([a, b]: [Point; 2], [c, d]: [Point; 2]) -> bool {
    let overlap = |a: f64, b: f64, c: f64, d: f64| a.min(b) <= c.max(d) && c.min(d) <= a.max(b);
    let opposite = |p: f64, q: f64| !(p > 0.0 && q > 0.0 || p < 0.0 && q < 0.0);
    overlap(a.x, b.x, c.x, d.x)
        && overlap(a.y, b.y, c.y, d.y)
        && opposite(turn(a, b, c), turn(a, b, d))
        && opposite(turn(c, d, a), turn(c, d, b))
}

/// Crossings: sorted, and for some of the segments exactly those that all others say.
pub(super) fn crossings(segments: &[[Point; 2]], told: &[(u32, u32)]) -> Result<(), String> {
    if !told.windows(2).all(|pair| pair[0] < pair[1]) || told.iter().any(|(i, j)| i >= j) {
        return Err("the pairs are not in order".to_owned());
    }
    for at in spread(segments.len()).take((BUDGET / segments.len().max(1)).clamp(1, 2000)) {
        let others = (0..segments.len()).filter(|other| *other != at && meet(segments[at], segments[*other]));
        let expected: Vec<u32> = others.map(|other| other as u32).collect();
        let own = at as u32;
        let mut found: Vec<u32> = told
            .iter()
            .filter(|(i, j)| *i == own || *j == own)
            .map(|(i, j)| if *i == own { *j } else { *i })
            .collect();
        found.sort_unstable();
        if found != expected {
            return Err(format!(
                "segment {at} meets {} others, not {}",
                expected.len(),
                found.len()
            ));
        }
    }
    Ok(())
}

/// Half-planes: every corner lies on the border of two of them and outside of none, up to rounding.
pub(super) fn half_planes(planes: &[[f64; 3]], told: &HalfPlanes) -> Result<(), String> {
    let corners = match told {
        HalfPlanes::Empty => return Err("empty, though all planes hold the origin".to_owned()),
        HalfPlanes::Polygon(corners) | HalfPlanes::Unbounded(corners) | HalfPlanes::Degenerate(corners) => corners,
    };
    for at in spread(corners.len()).take((BUDGET / planes.len().max(1)).max(1)) {
        let p = corners[at];
        let mut touching = 0;
        for [a, b, c] in planes {
            let rest = c - (a * p.x + b * p.y);
            let slack = 1e-9 * (c.abs() + (a * p.x).abs() + (b * p.y).abs());
            if rest < -slack {
                return Err(format!("{p:?} is outside of {a} x + {b} y <= {c}"));
            }
            touching += usize::from(rest <= slack);
        }
        if touching < 2 {
            return Err(format!("the corner {p:?} is on the border of {touching} half-planes"));
        }
    }
    if let HalfPlanes::Polygon(corners) = told {
        let turns = (0..corners.len()).all(|at| {
            let [a, b, c] = [at, at + 1, at + 2].map(|at| corners[at % corners.len()]);
            (b - a).cross(c - b) > -1e-9
        });
        if corners.len() < 3 || !turns {
            return Err("the polygon is not convex".to_owned());
        }
    }
    Ok(())
}

/// Delaunay: triangles turn left, edges are shared by two and then no far corner is inside the other's
/// circle (which is enough for all points, Delaunay 1934), and the count is Euler's.
pub(super) fn delaunay(points: &[Point], told: &[[u32; 3]]) -> Result<(), String> {
    let at = |number: u32| points[number as usize];
    let coord = |number: u32| robust::Coord {
        x: at(number).x,
        y: at(number).y,
    };
    let mut edges: Vec<(u32, u32, u32)> = Vec::with_capacity(3 * told.len());
    for [a, b, c] in told {
        if turn(at(*a), at(*b), at(*c)) <= 0.0 {
            return Err(format!("the triangle {:?} does not turn left", [a, b, c]));
        }
        for (p, q, across) in [(a, b, c), (b, c, a), (c, a, b)] {
            edges.push((*p.min(q), *p.max(q), *across));
        }
    }
    edges.sort_unstable();
    let (mut border, mut next) = (0, 0);
    while next < edges.len() {
        let (p, q, across) = edges[next];
        let shared = edges[next..]
            .iter()
            .take_while(|edge| (edge.0, edge.1) == (p, q))
            .count();
        match shared {
            1 => border += 1,
            2 => {
                let other = edges[next + 1].2;
                let (p, q) = if turn(at(p), at(q), at(across)) > 0.0 {
                    (p, q)
                } else {
                    (q, p)
                };
                if robust::incircle(coord(p), coord(q), coord(across), coord(other)) > 0.0 {
                    return Err(format!("{other} is inside the circle of {p}, {q}, {across}"));
                }
            }
            more => return Err(format!("the edge {p}, {q} belongs to {more} triangles")),
        }
        next += shared;
    }
    let distinct = {
        let mut sorted: Vec<_> = points.iter().map(|p| key(*p)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.len()
    };
    let line = points
        .iter()
        .find(|p| **p != points[0])
        .is_none_or(|q| points.iter().all(|r| turn(points[0], *q, *r) == 0.0));
    if line != told.is_empty() || !line && told.len() + 2 + border != 2 * distinct {
        return Err(format!(
            "{} triangles, {border} edges around, over {distinct} points",
            told.len()
        ));
    }
    Ok(())
}
