//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.

mod circles;
mod closest_pair;
mod convex;
mod crossings;
mod delaunay;
mod determinant;
mod expansion;
mod half_planes;
mod hull;
mod point;
mod polygon;
mod predicate;
mod segment;

pub use circles::{
    Circle, CircleMeeting, CommonTangent, CommonTangents, TangentsFrom, circle_circle, circle_line, common_tangents,
    tangents_from,
};
pub use closest_pair::{Pair, closest_pair};
pub use convex::{convex_intersection, minkowski_sum};
pub use crossings::{TooMany, crossings, crossings_at_most};
pub use delaunay::delaunay;
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

use predicate::distance;
