//! The stacks of a process: equal ones once, with their threads.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Gaps, Locks, ProcessRef, Unknown, Unknowns, hex};
use crate::model;

/// One function of a stack. Functions that the compiler put into their callers have a frame each,
/// with the address of the frame that holds them.
#[derive(Debug, Serialize, ToSchema)]
pub struct Frame<'a> {
    address: String,
    /// Demangled; null when no symbol names the address.
    function: Option<&'a str>,
    /// Bytes from the function's beginning; null for inlined ones.
    offset: Option<u64>,
    file: Option<&'a str>,
    line: Option<u32>,
    inlined: bool,
    module: Option<&'a str>,
    /// As the module's own symbol table counts.
    module_address: Option<String>,
    /// context, unwound, frame_pointer, recovered or guessed.
    trust: &'static str,
}

/// Where and why the walk ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct End {
    /// The walk reached the thread's start.
    complete: bool,
    /// complete, max_depth, no_unwind_info, no_module, lost_frame_pointer, unreadable_stack, looping,
    /// bad_unwind_info or late.
    code: &'static str,
    why: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct FoldedStack<'a> {
    /// How many threads stand here.
    count: usize,
    tids: Vec<u32>,
    /// Threads by state.
    states: BTreeMap<&'static str, u32>,
    /// Innermost first.
    frames: Vec<Frame<'a>>,
    end: End,
    /// syscall (read while blocked), sample (taken while running) or pause (stopped for a moment).
    source: &'static str,
    /// The thread ran while it was read, at every try.
    moved: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct StackThread<'a> {
    tid: u32,
    name: &'a str,
    state: &'static str,
    state_letter: String,
    /// As java.lang.Thread.State has it. BLOCKED, for a lock that another holds, is told where locks were
    /// read as well; without them it is WAITING.
    java_state: Option<&'static str>,
    /// The place of its stack in `stacks`; null when there is none: `unknown` says why.
    stack: Option<usize>,
    /// Why there is no stack.
    unknown: Option<Unknown>,
}

/// All stacks of a process at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub struct Stacks<'a> {
    process: ProcessRef,
    taken_at: String,
    /// From then until the last stack was read.
    took_seconds: f64,
    total: usize,
    /// Threads were left out because the time was over.
    truncated: bool,
    /// Threads that were stopped for a moment; 0 unless `pause=true`.
    paused: u32,
    /// Most threads first.
    stacks: Vec<FoldedStack<'a>>,
    /// In tid order.
    threads: Vec<StackThread<'a>>,
    #[schema(value_type = BTreeMap<String, Unknown>)]
    unknown: Unknowns,
}

impl<'a> Stacks<'a> {
    pub fn of(dump: &'a model::Dump, process: ProcessRef, taken_at: String) -> Stacks<'a> {
        let mut gaps = Gaps::default();
        let folded = dump.folded();
        let mut place = vec![None; dump.threads.len()];
        for (at, (_, threads)) in folded.iter().enumerate() {
            for thread in threads {
                place[*thread] = Some(at);
            }
        }
        let threads = dump.threads.iter().zip(&place).map(|(thread, stack)| StackThread {
            tid: thread.key.tid.0,
            name: &thread.name,
            state: thread.state.name(),
            state_letter: char::from(thread.state_letter).to_string(),
            java_state: model::JavaState::of(thread.state, &thread.wait)
                .ok()
                .map(|state| state.name()),
            stack: *stack,
            unknown: thread.stack.as_ref().err().map(|unknown| {
                gaps.count("stack", *unknown);
                Unknown::of(*unknown)
            }),
        });
        let threads: Vec<_> = threads.collect();
        // Each stack is shared with its threads, which the dump keeps: we borrow it from the first.
        let stacks = folded
            .iter()
            .filter_map(|(_, places)| {
                let stack = dump.threads[*places.first()?].stack.as_ref().ok()?;
                Some(FoldedStack::of(stack, places.iter().map(|at| &dump.threads[*at])))
            })
            .collect();
        Stacks {
            process,
            taken_at,
            took_seconds: dump.took.seconds(),
            total: dump.threads.len(),
            truncated: dump.truncated,
            paused: dump.paused,
            stacks,
            threads,
            unknown: gaps.finish(),
        }
    }
}

impl<'a> FoldedStack<'a> {
    pub fn of(stack: &'a model::Stack, threads: impl Iterator<Item = &'a model::DumpThread>) -> FoldedStack<'a> {
        let mut tids = Vec::new();
        let mut states = BTreeMap::new();
        for thread in threads {
            tids.push(thread.key.tid.0);
            *states.entry(thread.state.name()).or_default() += 1;
        }
        FoldedStack {
            count: tids.len(),
            tids,
            states,
            frames: frames(stack),
            end: End {
                complete: stack.end == model::StackEnd::Complete,
                code: stack.end.name(),
                why: stack.end.why(),
            },
            source: stack.source.name(),
            moved: stack.moved,
        }
    }
}

/// A frame for each function, inlined ones before the one that holds them.
pub(super) fn frames<'a>(stack: &'a model::Stack) -> Vec<Frame<'a>> {
    let mut frames = Vec::with_capacity(stack.frames.len());
    for frame in &stack.frames {
        let place = &*frame.place;
        let of = |function: Option<&'a model::Function>| Frame {
            address: hex(place.address),
            function: function.map(|function| &*function.name),
            offset: function
                .is_none_or(|function| !function.inlined)
                .then_some(place.function_offset)
                .flatten(),
            file: function.and_then(|function| function.file.as_deref()),
            line: function.and_then(|function| function.line),
            inlined: function.is_some_and(|function| function.inlined),
            module: place.module.as_deref(),
            module_address: place.module.as_ref().map(|_| hex(place.module_address)),
            trust: frame.trust.name(),
        };
        match &place.functions {
            Ok(functions) => frames.extend(functions.iter().map(|function| of(Some(function)))),
            Err(_) => frames.push(of(None)),
        }
    }
    frames
}

/// Stacks and locks of one moment, in one answer: what `ThreadMXBean.dumpAllThreads` gives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dump<'a> {
    stacks: Stacks<'a>,
    locks: Locks<'a>,
}

impl<'a> Dump<'a> {
    pub fn of(report: &'a model::LockReport, process: &ProcessRef, taken_at: &str) -> Dump<'a> {
        let mut stacks = Stacks::of(&report.dump, process.clone(), taken_at.to_owned());
        for wait in &report.waits {
            if matches!(wait.mode, model::WaitMode::Exclusive | model::WaitMode::Shared)
                && let Ok(at) = stacks.threads.binary_search_by_key(&wait.tid.0, |thread| thread.tid)
            {
                stacks.threads[at].java_state = Some(model::JavaState::Blocked.name());
            }
        }
        Dump {
            stacks,
            locks: Locks::of(report, process.clone(), taken_at.to_owned()),
        }
    }
}
