//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.

mod point;
mod predicate;

pub use point::Point;
pub use predicate::{Comparison, Side};
