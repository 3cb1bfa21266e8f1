//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.
//!
//! A question about points ends in signs: on which side of a line, within which circle, nearer or
//! farther. Rounded arithmetic gets some of these wrong, and an algorithm that is told
//! contradictory signs may lose a corner, loop or crash; an `eps` only moves the place where that
//! happens. So every sign here is by default exact for the coordinates as given (`predicate.rs`,
//! on `expansion.rs`), f64 or i64 alike; the textbook's eps can be asked for instead, to see
//! where it differs. Numbers that must be rounded (a crossing point, a centre, an area) are worked
//! out in twice the digits and rounded once.
//!
//! `segment.rs` and `polygon.rs` hold what is asked of a few points. The rest is a file for each
//! algorithm on many: `hull.rs`, `diameter.rs`, `closest_pair.rs`, `enclosing_circle.rs`, `crossings.rs`,
//! `half_planes.rs`, `convex.rs`, `delaunay.rs`, `circles.rs`, `tangents.rs`. `door.rs` is the JSON
//! case, `task.rs` the workload. Coordinates are plain numbers without a unit; angles are radians.

mod circles;
mod closest_pair;
mod convex;
mod crossings;
mod delaunay;
mod determinant;
mod diameter;
mod door;
mod enclosing_circle;
mod expansion;
mod half_planes;
mod hull;
mod oracle;
mod point;
mod polygon;
mod predicate;
mod segment;
mod task;

pub use circles::{
    Circle, CircleMeeting, CommonTangent, CommonTangents, TangentsFrom, circle_circle, circle_line, common_tangents,
    tangents_from,
};
pub use closest_pair::{Pair, closest_pair};
pub use convex::{convex_intersection, minkowski_sum};
pub use crossings::{TooMany, crossings, crossings_at_most};
pub use delaunay::delaunay;
pub use diameter::diameter;
pub use enclosing_circle::{Enclosing, min_enclosing_circle};
pub use half_planes::{HalfPlanes, half_plane_intersection};
pub use hull::convex_hull;
pub use point::Point;
pub use polygon::{
    Convexity, Place, PolygonIndex, centroid, convexity, place_in_polygon, plain_area, points_in_polygon, polygon_area,
};
pub use predicate::{Comparison, Coordinate, GREATEST_COORDINATE, LEAST_COORDINATE, Side};
pub use segment::{
    LineMeeting, Meeting, foot, line_distance, line_intersection, segment_distance, segment_intersection,
};
pub use task::Geometry;

use predicate::distance;
