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

    /// The field's value as it stands, `null` and absent alike `None`.
    pub(super) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A number, or the texts `NaN`, `Infinity` and `-Infinity`, which JSON has no numbers for.
    pub(super) fn number(&self, name: &str) -> Result<f64, BadInput> {
        number(self.needed(name)?).map_err(|why| BadInput::new(name, why))
    }

    pub(super) fn number_or(&self, name: &str, default: f64) -> Result<f64, BadInput> {
        match self.optional(name) {
            None => Ok(default),
            Some(_) => self.number(name),
        }
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>, BadInput> {
        self.array(name)?
            .iter()
            .enumerate()
            .map(|(at, value)| number(value).map_err(|why| BadInput::new(name, format!("element {at} {why}"))))
            .collect()
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, BadInput> {
        let value = self.needed(name)?;
        value
            .as_str()
            .ok_or_else(|| BadInput::new(name, format!("is {}; give a text", kind(value))))
    }

    /// One of the texts in `choices`, as its place among them.
    pub(super) fn choice(&self, name: &str, choices: &[&str]) -> Result<usize, BadInput> {
        let given = self.text(name)?;
        choices.iter().position(|choice| *choice == given).ok_or_else(|| {
            let hint = match nearest(given, choices.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("give one of {}", quoted(choices.iter().copied())),
            };
            BadInput::new(name, format!("`{given}` is not known; {hint}"))
        })
    }

    /// Numbers in arrays nested `rank` deep, all of one length at each depth: the lengths, outermost
    /// first, and the numbers in order. An empty array ends the lengths: those within count 0.
    pub(super) fn tensor(&self, name: &str, rank: usize) -> Result<(Vec<usize>, Vec<f64>), BadInput> {
        let mut shape = vec![None; rank];
        let mut flat = Vec::new();
        flatten(self.needed(name)?, &mut shape, &mut flat).map_err(|why| BadInput::new(name, why))?;
        Ok((shape.into_iter().map(|length| length.unwrap_or(0)).collect(), flat))
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

fn flatten(value: &Value, shape: &mut [Option<usize>], flat: &mut Vec<f64>) -> Result<(), String> {
    let depth = shape.len();
    let Some((length, inner)) = shape.split_first_mut() else {
        flat.push(number(value)?);
        return Ok(());
    };
    let Value::Array(items) = value else {
        return Err(format!(
            "has {} where an array belongs: {depth} more levels of arrays hold the numbers",
            kind(value)
        ));
    };
    match *length {
        None => *length = Some(items.len()),
        Some(length) if length != items.len() => {
            return Err(format!(
                "has arrays of {length} and of {} values at the same depth; give all the same length",
                items.len()
            ));
        }
        Some(_) => {}
    }
    items.iter().try_for_each(|item| flatten(item, inner, flat))
}

/// A number of 64 bits, or why it isn't one.
pub(super) fn number(value: &Value) -> Result<f64, String> {
    let known = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    };
    known.ok_or_else(|| {
        format!(
            "is {}; give a number, or \"NaN\", \"Infinity\" or \"-Infinity\"",
            kind(value)
        )
    })
}

/// The number as JSON has it, and the three texts for what it has no numbers for. An f32 made f64
/// before stays exact.
pub(super) fn told(value: f64) -> Value {
    if value.is_nan() {
        Value::from("NaN")
    } else if value.is_infinite() {
        Value::from(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        Value::from(value)
    }
}

/// The numbers nested by `shape`: what [`Case::tensor`] reads.
pub(super) fn nested(shape: &[usize], flat: &[f64]) -> Value {
    match shape.split_first() {
        None => flat.first().copied().map_or(Value::Null, told),
        Some((&length, inner)) => {
            let step: usize = inner.iter().product();
            Value::Array(
                (0..length)
                    .map(|at| nested(inner, &flat[at * step..][..step]))
                    .collect(),
            )
        }
    }
}

pub(super) fn kind(value: &Value) -> &'static str {
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
    fn a_tensor_keeps_its_shape_and_refuses_ragged_arrays() {
        let input = json!({"t": [[[1, 2.5], ["NaN", "-Infinity"], [0, 1]]], "r": [[1], [2, 3]], "d": [1], "e": [[]]});
        let case = Case::open(&input, &["t", "r", "d", "e"]).unwrap();
        let (shape, flat) = case.tensor("t", 3).unwrap();
        assert_eq!(shape, [1, 3, 2]);
        assert_eq!(
            nested(&shape, &flat),
            json!([[[1.0, 2.5], ["NaN", "-Infinity"], [0.0, 1.0]]])
        );
        assert!(refused(case.tensor("r", 2)).starts_with("r: has arrays of 1 and of 2 values"));
        assert!(refused(case.tensor("d", 2)).starts_with("d: has a number where an array belongs"));
        assert_eq!(case.tensor("e", 2).unwrap(), (vec![1, 0], vec![]));
    }

    #[test]
    fn a_choice_is_refused_with_the_nearest() {
        let input = json!({"op": "rong"});
        let case = Case::open(&input, &["op"]).unwrap();
        assert_eq!(
            refused(case.choice("op", &["ring", "tree"])),
            "op: `rong` is not known; did you mean `ring`?"
        );
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
