//! Lines and segments: where two meet, and how far a point is from one.
