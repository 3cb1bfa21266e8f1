//! The same through the daemon: stacks, locks and both in one answer, and what its detectors say.

use crate::harness::{Daemon, until};
use crate::seen::{confirmed_deadlocks, functions, list};
use crate::truth::Program;

#[test]
fn stacks_and_locks_over_http_are_of_one_moment() {
    let (daemon, _state) = Daemon::with_state();
    let program = Program::start("cycle.c", &["2"]);
    program.settled(4);
    let process = format!("/api/v1/processes/{}", program.pid());
    let stacks = daemon.get(&format!("{process}/stacks"));
    assert_eq!(stacks["process"]["pid"], program.pid());
    let names = functions(&stacks, program.tid("member-0"));
    assert!(names.iter().any(|name| name == "take_the_next"), "{names:?}");
    let locks = daemon.get(&format!("{process}/locks"));
    assert_eq!(confirmed_deadlocks(&locks).len(), 1, "{locks:#}");
    let dump = daemon.get(&format!("{process}/dump"));
    assert_eq!(dump["stacks"]["taken_at"], dump["locks"]["taken_at"]);
    assert_eq!(confirmed_deadlocks(&dump["locks"]).len(), 1);
    assert_eq!(dump["stacks"]["total"], 4);

    let one = daemon.get(&format!("{process}/stacks?tid={}&max_depth=2", program.tid("member-1")));
    assert_eq!(list(&one["threads"]).len(), 1);
    assert_eq!(one["stacks"][0]["end"]["code"], "max_depth");
    let physical = list(&one["stacks"][0]["frames"])
        .iter()
        .filter(|frame| frame["inlined"] == false);
    assert_eq!(physical.count(), 2);
    for path in ["stacks?tid=1", "stacks?tid=4000000"] {
        assert_eq!(daemon.send("GET", &format!("{process}/{path}"), None).status, 404);
    }
    let nobody = daemon.send("GET", "/api/v1/processes/2147483647/stacks", None);
    assert_eq!(nobody.status, 404, "{}", nobody.body);
}

/// The finding of this kind, once the detector has made it.
fn finding(daemon: &Daemon, pid: u32, kind: &str) -> serde_json::Value {
    until(&format!("a finding of {kind}"), || {
        let findings = daemon.get(&format!("/api/v1/processes/{pid}/findings"));
        list(&findings["findings"])
            .iter()
            .find(|finding| finding["kind"] == kind)
            .cloned()
    })
}

#[test]
fn a_deadlock_is_found_by_itself_and_names_its_threads() {
    let (daemon, _state) = Daemon::with_state();
    let program = Program::start("cycle.c", &["5"]);
    program.settled(7);
    let found = finding(&daemon, program.pid(), "deadlock");
    assert_eq!(found["severity"], "critical");
    assert_eq!(found["culprit_count"], 5, "{found:#}");
    let mut culprits: Vec<u32> = list(&found["culprits"])
        .iter()
        .map(|tid| tid.as_u64().unwrap() as u32)
        .collect();
    culprits.sort_unstable();
    let mut ring: Vec<u32> = (0..5).map(|at| program.tid(&format!("member-{at}"))).collect();
    ring.sort_unstable();
    assert_eq!(culprits, ring);
    assert!(found["rule"].as_str().is_some_and(|rule| rule.len() > 20));
    let all = daemon.get("/api/v1/findings");
    assert!(
        list(&all["findings"])
            .iter()
            .any(|finding| finding["pid"] == program.pid() && finding["kind"] == "deadlock")
    );
}

#[test]
fn abandoned_and_inherited_locks_are_findings() {
    let (daemon, _state) = Daemon::with_state();
    let abandoned = Program::start("mutex.c", &["abandoned"]);
    abandoned.blocked(&["waiter", "timed"]);
    let found = finding(&daemon, abandoned.pid(), "abandoned_lock");
    assert!(found["culprit_count"].as_u64() > Some(0), "{found:#}");
    let forked = Program::start("forked.c", &[]);
    let child = forked.number("child", 1) as u32;
    let found = finding(&daemon, child, "inherited_lock");
    assert_eq!(found["culprits"][0], child, "{found:#}");
}

#[test]
fn workers_that_are_all_blocked_in_one_place_are_a_finding() {
    let (daemon, _state) = Daemon::with_state();
    let program = Program::start("deep.c", &["30", "locks"]);
    program.settled(32);
    let found = finding(&daemon, program.pid(), "blocked_behind");
    assert!(found["culprit_count"].as_u64() > Some(0), "{found:#}");
}
