//! Mixed-precision training: half-width storage, full-width sums and master weights.
