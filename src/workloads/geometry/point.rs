//! Points and vectors of two coordinates: f64, or i64 where whole numbers must stay whole.

use std::ops::{Add, Mul, Neg, Sub};

/// A point, or the vector from the origin to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point<T = f64> {
    pub x: T,
    pub y: T,
}

impl<T> Point<T> {
    pub const fn new(x: T, y: T) -> Point<T> {
        Point { x, y }
    }
}

impl Point {
    pub fn dot(self, other: Point) -> f64 {
        self.x * other.x + self.y * other.y
    }

    /// The z of the cross product: twice the area of the triangle with the origin, positive when
    /// `other` lies counter-clockwise of `self`.
    pub fn cross(self, other: Point) -> f64 {
        self.x * other.y - self.y * other.x
    }

    pub fn length(self) -> f64 {
        self.x.hypot(self.y)
    }

    /// By how many radians `self` turns to point along `other`: over -π up to π, counter-clockwise
    /// positive. 0 when either is the zero vector.
    pub fn angle_to(self, other: Point) -> f64 {
        // A difference of -0.0 in the cross product would make a straight angle -π.
        (self.cross(other) + 0.0).atan2(self.dot(other))
    }

    /// Turned counter-clockwise about the origin.
    pub fn rotated(self, radians: f64) -> Point {
        let (sin, cos) = radians.sin_cos();
        Point::new(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }
}

impl Add for Point {
    type Output = Point;

    fn add(self, other: Point) -> Point {
        Point::new(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Point;

    fn sub(self, other: Point) -> Point {
        Point::new(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f64> for Point {
    type Output = Point;

    fn mul(self, by: f64) -> Point {
        Point::new(self.x * by, self.y * by)
    }
}

impl Neg for Point {
    type Output = Point;

    fn neg(self) -> Point {
        Point::new(-self.x, -self.y)
    }
}
