//! The thread list against `/proc` and `ps -L`, read by other programs.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Daemon, GENTLE, Sleeper, until};

/// tid to name, as `/proc` has them.
fn truth(pid: u32) -> BTreeMap<u64, String> {
    fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .flatten()
        .map(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap();
            let tid = task.file_name().to_string_lossy().parse().unwrap();
            (tid, name.trim_end_matches('\n').to_owned())
        })
        .collect()
}

fn told(answer: &Value) -> BTreeMap<u64, String> {
    answer["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["tid"].as_u64().unwrap(), row["name"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn the_list_is_that_of_proc_and_ps() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(20);
    let pid = sleeper.pid();
    let answer = daemon.get(&format!("/api/v1/processes/{pid}/threads?limit=1000"));
    assert_eq!(told(&answer), truth(pid));
    assert_eq!(answer["total"], answer["all"]);
    assert_eq!(answer["all"].as_u64().unwrap() as usize, truth(pid).len());

    let ps = Command::new("ps")
        .args(["-L", "-o", "tid=,comm=", "-p", &pid.to_string()])
        .output();
    if let Ok(ps) = ps {
        let listed: BTreeMap<u64, String> = String::from_utf8_lossy(&ps.stdout)
            .lines()
            .filter_map(|line| line.trim_start().split_once(' '))
            .map(|(tid, name)| (tid.parse().unwrap(), name.trim_start().to_owned()))
            .collect();
        assert_eq!(told(&answer), listed);
    }

    let sleeping = daemon.get(&format!(
        "/api/v1/processes/{pid}/threads?name=SLEEPER%20(1&state=sleeping&sort=name"
    ));
    // 1 and 10 to 19.
    assert_eq!(sleeping["total"], 11);
    let row = &sleeping["threads"][0];
    assert_eq!(
        (&row["name"], &row["wait"]["kind"]),
        (&"sleeper (1)".into(), &"futex".into())
    );
    assert!(row["voluntary_switches"].as_u64() > Some(0));
}

#[test]
fn a_row_is_what_proc_says_of_the_thread() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(3);
    let pid = sleeper.pid();
    for (tid, name) in truth(pid) {
        let detail = daemon.get(&format!("/api/v1/processes/{pid}/threads/{tid}"));
        let row = &detail["thread"];
        let stat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        assert_eq!(row["name"], name.as_str());
        assert_eq!(row["state_letter"], fields[0]);
        // Fields 19, 22, 39, 40 and 14 of proc(5); `fields` begins at 3.
        assert_eq!(row["nice"], fields[16].parse::<i64>().unwrap());
        assert_eq!(
            row["start_time"].as_f64().unwrap(),
            fields[19].parse::<f64>().unwrap() / 100.0
        );
        assert_eq!(row["last_cpu"], fields[36].parse::<u64>().unwrap());
        assert_eq!(
            row["user_seconds"].as_f64().unwrap(),
            fields[11].parse::<f64>().unwrap() / 100.0
        );
        let schedstat = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat")).unwrap();
        let on_cpu: f64 = schedstat.split_whitespace().next().unwrap().parse().unwrap();
        assert!(
            (row["on_cpu_seconds"].as_f64().unwrap() - on_cpu / 1e9).abs() < 1e-6,
            "{row}"
        );
        let status = fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).unwrap();
        let switches = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
            .unwrap();
        assert_eq!(row["voluntary_switches"], switches.trim().parse::<u64>().unwrap());
    }
}

#[test]
fn a_process_that_ends_is_gone_and_not_an_error_of_ours() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(2);
    let path = format!("/api/v1/processes/{}/threads", sleeper.pid());
    daemon.get(&path);
    drop(sleeper);
    until("the process is gone", || {
        let answer = daemon.send("GET", &path, None);
        assert!([200, 404].contains(&answer.status), "{}", answer.body);
        (answer.status == 404).then(|| assert_eq!(answer.json()["field"], "pid"))
    });
}

#[test]
fn our_own_threads_and_those_of_a_pool_are_seen() {
    let (daemon, _state) = Daemon::with_state();
    let own = daemon.get("/api/v1/processes/self/threads?limit=1000");
    assert_eq!(own["process"]["pid"], daemon.pid());
    assert_eq!(own["process"]["role"], "daemon");

    daemon.run(GENTLE);
    let workers = until("the pool's workers are listed", || {
        let answer = daemon.get("/api/v1/processes/workbench/threads?pool=demo&sparkline=10");
        (answer["total"] == 3).then_some(answer)
    });
    let pool = daemon.get("/api/v1/pools/demo");
    let mut of_pool: Vec<u64> = pool["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["tid"].as_u64().unwrap())
        .collect();
    of_pool.sort_unstable();
    assert_eq!(told(&workers).into_keys().collect::<Vec<_>>(), of_pool);
    let workbench = daemon.workbench().unwrap();
    assert!(of_pool.iter().all(|tid| truth(workbench).contains_key(tid)));
    until("a worker tells its heap and its tasks", || {
        let answer = daemon.get("/api/v1/processes/workbench/threads?pool=demo&sort=task.done");
        let row = &answer["threads"][0];
        (row["task"]["done"].as_u64() > Some(0) && row["heap"]["allocations"].as_u64() > Some(0)).then_some(())
    });
}
