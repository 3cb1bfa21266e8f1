//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.

mod crossings;
mod delaunay;
mod exact;
mod half_planes;
mod point;
mod predicate;

pub use crossings::{TooMany, crossings, crossings_at_most};
pub use delaunay::delaunay;
pub use half_planes::{HalfPlanes, half_plane_intersection};
pub use point::Point;
pub use predicate::{Comparison, Side};
