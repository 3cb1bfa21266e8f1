//! The parameters of a workload: their kinds, their limits, and the check of what a user gave.
//!
//! The catalogue declares [`Parameter`]s; a scenario file or the command line gives values by
//! name; [`Params::resolve`] refuses what doesn't fit and fills in the defaults. After it, a
//! workload reads its parameters by name and need not check them again.

use std::fmt;

use super::About;
use super::nearest;

/// The kind of a parameter and its limits; both ends are allowed values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    Integer { min: i64, max: i64 },
    Number { min: f64, max: f64 },
    Choice(&'static [&'static str]),
    Flag,
}

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamValue {
    Integer(i64),
    Number(f64),
    Text(String),
    Flag(bool),
}

/// One parameter of a workload, as the catalogue lists it.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub meaning: &'static str,
    /// `nodes`, `elements`, or empty.
    pub unit: &'static str,
    pub domain: Domain,
    /// As text, in the form a scenario file would have it.
    pub default: &'static str,
}

/// Parameters that were refused. `field` is the parameter's or the JSON field's name.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct BadInput {
    pub field: String,
    pub message: String,
}

impl BadInput {
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> BadInput {
        BadInput {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// Parameter values by name; what is not given has its default. Unknown names, wrong kinds and
/// values out of the domain are refused by [`Params::resolve`].
#[derive(Clone, Debug, PartialEq)]
pub struct Params(pub(crate) Vec<(&'static str, ParamValue)>);

impl Params {
    /// Checks what was given against the catalogue and fills in the defaults.
    pub fn resolve(about: &'static About, given: &[(String, ParamValue)]) -> Result<Params, BadInput> {
        let names = || about.parameters.iter().map(|parameter| parameter.name);
        for (at, (name, _)) in given.iter().enumerate() {
            if !names().any(|known| known == name) {
                let hint = match nearest(name, names()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => format!("it has {}", listed(names())),
                };
                return Err(BadInput::new(
                    name,
                    format!("{} has no parameter of this name; {hint}", about.name),
                ));
            }
            if given[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(BadInput::new(name, "given twice; keep one"));
            }
        }
        let mut values = Vec::with_capacity(about.parameters.len());
        for parameter in about.parameters {
            let value = match given.iter().find(|(name, _)| name == parameter.name) {
                Some((_, value)) => parameter.check(value)?,
                None => parameter.default_value(),
            };
            values.push((parameter.name, value));
        }
        Ok(Params(values))
    }

    /// Every parameter with its value, in the catalogue's order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &ParamValue)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }

    /// The value of an integer parameter. The workload names its own parameters, so a wrong name
    /// or kind is our mistake and panics.
    pub(super) fn integer(&self, name: &str) -> i64 {
        match self.value(name) {
            ParamValue::Integer(value) => *value,
            other => unreachable!("{name} is not an integer but {other:?}"),
        }
    }

    pub(super) fn size(&self, name: &str) -> usize {
        usize::try_from(self.integer(name)).unwrap_or(0)
    }

    pub(super) fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            ParamValue::Number(value) => *value,
            other => unreachable!("{name} is not a number but {other:?}"),
        }
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            ParamValue::Text(value) => value,
            other => unreachable!("{name} is not a choice but {other:?}"),
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            ParamValue::Flag(value) => *value,
            other => unreachable!("{name} is not a flag but {other:?}"),
        }
    }

    fn value(&self, name: &str) -> &ParamValue {
        self.0
            .iter()
            .find_map(|(known, value)| (*known == name).then_some(value))
            .unwrap_or_else(|| unreachable!("{name} is not in the catalogue"))
    }
}

impl Parameter {
    /// The default, in the parameter's own kind.
    pub fn default_value(&self) -> ParamValue {
        let value = match self.domain {
            Domain::Integer { .. } => self.default.parse().ok().map(ParamValue::Integer),
            Domain::Number { .. } => self.default.parse().ok().map(ParamValue::Number),
            Domain::Choice(_) => Some(ParamValue::Text(self.default.to_owned())),
            Domain::Flag => self.default.parse().ok().map(ParamValue::Flag),
        };
        value.unwrap_or_else(|| unreachable!("the default of {} does not parse", self.name))
    }

    fn check(&self, given: &ParamValue) -> Result<ParamValue, BadInput> {
        let refuse = |what: String| Err(BadInput::new(self.name, what));
        match (self.domain, given) {
            (Domain::Integer { min, max }, ParamValue::Integer(value)) => {
                if (min..=max).contains(value) {
                    Ok(given.clone())
                } else {
                    refuse(format!("{value} is out of range; give {}", self.domain))
                }
            }
            (Domain::Number { min, max }, ParamValue::Integer(_) | ParamValue::Number(_)) => {
                let value = match given {
                    ParamValue::Integer(value) => *value as f64,
                    ParamValue::Number(value) => *value,
                    _ => f64::NAN,
                };
                // Written so that NaN is refused too.
                if value >= min && value <= max {
                    Ok(ParamValue::Number(value))
                } else {
                    refuse(format!("{value} is out of range; give {}", self.domain))
                }
            }
            (Domain::Choice(choices), ParamValue::Text(value)) => {
                if choices.contains(&value.as_str()) {
                    return Ok(given.clone());
                }
                let hint = match nearest(value, choices.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`? It is {}", self.domain),
                    None => format!("give {}", self.domain),
                };
                refuse(format!("`{value}` is not a choice; {hint}"))
            }
            (Domain::Flag, ParamValue::Flag(_)) => Ok(given.clone()),
            (_, other) => refuse(format!("{other} is of the wrong kind; give {}", self.domain)),
        }
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Domain::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Domain::Choice(choices) => write!(f, "one of {}", choices.join(", ")),
            Domain::Flag => write!(f, "true or false"),
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamValue::Integer(value) => write!(f, "{value}"),
            ParamValue::Number(value) => write!(f, "{value}"),
            ParamValue::Text(value) => write!(f, "\"{value}\""),
            ParamValue::Flag(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static ABOUT: About = About {
        name: "toy",
        title: "",
        summary: "",
        parameters: &[
            Parameter {
                name: "elements",
                meaning: "",
                unit: "elements",
                domain: Domain::Integer { min: 0, max: 10 },
                default: "3",
            },
            Parameter {
                name: "shape",
                meaning: "",
                unit: "",
                domain: Domain::Choice(&["uniform", "equal"]),
                default: "uniform",
            },
            Parameter {
                name: "ratio",
                meaning: "",
                unit: "",
                domain: Domain::Number { min: 0.0, max: 1.0 },
                default: "0.5",
            },
            Parameter {
                name: "reuse",
                meaning: "",
                unit: "",
                domain: Domain::Flag,
                default: "true",
            },
        ],
        shared: "",
        per_thread: "",
        checked: "",
        input_example: "",
        output_example: "",
        notes: "",
    };

    fn resolve(given: &[(&str, ParamValue)]) -> Result<Params, String> {
        let given: Vec<_> = given
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        Params::resolve(&ABOUT, &given).map_err(|bad| bad.to_string())
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let params = resolve(&[("elements", ParamValue::Integer(10))]).unwrap();
        assert_eq!(params.integer("elements"), 10);
        assert_eq!(params.text("shape"), "uniform");
        assert!(params.flag("reuse"));
        assert_eq!(params.iter().count(), 4);
    }

    #[test]
    fn a_whole_number_is_a_number_too() {
        let params = resolve(&[("ratio", ParamValue::Integer(1))]).unwrap();
        assert_eq!(params.0[2], ("ratio", ParamValue::Number(1.0)));
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name_and_with_the_way_out() {
        let text = |value: &str| ParamValue::Text(value.to_owned());
        for (name, value, expected) in [
            (
                "elemnts",
                ParamValue::Integer(1),
                "elemnts: toy has no parameter of this name; did you mean `elements`?",
            ),
            (
                "q",
                ParamValue::Integer(1),
                "q: toy has no parameter of this name; it has `elements`, `shape`, `ratio`, `reuse`",
            ),
            (
                "elements",
                ParamValue::Integer(11),
                "elements: 11 is out of range; give a whole number from 0 to 10",
            ),
            (
                "elements",
                text("5"),
                "elements: \"5\" is of the wrong kind; give a whole number from 0 to 10",
            ),
            (
                "elements",
                ParamValue::Number(2.5),
                "elements: 2.5 is of the wrong kind; give a whole number from 0 to 10",
            ),
            (
                "shape",
                text("unifrom"),
                "shape: `unifrom` is not a choice; did you mean `uniform`? It is one of uniform, equal",
            ),
            (
                "ratio",
                ParamValue::Number(f64::NAN),
                "ratio: NaN is out of range; give a number from 0 to 1",
            ),
            (
                "reuse",
                ParamValue::Integer(1),
                "reuse: 1 is of the wrong kind; give true or false",
            ),
        ] {
            assert_eq!(resolve(&[(name, value)]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        let one = ("elements", ParamValue::Integer(1));
        assert_eq!(
            resolve(&[one.clone(), one]).unwrap_err(),
            "elements: given twice; keep one"
        );
    }
}
