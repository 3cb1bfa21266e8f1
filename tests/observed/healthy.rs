//! A sound program under load for a minute: no deadlock may be seen in it, by anyone, at any moment.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::Daemon;
use crate::seen::{ask, list};
use crate::truth::Program;

/// The minute that is asked for; a shorter one by `THREADSCAPE_TEST_HEALTHY_SECONDS`.
fn minute() -> Duration {
    let seconds = std::env::var("THREADSCAPE_TEST_HEALTHY_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(60))
}

fn check(locks: &Value) -> usize {
    assert_eq!(locks["deadlocks"], serde_json::json!([]), "{locks:#}");
    for lock in list(&locks["locks"]) {
        assert_ne!(lock["owner"]["kind"], "ended", "{lock:#}");
        assert_ne!(lock["owner"]["kind"], "foreign", "{lock:#}");
    }
    list(&locks["waits"]).len()
}

#[test]
fn a_healthy_program_full_of_locks_raises_nothing_for_a_minute() {
    let program = Program::start("healthy.c", &[]);
    let (daemon, _state) = Daemon::with_state();
    let began = Instant::now();
    let (mut looks, mut waits) = (0, 0);
    while began.elapsed() < minute() {
        let (answer, code) = ask("locks", program.pid(), &[]);
        assert_eq!(code, 0, "{answer:#}");
        waits += check(&answer);
        waits += check(&daemon.get(&format!("/api/v1/processes/{}/locks", program.pid())));
        looks += 2;
        let findings = daemon.get(&format!("/api/v1/processes/{}/findings", program.pid()));
        for finding in list(&findings["findings"]) {
            let kind = finding["kind"].as_str().unwrap();
            // What it does to two cores is a fact, and may be told; that it is stuck is not.
            assert!(
                ["oversubscription", "starvation", "switch_storm"].contains(&kind),
                "{finding:#}"
            );
        }
        assert!(crate::harness::lives(program.pid()), "it is not healthy");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("{looks} looks saw {waits} waits and no deadlock");
    assert!(
        waits > 0,
        "{looks} looks saw nobody wait: they looked at the wrong thing"
    );
}
