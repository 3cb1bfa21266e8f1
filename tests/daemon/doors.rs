//! The doors of the real thing: what a stranger gets.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::harness::{Daemon, command};

#[test]
fn strangers_stay_outside() {
    let (daemon, state) = Daemon::with_state();
    let host = daemon.address;
    let bearer = format!("Authorization: Bearer {}", daemon.token);
    let check = |request: &str, status: u16| {
        let answer = daemon.raw(&format!("{request}\r\nConnection: close\r\n\r\n"));
        assert_eq!(answer.status, status, "{request}\n{}{}", answer.head, answer.body);
        assert!(!answer.body.contains(&daemon.token), "the token leaks");
        answer
    };
    check(&format!("GET /healthz HTTP/1.1\r\nHost: {host}"), 200);
    check(&format!("GET /api/v1/health HTTP/1.1\r\nHost: {host}"), 401);
    check(&format!("GET /metrics HTTP/1.1\r\nHost: {host}"), 401);
    let page = check(&format!("GET / HTTP/1.1\r\nHost: {host}"), 401);
    assert!(page.body.contains("threadscape serve"));
    check(
        &format!("GET /api/v1/health HTTP/1.1\r\nHost: evil.example\r\n{bearer}"),
        403,
    );
    check(
        &format!("DELETE /api/v1/runs/x HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n{bearer}"),
        403,
    );
    check(
        &format!(
            "POST /api/v1/runs HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n{bearer}"
        ),
        415,
    );
    check(&format!("GET /api/v1/health HTTP/1.1\r\nHost: {host}\r\n{bearer}"), 200);

    let traded = daemon.raw(&format!(
        "GET /?token={} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n",
        daemon.token
    ));
    assert_eq!(traded.status, 303);
    let cookie = traded
        .head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    let pair = cookie.split(';').next().unwrap();
    check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\nCookie: {pair}"), 200);

    let kept = state.path().join("token");
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&kept).unwrap().trim(), daemon.token);
}

#[test]
fn a_token_that_others_can_read_stops_the_start() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join("token");
    fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let out = command(state.path()).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(message.contains("0644") && message.contains("rm "), "{message}");
}

#[test]
fn beyond_loopback_takes_a_flag() {
    let state = tempfile::tempdir().unwrap();
    let out = std::process::Command::new(env!("CARGO_BIN_EXE_threadscape"))
        .args(["serve", "--listen", "0.0.0.0:0", "--state-dir"])
        .arg(state.path())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let message = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(message.contains("--insecure-listen"), "{message}");
}
