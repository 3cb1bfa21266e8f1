//! The name that a mistyped one most likely meant.
//!
//! Every room that refuses an unknown name offers the nearest known one by this function. It lives
//! here because workloads may import no other room, and every room that needs it may import them.

/// The known name that `given` most likely meant, if any is near. Case does not matter.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Long input is no typing mistake, and comparing it would cost its square.
    if given.len() > 64 {
        return None;
    }
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            // Likeness by letters links `gap` with `maximum_gap` not at all, so a name that is
            // part of the other counts as near too.
            let part = given.len() >= 3 && (lower.contains(&given) || given.contains(&lower));
            let likeness = strsim::jaro_winkler(&given, &lower);
            (if part { likeness.max(0.85) } else { likeness }, name)
        })
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_a_part_and_another_case_are_near_and_a_stranger_is_not() {
        let known = ["maximum_gap", "merge_sorted_array", "combination_sum"];
        for (given, meant) in [
            ("maximum_gapp", Some("maximum_gap")),
            ("gap", Some("maximum_gap")),
            ("max_gap", Some("maximum_gap")),
            ("Merge", Some("merge_sorted_array")),
            ("combinaton_sum", Some("combination_sum")),
            ("xyzzy", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
        assert_eq!(nearest(&"m".repeat(10_000), known), None);
    }
}
