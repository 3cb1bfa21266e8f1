//! Polygons: area, centroid, convexity, and which points are inside.
//!
//! A polygon is its corners in order, the last joined to the first. Corners may repeat and edges may
//! cross: area and centroid count each part by how often the border goes around it, with sign;
//! "inside" is the even-odd rule. Fewer than three corners are a polygon without an inside.

use std::cmp::Ordering;

use super::Point;
use super::expansion::{Double, Expansion};
use super::predicate::{
    Comparison, Coordinate, Side, dot_sign, double_vector, exact_cross, exact_vector, rounded_vector,
};
use crate::Join;

/// The edges of a polygon, as pairs of corners.
pub(super) fn edges<T: Coordinate>(polygon: &[Point<T>]) -> impl Iterator<Item = [Point<T>; 2]> + '_ {
    let next = polygon.iter().cycle().skip(1);
    polygon.iter().zip(next).map(|(a, b)| [*a, *b])
}

/// The area: positive when the corners go counter-clockwise. Exact arithmetic, rounded once.
pub fn polygon_area<T: Coordinate>(polygon: &[Point<T>]) -> f64 {
    (Moments::of(polygon, false).area * Double::from(0.5)).value()
}

/// The textbook's area, in f64 throughout.
pub fn plain_area<T: Coordinate>(polygon: &[Point<T>]) -> f64 {
    let as_f64 = |p: Point<T>| Point::new(p.x.to_f64(), p.y.to_f64());
    edges(polygon).map(|[a, b]| as_f64(a).cross(as_f64(b))).sum::<f64>() / 2.0
}

/// The centre of gravity. Where the area is exactly 0 (all corners on a line, or a figure eight
/// with equal halves), that of the border as a wire; where that has no length either, the corner. None
/// without corners.
pub fn centroid<T: Coordinate>(polygon: &[Point<T>]) -> Option<Point> {
    let first = *polygon.first()?;
    let Moments { area, x, y } = Moments::of(polygon, true);
    let whole = area * Double::from(3.0);
    let place = |from: T, sum: Double, of: Double| (Double::from(from.minus(T::default())) + sum / of).value();
    if area.value() != 0.0 {
        return Some(Point::new(place(first.x, x, whole), place(first.y, y, whole)));
    }
    let (mut length, mut x, mut y) = (Double::default(), Double::default(), Double::default());
    for [a, b] in edges(polygon) {
        let [dx, dy] = double_vector(a, b);
        let long = (dx * dx + dy * dy).sqrt();
        let ([ax, ay], [bx, by]) = (double_vector(first, a), double_vector(first, b));
        length = length + long;
        x = x + long * (ax + bx);
        y = y + long * (ay + by);
    }
    if length.value() == 0.0 {
        return Some(Point::new(first.x.to_f64(), first.y.to_f64()));
    }
    let twice = length * Double::from(2.0);
    Some(Point::new(place(first.x, x, twice), place(first.y, y, twice)))
}

/// Sums over the triangles from the first corner to each edge.
struct Moments {
    /// Twice the area.
    area: Double,
    /// Six times the area times the centroid, relative to the first corner.
    x: Double,
    y: Double,
}

impl Moments {
    fn of<T: Coordinate>(polygon: &[Point<T>], also_first: bool) -> Moments {
        let zero = Double::default();
        let mut sums = Moments {
            area: zero,
            x: zero,
            y: zero,
        };
        let Some(&first) = polygon.first() else { return sums };
        let mut size = 0.0;
        for [a, b] in edges(polygon) {
            let ([ax, ay], [bx, by]) = (double_vector(first, a), double_vector(first, b));
            let (left, right) = (ax * by, ay * bx);
            let cross = left - right;
            size += left.value().abs() + right.value().abs();
            sums.area = sums.area + cross;
            if also_first {
                sums.x = sums.x + cross * (ax + bx);
                sums.y = sums.y + cross * (ay + by);
            }
        }
        // 32 digits, less those that cancelled. Where half of them did, all is done again without
        // any loss: the area may be exactly 0.
        if sums.area.value().abs() > size * polygon.len() as f64 * f64::EPSILON {
            return sums;
        }
        let (mut area, mut x, mut y) = (Expansion::default(), Expansion::default(), Expansion::default());
        for [a, b] in edges(polygon) {
            let (a, b) = (exact_vector(first, a), exact_vector(first, b));
            let cross = exact_cross(&a, &b);
            area = &area + &cross;
            if also_first {
                x = &x + &(&cross * &(&a[0] + &b[0]));
                y = &y + &(&cross * &(&a[1] + &b[1]));
            }
        }
        Moments {
            area: area.rounded(),
            x: x.rounded(),
            y: y.rounded(),
        }
    }
}

/// What the corners of a polygon turn like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convexity {
    /// Every turn goes the same way or straight on, and the border goes around once. Not for a
    /// polygon whose corners all lie on one line.
    pub convex: bool,
    /// Convex, and no three corners in a row on one line.
    pub strictly: bool,
}

/// Repeated corners count once.
pub fn convexity<T: Coordinate>(polygon: &[Point<T>], comparison: Comparison) -> Convexity {
    const NOT: Convexity = Convexity {
        convex: false,
        strictly: false,
    };
    let mut corners = polygon.to_vec();
    corners.dedup();
    while corners.len() > 1 && corners.first() == corners.last() {
        corners.pop();
    }
    let at = |i: usize| corners[i % corners.len()];
    let mut way = Side::On;
    let (mut straight, mut changes) = (false, 0);
    // Around once, an edge's direction changes between "right or straight up" and the rest twice.
    let forward = |i: usize| {
        matches!(
            (at(i).x, at(i).y).partial_cmp(&(at(i + 1).x, at(i + 1).y)),
            Some(Ordering::Less)
        )
    };
    for i in 0..corners.len() {
        match comparison.side(at(i), at(i + 1), at(i + 2)) {
            Side::On if dot_sign(at(i), at(i + 1), at(i + 1), at(i + 2)) != Ordering::Greater => return NOT,
            Side::On => straight = true,
            turn if way != Side::On && way != turn => return NOT,
            turn => way = turn,
        }
        changes += usize::from(forward(i) != forward(i + 1));
    }
    if way == Side::On || changes != 2 {
        return NOT;
    }
    Convexity {
        convex: true,
        strictly: !straight,
    }
}

/// Where a point lies to a polygon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Inside,
    Outside,
    Boundary,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Inside => "inside",
            Place::Outside => "outside",
            Place::Boundary => "boundary",
        }
    }
}

/// Where one point lies: O(corners). Exact: on the border means on it. With an eps: within that
/// distance of it.
pub fn place_in_polygon<T: Coordinate>(polygon: &[Point<T>], point: Point<T>, comparison: Comparison) -> Place {
    if let Comparison::Eps(eps) = comparison {
        return plain_place(polygon, point, eps);
    }
    let mut inside = false;
    for [a, b] in edges(polygon) {
        // The ray goes to the right; an edge counts from its lower end up to, but without, its upper.
        let (low, high) = if a.y <= b.y { (a, b) } else { (b, a) };
        if point.y < low.y || point.y > high.y {
            continue;
        }
        if low.y == high.y {
            if (a.x <= point.x) != (b.x < point.x) || a.x == point.x || b.x == point.x {
                return Place::Boundary;
            }
            continue;
        }
        match T::side(low, high, point) {
            Side::On => return Place::Boundary,
            Side::Left if point.y < high.y => inside = !inside,
            _ => {}
        }
    }
    if inside { Place::Inside } else { Place::Outside }
}

fn plain_place<T: Coordinate>(polygon: &[Point<T>], point: Point<T>, eps: f64) -> Place {
    let mut inside = false;
    for [a, b] in edges(polygon) {
        let (along, to) = (rounded_vector(a, b), rounded_vector(a, point));
        let square = along.dot(along);
        let share = if square > 0.0 {
            (along.dot(to) / square).clamp(0.0, 1.0)
        } else {
            0.0
        };
        if (to - along * share).length() <= eps {
            return Place::Boundary;
        }
        let above = |p: Point<T>| p.y.offset(point.y) > 0.0;
        if above(a) != above(b) {
            let cross = along.cross(to);
            inside ^= (cross > 0.0) == above(b);
        }
    }
    if inside { Place::Inside } else { Place::Outside }
}

/// A polygon made ready for many points: a grid over it whose cells know their edges, and one point
/// of theirs and whether that is inside.
///
/// A cell without edges is all inside or all outside. In a cell with edges the way from the cell's
/// known point to the point asked for crosses some of the cell's edges, and each crossing changes
/// sides. That way is straight and never leaves the cell, so no other edge matters. A way through a
/// corner is taken as passing just beside it. All of that is exact; only which cells an edge goes
/// through is not, and there an edge too many does no harm.
pub struct PolygonIndex<T = f64> {
    edges: Vec<[Point<T>; 2]>,
    grid: Grid<T>,
    /// Edges of cell c: `listed[starts[c]..starts[c + 1]]`.
    starts: Vec<u32>,
    listed: Vec<u32>,
    cells: Vec<u32>,
    known: Vec<(Point<T>, bool)>,
}

/// What a cell is, or the number of its known point.
const OUTSIDE: u32 = u32::MAX;
const INSIDE: u32 = u32::MAX - 1;
/// Has edges but no point that is off all of them: asked for the long way.
const UNKNOWN: u32 = u32::MAX - 2;

/// Equal columns and rows over the polygon.
struct Grid<T> {
    low: Point<T>,
    high: Point<T>,
    /// How many columns, and how many rows.
    side: usize,
    /// Columns for each unit of x, rows for each unit of y; 0 where the polygon has no extent.
    across: f64,
    upward: f64,
}

impl<T: Coordinate> Grid<T> {
    fn over(polygon: &[Point<T>], cells: usize) -> Option<Grid<T>> {
        let first = *polygon.first()?;
        let (mut low, mut high) = (first, first);
        for p in polygon {
            low.x = if p.x < low.x { p.x } else { low.x };
            low.y = if p.y < low.y { p.y } else { low.y };
            high.x = if p.x > high.x { p.x } else { high.x };
            high.y = if p.y > high.y { p.y } else { high.y };
        }
        let side = ((cells as f64).sqrt() as usize).clamp(1, 4096);
        let scale = |span: f64| {
            Some(side as f64 / span)
                .filter(|scale| scale.is_finite())
                .unwrap_or(0.0)
        };
        Some(Grid {
            low,
            high,
            side,
            across: scale(high.x.offset(low.x)),
            upward: scale(high.y.offset(low.y)),
        })
    }

    fn covers(&self, p: Point<T>) -> bool {
        self.low.x <= p.x && p.x <= self.high.x && self.low.y <= p.y && p.y <= self.high.y
    }

    /// Where `p` is, counted in cells. Never less for a point farther right or up.
    fn place(&self, p: Point<T>) -> Point {
        Point::new(
            p.x.offset(self.low.x) * self.across,
            p.y.offset(self.low.y) * self.upward,
        )
    }

    fn step(&self, place: f64) -> usize {
        (place as usize).min(self.side - 1)
    }

    fn cell(&self, p: Point<T>) -> usize {
        let at = self.place(p);
        self.step(at.y) * self.side + self.step(at.x)
    }

    /// A point of the cell, that share of the way across and upward.
    fn point(&self, cell: usize, across: f64, upward: f64) -> Option<Point<T>> {
        let at = |from: T, step: usize, share: f64, scale: f64| {
            if scale > 0.0 {
                from.moved((step as f64 + share) / scale)
            } else {
                from
            }
        };
        let point = Point::new(
            at(self.low.x, cell % self.side, across, self.across),
            at(self.low.y, cell / self.side, upward, self.upward),
        );
        // Where whole numbers are farther apart than cells, it may have gone to another.
        (self.cell(point) == cell && self.covers(point)).then_some(point)
    }

    /// Tells all cells that the edge touches, and perhaps a few beside it.
    fn trace(&self, [a, b]: [Point<T>; 2], mut tell: impl FnMut(usize)) {
        // A place is wrong by far less than this, in cells.
        const SLACK: f64 = 1e-6;
        let (a, b) = (self.place(a), self.place(b));
        let (low, high) = if a.y <= b.y { (a, b) } else { (b, a) };
        let (least, most) = (a.x.min(b.x), a.x.max(b.x));
        let level = high.y - low.y < 2.0 * SLACK;
        let slope = if level {
            0.0
        } else {
            (high.x - low.x) / (high.y - low.y)
        };
        for row in self.step(low.y - SLACK)..=self.step(high.y + SLACK) {
            let at = |y: f64| (low.x + (y.clamp(low.y, high.y) - low.y) * slope).clamp(least, most);
            let (p, q) = if level {
                (least, most)
            } else {
                // The last row holds all above it too.
                let upper = if row + 1 == self.side {
                    high.y
                } else {
                    row as f64 + 1.0 + SLACK
                };
                (at(row as f64 - SLACK), at(upper))
            };
            for column in self.step(p.min(q) - SLACK)..=self.step(p.max(q) + SLACK) {
                tell(row * self.side + column);
            }
        }
    }
}

impl<T: Coordinate> PolygonIndex<T> {
    /// An index that pays for itself over about so many points. None for a polygon without corners.
    pub fn new(polygon: &[Point<T>], points: usize) -> Option<PolygonIndex<T>> {
        let edges: Vec<_> = edges(polygon).collect();
        let mut cells = (8 * edges.len()).min(2 * edges.len() + points).clamp(16, 1 << 22);
        let most = 8 * (edges.len() + points) + 1024;
        let (grid, mut starts) = loop {
            let grid = Grid::over(polygon, cells)?;
            let mut starts = vec![0_u32; grid.side * grid.side + 1];
            let mut entries = 0_usize;
            for edge in &edges {
                grid.trace(*edge, |cell| {
                    starts[cell] += 1;
                    entries += 1;
                });
                if entries > most {
                    break;
                }
            }
            if entries <= most || cells <= 1 {
                break (grid, starts);
            }
            // Long edges through many cells each: fewer cells then.
            cells /= 4;
        };
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        // From the back, so that `starts` ends as starts, and the edges of a cell stand in order.
        let mut listed = vec![0; sum as usize];
        for (number, edge) in edges.iter().enumerate().rev() {
            grid.trace(*edge, |cell| {
                starts[cell] -= 1;
                listed[starts[cell] as usize] = number as u32;
            });
        }
        let mut index = PolygonIndex {
            cells: vec![OUTSIDE; grid.side * grid.side],
            edges,
            grid,
            starts,
            listed,
            known: Vec::new(),
        };
        for row in 0..index.grid.side {
            index.settle(row);
        }
        Some(index)
    }

    fn listed(&self, cell: usize) -> &[u32] {
        &self.listed[self.starts[cell] as usize..self.starts[cell + 1] as usize]
    }

    /// Finds what every cell of a row is, from the left.
    fn settle(&mut self, row: usize) {
        for cell in row * self.grid.side..(row + 1) * self.grid.side {
            let first = cell % self.grid.side == 0;
            let empty = self.listed(cell).is_empty();
            let before = if first { OUTSIDE } else { self.cells[cell - 1] };
            if empty && (before == OUTSIDE || before == INSIDE) {
                self.cells[cell] = before;
                continue;
            }
            let Some(point) = self.point_off_edges(cell) else {
                self.cells[cell] = UNKNOWN;
                continue;
            };
            let inside = if first {
                // Left of it there is nothing.
                self.listed(cell)
                    .iter()
                    .filter(|edge| is_left_of(self.edges[**edge as usize], point))
                    .count()
                    % 2
                    == 1
            } else {
                let from = match before {
                    OUTSIDE | INSIDE => self
                        .grid
                        .point(cell - 1, 0.5, 0.5)
                        .map(|point| (point, before == INSIDE)),
                    UNKNOWN => None,
                    known => Some(self.known[known as usize]),
                };
                from.map_or_else(
                    || self.the_long_way(point),
                    |(from, was)| {
                        let [old, new] = [cell - 1, cell].map(|cell| self.listed(cell));
                        // In order both; an edge of both cells is crossed once.
                        let fresh = new.iter().filter(|edge| old.binary_search(edge).is_err());
                        let crossed = old
                            .iter()
                            .chain(fresh)
                            .filter(|edge| crosses(self.edges[**edge as usize], from, point));
                        was ^ (crossed.count() % 2 == 1)
                    },
                )
            };
            self.cells[cell] = if empty {
                if inside { INSIDE } else { OUTSIDE }
            } else {
                self.known.push((point, inside));
                self.known.len() as u32 - 1
            };
        }
    }

    fn point_off_edges(&self, cell: usize) -> Option<Point<T>> {
        [(0.5, 0.5), (0.31, 0.62), (0.73, 0.17), (0.12, 0.88), (0.9, 0.77)]
            .iter()
            .find_map(|(across, upward)| {
                let point = self.grid.point(cell, *across, *upward)?;
                let off = |edge: &u32| !holds(self.edges[*edge as usize], point);
                self.listed(cell).iter().all(off).then_some(point)
            })
    }

    fn the_long_way(&self, point: Point<T>) -> bool {
        self.edges.iter().filter(|edge| is_left_of(**edge, point)).count() % 2 == 1
    }

    /// Where `point` lies: exact.
    pub fn place(&self, point: Point<T>) -> Place {
        if !self.grid.covers(point) {
            return Place::Outside;
        }
        let cell = self.grid.cell(point);
        let inside = match self.cells[cell] {
            OUTSIDE => return Place::Outside,
            INSIDE => return Place::Inside,
            UNKNOWN => {
                if self
                    .listed(cell)
                    .iter()
                    .any(|edge| holds(self.edges[*edge as usize], point))
                {
                    return Place::Boundary;
                }
                self.the_long_way(point)
            }
            known => {
                let (from, mut inside) = self.known[known as usize];
                for edge in self.listed(cell) {
                    let edge = self.edges[*edge as usize];
                    if holds(edge, point) {
                        return Place::Boundary;
                    }
                    inside ^= crosses(edge, from, point);
                }
                inside
            }
        };
        if inside { Place::Inside } else { Place::Outside }
    }
}

/// Whether the point is on the edge.
fn holds<T: Coordinate>([a, b]: [Point<T>; 2], p: Point<T>) -> bool {
    let between = |a: T, b: T, p: T| if a < b { a <= p && p <= b } else { b <= p && p <= a };
    between(a.x, b.x, p.x) && between(a.y, b.y, p.y) && T::side(a, b, p) == Side::On
}

/// Whether a ray from the point to the left meets the edge, on which it isn't.
fn is_left_of<T: Coordinate>([a, b]: [Point<T>; 2], p: Point<T>) -> bool {
    let (low, high) = if a.y <= b.y { (a, b) } else { (b, a) };
    low.y <= p.y && p.y < high.y && T::side(low, high, p) == Side::Right
}

/// Whether the way between two points, neither of them on the edge, crosses it. A corner on the
/// way counts as left of it.
fn crosses<T: Coordinate>([a, b]: [Point<T>; 2], from: Point<T>, to: Point<T>) -> bool {
    T::side(a, b, from) != T::side(a, b, to)
        && (T::side(from, to, a) == Side::Right) != (T::side(from, to, b) == Side::Right)
}

/// From so many tests of an edge on, an index is made.
const WORTH_AN_INDEX: usize = 20_000;

/// Where each of the points lies.
pub fn points_in_polygon<T: Coordinate>(
    polygon: &[Point<T>],
    points: &[Point<T>],
    comparison: Comparison,
    join: &dyn Join,
) -> Vec<Place> {
    let index = if comparison == Comparison::Exact && polygon.len().saturating_mul(points.len()) > WORTH_AN_INDEX {
        PolygonIndex::new(polygon, points.len())
    } else {
        None
    };
    let mut places = vec![Place::Outside; points.len()];
    let place = |p: Point<T>| match &index {
        Some(index) => index.place(p),
        None => place_in_polygon(polygon, p, comparison),
    };
    fill(&mut places, points, join, &place);
    places
}

fn fill<T: Coordinate>(
    places: &mut [Place],
    points: &[Point<T>],
    join: &dyn Join,
    place: &(dyn Fn(Point<T>) -> Place + Sync),
) {
    const GRAIN: usize = 16 * 1024;
    if points.len() <= GRAIN {
        for (slot, point) in places.iter_mut().zip(points) {
            *slot = place(*point);
        }
        return;
    }
    let half = points.len() / 2;
    let ((low, high), (left, right)) = (places.split_at_mut(half), points.split_at(half));
    join.join(|| fill(low, left, join, place), || fill(high, right, join, place));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    fn whole(corners: &[[i64; 2]]) -> Vec<Point<i64>> {
        corners.iter().map(|[x, y]| Point::new(*x, *y)).collect()
    }

    const FAR: i64 = i64::MAX;

    #[test]
    fn areas_and_centroids() {
        let square = [[0, 0], [4, 0], [4, 2], [0, 2]];
        for (what, corners, area, centre) in [
            ("none", &[][..], 0.0, None),
            ("a point", &[[3, 4]], 0.0, Some([3.0, 4.0])),
            ("the same point", &[[3, 4], [3, 4]], 0.0, Some([3.0, 4.0])),
            ("a line", &[[0, 0], [4, 2]], 0.0, Some([2.0, 1.0])),
            ("a folded line", &[[0, 0], [4, 0], [1, 0]], 0.0, Some([2.0, 0.0])),
            ("a square", &square, 8.0, Some([2.0, 1.0])),
            ("clockwise", &[[0, 2], [4, 2], [4, 0], [0, 0]], -8.0, Some([2.0, 1.0])),
            ("a triangle", &[[0, 0], [3, 0], [0, 3]], 4.5, Some([1.0, 1.0])),
            (
                "a figure eight",
                &[[0, 0], [2, 2], [2, 0], [0, 2]],
                0.0,
                Some([1.0, 1.0]),
            ),
            (
                "far away",
                &[[FAR - 4, FAR - 2], [FAR, FAR - 2], [FAR, FAR], [FAR - 4, FAR]],
                8.0,
                Some([FAR as f64; 2]),
            ),
            (
                "the whole range",
                &[[-FAR, -FAR], [FAR, -FAR], [FAR, FAR], [-FAR, FAR]],
                2.0_f64.powi(128),
                Some([0.0; 2]),
            ),
        ] {
            let corners = whole(corners);
            assert_eq!(polygon_area(&corners), area, "{what}");
            assert_eq!(centroid(&corners), centre.map(|[x, y]| Point::new(x, y)), "{what}");
        }
    }

    #[test]
    fn an_area_is_right_to_the_last_digit_where_the_plain_one_is_lost() {
        // A triangle of area 2^-53, far from the origin.
        let e = f64::EPSILON;
        let corners = [[1.0, 1.0], [1.0 + e, 1.0], [1.0, 2.0]].map(|[x, y]| Point::new(x + 0.0, y));
        assert_eq!(polygon_area(&corners), e / 2.0);
        let line = [[0.1, 0.1], [0.2, 0.2], [0.7, 0.7]].map(|[x, y]| Point::new(x, y));
        assert_eq!(polygon_area(&line), 0.0);
        assert!((plain_area(&corners) - e / 2.0).abs() <= e);
    }

    #[test]
    fn kinds_of_convexity() {
        let check = |corners: &[[i64; 2]], convex, strictly| {
            for turned in 0..corners.len().max(1) {
                let mut corners = whole(corners);
                corners.rotate_left(turned);
                assert_eq!(
                    convexity(&corners, Comparison::Exact),
                    Convexity { convex, strictly },
                    "{corners:?}"
                );
                corners.reverse();
                assert_eq!(
                    convexity(&corners, Comparison::Exact),
                    Convexity { convex, strictly },
                    "{corners:?}"
                );
            }
        };
        check(&[[0, 0], [4, 0], [4, 4], [0, 4]], true, true);
        check(&[[0, 0], [4, 0], [4, 0], [4, 4], [0, 4], [0, 0]], true, true);
        check(&[[0, 0], [2, 0], [4, 0], [4, 4], [0, 4]], true, false);
        check(&[[0, 0], [4, 0], [1, 1], [0, 4]], false, false);
        // A star of five points turns left at each, twice around.
        check(&[[0, 3], [2, -3], [-3, 1], [3, 1], [-2, -3]], false, false);
        check(&[[0, 0], [4, 0], [2, 0], [2, 3]], false, false);
        check(&[[0, 0], [4, 0], [2, 0]], false, false);
        check(&[[0, 0], [1, 1]], false, false);
        check(&[[1, 1]], false, false);
        check(&[], false, false);
    }

    #[test]
    fn the_boundary_is_told_apart() {
        let c = whole(&[[0, 0], [6, 0], [6, 6], [4, 6], [4, 2], [2, 2], [2, 6], [0, 6]]);
        for (x, y, place) in [
            (1, 1, Place::Inside),
            (3, 4, Place::Outside),
            (3, 2, Place::Boundary),
            (2, 2, Place::Boundary),
            (3, 1, Place::Inside),
            (5, 6, Place::Boundary),
            (3, 6, Place::Outside),
            (7, 0, Place::Outside),
            (-1, 6, Place::Outside),
            (1, 2, Place::Inside),
        ] {
            for comparison in [Comparison::Exact, Comparison::Eps(1e-9)] {
                assert_eq!(place_in_polygon(&c, Point::new(x, y), comparison), place, "{x} {y}");
            }
        }
        assert_eq!(
            place_in_polygon::<i64>(&[], Point::new(0, 0), Comparison::Exact),
            Place::Outside
        );
        assert_eq!(
            place_in_polygon(&whole(&[[1, 1]]), Point::new(1, 1), Comparison::Exact),
            Place::Boundary
        );
    }

    #[test]
    fn a_point_off_the_border_by_the_last_digit_is_not_on_it() {
        let triangle = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]].map(|[x, y]| Point::new(x, y));
        let beside = Point::new(0.1, f64::from_bits(0.1_f64.to_bits() + 1));
        assert_eq!(
            place_in_polygon(&triangle, Point::new(0.1, 0.1), Comparison::Exact),
            Place::Boundary
        );
        assert_eq!(place_in_polygon(&triangle, beside, Comparison::Exact), Place::Outside);
        assert_eq!(
            place_in_polygon(&triangle, beside, Comparison::Eps(1e-9)),
            Place::Boundary
        );
    }

    fn agree<T: Coordinate>(polygon: &[Point<T>], points: &[Point<T>], cells_for: usize) {
        let index = PolygonIndex::new(polygon, cells_for).unwrap();
        for p in points {
            let expected = place_in_polygon(polygon, *p, Comparison::Exact);
            assert_eq!(index.place(*p), expected, "{p:?} {polygon:?}");
        }
    }

    #[test]
    fn an_index_of_a_spiky_polygon_agrees_with_every_edge_tested() {
        let mut random = Random::new(3, 0);
        let mut unit = || random.below(1 << 52) as f64 / (1_u64 << 52) as f64;
        for corners in [3, 50, 700] {
            let polygon: Vec<Point> = (0..corners)
                .map(|at| {
                    Point::new(0.05 + unit(), 0.0).rotated(f64::from(at) / f64::from(corners) * std::f64::consts::TAU)
                })
                .collect();
            let mut points: Vec<Point> = (0..3000)
                .map(|_| Point::new(unit() - 0.5, unit() - 0.5) * 2.2)
                .collect();
            points.extend(&polygon);
            points.extend(edges(&polygon).map(|[a, b]| (a + b) * 0.5));
            agree(&polygon, &points, 3000);
            let forked = points_in_polygon(&polygon, &points, Comparison::Exact, &OnThreads(2));
            assert_eq!(
                forked,
                points_in_polygon(&polygon, &points, Comparison::Exact, &Sequential)
            );
        }
    }

    proptest! {
        #[test]
        fn an_index_agrees_on_any_polygon(corners in proptest::collection::vec(proptest::array::uniform2(0..9_i64), 1..40), cells in 1..3000_usize) {
            let polygon = whole(&corners);
            let points: Vec<_> = (-1..10).flat_map(|x| (-1..10).map(move |y| Point::new(x, y))).collect();
            agree(&polygon, &points, cells);
            let halved = |p: &Point<i64>| Point::new(p.x as f64 * 0.5 + 1e9, p.y as f64 * 0.1);
            let (polygon, points): (Vec<Point>, Vec<Point>) = (polygon.iter().map(halved).collect(), points.iter().map(halved).collect());
            agree(&polygon, &points, cells);
        }

        #[test]
        fn areas_are_those_of_whole_numbers(corners in proptest::collection::vec(proptest::array::uniform2(-1000..1000_i64), 0..20), far in any::<bool>()) {
            let twice: i64 = (0..corners.len()).map(|i| {
                let ([ax, ay], [bx, by]) = (corners[i], corners[(i + 1) % corners.len()]);
                ax * by - ay * bx
            }).sum();
            let moved: Vec<_> = corners.iter().map(|[x, y]| if far { [x + (1 << 62), y - (1 << 62)] } else { [*x, *y] }).collect();
            prop_assert_eq!(polygon_area(&whole(&moved)), twice as f64 / 2.0);
        }
    }
}
