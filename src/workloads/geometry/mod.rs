//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.

mod closest_pair;
mod diameter;
mod enclosing_circle;
mod expansion;
mod hull;
mod point;
mod polygon;
mod predicate;
mod segment;

pub use closest_pair::{Pair, closest_pair};
pub use diameter::diameter;
pub use enclosing_circle::{Enclosing, min_enclosing_circle};
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
