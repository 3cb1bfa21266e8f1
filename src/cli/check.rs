//! `threadscape check FILE`: what a scenario would do, or all that is wrong with it.
//!
//! Problems are told as compilers tell them: `file:line:column`, the message, the line itself with a
//! caret under the place, and the nearest valid name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Exit, Failure};
use crate::scenario::{Executor, Plan, ValidationProblem, kind_name, plan_json, policy_name, show_size, show_time};
use crate::workbench;

/// Say what a scenario file would do, or all that is wrong with it
#[derive(clap::Args)]
pub struct Args {
    /// The scenario file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let text = workbench::read_scenario(&args.file).map_err(Failure::usage)?;
    match Plan::parse(&text) {
        Ok(plan) if args.json => {
            println!("{:#}", json!({ "valid": true, "plan": plan_json(&plan) }));
            Ok(Exit::Fine)
        }
        Ok(plan) => {
            print!("{}", describe(&plan));
            Ok(Exit::Fine)
        }
        Err(problems) if args.json => {
            let rows = problems.iter().map(|problem| {
                json!({
                    "line": problem.line,
                    "column": problem.column,
                    "field": problem.field,
                    "message": problem.message,
                    "suggestion": problem.suggestion,
                })
            });
            println!("{:#}", json!({ "valid": false, "problems": rows.collect::<Vec<_>>() }));
            Ok(Exit::Usage)
        }
        Err(problems) => Err(Failure::usage(tell(&args.file, &text, &problems))),
    }
}

/// All problems of a file, for a terminal.
pub fn tell(file: &Path, text: &str, problems: &[ValidationProblem]) -> String {
    let mut out = format!(
        "{} has {} problem{}",
        file.display(),
        problems.len(),
        if problems.len() == 1 { "" } else { "s" }
    );
    for problem in problems {
        let _ = write!(
            out,
            "\n{}:{}:{}: {}",
            file.display(),
            problem.line,
            problem.column,
            problem.message
        );
        if let Some(suggestion) = &problem.suggestion {
            let _ = write!(out, "; did you mean {suggestion}?");
        }
        if let Some(line) = text.lines().nth(problem.line - 1) {
            let number = problem.line.to_string();
            // Long lines are cut around nothing: the caret would lose its place.
            let (shown, caret) = window(line, problem.column);
            let _ = write!(out, "\n  {number} | {shown}\n  {} | {caret}^", " ".repeat(number.len()));
        }
    }
    out
}

/// The part of a line that holds a column, without control bytes, and the blanks before the caret.
fn window(line: &str, column: usize) -> (String, String) {
    const WIDTH: usize = 100;
    let characters: Vec<char> = line
        .chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    let place = column.saturating_sub(1).min(characters.len());
    let from = if place < WIDTH { 0 } else { place - WIDTH / 2 };
    let shown: String = characters[from..].iter().take(WIDTH).collect();
    (shown, " ".repeat(place - from))
}

fn describe(plan: &Plan) -> String {
    let mut out = String::new();
    let length = plan.duration.map_or("endless".to_owned(), show_time);
    let _ = writeln!(out, "{}: {length}, seed {}", plan.name, plan.seed);
    if !plan.description.is_empty() {
        let _ = writeln!(out, "  {}", plan.description);
    }
    let _ = writeln!(
        out,
        "  {} worker threads, about {} of inputs and working memory (limit {}), {:.1}% of answers checked",
        plan.threads(),
        show_size(plan.memory_bytes),
        show_size(plan.memory_limit),
        plan.verify * 100.0,
    );
    let expected: Vec<Option<f64>> = plan
        .loads
        .iter()
        .map(|load| load.expected_tasks(plan.duration))
        .collect();
    let sum = expected.iter().flatten().fold(0.0, |sum, tasks| sum + tasks);
    let _ = match (sum > 0.0, expected.iter().any(Option::is_none)) {
        (true, false) => writeln!(out, "  about {sum:.0} tasks"),
        (true, true) => writeln!(out, "  about {sum:.0} tasks, and what closed loads make"),
        (false, _) => writeln!(out, "  as many tasks as its closed or endless loads make"),
    };
    out.push_str("\npools\n");
    for pool in &plan.pools {
        let _ = writeln!(
            out,
            "  {:<16} {:<14} {} workers, queue {} ({}), stacks of {}",
            pool.name,
            kind_name(pool.kind),
            pool.workers,
            pool.queue_capacity,
            policy_name(pool.policy),
            show_size(pool.stack_bytes as u64)
        );
    }
    out.push_str("\nloads\n");
    for (load, expected) in plan.loads.iter().zip(expected) {
        let how = match &load.executor {
            Executor::Open { spacing, rate } => format!("open, {} arrivals, at most {}/s", spacing.name(), rate.peak()),
            Executor::Closed { users, think, .. } => {
                format!(
                    "closed, at most {} users, think time {}",
                    users.peak(),
                    show_time(*think)
                )
            }
        };
        let tasks = expected.map_or(String::new(), |tasks| format!(", about {tasks:.0} tasks"));
        let _ = writeln!(out, "  {:<16} on {}: {how}{tasks}", load.name, load.pool.as_ref());
        for part in &load.mix {
            let name = part.workload.about().name;
            let fork = if part.fork { ", forked over the pool" } else { "" };
            let twins = load.mix.iter().filter(|other| other.workload.about().name == name);
            // What tells two uses of one workload apart.
            let params = if twins.count() > 1 && !part.given.is_empty() {
                let params = part.given.iter().map(|(name, value)| format!("{name} = {value}"));
                format!(" {{ {} }}", params.collect::<Vec<_>>().join(", "))
            } else {
                String::new()
            };
            let _ = writeln!(out, "      {name}{params} (weight {}{fork})", part.weight);
        }
    }
    if !plan.thresholds.is_empty() {
        out.push_str("\nthresholds\n");
        for threshold in &plan.thresholds {
            let _ = writeln!(out, "  {}", threshold.sentence());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_shown_under_its_place() {
        let text = "version = 1\nrun = { nam = \"x\" }\n";
        let problems = Plan::parse(text).err().unwrap();
        let told = tell(Path::new("a.toml"), text, &problems);
        assert!(told.contains("a.toml:2:9: unknown key \"nam\""), "{told}");
        assert!(told.contains("did you mean name?"), "{told}");
        assert!(told.contains("  2 | run = { nam = \"x\" }\n    |         ^"), "{told}");
    }

    #[test]
    fn a_plan_is_told_in_the_words_of_its_file() {
        let told = describe(&Plan::parse(include_str!("../../config/scenarios/quick.toml")).unwrap());
        for words in [
            "queue 256 (reject)",
            "queue 64 (block)",
            "open, poisson arrivals, at most 40/s",
            "maximum_gap { elements = 50000 } (weight 3)",
            "maximum_gap { elements = 200000, shape = \"clustered\" } (weight 1, forked over the pool)",
            "      lowest_common_ancestor (weight 1)",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_its_place() {
        let (shown, caret) = window(&"x".repeat(500), 300);
        assert_eq!((shown.len(), caret.len()), (100, 50));
    }
}
