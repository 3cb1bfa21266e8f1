//! Which operation runs in which width.
//!
//! The rule behind the table: what is stored in bulk and multiplied goes in half; whatever adds many
//! values, takes an exponential or moves a weight by little goes in full.

/// The width of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The mode's storage type: f16, bf16, or f32 or f64 themselves.
    Storage,
    /// The type of sums: f32, and f64 in mode f64.
    Sum,
}

/// The widths of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    pub operation: &'static str,
    pub reads: Width,
    /// What it is computed in.
    pub computes: Width,
    pub writes: Width,
}

const fn cast(operation: &'static str, reads: Width, computes: Width, writes: Width) -> Cast {
    Cast {
        operation,
        reads,
        computes,
        writes,
    }
}

/// The cast policy of every network here. Where an operation writes sums that the next one reads,
/// nothing is rounded between them.
pub static POLICY: &[Cast] = &[
    cast("matmul", Width::Storage, Width::Sum, Width::Sum),
    cast("convolution", Width::Storage, Width::Sum, Width::Sum),
    cast("bias_relu", Width::Sum, Width::Sum, Width::Storage),
    cast("max_pool", Width::Sum, Width::Sum, Width::Storage),
    cast("softmax_cross_entropy", Width::Sum, Width::Sum, Width::Storage),
    cast("activation_gradient", Width::Sum, Width::Sum, Width::Storage),
    cast("bias_gradient", Width::Sum, Width::Sum, Width::Sum),
    cast("weight_gradient", Width::Storage, Width::Sum, Width::Sum),
    cast("allreduce", Width::Sum, Width::Sum, Width::Sum),
    cast("unscale", Width::Sum, Width::Sum, Width::Sum),
    cast("optimizer", Width::Sum, Width::Sum, Width::Sum),
    cast("weight_copy", Width::Sum, Width::Sum, Width::Storage),
];
