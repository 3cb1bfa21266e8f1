//! What a request asks for: its query parameters, strictly.
//!
//! A parameter we do not know is an error that names the nearest one we do: a typing mistake in a
//! filter must not look like an answer. So is a parameter given twice, a number out of its limits
//! and a choice that is none; each names the field and lists what would do.

use std::ops::RangeInclusive;

use axum::extract::Query;
use axum::http::Uri;

use super::problem::Problem;
use crate::workloads;

#[derive(Debug)]
pub struct Ask {
    pairs: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl Ask {
    pub fn of(uri: &Uri, known: &[&'static str]) -> Result<Ask, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad("query", "the query string is not made of name=value pairs"))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                return Err(unknown(name, known));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::bad(name, format!("{name} is given twice")));
            }
        }
        Ok(Ask { pairs })
    }

    /// An empty value is a value: `name=` asks for threads without a name's part, which is all.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn whole(&self, name: &str, limits: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(value) if limits.contains(&value) && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Some(value)),
            _ => Err(Problem::bad(
                name,
                format!(
                    "{name} must be a whole number from {} to {}, not {}",
                    limits.start(),
                    limits.end(),
                    quote(text)
                ),
            )),
        }
    }

    pub fn number(&self, name: &str, limits: RangeInclusive<f64>) -> Result<Option<f64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse::<f64>() {
            Ok(value) if limits.contains(&value) => Ok(Some(value)),
            _ => Err(Problem::bad(
                name,
                format!(
                    "{name} must be a number from {} to {}, not {}",
                    limits.start(),
                    limits.end(),
                    quote(text)
                ),
            )),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Problem::bad(
                name,
                format!("{name} must be true or false, not {}", quote(other)),
            )),
        }
    }

    /// One of `valid`, or the problem that lists them.
    pub fn one_of(&self, name: &str, valid: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        self.text(name).map(|text| choose(name, text, valid)).transpose()
    }

    /// What to sort by: a field of the row. `cpu` is short for `cpu_ratio`, as on the command line.
    pub fn sort(&self, fields: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        match self.text("sort") {
            Some("cpu") if fields.contains(&"cpu_ratio") => Ok(Some("cpu_ratio")),
            _ => self.one_of("sort", fields),
        }
    }

    /// A list with commas, each one of `valid`.
    pub fn list_of(&self, name: &str, valid: &[&'static str]) -> Result<Vec<&'static str>, Problem> {
        match self.text(name) {
            None => Ok(Vec::new()),
            Some(text) => text.split(',').map(|part| choose(name, part.trim(), valid)).collect(),
        }
    }

    pub fn order(&self) -> Result<Option<Order>, Problem> {
        Ok(self.one_of("order", &["asc", "desc"])?.map(|order| match order {
            "asc" => Order::Ascending,
            _ => Order::Descending,
        }))
    }
}

fn choose(name: &str, text: &str, valid: &[&'static str]) -> Result<&'static str, Problem> {
    valid.iter().copied().find(|choice| *choice == text).ok_or_else(|| {
        let problem = Problem::bad(
            name,
            format!("{name} cannot be {}; it is one of {}", quote(text), valid.join(", ")),
        );
        match nearest(text, valid) {
            Some(near) => problem.fix(format!("did you mean {near}?")),
            None => problem,
        }
    })
}

/// A parameter or field that is not known, with the nearest one that is.
pub fn unknown(name: &str, known: &[&'static str]) -> Problem {
    let detail = if known.is_empty() {
        format!("there is no parameter {}; this route takes none", quote(name))
    } else {
        format!(
            "there is no parameter {}; this route takes {}",
            quote(name),
            known.join(", ")
        )
    };
    let problem = Problem::bad(&cut(name), detail);
    match nearest(name, known) {
        Some(near) => problem.fix(format!("did you mean {near}?")),
        None => problem,
    }
}

pub fn nearest(text: &str, known: &[&'static str]) -> Option<&'static str> {
    workloads::nearest(text, known.iter().copied())
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What the client sent, short and harmless to print.
pub fn quote(text: &str) -> String {
    format!("{:?}", cut(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str) -> Result<Ask, Problem> {
        Ask::of(
            &format!("/x?{query}").parse().unwrap(),
            &["limit", "sort", "order", "state"],
        )
    }

    #[test]
    fn an_unknown_parameter_is_named_with_the_nearest_one() {
        let problem = ask("limt=5").unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("limt"));
        assert_eq!(problem.fix.as_deref(), Some("did you mean limit?"));
    }

    #[test]
    fn a_parameter_given_twice_is_refused() {
        assert_eq!(ask("limit=1&limit=2").unwrap_err().field.as_deref(), Some("limit"));
    }

    #[test]
    fn numbers_keep_their_limits() {
        let check = |text: &str, expected: Option<u64>| {
            let got = ask(&format!("limit={text}")).unwrap().whole("limit", 1..=1000);
            match expected {
                Some(value) => assert_eq!(got.unwrap(), Some(value)),
                None => assert_eq!(got.unwrap_err().field.as_deref(), Some("limit")),
            }
        };
        check("1", Some(1));
        check("1000", Some(1000));
        for wrong in ["0", "1001", "-1", "%2B5", "1.5", "abc", "", "99999999999999999999"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_number_may_not_be_nan() {
        let asked = ask("limit=NaN").unwrap();
        assert!(asked.number("limit", 0.0..=1.0).is_err());
    }

    #[test]
    fn a_wrong_choice_lists_the_right_ones() {
        let problem = ask("order=up").unwrap().order().unwrap_err();
        assert!(problem.detail.contains("asc, desc"), "{}", problem.detail);
        let asked = ask("state=runnable,sleping").unwrap();
        let problem = asked.list_of("state", &["runnable", "sleeping"]).unwrap_err();
        assert_eq!(problem.fix.as_deref(), Some("did you mean sleeping?"));
    }
}
