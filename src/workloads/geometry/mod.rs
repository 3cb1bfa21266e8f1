//! Computational geometry in the plane: textbook comparisons and exact predicates, side by side.
