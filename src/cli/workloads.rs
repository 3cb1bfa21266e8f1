//! `threadscape workloads`: the catalogue, one entry of it, or one case solved.
//!
//! Without a name, a table. With one, everything the catalogue says: parameters with their limits,
//! what is shared, what is each thread's own, how answers are checked, and the JSON shapes. With
//! `--input`, the case in that file (or on standard input) is solved and its answer printed; the
//! file is read strictly, so a field given twice or unknown is refused with its line.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

use super::{Exit, Failure};
use crate::model::QueuePolicy;
use crate::pools::{self, PoolKind, PoolSpec, Task};
use crate::workloads::{self, About, CATALOGUE, Domain, ParamValue, Parameter, Params, Sequential, Workload};

/// A case greater than this is refused unread: parsed, it takes several times as much memory.
const MOST_INPUT_BYTES: u64 = 512 << 20;

/// How long a case may take on `--workers` threads.
const PATIENCE: Duration = Duration::from_secs(600);

/// More lines than this are left to `--json`.
const MOST_LINES: usize = 50;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// A workload; without it, the catalogue is listed
    pub name: Option<String>,
    /// Solve the case in this JSON file; - reads standard input
    #[arg(long, value_name = "FILE", requires = "name")]
    pub input: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Solve the case forked over a pool of so many threads, instead of on this one
    #[arg(long, value_name = "N", requires = "input")]
    pub workers: Option<usize>,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let text = answer(&args, &mut io::stdin())?;
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read us has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Exit::Fine),
        Err(error) => Err(Failure::other(format!("could not write the answer: {error}"))),
        Ok(()) => Ok(Exit::Fine),
    }
}

/// All that is printed.
fn answer(args: &Args, stdin: &mut dyn Read) -> Result<String, Failure> {
    let Some(name) = &args.name else {
        return Ok(if args.json { as_json(&catalogue()) } else { table() });
    };
    let workload = find(name)?;
    let Some(path) = &args.input else {
        return Ok(if args.json {
            as_json(&described(workload))
        } else {
            page(workload)
        });
    };
    let (place, text) = read(path, stdin)?;
    let Strict(case) = serde_json::from_str(&text).map_err(|error| Failure::usage(format!("{place}: {error}")))?;
    let solved = match args.workers {
        None => workload.solve(&case, &Sequential),
        Some(workers) => solve_on_pool(workload, case, workers)?,
    };
    let solved = solved.map_err(|bad| match line_of(&text, &bad.field) {
        Some(line) => Failure::usage(format!("{place}, line {line}: {bad}")),
        None => Failure::usage(format!("{place}: {bad}")),
    })?;
    Ok(if args.json {
        format!("{solved}\n")
    } else {
        for_people(&solved)
    })
}

fn find(name: &str) -> Result<&'static dyn Workload, Failure> {
    workloads::find(name).ok_or_else(|| {
        let names = || CATALOGUE.iter().map(|workload| workload.about().name);
        let hint = match workloads::nearest(name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
        };
        Failure::usage(format!("no workload is named `{name}`; {hint}"))
    })
}

/// The text, and how to call the place it came from.
fn read(path: &Path, stdin: &mut dyn Read) -> Result<(String, String), Failure> {
    let place = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        stdin.take(MOST_INPUT_BYTES + 1).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| file.take(MOST_INPUT_BYTES + 1).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::usage(format!("could not read {place}: {error}")))?;
    if text.len() as u64 > MOST_INPUT_BYTES {
        return Err(Failure::usage(format!(
            "{place} is larger than {} MiB, the most a case may be",
            MOST_INPUT_BYTES >> 20
        )));
    }
    Ok((place, text))
}

fn solve_on_pool(
    workload: &'static dyn Workload,
    case: Value,
    workers: usize,
) -> Result<Result<Value, workloads::BadInput>, Failure> {
    let spec = PoolSpec {
        name: "solve".into(),
        kind: PoolKind::Stealing,
        workers,
        queue_capacity: 1,
        policy: QueuePolicy::Block,
        stack_bytes: 2 << 20,
    };
    let pool = pools::build(spec).map_err(|error| Failure::usage(format!("--workers: {error}")))?;
    let (tell, told) = mpsc::sync_channel(1);
    let task = Task {
        // No ledger in this process, so no name in it either.
        workload: 0,
        id: 0,
        body: Box::new(move |join| {
            // The receiver is gone only when we have given up waiting.
            let _ = tell.send(workload.solve(&case, join));
        }),
        then: None,
    };
    if pool.submit(task, Duration::from_secs(5)).is_err() {
        return Err(Failure::other(
            "the pool did not take the case; run it without --workers",
        ));
    }
    let solved = told.recv_timeout(PATIENCE).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => Failure {
            exit: Exit::TimeLimit,
            message: format!("the case took longer than {} s; give a smaller one", PATIENCE.as_secs()),
        },
        mpsc::RecvTimeoutError::Disconnected => Failure::other("the workload panicked; run it without --workers"),
    })?;
    pool.drain(Duration::from_secs(5));
    Ok(solved)
}

/// The line on which a field of this name stands, from 1.
fn line_of(text: &str, field: &str) -> Option<usize> {
    let quoted = Value::from(field).to_string();
    let at = text.match_indices(&quoted).find_map(|(at, _)| {
        let after = text[at + quoted.len()..].trim_start();
        after.starts_with(':').then_some(at)
    })?;
    Some(1 + text[..at].matches('\n').count())
}

/// JSON in which no field is given twice. `serde_json::Value` would quietly keep the last.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Strict, D::Error> {
        from.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(de::Error::custom(format!(
                    "the field `{name}` is given twice; keep one"
                )));
            }
            let Strict(value) = fields.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// An answer in words: a line a field, a line a list in it.
fn for_people(solved: &Value) -> String {
    let mut text = String::new();
    for (name, value) in solved.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if items.iter().any(Value::is_array) => {
                let _ = writeln!(text, "{name} ({}):", items.len());
                for item in items.iter().take(MOST_LINES) {
                    let _ = writeln!(text, "  {}", in_a_row(item.as_array().map_or(&[], Vec::as_slice)));
                }
                if items.len() > MOST_LINES {
                    let _ = writeln!(text, "  and {} more; --json prints all", items.len() - MOST_LINES);
                }
            }
            Value::Array(items) => {
                let _ = writeln!(text, "{name} ({}): {}", items.len(), in_a_row(items));
            }
            other => {
                let _ = writeln!(text, "{name}: {other}");
            }
        }
    }
    text
}

fn in_a_row(items: &[Value]) -> String {
    if items.is_empty() {
        return "(none)".to_owned();
    }
    let shown: Vec<String> = items.iter().take(1000).map(Value::to_string).collect();
    let more = if items.len() > 1000 { " …" } else { "" };
    shown.join(" ") + more
}

fn as_json(value: &Value) -> String {
    format!("{value:#}\n")
}

fn catalogue() -> Value {
    let all: Vec<Value> = CATALOGUE.iter().map(|workload| described(*workload)).collect();
    json!({ "workloads": all })
}

fn described(workload: &dyn Workload) -> Value {
    let about = workload.about();
    let parameters: Vec<Value> = about.parameters.iter().map(parameter).collect();
    json!({
        "name": about.name,
        "title": about.title,
        "summary": about.summary,
        "parameters": parameters,
        "shared": about.shared,
        "per_thread": about.per_thread,
        "checked": about.checked,
        "input_example": parsed(about.input_example),
        "output_example": parsed(about.output_example),
        "notes": about.notes,
        "default_memory_bytes": memory(workload),
    })
}

fn parsed(example: &str) -> Value {
    serde_json::from_str(example).unwrap_or_else(|_| Value::from(example))
}

fn parameter(parameter: &Parameter) -> Value {
    let mut object = json!({
        "name": parameter.name,
        "meaning": parameter.meaning,
        "unit": parameter.unit,
        "default": match parameter.default_value() {
            ParamValue::Integer(value) => Value::from(value),
            ParamValue::Number(value) => Value::from(value),
            ParamValue::Text(value) => Value::from(value),
            ParamValue::Flag(value) => Value::from(value),
        },
    });
    let (kind, limits) = match parameter.domain {
        Domain::Integer { min, max } => ("integer", json!({ "min": min, "max": max })),
        Domain::Number { min, max } => ("number", json!({ "min": min, "max": max })),
        Domain::Choice(choices) => ("choice", json!({ "choices": choices })),
        Domain::Flag => ("flag", json!({})),
    };
    object["kind"] = Value::from(kind);
    if let (Value::Object(object), Value::Object(limits)) = (&mut object, limits) {
        object.extend(limits);
    }
    object
}

/// What a load of default size takes on one worker.
fn memory(workload: &dyn Workload) -> Option<u64> {
    let params = Params::resolve(workload.about(), &[]).ok()?;
    Some(workload.memory_bytes(&params, 1))
}

fn table() -> String {
    let widest = CATALOGUE
        .iter()
        .map(|workload| workload.about().name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for workload in CATALOGUE {
        let about = workload.about();
        let _ = writeln!(text, "{:<widest$}  {}", about.name, about.summary);
        let parameters: Vec<String> = about
            .parameters
            .iter()
            .map(|parameter| format!("{}={}", parameter.name, parameter.default))
            .collect();
        let _ = writeln!(text, "{:<widest$}  {}", "", parameters.join(" "));
    }
    let _ = writeln!(
        text,
        "\n`threadscape workloads NAME` tells limits, sharing, checks and the JSON of a case; --input FILE solves one."
    );
    text
}

fn page(workload: &dyn Workload) -> String {
    let about: &About = workload.about();
    let mut text = format!("{} ({})\n{}\n\nParameters\n", about.title, about.name, about.summary);
    let widest = about
        .parameters
        .iter()
        .map(|parameter| parameter.name.len())
        .max()
        .unwrap_or(0);
    for parameter in about.parameters {
        let unit = if parameter.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", parameter.unit)
        };
        let _ = writeln!(text, "  {:<widest$}  {}", parameter.name, parameter.meaning);
        let _ = writeln!(
            text,
            "  {:<widest$}  {}{unit}; default {}",
            "", parameter.domain, parameter.default
        );
    }
    if let Some(bytes) = memory(workload) {
        let _ = writeln!(
            text,
            "\nMemory, default sizes, one worker: at most {:.1} MiB",
            bytes as f64 / f64::from(1 << 20)
        );
    }
    let _ = write!(
        text,
        "\nShared      {}\nPer thread  {}\nChecked     {}\n\n\
         One case as JSON: threadscape workloads {} --input FILE --json\n  in   {}\n  out  {}\n\nNotes\n  {}\n",
        about.shared,
        about.per_thread,
        about.checked,
        about.name,
        about.input_example,
        about.output_example,
        about.notes
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: Option<&str>, input: Option<&str>, json: bool) -> Args {
        Args {
            name: name.map(str::to_owned),
            input: input.map(PathBuf::from),
            json,
            workers: None,
        }
    }

    /// A case on standard input.
    fn solve(name: &str, case: &str, json: bool) -> Result<String, String> {
        answer(&args(Some(name), Some("-"), json), &mut case.as_bytes()).map_err(|failure| {
            assert_eq!(failure.exit, Exit::Usage);
            failure.message
        })
    }

    #[test]
    fn the_catalogue_lists_every_workload() {
        let table = answer(&args(None, None, false), &mut io::empty()).unwrap();
        let listed: Value = serde_json::from_str(&answer(&args(None, None, true), &mut io::empty()).unwrap()).unwrap();
        for (at, workload) in CATALOGUE.iter().enumerate() {
            let about = workload.about();
            assert!(table.contains(about.name));
            assert_eq!(listed["workloads"][at]["name"], about.name);
        }
        let gap = &listed["workloads"][2];
        assert_eq!(gap["parameters"][0]["kind"], "integer");
        assert_eq!(gap["parameters"][0]["max"], 50_000_000);
        assert_eq!(gap["parameters"][1]["choices"][0], "uniform");
        assert_eq!(gap["output_example"], json!({ "gap": 3 }));
    }

    #[test]
    fn a_page_tells_limits_sharing_checks_and_shapes() {
        for workload in CATALOGUE {
            let about = workload.about();
            let page = answer(&args(Some(about.name), None, false), &mut io::empty()).unwrap();
            for part in [
                about.shared,
                about.per_thread,
                about.checked,
                about.input_example,
                about.output_example,
                "default",
            ] {
                assert!(page.contains(part), "{}: {part}", about.name);
            }
            let json = answer(&args(Some(about.name), None, true), &mut io::empty()).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["name"], about.name);
        }
    }

    #[test]
    fn a_case_is_solved_as_json_and_in_words() {
        let case = r#"{"candidates":[2,3,6,7],"target":7,"reuse":true}"#;
        assert_eq!(
            solve("combination_sum", case, true).unwrap(),
            "{\"combinations\":[[2,2,3],[7]]}\n"
        );
        assert_eq!(
            solve("combination_sum", case, false).unwrap(),
            "combinations (2):\n  2 2 3\n  7\n"
        );
        assert_eq!(
            solve("maximum_gap", r#"{"nums":[3,6,9,1]}"#, false).unwrap(),
            "gap: 3\n"
        );
        assert_eq!(
            solve("merge_sorted_array", r#"{"nums1":[],"m":0,"nums2":[],"n":0}"#, false).unwrap(),
            "nums1 (0): (none)\n"
        );
    }

    #[test]
    fn a_bad_case_is_refused_with_its_line() {
        for (case, expected) in [
            (
                "{\n  \"nums\": [1,\n   2.5]\n}",
                "standard input, line 2: nums: element 1 is 2.5; give a whole number",
            ),
            (
                "{\"nums\": [1],\n\"numz\": 3}",
                "standard input, line 2: numz: is not a field of this case; did you mean `nums`?",
            ),
            ("{}", "standard input: nums: is missing"),
            (
                "{\"nums\": [1],\n \"nums\": [2]}",
                "standard input: the field `nums` is given twice; keep one at line 2",
            ),
            ("{\"nums\": [1,]}", "standard input: trailing comma at line 1 column 13"),
            ("", "standard input: EOF while parsing a value"),
            ("{\"nums\": []} 3", "standard input: trailing characters"),
        ] {
            let refused = solve("maximum_gap", case, true).unwrap_err();
            assert!(refused.starts_with(expected), "{refused}\n{expected}");
        }
        let deep = "[".repeat(100_000);
        assert!(
            solve("maximum_gap", &deep, true)
                .unwrap_err()
                .contains("recursion limit")
        );
    }

    #[test]
    fn an_unknown_name_or_file_is_refused() {
        let refused = answer(&args(Some("maximum_gab"), None, false), &mut io::empty()).unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert_eq!(
            refused.message,
            "no workload is named `maximum_gab`; did you mean `maximum_gap`?"
        );
        let refused = answer(
            &args(Some("maximum_gap"), Some("/no/such/file"), true),
            &mut io::empty(),
        )
        .unwrap_err();
        assert_eq!(refused.exit, Exit::Usage);
        assert!(refused.message.starts_with("could not read /no/such/file: "));
    }

    #[test]
    fn a_case_that_is_no_text_is_refused() {
        let failure = answer(&args(Some("maximum_gap"), Some("-"), true), &mut &[0xff, 0xfe][..]).unwrap_err();
        assert!(failure.message.starts_with("could not read standard input: "));
    }
}
