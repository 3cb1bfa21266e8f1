//! Threads by the pattern of their names: `worker-12` and `worker-7` are of one kind.

use std::collections::HashMap;
use std::sync::Arc;

/// Groups that a sentence names.
const NAMED: usize = 3;

/// A name with each run of digits folded.
pub(super) fn pattern(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if !c.is_ascii_digit() {
            pattern.push(c);
        } else if !pattern.ends_with('#') {
            pattern.push('#');
        }
    }
    pattern
}

/// How many there are of each pattern, in words: `40 worker-#, 2 io-#`.
pub(super) fn groups<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> String {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for name in names {
        *counts.entry(pattern(name)).or_default() += 1;
    }
    tally(counts)
}

/// The most frequent ones with their counts, and how many more kinds there are.
pub(super) fn tally(counts: HashMap<String, usize>) -> String {
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = counts.len().saturating_sub(NAMED);
    let mut told: Vec<String> = counts
        .iter()
        .take(NAMED)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if more > 0 {
        told.push(format!("{more} more kinds"));
    }
    told.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_digits_are_one_group() {
        let names: Vec<Arc<str>> = ["worker-1", "worker-22", "io", "worker-3"].map(Arc::from).into();
        assert_eq!(groups(names.iter()), "3 worker-#, 1 io");
        let names: Vec<Arc<str>> = ["a", "b", "c", "d", "e", "e"].map(Arc::from).into();
        assert_eq!(groups(names.iter()), "2 e, 1 a, 1 b, 2 more kinds");
    }
}
