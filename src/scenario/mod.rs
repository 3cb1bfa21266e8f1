//! Which work, where, how fast, and what the verdict is.
//!
//! [`Plan::parse`] reads a scenario text (the format is described in `plan.rs`) and tells all that
//! is wrong with it. [`Player`] plays a plan: `schedule` says when each task is due, dispatchers hand
//! the tasks to [`crate::pools`], `measure` counts what becomes of them, `verdict` judges, `report`
//! writes the document. None of this knows of processes or sockets: the workbench hosts it.
//! [`Remote`] is the handle through which the daemon's other rooms start, steer and read runs.

mod measure;
mod page;
mod plan;
mod player;
mod remote;
mod report;
mod schedule;
mod units;
mod verdict;

pub use page::{nearest, place};
pub use plan::{Executor, Ingredient, Load, MAX_TEXT, Plan};
pub use player::{Outcome, Player, ThreadEvidence};
pub use remote::{Remote, RunError, Runs, ScenarioFile, StartRun, ValidationProblem};
pub use report::{
    FORMAT_VERSION, ReportError, csv as report_csv, fact_part, facts_of, html as report_html, kind_name,
    of_failure as failure_report, plan_json, policy_name, rfc3339, show_fact,
};
pub use schedule::{Curve, Segment, Spacing};
pub use units::{show_size, show_time};
