//! Delaunay triangulation: no point lies inside the circle through the corners of a triangle.
//!
//! Divide and conquer (Guibas, Stolfi: Primitives for the manipulation of general subdivisions and the computation
//! of Voronoi diagrams, 1985): upright strips of points, each halved again and again by level cuts, so that the parts
//! stay compact (Lee, Schachter: Two algorithms for constructing a Delaunay triangulation, 1980, and Dwyer 1987).
//! Parts are triangulated, perhaps on several threads, and sewn together from one end of the cut to the other. O(n log n) always, some 150 bytes for
//! a point. Every decision is the exact sign of an orientation or an in-circle test (Shewchuk's, by the `robust`
//! crate), so grids, points on one circle and points on one line need no special care. The edges are kept
//! as the rings of those that leave each point, in counter-clockwise order: the half of the quad-edge structure that
//! a triangulation needs.
//!
//! Exact for the coordinates that `predicate.rs` allows, and their differences.

use std::cmp::Ordering;

use super::{Coordinate, Point, Side};
use crate::Join;

/// The triangles over `points` as their numbers: counter-clockwise, each from its least number on, sorted.
///
/// Of equal points only the first takes part. Points on one line have no triangles. Where more than three points lie
/// on an empty circle any triangulation of them is right; ours is the same for the same points however `join` forks.
/// Coordinates must be finite.
pub fn delaunay(points: &[Point], join: &dyn Join) -> Vec<[u32; 3]> {
    // Pieces of less than some thousand points are not worth a fork, nor the copy when they are sewn together.
    let pieces = if join.width() > 1 {
        (2 * join.width()).min(points.len() / 4096)
    } else {
        1
    };
    let sites = Sites::new(points, pieces, join);
    if sites.at.len() < 3 {
        return Vec::new();
    }
    let (rings, _) = triangulate(&sites, 0, sites.at.len(), pieces, join);
    rings.triangles(&sites)
}

/// How a set of points is cut in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Into left and right; of equal x the lower ones are further left.
    Upright,
    /// Into lower and upper, of equal y the right ones are lower: the same, seen after a quarter turn clockwise of the
    /// plane. Orientations and circles are the same seen from there, so both cuts are sewn by one code.
    Level,
}

impl Cut {
    /// Different points are never equal.
    #[inline]
    fn order(self, p: Point, q: Point) -> Ordering {
        let [(a, b), (c, d)] = match self {
            Cut::Upright => [(p.x, q.x), (p.y, q.y)],
            Cut::Level => [(p.y, q.y), (q.x, p.x)],
        };
        // Coordinates are numbers, so they can always be compared.
        let by = |p: f64, q: f64| p.partial_cmp(&q).unwrap_or(Ordering::Equal);
        by(a, b).then_with(|| by(c, d))
    }
}

/// Sorts the points of each strip, which are given from left to right, upwards.
fn arrange(points: &mut [(Point, u32)], strip: usize, pieces: usize, join: &dyn Join) {
    if points.len() <= strip {
        points.sort_unstable_by(|(p, _), (q, _)| Cut::Level.order(*p, *q));
        return;
    }
    let (low, high) = points.split_at_mut(points.len() / 2);
    if pieces <= 1 {
        arrange(low, strip, 1, join);
        arrange(high, strip, 1, join);
    } else {
        join.join(
            || arrange(low, strip, pieces / 2, join),
            || arrange(high, strip, pieces - pieces / 2, join),
        );
    }
}

/// The different points, as [`arrange`] puts them.
struct Sites {
    /// At most so many in each strip.
    strip: usize,
    at: Vec<Point>,
    /// Their numbers in the input.
    number: Vec<u32>,
}

impl Sites {
    fn new(points: &[Point], pieces: usize, join: &dyn Join) -> Sites {
        let mut sites: Vec<(Point, u32)> = points.iter().copied().zip(0..).collect();
        // Of equal points the least number comes first, and stays.
        sites.sort_unstable_by(|(p, i), (q, j)| Cut::Upright.order(*p, *q).then(i.cmp(j)));
        sites.dedup_by(|next, kept| next.0 == kept.0);
        // Some points wide, where they are spread evenly.
        let strip = (STRIP_WIDTH * (sites.len() as f64).sqrt()).max(3.0) as usize;
        arrange(&mut sites, strip, pieces, join);
        let (at, number) = sites.into_iter().unzip();
        Sites { strip, at, number }
    }

    /// How so many neighbours are cut in halves: until they are one strip, upright.
    fn cut(&self, count: usize) -> Cut {
        if count > self.strip { Cut::Upright } else { Cut::Level }
    }

    fn coord(&self, site: u32) -> robust::Coord<f64> {
        let Point { x, y } = self.at[site as usize];
        robust::Coord { x, y }
    }

    /// Whether the three go counter-clockwise.
    #[inline]
    fn left_turn(&self, a: u32, b: u32, c: u32) -> bool {
        f64::side(self.at[a as usize], self.at[b as usize], self.at[c as usize]) == Side::Left
    }

    /// Whether `d` is strictly inside the circle through `a`, `b` and `c`, which go counter-clockwise.
    #[inline]
    fn in_circle(&self, a: u32, b: u32, c: u32, d: u32) -> bool {
        let at = self.at[d as usize];
        let [u, v, w] = [a, b, c].map(|site| self.at[site as usize] - at);
        let (mut value, mut size) = (0.0, 0.0);
        for (lifted, p, q) in [(u, v, w), (v, w, u), (w, u, v)] {
            let (left, right) = (p.x * q.y, p.y * q.x);
            value += lifted.dot(lifted) * (left - right);
            size += lifted.dot(lifted) * (left.abs() + right.abs());
        }
        if value.abs() > CIRCLE_BOUND * size {
            return value > 0.0;
        }
        robust::incircle(self.coord(a), self.coord(b), self.coord(c), self.coord(d)) > 0.0
    }

    fn order(&self, cut: Cut, a: u32, b: u32) -> Ordering {
        cut.order(self.at[a as usize], self.at[b as usize])
    }
}

/// Times the square root of the number of points: those in a strip.
const STRIP_WIDTH: f64 = 2.0;

/// Shewchuk's bound on the error of a plain in-circle test, in parts of the sum of its terms' magnitudes.
const CIRCLE_BOUND: f64 = (10.0 + 48.0 * f64::EPSILON) * f64::EPSILON / 2.0;

/// A directed edge; the one with the last bit flipped goes the other way.
type Edge = u32;

#[derive(Clone, Copy)]
struct Ring {
    /// Of the edges from the same origin: the next counter-clockwise, and clockwise.
    next: Edge,
    previous: Edge,
    origin: u32,
}

/// In place of an origin: an edge that was taken out.
const GONE: u32 = u32::MAX;

fn back(edge: Edge) -> Edge {
    edge ^ 1
}

#[derive(Default)]
struct Rings {
    edges: Vec<Ring>,
    /// Edges taken out, to be used again.
    free: Vec<Edge>,
}

/// Edges of the outline: counter-clockwise from the first point, clockwise from the last, in the order of a cut.
#[derive(Clone, Copy)]
struct Ends {
    left: Edge,
    right: Edge,
}

impl Ends {
    fn moved(self, by: u32) -> Ends {
        Ends {
            left: self.left + by,
            right: self.right + by,
        }
    }
}

impl Rings {
    fn origin(&self, edge: Edge) -> u32 {
        self.edges[edge as usize].origin
    }

    fn target(&self, edge: Edge) -> u32 {
        self.origin(back(edge))
    }

    fn next(&self, edge: Edge) -> Edge {
        self.edges[edge as usize].next
    }

    fn previous(&self, edge: Edge) -> Edge {
        self.edges[edge as usize].previous
    }

    /// The next edge of the face on the left.
    fn left_next(&self, edge: Edge) -> Edge {
        self.previous(back(edge))
    }

    fn add(&mut self, from: u32, to: u32) -> Edge {
        let edge = self.free.pop().unwrap_or_else(|| {
            let new = self.edges.len() as u32;
            self.edges.extend(
                [Ring {
                    next: 0,
                    previous: 0,
                    origin: GONE,
                }; 2],
            );
            new
        });
        for (edge, origin) in [(edge, from), (back(edge), to)] {
            self.edges[edge as usize] = Ring {
                next: edge,
                previous: edge,
                origin,
            };
        }
        edge
    }

    /// Puts an edge that is alone in its ring behind another one of the same origin.
    fn insert(&mut self, edge: Edge, behind: Edge) {
        let next = self.next(behind);
        self.edges[edge as usize].next = next;
        self.edges[edge as usize].previous = behind;
        self.edges[behind as usize].next = edge;
        self.edges[next as usize].previous = edge;
    }

    /// A new edge from the end of `a` to the start of `b`, with the face on their left on its left too.
    fn connect(&mut self, a: Edge, b: Edge) -> Edge {
        let edge = self.add(self.target(a), self.origin(b));
        self.insert(edge, self.left_next(a));
        self.insert(back(edge), b);
        edge
    }

    fn take_out(&mut self, edge: Edge) {
        for edge in [edge, back(edge)] {
            let Ring { next, previous, .. } = self.edges[edge as usize];
            self.edges[previous as usize].next = next;
            self.edges[next as usize].previous = previous;
            self.edges[edge as usize].origin = GONE;
        }
        self.free.push(edge);
    }

    /// Triangulates the sites from `start` to `end`, at least two; the ends are those of the cut.
    fn build(&mut self, sites: &Sites, start: usize, end: usize) -> Ends {
        if end - start <= 3 {
            return self.smallest(sites, start as u32, end - start);
        }
        let middle = start + (end - start) / 2;
        let low = self.build(sites, start, middle);
        let high = self.build(sites, middle, end);
        self.sew_halves(sites, [start, middle, end], low, high)
    }

    fn sew_halves(&mut self, sites: &Sites, [start, middle, end]: [usize; 3], low: Ends, high: Ends) -> Ends {
        let turned = |ends: Ends, count: usize| {
            let turn = sites.cut(end - start) == Cut::Upright && sites.cut(count) == Cut::Level;
            if turn { self.upright(sites, ends) } else { ends }
        };
        let (low, high) = (turned(low, middle - start), turned(high, end - middle));
        self.sew(sites, low, high)
    }

    /// The ends of an upright cut instead of those of a level one: a walk clockwise along the outline, which rises and
    /// falls only once. From bottom to left and from top to right.
    fn upright(&self, sites: &Sites, Ends { left, mut right }: Ends) -> Ends {
        let order = |a: u32, b: u32| sites.order(Cut::Upright, a, b);
        let mut backward = self.previous(left);
        while order(self.target(backward), self.origin(backward)).is_lt() {
            backward = self.left_next(backward);
        }
        while order(self.target(right), self.origin(right)).is_gt() {
            right = self.left_next(right);
        }
        Ends {
            left: self.next(backward),
            right,
        }
    }

    /// Two or three sites of a strip, upwards.
    fn smallest(&mut self, sites: &Sites, first: u32, count: usize) -> Ends {
        match count {
            2 => {
                let edge = self.add(first, first + 1);
                Ends {
                    left: edge,
                    right: back(edge),
                }
            }
            _ => {
                let a = self.add(first, first + 1);
                let b = self.add(first + 1, first + 2);
                self.insert(b, back(a));
                if sites.left_turn(first, first + 1, first + 2) {
                    self.connect(b, a);
                } else if sites.left_turn(first, first + 2, first + 1) {
                    let c = self.connect(b, a);
                    return Ends {
                        left: back(c),
                        right: c,
                    };
                }
                Ends {
                    left: a,
                    right: back(b),
                }
            }
        }
    }

    /// Makes one triangulation of two, on both sides of a cut. In what follows the cut is upright.
    fn sew(&mut self, sites: &Sites, left: Ends, right: Ends) -> Ends {
        let (mut outer_left, mut inner_left) = (left.left, left.right);
        let (mut inner_right, mut outer_right) = (right.left, right.right);
        // Down to the common tangent below both.
        loop {
            if sites.left_turn(
                self.origin(inner_right),
                self.origin(inner_left),
                self.target(inner_left),
            ) {
                inner_left = self.left_next(inner_left);
            } else if sites.left_turn(
                self.origin(inner_left),
                self.target(inner_right),
                self.origin(inner_right),
            ) {
                inner_right = self.next(back(inner_right));
            } else {
                break;
            }
        }
        let mut base = self.connect(back(inner_right), inner_left);
        if self.origin(inner_left) == self.origin(outer_left) {
            outer_left = back(base);
        }
        if self.origin(inner_right) == self.origin(outer_right) {
            outer_right = base;
        }
        // Upwards: `base` goes from the right half to the left, and all below it is done. The next point it is joined
        // with is the one whose circle with `base` holds no other.
        loop {
            let (from, to) = (self.origin(base), self.target(base));
            let above = |rings: &Rings, edge: Edge| sites.left_turn(rings.target(edge), to, from);
            let mut on_left = self.next(back(base));
            let left_is_above = above(self, on_left);
            if left_is_above {
                loop {
                    let next = self.next(on_left);
                    if !sites.in_circle(to, from, self.target(on_left), self.target(next)) {
                        break;
                    }
                    self.take_out(on_left);
                    on_left = next;
                }
            }
            let mut on_right = self.previous(base);
            let right_is_above = above(self, on_right);
            if right_is_above {
                loop {
                    let next = self.previous(on_right);
                    if !sites.in_circle(to, from, self.target(on_right), self.target(next)) {
                        break;
                    }
                    self.take_out(on_right);
                    on_right = next;
                }
            }
            if !left_is_above && !right_is_above {
                return Ends {
                    left: outer_left,
                    right: outer_right,
                };
            }
            let take_right = !left_is_above
                || (right_is_above && sites.in_circle(self.target(on_left), to, from, self.target(on_right)));
            base = if take_right {
                self.connect(on_right, back(base))
            } else {
                self.connect(back(base), back(on_left))
            };
        }
    }

    /// Takes over the edges of another triangulation; its edges' numbers grow by what is given back.
    fn append(&mut self, other: Rings) -> u32 {
        let by = self.edges.len() as u32;
        self.edges.extend(other.edges.into_iter().map(|ring| Ring {
            next: ring.next + by,
            previous: ring.previous + by,
            origin: ring.origin,
        }));
        self.free.extend(other.free.into_iter().map(|edge| edge + by));
        by
    }

    fn triangles(&self, sites: &Sites) -> Vec<[u32; 3]> {
        let mut ends = vec![0_u32; sites.number.iter().max().map_or(0, |most| *most as usize + 1)];
        let mut corners: Vec<[u32; 3]> = Vec::with_capacity(2 * sites.at.len());
        for edge in 0..self.edges.len() as u32 {
            if self.origin(edge) == GONE {
                continue;
            }
            let second = self.left_next(edge);
            let third = self.left_next(second);
            if self.left_next(third) != edge {
                continue;
            }
            let at = [edge, second, third].map(|edge| self.origin(edge));
            let [a, b, c] = at.map(|site| sites.number[site as usize]);
            // Each once; and not the outside of a lone triangle, which goes clockwise.
            if a < b && a < c && sites.left_turn(at[0], at[1], at[2]) {
                ends[a as usize] += 1;
                corners.push([a, b, c]);
            }
        }
        // By the first corner counted, by the others compared: there are few for each.
        let mut sum = 0;
        for end in &mut ends {
            sum += std::mem::replace(end, sum);
        }
        let mut sorted = vec![[0; 3]; corners.len()];
        for triangle in corners {
            let at = &mut ends[triangle[0] as usize];
            sorted[*at as usize] = triangle;
            *at += 1;
        }
        let mut start = 0;
        for end in ends {
            sorted[start..end as usize].sort_unstable();
            start = end as usize;
        }
        sorted
    }
}

fn triangulate(sites: &Sites, start: usize, end: usize, pieces: usize, join: &dyn Join) -> (Rings, Ends) {
    if pieces <= 1 {
        let mut rings = Rings::default();
        // Three edges for a point, two directions, and some that are taken out again.
        rings.edges.reserve(6 * (end - start));
        let ends = rings.build(sites, start, end);
        return (rings, ends);
    }
    let middle = start + (end - start) / 2;
    // Cut where `build` would cut too: the answer must not depend on the pieces.
    let ((mut rings, low), (other, high)) = join.join(
        || triangulate(sites, start, middle, pieces / 2, join),
        || triangulate(sites, middle, end, pieces - pieces / 2, join),
    );
    let by = rings.append(other);
    let ends = rings.sew_halves(sites, [start, middle, end], low, high.moved(by));
    (rings, ends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn coord(p: Point) -> robust::Coord<f64> {
        robust::Coord { x: p.x, y: p.y }
    }

    /// What any triangulation with the Delaunay property satisfies, and no other: triangles go counter-clockwise and
    /// are in order; over each inner edge lie two of them, and neither's circle holds the other's far corner; every
    /// different point is used; and by Euler's formula there are 2n - 2 - h of them.
    fn check(points: &[Point]) -> Vec<[u32; 3]> {
        let triangles = delaunay(points, &Sequential);
        assert!(triangles.is_sorted());
        let at = |number: u32| coord(points[number as usize]);
        let mut beyond: HashMap<(u32, u32), u32> = HashMap::new();
        for [a, b, c] in &triangles {
            assert!(a < b && a < c);
            assert!(robust::orient2d(at(*a), at(*b), at(*c)) > 0.0);
            for (from, to, far) in [(*a, *b, *c), (*b, *c, *a), (*c, *a, *b)] {
                assert_eq!(
                    beyond.insert((from, to), far),
                    None,
                    "two triangles on one side of an edge"
                );
            }
        }
        let mut border = 0;
        for ((from, to), far) in &beyond {
            match beyond.get(&(*to, *from)) {
                Some(other) => assert!(robust::incircle(at(*from), at(*to), at(*far), at(*other)) <= 0.0),
                None => {
                    border += 1;
                    if points.len() < 100 {
                        assert!(
                            points
                                .iter()
                                .all(|p| robust::orient2d(at(*from), at(*to), coord(*p)) >= 0.0)
                        );
                    }
                }
            }
        }
        let mut different: Vec<(u64, u64)> = points
            .iter()
            .map(|p| ((p.x + 0.0).to_bits(), (p.y + 0.0).to_bits()))
            .collect();
        different.sort_unstable();
        different.dedup();
        let mut used: Vec<u32> = triangles.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        if triangles.is_empty() {
            let line = |a: Point, b: Point| {
                points
                    .iter()
                    .all(|c| robust::orient2d(coord(a), coord(b), coord(*c)) == 0.0)
            };
            assert!(
                points.iter().all(|p| line(points[0], *p)),
                "no triangles, but not on one line"
            );
        } else {
            assert_eq!(used.len(), different.len());
            assert_eq!(triangles.len(), 2 * different.len() - 2 - border);
        }
        triangles
    }

    fn whole(points: &[(i32, i32)]) -> Vec<Point> {
        points
            .iter()
            .map(|(x, y)| Point::new(f64::from(*x), f64::from(*y)))
            .collect()
    }

    #[test]
    fn small_cases() {
        for line in [
            &[][..],
            &[(1, 1)],
            &[(1, 1), (2, 2)],
            &[(1, 1), (1, 1), (1, 1)],
            &[(0, 0), (2, 4), (1, 2), (3, 6)],
        ] {
            assert_eq!(check(&whole(line)), Vec::<[u32; 3]>::new());
        }
        assert_eq!(check(&whole(&[(0, 0), (0, 1), (1, 0)])), [[0, 2, 1]]);
        // Of equal points the first; its number may be the greatest.
        assert_eq!(check(&whole(&[(5, 5), (0, 0), (9, 0), (5, 5), (0, 0)])), [[0, 1, 2]]);
        // The short diagonal of a rhombus.
        assert_eq!(
            check(&whole(&[(0, 0), (3, 1), (6, 0), (3, -1)])),
            [[0, 3, 1], [1, 3, 2]]
        );
    }

    #[test]
    fn grids_and_circles() {
        let grid: Vec<(i32, i32)> = (0..900).map(|i| (i % 30, i / 30)).collect();
        assert_eq!(check(&whole(&grid)).len(), 2 * 29 * 29);
        // All integer points on the circle of radius 65 * 17, and its middle.
        let radius: i32 = 65 * 17;
        let mut circle: Vec<(i32, i32)> = (-radius..=radius)
            .flat_map(|x| {
                let y = f64::from(radius * radius - x * x).sqrt() as i32;
                [(x, y), (x, -y)]
            })
            .filter(|(x, y)| x * x + y * y == radius * radius)
            .collect();
        assert!(circle.len() > 50);
        check(&whole(&circle));
        circle.push((0, 0));
        check(&whole(&circle));
    }

    #[test]
    fn points_that_rounding_would_put_on_one_line() {
        let up = |steps: i32| 0.5 + f64::from(steps) * f64::EPSILON / 2.0;
        let points: Vec<Point> = (0..16)
            .flat_map(|x| (0..16).map(move |y| Point::new(up(x), up(y))))
            .collect();
        assert_eq!(check(&points).len(), 2 * 15 * 15);
        let tilted: Vec<Point> = (0..40)
            .map(|i| Point::new(f64::from(i) * 0.1, f64::from(i) * 0.3))
            .collect();
        check(&tilted);
    }

    #[test]
    fn many_points_and_forks_change_nothing() {
        let mut random = Random::new(9, 9);
        let mut unit = || random.below(1 << 50) as f64 / (1_u64 << 50) as f64;
        let points: Vec<Point> = (0..30_000).map(|_| Point::new(unit(), unit())).collect();
        let triangles = check(&points);
        assert!(delaunay(&points, &OnThreads(4)) == triangles);
        let grid: Vec<Point> = (0..30_000)
            .map(|i| Point::new(f64::from(i % 171), f64::from(i / 171)))
            .collect();
        let triangles = check(&grid);
        assert!(delaunay(&grid, &OnThreads(3)) == triangles);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn on_a_tiny_grid(points in prop::collection::vec((0..6, 0..6), 0..30)) {
            let points = whole(&points);
            for [a, b, c] in check(&points) {
                let corner = |number: u32| coord(points[number as usize]);
                for p in &points {
                    // The definition: no point inside any circle.
                    prop_assert!(robust::incircle(corner(a), corner(b), corner(c), coord(*p)) <= 0.0);
                }
            }
        }

        #[test]
        fn anywhere(points in prop::collection::vec((-1e3..1e3, -1e-3..1e3), 0..60)) {
            check(&points.iter().map(|(x, y)| Point::new(*x, *y)).collect::<Vec<_>>());
        }
    }
}
