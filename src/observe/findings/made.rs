//! Snapshots as tests make them up.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::*;

pub const SECOND: u64 = 1_000_000_000;

pub fn process() -> ProcessKey {
    ProcessKey {
        pid: Pid(1000),
        start: Ticks(50),
    }
}

pub fn key(tid: u32) -> ThreadKey {
    ThreadKey {
        process: process(),
        tid: Tid(tid),
        start: Ticks(u64::from(tid)),
    }
}

/// Asleep in a futex, with one turn so far.
pub fn thread(tid: u32) -> Thread {
    Thread {
        key: key(tid),
        name: format!("worker-{tid}").into(),
        name_bytes: None,
        state: ThreadState::Sleeping,
        state_letter: b'S',
        cpu_ratio: Ok(0.0),
        user_time: Ok(Ticks(1)),
        system_time: Ok(Ticks(1)),
        on_cpu: Ok(Nanos(1000)),
        run_delay: Ok(Nanos(1000)),
        run_delay_ratio: Ok(0.0),
        timeslices: Ok(1),
        voluntary_switches: Ok(1),
        involuntary_switches: Ok(0),
        minor_faults: Ok(0),
        major_faults: Ok(0),
        last_cpu: Ok(0),
        nice: Ok(0),
        policy: Ok("normal"),
        rt_priority: Ok(0),
        allowed_cpus: Ok("0-1".into()),
        wait: Ok(Wait {
            kind: WaitKind::Futex,
            syscall: Some("futex"),
            address: Some(0x1000),
            kernel_function: Err(Unknown::Denied),
            object: Err(Unknown::NotAsked),
            timed: Some(false),
            lock: None,
            owner: None,
        }),
        stack: Err(Unknown::Running),
        heap: Err(Unknown::NoLedger),
        task: Err(Unknown::NoLedger),
        pool: None,
    }
}

/// On or waiting for a CPU.
pub fn running(tid: u32, turns: u64) -> Thread {
    let mut thread = thread(tid);
    thread.state = ThreadState::Runnable;
    thread.state_letter = b'R';
    thread.timeslices = Ok(turns);
    thread.wait = Err(Unknown::NotWaiting);
    thread
}

/// At a time in nanoseconds.
pub fn snapshot(at: u64, threads: Vec<Thread>) -> Snapshot {
    Snapshot {
        process: process(),
        role: Role::Other,
        name: Arc::from("made"),
        sequence: at / SECOND,
        taken_at: Nanos(at),
        wall_clock: SystemTime::UNIX_EPOCH,
        interval: Ok(Nanos(SECOND)),
        counts: StateCounts::of(&threads),
        peak: threads.len() as u32,
        watched_since: Nanos(0),
        started_total: threads.len() as u64,
        started_exact: false,
        ended_total: 0,
        truncated: false,
        condition: Condition::UNREMARKABLE,
        ledger: Err(Unknown::NoLedger),
        cpu_ratio: Ok(0.5),
        rss_bytes: Ok(100 << 20),
        cost: SelfCost::default(),
        threads,
    }
}
