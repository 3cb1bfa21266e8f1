//! Reading a single case from JSON: every mistake is refused with the field's name.
//!
//! A [`Case`] is an object with known fields. Unknown ones are refused with the nearest known
//! name; numbers must be whole and fit 64 bits, and the element that doesn't is named.

use super::nearest;
use serde_json::{Map, Value};

use super::BadInput;

/// One case: a JSON object whose field names are known.
pub(super) struct Case<'a> {
    fields: &'a Map<String, Value>,
}

impl<'a> Case<'a> {
    pub(super) fn open(input: &'a Value, known: &[&str]) -> Result<Case<'a>, BadInput> {
        let Value::Object(fields) = input else {
            return Err(BadInput::new(
                "input",
                format!(
                    "is {}; give an object with the fields {}",
                    kind(input),
                    quoted(known.iter().copied())
                ),
            ));
        };
        for name in fields.keys() {
            if !known.contains(&name.as_str()) {
                let hint = match nearest(name, known.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("the fields are {}", quoted(known.iter().copied())),
                };
                return Err(BadInput::new(name, format!("is not a field of this case; {hint}")));
            }
        }
        Ok(Case { fields })
    }

    pub(super) fn integer(&self, name: &str) -> Result<i64, BadInput> {
        whole(self.needed(name)?).map_err(|why| BadInput::new(name, why))
    }

    /// How many of something: a whole number of at least 0.
    pub(super) fn count(&self, name: &str) -> Result<usize, BadInput> {
        let value = self.integer(name)?;
        usize::try_from(value).map_err(|_| BadInput::new(name, format!("is {value}; give 0 or more")))
    }

    pub(super) fn integers(&self, name: &str) -> Result<Vec<i64>, BadInput> {
        self.array(name)?
            .iter()
            .enumerate()
            .map(|(at, value)| whole(value).map_err(|why| BadInput::new(name, format!("element {at} {why}"))))
            .collect()
    }

    /// Whole numbers with gaps: `null` is none.
    pub(super) fn optional_integers(&self, name: &str) -> Result<Vec<Option<i64>>, BadInput> {
        self.array(name)?
            .iter()
            .enumerate()
            .map(|(at, value)| match value {
                Value::Null => Ok(None),
                value => whole(value)
                    .map(Some)
                    .map_err(|why| BadInput::new(name, format!("element {at} {why}, or null"))),
            })
            .collect()
    }

    pub(super) fn pairs(&self, name: &str) -> Result<Vec<(i64, i64)>, BadInput> {
        self.array(name)?
            .iter()
            .enumerate()
            .map(|(at, value)| {
                let refuse = |why: String| BadInput::new(name, format!("element {at} {why}"));
                match value.as_array().map(Vec::as_slice) {
                    Some([a, b]) => Ok((whole(a).map_err(refuse)?, whole(b).map_err(refuse)?)),
                    Some(other) => Err(refuse(format!("holds {} values; give two: [p, q]", other.len()))),
                    None => Err(refuse(format!("is {}; give a pair: [p, q]", kind(value)))),
                }
            })
            .collect()
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, BadInput> {
        let value = self.needed(name)?;
        value
            .as_bool()
            .ok_or_else(|| BadInput::new(name, format!("is {}; give true or false", kind(value))))
    }

    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool, BadInput> {
        if self.fields.contains_key(name) {
            self.flag(name)
        } else {
            Ok(default)
        }
    }

    fn array(&self, name: &str) -> Result<&'a Vec<Value>, BadInput> {
        let value = self.needed(name)?;
        value
            .as_array()
            .ok_or_else(|| BadInput::new(name, format!("is {}; give an array", kind(value))))
    }

    fn needed(&self, name: &str) -> Result<&'a Value, BadInput> {
        self.fields
            .get(name)
            .ok_or_else(|| BadInput::new(name, "is missing; see `threadscape workloads NAME` for an example"))
    }
}

/// A whole number of 64 bits, or why it isn't one.
fn whole(value: &Value) -> Result<i64, String> {
    const WANTED: &str = "give a whole number from -9223372036854775808 to 9223372036854775807";
    match value {
        Value::Number(number) => number.as_i64().ok_or_else(|| {
            if number.is_f64() {
                format!("is {number}; {WANTED}, without a decimal point or exponent")
            } else {
                format!("is {number}, which does not fit 64 bits with a sign; {WANTED}")
            }
        }),
        other => Err(format!("is {}; {WANTED}", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused<T>(result: Result<T, BadInput>) -> String {
        result.err().map(|bad| bad.to_string()).unwrap_or_default()
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_name() {
        let input = json!({"numz": []});
        assert_eq!(
            refused(Case::open(&input, &["nums"])),
            "numz: is not a field of this case; did you mean `nums`?"
        );
        let input = json!({"x": []});
        assert_eq!(
            refused(Case::open(&input, &["nums", "m"])),
            "x: is not a field of this case; the fields are `nums`, `m`"
        );
    }

    #[test]
    fn a_case_that_is_no_object_is_refused() {
        assert_eq!(
            refused(Case::open(&json!([1]), &["nums"])),
            "input: is an array; give an object with the fields `nums`"
        );
    }

    #[test]
    fn every_wrong_value_is_named() {
        let input: Value = serde_json::from_str(
            r#"{"f": [1, 2.5], "h": [9223372036854775808], "g": [1e400000], "s": ["1"], "p": [[1]], "q": [3], "t": 1}"#
                .replace("1e400000", "1e40")
                .as_str(),
        )
        .unwrap();
        let case = Case::open(&input, &["f", "h", "g", "s", "p", "q", "t"]).unwrap();
        assert!(refused(case.integers("f")).starts_with("f: element 1 is 2.5; give a whole number"));
        assert!(refused(case.integers("h")).starts_with("h: element 0 is 9223372036854775808, which does not fit"));
        assert!(refused(case.integers("g")).contains("without a decimal point"));
        assert!(refused(case.integers("s")).starts_with("s: element 0 is a text; give a whole number"));
        assert_eq!(
            refused(case.pairs("p")),
            "p: element 0 holds 1 values; give two: [p, q]"
        );
        assert_eq!(
            refused(case.pairs("q")),
            "q: element 0 is a number; give a pair: [p, q]"
        );
        assert_eq!(refused(case.flag("t")), "t: is a number; give true or false");
        assert_eq!(refused(case.integers("t")), "t: is a number; give an array");
        assert!(refused(case.integer("gone")).starts_with("gone: is missing"));
    }

    #[test]
    fn all_of_sixty_four_bits_is_read_exactly() {
        let input: Value = serde_json::from_str(r#"{"n": [-9223372036854775808, 9223372036854775807, -0]}"#).unwrap();
        let case = Case::open(&input, &["n"]).unwrap();
        // JSON's `-0` is a float to serde_json; it is refused rather than guessed.
        assert!(refused(case.integers("n")).starts_with("n: element 2 is -0.0"));
        let input = json!({"n": [i64::MIN, i64::MAX]});
        let case = Case::open(&input, &["n"]).unwrap();
        assert_eq!(case.integers("n").unwrap(), [i64::MIN, i64::MAX]);
    }
}
