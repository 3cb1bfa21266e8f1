//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.

mod exact;
mod point;
mod predicate;
mod segment;

pub use point::Point;
pub use predicate::{Comparison, Coordinate, GREATEST_COORDINATE, LEAST_COORDINATE, Side};
pub use segment::{
    LineMeeting, Meeting, foot, line_distance, line_intersection, segment_distance, segment_intersection,
};

use predicate::distance;
