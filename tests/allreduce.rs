//! Allreduce between real processes: the same bits in all of them, what they send, and who is named
//! when one is killed or stopped.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use threadscape::workloads::allreduce::{Algorithm, traffic};

struct Rank {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Rank {
    fn start(ranks: usize, rank: usize, meet: &[String], more: &[&str]) -> Rank {
        let mut child = Command::new(env!("CARGO_BIN_EXE_threadscape"))
            .arg("participant")
            .args(["--ranks", &ranks.to_string(), "--rank", &rank.to_string()])
            .args(meet)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Rank { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}; {}", self.ended().1))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Exit code and what it said on stderr.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Rank {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_folder(folder: &Path) -> Vec<String> {
    vec!["--unix".to_owned(), folder.display().to_string()]
}

/// Ports that were free a moment ago.
fn at_ports(ranks: usize) -> Vec<String> {
    let free: Vec<TcpListener> = (0..ranks).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<String> = free
        .iter()
        .map(|listener| listener.local_addr().unwrap().port().to_string())
        .collect();
    vec!["--tcp".to_owned(), ports.join(",")]
}

fn check(meet: &[String], ranks: usize, algorithm: Algorithm, op: &str, dtype: &str, elements: usize) {
    let more = [
        "--algorithm",
        algorithm.name(),
        "--op",
        op,
        "--dtype",
        dtype,
        "--elements",
        &elements.to_string(),
        "--rounds",
        "2",
        "--deadline",
        "60s",
    ];
    let mut started: Vec<Rank> = (0..ranks).map(|rank| Rank::start(ranks, rank, meet, &more)).collect();
    let expected = traffic(algorithm, ranks, elements);
    let mut digests = Vec::new();
    for (rank, process) in started.iter_mut().enumerate() {
        assert_eq!(process.line()["connected"], true);
        let report = process.line();
        assert_eq!(report["verified"], true);
        assert_eq!(report["sent_elements"], expected.sent_elements[rank], "{report}");
        assert_eq!(report["steps"], expected.steps);
        assert!(report["least_seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(report["predicted_seconds"].is_number(), ranks > 1, "{report}");
        digests.push(report["digest"].clone());
        assert_eq!(process.ended(), (Some(0), String::new()));
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[test]
fn processes_end_with_the_same_bits_over_unix_sockets() {
    for (algorithm, op, dtype) in [
        (Algorithm::Ring, "sum", "f32"),
        (Algorithm::HalvingDoubling, "mean", "bf16"),
        (Algorithm::Tree, "max", "f64"),
        (Algorithm::Direct, "prod", "f32"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        check(&in_folder(folder.path()), 3, algorithm, op, dtype, 100_003);
    }
    let folder = tempfile::tempdir().unwrap();
    check(&in_folder(folder.path()), 1, Algorithm::Ring, "sum", "f32", 10);
}

#[test]
fn processes_end_with_the_same_bits_over_tcp() {
    check(&at_ports(4), 4, Algorithm::Ring, "sum", "f32", 1_000_001);
    check(&at_ports(2), 2, Algorithm::Ring, "mean", "bf16", 1);
}

/// Starts ranks that exchange for ever, waits until all do, does something to rank 2, and gives
/// what the others say.
fn trouble(ranks: usize, algorithm: Algorithm, deadline: &str, signal: Signal) -> Vec<(Option<i32>, String)> {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "--algorithm",
        algorithm.name(),
        "--elements",
        "100000",
        "--rounds",
        "1000000000",
        "--deadline",
        deadline,
        "--no-prediction",
    ];
    let meet = in_folder(folder.path());
    let mut started: Vec<Rank> = (0..ranks).map(|rank| Rank::start(ranks, rank, &meet, &more)).collect();
    for process in &mut started {
        assert_eq!(process.line()["connected"], true);
    }
    started[2].signal(signal);
    let said = started
        .iter_mut()
        .enumerate()
        .filter(|(rank, _)| *rank != 2)
        .map(|(_, process)| process.ended())
        .collect();
    started[2].signal(Signal::KILL);
    said
}

#[test]
fn a_killed_rank_is_named_by_all_others_at_once() {
    for algorithm in Algorithm::ALL {
        let began = Instant::now();
        // Long: nobody may wait for it.
        for (code, said) in trouble(4, algorithm, "300s", Signal::KILL) {
            assert_eq!(code, Some(1), "{said}");
            assert!(said.starts_with("threadscape: rank 2 ended at step "), "{said}");
        }
        assert!(began.elapsed() < Duration::from_secs(200));
    }
}

#[test]
fn a_stopped_rank_is_named_by_all_others_within_the_deadline() {
    for algorithm in Algorithm::ALL {
        for (code, said) in trouble(5, algorithm, "2s", Signal::STOP) {
            assert_eq!(code, Some(4), "{said}");
            assert!(said.starts_with("threadscape: rank 2 did not send step "), "{said}");
            assert!(said.ends_with("within 2s\n"), "{said}");
        }
    }
}

#[test]
fn a_rank_that_never_comes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut alone = Rank::start(3, 0, &in_folder(folder.path()), &["--deadline", "200ms"]);
    assert_eq!(
        alone.ended(),
        (Some(4), "threadscape: rank 1 did not connect within 200ms\n".to_owned())
    );
}

#[test]
fn wrong_words_are_refused_with_the_way_out() {
    for (meet, said) in [
        (
            &["--rank", "3", "--unix", "/tmp"][..],
            "--rank is 3; of 3 ranks give 0 to 2",
        ),
        (&["--rank", "0", "--tcp", "1,2"], "--tcp has 2 ports for 3 ranks"),
        (
            &["--rank", "0", "--unix", "/tmp", "--elements", "999999999999"],
            "--elements is 999999999999",
        ),
        (
            &["--rank", "0", "--unix", "/no/such/folder"],
            "could not meet the others at /no/such/folder/rank-0.socket",
        ),
    ] {
        let ended = Command::new(env!("CARGO_BIN_EXE_threadscape"))
            .args(["participant", "--ranks", "3"])
            .args(meet)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(2));
        let text = String::from_utf8_lossy(&ended.stderr);
        assert!(text.contains(said), "{text}");
    }
}
