//! On which side of a line a point lies: by the textbook's eps, or exactly.

use super::Point;

/// How near to zero counts as zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    /// The textbook's: a cross product within `eps` of 0 is 0.
    Eps(f64),
    /// Adaptive precision (Shewchuk 1997, by the `robust` crate): the sign of the real-number value
    /// of the coordinates as they are.
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Counter-clockwise.
    Left,
    On,
    Right,
}

impl Comparison {
    /// Where `c` lies, seen along the line from `a` to `b`.
    pub fn side(self, a: Point, b: Point, c: Point) -> Side {
        let (value, eps) = match self {
            Comparison::Eps(eps) => ((b - a).cross(c - a), eps),
            Comparison::Exact => {
                let coord = |p: Point| robust::Coord { x: p.x, y: p.y };
                (robust::orient2d(coord(a), coord(b), coord(c)), 0.0)
            }
        };
        if value > eps {
            Side::Left
        } else if value < -eps {
            Side::Right
        } else {
            Side::On
        }
    }
}
