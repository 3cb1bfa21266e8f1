//! Allreduce: every participant ends with the same sum of what all of them brought.
