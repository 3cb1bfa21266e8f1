//! The workload: one of eight operations on points of some shape.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::{
    Comparison, Enclosing, HalfPlanes, Pair, Place, Point, closest_pair, convex_hull, crossings, delaunay, diameter,
    door, half_plane_intersection, min_enclosing_circle, oracle, points_in_polygon,
};
use crate::digest::Digest;
use crate::random::Random;
use crate::{About, Answer, BadInput, Domain, Fact, Join, Mismatch, Parameter, Params, Prepared, Sequential, Workload};

/// The textbook's.
const EPS: f64 = 1e-9;
/// Tests of a point against an edge that a task by eps, without an index, may take.
const MOST_TESTS: usize = 2_000_000_000;
/// Segments that all start in one point make a pair of every two.
const MOST_FROM_ONE_POINT: usize = 1000;

/// The catalogue's entry.
pub struct Geometry;

static ABOUT: About = About {
    name: "geometry",
    title: "Computational geometry",
    summary: "Hull, closest and farthest pair, enclosing circle, points in a polygon, crossings, half-planes or a Delaunay \
              triangulation, with exact predicates or the textbook's eps.",
    parameters: &[
        Parameter {
            name: "op",
            meaning: "what each task works out; point_in_polygon tests the points against a polygon of a hundredth as many \
                      corners, crossings takes short segments from each point, half_planes one for each point around a circle",
            unit: "",
            domain: Domain::Choice(&[
                "hull",
                "closest_pair",
                "diameter",
                "enclosing_circle",
                "point_in_polygon",
                "crossings",
                "half_planes",
                "delaunay",
            ]),
            default: "hull",
        },
        Parameter {
            name: "points",
            meaning: "points, segments or half-planes of an input",
            unit: "points",
            domain: Domain::Integer {
                min: 2,
                max: 20_000_000,
            },
            default: "20000",
        },
        Parameter {
            name: "shape",
            meaning: "how the points lie",
            unit: "",
            domain: Domain::Choice(&["disk", "square", "circle", "collinear", "equal", "grid"]),
            default: "disk",
        },
        Parameter {
            name: "comparison",
            meaning: "exact predicates, or the textbook's comparisons with an eps of 1e-9 (not for crossings, half_planes and delaunay)",
            unit: "",
            domain: Domain::Choice(&["exact", "eps"]),
            default: "exact",
        },
        Parameter {
            name: "inputs",
            meaning: "different inputs that tasks take in turn",
            unit: "inputs",
            domain: Domain::Integer { min: 1, max: 64 },
            default: "4",
        },
    ],
    shared: "the points, polygons, segments or half-planes of every input, read only",
    per_thread: "sorted copies, grids and indices of the operation, made anew for each task; a forked task's pieces fill \
                 disjoint parts of them",
    checked: "digest against the same operation on one thread, and that result against what it must be, by the robust crate's \
              signs and plain distances: no point outside a hull, no nearer pair, an empty circle at every edge",
    input_example: r#"{"op":"convex_hull","points":[[0,0],[4,0],[2,1],[4,3],[0,3],[2,0]],"keep_collinear":false}"#,
    output_example: r#"{"hull":[[0,0],[4,0],[4,3],[0,3]]}"#,
    notes: door::SHAPES,
};

impl Workload for Geometry {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn memory_bytes(&self, params: &Params, workers: usize) -> u64 {
        let points = params.integer("points") as u64;
        let corners = corners(params.size("points")) as u64;
        let circle = params.text("shape") == "circle";
        let thin = circle || params.text("shape") == "collinear";
        // Bytes for a point: of an input, and of a task or its check.
        let (input, task) = match params.text("op") {
            "hull" | "enclosing_circle" | "diameter" => (16, if circle { 110 } else { 34 }),
            "closest_pair" => (16, 40),
            "point_in_polygon" => (16, 3),
            "crossings" => (32, if thin { 150 } else { 80 }),
            "half_planes" => (24, 120),
            _ => (16, 180),
        };
        // Beside points: a polygon and its index, in which an edge is listed for each cell it goes
        // through, or the pairs of segments that all start in one point.
        let (input_more, task_more) = match (params.text("op"), params.text("shape")) {
            ("point_in_polygon", _) => (16 * corners, corners * (150 + 4 * (8 * corners).isqrt())),
            ("crossings", "equal") => (0, 12 * points * points),
            _ => (0, 0),
        };
        let bands = 64 * 1024;
        params.integer("inputs") as u64 * (points * input + input_more + 256)
            + workers.max(1) as u64 * (points * task + task_more + bands)
    }

    fn prepare(&self, params: &Params, seed: u64) -> Result<Box<dyn Prepared>, BadInput> {
        let (points, shape, op) = (params.size("points"), params.text("shape"), params.text("op"));
        let op = match op {
            "hull" => Op::Hull,
            "closest_pair" => Op::ClosestPair,
            "diameter" => Op::Diameter,
            "enclosing_circle" => Op::EnclosingCircle,
            "point_in_polygon" => Op::PointInPolygon,
            "crossings" => Op::Crossings,
            "half_planes" => Op::HalfPlanes,
            _ => Op::Delaunay,
        };
        let by_eps = params.text("comparison") == "eps";
        if by_eps && matches!(op, Op::Crossings | Op::HalfPlanes | Op::Delaunay) {
            return Err(BadInput::new(
                "comparison",
                format!("{} is done by exact predicates only; give exact", params.text("op")),
            ));
        }
        if by_eps && op == Op::PointInPolygon && points.saturating_mul(corners(points)) > MOST_TESTS {
            return Err(BadInput::new(
                "points",
                format!(
                    "by eps every point is held against each of {} edges; give at most 400000",
                    corners(points)
                ),
            ));
        }
        if op == Op::Crossings && shape == "equal" && points > MOST_FROM_ONE_POINT {
            return Err(BadInput::new(
                "shape",
                format!(
                    "equal makes every two segments meet; give at most {MOST_FROM_ONE_POINT} points or another shape"
                ),
            ));
        }
        let inputs = (0..params.size("inputs"))
            .map(|number| Input::new(op, points, shape, Random::new(seed, number as u64)))
            .collect();
        Ok(Box::new(Plane {
            op,
            comparison: if by_eps {
                Comparison::Eps(EPS)
            } else {
                Comparison::Exact
            },
            inputs,
            checked: AtomicU64::new(0),
            differing: AtomicU64::new(0),
        }))
    }

    fn solve(&self, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
        door::solve(input, join)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Op {
    Hull,
    ClosestPair,
    Diameter,
    EnclosingCircle,
    PointInPolygon,
    Crossings,
    HalfPlanes,
    Delaunay,
}

/// Of the polygon that so many points are tested against.
fn corners(points: usize) -> usize {
    (points / 100).clamp(5, 100_000)
}

/// What a task works on; only what its operation needs is there.
#[derive(Default)]
struct Input {
    points: Vec<Point>,
    polygon: Vec<Point>,
    segments: Vec<[Point; 2]>,
    planes: Vec<[f64; 3]>,
}

/// From -1 to 1, in steps of 2^-40: sums and multiples of few are exact.
fn unit(random: &mut Random) -> f64 {
    random.below(1 << 41) as f64 / (1_u64 << 40) as f64 - 1.0
}

fn in_disk(random: &mut Random) -> Point {
    loop {
        let p = Point::new(unit(random), unit(random));
        let square = p.dot(p);
        if square <= 1.0 && square > 1e-12 {
            return p;
        }
    }
}

/// In a random direction, of length 1. Only operations that every machine rounds alike.
fn direction(random: &mut Random) -> Point {
    let p = in_disk(random);
    p * (1.0 / p.dot(p).sqrt())
}

fn shaped(points: usize, shape: &str, random: &mut Random) -> Vec<Point> {
    match shape {
        "square" => (0..points).map(|_| Point::new(unit(random), unit(random))).collect(),
        "circle" => (0..points).map(|_| direction(random)).collect(),
        "collinear" => (0..points)
            .map(|_| {
                let x = unit(random);
                Point::new(x, 0.75 * x)
            })
            .collect(),
        "equal" => vec![in_disk(random); points],
        "grid" => {
            let columns = (points as f64).sqrt().ceil() as usize;
            let low = Point::new(random.below(1 << 20) as f64, random.below(1 << 20) as f64);
            let mut all: Vec<Point> = (0..points)
                .map(|at| low + Point::new((at % columns) as f64, (at / columns) as f64))
                .collect();
            random.shuffle(&mut all);
            all
        }
        _ => (0..points).map(|_| in_disk(random)).collect(),
    }
}

impl Input {
    fn new(op: Op, count: usize, shape: &str, mut random: Random) -> Input {
        let points = shaped(count, shape, &mut random);
        let random = &mut random;
        match op {
            Op::PointInPolygon => Input {
                polygon: star(corners(count), &points, random),
                points,
                ..Input::default()
            },
            Op::Crossings => {
                let n = count as f64;
                // So long that a segment meets about one other.
                let length = match shape {
                    "grid" => 1.0,
                    "circle" | "collinear" => 4.0 / n,
                    _ => 1.8 / n.sqrt(),
                };
                Input {
                    segments: points.iter().map(|p| [*p, *p + direction(random) * length]).collect(),
                    ..Input::default()
                }
            }
            Op::HalfPlanes => Input {
                planes: points
                    .iter()
                    .map(|p| [p.x, p.y, p.dot(*p).sqrt() * (1.0 + 1e-6 * (1.0 + unit(random)))])
                    .collect(),
                ..Input::default()
            },
            _ => Input {
                points,
                ..Input::default()
            },
        }
    }
}

/// A polygon around the middle of the points, about as large as they extend: corners in order of
/// direction, at random distances.
fn star(corners: usize, points: &[Point], random: &mut Random) -> Vec<Point> {
    let some = &points[..points.len().min(1000)];
    let sum = some.iter().fold(Point::default(), |sum, p| sum + *p);
    let middle = sum * (1.0 / some.len() as f64);
    let reach = some
        .iter()
        .map(|p| (*p - middle).dot(*p - middle))
        .fold(0.0, f64::max)
        .sqrt()
        .max(1.0);
    let mut directions: Vec<Point> = (0..corners).map(|_| direction(random)).collect();
    // Grows with the angle, and needs no arctangent, which not every machine rounds alike.
    let angle = |d: &Point| if d.y >= 0.0 { -d.x } else { 2.0 + d.x };
    directions.sort_unstable_by(|a, b| angle(a).total_cmp(&angle(b)));
    directions
        .iter()
        .map(|d| middle + *d * (reach * (0.75 + 0.2 * unit(random))))
        .collect()
}

struct Plane {
    op: Op,
    comparison: Comparison,
    inputs: Vec<Input>,
    /// Answers by eps that were checked, and those of them that are not the exact ones.
    checked: AtomicU64,
    differing: AtomicU64,
}

#[derive(Clone, PartialEq)]
enum Outcome {
    Hull(Vec<Point>),
    Pair(Option<Pair>),
    Circle(Option<Enclosing>),
    Places(Vec<Place>),
    Crossings(Vec<(u32, u32)>),
    Region(HalfPlanes),
    Triangles(Vec<[u32; 3]>),
}

impl Outcome {
    fn told(&self) -> Answer {
        let of_points = |points: &[Point]| Digest::of(points.iter().flat_map(|p| [p.x.to_bits(), p.y.to_bits()]));
        let (what, count, digest) = match self {
            Outcome::Hull(corners) => ("corners", corners.len(), of_points(corners)),
            Outcome::Pair(pair) => (
                "pairs",
                usize::from(pair.is_some()),
                Digest::of(
                    pair.iter()
                        .flat_map(|p| [p.distance.to_bits(), p.pair[0].into(), p.pair[1].into()]),
                ),
            ),
            Outcome::Circle(circle) => (
                "circles",
                usize::from(circle.is_some()),
                Digest::of(
                    circle
                        .iter()
                        .flat_map(|c| [c.center.x.to_bits(), c.center.y.to_bits(), c.radius.to_bits()]),
                ),
            ),
            Outcome::Places(places) => (
                "inside or on the border",
                places.iter().filter(|place| **place != Place::Outside).count(),
                Digest::of(places.iter().map(|place| *place as u64)),
            ),
            Outcome::Crossings(pairs) => (
                "crossings",
                pairs.len(),
                Digest::of(pairs.iter().flat_map(|(i, j)| [u64::from(*i), u64::from(*j)])),
            ),
            Outcome::Region(region) => {
                let (kind, corners) = match region {
                    HalfPlanes::Polygon(corners) => ("corners of a polygon", corners.as_slice()),
                    HalfPlanes::Empty => ("corners of an empty region", &[][..]),
                    HalfPlanes::Unbounded(corners) => ("corners of an unbounded region", corners.as_slice()),
                    HalfPlanes::Degenerate(corners) => ("ends of a degenerate region", corners.as_slice()),
                };
                (kind, corners.len(), of_points(corners))
            }
            Outcome::Triangles(triangles) => (
                "triangles",
                triangles.len(),
                Digest::of(triangles.iter().flatten().map(|corner| u64::from(*corner))),
            ),
        };
        Answer {
            text: format!("{count} {what}, digest {digest:016x}"),
            words: vec![count as u64, digest],
        }
    }
}

impl Plane {
    fn input(&self, task: u64) -> &Input {
        &self.inputs[(task % self.inputs.len() as u64) as usize]
    }

    fn outcome(&self, input: &Input, comparison: Comparison, join: &dyn Join) -> Outcome {
        let Input {
            points,
            polygon,
            segments,
            planes,
        } = input;
        match self.op {
            Op::Hull => Outcome::Hull(convex_hull(points, false, comparison, join)),
            Op::ClosestPair => Outcome::Pair(closest_pair(points, comparison, join)),
            Op::Diameter => Outcome::Pair(diameter(points, comparison, join)),
            Op::EnclosingCircle => Outcome::Circle(min_enclosing_circle(points, comparison, join)),
            Op::PointInPolygon => Outcome::Places(points_in_polygon(polygon, points, comparison, join)),
            Op::Crossings => Outcome::Crossings(crossings(segments, join)),
            Op::HalfPlanes => Outcome::Region(half_plane_intersection(planes)),
            Op::Delaunay => Outcome::Triangles(delaunay(points, join)),
        }
    }

    /// Holds an exact outcome against what it must be, one by eps against what even that must be.
    fn check(&self, input: &Input, outcome: &Outcome) -> Result<(), String> {
        let exact = self.comparison == Comparison::Exact;
        match outcome {
            Outcome::Hull(corners) if exact => oracle::hull(&input.points, corners),
            Outcome::Hull(corners) => oracle::are_of(&input.points, corners),
            Outcome::Pair(pair) if self.op == Op::ClosestPair => oracle::closest(&input.points, *pair),
            // The textbook's calipers may miss the farthest pair of points that almost lie on a line.
            Outcome::Pair(pair) if exact => oracle::farthest(&input.points, *pair),
            Outcome::Pair(_) => Ok(()),
            Outcome::Circle(circle) => oracle::enclosing(&input.points, *circle),
            Outcome::Places(places) => {
                oracle::places(&input.polygon, &input.points, places, if exact { 0.0 } else { EPS })
            }
            Outcome::Crossings(pairs) => oracle::crossings(&input.segments, pairs),
            Outcome::Region(region) => oracle::half_planes(&input.planes, region),
            Outcome::Triangles(triangles) => oracle::delaunay(&input.points, triangles),
        }
    }
}

impl Prepared for Plane {
    fn run(&self, task: u64, join: &dyn Join) -> Answer {
        self.outcome(self.input(task), self.comparison, join).told()
    }

    fn verify(&self, task: u64, answer: &Answer) -> Result<(), Mismatch> {
        let input = self.input(task);
        let outcome = self.outcome(input, self.comparison, &Sequential);
        let expected = outcome.told();
        if answer.words != expected.words {
            return Err(Mismatch {
                task,
                message: format!("{} but one thread gives {}", answer.text, expected.text),
            });
        }
        self.check(input, &outcome)
            .map_err(|message| Mismatch { task, message })?;
        if self.comparison != Comparison::Exact {
            drop(outcome);
            let differs = self.outcome(input, Comparison::Exact, &Sequential).told() != expected;
            // Relaxed: two tallies for a report that is made when all is done.
            self.checked.fetch_add(1, Ordering::Relaxed);
            self.differing.fetch_add(u64::from(differs), Ordering::Relaxed);
        }
        Ok(())
    }

    fn facts(&self) -> Vec<Fact> {
        let checked = self.checked.load(Ordering::Relaxed);
        if checked == 0 {
            return Vec::new();
        }
        vec![Fact {
            name: "eps_differs",
            unit: "1",
            meaning: "share of the checked answers by eps that are not the exact ones",
            value: self.differing.load(Ordering::Relaxed) as f64 / checked as f64,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ParamValue;
    use crate::tests::OnThreads;

    fn prepare(op: &str, points: i64, shape: &str, comparison: &str) -> Result<Box<dyn Prepared>, BadInput> {
        let text = |name: &str, value: &str| (name.to_owned(), ParamValue::Text(value.to_owned()));
        let given = [
            text("op", op),
            text("shape", shape),
            text("comparison", comparison),
            ("points".to_owned(), ParamValue::Integer(points)),
            ("inputs".to_owned(), ParamValue::Integer(2)),
        ];
        Geometry.prepare(&Params::resolve(&ABOUT, &given).unwrap(), 5)
    }

    fn choices(name: &str) -> &'static [&'static str] {
        let parameter = ABOUT
            .parameters
            .iter()
            .find(|parameter| parameter.name == name)
            .unwrap();
        let Domain::Choice(choices) = parameter.domain else {
            panic!("{name} is no choice")
        };
        choices
    }

    #[test]
    fn every_operation_on_every_shape_verifies_and_forks() {
        for op in choices("op") {
            for shape in choices("shape") {
                for comparison in choices("comparison") {
                    for points in [2, 3, 50, 900] {
                        let Ok(prepared) = prepare(op, points, shape, comparison) else {
                            assert_eq!(*comparison, "eps", "{op} {shape} {points}");
                            continue;
                        };
                        let answer = prepared.run(1, &Sequential);
                        assert_eq!(
                            prepared.verify(1, &answer),
                            Ok(()),
                            "{op} {shape} {comparison} {points}"
                        );
                        assert_eq!(
                            prepared.run(1, &OnThreads(2)),
                            answer,
                            "{op} {shape} {comparison} {points}"
                        );
                        assert_eq!(prepared.facts().len(), usize::from(*comparison == "eps"));
                    }
                }
            }
        }
    }

    #[test]
    fn large_inputs_verify_and_fork() {
        for op in choices("op") {
            for shape in ["disk", "circle", "grid"] {
                let prepared = prepare(op, 30_000, shape, "exact").unwrap();
                let answer = prepared.run(1, &OnThreads(2));
                assert_eq!(prepared.verify(1, &answer), Ok(()), "{op} {shape}");
            }
        }
    }

    #[test]
    fn the_oracles_tell_wrong_results() {
        let mut random = Random::new(1, 1);
        let points = shaped(500, "disk", &mut random);
        let hull = convex_hull(&points, false, Comparison::Exact, &Sequential);
        assert_eq!(oracle::hull(&points, &hull), Ok(()));
        for wrong in [
            &hull[1..],
            &[&hull[..], &[hull[0]]].concat()[..],
            &hull[..1],
            &hull.iter().rev().copied().collect::<Vec<_>>(),
        ] {
            assert!(oracle::hull(&points, wrong).is_err());
        }
        let mut moved = hull.clone();
        moved[2] = moved[2] * 1.5;
        assert!(oracle::hull(&points, &moved).is_err());
        let pair = |pair: [u32; 2]| {
            let [a, b] = pair.map(|at| points[at as usize]);
            Some(Pair {
                distance: (a - b).length(),
                pair,
            })
        };
        assert!(oracle::closest(&points, pair([0, 1])).is_err());
        assert!(oracle::farthest(&points, pair([0, 1])).is_err());
        assert!(oracle::closest(&points, None).is_err());
        let circle = |x: f64, radius: f64| {
            Some(Enclosing {
                center: Point::new(x, 0.0),
                radius,
            })
        };
        assert!(oracle::enclosing(&points, circle(0.0, 0.5)).is_err());
        assert!(oracle::enclosing(&points, circle(0.3, 1.5)).is_err());
        let polygon = star(20, &points, &mut random);
        let mut places = points_in_polygon(&polygon, &points, Comparison::Exact, &Sequential);
        assert_eq!(oracle::places(&polygon, &points, &places, 0.0), Ok(()));
        places[7] = if places[7] == Place::Inside {
            Place::Outside
        } else {
            Place::Inside
        };
        assert!(oracle::places(&polygon, &points, &places, 0.0).is_err());
        let segments: Vec<[Point; 2]> = points.chunks(2).map(|pair| [pair[0], pair[1]]).collect();
        let mut pairs = crossings(&segments, &Sequential);
        assert_eq!(oracle::crossings(&segments, &pairs), Ok(()));
        pairs.remove(pairs.len() / 2);
        assert!(oracle::crossings(&segments, &pairs).is_err());
        let mut triangles = delaunay(&points, &Sequential);
        assert_eq!(oracle::delaunay(&points, &triangles), Ok(()));
        triangles.pop();
        assert!(oracle::delaunay(&points, &triangles).is_err());
        let input = Input::new(Op::HalfPlanes, 500, "disk", Random::new(2, 2));
        let region = half_plane_intersection(&input.planes);
        assert_eq!(oracle::half_planes(&input.planes, &region), Ok(()));
        let HalfPlanes::Polygon(mut corners) = region else {
            panic!("bounded")
        };
        corners[0] = corners[0] * 1.1;
        assert!(oracle::half_planes(&input.planes, &HalfPlanes::Polygon(corners)).is_err());
    }

    #[test]
    fn what_would_never_end_or_fit_is_refused() {
        let refused = |op, points, shape, comparison| prepare(op, points, shape, comparison).err().unwrap().to_string();
        assert!(refused("crossings", 5000, "equal", "exact").starts_with("shape: equal makes every two segments meet"));
        assert!(refused("delaunay", 50, "disk", "eps").starts_with("comparison: delaunay is done by exact"));
        assert!(refused("point_in_polygon", 1_000_000, "disk", "eps").starts_with("points: by eps every point"));
    }
}
