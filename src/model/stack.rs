//! Where a process' threads stand: their stacks at one moment, and how far each can be trusted.
//!
//! A [`Place`] is what lies at one address (module, functions inlined there, file and line) and is
//! shared by all frames that stand there. A [`Frame`] adds how it was found: nothing that was guessed
//! looks like something that was proved. Equal stacks are one [`Stack`], shared by their threads.

use std::sync::Arc;
use std::time::SystemTime;

use super::{Evidence, Nanos, ProcessKey, ThreadKey, ThreadState, Tid, Unknown, Wait};

/// One function at a place: the physical one, or one that the compiler put inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Function {
    /// Demangled; hostile bytes are the sinks' business.
    pub name: Arc<str>,
    pub file: Option<Arc<str>>,
    pub line: Option<u32>,
    /// Put into its caller by the compiler.
    pub inlined: bool,
}

/// What lies at an address of a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// In the process' memory.
    pub address: u64,
    /// The file as the process mapped it, `[vdso]`, or `None` for code that no file backs.
    pub module: Option<Arc<str>>,
    /// The address as the module's own symbol table counts; 0 without a module.
    pub module_address: u64,
    /// From the innermost inlined function out; the last is the physical one. Never empty.
    pub functions: Evidence<Vec<Function>>,
    /// Bytes from the beginning of the physical function, where its symbol is known.
    pub function_offset: Option<u64>,
}

impl Place {
    /// The physical function's name.
    pub fn function(&self) -> Option<&Arc<str>> {
        self.functions.as_ref().ok()?.last().map(|function| &function.name)
    }
}

/// How a frame was found, from certain to guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trust {
    /// The program counter that the kernel gave.
    Context,
    /// Unwind information, from registers that were known.
    Unwound,
    /// The chain of saved frame pointers, from one that was known.
    FramePointer,
    /// The frame pointer was not known, and was found again on the stack; the chain was verified.
    Recovered,
    /// A return address that lies where one could lie. Nothing else speaks for it.
    Guessed,
}

impl Trust {
    pub fn name(self) -> &'static str {
        match self {
            Trust::Context => "context",
            Trust::Unwound => "unwound",
            Trust::FramePointer => "frame_pointer",
            Trust::Recovered => "recovered",
            Trust::Guessed => "guessed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    pub place: Arc<Place>,
    pub trust: Trust,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackEnd {
    /// At the thread's start: nobody called the last frame.
    Complete,
    /// The most frames that were asked for.
    MaxDepth,
    /// The last frame's code has no unwind information, and no chain of frame pointers went on.
    NoUnwindInfo,
    /// The last frame lies in no module (code made at run time, or a stray address).
    NoModule,
    /// The frame pointer was lost and none on the stack could be verified.
    LostFramePointer,
    /// The stack's memory ended, or could not be read, before the stack did.
    UnreadableStack,
    /// Unwind information led back to where the walk had been.
    Looping,
    /// Unwind information that makes no sense.
    BadUnwindInfo,
    /// The time for this stack was over.
    Late,
}

impl StackEnd {
    pub const ALL: [StackEnd; 9] = [
        StackEnd::Complete,
        StackEnd::MaxDepth,
        StackEnd::NoUnwindInfo,
        StackEnd::NoModule,
        StackEnd::LostFramePointer,
        StackEnd::UnreadableStack,
        StackEnd::Looping,
        StackEnd::BadUnwindInfo,
        StackEnd::Late,
    ];

    pub fn name(self) -> &'static str {
        match self {
            StackEnd::Complete => "complete",
            StackEnd::MaxDepth => "max_depth",
            StackEnd::NoUnwindInfo => "no_unwind_info",
            StackEnd::NoModule => "no_module",
            StackEnd::LostFramePointer => "lost_frame_pointer",
            StackEnd::UnreadableStack => "unreadable_stack",
            StackEnd::Looping => "looping",
            StackEnd::BadUnwindInfo => "bad_unwind_info",
            StackEnd::Late => "late",
        }
    }

    /// One sentence for a person.
    pub fn why(self) -> &'static str {
        match self {
            StackEnd::Complete => "the walk reached the thread's start",
            StackEnd::MaxDepth => "as many frames as were asked for",
            StackEnd::NoUnwindInfo => "the last frame's code carries no unwind information",
            StackEnd::NoModule => "the last frame's code belongs to no file",
            StackEnd::LostFramePointer => "the frame pointer is not known here and was not found on the stack",
            StackEnd::UnreadableStack => "the stack's memory could not be read further",
            StackEnd::Looping => "the unwind information leads in a circle",
            StackEnd::BadUnwindInfo => "the unwind information makes no sense",
            StackEnd::Late => "the time for reading this stack was over",
        }
    }
}

/// Where a walk began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StackSource {
    /// The kernel's `syscall` file: the thread was blocked and was not disturbed.
    Syscall,
    /// A `perf_event` sample of a running thread, which was not stopped.
    Sample,
    /// The thread was stopped for a moment, as had been asked.
    Pause,
}

impl StackSource {
    pub fn name(self) -> &'static str {
        match self {
            StackSource::Syscall => "syscall",
            StackSource::Sample => "sample",
            StackSource::Pause => "pause",
        }
    }
}

/// The frames of one or more threads, innermost first. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    pub frames: Vec<Frame>,
    pub end: StackEnd,
    pub source: StackSource,
    /// The thread ran while it was read, at every try: frames may be of different moments.
    pub moved: bool,
}

/// What a blocked thread asked the kernel for, in the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// `None`: blocked outside a system call (a page fault).
    pub number: Option<u64>,
    pub arguments: [u64; 6],
    pub stack_pointer: u64,
    pub program_counter: u64,
}

/// One thread of a dump.
#[derive(Clone, Debug)]
pub struct DumpThread {
    pub key: ThreadKey,
    pub name: Arc<str>,
    pub state: ThreadState,
    /// The kernel's own letter.
    pub state_letter: u8,
    /// The thread's id in its own, innermost pid namespace; the same as `key.tid` outside containers.
    pub own_tid: Tid,
    /// Turns on a CPU so far, as read with the stack: unchanged in a second reading, the thread has not moved.
    pub turns: Evidence<u64>,
    pub call: Evidence<Call>,
    pub wait: Evidence<Wait>,
    pub stack: Evidence<Arc<Stack>>,
}

impl DumpThread {
    pub fn tid(&self) -> Tid {
        self.key.tid
    }

    /// Why it is not known whether it waits for a lock. Who runs, has ended or never leaves the kernel waits for none.
    pub fn wait_unread(&self) -> Option<Unknown> {
        match self.call {
            Ok(_) | Err(Unknown::Running | Unknown::NotWaiting | Unknown::Zombie | Unknown::KernelThread) => None,
            Err(unknown) => Some(unknown),
        }
    }
}

/// Every thread's stack at one moment.
#[derive(Clone, Debug)]
pub struct Dump {
    pub process: ProcessKey,
    pub name: Arc<str>,
    /// `CLOCK_MONOTONIC`, when the reading began.
    pub taken_at: Nanos,
    pub wall_clock: SystemTime,
    /// From then until the last stack was read.
    pub took: Nanos,
    /// In tid order.
    pub threads: Vec<DumpThread>,
    /// Threads that were left out because the time was over.
    pub truncated: bool,
    /// Threads that were stopped for a moment: none unless that was asked for.
    pub paused: u32,
}

impl Dump {
    pub fn thread(&self, tid: Tid) -> Option<&DumpThread> {
        let at = self.threads.binary_search_by_key(&tid, DumpThread::tid).ok()?;
        Some(&self.threads[at])
    }

    /// Equal stacks with the places of their threads in `threads`; most threads first, then by first tid.
    pub fn folded(&self) -> Vec<(Arc<Stack>, Vec<usize>)> {
        let mut found: std::collections::HashMap<&Stack, usize> = std::collections::HashMap::new();
        let mut folded: Vec<(Arc<Stack>, Vec<usize>)> = Vec::new();
        // Equal stacks are nearly always the same allocation: that is told without looking at frames.
        let mut same: std::collections::HashMap<*const Stack, usize> = std::collections::HashMap::new();
        for (at, thread) in self.threads.iter().enumerate() {
            let Ok(stack) = &thread.stack else { continue };
            let group = *same.entry(Arc::as_ptr(stack)).or_insert_with(|| {
                *found.entry(stack).or_insert_with(|| {
                    folded.push((Arc::clone(stack), Vec::new()));
                    folded.len() - 1
                })
            });
            folded[group].1.push(at);
        }
        folded.sort_by_key(|(_, threads)| (std::cmp::Reverse(threads.len()), threads[0]));
        folded
    }
}
