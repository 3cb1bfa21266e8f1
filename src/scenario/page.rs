//! A scenario text whose every value knows its place, and the list of what is wrong with it.
//!
//! `toml` parses the text into a tree with spans. [`Section`] walks one table of it: it refuses
//! unknown keys with the nearest known one, and hands out values by kind. Nothing stops at the
//! first problem: a value that cannot be had is `None`, the problem is kept in the [`Page`], and
//! the walk goes on, so that one look at a file tells all that is wrong with it.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ValidationProblem;
use super::units;
use crate::model::Nanos;

/// Sections, as in `in [run]`, and the keys that each may hold.
pub type Homes = &'static [(&'static str, &'static [&'static str])];

/// The text and its problems so far.
pub struct Page<'t> {
    text: &'t str,
    homes: Homes,
    problems: RefCell<Vec<(usize, ValidationProblem)>>,
}

impl<'t> Page<'t> {
    /// `homes` is for keys that stand in a wrong section.
    pub fn new(text: &'t str, homes: Homes) -> Page<'t> {
        Page {
            text,
            homes,
            problems: RefCell::default(),
        }
    }

    /// Keeps a problem at a byte offset of the text.
    pub fn refuse(&self, at: usize, field: &str, message: impl Into<String>, suggestion: Option<String>) {
        let (line, column) = place(self.text, at);
        let problem = ValidationProblem {
            line,
            column,
            field: field.to_owned(),
            message: message.into(),
            suggestion,
        };
        self.problems.borrow_mut().push((at, problem));
    }

    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// What was found, in the order of the text.
    pub fn into_problems(self) -> Vec<ValidationProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(at, _)| *at);
        problems.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// Line and column, counted in characters from 1, of a byte offset.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The known name that `given` most likely meant.
pub fn nearest<'n>(given: &str, known: impl IntoIterator<Item = &'n str>) -> Option<String> {
    crate::workloads::nearest(given, known).map(str::to_owned)
}

/// One table of the text. `'t` is the text, `'p` the tree made of it.
pub struct Section<'p, 't> {
    page: &'p Page<'t>,
    table: &'p DeTable<'t>,
    /// The key path of this table: `load[0]`; empty at the root.
    path: String,
    /// Where the table is written: what is missing from it is reported there.
    span: Range<usize>,
}

impl<'p, 't> Section<'p, 't> {
    /// The whole text as a table.
    pub fn root(page: &'p Page<'t>, table: &'p Spanned<DeTable<'t>>) -> Section<'p, 't> {
        Section {
            page,
            table: table.get_ref(),
            path: String::new(),
            span: 0..0,
        }
    }

    /// A value as a table; what it may hold is checked by [`Section::allow`].
    pub fn open(page: &'p Page<'t>, value: &'p Spanned<DeValue<'t>>, path: String) -> Option<Section<'p, 't>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Section {
                page,
                table,
                path,
                span: value.span(),
            }),
            other => {
                page.refuse(
                    value.span().start,
                    &path,
                    format!("expected a table here, found {}", article(other.type_str())),
                    None,
                );
                None
            }
        }
    }

    /// Refuses every key that is not among `known`. One that is known elsewhere is told where it
    /// belongs; but a table is more likely a section with a mistake in its name.
    pub fn allow(&self, known: &[&str]) {
        let place = if self.path.is_empty() {
            "at the top"
        } else {
            "in this section"
        };
        for (key, value) in self.table {
            let name: &str = key.get_ref();
            if known.contains(&name) {
                continue;
            }
            let is_table = matches!(value.get_ref(), DeValue::Table(_));
            let homes = self
                .page
                .homes
                .iter()
                .filter(|(_, keys)| !is_table && keys.contains(&name));
            let homes: Vec<&str> = homes.map(|(home, _)| *home).collect();
            let (message, suggestion) = if homes.is_empty() {
                (
                    format!("unknown key \"{}\" {place}; known: {}", shorten(name), known.join(", ")),
                    nearest(name, known.iter().copied()),
                )
            } else {
                (
                    format!("{name} does not belong {place}; write it {}", homes.join(" or ")),
                    None,
                )
            };
            self.page
                .refuse(key.span().start, &self.field(name), message, suggestion);
        }
    }

    pub fn field(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub fn value(&self, key: &str) -> Option<&'p Spanned<DeValue<'t>>> {
        self.table.get(key)
    }

    /// Keys and values in the order of the text.
    pub fn entries(&self) -> Vec<(&'p Spanned<toml::de::DeString<'t>>, &'p Spanned<DeValue<'t>>)> {
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }

    /// Where a key's value stands, or the section when it has none.
    pub fn at(&self, key: &str) -> usize {
        self.value(key).map_or(self.span.start, |value| value.span().start)
    }

    pub fn refuse(&self, key: &str, message: impl Into<String>) {
        self.page.refuse(self.at(key), &self.field(key), message, None);
    }

    pub fn refuse_for(&self, key: &str, message: impl Into<String>, suggestion: Option<String>) {
        self.page.refuse(self.at(key), &self.field(key), message, suggestion);
    }

    /// Says that a key is missing, with an example of it.
    pub fn missing(&self, key: &str, example: &str) {
        let section = if self.path.is_empty() {
            "the file"
        } else {
            self.path.as_str()
        };
        self.page.refuse(
            self.span.start,
            &self.field(key),
            format!("{section} needs {key}; write {key} = {example}"),
            None,
        );
    }

    /// Says that a whole section is missing from the file, and what it needs.
    pub fn missing_section(&self, key: &str, section: &str, needs: &str) {
        let message = format!("the file needs a {section} section, with at least {needs}");
        self.page.refuse(self.span.start, &self.field(key), message, None);
    }

    fn wrong_kind(&self, key: &str, value: &DeValue<'t>, expected: &str) {
        self.refuse(
            key,
            format!("{key} must be {expected}, found {}", article(value.type_str())),
        );
    }

    pub fn text(&self, key: &str) -> Option<&'p str> {
        let value = self.value(key)?.get_ref();
        match value {
            DeValue::String(text) => Some(text),
            other => {
                self.wrong_kind(key, other, "a text in quotes");
                None
            }
        }
    }

    pub fn flag(&self, key: &str) -> Option<bool> {
        let value = self.value(key)?.get_ref();
        match value {
            DeValue::Boolean(flag) => Some(*flag),
            other => {
                self.wrong_kind(key, other, "true or false");
                None
            }
        }
    }

    pub fn integer(&self, key: &str, allowed: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?.get_ref();
        let DeValue::Integer(digits) = value else {
            self.wrong_kind(key, value, "a whole number");
            return None;
        };
        match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) if allowed.contains(&number) => Some(number),
            _ => {
                self.refuse(
                    key,
                    format!(
                        "{key} = {digits} is out of range; it must be from {} to {}",
                        allowed.start(),
                        allowed.end()
                    ),
                );
                None
            }
        }
    }

    /// A positive number, whole or not.
    pub fn positive(&self, key: &str, most: f64) -> Option<f64> {
        let value = self.value(key)?.get_ref();
        let number = match value {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .ok()
                .map(|n| n as f64),
            DeValue::Float(digits) => digits.as_str().parse::<f64>().ok(),
            other => {
                self.wrong_kind(key, other, "a number");
                return None;
            }
        };
        match number {
            Some(number) if number > 0.0 && number <= most => Some(number),
            _ => {
                self.refuse(key, format!("{key} must be above 0 and at most {most}"));
                None
            }
        }
    }

    pub fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(key)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.refuse_for(
            key,
            format!("{key} = \"{}\" is unknown; known: {}", shorten(text), names.join(", ")),
            nearest(text, names.iter().copied()),
        );
        None
    }

    fn with_unit<T>(&self, key: &str, example: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let value = self.value(key)?.get_ref();
        let text = match value {
            DeValue::String(text) => text,
            DeValue::Integer(_) | DeValue::Float(_) => {
                let digits = &self.page.text[self.value(key)?.span()];
                self.refuse(
                    key,
                    format!("{key} = {digits} has no unit; write it in quotes with one, like {key} = {example}"),
                );
                return None;
            }
            other => {
                self.wrong_kind(key, other, &format!("a value with its unit, like {example}"));
                return None;
            }
        };
        match parse(text) {
            Ok(value) => Some(value),
            Err(message) => {
                self.refuse(key, format!("{key}: {message}"));
                None
            }
        }
    }

    pub fn time(&self, key: &str) -> Option<Nanos> {
        self.with_unit(key, "\"5s\"", units::time)
    }

    pub fn size(&self, key: &str) -> Option<u64> {
        self.with_unit(key, "\"64MiB\"", units::size)
    }

    pub fn rate(&self, key: &str) -> Option<f64> {
        self.with_unit(key, "\"200/s\"", units::rate)
    }

    pub fn share(&self, key: &str) -> Option<f64> {
        self.with_unit(key, "\"5%\"", units::share)
    }

    /// The tables of an array: `[[load]]`, or an inline `[{…}, {…}]`.
    pub fn tables(&self, key: &str, most: usize) -> Vec<Section<'p, 't>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value.get_ref() else {
            self.wrong_kind(key, value.get_ref(), "a list of tables");
            return Vec::new();
        };
        if items.len() > most {
            self.refuse(
                key,
                format!("{} entries of {key}; at most {most} are allowed", items.len()),
            );
            return Vec::new();
        }
        items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| Section::open(self.page, item, format!("{}[{index}]", self.field(key))))
            .collect()
    }
}

fn article(kind: &str) -> String {
    let an = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if an { "an" } else { "a" })
}

/// Enough of a given text to recognise it.
pub fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.escape_debug().to_string()
    } else {
        text.chars().take(57).collect::<String>().escape_debug().to_string() + "..."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_characters_from_one() {
        let text = "a = 1\nµ = \"ü\" x";
        assert_eq!(place(text, 0), (1, 1));
        assert_eq!(place(text, text.find('x').unwrap()), (2, 9));
        assert_eq!(place(text, 10_000), (2, 10));
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("worker", ["workers", "queue"]).as_deref(), Some("workers"));
        assert_eq!(
            nearest("maximum_gpa", ["maximum_gap", "merge"]).as_deref(),
            Some("maximum_gap")
        );
        assert_eq!(nearest("xyz", ["workers", "queue"]), None);
    }
}
