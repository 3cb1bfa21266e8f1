//! The config file and the flags, gathered from the `Settings` that each room declares.
//!
//! [`KEYS`] is the one list: every key's name, how its text becomes a setting, and how the setting
//! is shown. The file is read key by key against it, so an unknown key is refused with its line and
//! the nearest valid name; flags go through the same list; and each value knows where it came
//! from (`serve --print-config` tells). `config/threadscape.toml` holds every default, and a
//! test keeps it true.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::{history, http, observe, scenario, workloads};

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Token, lock and finished runs live here; made with mode 0700.
    pub state_dir: PathBuf,
    /// The folder whose scenarios the dashboard offers.
    pub scenarios: PathBuf,
    pub observe: observe::Settings,
    pub history: history::Settings,
    pub http: http::Settings,
    origins: BTreeMap<&'static str, Origin>,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Flag(&'static str),
}

/// What is wrong with a config file or a flag, ready to be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("could not read the config file {path}: {why}")]
    Unreadable { path: String, why: String },
    #[error("{path}:{line}:{column}: {message}\n  {text}")]
    Wrong {
        path: String,
        line: usize,
        column: usize,
        message: String,
        /// The offending line.
        text: String,
    },
    #[error("{flag}: {message}")]
    Flag { flag: &'static str, message: String },
}

/// A value as the file or a flag gives it.
enum Given {
    Text(String),
    Integer(i64),
    Flag(bool),
    List(Vec<String>),
}

struct Key {
    name: &'static str,
    set: fn(&mut Config, Given) -> Result<(), String>,
    /// As the file would have it.
    show: fn(&Config) -> String,
}

const KEYS: &[Key] = &[
    Key {
        name: "state.dir",
        set: |config, given| {
            text(given).map(|dir| {
                config.state_dir = if dir.is_empty() {
                    default_state_dir()
                } else {
                    dir.into()
                }
            })
        },
        show: |config| {
            if config.state_dir == default_state_dir() {
                quoted("")
            } else {
                quoted(&config.state_dir.to_string_lossy())
            }
        },
    },
    Key {
        name: "scenario.folder",
        set: |config, given| text(given).map(|folder| config.scenarios = folder.into()),
        show: |config| quoted(&config.scenarios.to_string_lossy()),
    },
    Key {
        name: "observe.interval",
        set: |config, given| span(given, "100ms", "1m").map(|span| config.observe.interval = span),
        show: |config| shown(config.observe.interval),
    },
    Key {
        name: "observe.census_interval",
        set: |config, given| span(given, "500ms", "1m").map(|span| config.observe.census_interval = span),
        show: |config| shown(config.observe.census_interval),
    },
    Key {
        name: "observe.lease",
        set: |config, given| span(given, "2s", "1h").map(|span| config.observe.lease = span),
        show: |config| shown(config.observe.lease),
    },
    Key {
        name: "observe.watch",
        set: |config, given| list(given).map(|names| config.observe.watch = names),
        show: |config| listed(&config.observe.watch),
    },
    Key {
        name: "history.full_rate",
        set: |config, given| span(given, "10s", "1h").map(|span| config.history.full_rate = span),
        show: |config| shown(config.history.full_rate),
    },
    Key {
        name: "history.coarse",
        set: |config, given| span(given, "1m", "1day").map(|span| config.history.coarse = span),
        show: |config| shown(config.history.coarse),
    },
    Key {
        name: "history.memory",
        set: |config, given| size(given, "1MiB", "4GiB").map(|bytes| config.history.memory_bytes = bytes),
        show: |config| sized(config.history.memory_bytes),
    },
    Key {
        name: "http.listen",
        set: |config, given| {
            let listen = text(given)?;
            let wrong =
                |_| format!("\"{listen}\" is not an address with a port, such as \"127.0.0.1:7717\" or \"[::1]:0\"");
            listen
                .parse::<SocketAddr>()
                .map_err(wrong)
                .map(|address| config.http.listen = address)
        },
        show: |config| quoted(&config.http.listen.to_string()),
    },
    Key {
        name: "http.insecure_listen",
        set: |config, given| yes(given).map(|yes| config.http.insecure_listen = yes),
        show: |config| config.http.insecure_listen.to_string(),
    },
    Key {
        name: "http.allowed_hosts",
        set: |config, given| list(given).map(|hosts| config.http.allowed_hosts = hosts),
        show: |config| listed(&config.http.allowed_hosts),
    },
    Key {
        name: "http.max_connections",
        set: |config, given| count(given, 1, 65_536).map(|most| config.http.max_connections = most),
        show: |config| config.http.max_connections.to_string(),
    },
    Key {
        name: "http.max_streams",
        set: |config, given| count(given, 1, 4096).map(|most| config.http.max_streams = most),
        show: |config| config.http.max_streams.to_string(),
    },
    Key {
        name: "http.max_body",
        set: |config, given| size(given, "1KiB", "64MiB").map(|bytes| config.http.max_body_bytes = bytes),
        show: |config| sized(config.http.max_body_bytes),
    },
    Key {
        name: "http.header_timeout",
        set: |config, given| span(given, "100ms", "10m").map(|span| config.http.header_timeout = span),
        show: |config| shown(config.http.header_timeout),
    },
    Key {
        name: "http.body_timeout",
        set: |config, given| span(given, "100ms", "10m").map(|span| config.http.body_timeout = span),
        show: |config| shown(config.http.body_timeout),
    },
    Key {
        name: "http.write_timeout",
        set: |config, given| span(given, "100ms", "10m").map(|span| config.http.write_timeout = span),
        show: |config| shown(config.http.write_timeout),
    },
];

impl Config {
    /// Every setting at its default.
    pub fn new() -> Config {
        Config {
            state_dir: default_state_dir(),
            scenarios: PathBuf::from("config/scenarios"),
            observe: observe::Settings::default(),
            history: history::Settings::default(),
            http: http::Settings::default(),
            origins: BTreeMap::new(),
        }
    }

    /// Takes what `path` says.
    pub fn read(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable {
            path: path.display().to_string(),
            why: error.to_string(),
        })?;
        self.take(path, &text)
    }

    fn take(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |at: usize, message: String| {
            let (line, column) = scenario::place(text, at);
            let line_text = text.lines().nth(line - 1).unwrap_or_default();
            ConfigError::Wrong {
                path: path.display().to_string(),
                line,
                column,
                message,
                text: line_text.to_owned(),
            }
        };
        let table = DeTable::parse(text)
            .map_err(|error| wrong(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        for (section, keys) in table.get_ref() {
            let prefix = format!("{}.", section.get_ref());
            let known = KEYS.iter().any(|key| key.name.starts_with(&prefix));
            if !known {
                let sections = KEYS.iter().filter_map(|key| key.name.split('.').next());
                let message = format!(
                    "unknown section \"{}\"{}",
                    section.get_ref(),
                    nearest(section.get_ref(), sections)
                );
                return Err(wrong(section.span().start, message));
            }
            let Some(keys) = keys.get_ref().as_table() else {
                let message = format!(
                    "\"{0}\" is a section; write [{0}] and its keys below",
                    section.get_ref()
                );
                return Err(wrong(section.span().start, message));
            };
            for (key, value) in keys {
                let name = format!("{prefix}{}", key.get_ref());
                let Some(known) = KEYS.iter().find(|known| known.name == name) else {
                    let here = KEYS.iter().filter_map(|known| known.name.strip_prefix(&prefix));
                    let message = format!(
                        "unknown key \"{}\" in [{}]{}",
                        key.get_ref(),
                        section.get_ref(),
                        nearest(key.get_ref(), here)
                    );
                    return Err(wrong(key.span().start, message));
                };
                let refused = |message: String| wrong(value.span().start, format!("{name}: {message}"));
                given(value)
                    .and_then(|given| (known.set)(self, given))
                    .map_err(refused)?;
                let (line, _) = scenario::place(text, key.span().start);
                self.origins.insert(
                    known.name,
                    Origin::File {
                        path: path.to_owned(),
                        line,
                    },
                );
            }
        }
        Ok(())
    }

    /// Sets `name` (one of [`KEYS`]) from a flag's text; a flag wins over the file.
    pub fn flag(&mut self, name: &'static str, flag: &'static str, text: &str) -> Result<(), ConfigError> {
        let key = KEYS
            .iter()
            .find(|key| key.name == name)
            .expect("a flag names a key of the list");
        (key.set)(self, Given::Text(text.to_owned())).map_err(|message| ConfigError::Flag { flag, message })?;
        self.origins.insert(key.name, Origin::Flag(flag));
        Ok(())
    }

    /// The settings in force as a config file, each with where it came from.
    pub fn resolved(&self) -> String {
        let mut page = String::new();
        let mut section = "";
        for key in KEYS {
            let (of, name) = key.name.split_once('.').expect("a key has a section");
            if of != section {
                let _ = writeln!(page, "{}[{of}]", if section.is_empty() { "" } else { "\n" });
                section = of;
            }
            let origin = match self.origins.get(key.name) {
                None | Some(Origin::Default) => "default".to_owned(),
                Some(Origin::Flag(flag)) => flag.to_string(),
                Some(Origin::File { path, line }) => format!("{}:{line}", path.display()),
            };
            let _ = writeln!(page, "{name} = {} # {origin}", (key.show)(self));
        }
        page
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

/// `$XDG_STATE_HOME/threadscape`, else `~/.local/state/threadscape`, else `/var/lib/threadscape`.
fn default_state_dir() -> PathBuf {
    let from = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    from("XDG_STATE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".local/state")))
        .map_or_else(
            || PathBuf::from("/var/lib/threadscape"),
            |base| base.join("threadscape"),
        )
}

fn given(value: &Spanned<DeValue<'_>>) -> Result<Given, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(Given::Text(text.to_string())),
        DeValue::Boolean(flag) => Ok(Given::Flag(*flag)),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Given::Integer)
            .map_err(|_| format!("{} is out of range", integer.as_str())),
        DeValue::Array(array) => array
            .iter()
            .map(|item| {
                let text = item.get_ref().as_str().map(str::to_owned);
                text.ok_or_else(|| "a list of texts is needed, such as [\"postgres\"]".to_owned())
            })
            .collect::<Result<_, _>>()
            .map(Given::List),
        other => Err(format!("a {} does not fit here", other.type_str())),
    }
}

fn text(given: Given) -> Result<String, String> {
    match given {
        Given::Text(text) => Ok(text),
        _ => Err("a text in quotes is needed".to_owned()),
    }
}

fn yes(given: Given) -> Result<bool, String> {
    match given {
        Given::Flag(flag) => Ok(flag),
        Given::Text(text) if text == "true" => Ok(true),
        Given::Text(text) if text == "false" => Ok(false),
        _ => Err("true or false is needed".to_owned()),
    }
}

fn count(given: Given, least: usize, most: usize) -> Result<usize, String> {
    match given {
        Given::Integer(number) => usize::try_from(number)
            .ok()
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| format!("{number} is out of range; from {least} to {most} is allowed")),
        _ => Err("a whole number is needed".to_owned()),
    }
}

fn list(given: Given) -> Result<Vec<String>, String> {
    match given {
        Given::List(list) => Ok(list),
        _ => Err("a list of texts is needed, such as [\"postgres\"]".to_owned()),
    }
}

/// A span of time with its unit, between `least` and `most` (both allowed).
fn span(given: Given, least: &str, most: &str) -> Result<Duration, String> {
    let parse = |text: &str| humantime::parse_duration(text);
    let text = match given {
        Given::Text(text) => text,
        Given::Integer(number) => return Err(format!("{number} has no unit; write \"{number}s\" or \"{number}ms\"")),
        _ => return Err("a time with its unit is needed, such as \"5s\"".to_owned()),
    };
    let span =
        parse(&text).map_err(|error| format!("\"{text}\" is not a time with its unit, such as \"5s\": {error}"))?;
    let (low, high) = (parse(least).expect("a limit"), parse(most).expect("a limit"));
    if span < low || span > high {
        return Err(format!("\"{text}\" is out of range; from {least} to {most} is allowed"));
    }
    Ok(span)
}

/// A size with its unit (`KiB`, `MiB`, `GiB`), between `least` and `most` (both allowed).
fn size(given: Given, least: &str, most: &str) -> Result<usize, String> {
    let text = match given {
        Given::Text(text) => text,
        Given::Integer(number) => {
            return Err(format!(
                "{number} has no unit; write \"{number}MiB\" or \"{number}KiB\""
            ));
        }
        _ => return Err("a size with its unit is needed, such as \"16MiB\"".to_owned()),
    };
    let bytes =
        parse_size(&text).ok_or_else(|| format!("\"{text}\" is not a size with its unit, such as \"16MiB\""))?;
    let (low, high) = (parse_size(least).expect("a limit"), parse_size(most).expect("a limit"));
    if bytes < low || bytes > high {
        return Err(format!("\"{text}\" is out of range; from {least} to {most} is allowed"));
    }
    Ok(bytes)
}

fn parse_size(text: &str) -> Option<usize> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))?;
    digits.trim().parse::<usize>().ok()?.checked_mul(1 << shift)
}

fn shown(span: Duration) -> String {
    quoted(&humantime::format_duration(span).to_string())
}

fn sized(bytes: usize) -> String {
    let (unit, shift) = [("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes.trailing_zeros() >= *shift)
        .unwrap_or(("KiB", 10));
    quoted(&format!("{}{unit}", bytes >> shift))
}

fn listed(list: &[String]) -> String {
    format!(
        "[{}]",
        list.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ")
    )
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `; did you mean "x"?`, or the whole list when nothing is near.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    match workloads::nearest(wrong, known.iter().copied()) {
        Some(name) => format!("; did you mean \"{name}\"?"),
        None => format!("; known are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(text: &str) -> Result<Config, String> {
        let mut config = Config::new();
        config
            .take(Path::new("t.toml"), text)
            .map(|()| config)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_in_the_repository_holds_every_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/threadscape.toml");
        let mut config = Config::new();
        config.read(&path).unwrap();
        let fresh = Config::new();
        for key in KEYS {
            assert!(
                config.origins.contains_key(key.name),
                "config/threadscape.toml lacks {}",
                key.name
            );
            assert_eq!(
                (key.show)(&config),
                (key.show)(&fresh),
                "config/threadscape.toml lies about {}",
                key.name
            );
        }
    }

    #[test]
    fn an_unknown_key_names_its_line_and_the_nearest_one() {
        let error = take("[observe]\nintervall = \"1s\"\n").unwrap_err();
        assert!(
            error.starts_with("t.toml:2:1: unknown key \"intervall\" in [observe]; did you mean \"interval\"?"),
            "{error}"
        );
        assert!(error.contains("intervall = \"1s\""), "{error}");
        let error = take("[observ]\n").unwrap_err();
        assert!(error.contains("did you mean \"observe\"?"), "{error}");
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        let error = take("[observe]\ninterval = 5\n").unwrap_err();
        assert!(error.contains("5 has no unit"), "{error}");
        let error = take("[history]\nmemory = \"64\"\n").unwrap_err();
        assert!(error.contains("not a size with its unit"), "{error}");
    }

    #[test]
    fn a_key_given_twice_is_refused_with_its_line() {
        let error = take("[observe]\ninterval = \"1s\"\ninterval = \"2s\"\n").unwrap_err();
        assert!(error.starts_with("t.toml:3:"), "{error}");
    }

    #[test]
    fn limits_are_said() {
        let error = take("[observe]\ninterval = \"1ms\"\n").unwrap_err();
        assert!(error.contains("from 100ms to 1m"), "{error}");
    }

    #[test]
    fn every_value_knows_where_it_came_from() {
        let mut config = take("[observe]\nlease = \"30s\"\n").unwrap();
        config.flag("http.listen", "--listen", "127.0.0.1:0").unwrap();
        let resolved = config.resolved();
        assert!(resolved.contains("lease = \"30s\" # t.toml:2"), "{resolved}");
        assert!(resolved.contains("listen = \"127.0.0.1:0\" # --listen"), "{resolved}");
        assert!(resolved.contains("interval = \"1s\" # default"), "{resolved}");
        let wrong = config
            .flag("http.listen", "--listen", "nowhere")
            .unwrap_err()
            .to_string();
        assert!(wrong.starts_with("--listen: \"nowhere\" is not an address"), "{wrong}");
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        let resolved = Config::new().resolved();
        assert_eq!(take(&resolved).unwrap().resolved().replace("t.toml", ""), {
            let mut again = Config::new();
            again.take(Path::new(""), &resolved).unwrap();
            again.resolved()
        });
    }
}
