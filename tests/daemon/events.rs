//! The event stream of the real thing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::harness::{Daemon, LONG, Sleeper};

struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(daemon: &Daemon, query: &str, more: &str) -> Stream {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let request = format!(
            "GET /api/v1/events?{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            daemon.address, daemon.token
        );
        stream.write_all(request.as_bytes()).unwrap();
        Stream(BufReader::new(stream))
    }

    /// The next event's id, name and data. Chunk sizes and comments lie between the lines.
    fn next(&mut self) -> (Option<u64>, String, Value) {
        let (mut id, mut name) = (None, String::new());
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.trim().parse().ok();
            } else if let Some(text) = line.strip_prefix("event: ") {
                text.trim().clone_into(&mut name);
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id, name, serde_json::from_str(text).unwrap());
            }
        }
    }

    fn until(&mut self, wanted: &str) -> (Option<u64>, Value) {
        loop {
            let (id, name, data) = self.next();
            if name == wanted {
                return (id, data);
            }
        }
    }
}

#[test]
fn a_watched_process_ticks_and_its_end_is_told() {
    let (daemon, _state) = Daemon::with_state();
    let sleeper = Sleeper::start(2);
    let query = format!("process={}&interval=0.2", sleeper.pid());
    let mut stream = Stream::open(&daemon, &query, "");
    assert_eq!(stream.next().1, "hello");
    let (first, data) = stream.until("snapshot");
    assert_eq!(data["process"]["pid"], sleeper.pid());
    let (second, data) = stream.until("snapshot");
    assert!(
        second > first && data["interval_seconds"].as_f64() > Some(0.0),
        "{data}"
    );

    // Another client resumes after the first tick and sees all since, the second one too.
    let query = format!("process={}", sleeper.pid());
    let mut again = Stream::open(&daemon, &query, &format!("Last-Event-ID: {}\r\n", first.unwrap()));
    loop {
        let (id, name, _) = again.next();
        assert!(name == "hello" || id > first && id <= second, "{name} {id:?}");
        if id == second {
            break;
        }
    }

    let pid = sleeper.pid();
    drop(sleeper);
    assert_eq!(stream.until("gone").1["process"]["pid"], pid);
}

#[test]
fn a_restarted_daemon_says_that_events_were_missed() {
    let state = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(state.path());
    let (id, _) = Stream::open(&daemon, "", "").until("snapshot");
    drop(daemon);
    let daemon = Daemon::start(state.path());
    let mut stream = Stream::open(&daemon, "", &format!("Last-Event-ID: {}\r\n", id.unwrap()));
    let (_, name, data) = stream.next();
    assert_eq!(name, "missed");
    assert!(data["count"].as_u64() > Some(0));
    assert!(stream.until("snapshot").0 > id, "ids grow over a restart");
}
