//! Text to plan: the scenario file, version 1.
//!
//! ```toml
//! version = 1                        # of this format; required
//!
//! [run]
//! name = "quick"                     # required
//! description = "what it shows"
//! duration = "10s"                   # or "endless"; required
//! seed = 42                          # fixes every random stream; default 1
//! memory_limit = "1GiB"              # of inputs and working memory; a plan above it is refused
//! max_lateness = "50ms"              # the generator's own lateness (p99) above it: INVALID
//! drain_timeout = "10s"              # for what is under way when the load ends
//! verify = "1%"                      # share of answers held against the oracle
//!
//! [pools.NAME]
//! kind = "stealing"                  # or "shared-channel"; required
//! workers = 2                        # required
//! queue = 1024                       # most tasks that wait
//! policy = "block"                   # or "reject": what a full queue does
//! stack_size = "2MiB"
//!
//! [[load]]
//! name = "lookups"                   # required
//! pool = "NAME"                      # required
//! executor = "open"                  # or "closed"; required
//! arrivals = "poisson"               # open: or "even"
//! rate = "200/s"                     # open: one rate, or
//! stages = [{ rate = "200/s", for = "5s" }, { rate = "800/s", over = "10s" }]
//! repeat = false                     # stages begin again when they end
//! users = 8                          # closed: one number, or stages of { users, for | over }
//! think_time = "10ms"                # closed: from an answer to the next request
//! think = "exponential"              # closed: or "constant"
//! start = "0s"                       # since the run's start
//! stop = "8s"
//! patience = "1s"                    # a task not begun by then is `late` and not run
//! mix = [{ workload = "maximum_gap", weight = 3, fork = true, params = { elements = 1000 } }]
//!
//! [[threshold]]
//! load = "lookups"                   # absent: all loads together
//! require = "response.p99 < 50ms"    # see `verdict`
//! ```
//!
//! `for` holds a value, `over` goes to it from the one before (from 0 at the start). `[[fault]]`
//! and `[[compare]]` are of this format too, but this version of threadscape does not play them:
//! they are refused, not passed over. Everything wrong with a text is told at once.

use std::sync::Arc;
use std::time::SystemTime;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ValidationProblem;
use super::page::{Homes, Page, Section, nearest, place, shorten};
use super::schedule::{Curve, Segment, Spacing};
use super::units;
use super::verdict::Threshold;
use crate::model::{Nanos, QueuePolicy, RunId, RunPhase, RunStatus};
use crate::pools::{PoolKind, PoolSpec};
use crate::workloads::{self, ParamValue, Params, Workload};

const RUN_KEYS: &[&str] = &[
    "name",
    "description",
    "duration",
    "seed",
    "memory_limit",
    "max_lateness",
    "drain_timeout",
    "verify",
];
const POOL_KEYS: &[&str] = &["kind", "workers", "queue", "policy", "stack_size"];
const LOAD_KEYS: &[&str] = &[
    "name",
    "pool",
    "executor",
    "arrivals",
    "rate",
    "stages",
    "repeat",
    "users",
    "think_time",
    "think",
    "start",
    "stop",
    "patience",
    "mix",
];
const MIX_KEYS: &[&str] = &["workload", "weight", "fork", "params"];
const THRESHOLD_KEYS: &[&str] = &["load", "require"];
/// Where a key belongs that stands in a wrong section.
const HOMES: Homes = &[
    ("at the top of the file, before the first section", &["version"]),
    ("in [run]", RUN_KEYS),
    ("in [pools.NAME]", POOL_KEYS),
    ("in [[load]]", LOAD_KEYS),
    ("in the stages of a load", &["for", "over"]),
    ("in the mix of a load", MIX_KEYS),
    ("in [[threshold]]", THRESHOLD_KEYS),
];

/// Bounds of every plan, so that no file can ask for what no machine has.
pub const MAX_TEXT: usize = 256 << 10;
const MAX_THREADS: usize = 2048;
const MAX_POOLS: usize = 32;
const MAX_LOADS: usize = 64;
const MAX_MIX: usize = 32;
const MAX_STAGES: usize = 256;
const MAX_THRESHOLDS: usize = 128;
const MAX_RATE: f64 = 1_000_000.0;
const MAX_USERS: i64 = 10_000;
const MAX_QUEUE: i64 = 1 << 20;
const MAX_STACKS: u64 = 64 << 30;
const MAX_MEMORY: u64 = 1 << 40;
const MAX_SEED: i64 = i64::MAX;
/// What one waiting task costs: its boxes and its place in the queue.
const QUEUED_TASK_BYTES: u64 = 384;

const DEFAULT_MEMORY: u64 = 1 << 30;
const DEFAULT_LATENESS: Nanos = Nanos(50_000_000);
const DEFAULT_DRAIN: Nanos = Nanos(10_000_000_000);
const DEFAULT_VERIFY: f64 = 0.01;
const DEFAULT_QUEUE: usize = 1024;
const DEFAULT_STACK: u64 = 2 << 20;

/// A scenario, ready to be played.
#[derive(Clone)]
pub struct Plan {
    pub name: Arc<str>,
    pub description: String,
    /// `None`: endless.
    pub duration: Option<Nanos>,
    pub seed: u64,
    pub memory_limit: u64,
    /// What inputs, working memory and full queues are expected to take.
    pub memory_bytes: u64,
    pub max_lateness: Nanos,
    pub drain_timeout: Nanos,
    /// Share of answers that are checked.
    pub verify: f64,
    pub pools: Vec<PoolSpec>,
    pub loads: Vec<Load>,
    pub thresholds: Vec<Threshold>,
}

/// One stream of tasks.
#[derive(Clone)]
pub struct Load {
    pub name: Arc<str>,
    pub pool: Arc<str>,
    pub executor: Executor,
    /// Since the run's start.
    pub start: Nanos,
    pub stop: Option<Nanos>,
    pub patience: Option<Nanos>,
    pub mix: Vec<Ingredient>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Executor {
    /// Tasks arrive whether or not the last are done.
    Open { spacing: Spacing, rate: Curve },
    /// Each user waits for its answer, thinks, asks again.
    Closed {
        users: Curve,
        think: Nanos,
        exponential: bool,
    },
}

impl Executor {
    pub fn name(&self) -> &'static str {
        match self {
            Executor::Open { .. } => "open",
            Executor::Closed { .. } => "closed",
        }
    }
}

/// One workload of a load's mix.
#[derive(Clone)]
pub struct Ingredient {
    pub workload: &'static dyn Workload,
    pub params: Params,
    /// As the file gave them, for the report.
    pub given: Vec<(String, ParamValue)>,
    pub weight: f64,
    /// Whether a task may fork over its pool.
    pub fork: bool,
}

impl Load {
    /// From its start to its stop, within the run; `None` when endless.
    pub fn span(&self, run: Option<Nanos>) -> Option<Nanos> {
        let stop = match (self.stop, run) {
            (Some(stop), Some(run)) => stop.min(run),
            (Some(end), None) | (None, Some(end)) => end,
            (None, None) => return None,
        };
        Some(stop.saturating_sub(self.start))
    }

    /// The workloads' names, joined.
    pub fn workloads(&self) -> String {
        let names: Vec<&str> = self.mix.iter().map(|part| part.workload.about().name).collect();
        names.join(" + ")
    }

    /// Arrivals to expect; `None` when endless, or closed (that depends on how fast answers come).
    pub fn expected_tasks(&self, run: Option<Nanos>) -> Option<f64> {
        match &self.executor {
            Executor::Open { rate, .. } => Some(rate.integral(self.span(run)?.seconds())),
            Executor::Closed { .. } => None,
        }
    }
}

impl Plan {
    /// A run of this plan that begins now and has done nothing yet.
    pub fn preparing(&self, id: RunId) -> RunStatus {
        RunStatus {
            id,
            scenario: self.name.clone(),
            phase: RunPhase::Preparing,
            started_at: SystemTime::now(),
            ended_at: None,
            elapsed: Nanos(0),
            planned: self.duration,
            seed: self.seed,
            rate_factor: 1.0,
            loads: Vec::new(),
            verdict: None,
            messages: Vec::new(),
        }
    }

    /// Reads a scenario text. Every problem is told, in the order of the text.
    pub fn parse(text: &str) -> Result<Plan, Vec<ValidationProblem>> {
        let page = Page::new(text, HOMES);
        if text.len() > MAX_TEXT {
            page.refuse(
                0,
                "",
                format!("a scenario is at most {} long", units::show_size(MAX_TEXT as u64)),
                None,
            );
            return Err(page.into_problems());
        }
        let (tree, errors) = DeTable::parse_recoverable(text);
        let mut readable = true;
        let mut last_line = 0;
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            // After a duplicate key the tree is whole but for it; after any other error the rest
            // of the tree may be the parser's guess, and problems found in it would mislead.
            readable &= error.message().contains("duplicate key");
            // The parser's later complaints about one line are echoes of the first.
            let (line, _) = place(text, at);
            if line == last_line {
                continue;
            }
            last_line = line;
            let word = offending(text, at);
            page.refuse(at, "", format!("{}{word}", error.message()), None);
        }
        let plan = readable.then(|| read(&page, &tree)).flatten();
        match plan {
            Some(plan) if page.is_clean() => Ok(plan),
            _ => Err(page.into_problems()),
        }
    }

    pub fn threads(&self) -> usize {
        self.pools.iter().map(|pool| pool.workers).sum()
    }

    /// The same plan played `speed` times as fast: times of the schedule shrink, rates grow, think
    /// times shrink. What bounds real waits (patience, drain, lateness) stays.
    pub fn scaled(mut self, speed: f64) -> Plan {
        let shrink = |time: Nanos| Nanos((time.0 as f64 / speed).round() as u64);
        self.duration = self.duration.map(shrink);
        for load in &mut self.loads {
            load.start = shrink(load.start);
            load.stop = load.stop.map(shrink);
            load.executor = match &load.executor {
                Executor::Open { spacing, rate } => Executor::Open {
                    spacing: *spacing,
                    rate: rate.scaled(speed, true),
                },
                Executor::Closed {
                    users,
                    think,
                    exponential,
                } => Executor::Closed {
                    users: users.scaled(speed, false),
                    think: shrink(*think),
                    exponential: *exponential,
                },
            };
        }
        self
    }
}

/// The word at an error, quoted, for the end of a message.
fn offending(text: &str, at: usize) -> String {
    let rest = text.get(at..).unwrap_or_default();
    let word = rest.split(['\n', '=', ',', ']', '}']).next().unwrap_or_default().trim();
    if word.is_empty() {
        String::new()
    } else {
        format!(" at `{}`", shorten(word))
    }
}

fn read<'t>(page: &Page<'t>, tree: &Spanned<DeTable<'t>>) -> Option<Plan> {
    let root = Section::root(page, tree);
    root.allow(&["version", "run", "pools", "load", "threshold", "fault", "compare"]);
    if root.has("version") {
        root.integer("version", 1..=1);
    } else {
        root.missing("version", "1");
    }
    for (section, what) in [("fault", "faults"), ("compare", "comparisons")] {
        if root.has(section) {
            root.refuse(
                section,
                format!("[[{section}]] is not supported yet by this version of threadscape; take it out to run without {what}"),
            );
        }
    }

    let run = match root.value("run") {
        Some(value) => read_run(&Section::open(page, value, "run".into())?),
        None => {
            root.missing_section("run", "[run]", "name and duration");
            None
        }
    };
    let names = pool_names(&root);
    let pools = read_pools(page, &root);
    let duration = run.as_ref().and_then(|run| run.duration);
    let loads = read_loads(page, &root, &names, duration);
    let load_names = load_names(&root);
    let thresholds = root
        .tables("threshold", MAX_THRESHOLDS)
        .iter()
        .filter_map(|section| read_threshold(section, &load_names))
        .collect();

    let run = run?;
    let memory_bytes = memory(&pools, &loads);
    // With other problems the estimate may be of what was not meant.
    if page.is_clean() && memory_bytes > run.memory_limit {
        let at = root.value("run").and_then(|run| run.get_ref().get("memory_limit"));
        let at = at.or(root.value("load")).map_or(0, |value| value.span().start);
        page.refuse(
            at,
            "run.memory_limit",
            format!(
                "the inputs and working memory of this plan take about {}, more than memory_limit {}; raise it or lower the sizes",
                units::show_size(memory_bytes),
                units::show_size(run.memory_limit)
            ),
            None,
        );
    }
    Some(Plan {
        memory_bytes,
        pools,
        loads,
        thresholds,
        ..run
    })
}

/// The `[run]` section; the rest of the plan is still empty.
fn read_run(section: &Section) -> Option<Plan> {
    section.allow(RUN_KEYS);
    let name = read_name(section, "\"quick\"");
    let duration = match section.value("duration").map(|value| value.get_ref()) {
        None => {
            section.missing("duration", "\"10s\" or \"endless\"");
            None
        }
        Some(DeValue::String(text)) if text == "endless" => Some(None),
        Some(_) => section.time("duration").map(Some),
    };
    if duration == Some(Some(Nanos(0))) {
        section.refuse("duration", "a run must last longer than \"0s\"");
    }
    let drain_timeout = section.time("drain_timeout").unwrap_or(DEFAULT_DRAIN);
    if drain_timeout > Nanos::from_seconds(3600.0) {
        section.refuse("drain_timeout", "drain_timeout is at most \"1h\"");
    }
    let max_lateness = section.time("max_lateness").unwrap_or(DEFAULT_LATENESS);
    if max_lateness == Nanos(0) {
        section.refuse(
            "max_lateness",
            "no generator is exactly on time; max_lateness must be above \"0s\"",
        );
    }
    let memory_limit = section.size("memory_limit").unwrap_or(DEFAULT_MEMORY);
    if memory_limit == 0 || memory_limit > MAX_MEMORY {
        section.refuse(
            "memory_limit",
            "memory_limit must be above \"0B\" and at most \"1024GiB\"",
        );
    }
    Some(Plan {
        name: name?,
        description: section.text("description").unwrap_or_default().to_owned(),
        duration: duration?,
        seed: section.integer("seed", 0..=MAX_SEED).unwrap_or(1) as u64,
        memory_limit,
        memory_bytes: 0,
        max_lateness,
        drain_timeout,
        verify: section.share("verify").unwrap_or(DEFAULT_VERIFY),
        pools: Vec::new(),
        loads: Vec::new(),
        thresholds: Vec::new(),
    })
}

fn read_name(section: &Section, example: &str) -> Option<Arc<str>> {
    if !section.has("name") {
        section.missing("name", example);
        return None;
    }
    let name = section.text("name")?;
    check_name(name)
        .map_err(|message| section.refuse("name", message))
        .ok()?;
    Some(name.into())
}

/// Names go into thread names, metrics and addresses.
fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=40).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if fits {
        Ok(())
    } else {
        Err(format!(
            "\"{}\" is not a name; use 1 to 40 of the letters a-z, A-Z, digits, '-', '_' and '.'",
            shorten(name)
        ))
    }
}

/// The names of `[pools.NAME]`, also of those with problems: a load may refer to them.
fn pool_names<'p>(root: &Section<'p, '_>) -> Vec<&'p str> {
    match root.value("pools").map(|value| value.get_ref()) {
        Some(DeValue::Table(pools)) => pools.keys().map(|key| &**key.get_ref()).collect(),
        _ => Vec::new(),
    }
}

fn load_names<'p>(root: &Section<'p, '_>) -> Vec<&'p str> {
    match root.value("load").map(|value| value.get_ref()) {
        Some(DeValue::Array(loads)) => loads
            .iter()
            .filter_map(|load| load.get_ref().get("name")?.get_ref().as_str())
            .collect(),
        _ => Vec::new(),
    }
}

fn read_pools<'t>(page: &Page<'t>, root: &Section<'_, 't>) -> Vec<PoolSpec> {
    let Some(value) = root.value("pools") else {
        root.missing_section("pools", "[pools.NAME]", "kind and workers, like [pools.main]");
        return Vec::new();
    };
    let Some(section) = Section::open(page, value, "pools".into()) else {
        return Vec::new();
    };
    let entries = section.entries();
    if entries.is_empty() {
        root.refuse("pools", "a scenario needs at least one pool: [pools.main]");
    }
    if entries.len() > MAX_POOLS {
        root.refuse(
            "pools",
            format!("{} pools; at most {MAX_POOLS} are allowed", entries.len()),
        );
        return Vec::new();
    }
    let mut pools: Vec<PoolSpec> = Vec::new();
    for (key, value) in entries {
        let name: &str = key.get_ref();
        if let Err(message) = check_name(name) {
            page.refuse(key.span().start, &section.field(name), message, None);
        }
        let Some(pool) = Section::open(page, value, section.field(name)) else {
            continue;
        };
        let Some(spec) = read_pool(&pool, name) else {
            continue;
        };
        let threads = spec.workers + pools.iter().map(|pool| pool.workers).sum::<usize>();
        if threads > MAX_THREADS {
            pool.refuse(
                "workers",
                format!("the pools make {threads} threads; at most {MAX_THREADS} are allowed in one run"),
            );
        }
        let stacks: u64 = pools
            .iter()
            .chain([&spec])
            .map(|pool| pool.workers as u64 * pool.stack_bytes as u64)
            .sum();
        if stacks > MAX_STACKS {
            pool.refuse(
                "stack_size",
                format!(
                    "the stacks of all workers reserve {}; at most {} is allowed",
                    units::show_size(stacks),
                    units::show_size(MAX_STACKS)
                ),
            );
        }
        pools.push(spec);
    }
    pools
}

fn read_pool(section: &Section, name: &str) -> Option<PoolSpec> {
    section.allow(POOL_KEYS);
    let kinds = [
        ("stealing", PoolKind::Stealing),
        ("shared-channel", PoolKind::SharedChannel),
    ];
    if !section.has("kind") {
        section.missing("kind", "\"stealing\" or \"shared-channel\"");
    }
    if !section.has("workers") {
        section.missing("workers", "2");
    }
    let kind = section.choice("kind", &kinds);
    let workers = section.integer("workers", 1..=MAX_THREADS as i64);
    let queue = section.integer("queue", 1..=MAX_QUEUE);
    let policy = section.choice(
        "policy",
        &[("block", QueuePolicy::Block), ("reject", QueuePolicy::Reject)],
    );
    let stack_bytes = section.size("stack_size").unwrap_or(DEFAULT_STACK);
    if !((64 << 10)..=(1 << 30)).contains(&stack_bytes) {
        section.refuse("stack_size", "stack_size must be from \"64KiB\" to \"1GiB\"");
    }
    Some(PoolSpec {
        name: name.into(),
        kind: kind?,
        workers: workers? as usize,
        queue_capacity: queue.map_or(DEFAULT_QUEUE, |queue| queue as usize),
        policy: policy.unwrap_or(QueuePolicy::Block),
        stack_bytes: stack_bytes as usize,
    })
}

fn read_loads<'t>(page: &Page<'t>, root: &Section<'_, 't>, pools: &[&str], run: Option<Nanos>) -> Vec<Load> {
    if !root.has("load") {
        root.missing_section("load", "[[load]]", "name, pool, executor, mix, and a rate or users");
    }
    let mut loads: Vec<Load> = Vec::new();
    let sections = root.tables("load", MAX_LOADS);
    if root.has("load") && sections.is_empty() {
        root.refuse("load", "a scenario needs at least one [[load]]");
    }
    for section in sections {
        if let Some(load) = read_load(page, &section, pools, run) {
            if loads.iter().any(|other| other.name == load.name) {
                section.refuse("name", format!("there is another load named \"{}\"", load.name));
            }
            loads.push(load);
        }
    }
    loads
}

fn read_load<'t>(page: &Page<'t>, section: &Section<'_, 't>, pools: &[&str], run: Option<Nanos>) -> Option<Load> {
    const OPEN: &[&str] = &["arrivals", "rate"];
    const CLOSED: &[&str] = &["users", "think_time", "think"];
    section.allow(LOAD_KEYS);
    let name = read_name(section, "\"lookups\"");
    if !section.has("pool") {
        section.missing("pool", &format!("\"{}\"", pools.first().unwrap_or(&"main")));
    }
    let pool = section.text("pool").filter(|pool| {
        let known = pools.contains(pool);
        if !known {
            section.refuse_for(
                "pool",
                format!(
                    "there is no pool \"{}\"; this file has: {}",
                    shorten(pool),
                    pools.join(", ")
                ),
                nearest(pool, pools.iter().copied()),
            );
        }
        known
    });
    if !section.has("executor") {
        section.missing("executor", "\"open\" or \"closed\"");
    }
    let executor = section.choice("executor", &[("open", true), ("closed", false)]);
    let foreign = match executor {
        Some(true) => CLOSED,
        Some(false) => OPEN,
        None => &[],
    };
    for key in foreign.iter().filter(|key| section.has(key)) {
        let other = if executor == Some(true) { "closed" } else { "open" };
        section.refuse(key, format!("{key} belongs to a load with executor = \"{other}\""));
    }
    let executor = executor.and_then(|open| if open { read_open(section) } else { read_closed(section) });

    let start = section.time("start").unwrap_or_default();
    let stop = section.time("stop");
    if stop.is_some_and(|stop| stop <= start) {
        section.refuse("stop", "stop must be after start");
    }
    if run.is_some_and(|run| run > Nanos(0) && start >= run) {
        section.refuse("start", "this load would start after the run has ended");
    }
    let patience = section.time("patience");
    if patience == Some(Nanos(0)) {
        section.refuse(
            "patience",
            "with no patience at all every task is late; leave patience out or raise it",
        );
    }
    if !section.has("mix") {
        section.missing("mix", "[{ workload = \"maximum_gap\" }]");
    }
    let sections = section.tables("mix", MAX_MIX);
    if section.has("mix") && sections.is_empty() {
        section.refuse("mix", "mix needs at least one { workload = … }");
    }
    let mix: Vec<Ingredient> = sections.iter().filter_map(|part| read_ingredient(page, part)).collect();
    if mix.is_empty() {
        return None;
    }
    Some(Load {
        name: name?,
        pool: pool?.into(),
        executor: executor?,
        start,
        stop,
        patience,
        mix,
    })
}

fn read_open(section: &Section) -> Option<Executor> {
    let spacing = section
        .choice("arrivals", &[("poisson", Spacing::Poisson), ("even", Spacing::Even)])
        .unwrap_or(Spacing::Poisson);
    let rate = read_curve(section, "rate", "\"200/s\"", |section| {
        let rate = section.rate("rate")?;
        if rate > MAX_RATE {
            section.refuse("rate", "one load can make at most 1000000/s");
            return None;
        }
        Some(rate)
    })?;
    if rate.peak() <= 0.0 {
        section.refuse("rate", "this load never makes a task: its rate is 0 all the time");
    }
    Some(Executor::Open { spacing, rate })
}

fn read_closed(section: &Section) -> Option<Executor> {
    let users = read_curve(section, "users", "8", |section| {
        section.integer("users", 0..=MAX_USERS).map(|users| users as f64)
    })?;
    if users.peak() < 1.0 {
        section.refuse("users", "this load never has a user");
    }
    let exponential = section.choice("think", &[("exponential", true), ("constant", false)]);
    Some(Executor::Closed {
        users,
        think: section.time("think_time").unwrap_or_default(),
        exponential: exponential.unwrap_or(true),
    })
}

/// One value, or stages of them.
fn read_curve(section: &Section, key: &str, example: &str, value: impl Fn(&Section) -> Option<f64>) -> Option<Curve> {
    let repeat = section.flag("repeat");
    match (section.has(key), section.has("stages")) {
        (true, true) => {
            section.refuse(key, format!("give {key} or stages, not both"));
            None
        }
        (false, false) => {
            section.missing(key, &format!("{example}, or stages = […]"));
            None
        }
        (true, false) => {
            if repeat.is_some() {
                section.refuse("repeat", "repeat belongs to stages; there are none");
            }
            value(section).map(Curve::constant)
        }
        (false, true) => {
            let mut segments = Vec::new();
            let mut before = 0.0;
            let mut whole = true;
            for stage in section.tables("stages", MAX_STAGES) {
                stage.allow(&[key, "for", "over"]);
                if !stage.has(key) {
                    stage.missing(key, example);
                }
                let to = value(&stage);
                let (hold, length) = match (stage.has("for"), stage.has("over")) {
                    (true, false) => (true, stage.time("for")),
                    (false, true) => (false, stage.time("over")),
                    _ => {
                        stage.missing(
                            "for",
                            "\"5s\" to hold the value, or over = \"5s\" to ramp to it, one of the two",
                        );
                        (true, None)
                    }
                };
                if length == Some(Nanos(0)) {
                    stage.refuse(
                        if hold { "for" } else { "over" },
                        "a stage must last longer than \"0s\"",
                    );
                }
                let (Some(to), Some(length)) = (to, length) else {
                    whole = false;
                    continue;
                };
                segments.push(Segment {
                    from: if hold { to } else { before },
                    to,
                    seconds: length.seconds(),
                });
                before = to;
            }
            if segments.is_empty() && whole {
                section.refuse(
                    "stages",
                    format!("stages needs at least one {{ {key} = {example}, for = \"5s\" }}"),
                );
            }
            (whole && !segments.is_empty()).then(|| Curve::new(segments, repeat.unwrap_or(false)))
        }
    }
}

fn read_ingredient<'t>(page: &Page<'t>, section: &Section<'_, 't>) -> Option<Ingredient> {
    section.allow(MIX_KEYS);
    let weight = section.positive("weight", 1e6).unwrap_or(1.0);
    let fork = section.flag("fork").unwrap_or(false);
    if !section.has("workload") {
        section.missing("workload", "\"maximum_gap\"");
    }
    let name = section.text("workload")?;
    let Some(workload) = workloads::find(name) else {
        let names: Vec<&str> = workloads::CATALOGUE.iter().map(|entry| entry.about().name).collect();
        section.refuse_for(
            "workload",
            format!(
                "there is no workload \"{}\"; known: {}",
                shorten(name),
                names.join(", ")
            ),
            nearest(name, names.iter().copied()),
        );
        return None;
    };
    let about = workload.about();
    let mut given = Vec::new();
    let mut sound = true;
    if let Some(value) = section.value("params") {
        let params = Section::open(page, value, section.field("params"))?;
        let known: Vec<&str> = about.parameters.iter().map(|parameter| parameter.name).collect();
        params.allow(&known);
        for (key, value) in params.entries() {
            let key: &str = key.get_ref();
            if !known.contains(&key) {
                sound = false;
                continue;
            }
            let Some(value) = param_value(value.get_ref()) else {
                params.refuse(key, format!("{key} must be a number, a text or a flag"));
                sound = false;
                continue;
            };
            let entry = (key.to_owned(), value);
            // One by one, so that every bad parameter is told and not only the first.
            if let Err(bad) = Params::resolve(about, std::slice::from_ref(&entry)) {
                params.refuse(key, bad.to_string());
                sound = false;
            }
            given.push(entry);
        }
    }
    if !sound {
        return None;
    }
    match Params::resolve(about, &given) {
        Ok(params) => Some(Ingredient {
            workload,
            params,
            given,
            weight,
            fork,
        }),
        Err(bad) => {
            section.refuse("params", bad.to_string());
            None
        }
    }
}

fn param_value(value: &DeValue) -> Option<ParamValue> {
    match value {
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .ok()
            .map(ParamValue::Integer),
        DeValue::Float(digits) => digits.as_str().parse().ok().map(ParamValue::Number),
        DeValue::String(text) => Some(ParamValue::Text(text.to_string())),
        DeValue::Boolean(flag) => Some(ParamValue::Flag(*flag)),
        _ => None,
    }
}

fn read_threshold(section: &Section, loads: &[&str]) -> Option<Threshold> {
    section.allow(THRESHOLD_KEYS);
    let load = section.text("load");
    if let Some(load) = load.filter(|load| !loads.contains(load)) {
        section.refuse_for(
            "load",
            format!(
                "there is no load \"{}\"; this file has: {}",
                shorten(load),
                loads.join(", ")
            ),
            nearest(load, loads.iter().copied()),
        );
        return None;
    }
    if !section.has("require") {
        section.missing("require", "\"response.p99 < 50ms\"");
    }
    let require = section.text("require")?;
    match Threshold::parse(load.map(Arc::from), require) {
        Ok(threshold) => Some(threshold),
        Err((message, suggestion)) => {
            section.refuse_for("require", message, suggestion);
            None
        }
    }
}

fn memory(pools: &[PoolSpec], loads: &[Load]) -> u64 {
    let queues: u64 = pools
        .iter()
        .map(|pool| pool.queue_capacity as u64 * QUEUED_TASK_BYTES)
        .sum();
    let inputs = loads.iter().flat_map(|load| {
        let workers = pools
            .iter()
            .find(|pool| pool.name == load.pool)
            .map_or(1, |pool| pool.workers);
        load.mix
            .iter()
            .map(move |part| part.workload.memory_bytes(&part.params, workers))
    });
    inputs.fold(queues, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
version = 1
[run]
name = "t"
duration = "10s"
[pools.main]
kind = "stealing"
workers = 2
[[load]]
name = "a"
pool = "main"
executor = "open"
rate = "100/s"
mix = [{ workload = "maximum_gap", params = { elements = 1000 } }]
"#;

    fn problems(text: &str) -> Vec<ValidationProblem> {
        Plan::parse(text).err().unwrap_or_default()
    }

    /// The one problem of the sound text with a part of it replaced.
    fn refused(old: &str, new: &str) -> ValidationProblem {
        assert!(WHOLE.contains(old), "{old}");
        let mut problems = problems(&WHOLE.replace(old, new));
        assert_eq!(problems.len(), 1, "{new}: {problems:?}");
        problems.remove(0)
    }

    #[test]
    fn a_key_in_a_wrong_section_is_told_where_it_belongs() {
        let problems = Plan::parse("rate = \"5/s\"\n[run]\nversion = 1\nqueue = 5\n[pool.main]\nworkers = 1\n")
            .err()
            .unwrap();
        let told: Vec<String> = problems.iter().map(|problem| problem.message.clone()).collect();
        for sentence in [
            "rate does not belong at the top; write it in [[load]]",
            "version does not belong in this section; write it at the top of the file, before the first section",
            "queue does not belong in this section; write it in [pools.NAME]",
            "the file needs a [[load]] section, with at least name, pool, executor, mix, and a rate or users",
        ] {
            assert!(told.iter().any(|message| message == sentence), "{sentence}: {told:#?}");
        }
        let pool = problems.iter().find(|problem| problem.field == "pool").unwrap();
        assert_eq!(
            pool.suggestion.as_deref(),
            Some("pools"),
            "a table is a misspelt section"
        );
    }

    #[test]
    fn a_sound_text_is_a_plan_with_its_defaults() {
        let plan = Plan::parse(WHOLE).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert_eq!((plan.seed, plan.verify, plan.threads()), (1, DEFAULT_VERIFY, 2));
        assert_eq!(plan.loads[0].expected_tasks(plan.duration), Some(1000.0));
        assert_eq!(plan.pools[0].queue_capacity, DEFAULT_QUEUE);
    }

    #[test]
    fn a_bad_value_is_told_with_its_place_and_the_way_out() {
        for (old, new, line, field, part) in [
            ("version = 1\n", "", 1, "version", "needs version"),
            ("version = 1\n", "version = 2\n", 2, "version", "out of range"),
            ("duration = \"10s\"", "duration = 10", 5, "run.duration", "has no unit"),
            (
                "duration = \"10s\"",
                "duration = \"0s\"",
                5,
                "run.duration",
                "longer than",
            ),
            (
                "duration = \"10s\"",
                "duration = true",
                5,
                "run.duration",
                "found a boolean",
            ),
            ("workers = 2", "workers = 0", 8, "pools.main.workers", "from 1 to"),
            (
                "workers = 2",
                "workers = 99999999999999999999",
                8,
                "pools.main.workers",
                "from 1 to",
            ),
            (
                "workers = 2",
                "workers = 2\nqueue = 0",
                9,
                "pools.main.queue",
                "from 1 to",
            ),
            (
                "workers = 2",
                "workers = 2\nstack_size = \"1KiB\"",
                9,
                "pools.main.stack_size",
                "64KiB",
            ),
            ("workers = 2\n", "", 6, "pools.main.workers", "needs workers"),
            ("rate = \"100/s\"", "rate = \"100\"", 13, "load[0].rate", "has no unit"),
            (
                "rate = \"100/s\"",
                "rate = \"0/s\"",
                13,
                "load[0].rate",
                "never makes a task",
            ),
            (
                "rate = \"100/s\"",
                "rate = \"9000000/s\"",
                13,
                "load[0].rate",
                "at most",
            ),
            (
                "rate = \"100/s\"",
                "rate = \"100/s\"\nusers = 3",
                14,
                "load[0].users",
                "closed",
            ),
            (
                "rate = \"100/s\"",
                "rate = \"100/s\"\nstages = []",
                13,
                "load[0].rate",
                "not both",
            ),
            (
                "rate = \"100/s\"",
                "stages = [{ rate = \"1/s\" }]",
                13,
                "load[0].stages[0].for",
                "one of the two",
            ),
            (
                "rate = \"100/s\"",
                "rate = \"100/s\"\nstop = \"0s\"",
                14,
                "load[0].stop",
                "after start",
            ),
            (
                "rate = \"100/s\"",
                "rate = \"100/s\"\nstart = \"1h\"",
                14,
                "load[0].start",
                "has ended",
            ),
            (
                "elements = 1000",
                "elements = -1",
                14,
                "load[0].mix[0].params.elements",
                "",
            ),
            (
                "elements = 1000",
                "elements = \"many\"",
                14,
                "load[0].mix[0].params.elements",
                "",
            ),
            (
                "elements = 1000",
                "elements = [1]",
                14,
                "load[0].mix[0].params.elements",
                "must be",
            ),
            ("name = \"a\"", "name = \"a b\"", 10, "load[0].name", "not a name"),
            (
                "[run]",
                "[[fault]]\nkind = \"x\"\n[run]",
                3,
                "fault",
                "not supported yet",
            ),
        ] {
            let problem = refused(old, new);
            assert_eq!(
                (problem.line, problem.field.as_str()),
                (line, field),
                "{new}: {problem:?}"
            );
            assert!(problem.message.contains(part), "{new}: {}", problem.message);
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        for (old, new, nearest) in [
            ("workers = 2", "workers = 2\nque = 7", "queue"),
            ("\"maximum_gap\"", "\"maximum_gpa\"", "maximum_gap"),
            ("pool = \"main\"", "pool = \"mian\"", "main"),
            ("kind = \"stealing\"", "kind = \"steeling\"", "stealing"),
            ("elements = 1000", "element = 1000", "elements"),
            ("executor = \"open\"", "executor = \"opne\"", "open"),
        ] {
            assert_eq!(refused(old, new).suggestion.as_deref(), Some(nearest), "{new}");
        }
    }

    #[test]
    fn every_problem_is_told_not_only_the_first() {
        let text = WHOLE
            .replace("workers = 2", "workers = 0\nspeed = 3")
            .replace("\"100/s\"", "100")
            .replace("\"maximum_gap\"", "\"nothing\"");
        let lines: Vec<usize> = problems(&text).iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [8, 9, 14, 15]);
    }

    #[test]
    fn a_duplicate_key_is_refused_at_its_second_place() {
        let problem = refused("workers = 2", "workers = 2\nworkers = 3");
        assert_eq!((problem.line, problem.column), (9, 1));
        assert!(
            problem.message.contains("duplicate key") && problem.message.contains("workers"),
            "{}",
            problem.message
        );
    }

    #[test]
    fn two_loads_of_one_name_are_refused() {
        let load = WHOLE.split_once("[[load]]").unwrap().1;
        let problems = problems(&format!("{WHOLE}\n[[load]]{load}"));
        assert!(
            problems.iter().any(|problem| problem.message.contains("another load")),
            "{problems:?}"
        );
    }

    #[test]
    fn a_syntax_error_is_told_with_its_line_and_text() {
        let problem = refused("workers = 2", "workers = = 2");
        assert_eq!(problem.line, 8, "{problem:?}");
    }

    #[test]
    fn threads_and_memory_are_bounded_before_anything_is_made() {
        let two = "workers = 2000\n[pools.more]\nkind = \"stealing\"\nworkers = 2000";
        assert!(refused("workers = 2", two).message.contains("4000 threads"));
        let problem = refused("elements = 1000", "elements = 40_000_000, inputs = 64");
        assert!(problem.message.contains("memory_limit"), "{problem:?}");
    }

    #[test]
    fn stages_ramp_from_the_value_before() {
        let stages = "stages = [{ rate = \"10/s\", for = \"2s\" }, { rate = \"30/s\", over = \"2s\" }]";
        let plan = Plan::parse(&WHOLE.replace("rate = \"100/s\"", stages)).ok().unwrap();
        let Executor::Open { rate, .. } = &plan.loads[0].executor else {
            panic!("open")
        };
        assert_eq!((rate.value(1.0), rate.value(3.0), rate.value(9.0)), (10.0, 20.0, 30.0));
        // 20 + 40 + 6 seconds at 30.
        assert_eq!(plan.loads[0].expected_tasks(plan.duration), Some(240.0));
        let fast = plan.scaled(10.0);
        assert_eq!(fast.duration, Some(Nanos(1_000_000_000)));
        assert!((fast.loads[0].expected_tasks(fast.duration).unwrap() - 240.0).abs() < 1e-6);
    }

    #[test]
    fn a_text_of_any_bytes_is_refused_not_feared() {
        for text in [
            "",
            "\0",
            "[",
            "load = 1",
            "pools = 3\nrun = 4\nthreshold = {}",
            "[[run]]",
            "[pools]\nmain = []",
        ] {
            assert!(!problems(text).is_empty(), "{text:?}");
        }
        assert!(problems(&"x".repeat(MAX_TEXT + 1))[0].message.contains("at most"));
    }

    #[test]
    fn the_scenarios_we_ship_are_sound() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            assert_eq!(problems(&text), [], "{}", entry.path().display());
            seen += 1;
        }
        assert!(seen >= 4);
    }
}
