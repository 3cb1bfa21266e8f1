//! `threadscape run FILE`: plays a scenario without a daemon; the exit code is the verdict.
//!
//! It hosts the same [`Bench`] as the daemon does, without a state folder. Progress goes to stderr: a
//! line that redraws itself on a terminal, else one line every few seconds. The table and the
//! verdict go to stdout. Ctrl-C or SIGTERM stops and drains; a second one ends at once.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::{Exit, Failure};
use crate::kernel::stop_signals;
use crate::model::{Nanos, RunPhase, RunStatus, Spread};
use crate::scenario::{Plan, RunError, Runs as _, StartRun, fact_part, facts_of, report_html, show_fact, show_time};
use crate::workbench::{self, Bench, Settings};

/// How often progress is said where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// After a second Ctrl-C, and at the end.
const GOODBYE: Duration = Duration::from_secs(2);

/// Play a scenario; the exit code is its verdict
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 pass, 1 a threshold was missed (or the workbench failed), 2 bad file, \
                        3 invalid or stopped without a verdict, 4 work was left at the drain's time limit."
)]
pub struct Args {
    /// The scenario file
    file: PathBuf,
    /// Write the report as JSON
    #[arg(long, value_name = "OUT")]
    json: Option<PathBuf>,
    /// Write the report as a web page
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,
    /// Play with this seed instead of the file's
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Play the schedule X times as fast: times shrink, rates grow
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    time_scale: f64,
}

pub fn run(args: Args) -> Result<Exit, Failure> {
    let text = workbench::read_scenario(&args.file).map_err(Failure::usage)?;
    if let Err(problems) = Plan::parse(&text) {
        return Err(Failure::usage(super::check::tell(&args.file, &text, &problems)));
    }
    for out in [&args.json, &args.html].into_iter().flatten() {
        can_write(out)?;
    }
    // Before any thread is made, so that all of them hold the signals.
    stop_signals::hold().map_err(|error| Failure::other(format!("could not hold the stop signals: {error}")))?;
    let bench = Bench::new(Settings::new(Path::new("."), None), |_| ()).map_err(Failure::other)?;
    let started = bench
        .start_scaled(StartRun::Inline(text), args.seed, args.time_scale)
        .map_err(|error| match error {
            RunError::Invalid(problems) => Failure::usage(
                problems
                    .first()
                    .map_or(String::new(), |problem| problem.message.clone()),
            ),
            other => Failure::other(other),
        })?;
    let id = started.id.0.clone();

    let show = Progress::new(&started);
    let mut stopping = false;
    let status = loop {
        let status = bench.wait(&id, Duration::ZERO).map_err(Failure::other)?;
        if status.phase.is_over() {
            break status;
        }
        show.tell(&status);
        if stop_signals::wait(LOOK_EVERY) {
            if stopping {
                bench.shutdown(GOODBYE);
                return Err(Failure {
                    exit: Exit::Invalid,
                    message: "ended in the middle, by a second stop signal".into(),
                });
            }
            stopping = true;
            eprintln!("stopping: what is under way is finished first; once more to end at once");
            match bench.stop(&id) {
                // Ended at this very moment.
                Ok(_) | Err(RunError::Over(_)) => {}
                Err(error) => eprintln!("threadscape: {error}"),
            }
        }
    };
    show.end();
    let report = bench.report(&id).map_err(Failure::other)?;
    bench.shutdown(GOODBYE);

    if let Some(out) = &args.json {
        write(out, &report)?;
    }
    if let Some(out) = &args.html {
        let page = report_html(&report).map_err(Failure::other)?;
        write(out, &page)?;
    }
    let report: Value = serde_json::from_str(&report).map_err(Failure::other)?;
    // A reader that has gone (`… | head`) changes nothing about the verdict.
    let told = table(&status) + &facts(&report) + &verdict(&status, &report);
    let _ = std::io::stdout().write_all(told.as_bytes());
    Ok(exit(&status, &report))
}

/// Known before the run, not after ten minutes of it.
fn can_write(out: &Path) -> Result<(), Failure> {
    let folder = folder_of(out);
    if out.is_dir() || !folder.is_dir() {
        return Err(Failure::usage(format!(
            "cannot write {}: {}",
            out.display(),
            if out.is_dir() {
                "it is a folder"
            } else {
                "there is no such folder"
            }
        )));
    }
    Ok(())
}

fn folder_of(out: &Path) -> &Path {
    match out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn write(out: &Path, content: &str) -> Result<(), Failure> {
    let refused = |error| Failure::other(format!("could not write {}: {error}", out.display()));
    // A device or a pipe takes bytes, but cannot be replaced by a renamed file.
    if out.exists() && !out.is_file() {
        return std::fs::write(out, content).map_err(refused);
    }
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    workbench::write_whole(folder_of(out), &name, content.as_bytes()).map_err(refused)
}

fn exit(status: &RunStatus, report: &Value) -> Exit {
    let timed_out = report["drain"]["timed_out"] == true;
    match (status.phase, status.verdict.as_deref()) {
        (RunPhase::Failed, _) => Exit::Found,
        (_, Some("invalid")) => Exit::Invalid,
        (_, _) if timed_out => Exit::TimeLimit,
        (_, Some("pass")) => Exit::Fine,
        (_, Some(_)) => Exit::Found,
        // Stopped before it could be judged.
        (_, None) => Exit::Invalid,
    }
}

/// How far it is, while it runs.
struct Progress {
    bar: Option<ProgressBar>,
    last_line: std::cell::Cell<Option<Instant>>,
}

impl Progress {
    fn new(run: &RunStatus) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = match run.planned {
                Some(planned) => ProgressBar::new((planned.0 / 1_000_000).max(1)),
                None => ProgressBar::new_spinner(),
            };
            let shape = if run.planned.is_some() {
                "{bar:30} {msg}"
            } else {
                "{spinner} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(shape) {
                bar.set_style(style);
            }
            bar
        });
        Progress {
            bar,
            last_line: std::cell::Cell::new(None),
        }
    }

    fn tell(&self, run: &RunStatus) {
        let line = progress_line(run);
        if let Some(bar) = &self.bar {
            bar.set_position(run.elapsed.0 / 1_000_000);
            bar.set_message(line);
            bar.tick();
        } else if self.last_line.get().is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            eprintln!("{line}");
            self.last_line.set(Some(Instant::now()));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn progress_line(run: &RunStatus) -> String {
    let sum = |of: fn(&crate::model::LoadProgress) -> u64| run.loads.iter().map(of).sum::<u64>();
    let rate: f64 = run.loads.iter().map(|load| load.throughput).sum();
    let worst = run.loads.iter().map(|load| load.response.p99).max().unwrap_or_default();
    let whole = run
        .planned
        .map_or(String::new(), |planned| format!(" of {}", show_time(planned)));
    format!(
        "{} {}{whole}: {} done, {rate:.0}/s, {} under way, response p99 {}",
        run.phase.name(),
        show_time(Nanos(run.elapsed.0 / 100_000_000 * 100_000_000)),
        sum(|load| load.done),
        sum(|load| load.outstanding),
        show_time(worst),
    )
}

/// Two tables: what became of the tasks, and how long they took.
fn table(run: &RunStatus) -> String {
    let mut counts = vec![row(&[
        "load",
        "arrived",
        "done",
        "shed",
        "late",
        "cancelled",
        "panicked",
        "outstanding",
        "checked",
        "wrong",
        "per second",
    ])];
    let mut times = vec![row(&["load", "latency", "mean", "p50", "p90", "p99", "max"])];
    for load in &run.loads {
        let mut cells = vec![load.name.to_string()];
        let numbers = [
            load.arrived,
            load.done,
            load.shed,
            load.late,
            load.cancelled,
            load.panicked,
            load.outstanding,
            load.verified,
            load.wrong,
        ];
        cells.extend(numbers.iter().map(u64::to_string));
        cells.push(format!("{:.1}", load.throughput));
        counts.push(cells);
        for (name, spread) in [
            ("lag", &load.lag),
            ("queue", &load.queue),
            ("service", &load.service),
            ("response", &load.response),
        ] {
            times.push(latency_row(&load.name, name, spread));
        }
    }
    format!("{}\n{}\n", aligned(&counts, 1), aligned(&times, 2))
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn latency_row(load: &str, name: &str, spread: &Spread) -> Vec<String> {
    let time = |time: Nanos| if spread.count > 0 { show_time(time) } else { "-".into() };
    vec![
        load.to_owned(),
        name.to_owned(),
        time(spread.mean),
        time(spread.p50),
        time(spread.p90),
        time(spread.p99),
        time(spread.max),
    ]
}

/// The first `left` columns to the left, numbers to the right.
fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let width = widths[column];
            let _ = if column < left {
                write!(out, "{gap}{cell:<width$}")
            } else {
                write!(out, "{gap}{cell:>width$}")
            };
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

/// What the workloads measured of themselves; nothing when they did not.
fn facts(report: &Value) -> String {
    let mut rows = vec![row(&["load", "workload", "figure", "value"])];
    for load in report["loads"].as_array().into_iter().flatten() {
        for (name, fact) in facts_of(load) {
            let figure = fact["name"].as_str().unwrap_or_default().to_owned();
            rows.push(vec![name, fact_part(&fact), figure, show_fact(&fact)]);
        }
    }
    if rows.len() == 1 {
        return String::new();
    }
    format!("{}\n", aligned(&rows, 3))
}

fn verdict(run: &RunStatus, report: &Value) -> String {
    let mut out = String::new();
    for threshold in report["thresholds"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{} {}{} (measured {})",
            if threshold["kept"] == true { "kept  " } else { "missed" },
            threshold["load"]
                .as_str()
                .map_or(String::new(), |load| format!("{load}: ")),
            threshold["require"].as_str().unwrap_or_default(),
            threshold["shown"].as_str().unwrap_or("nothing"),
        );
    }
    for message in run.messages.iter().filter(|message| !message.starts_with("missed: ")) {
        let _ = writeln!(out, "{message}");
    }
    let verdict = run.verdict.as_deref().unwrap_or(run.phase.name());
    let _ = writeln!(
        out,
        "{}: {verdict} after {} (seed {})",
        run.scenario,
        show_time(run.elapsed),
        run.seed
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [row(&["a", "n"]), row(&["long", "10"])];
        assert_eq!(aligned(&rows, 1), "a      n\nlong  10\n");
    }
}
