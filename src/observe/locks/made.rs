//! Dumps that tests make by hand.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{Dump, DumpThread, Nanos, Pid, ProcessKey, Stack, ThreadKey, ThreadState, Ticks, Tid, Unknown};

pub(super) fn thread(tid: u32, own_tid: u32, state: ThreadState) -> DumpThread {
    DumpThread {
        key: ThreadKey {
            process: ProcessKey {
                pid: Pid(tid),
                start: Ticks(1),
            },
            tid: Tid(tid),
            start: Ticks(1),
        },
        name: Arc::from("made"),
        state,
        state_letter: b'S',
        own_tid: Tid(own_tid),
        turns: Ok(1),
        call: Err(Unknown::NotAsked),
        wait: Err(Unknown::NotAsked),
        stack: Err(Unknown::NotAsked),
    }
}

/// Sleeping threads with these stacks.
pub(super) fn dump(pid: Pid, threads: &[(u32, Arc<Stack>)]) -> Dump {
    let made = |(tid, stack): &(u32, Arc<Stack>)| {
        let mut thread = thread(*tid, *tid, ThreadState::Sleeping);
        thread.stack = Ok(Arc::clone(stack));
        thread
    };
    Dump {
        process: ProcessKey { pid, start: Ticks(1) },
        name: Arc::from("made"),
        taken_at: Nanos(0),
        wall_clock: SystemTime::UNIX_EPOCH,
        took: Nanos(0),
        threads: threads.iter().map(made).collect(),
        truncated: false,
        paused: 0,
    }
}
