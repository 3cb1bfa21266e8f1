//! The region where many inequalities a·x + b·y <= c hold at once.
//!
//! The planes are sorted by the direction of their normals and go through a queue of those that
//! still bound the region (the common method; de Berg and others, Computational Geometry, 2008,
//! chapter 4, has the task): O(n log n). Two things keep it right where rounding would spoil it.
//!
//! Every decision is the exact sign of a determinant of the coefficients as they are (`determinant.rs`);
//! rounded numbers appear only in the vertices that are handed out, each coordinate within some 6
//! units in the last place.
//!
//! Four planes at infinity (x <= M, y <= M, -x <= M, -y <= M, M greater than any number) make
//! every region bounded; their part in a determinant is told by the coefficient of M. A vertex on one
//! of them means that the region is unbounded.
//!
//! The queue's answer is then proved: each plane must hold the vertex farthest along its normal.
//! If one doesn't, the region has no inside, and a linear program (Seidel 1991) in the same
//! arithmetic finds its least and its greatest point, or that it has none: O(n) expected.

use std::cmp::Ordering;

use super::Point;
use super::determinant::{det2, det2_sign, det3_sign};
use crate::random::Random;

/// The region where all inequalities hold.
#[derive(Clone, Debug, PartialEq)]
pub enum HalfPlanes {
    /// Bounded, with an inside: its vertices counter-clockwise from the lowest, then leftmost.
    Polygon(Vec<Point>),
    /// No point.
    Empty,
    /// Without bounds: its vertices counter-clockwise from one unbounded end to the other. None when the region is
    /// the whole plane, a half-plane, a strip or a line; a ray has its end.
    Unbounded(Vec<Point>),
    /// Bounded without an inside: a point, or the ends of a segment.
    Degenerate(Vec<Point>),
}

/// Where a·x + b·y <= c for every `[a, b, c]` of `planes`. With a = b = 0 an inequality holds everywhere or nowhere.
/// Coefficients must be numbers, not NaN and not infinite.
pub fn half_plane_intersection(planes: &[[f64; 3]]) -> HalfPlanes {
    if planes.iter().any(|[a, b, c]| *a == 0.0 && *b == 0.0 && *c < 0.0) {
        return HalfPlanes::Empty;
    }
    let planes = bounding(planes);
    match Queue::run(&planes) {
        Some(ring) => outline(&planes, &ring),
        None => without_inside(&planes),
    }
}

/// a·x + b·y <= c + far·M.
#[derive(Clone, Copy, Debug)]
struct Plane {
    a: f64,
    b: f64,
    c: f64,
    far: f64,
    /// Grows with the direction of the normal, from 0 (right) by 1 (up) to less than 4.
    direction: f64,
}

impl Plane {
    fn new(a: f64, b: f64, c: f64, far: f64) -> Plane {
        // b / (|a| + |b|) goes from 0 to 1 in the first quarter, and so on. Halves cannot overflow.
        let share = (b / 2.0) / (a.abs() / 2.0 + b.abs() / 2.0);
        let direction = if a < 0.0 {
            2.0 - share
        } else if b < 0.0 {
            4.0 + share
        } else {
            share
        };
        Plane {
            a,
            b,
            c,
            far,
            direction,
        }
    }

    /// Plainly where that is certain, exactly where the directions nearly agree.
    fn by_direction(&self, other: &Plane) -> Ordering {
        let apart = self.direction - other.direction;
        // Each carries a relative error of a few 1e-16, and is at most 4.
        if apart.abs() > 1e-14 && apart.abs() < 3.0 {
            return apart.total_cmp(&0.0);
        }
        self.lower_half()
            .cmp(&other.lower_half())
            .then_with(|| turn(other, self))
    }

    /// Directions of half a turn and more.
    fn lower_half(&self) -> bool {
        self.b < 0.0 || (self.b == 0.0 && self.a < 0.0)
    }

    fn is_far(&self) -> bool {
        self.far != 0.0
    }
}

/// `Greater` when `q`'s normal points counter-clockwise of `p`'s.
fn turn(p: &Plane, q: &Plane) -> Ordering {
    det2_sign(p.a, p.b, q.a, q.b)
}

/// Of planes with parallel normals: how far out the line of `p` lies against the line of `q`, along the normal of `q`.
fn outwards(p: &Plane, q: &Plane) -> Ordering {
    let (of_p, of_q) = if q.a.abs() > q.b.abs() { (p.a, q.a) } else { (p.b, q.b) };
    // p's line is where n·x = c_p; along q's normal that is c_p / of_p * of_q against c_q.
    let against = |p_c: f64, q_c: f64| det2_sign(p_c, q_c, of_p, of_q);
    let order = against(p.far, q.far).then_with(|| against(p.c, q.c));
    // det2 = p_c of_q - q_c of_p; dividing by of_p turns it when of_p is negative.
    if of_p < 0.0 { order.reverse() } else { order }
}

/// Where the crossing of the lines of `p` and `q` (not parallel) lies to the plane `r`: `Less` inside, `Greater` outside.
fn crossing_against(p: &Plane, q: &Plane, r: &Plane) -> Ordering {
    let rows = |c: fn(&Plane) -> f64| det3_sign([p.a, p.b, c(p)], [q.a, q.b, c(q)], [r.a, r.b, c(r)]);
    // By Cramer's rule, n_r·x - c_r = -det / (p × q).
    let far = if p.is_far() || q.is_far() || r.is_far() {
        rows(|p| p.far)
    } else {
        Ordering::Equal
    };
    let det = far.then_with(|| rows(|p| p.c));
    if turn(p, q) == Ordering::Greater {
        det.reverse()
    } else {
        det
    }
}

/// The planes that may bound the region, by direction, one for each; the four at infinity are always there.
fn bounding(planes: &[[f64; 3]]) -> Vec<Plane> {
    let mut all: Vec<Plane> = planes
        .iter()
        .filter(|[a, b, _]| *a != 0.0 || *b != 0.0)
        .map(|[a, b, c]| Plane::new(*a, *b, *c, 0.0))
        .chain([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)].map(|(a, b)| Plane::new(a, b, 0.0, 1.0)))
        .collect();
    all.sort_unstable_by(Plane::by_direction);
    // Of equal directions the innermost stays.
    all.dedup_by(|next, kept| {
        let same = kept.by_direction(next) == Ordering::Equal;
        if same && outwards(next, kept) == Ordering::Less {
            *kept = *next;
        }
        same
    });
    all
}

/// The planes that bound the region so far, by direction.
struct Queue<'a> {
    planes: &'a [Plane],
    /// Those in use are from `first` on.
    kept: Vec<u32>,
    first: usize,
}

impl Queue<'_> {
    /// The planes on the border of the region, counter-clockwise; `None` if it has no inside.
    fn run(planes: &[Plane]) -> Option<Vec<u32>> {
        let mut queue = Queue {
            planes,
            kept: Vec::with_capacity(planes.len()),
            first: 0,
        };
        for new in 0..planes.len() as u32 {
            queue.push(new)?;
        }
        let ring = queue.close()?;
        proved(planes, &ring).then_some(ring)
    }

    fn len(&self) -> usize {
        self.kept.len() - self.first
    }

    /// Whether the vertex of two neighbours in the queue is strictly inside of another plane.
    fn holds(&self, neighbours: &[u32], plane: u32) -> bool {
        let at = |number: u32| &self.planes[number as usize];
        crossing_against(at(neighbours[0]), at(neighbours[1]), at(plane)) == Ordering::Less
    }

    fn last_two(&self) -> &[u32] {
        &self.kept[self.kept.len() - 2..]
    }

    fn first_two(&self) -> &[u32] {
        &self.kept[self.first..self.first + 2]
    }

    fn push(&mut self, new: u32) -> Option<()> {
        while self.len() >= 2 && !self.holds(self.last_two(), new) {
            self.kept.pop();
        }
        while self.len() >= 2 && !self.holds(self.first_two(), new) {
            self.first += 1;
        }
        if let Some(last) = self.kept[self.first..].last() {
            // Half a turn or more from one plane to the next: what lay between them is cut away.
            let turn = turn(&self.planes[*last as usize], &self.planes[new as usize]);
            if turn != Ordering::Greater {
                return None;
            }
        }
        self.kept.push(new);
        Some(())
    }

    fn close(mut self) -> Option<Vec<u32>> {
        while self.len() >= 3 && !self.holds(self.last_two(), self.kept[self.first]) {
            self.kept.pop();
        }
        while self.len() >= 3 && !self.holds(self.first_two(), self.kept[self.kept.len() - 1]) {
            self.first += 1;
        }
        (self.len() >= 3).then(|| self.kept.split_off(self.first))
    }
}

/// Whether `ring` is exactly the region: its planes are among all planes, so the region is no greater; it is a convex
/// polygon with an inside, and every plane holds the vertex that is farthest along its normal, so it is no smaller.
fn proved(planes: &[Plane], ring: &[u32]) -> bool {
    let at = |place: usize| &planes[ring[place % ring.len()] as usize];
    let convex = (0..ring.len()).all(|i| {
        turn(at(i), at(i + 1)) == Ordering::Greater && crossing_against(at(i), at(i + 1), at(i + 2)) == Ordering::Less
    });
    // Planes between two neighbours of the ring, by direction, are farthest at their common vertex.
    convex
        && (0..ring.len()).all(|i| {
            let (from, to) = (ring[i] as usize, ring[(i + 1) % ring.len()] as usize);
            let holds = |plane: &Plane| crossing_against(&planes[from], &planes[to], plane) != Ordering::Greater;
            if from < to {
                planes[from + 1..to].iter().all(holds)
            } else {
                planes[from + 1..].iter().chain(&planes[..to]).all(holds)
            }
        })
}

/// The crossing of two lines, rounded.
fn crossing(p: &Plane, q: &Plane) -> Point {
    let area = det2(p.a, p.b, q.a, q.b);
    // + 0.0 makes of a negative zero a plain one.
    Point::new(
        det2(p.c, p.b, q.c, q.b) / area + 0.0,
        det2(p.a, p.c, q.a, q.c) / area + 0.0,
    )
}

fn outline(planes: &[Plane], ring: &[u32]) -> HalfPlanes {
    let at = |place: usize| &planes[ring[place % ring.len()] as usize];
    let vertices = |from: usize| {
        let mut vertices: Vec<Point> = (from..from + ring.len())
            .filter(|i| !at(*i).is_far() && !at(i + 1).is_far())
            .map(|i| crossing(at(i), at(i + 1)))
            .collect();
        // Vertices so near that they round to one are one.
        vertices.dedup();
        vertices
    };
    // The border leaves infinity behind a plane at infinity that a plain one follows.
    if let Some(end) = (0..ring.len()).find(|i| at(*i).is_far() && !at(i + 1).is_far()) {
        return HalfPlanes::Unbounded(vertices(end + 1));
    }
    if ring.iter().any(|number| planes[*number as usize].is_far()) {
        return HalfPlanes::Unbounded(Vec::new());
    }
    let mut vertices = vertices(0);
    while vertices.len() > 1 && vertices.first() == vertices.last() {
        vertices.pop();
    }
    let lowest = (0..vertices.len()).min_by(|i, j| {
        let (p, q) = (vertices[*i], vertices[*j]);
        p.y.total_cmp(&q.y).then(p.x.total_cmp(&q.x))
    });
    vertices.rotate_left(lowest.unwrap_or(0));
    HalfPlanes::Polygon(vertices)
}

/// A region that has no inside, by its two ends.
fn without_inside(planes: &[Plane]) -> HalfPlanes {
    // An order that does not depend on the input makes O(n) expected of Seidel's O(n²).
    let mut order: Vec<u32> = (0..planes.len() as u32).collect();
    Random::new(0, planes.len() as u64).shuffle(&mut order);
    let end = |leftmost: bool| farthest(planes, &order, leftmost);
    let (Some(left), Some(right)) = (end(true), end(false)) else {
        return HalfPlanes::Empty;
    };
    let at = |[p, q]: [usize; 2]| {
        let (p, q) = (&planes[p], &planes[q]);
        (!p.is_far() && !q.is_far()).then(|| crossing(p, q))
    };
    match (at(left), at(right)) {
        (Some(left), Some(right)) if left == right => HalfPlanes::Degenerate(vec![left]),
        (Some(left), Some(right)) => HalfPlanes::Degenerate(vec![left, right]),
        // A line, or a ray with its end.
        (left, right) => HalfPlanes::Unbounded(left.or(right).into_iter().collect()),
    }
}

/// The leftmost, then lowest point of the region (or the rightmost, then highest), as the crossing of two planes.
/// `None` if there is no region.
fn farthest(planes: &[Plane], order: &[u32], leftmost: bool) -> Option<[usize; 2]> {
    let far = |a: f64, b: f64| planes.iter().position(|p| p.is_far() && p.a == a && p.b == b);
    // A plane at infinity that lost its place to a plain one of its direction is not missed: the plain one bounds.
    let toward = if leftmost { -1.0 } else { 1.0 };
    let start = |a: f64, b: f64| {
        let axis = Plane::new(a, b, 0.0, 0.0);
        far(a, b).or_else(|| planes.iter().position(|p| p.by_direction(&axis) == Ordering::Equal))
    };
    let (along_x, along_y) = (start(toward, 0.0)?, start(0.0, toward)?);
    let mut best = [along_x, along_y];
    for (so_far, number) in order.iter().enumerate() {
        let plane = &planes[*number as usize];
        if crossing_against(&planes[best[0]], &planes[best[1]], plane) != Ordering::Greater {
            continue;
        }
        // The new best lies on this plane's line, between the planes seen so far. `up` bounds it along the line's
        // direction (-b, a), `down` the other way.
        let (mut up, mut down): (Option<usize>, Option<usize>) = (None, None);
        let seen = order[..so_far]
            .iter()
            .map(|number| *number as usize)
            .chain([along_x, along_y]);
        for other in seen {
            let bound = match turn(plane, &planes[other]) {
                Ordering::Equal => {
                    if outwards(plane, &planes[other]) == Ordering::Greater {
                        return None;
                    }
                    continue;
                }
                Ordering::Greater => &mut up,
                Ordering::Less => &mut down,
            };
            let tighter =
                bound.is_none_or(|bound| crossing_against(plane, &planes[bound], &planes[other]) == Ordering::Greater);
            if tighter {
                *bound = Some(other);
            }
        }
        if let (Some(up), Some(down)) = (up, down)
            && crossing_against(plane, &planes[down], &planes[up]) == Ordering::Greater
        {
            return None;
        }
        let gain = if plane.b == 0.0 {
            plane.a * toward
        } else {
            -plane.b * toward
        };
        let go_up = gain > 0.0;
        best = [*number as usize, if go_up { up } else { down }?];
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(given: &[(f64, f64)]) -> Vec<Point> {
        given.iter().map(|(x, y)| Point::new(*x, *y)).collect()
    }

    const SQUARE: [[f64; 3]; 4] = [[1.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, -1.0, 0.0]];

    fn with(more: &[[f64; 3]]) -> HalfPlanes {
        half_plane_intersection(&[&SQUARE, more].concat())
    }

    #[test]
    fn each_kind_is_told() {
        let square = HalfPlanes::Polygon(points(&[(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]));
        assert_eq!(with(&[]), square);
        // Redundant: farther out, through a corner, along an edge, the same again, true everywhere.
        for more in [
            [1.0, 1.0, 3.0],
            [1.0, 1.0, 2.0],
            [2.0, 0.0, 2.0],
            [0.0, 0.0, 0.0],
            [0.0, 0.0, 7.0],
        ] {
            assert_eq!(with(&[more]), square, "{more:?}");
        }
        for more in [
            [1.0, 1.0, -1.0],
            [1.0, 0.0, -1.0],
            [0.0, 0.0, -1.0],
            [-1.0, -1.0, -2.0 - 1e-15],
        ] {
            assert_eq!(with(&[more]), HalfPlanes::Empty, "{more:?}");
        }
        assert_eq!(
            with(&[[-1.0, -1.0, -2.0]]),
            HalfPlanes::Degenerate(points(&[(1.0, 1.0)]))
        );
        assert_eq!(
            with(&[[1.0, 0.0, 0.0]]),
            HalfPlanes::Degenerate(points(&[(0.0, 0.0), (0.0, 1.0)]))
        );
        assert_eq!(
            with(&[[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]),
            HalfPlanes::Degenerate(points(&[(0.0, 0.0), (1.0, 1.0)]))
        );
        for (planes, vertices) in [
            (&[][..], &[][..]),
            (&[[0.0, 0.0, 1.0]], &[]),
            (&[[1.0, 2.0, 3.0]], &[]),
            (&SQUARE[..2], &[]),
            (&SQUARE[1..], &[(0.0, 1.0), (0.0, 0.0)][..]),
            // The line y = 2x, and a ray on it.
            (&[[2.0, -1.0, 0.0], [-2.0, 1.0, 0.0]], &[]),
            (&[[2.0, -1.0, 0.0], [-2.0, 1.0, 0.0], [1.0, 0.0, 3.0]], &[(3.0, 6.0)]),
        ] {
            let expected = HalfPlanes::Unbounded(points(vertices));
            assert_eq!(half_plane_intersection(planes), expected, "{planes:?}");
        }
        assert_eq!(
            half_plane_intersection(&[[1.0, 0.0, 0.0], [-1.0, 0.0, -1.0]]),
            HalfPlanes::Empty
        );
    }

    #[test]
    fn a_region_thinner_than_rounding_is_still_told_apart() {
        // Three lines that meet near (1/3, 1/3), where no f64 is.
        let (third, above) = (1.0 / 3.0, 1.0 / 3.0 + f64::EPSILON / 4.0);
        let wedge = |c: f64| half_plane_intersection(&[[1.0, 0.0, third], [0.0, 1.0, third], [-1.0, -1.0, -c]]);
        assert_eq!(wedge(2.0 * third), HalfPlanes::Degenerate(points(&[(third, third)])));
        assert_eq!(wedge(2.0 * above), HalfPlanes::Empty);
        assert!(matches!(
            wedge(2.0 * third - f64::EPSILON / 4.0),
            HalfPlanes::Polygon(_)
        ));
    }

    /// A ratio of integers, with the denominator positive.
    type Ratio = (i64, i64);

    fn ratio(above: i64, below: i64) -> Ratio {
        (above * below.signum(), below.abs())
    }

    /// By the definition: all crossings of two lines that every plane holds.
    fn by_definition(planes: &[[i64; 3]]) -> HalfPlanes {
        let holds = |x: Ratio, y: Ratio| {
            planes
                .iter()
                .all(|[a, b, c]| a * x.0 * y.1 + b * y.0 * x.1 <= c * x.1 * y.1)
        };
        let mut vertices: Vec<Point> = Vec::new();
        let mut found = planes.is_empty();
        let value = |r: Ratio| r.0 as f64 / r.1 as f64;
        for (i, p) in planes.iter().enumerate() {
            if p[0] == 0 && p[1] == 0 {
                found |= planes.iter().all(|q| q[0] == 0 && q[1] == 0 && q[2] >= 0);
                continue;
            }
            // The point of the line that is nearest to the origin stands for lines that nothing crosses.
            let square = p[0] * p[0] + p[1] * p[1];
            found |= holds(ratio(p[0] * p[2], square), ratio(p[1] * p[2], square));
            for q in &planes[..i] {
                let area = p[0] * q[1] - p[1] * q[0];
                if area == 0 {
                    continue;
                }
                let x = ratio(p[2] * q[1] - p[1] * q[2], area);
                let y = ratio(p[0] * q[2] - p[2] * q[0], area);
                if holds(x, y) {
                    found = true;
                    vertices.push(Point::new(value(x), value(y)));
                }
            }
        }
        if !found {
            return HalfPlanes::Empty;
        }
        let vertices = sorted(vertices);
        let open = |x: i64, y: i64| planes.iter().all(|[a, b, _]| a * x + b * y <= 0);
        let real = planes.iter().filter(|[a, b, _]| *a != 0 || *b != 0);
        if real.clone().count() == 0 || real.clone().any(|[a, b, _]| open(-b, *a) || open(*b, -a)) {
            HalfPlanes::Unbounded(vertices)
        } else if vertices.len() < 3 {
            HalfPlanes::Degenerate(vertices)
        } else {
            HalfPlanes::Polygon(vertices)
        }
    }

    fn sorted(mut vertices: Vec<Point>) -> Vec<Point> {
        vertices.sort_by(|p, q| p.x.total_cmp(&q.x).then(p.y.total_cmp(&q.y)));
        vertices.dedup();
        vertices
    }

    /// Kinds are equal, vertices as sets within rounding.
    fn check(planes: &[[i64; 3]]) {
        let given: Vec<[f64; 3]> = planes.iter().map(|p| p.map(|v| v as f64)).collect();
        let (ours, expected) = (half_plane_intersection(&given), by_definition(planes));
        let (ours_vertices, expected_vertices) = match (&ours, &expected) {
            (HalfPlanes::Empty, HalfPlanes::Empty) => return,
            (HalfPlanes::Polygon(a), HalfPlanes::Polygon(b)) => {
                for i in 0..a.len() {
                    let (p, q, r) = (a[i], a[(i + 1) % a.len()], a[(i + 2) % a.len()]);
                    assert!((q - p).cross(r - q) > 0.0, "{planes:?}: {ours:?} is not convex");
                    assert!((a[0].y, a[0].x) <= (p.y, p.x));
                }
                (a, b)
            }
            (HalfPlanes::Degenerate(a), HalfPlanes::Degenerate(b))
            | (HalfPlanes::Unbounded(a), HalfPlanes::Unbounded(b)) => (a, b),
            _ => panic!("{planes:?}: {ours:?}, by definition {expected:?}"),
        };
        let ours_vertices = sorted(ours_vertices.clone());
        assert_eq!(
            ours_vertices.len(),
            expected_vertices.len(),
            "{planes:?}: {ours:?}, by definition {expected:?}"
        );
        for (p, q) in ours_vertices.iter().zip(expected_vertices) {
            assert!(
                (*p - *q).length() <= 1e-14 * (1.0 + q.length()),
                "{planes:?}: {p:?} {q:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn small_systems_agree_with_the_definition(planes in prop::collection::vec([-2_i64..=2, -2..=2, -2..=3], 0..8)) {
            check(&planes);
        }

        #[test]
        fn mostly_outward_systems_agree_with_the_definition(
            planes in prop::collection::vec([-4_i64..=4, -4..=4, 0..=5], 3..14),
            more in prop::collection::vec([-4_i64..=4, -4..=4, -3..=1], 0..3),
        ) {
            check(&[planes, more].concat());
        }

        #[test]
        fn planes_through_one_point_agree_with_the_definition(
            normals in prop::collection::vec([-4_i64..=4, -4..=4], 0..9),
            (x, y) in (-3_i64..=3, -3_i64..=3),
            nudge in -1_i64..=1,
        ) {
            let mut planes: Vec<[i64; 3]> = normals.iter().map(|[a, b]| [*a, *b, a * x + b * y]).collect();
            if let Some(first) = planes.first_mut() {
                first[2] += nudge;
            }
            check(&planes);
        }
    }

    /// Tangents of a circle: each is an edge, and the vertices are where neighbours cross.
    #[test]
    fn many_tangents_of_a_circle_give_as_many_vertices() {
        let count = 20_000;
        let mut planes: Vec<[f64; 3]> = (0..count)
            .map(|i| {
                let angle = std::f64::consts::TAU * f64::from(i) / f64::from(count);
                [angle.cos(), angle.sin(), 1.0]
            })
            .collect();
        Random::new(3, 3).shuffle(&mut planes);
        let HalfPlanes::Polygon(vertices) = half_plane_intersection(&planes) else {
            panic!("not a polygon")
        };
        assert_eq!(vertices.len(), count as usize);
        let radius = 1.0 / (std::f64::consts::PI / f64::from(count)).cos();
        assert!(vertices.iter().all(|v| (v.length() - radius).abs() < 1e-11));
    }

    #[test]
    fn many_planes_without_a_common_point_are_empty_in_linear_time() {
        let mut random = Random::new(4, 4);
        let mut number = || random.below(2001) as f64 - 1000.0;
        let planes: Vec<[f64; 3]> = (0..200_000).map(|_| [number(), number(), number()]).collect();
        assert_eq!(half_plane_intersection(&planes), HalfPlanes::Empty);
    }
}
