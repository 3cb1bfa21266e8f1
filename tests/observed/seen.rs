//! What threadscape says of a process, through its command line.

use std::process::Command;

use serde_json::Value;

/// `threadscape COMMAND PID --json`, and its exit code.
pub fn ask(command: &str, pid: u32, more: &[&str]) -> (Value, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args([command, &pid.to_string(), "--json"])
        .args(more)
        .output()
        .unwrap();
    let code = output.status.code().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!(
            "threadscape {command} {pid} --json: exit {code}, {error}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (answer, code)
}

pub fn stacks(pid: u32) -> Value {
    let (answer, code) = ask("stacks", pid, &[]);
    assert_eq!(code, 0);
    answer
}

pub fn locks(pid: u32) -> Value {
    ask("locks", pid, &[]).0
}

/// The folded stack of a thread.
pub fn stack(stacks: &Value, tid: u32) -> &Value {
    let row = list(&stacks["threads"])
        .iter()
        .find(|row| row["tid"] == tid)
        .unwrap_or_else(|| panic!("no thread {tid} in {stacks}"));
    let at = row["stack"]
        .as_u64()
        .unwrap_or_else(|| panic!("no stack of thread {tid}: {row}"));
    &stacks["stacks"][at as usize]
}

/// The functions of a thread, innermost first; `?` for one without a name.
pub fn functions(stacks: &Value, tid: u32) -> Vec<String> {
    list(&stack(stacks, tid)["frames"])
        .iter()
        .map(|frame| frame["function"].as_str().unwrap_or("?").to_owned())
        .collect()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The lock at an address.
pub fn lock_at<'a>(locks: &'a Value, address: &str) -> &'a Value {
    list(&locks["locks"])
        .iter()
        .find(|lock| lock["address"] == address)
        .unwrap_or_else(|| panic!("no lock at {address} in {:#}", locks["locks"]))
}

/// The lock that a thread waits for, with the wait.
pub fn wait_of(locks: &Value, tid: u32) -> (&Value, &Value) {
    let wait = list(&locks["waits"])
        .iter()
        .find(|wait| wait["tid"] == tid)
        .unwrap_or_else(|| panic!("thread {tid} waits for nothing in {locks:#}"));
    (&locks["locks"][wait["lock"].as_u64().unwrap() as usize], wait)
}

pub fn confirmed_deadlocks(locks: &Value) -> Vec<Vec<u32>> {
    list(&locks["deadlocks"])
        .iter()
        .filter(|deadlock| deadlock["confirmed"] == true)
        .map(|deadlock| {
            list(&deadlock["threads"])
                .iter()
                .map(|step| step["tid"].as_u64().unwrap() as u32)
                .collect()
        })
        .collect()
}
