//! The JSON door: an object whose `op` says what is wanted of the other fields.
//!
//! A point is `[x, y]`, a segment or a line two points, a polygon its corners in order. If all coordinates of a
//! case are whole numbers of 64 bits, it is worked out in whole numbers: nothing is rounded, and
//! points of the answer that were given come back as whole numbers. Otherwise coordinates are f64; a
//! whole number among them that f64 cannot hold is refused rather than rounded. `comparison` is `"exact"`,
//! the default, `{"eps": 1e-9}`, or `{"both": 1e-9}` for both answers side by side.

use serde_json::{Map, Value, json};

use super::predicate::{GREATEST_COORDINATE, LEAST_COORDINATE};
use super::segment::{
    LineMeeting, Meeting, foot, line_distance, line_intersection, segment_distance, segment_intersection,
};
use super::{
    Circle, CircleMeeting, CommonTangents, Comparison, Coordinate, HalfPlanes, Pair, Point, Side, TangentsFrom,
    centroid, circle_circle, circle_line, closest_pair, common_tangents, convex_hull, convex_intersection, convexity,
    crossings_at_most, delaunay, diameter, half_plane_intersection, min_enclosing_circle, minkowski_sum, plain_area,
    points_in_polygon, polygon_area, tangents_from,
};
use crate::json::{self, Case};
use crate::nearest;
use crate::{BadInput, Join, Sequential};

/// What each op takes and gives, for the catalogue.
pub(super) const SHAPES: &str = "Time O(n log n) or less, but for point_in_polygon by eps; sources are in the module. \
    Ops as JSON: convex_hull {points, keep_collinear} -> {hull}; polygon_area {polygon} -> {area}; centroid {polygon} -> {centroid} \
    (of the border where the area is 0); is_convex {polygon} -> {convex, strictly}; point_in_polygon {polygon, points} -> {where}; \
    segment_intersection, line_intersection {a, b} -> {kind, points}; segment_crossings {segments} -> {pairs}; closest_pair, \
    diameter {points} -> {distance, pair}; min_enclosing_circle {points} -> {center, radius}; half_plane_intersection {half_planes: \
    [[a, b, c] for ax+by<=c]} -> {kind, polygon}; circle_intersection {a, b}, circle_line {circle, line} -> {kind, points}; \
    tangents {point, circle} -> {points} where they touch, {a, b} -> {kind, outer, inner}; convex_intersection, minkowski_sum \
    {a, b} -> {polygon, area}; delaunay {points} -> {triangles}; side {a, b, c} -> {side}; point_line_distance {line, point} -> \
    {distance, signed, nearest}; point_segment_distance {segment, point} -> {distance, nearest}; dot, cross, angle {a, b}; \
    rotate {points, radians, about} -> {points}. A point is [x, y], a segment or line two points, a polygon its corners in order, \
    a circle {center, radius} or [x, y, radius]. Whole numbers of 64 bits everywhere are worked out in whole numbers. comparison is \
    \"exact\" (default), {\"eps\": 1e-9} or {\"both\": 1e-9}. Pairs are numbers i < j, ties go to the smallest.";

/// Of more crossing pairs than this the answer would take too much memory.
const MOST_PAIRS: usize = 16_000_000;

/// A coordinate that JSON has.
trait Number: Coordinate {
    fn read(value: &Value) -> Result<Self, String>;
    fn told(self) -> Value;
}

impl Number for f64 {
    fn read(value: &Value) -> Result<f64, String> {
        let number = json::number(value)?;
        if !number.is_finite() {
            return Err(format!("is {}; give a finite number", json::told(number)));
        }
        let whole = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
        if whole.is_some_and(|whole| number as i128 != whole) {
            return Err(format!(
                "is {value}, which f64 cannot hold; give whole numbers of 64 bits everywhere, or write it with a decimal point"
            ));
        }
        if number != 0.0 && !(LEAST_COORDINATE..=GREATEST_COORDINATE).contains(&number.abs()) {
            return Err(format!(
                "is {number}; give 0 or a magnitude from {LEAST_COORDINATE:e} to {GREATEST_COORDINATE:e}, \
                 so that products can be told exactly"
            ));
        }
        Ok(number)
    }

    fn told(self) -> Value {
        json::told(self)
    }
}

impl Number for i64 {
    fn read(value: &Value) -> Result<i64, String> {
        value
            .as_i64()
            .ok_or_else(|| format!("is {}; give a whole number", json::kind(value)))
    }

    fn told(self) -> Value {
        Value::from(self)
    }
}

type Run = fn(&Reader, &dyn Join) -> Result<Value, BadInput>;

/// One thing that can be asked for.
struct Op {
    name: &'static str,
    /// Fields that hold coordinates.
    coordinates: &'static [&'static str],
    /// Other fields, but for `op`.
    others: &'static [&'static str],
    in_f64: Run,
    /// The same on whole numbers, if it can be done on them.
    in_whole: Option<Run>,
}

const COMPARED: &[&str] = &["comparison"];

/// An operation on either kind of number.
macro_rules! either {
    ($name:literal, $coordinates:expr, $others:expr, $run:ident) => {
        Op {
            name: $name,
            coordinates: &$coordinates,
            others: $others,
            in_f64: $run::<f64>,
            in_whole: Some($run::<i64>),
        }
    };
}

/// An operation on f64.
macro_rules! floats {
    ($name:literal, $coordinates:expr, $others:expr, $run:ident) => {
        Op {
            name: $name,
            coordinates: &$coordinates,
            others: $others,
            in_f64: $run,
            in_whole: None,
        }
    };
}

static OPS: &[Op] = &[
    either!("convex_hull", ["points"], &["keep_collinear", "comparison"], hull_op),
    either!("polygon_area", ["polygon"], COMPARED, area_op),
    either!("centroid", ["polygon"], &[], centroid_op),
    either!("is_convex", ["polygon"], COMPARED, convex_op),
    either!("point_in_polygon", ["polygon", "points"], COMPARED, inside_op),
    either!("segment_intersection", ["a", "b"], COMPARED, segments_op),
    either!("line_intersection", ["a", "b"], COMPARED, lines_op),
    floats!("segment_crossings", ["segments"], &[], crossings_op),
    either!("closest_pair", ["points"], COMPARED, closest_op),
    either!("diameter", ["points"], COMPARED, diameter_op),
    either!("min_enclosing_circle", ["points"], COMPARED, enclosing_op),
    floats!("half_plane_intersection", ["half_planes"], &[], half_planes_op),
    floats!("circle_intersection", ["a", "b"], COMPARED, circles_op),
    floats!("circle_line", ["circle", "line"], COMPARED, circle_line_op),
    floats!("tangents", ["a", "b", "circle", "point"], COMPARED, tangents_op),
    floats!("convex_intersection", ["a", "b"], &[], convex_intersection_op),
    floats!("minkowski_sum", ["a", "b"], &[], minkowski_op),
    floats!("delaunay", ["points"], &[], delaunay_op),
    either!("side", ["a", "b", "c"], COMPARED, side_op),
    either!("point_line_distance", ["line", "point"], &[], line_distance_op),
    either!("point_segment_distance", ["segment", "point"], &[], segment_distance_op),
    floats!("dot", ["a", "b"], &[], dot_op),
    floats!("cross", ["a", "b"], &[], cross_op),
    floats!("angle", ["a", "b"], &[], angle_op),
    floats!("rotate", ["points", "about"], &["radians"], rotate_op),
];

/// Answers one case.
pub(super) fn solve(input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
    let names = || OPS.iter().map(|op| op.name);
    let Value::Object(fields) = input else {
        return Err(BadInput::new(
            "input",
            format!(
                "is {}; give an object with the field `op` and what it needs",
                json::kind(input)
            ),
        ));
    };
    let listed = || names().collect::<Vec<_>>().join(", ");
    let op = match fields.get("op") {
        Some(Value::String(op)) => op,
        Some(other) => {
            return Err(BadInput::new(
                "op",
                format!("is {}; give one of {}", json::kind(other), listed()),
            ));
        }
        None => return Err(BadInput::new("op", format!("is missing; give one of {}", listed()))),
    };
    let Some(op) = OPS.iter().find(|known| known.name == op) else {
        let hint = match nearest(op, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("give one of {}", listed()),
        };
        return Err(BadInput::new("op", format!("`{op}` is not known; {hint}")));
    };
    if op.others.contains(&"comparison")
        && let Some(eps) = fields.get("comparison").and_then(|comparison| comparison.get("both"))
    {
        let with = |comparison: Value| {
            let mut fields: Map<String, Value> = fields.clone();
            fields.insert("comparison".to_owned(), comparison);
            one(op, &Value::Object(fields), join)
        };
        let (by_eps, exact) = (with(json!({ "eps": eps }))?, with(json!("exact"))?);
        return Ok(json!({ "same": exact == by_eps, "exact": exact, "eps": by_eps }));
    }
    one(op, input, join)
}

fn one(op: &Op, input: &Value, join: &dyn Join) -> Result<Value, BadInput> {
    let known: Vec<&str> = ["op"].iter().chain(op.coordinates).chain(op.others).copied().collect();
    let case = Case::open(input, &known)?;
    let whole = op
        .coordinates
        .iter()
        .all(|field| case.optional(field).is_none_or(all_whole));
    let run = op.in_whole.filter(|_| whole).unwrap_or(op.in_f64);
    run(&Reader { case }, join)
}

fn all_whole(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(all_whole),
        // What is no number is refused by the reading as f64, which knows `"NaN"`.
        other => other.as_i64().is_some(),
    }
}

/// Reads geometry from a case.
struct Reader<'a> {
    case: Case<'a>,
}

fn array<'a>(value: &'a Value, wanted: &str) -> Result<&'a [Value], String> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(format!("is {}; give {wanted}", json::kind(other))),
    }
}

fn exactly<'a, const N: usize>(value: &'a Value, wanted: &str) -> Result<[&'a Value; N], String> {
    let items = array(value, wanted)?;
    if items.len() != N {
        return Err(format!("holds {} values; give {wanted}", items.len()));
    }
    Ok(std::array::from_fn(|at| &items[at]))
}

fn point<T: Number>(value: &Value) -> Result<Point<T>, String> {
    let [x, y] = exactly(value, "a point: [x, y]")?;
    let read = |name: &str, value: &Value| T::read(value).map_err(|why| format!("has a coordinate {name} that {why}"));
    Ok(Point::new(read("x", x)?, read("y", y)?))
}

fn two_points<T: Number>(value: &Value) -> Result<[Point<T>; 2], String> {
    let [a, b] = exactly(value, "two points: [[x, y], [x, y]]")?;
    let read = |at: usize, value: &Value| point(value).map_err(|why| format!("point {at} {why}"));
    Ok([read(0, a)?, read(1, b)?])
}

impl<'a> Reader<'a> {
    fn value(&self, field: &str) -> Result<&'a Value, BadInput> {
        self.case.optional(field).ok_or_else(|| {
            BadInput::new(
                field,
                "is missing; see `threadscape workloads geometry` for the fields of each op",
            )
        })
    }

    fn one<V>(&self, field: &str, read: impl Fn(&Value) -> Result<V, String>) -> Result<V, BadInput> {
        read(self.value(field)?).map_err(|why| BadInput::new(field, why))
    }

    fn many<V>(
        &self,
        field: &str,
        wanted: &str,
        read: impl Fn(&Value) -> Result<V, String>,
    ) -> Result<Vec<V>, BadInput> {
        let items = array(self.value(field)?, wanted).map_err(|why| BadInput::new(field, why))?;
        if u32::try_from(items.len()).is_err() {
            return Err(BadInput::new(
                field,
                format!("holds {} values; give fewer than 2^32", items.len()),
            ));
        }
        let each = |(at, item)| read(item).map_err(|why| BadInput::new(field, format!("element {at} {why}")));
        items.iter().enumerate().map(each).collect()
    }

    fn point<T: Number>(&self, field: &str) -> Result<Point<T>, BadInput> {
        self.one(field, point)
    }

    fn points<T: Number>(&self, field: &str) -> Result<Vec<Point<T>>, BadInput> {
        self.many(field, "an array of points: [[x, y], …]", point)
    }

    /// At least so many points.
    fn enough<T: Number>(&self, field: &str, least: usize, why: &str) -> Result<Vec<Point<T>>, BadInput> {
        let points = self.points(field)?;
        if points.len() < least {
            return Err(BadInput::new(
                field,
                format!("holds {}; give at least {least}: {why}", points.len()),
            ));
        }
        Ok(points)
    }

    fn segment<T: Number>(&self, field: &str) -> Result<[Point<T>; 2], BadInput> {
        self.one(field, two_points)
    }

    fn line<T: Number>(&self, field: &str) -> Result<[Point<T>; 2], BadInput> {
        let [a, b] = self.segment(field)?;
        if a == b {
            return Err(BadInput::new(
                field,
                "has two equal points, through which there is no one line; give two that differ",
            ));
        }
        Ok([a, b])
    }

    fn comparison(&self) -> Result<Comparison, BadInput> {
        const WANTED: &str = r#"give "exact", {"eps": 1e-9} or {"both": 1e-9}"#;
        let refuse = |why: String| Err(BadInput::new("comparison", why));
        match self.case.optional("comparison") {
            None => Ok(Comparison::Exact),
            Some(Value::String(text)) if text == "exact" => Ok(Comparison::Exact),
            Some(Value::Object(fields)) if fields.len() == 1 && fields.contains_key("eps") => {
                match fields.get("eps").and_then(Value::as_f64) {
                    Some(eps) if eps.is_finite() && eps >= 0.0 => Ok(Comparison::Eps(eps)),
                    _ => refuse("has an eps that is no number of 0 or more".to_owned()),
                }
            }
            Some(other) => refuse(format!("is {other}; {WANTED}")),
        }
    }
}

fn told<T: Number>(p: Point<T>) -> Value {
    json!([p.x.told(), p.y.told()])
}

fn all_told<T: Number>(points: &[Point<T>]) -> Value {
    points.iter().map(|p| told(*p)).collect()
}

fn hull_op<T: Number>(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let (points, keep) = (read.points::<T>("points")?, read.case.flag_or("keep_collinear", false)?);
    let hull = convex_hull(&points, keep, read.comparison()?, join);
    Ok(json!({ "hull": all_told(&hull) }))
}

fn area_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let polygon = read.points::<T>("polygon")?;
    let area = match read.comparison()? {
        Comparison::Exact => polygon_area(&polygon),
        Comparison::Eps(_) => plain_area(&polygon),
    };
    Ok(json!({ "area": json::told(area) }))
}

fn centroid_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let polygon = read.enough::<T>("polygon", 1, "no corners have no centre")?;
    Ok(json!({ "centroid": centroid(&polygon).map(told) }))
}

fn convex_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let found = convexity(&read.points::<T>("polygon")?, read.comparison()?);
    Ok(json!({ "convex": found.convex, "strictly": found.strictly }))
}

fn inside_op<T: Number>(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let (polygon, points) = (read.points::<T>("polygon")?, read.points::<T>("points")?);
    let places = points_in_polygon(&polygon, &points, read.comparison()?, join);
    let names: Vec<&str> = places.iter().map(|place| place.name()).collect();
    Ok(json!({ "where": names }))
}

fn segments_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let (a, b) = (read.segment::<T>("a")?, read.segment::<T>("b")?);
    let (kind, points) = match segment_intersection(a, b, read.comparison()?) {
        Meeting::None => ("none", json!([])),
        Meeting::End(p) => ("point", json!([told(p)])),
        Meeting::Crossing(p) => ("point", json!([told(p)])),
        Meeting::Overlap(ends) => ("overlap", all_told(&ends)),
    };
    Ok(json!({ "kind": kind, "points": points }))
}

fn lines_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let (a, b) = (read.line::<T>("a")?, read.line::<T>("b")?);
    Ok(match line_intersection(a, b, read.comparison()?) {
        LineMeeting::Parallel => json!({ "kind": "none", "points": [] }),
        LineMeeting::Point(p) => json!({ "kind": "point", "points": [told(p)] }),
        LineMeeting::Same => json!({ "kind": "same", "points": [] }),
    })
}

fn crossings_op(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let segments = read.many("segments", "an array of segments: [[[x, y], [x, y]], …]", two_points)?;
    let pairs = crossings_at_most(&segments, MOST_PAIRS, join).map_err(|_| {
        BadInput::new(
            "segments",
            format!("more than {MOST_PAIRS} pairs of them meet; give fewer segments"),
        )
    })?;
    Ok(json!({ "pairs": pairs }))
}

fn pair_told(found: Option<Pair>) -> Value {
    found.map_or(
        Value::Null,
        |found| json!({ "distance": json::told(found.distance), "pair": found.pair }),
    )
}

const A_PAIR: &str = "a pair needs two points";

fn closest_op<T: Number>(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let points = read.enough::<T>("points", 2, A_PAIR)?;
    Ok(pair_told(closest_pair(&points, read.comparison()?, join)))
}

fn diameter_op<T: Number>(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let points = read.enough::<T>("points", 2, A_PAIR)?;
    Ok(pair_told(diameter(&points, read.comparison()?, join)))
}

fn enclosing_op<T: Number>(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    let points = read.enough::<T>("points", 1, "no points have no smallest circle")?;
    let circle = min_enclosing_circle(&points, read.comparison()?, join);
    Ok(circle.map_or(
        Value::Null,
        |circle| json!({ "center": told(circle.center), "radius": json::told(circle.radius) }),
    ))
}

fn half_planes_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let planes = read.many("half_planes", "an array of [a, b, c] for a x + b y <= c", |value| {
        let [a, b, c] = exactly(value, "three numbers: [a, b, c] for a x + b y <= c")?;
        let read =
            |name: &str, value: &Value| f64::read(value).map_err(|why| format!("has a number {name} that {why}"));
        Ok([read("a", a)?, read("b", b)?, read("c", c)?])
    })?;
    let (kind, polygon) = match half_plane_intersection(&planes) {
        HalfPlanes::Polygon(corners) => ("polygon", corners),
        HalfPlanes::Empty => ("empty", Vec::new()),
        HalfPlanes::Unbounded(corners) => ("unbounded", corners),
        HalfPlanes::Degenerate(corners) => ("degenerate", corners),
    };
    Ok(json!({ "kind": kind, "polygon": all_told(&polygon) }))
}

fn circle(value: &Value) -> Result<Circle, String> {
    const WANTED: &str = r#"a circle: {"center": [x, y], "radius": r} or [x, y, r]"#;
    let (center, radius) = match value {
        Value::Object(fields) => match (fields.len(), fields.get("center"), fields.get("radius")) {
            (2, Some(center), Some(radius)) => {
                (point(center).map_err(|why| format!("has a center that {why}"))?, radius)
            }
            _ => return Err(format!("has not exactly the fields center and radius; give {WANTED}")),
        },
        value => {
            let [x, y, radius] = exactly(value, WANTED)?;
            let read = |name: &str, value: &Value| {
                f64::read(value).map_err(|why| format!("has a coordinate {name} that {why}"))
            };
            (Point::new(read("x", x)?, read("y", y)?), radius)
        }
    };
    let radius = f64::read(radius).map_err(|why| format!("has a radius that {why}"))?;
    if radius < 0.0 {
        return Err(format!("has the radius {radius}; give 0 or more"));
    }
    Ok(Circle { center, radius })
}

fn circle_meeting_told(meeting: CircleMeeting) -> Value {
    let (kind, points) = match meeting {
        CircleMeeting::None => ("none", json!([])),
        CircleMeeting::Touching(p) => ("point", json!([told(p)])),
        CircleMeeting::Points(points) => ("points", all_told(&points)),
        CircleMeeting::Same => ("same", json!([])),
    };
    json!({ "kind": kind, "points": points })
}

fn circles_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let meeting = circle_circle(read.one("a", circle)?, read.one("b", circle)?, read.comparison()?);
    Ok(circle_meeting_told(meeting))
}

fn circle_line_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let meeting = circle_line(read.one("circle", circle)?, read.line("line")?, read.comparison()?);
    Ok(circle_meeting_told(meeting))
}

/// From a point to a circle, or of two circles.
fn tangents_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let comparison = read.comparison()?;
    let given = |field: &str| read.case.optional(field).is_some();
    if given("point") || given("circle") {
        for field in ["a", "b"] {
            if given(field) {
                return Err(BadInput::new(
                    field,
                    "is for tangents of two circles; give a and b, or point and circle",
                ));
            }
        }
        let points = match tangents_from(read.point("point")?, read.one("circle", circle)?, comparison) {
            TangentsFrom::None => json!([]),
            TangentsFrom::One(p) => json!([told(p)]),
            TangentsFrom::Two(points) => all_told(&points),
        };
        return Ok(json!({ "points": points }));
    }
    let (kind, lines) = match common_tangents(read.one("a", circle)?, read.one("b", circle)?, comparison) {
        CommonTangents::Same => ("same", Vec::new()),
        CommonTangents::Lines(lines) => ("lines", lines),
    };
    let of = |outer: bool| -> Value {
        lines
            .iter()
            .filter(|line| line.outer == outer)
            .map(|line| all_told(&line.touches))
            .collect()
    };
    Ok(json!({ "kind": kind, "outer": of(true), "inner": of(false) }))
}

impl Reader<'_> {
    /// The corners of a convex polygon; a point, a segment and nothing are convex too.
    fn convex(&self, field: &str) -> Result<Vec<Point>, BadInput> {
        let polygon = self.points(field)?;
        let flat = || convex_hull(&polygon, false, Comparison::Exact, &Sequential).len() < 3;
        if !convexity(&polygon, Comparison::Exact).convex && !flat() {
            return Err(BadInput::new(
                field,
                "is not convex; give its corners in order, or its convex_hull",
            ));
        }
        Ok(polygon)
    }
}

fn polygon_told(polygon: &[Point]) -> Value {
    json!({ "polygon": all_told(polygon), "area": json::told(polygon_area(polygon)) })
}

fn convex_intersection_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    Ok(polygon_told(&convex_intersection(
        &read.convex("a")?,
        &read.convex("b")?,
    )))
}

fn minkowski_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    Ok(polygon_told(&minkowski_sum(&read.convex("a")?, &read.convex("b")?)))
}

fn delaunay_op(read: &Reader, join: &dyn Join) -> Result<Value, BadInput> {
    Ok(json!({ "triangles": delaunay(&read.points("points")?, join) }))
}

fn side_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let [a, b, c] = [read.point::<T>("a")?, read.point("b")?, read.point("c")?];
    let side = match read.comparison()?.side(a, b, c) {
        Side::Left => "left",
        Side::On => "on",
        Side::Right => "right",
    };
    Ok(json!({ "side": side }))
}

fn line_distance_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let (line, point) = (read.line::<T>("line")?, read.point("point")?);
    let signed = line_distance(line, point);
    Ok(
        json!({ "distance": json::told(signed.abs()), "signed": json::told(signed), "nearest": told(foot(line, point)) }),
    )
}

fn segment_distance_op<T: Number>(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let (distance, nearest) = segment_distance(read.segment::<T>("segment")?, read.point("point")?);
    Ok(json!({ "distance": json::told(distance), "nearest": told(nearest) }))
}

fn dot_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    Ok(json!({ "dot": json::told(read.point("a")?.dot(read.point("b")?)) }))
}

fn cross_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    Ok(json!({ "cross": json::told(read.point("a")?.cross(read.point("b")?)) }))
}

fn angle_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    Ok(json!({ "radians": json::told(read.point("a")?.angle_to(read.point("b")?)) }))
}

fn rotate_op(read: &Reader, _: &dyn Join) -> Result<Value, BadInput> {
    let radians = read.case.number("radians")?;
    if !radians.is_finite() {
        return Err(BadInput::new("radians", format!("is {radians}; give a finite number")));
    }
    let about = match read.case.optional("about") {
        None => Point::default(),
        Some(_) => read.point("about")?,
    };
    let turned: Vec<Point> = read
        .points("points")?
        .iter()
        .map(|p| (*p - about).rotated(radians) + about)
        .collect();
    Ok(json!({ "points": all_told(&turned) }))
}

#[cfg(test)]
mod tests {
    use crate::geometry::Geometry;
    use crate::tests::solve;

    fn check(input: &str, expected: &str) {
        assert_eq!(solve(&Geometry, input).unwrap(), expected, "{input}");
    }

    fn refused(input: &str, expected: &str) {
        let told = solve(&Geometry, input).unwrap_err();
        assert!(told.starts_with(expected), "{input}: {told}");
    }

    #[test]
    fn every_op_answers() {
        for (input, expected) in [
            (r#"{"op":"convex_hull","points":[]}"#, r#"{"hull":[]}"#),
            (r#"{"op":"convex_hull","points":[[1,1],[1,1]]}"#, r#"{"hull":[[1,1]]}"#),
            (
                r#"{"op":"convex_hull","points":[[0,0],[2,2],[1,1]],"keep_collinear":true}"#,
                r#"{"hull":[[0,0],[1,1],[2,2]]}"#,
            ),
            (
                r#"{"op":"convex_hull","points":[[0.5,0],[2,2],[-0.0,3]]}"#,
                r#"{"hull":[[0.5,0.0],[2.0,2.0],[0.0,3.0]]}"#,
            ),
            (r#"{"op":"polygon_area","polygon":[]}"#, r#"{"area":0.0}"#),
            (
                r#"{"op":"polygon_area","polygon":[[0,0],[4,0],[4,3]]}"#,
                r#"{"area":6.0}"#,
            ),
            (
                r#"{"op":"polygon_area","polygon":[[4,3],[4,0],[0,0]],"comparison":{"eps":1e-9}}"#,
                r#"{"area":-6.0}"#,
            ),
            (
                r#"{"op":"centroid","polygon":[[0,0],[4,0],[4,2],[0,2]]}"#,
                r#"{"centroid":[2.0,1.0]}"#,
            ),
            (
                r#"{"op":"is_convex","polygon":[[0,0],[2,0],[4,0],[0,4]]}"#,
                r#"{"convex":true,"strictly":false}"#,
            ),
            (
                r#"{"op":"point_in_polygon","polygon":[[0,0],[4,0],[4,4],[0,4]],"points":[[1,1],[4,2],[5,5]]}"#,
                r#"{"where":["inside","boundary","outside"]}"#,
            ),
            (
                r#"{"op":"point_in_polygon","polygon":[],"points":[[1,1]]}"#,
                r#"{"where":["outside"]}"#,
            ),
            (
                r#"{"op":"segment_intersection","a":[[0,0],[4,4]],"b":[[0,4],[4,0]]}"#,
                r#"{"kind":"point","points":[[2.0,2.0]]}"#,
            ),
            (
                r#"{"op":"segment_intersection","a":[[0,0],[4,0]],"b":[[6,0],[2,0]]}"#,
                r#"{"kind":"overlap","points":[[2,0],[4,0]]}"#,
            ),
            (
                r#"{"op":"segment_intersection","a":[[0,0],[4,0]],"b":[[6,1],[2,1]]}"#,
                r#"{"kind":"none","points":[]}"#,
            ),
            (
                r#"{"op":"line_intersection","a":[[0,0],[1,1]],"b":[[0,8],[1,7]]}"#,
                r#"{"kind":"point","points":[[4.0,4.0]]}"#,
            ),
            (
                r#"{"op":"line_intersection","a":[[0,0],[1,1]],"b":[[5,5],[3,3]]}"#,
                r#"{"kind":"same","points":[]}"#,
            ),
            (
                r#"{"op":"segment_crossings","segments":[[[0,0],[4,4]],[[9,9],[9,9]],[[0,4],[4,0]],[[4,4],[9,9]]]}"#,
                r#"{"pairs":[[0,2],[0,3],[1,3]]}"#,
            ),
            (r#"{"op":"segment_crossings","segments":[]}"#, r#"{"pairs":[]}"#),
            (
                r#"{"op":"closest_pair","points":[[0,0],[9,9],[3,4],[9,9]]}"#,
                r#"{"distance":0.0,"pair":[1,3]}"#,
            ),
            (
                r#"{"op":"diameter","points":[[0,0],[1,1],[3,4],[0,0]]}"#,
                r#"{"distance":5.0,"pair":[0,2]}"#,
            ),
            (
                r#"{"op":"min_enclosing_circle","points":[[0,0],[6,8]]}"#,
                r#"{"center":[3.0,4.0],"radius":5.0}"#,
            ),
            (
                r#"{"op":"half_plane_intersection","half_planes":[[1,0,2],[-1,0,0],[0,1,1],[0,-1,0]]}"#,
                r#"{"kind":"polygon","polygon":[[0.0,0.0],[2.0,0.0],[2.0,1.0],[0.0,1.0]]}"#,
            ),
            (
                r#"{"op":"half_plane_intersection","half_planes":[]}"#,
                r#"{"kind":"unbounded","polygon":[]}"#,
            ),
            (
                r#"{"op":"delaunay","points":[[0,0],[4,0],[0,3]]}"#,
                r#"{"triangles":[[0,1,2]]}"#,
            ),
            (
                r#"{"op":"delaunay","points":[[0,0],[1,1],[2,2]]}"#,
                r#"{"triangles":[]}"#,
            ),
            (
                r#"{"op":"circle_intersection","a":{"center":[0,0],"radius":5},"b":[8,0,5]}"#,
                r#"{"kind":"points","points":[[4.0,3.0],[4.0,-3.0]]}"#,
            ),
            (
                r#"{"op":"circle_intersection","a":[0,0,1],"b":[2,0,1]}"#,
                r#"{"kind":"point","points":[[1.0,0.0]]}"#,
            ),
            (
                r#"{"op":"circle_intersection","a":[0,0,1],"b":[0,0,1]}"#,
                r#"{"kind":"same","points":[]}"#,
            ),
            (
                r#"{"op":"circle_intersection","a":[0,0,1],"b":[0,0,2]}"#,
                r#"{"kind":"none","points":[]}"#,
            ),
            (
                r#"{"op":"circle_line","circle":[0,0,5],"line":[[0,3],[1,3]]}"#,
                r#"{"kind":"points","points":[[-4.0,3.0],[4.0,3.0]]}"#,
            ),
            (
                r#"{"op":"tangents","point":[0,0],"circle":[0,0,1]}"#,
                r#"{"points":[]}"#,
            ),
            (
                r#"{"op":"tangents","point":[5,0],"circle":[0,0,3]}"#,
                r#"{"points":[[1.8,-2.4],[1.8,2.4]]}"#,
            ),
            (
                r#"{"op":"tangents","a":[0,0,1],"b":[2,0,1]}"#,
                r#"{"inner":[[[1.0,0.0],[1.0,0.0]]],"kind":"lines","outer":[[[0.0,1.0],[2.0,1.0]],[[0.0,-1.0],[2.0,-1.0]]]}"#,
            ),
            (
                r#"{"op":"convex_intersection","a":[[0,0],[4,0],[4,4],[0,4]],"b":[[6,2],[6,6],[2,6],[2,2]]}"#,
                r#"{"area":4.0,"polygon":[[2.0,2.0],[4.0,2.0],[4.0,4.0],[2.0,4.0]]}"#,
            ),
            (
                r#"{"op":"convex_intersection","a":[],"b":[[6,2],[6,6],[2,6]]}"#,
                r#"{"area":0.0,"polygon":[]}"#,
            ),
            (
                r#"{"op":"minkowski_sum","a":[[0,0],[1,0],[0,1]],"b":[[0,0],[2,0]]}"#,
                r#"{"area":2.5,"polygon":[[0.0,0.0],[3.0,0.0],[2.0,1.0],[0.0,1.0]]}"#,
            ),
            (r#"{"op":"side","a":[0,0],"b":[4,0],"c":[1,1]}"#, r#"{"side":"left"}"#),
            (
                r#"{"op":"point_line_distance","line":[[0,0],[3,4]],"point":[0,-5]}"#,
                r#"{"distance":3.0,"nearest":[-2.4,-3.2],"signed":-3.0}"#,
            ),
            (
                r#"{"op":"point_segment_distance","segment":[[0,0],[3,4]],"point":[-3,-4]}"#,
                r#"{"distance":5.0,"nearest":[0.0,0.0]}"#,
            ),
            (r#"{"op":"dot","a":[1,2],"b":[3,4]}"#, r#"{"dot":11.0}"#),
            (r#"{"op":"cross","a":[1,2],"b":[3,4]}"#, r#"{"cross":-2.0}"#),
            (r#"{"op":"angle","a":[0,1],"b":[0,1]}"#, r#"{"radians":0.0}"#),
            (
                r#"{"op":"angle","a":[2,0],"b":[-1,0]}"#,
                r#"{"radians":3.141592653589793}"#,
            ),
            (
                r#"{"op":"rotate","points":[[3,1]],"radians":0,"about":[1,1]}"#,
                r#"{"points":[[3.0,1.0]]}"#,
            ),
        ] {
            check(input, expected);
        }
    }

    #[test]
    fn whole_numbers_beyond_two_to_the_53_stay_whole() {
        let most = i64::MAX;
        check(
            &format!(
                r#"{{"op":"convex_hull","points":[[0,0],[{most},{most}],[{},{most}]]}}"#,
                most - 1
            ),
            &format!(r#"{{"hull":[[0,0],[{most},{most}],[{},{most}]]}}"#, most - 1),
        );
        check(
            &format!(r#"{{"op":"side","a":[-{most},-{most}],"b":[{most},{most}],"c":[1,0]}}"#),
            r#"{"side":"right"}"#,
        );
        refused(
            r#"{"op":"convex_hull","points":[[0.5,0],[9007199254740993,1]]}"#,
            "points: element 1 has a coordinate x that is 9007199254740993, which f64 cannot hold",
        );
        refused(
            r#"{"op":"convex_hull","points":[[0,0],[18446744073709551615,1]]}"#,
            "points: element 1 has a coordinate x that is 18446744073709551615, which f64 cannot hold",
        );
    }

    #[test]
    fn both_comparisons_side_by_side() {
        check(
            r#"{"op":"side","a":[0,0],"b":[1,1],"c":[0.5,0.5000000000000001],"comparison":{"both":1e-9}}"#,
            r#"{"eps":{"side":"on"},"exact":{"side":"left"},"same":false}"#,
        );
        check(
            r#"{"op":"polygon_area","polygon":[[0,0],[1,0],[1,1]],"comparison":{"both":1e-9}}"#,
            r#"{"eps":{"area":0.5},"exact":{"area":0.5},"same":true}"#,
        );
    }

    #[test]
    fn bad_cases_are_refused_by_name() {
        for (input, expected) in [
            ("[1]", "input: is an array; give an object"),
            (r#"{"points":[]}"#, "op: is missing; give one of convex_hull, "),
            (r#"{"op":3}"#, "op: is a number; give one of"),
            (
                r#"{"op":"convexhull"}"#,
                "op: `convexhull` is not known; did you mean `convex_hull`?",
            ),
            (r#"{"op":"convex_hull"}"#, "points: is missing"),
            (r#"{"op":"convex_hull","points":null}"#, "points: is missing"),
            (
                r#"{"op":"convex_hull","point":[]}"#,
                "point: is not a field of this case; did you mean `points`?",
            ),
            (
                r#"{"op":"convex_hull","points":7}"#,
                "points: is a number; give an array of points",
            ),
            (
                r#"{"op":"convex_hull","points":[[1,2],[3]]}"#,
                "points: element 1 holds 1 values; give a point: [x, y]",
            ),
            (
                r#"{"op":"convex_hull","points":[5]}"#,
                "points: element 0 is a number; give a point: [x, y]",
            ),
            (
                r#"{"op":"convex_hull","points":[[1,"NaN"]]}"#,
                "points: element 0 has a coordinate y that is",
            ),
            (
                r#"{"op":"convex_hull","points":[[1.5,"Infinity"]]}"#,
                "points: element 0 has a coordinate y that is \"Infinity\"",
            ),
            (
                r#"{"op":"convex_hull","points":[[1,null]]}"#,
                "points: element 0 has a coordinate y that is null",
            ),
            (
                r#"{"op":"convex_hull","points":[[1.0,1e200]]}"#,
                "points: element 0 has a coordinate y that is 1",
            ),
            (
                r#"{"op":"convex_hull","points":[[1.0,1e-50]]}"#,
                "points: element 0 has a coordinate y that is 0.0",
            ),
            (
                r#"{"op":"convex_hull","points":[],"keep_collinear":1}"#,
                "keep_collinear: is a number; give true or false",
            ),
            (
                r#"{"op":"convex_hull","points":[],"comparison":"eps"}"#,
                r#"comparison: is "eps"; give "exact""#,
            ),
            (
                r#"{"op":"convex_hull","points":[],"comparison":{"eps":-1}}"#,
                "comparison: has an eps",
            ),
            (
                r#"{"op":"convex_hull","points":[],"comparison":{"both":"x"}}"#,
                "comparison: has an eps",
            ),
            (
                r#"{"op":"delaunay","points":[],"comparison":"exact"}"#,
                "comparison: is not a field of this case",
            ),
            (
                r#"{"op":"closest_pair","points":[[1,1]]}"#,
                "points: holds 1; give at least 2: a pair needs two points",
            ),
            (r#"{"op":"diameter","points":[]}"#, "points: holds 0; give at least 2"),
            (
                r#"{"op":"min_enclosing_circle","points":[]}"#,
                "points: holds 0; give at least 1",
            ),
            (r#"{"op":"centroid","polygon":[]}"#, "polygon: holds 0; give at least 1"),
            (
                r#"{"op":"segment_intersection","a":[[0,0]],"b":[[0,0],[1,1]]}"#,
                "a: holds 1 values; give two points",
            ),
            (
                r#"{"op":"segment_intersection","a":[[0,0],[1]],"b":[[0,0],[1,1]]}"#,
                "a: point 1 holds 1 values",
            ),
            (
                r#"{"op":"line_intersection","a":[[1,1],[1,1]],"b":[[0,0],[1,1]]}"#,
                "a: has two equal points",
            ),
            (
                r#"{"op":"half_plane_intersection","half_planes":[[1,2]]}"#,
                "half_planes: element 0 holds 2 values",
            ),
            (
                r#"{"op":"rotate","points":[],"radians":"NaN"}"#,
                "radians: is NaN; give a finite number",
            ),
        ] {
            refused(input, expected);
        }
    }
}
