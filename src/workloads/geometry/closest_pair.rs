//! The two points nearest to each other.
//!
//! Points are counted into the cells of a grid of about two points each. Pairs within a cell are
//! compared first; they give a distance, and what is nearer than that in two cells lies within it
//! of their common border. Where points gather, a cell holds many: such a cell is a problem of its
//! own, solved by the same means, and what two such cells have at their border is swept in order
//! along it, where only few points can be so near to each other (Shamos and Hoey, 1975). Time
//! O(n) for spread points; a cluster costs a pass over its points for each scale it is smaller by.
//!
//! Distances are compared exactly, and of equally distant pairs the first in order of numbers wins;
//! so the answer is the same in whatever order cells are visited, and by how many threads.

use std::cmp::Ordering;

use super::predicate::{Coordinate, by_height, compare_distances, distance, square_distance};
use super::{Comparison, Point};
use crate::Join;

/// A pair of points, by number, and how far they are apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    pub distance: f64,
    /// The smaller first.
    pub pair: [u32; 2],
}

/// A point and its number.
#[derive(Clone, Copy, Debug, Default)]
struct Numbered<T> {
    at: Point<T>,
    number: u32,
}

/// The best pair so far.
#[derive(Clone, Copy, Debug)]
struct Best<T> {
    ends: [Point<T>; 2],
    pair: [u32; 2],
    square: f64,
    /// A bit more than the distance: pairs farther apart along one axis are no rivals.
    reach: f64,
    comparison: Comparison,
}

impl<T: Coordinate> Best<T> {
    fn of(a: Numbered<T>, b: Numbered<T>, comparison: Comparison) -> Best<T> {
        let square = square_distance(a.at, b.at);
        Best {
            ends: [a.at, b.at],
            pair: [a.number.min(b.number), a.number.max(b.number)],
            square,
            reach: square.sqrt() * (1.0 + 1e-9),
            comparison,
        }
    }

    #[inline]
    fn offer(&mut self, a: Numbered<T>, b: Numbered<T>) {
        // A square may be wrong by a few roundings; what is farther than that is farther.
        if square_distance(a.at, b.at) <= self.square * (1.0 + 1e-14) {
            self.weigh(a, b);
        }
    }

    #[cold]
    #[inline(never)]
    fn weigh(&mut self, a: Numbered<T>, b: Numbered<T>) {
        self.take(Best::of(a, b, self.comparison));
    }

    fn take(&mut self, other: Best<T>) {
        let order = match self.comparison {
            Comparison::Exact => compare_distances(other.ends, self.ends),
            Comparison::Eps(_) => other.square.partial_cmp(&self.square).unwrap_or(Ordering::Equal),
        };
        if order.then(other.pair.cmp(&self.pair)) == Ordering::Less {
            *self = other;
        }
    }
}

/// The two nearest points; of equally near ones the pair with the smallest numbers. None of fewer
/// than two points. Exactly, or with an eps by distances squared in f64 as they come out.
pub fn closest_pair<T: Coordinate>(points: &[Point<T>], comparison: Comparison, join: &dyn Join) -> Option<Pair> {
    let &[first, second, ..] = points else { return None };
    assert!(u32::try_from(points.len()).is_ok(), "points are numbered by 32 bits");
    let numbered = |number: usize| Numbered {
        at: points[number],
        number: number as u32,
    };
    let mut best = Best::of(numbered(0), numbered(1), comparison);
    if first == second {
        return Some(told(&best));
    }
    // A first idea of the distance costs little and spares a lot.
    for number in 1..points.len().min(1000) {
        best.offer(numbered(number - 1), numbered(number));
    }
    if points.len() <= FEW {
        let mut all: Vec<_> = (0..points.len()).map(numbered).collect();
        sweep(&mut all, &mut best);
    } else {
        gridded(points.len(), &numbered, &mut best, join);
    }
    if best.ends[0] == best.ends[1] {
        best.pair = first_equal(points);
    }
    Some(told(&best))
}

fn told<T: Coordinate>(best: &Best<T>) -> Pair {
    Pair {
        distance: match best.comparison {
            Comparison::Exact => distance(best.ends[0], best.ends[1]),
            Comparison::Eps(_) => best.square.sqrt(),
        },
        pair: best.pair,
    }
}

/// The first pair of equal points, when there is one: once the distance is 0, all else is left.
fn first_equal<T: Coordinate>(points: &[Point<T>]) -> [u32; 2] {
    let mut order: Vec<u32> = (0..points.len() as u32).collect();
    order.sort_unstable_by(|a, b| by_height(&points[*a as usize], &points[*b as usize]).then(a.cmp(b)));
    let equal = order
        .windows(2)
        .filter(|pair| points[pair[0] as usize] == points[pair[1] as usize]);
    equal.map(|pair| [pair[0], pair[1]]).min().unwrap_or([0, 1])
}

/// So many points are compared along one axis, without a grid.
const FEW: usize = 48;
/// A cell of more points is a problem of its own.
const CROWD: usize = 24;
/// Fewer points than this are not worth another thread.
const SMALLEST_PIECE: usize = 64 * 1024;

/// All pairs of points, in order along the direction in which they extend farther.
fn sweep<T: Coordinate>(points: &mut [Numbered<T>], best: &mut Best<T>) {
    if points.is_empty() {
        return;
    }
    let (low, high) = bounds(0..points.len(), &|at| points[at], &crate::Sequential);
    let upright = high.y.offset(low.y) >= high.x.offset(low.x);
    let along = |p: &Numbered<T>| if upright { p.at.y } else { p.at.x };
    points.sort_unstable_by(|a, b| along(a).partial_cmp(&along(b)).unwrap_or(Ordering::Equal));
    for (at, a) in points.iter().enumerate() {
        for b in &points[at + 1..] {
            if along(b).offset(along(a)) > best.reach {
                break;
            }
            best.offer(*a, *b);
        }
    }
}

/// Cells over the points, square or nearly.
struct Grid<T> {
    low: Point<T>,
    columns: usize,
    rows: usize,
    /// Cells for each unit.
    scale: f64,
}

impl<T: Coordinate> Grid<T> {
    fn new(count: usize, low: Point<T>, high: Point<T>) -> Option<Grid<T>> {
        let (width, height) = (high.x.offset(low.x), high.y.offset(low.y));
        let wanted = (count / 2).max(4) as f64;
        let longer = width.max(height);
        // Square cells: as many as wanted, but in one row at least.
        let side = (width * height / wanted).sqrt().max(longer / wanted);
        let scale = 1.0 / side;
        if !(longer > 0.0 && scale.is_finite()) {
            return None;
        }
        Some(Grid {
            low,
            columns: (width * scale) as usize + 1,
            rows: (height * scale) as usize + 1,
            scale,
        })
    }

    #[inline]
    fn cell(&self, p: Point<T>) -> u32 {
        let column = (p.x.offset(self.low.x) * self.scale) as u32;
        let row = (p.y.offset(self.low.y) * self.scale) as u32;
        row.min(self.rows as u32 - 1) * self.columns as u32 + column.min(self.columns as u32 - 1)
    }
}

/// Points in order of their cells.
struct Cells<T> {
    grid: Grid<T>,
    /// Of cell c: `points[starts[c]..starts[c + 1]]`.
    starts: Vec<u32>,
    points: Vec<Numbered<T>>,
}

fn gridded<T: Coordinate>(
    count: usize,
    point: &(impl Fn(usize) -> Numbered<T> + Sync),
    best: &mut Best<T>,
    join: &dyn Join,
) {
    if best.square == 0.0 && best.ends[0] == best.ends[1] {
        return;
    }
    let (low, high) = bounds(0..count, point, join);
    let Some(grid) = Grid::new(count, low, high) else {
        // No extent: all are equal.
        best.offer(point(0), point(1));
        return;
    };
    let cells = Cells::new(count, point, grid, join);
    cells.within(best, join);
    cells.across(best, join);
}

fn bounds<T: Coordinate>(
    range: std::ops::Range<usize>,
    point: &(impl Fn(usize) -> Numbered<T> + Sync),
    join: &dyn Join,
) -> (Point<T>, Point<T>) {
    let least = |a: T, b: T| if b < a { b } else { a };
    let most = |a: T, b: T| if b > a { b } else { a };
    if range.len() <= SMALLEST_PIECE || join.width() == 1 {
        let first = point(range.start).at;
        return range.map(point).fold((first, first), |(low, high), p| {
            (
                Point::new(least(low.x, p.at.x), least(low.y, p.at.y)),
                Point::new(most(high.x, p.at.x), most(high.y, p.at.y)),
            )
        });
    }
    let middle = range.start + range.len() / 2;
    let ((a, b), (c, d)) = join.join(
        || bounds(range.start..middle, point, join),
        || bounds(middle..range.end, point, join),
    );
    (
        Point::new(least(a.x, c.x), least(a.y, c.y)),
        Point::new(most(b.x, d.x), most(b.y, d.y)),
    )
}

impl<T: Coordinate> Cells<T> {
    fn new(count: usize, point: &(impl Fn(usize) -> Numbered<T> + Sync), grid: Grid<T>, join: &dyn Join) -> Cells<T> {
        let mut cell_of = vec![0_u32; count];
        number_cells(&mut cell_of, 0, &grid, point, join);
        let mut starts = vec![0_u32; grid.columns * grid.rows + 1];
        // Each thread goes through all numbers but counts, and later places, only those of its own cells.
        let pieces = if count > SMALLEST_PIECE { join.width() } else { 1 };
        count_cells(&mut starts[1..], 0, &cell_of, pieces, join);
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut points = vec![Numbered::default(); count];
        place(&mut points, 0..starts.len() - 1, &starts, &cell_of, point, pieces, join);
        Cells { grid, starts, points }
    }

    fn range(&self, cell: usize) -> std::ops::Range<usize> {
        self.starts[cell] as usize..self.starts[cell + 1] as usize
    }

    /// Compares all points that share a cell.
    fn within(&self, best: &mut Best<T>, join: &dyn Join) {
        let (found, crowded) = self.within_cells(0..self.starts.len() - 1, *best, join);
        best.take(found);
        for cell in crowded {
            let own = &self.points[self.range(cell)];
            gridded(own.len(), &|at| own[at], best, join);
        }
    }

    /// Compares points within each cell of `range`; crowded cells are told instead.
    fn within_cells(&self, range: std::ops::Range<usize>, mut best: Best<T>, join: &dyn Join) -> (Best<T>, Vec<usize>) {
        let points = self.starts[range.end] - self.starts[range.start];
        if points as usize <= SMALLEST_PIECE || range.len() <= 1 || join.width() == 1 {
            let mut crowded = Vec::new();
            for cell in range {
                let own = &self.points[self.range(cell)];
                if own.len() > CROWD {
                    crowded.push(cell);
                    continue;
                }
                for (at, a) in own.iter().enumerate() {
                    for b in &own[at + 1..] {
                        best.offer(*a, *b);
                    }
                }
            }
            return (best, crowded);
        }
        let middle = range.start + range.len() / 2;
        let ((low, mut crowded), (high, more)) = join.join(
            || self.within_cells(range.start..middle, best, join),
            || self.within_cells(middle..range.end, best, join),
        );
        best.take(low);
        best.take(high);
        crowded.extend(more);
        (best, crowded)
    }

    /// Compares what lies in different cells.
    fn across(&self, best: &mut Best<T>, join: &dyn Join) {
        *best = self.across_rows(0..self.grid.rows, *best, join);
    }

    fn across_rows(&self, rows: std::ops::Range<usize>, mut best: Best<T>, join: &dyn Join) -> Best<T> {
        let columns = self.grid.columns;
        let points = self.starts[rows.end * columns] - self.starts[rows.start * columns];
        if rows.len() > 1 && points as usize > SMALLEST_PIECE && join.width() > 1 {
            let middle = rows.start + rows.len() / 2;
            let (low, high) = join.join(
                || self.across_rows(rows.start..middle, best, join),
                || self.across_rows(middle..rows.end, best, join),
            );
            best.take(low);
            best.take(high);
            return best;
        }
        for row in rows {
            for column in 0..columns {
                let cell = row * columns + column;
                let own = self.range(cell);
                if own.is_empty() {
                    continue;
                }
                if own.len() > CROWD {
                    self.crowd_across(cell, &mut best);
                } else {
                    for at in own {
                        self.one_across(self.points[at], [column, row], &mut best);
                    }
                }
            }
        }
        best
    }

    /// The cells that may hold a rival of a point, to its right and left, above and below.
    fn reached(&self, p: Point<T>, reach: f64) -> [[usize; 2]; 2] {
        // Places are wrong by far less than this, in cells.
        const SLACK: f64 = 1e-6;
        let (x, y) = (p.x.offset(self.grid.low.x), p.y.offset(self.grid.low.y));
        let ends = |at: f64, most: usize| {
            [
                (((at - reach) * self.grid.scale - SLACK) as usize).min(most - 1),
                (((at + reach) * self.grid.scale + SLACK) as usize).min(most - 1),
            ]
        };
        [ends(x, self.grid.columns), ends(y, self.grid.rows)]
    }

    /// A point of an uncrowded cell against those of later uncrowded ones.
    fn one_across(&self, p: Numbered<T>, [column, row]: [usize; 2], best: &mut Best<T>) {
        let [[left, right], [_, top]] = self.reached(p.at, best.reach);
        if left == column && right == column && top == row {
            return;
        }
        let own = row * self.grid.columns + column;
        for near in row..=top {
            for cell in near * self.grid.columns + left..=near * self.grid.columns + right {
                let range = self.range(cell);
                if cell > own && range.len() <= CROWD {
                    for other in &self.points[range] {
                        best.offer(p, *other);
                    }
                }
            }
        }
    }

    /// A crowded cell against its neighbours, except crowded ones that have been here before: only
    /// points near the other cell's count, in order along the border.
    fn crowd_across(&self, cell: usize, best: &mut Best<T>) {
        let (row, column) = (cell / self.grid.columns, cell % self.grid.columns);
        let own = &self.points[self.range(cell)];
        let box_of = |points: &[Numbered<T>]| bounds(0..points.len(), &|at| points[at], &crate::Sequential);
        let own_box = box_of(own);
        // More than CROWD points in a cell have two that are nearer than a third of its side, so
        // rivals are in the next cells or nowhere.
        for near in row.saturating_sub(1)..=(row + 1).min(self.grid.rows - 1) {
            for beside in column.saturating_sub(1)..=(column + 1).min(self.grid.columns - 1) {
                let other = near * self.grid.columns + beside;
                let theirs = &self.points[self.range(other)];
                if other == cell || theirs.len() > CROWD && other < cell {
                    continue;
                }
                let reach = best.reach;
                let facing = |points: &[Numbered<T>], (low, high): (Point<T>, Point<T>)| -> Vec<Numbered<T>> {
                    let faces = |p: &&Numbered<T>| {
                        low.x.offset(p.at.x) <= reach
                            && p.at.x.offset(high.x) <= reach
                            && low.y.offset(p.at.y) <= reach
                            && p.at.y.offset(high.y) <= reach
                    };
                    points.iter().filter(faces).copied().collect()
                };
                let mut border = facing(theirs, own_box);
                if !border.is_empty() {
                    let their_box = box_of(&border);
                    border.extend(facing(own, their_box));
                    sweep(&mut border, best);
                }
            }
        }
    }
}

fn number_cells<T: Coordinate>(
    cell_of: &mut [u32],
    first: usize,
    grid: &Grid<T>,
    point: &(impl Fn(usize) -> Numbered<T> + Sync),
    join: &dyn Join,
) {
    if cell_of.len() <= SMALLEST_PIECE || join.width() == 1 {
        for (at, cell) in cell_of.iter_mut().enumerate() {
            *cell = grid.cell(point(first + at).at);
        }
        return;
    }
    let middle = cell_of.len() / 2;
    let (low, high) = cell_of.split_at_mut(middle);
    join.join(
        || number_cells(low, first, grid, point, join),
        || number_cells(high, first + middle, grid, point, join),
    );
}

fn count_cells(counts: &mut [u32], first: u32, cell_of: &[u32], pieces: usize, join: &dyn Join) {
    if pieces <= 1 || counts.len() <= 1 {
        for cell in cell_of {
            if let Some(count) = counts.get_mut(cell.wrapping_sub(first) as usize) {
                *count += 1;
            }
        }
        return;
    }
    let middle = counts.len() / 2;
    let (low, high) = counts.split_at_mut(middle);
    join.join(
        || count_cells(low, first, cell_of, pieces / 2, join),
        || count_cells(high, first + middle as u32, cell_of, pieces - pieces / 2, join),
    );
}

/// Puts the points of the cells in `range` in their places, which are `points`.
fn place<T: Coordinate>(
    points: &mut [Numbered<T>],
    range: std::ops::Range<usize>,
    starts: &[u32],
    cell_of: &[u32],
    point: &(impl Fn(usize) -> Numbered<T> + Sync),
    pieces: usize,
    join: &dyn Join,
) {
    if pieces <= 1 || range.len() <= 1 {
        let base = starts[range.start];
        let mut next: Vec<u32> = starts[range.clone()].iter().map(|start| start - base).collect();
        for (number, cell) in cell_of.iter().enumerate() {
            if let Some(next) = next.get_mut((*cell as usize).wrapping_sub(range.start)) {
                points[*next as usize] = point(number);
                *next += 1;
            }
        }
        return;
    }
    let middle = range.start + range.len() / 2;
    let (low, high) = points.split_at_mut((starts[middle] - starts[range.start]) as usize);
    join.join(
        || place(low, range.start..middle, starts, cell_of, point, pieces / 2, join),
        || {
            place(
                high,
                middle..range.end,
                starts,
                cell_of,
                point,
                pieces - pieces / 2,
                join,
            );
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequential;
    use crate::random::Random;
    use crate::tests::OnThreads;
    use proptest::prelude::*;

    fn by_definition<T: Coordinate>(points: &[Point<T>]) -> Option<[u32; 2]> {
        let mut best: Option<[usize; 2]> = None;
        for i in 0..points.len() {
            for j in i + 1..points.len() {
                let nearer = best.is_none_or(|[p, q]| {
                    compare_distances([points[i], points[j]], [points[p], points[q]]) == Ordering::Less
                });
                if nearer {
                    best = Some([i, j]);
                }
            }
        }
        best.map(|[i, j]| [i as u32, j as u32])
    }

    fn check<T: Coordinate>(points: &[Point<T>]) {
        let found = closest_pair(points, Comparison::Exact, &Sequential);
        assert_eq!(
            found.map(|found| found.pair),
            by_definition(points),
            "{} points",
            points.len()
        );
        if let Some(Pair {
            distance: told,
            pair: [i, j],
        }) = found
        {
            assert_eq!(told, distance(points[i as usize], points[j as usize]));
        }
    }

    fn unit(random: &mut Random) -> f64 {
        random.below(1 << 52) as f64 / (1_u64 << 52) as f64
    }

    /// Points of a kind: spread, on a line, in clusters of clusters, on a grid, equal.
    fn kind(kind: usize, count: usize, random: &mut Random) -> Vec<Point> {
        (0..count)
            .map(|at| {
                let (x, y) = (unit(random), unit(random));
                match kind {
                    0 => Point::new(x, y),
                    1 => Point::new(x, x * 3.0),
                    2 => Point::new(x, 5.0),
                    3 => {
                        let cluster = Point::new((at % 3) as f64, (at % 5) as f64);
                        cluster + Point::new((at % 7) as f64, (at % 2) as f64) * 1e-4 + Point::new(x, y) * 1e-8
                    }
                    4 => Point::new((at % 40) as f64, (at / 40) as f64) * 0.1,
                    5 => Point::new(x, y) * (-(at as f64 % 200.0) / 3.0).exp2(),
                    6 => Point::new(0.3, 0.7),
                    7 => Point::new((x * 90.0).floor(), (y * 90.0).floor()),
                    _ => Point::new(x, y) * if at % 2 == 0 { 1.0 } else { 1e-9 },
                }
            })
            .collect()
    }

    #[test]
    fn the_nearest_pair_of_every_kind_of_points() {
        let mut random = Random::new(11, 0);
        for what in 0..9 {
            for count in [0, 1, 2, 3, 40, 49, 100, 1500] {
                check(&kind(what, count, &mut random));
            }
        }
    }

    #[test]
    fn forking_changes_nothing() {
        let mut random = Random::new(12, 0);
        for what in 0..9 {
            let points = kind(what, 200_000, &mut random);
            let alone = closest_pair(&points, Comparison::Exact, &Sequential);
            assert_eq!(
                closest_pair(&points, Comparison::Exact, &OnThreads(2)),
                alone,
                "kind {what}"
            );
            assert_eq!(
                closest_pair(&points, Comparison::Exact, &OnThreads(3)),
                alone,
                "kind {what}"
            );
        }
    }

    #[test]
    fn whole_numbers_at_the_ends_of_the_range() {
        let points = [[i64::MIN, i64::MIN], [i64::MAX, i64::MAX], [i64::MAX, i64::MIN]].map(|[x, y]| Point::new(x, y));
        check(&points);
        // 5 and 5.0000000000000000001: only exact squares tell.
        let far = i64::MAX - 10;
        let points = [[0, 0], [0, far], [1, -far], [-far, far]].map(|[x, y]| Point::new(x, y));
        assert_eq!(
            closest_pair(&points, Comparison::Exact, &Sequential).unwrap().pair,
            [0, 1]
        );
    }

    proptest! {
        #[test]
        fn ties_go_to_the_smallest_pair(points in proptest::collection::vec(proptest::array::uniform2(0..40_i64), 0..150)) {
            check(&points.iter().map(|[x, y]| Point::new(*x, *y)).collect::<Vec<_>>());
            check(&points.iter().map(|[x, y]| Point::new(*x as f64 * 0.1, *y as f64 * 0.1)).collect::<Vec<_>>());
        }
    }
}
