//! The whole room on a small machine: every door, every route, and the accept loop on a real socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fakes::{self, OTHER, PORT, TOKEN};
use super::site::Site;
use super::{Settings, serve};

/// Nothing here takes this long unless it hangs.
const LONG: Duration = Duration::from_secs(20);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async { tokio::time::timeout(LONG, future).await.expect("this hangs") })
}

/// A request that passes every door, to be spoilt.
fn good(method: &str, path: &str, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, format!("127.0.0.1:{PORT}"))
        .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request
        .body(body.map_or(Body::empty(), |body| Body::from(body.to_string())))
        .unwrap()
}

fn without(mut request: Request<Body>, name: header::HeaderName) -> Request<Body> {
    request.headers_mut().remove(name);
    request
}

fn with(mut request: Request<Body>, name: header::HeaderName, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

fn new_site() -> Arc<Site> {
    fakes::site(Settings::default()).0
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Status and JSON of an answer; a problem must be a whole one.
fn ask(site: &Arc<Site>, request: Request<Body>) -> (u16, Value) {
    block_on(async {
        let response = site.clone().app().answer(request).await;
        let status = response.status();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        assert!(response.headers().contains_key("content-security-policy"));
        let value: Value = serde_json::from_str(&text(response).await).unwrap();
        if status.as_u16() >= 400 {
            assert_eq!(kind, "application/problem+json");
            assert_eq!(value["status"], status.as_u16());
            for field in ["type", "title", "detail"] {
                assert!(
                    value[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{field}: {value}"
                );
            }
        }
        (status.as_u16(), value)
    })
}

fn get(path: &str) -> (u16, Value) {
    ask(&new_site(), good("GET", path, None))
}

/// The answer is this status, and a problem that names this field.
fn check(request: Request<Body>, status: u16, field: &str) -> Value {
    let named = format!("{} {}", request.method(), request.uri());
    let (got, problem) = ask(&new_site(), request);
    assert_eq!(
        (got, problem["field"].as_str().unwrap_or_default()),
        (status, field),
        "{named}: {problem}"
    );
    problem
}

#[test]
fn without_the_token_nothing_is_told() {
    let routes = [
        "/api/v1/health",
        "/api/v1/processes",
        "/api/v1/openapi.json",
        "/api/v1/nothing",
        "/metrics",
        "/api",
    ];
    for path in routes {
        check(
            without(good("GET", path, None), header::AUTHORIZATION),
            401,
            "Authorization",
        );
    }
    for wrong in [
        "Bearer wrong",
        "Bearer ",
        "Basic MTIz",
        TOKEN,
        &format!("Bearer {TOKEN}x"),
    ] {
        check(
            with(good("GET", "/api/v1/health", None), header::AUTHORIZATION, wrong),
            401,
            "Authorization",
        );
    }
    // A wrong header is not made good by a right cookie.
    let both = with(
        good("GET", "/api/v1/health", None),
        header::AUTHORIZATION,
        "Bearer wrong",
    );
    check(
        with(both, header::COOKIE, &format!("threadscape_{PORT}={TOKEN}")),
        401,
        "Authorization",
    );
}

#[test]
fn the_page_without_the_token_says_how_to_get_in() {
    block_on(async {
        let request = without(good("GET", "/threads", None), header::AUTHORIZATION);
        let response = new_site().app().answer(request).await;
        assert_eq!(response.status(), 401);
        assert!(
            response.headers()[header::CONTENT_TYPE]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
        let page = text(response).await;
        assert!(page.contains("threadscape serve") && !page.contains(TOKEN));
    });
}

#[test]
fn the_probes_are_open_but_not_to_strangers_hosts() {
    block_on(async {
        for path in ["/healthz", "/readyz"] {
            let site = new_site();
            let open = without(good("GET", path, None), header::AUTHORIZATION);
            assert_eq!(site.clone().app().answer(open).await.status(), 200);
            let stranger = with(good("GET", path, None), header::HOST, "evil.example");
            assert_eq!(site.app().answer(stranger).await.status(), 403);
        }
    });
}

#[test]
fn a_host_that_is_not_ours_is_refused_with_the_token_too() {
    for host in [
        "evil.example",
        "evil.example:7717",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "10.0.0.1",
        "[2001:db8::1]",
    ] {
        check(
            with(good("GET", "/api/v1/health", None), header::HOST, host),
            403,
            "Host",
        );
    }
    check(without(good("GET", "/api/v1/health", None), header::HOST), 400, "Host");
    check(
        with(good("GET", "/api/v1/health", None), header::HOST, "a@localhost"),
        400,
        "Host",
    );
    check(good("GET", "http://evil.example/api/v1/health", None), 403, "Host");
    let mut twice = good("GET", "/api/v1/health", None);
    twice
        .headers_mut()
        .append(header::HOST, "evil.example".parse().unwrap());
    check(twice, 400, "Host");
    for host in [
        "localhost",
        "LOCALHOST:7717",
        "localhost.",
        "127.0.0.1",
        "127.1.2.3:1",
        "[::1]:7717",
    ] {
        let (status, _) = ask(
            &new_site(),
            with(good("GET", "/api/v1/health", None), header::HOST, host),
        );
        assert_eq!(status, 200, "{host}");
    }
}

#[test]
fn a_change_from_a_foreign_page_is_refused() {
    let change = || good("POST", "/api/v1/runs", Some(json!({"scenario": "quick"})));
    let ours = format!("http://127.0.0.1:{PORT}");
    for origin in [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9",
        "ftp://127.0.0.1:7717",
        "127.0.0.1:7717",
    ] {
        check(with(change(), header::ORIGIN, origin), 403, "Origin");
    }
    for site in ["cross-site", "same-site", "nonsense"] {
        check(with(change(), "sec-fetch-site".parse().unwrap(), site), 403, "Origin");
        let read = good("GET", "/api/v1/health", None);
        check(with(read, "sec-fetch-site".parse().unwrap(), site), 403, "Origin");
    }
    let mut twice = with(change(), header::ORIGIN, &ours);
    twice
        .headers_mut()
        .append(header::ORIGIN, "http://evil.example".parse().unwrap());
    check(twice, 403, "Origin");
    for good in [
        change(),
        with(change(), header::ORIGIN, &ours),
        with(change(), "sec-fetch-site".parse().unwrap(), "same-origin"),
    ] {
        assert_eq!(ask(&new_site(), good).0, 201);
    }
    // The cookie alone is not enough for a change: a browser says where it comes from.
    let cookie = || {
        with(
            without(change(), header::AUTHORIZATION),
            header::COOKIE,
            &format!("threadscape_{PORT}={TOKEN}"),
        )
    };
    check(cookie(), 403, "Origin");
    assert_eq!(ask(&new_site(), with(cookie(), header::ORIGIN, &ours)).0, 201);
}

#[test]
fn the_link_is_traded_for_a_cookie_and_a_clean_address() {
    block_on(async {
        let site = new_site();
        let visit = |path: String| {
            let site = site.clone();
            async move {
                site.app()
                    .answer(without(good("GET", &path, None), header::AUTHORIZATION))
                    .await
            }
        };
        let response = visit(format!("/threads?a=1%262&token={TOKEN}")).await;
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()[header::LOCATION], "/threads?a=1%262");
        let cookie = response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let pair = cookie.split(';').next().unwrap();
        let request = without(good("GET", "/api/v1/health", None), header::AUTHORIZATION);
        let response = site
            .clone()
            .app()
            .answer(with(request, header::COOKIE, &format!("a=b; {pair}")))
            .await;
        assert_eq!(response.status(), 200);

        let response = visit(format!("//evil.example/?token={TOKEN}")).await;
        assert_eq!(response.headers()[header::LOCATION], "/evil.example/");
        assert_eq!(visit("/?token=wrong".into()).await.status(), 401);
        // Only pages: the API's log of addresses must not fill with tokens.
        assert_eq!(visit(format!("/api/v1/health?token={TOKEN}")).await.status(), 401);
    });
}

#[test]
fn a_body_must_be_json_small_and_known() {
    let sent = |kind: &str, body: &str| {
        let request = good("POST", "/api/v1/scenarios/validate", Some(json!({})));
        let (mut parts, _) = request.into_parts();
        parts.headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
        Request::from_parts(parts, Body::from(body.to_owned()))
    };
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        check(sent(kind, "{\"toml\":\"\"}"), 415, "Content-Type");
    }
    check(without(sent("a/b", "{}"), header::CONTENT_TYPE), 415, "Content-Type");
    let json = "application/json; charset=utf-8";
    check(sent(json, &"x".repeat(2 << 20)), 413, "body");
    check(sent(json, "{"), 400, "body");
    check(sent(json, ""), 400, "body");
    check(sent(json, "[]"), 400, "body");
    check(sent(json, "{\"toml\": 5}"), 400, "body");
    check(sent(json, "{}"), 400, "toml");
    check(sent(json, "{\"toml\":\"\",\"toml\":\"\"}"), 400, "toml");
    let problem = check(sent(json, "{\"tolm\":\"\"}"), 400, "tolm");
    assert_eq!(problem["fix"], "did you mean toml?");
    assert_eq!(
        ask(&new_site(), sent(json, "{\"toml\":\"\"}")),
        (200, json!({"valid": true, "problems": []}))
    );
    let (_, bad) = ask(&new_site(), sent(json, "{\"toml\":\"bad\"}"));
    assert_eq!((&bad["valid"], &bad["problems"][0]["line"]), (&json!(false), &json!(1)));
}

#[test]
fn unknown_routes_and_wrong_methods_are_problems() {
    for path in [
        "/api/v1/nothing",
        "/api/v2/health",
        "/api",
        "/api/v1/processes/self/nothing",
        "/no-such-file.js",
    ] {
        let (status, _) = get(path);
        assert_eq!(status, 404, "{path}");
    }
    for (method, path, allowed) in [
        ("POST", "/api/v1/processes", "GET"),
        ("PUT", "/api/v1/runs", "POST"),
        ("DELETE", "/metrics", "GET"),
        ("OPTIONS", "/api/v1/health", "GET"),
    ] {
        block_on(async {
            let response = new_site().app().answer(good(method, path, Some(json!({})))).await;
            assert_eq!(response.status(), 405, "{method} {path}");
            let allow = response.headers()[header::ALLOW].to_str().unwrap();
            assert!(allow.contains(allowed), "{method} {path}: {allow}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        });
    }
    assert_eq!(get("/api/v1/processes/%ff/threads").0, 400);
}

#[test]
fn a_pid_that_is_none_is_named() {
    for wrong in ["0", "-1", "4294967297", "abc", "1.5", "%20", "99999999999999999999"] {
        for of in [
            "",
            "/threads",
            "/memory",
            "/threads/5",
            "/stacks",
            "/locks",
            "/dump",
            "/findings",
        ] {
            check(good("GET", &format!("/api/v1/processes/{wrong}{of}"), None), 400, "pid");
        }
        check(
            good("GET", &format!("/api/v1/history?process={wrong}"), None),
            400,
            "process",
        );
        check(
            good("GET", &format!("/api/v1/events?process={wrong}"), None),
            400,
            "process",
        );
        check(
            good("GET", &format!("/api/v1/capabilities?pid={wrong}"), None),
            400,
            "pid",
        );
        check(
            good("GET", &format!("/api/v1/processes/{}/threads/{wrong}", OTHER.0), None),
            400,
            "tid",
        );
    }
    for of in [
        "",
        "/threads",
        "/memory",
        "/threads/5",
        "/stacks",
        "/locks",
        "/dump",
        "/findings",
    ] {
        check(good("GET", &format!("/api/v1/processes/4711{of}"), None), 404, "pid");
        check(good("GET", &format!("/api/v1/processes/13{of}"), None), 403, "pid");
        check(
            good("GET", &format!("/api/v1/processes/workbench{of}"), None),
            404,
            "pid",
        );
    }
    check(
        good("GET", &format!("/api/v1/processes/{}/threads/5", OTHER.0), None),
        404,
        "tid",
    );
    check(
        good("GET", &format!("/api/v1/processes/{}/stacks?tid=5", OTHER.0), None),
        404,
        "tid",
    );
    check(good("GET", "/api/v1/events?process=4711", None), 404, "process");
}

#[test]
fn a_parameter_that_cannot_be_used_is_named() {
    let threads = format!("/api/v1/processes/{}/threads", OTHER.0);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("sort=cpus", "sort"),
        ("order=down", "order"),
        ("state=busy", "state"),
        ("state=", "state"),
        ("sparkline=301", "sparkline"),
        ("limits=5", "limits"),
        ("sort=tid&sort=name", "sort"),
    ] {
        check(good("GET", &format!("{threads}?{query}"), None), 400, field);
    }
    for (path, field) in [
        ("/api/v1/processes?role=boss", "role"),
        ("/api/v1/processes?sort=nothing", "sort"),
        ("/api/v1/processes?limit=5000", "limit"),
        ("/api/v1/history", "process"),
        ("/api/v1/history?process=4712&series=cpu", "series"),
        ("/api/v1/history?process=4712&from=5", "from"),
        ("/api/v1/history?process=4712&from=-1&to=-2", "from"),
        ("/api/v1/history?process=4712&step=0", "step"),
        ("/api/v1/history?process=4712&step=NaN", "step"),
        ("/api/v1/history?process=4712&thread=0", "thread"),
        ("/api/v1/events?interval=0.01", "interval"),
        ("/api/v1/events?intervall=1", "intervall"),
        ("/api/v1/processes/4712/memory?regions=yes", "regions"),
        ("/api/v1/processes/4712/stacks?pause=1", "pause"),
        ("/api/v1/processes/4712/stacks?max_depth=0", "max_depth"),
        ("/api/v1/processes/4712/stacks?max_depth=5000", "max_depth"),
        ("/api/v1/processes/4712/stacks?tid=0", "tid"),
        ("/api/v1/processes/4712/stacks?depth=9", "depth"),
        ("/api/v1/processes/4712/locks?pause=true", "pause"),
        ("/api/v1/processes/4712/dump?tid=1", "tid"),
        ("/api/v1/findings?process=1", "process"),
        ("/api/v1/pools/none", "name"),
        ("/api/v1/runs/r9", "id"),
        ("/api/v1/health?x=1", "x"),
    ] {
        let status = if field == "name" || field == "id" { 404 } else { 400 };
        check(good("GET", path, None), status, field);
    }
    let near = check(good("GET", &format!("{threads}?sort=cpu_rato"), None), 400, "sort");
    assert_eq!(near["fix"], "did you mean cpu_ratio?");
    check(
        with(
            good("GET", "/api/v1/events", None),
            "last-event-id".parse().unwrap(),
            "x",
        ),
        400,
        "Last-Event-ID",
    );
}

#[test]
fn threads_are_filtered_sorted_and_paged() {
    let (site, machine, _stop) = fakes::site(Settings::default());
    *machine.snapshot.lock() = Some(fakes::snapshot(30));
    let threads = |query: &str| {
        let (status, value) = ask(
            &site,
            good("GET", &format!("/api/v1/processes/{}/threads?{query}", OTHER.0), None),
        );
        assert_eq!(status, 200, "{value}");
        value
    };
    let all = threads("sort=tid&limit=10&offset=5");
    assert_eq!((&all["total"], &all["all"]), (&json!(30), &json!(30)));
    let tids: Vec<u64> = all["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["tid"].as_u64().unwrap())
        .collect();
    assert_eq!(tids, (4717..4727).collect::<Vec<_>>());
    assert_eq!(all["counts"].as_object().unwrap().len(), 9);
    assert_eq!(
        all["counts"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum::<u64>(),
        30
    );
    assert_eq!(all["pools"], json!({"even": 15}));

    let some = threads("state=runnable,sleeping&name=WORKER-47&pool=even&sparkline=3");
    for thread in some["threads"].as_array().unwrap() {
        assert!(["runnable", "sleeping"].contains(&thread["state"].as_str().unwrap()));
        assert_eq!(thread["pool"], "even");
        assert_eq!(thread["sparkline"], json!([null, 0.5, 0.5]));
    }
    assert!(some["total"].as_u64().unwrap() < 30);

    // What is unknown is null, its row says which and the answer says why.
    let row = &all["threads"][0];
    assert!(row["heap"].is_null() && row["wait"]["kernel_function"].is_null());
    assert_eq!(
        (&row["unknown"]["heap"], &row["unknown"]["stack.resident_bytes"]),
        (&json!("no_ledger"), &json!("not_asked"))
    );
    assert_eq!(all["unknown"]["heap"]["threads"], 10);
    assert_eq!(all["unknown"]["wait.kernel_function"]["reason"], "denied");
    assert_eq!(all["unknown"]["process.heap"]["code"], "no_ledger");
    assert_eq!(threads("offset=4000000000")["threads"], json!([]));
    assert_eq!(
        (&row["java_state"], &row["in_kernel"]),
        (&json!("WAITING"), &json!("futex"))
    );
    assert!(row["suspended"].is_null());
    assert_eq!(all["condition"]["marks"], json!([]));
    assert_eq!(all["unknown"]["condition.frozen"]["code"], "not_asked");
}

#[test]
fn threads_named_by_id_come_in_that_order_with_null_for_one_that_is_not_there() {
    let (site, machine, _stop) = fakes::site(Settings::default());
    *machine.snapshot.lock() = Some(fakes::snapshot(5));
    let path = format!("/api/v1/processes/{}/threads", OTHER.0);
    let get = |query: &str| ask(&site, good("GET", &format!("{path}?{query}"), None));
    let (status, answer) = get("tid=4714,99,4712,4714&sparkline=2");
    assert_eq!(status, 200, "{answer}");
    let tids: Vec<&Value> = answer["threads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["tid"])
        .collect();
    assert_eq!(tids, [&json!(4714), &Value::Null, &json!(4712), &json!(4714)]);
    assert!(answer["threads"][1].is_null());
    assert_eq!((&answer["total"], &answer["all"]), (&json!(3), &json!(5)));
    assert_eq!(answer["threads"][2]["sparkline"].as_array().unwrap().len(), 2);
    let many = (1..=1001).map(|tid| tid.to_string()).collect::<Vec<_>>().join(",");
    for (query, field) in [
        ("tid=", "tid"),
        ("tid=4712,x", "tid"),
        ("tid=0", "tid"),
        ("tid=4712&sort=name", "sort"),
        ("tid=4712&limit=5", "limit"),
        (&format!("tid={many}"), "tid"),
    ] {
        let (status, problem) = get(query);
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{query}");
    }
    // One that is asked for alone and isn't there is an error, as ever.
    assert_eq!(ask(&site, good("GET", &format!("{path}/99"), None)).0, 404);
}

#[test]
fn one_thread_and_one_process_have_what_no_list_has() {
    let (site, machine, _stop) = fakes::site(Settings::default());
    *machine.snapshot.lock() = Some(fakes::snapshot(2));
    let one = format!("/api/v1/processes/{}", OTHER.0);
    let (_, thread) = ask(&site, good("GET", &format!("{one}/threads/{}", OTHER.0), None));
    let details = &thread["details"];
    assert_eq!(details["signals"]["blocked"], json!(["SIGTERM"]));
    assert_eq!(details["namespace_tids"], json!([OTHER.0, 7]));
    assert!(details["frozen"].is_null() && details["tracer_pid"].is_null());
    assert_eq!(thread["unknown"]["details.frozen"]["code"], "denied");
    assert_eq!(thread["unknown"]["details.time_limit"]["code"], "no_object");
    assert!(thread["unknown"].get("details.tracer_pid").is_none());
    let (_, process) = ask(&site, good("GET", &one, None));
    assert_eq!(process["command_line"], json!(["/usr/bin/x", "<b>"]));
    assert_eq!(process["started_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!(process["pid"], OTHER.0);
}

#[test]
fn a_fresh_snapshot_at_hand_is_shown_and_the_watch_renewed_now_and_then() {
    let (site, machine, _stop) = fakes::site(Settings::default());
    site.live.snapshot(&fakes::snapshot(9));
    let path = format!("/api/v1/processes/{}/threads", OTHER.0);
    block_on(async {
        for _ in 0..5 {
            let answer = site.clone().app().answer(good("GET", &path, None)).await;
            let value: Value = serde_json::from_str(&text(answer).await).unwrap();
            // The inspector would have given three.
            assert_eq!(value["all"], 9);
        }
        let until = Instant::now() + LONG;
        while machine.asked.load(Ordering::SeqCst) == 0 {
            assert!(Instant::now() < until, "nobody tells the sampler");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut old = (*fakes::snapshot(9)).clone();
    old.taken_at.0 -= 10_000_000_000;
    site.live.snapshot(&Arc::new(old));
    assert_eq!(ask(&site, good("GET", &path, None)).1["all"], 3);
}

#[test]
fn every_route_answers() {
    let one = format!("/api/v1/processes/{}", OTHER.0);
    for (path, pointer, expected) in [
        ("/api/v1/health".to_owned(), "/status", json!("ok")),
        ("/api/v1/capabilities".to_owned(), "/sources/0/works", json!(false)),
        (
            "/api/v1/capabilities?pid=self".to_owned(),
            "/sources/0/name",
            json!("smaps"),
        ),
        ("/api/v1/processes?filter=WORK".to_owned(), "/total", json!(1)),
        (
            "/api/v1/processes?role=daemon".to_owned(),
            "/processes/0/role",
            json!("daemon"),
        ),
        (
            "/api/v1/processes?sort=name&order=desc&limit=1".to_owned(),
            "/processes/0/name",
            json!("workhorse"),
        ),
        (one.clone(), "/pid", json!(OTHER.0)),
        ("/api/v1/processes/self".to_owned(), "/pid", json!(std::process::id())),
        (format!("{one}/threads"), "/process/name", json!("workhorse")),
        (
            format!("{one}/threads/{}", OTHER.0),
            "/history/cpu_ratio",
            json!([null, 0.5]),
        ),
        (format!("{one}/threads/{}", OTHER.0 + 1), "/history/times", json!([])),
        (
            format!("{one}/memory?regions=true"),
            "/per_thread/stacks/resident_bytes",
            json!(64),
        ),
        (
            format!("{one}/stacks"),
            "/stacks/0/frames/0/function",
            json!("function_10"),
        ),
        (
            format!("{one}/stacks?tid={}", OTHER.0),
            "/threads/0/tid",
            json!(OTHER.0),
        ),
        (format!("{one}/locks"), "/deadlocks/0/confirmed", json!(true)),
        (
            format!("{one}/dump"),
            "/locks/waits/0/function",
            json!("pthread_mutex_lock"),
        ),
        (format!("{one}/dump"), "/stacks/threads/0/java_state", json!("BLOCKED")),
        (format!("{one}/dump"), "/stacks/process/role", json!("other")),
        (format!("{one}/findings"), "/findings/0/kind", json!("deadlock")),
        ("/api/v1/findings".to_owned(), "/findings/0/pid", json!(OTHER.0)),
        (one.clone(), "/findings/0/severity", json!("critical")),
        (
            "/api/v1/pools".to_owned(),
            "/pools/0/workers/0/task",
            json!("maximum_gap"),
        ),
        ("/api/v1/pools/even".to_owned(), "/queue_wait/p99_seconds", json!(3e-6)),
        ("/api/v1/scenarios".to_owned(), "/scenarios/0/problems/0/line", json!(1)),
        ("/api/v1/runs".to_owned(), "/runs/0/id", json!("r1")),
        ("/api/v1/runs/r1".to_owned(), "/loads/0/throughput", json!(0.0)),
        ("/api/v1/runs/r1/report.json".to_owned(), "/verdict", json!("pass")),
        (
            "/api/v1/history?process=4712&series=cpu_ratio,threads&from=-60".to_owned(),
            "/series/threads",
            json!([null, 0.5]),
        ),
        ("/api/v1/openapi.json".to_owned(), "/info/title", json!("threadscape")),
    ] {
        let (status, value) = get(&path);
        assert_eq!(status, 200, "{path}: {value}");
        assert_eq!(value.pointer(pointer), Some(&expected), "{path}: {value}");
    }
    let (_, history) = get("/api/v1/history?process=4712&from=-60&to=-10");
    assert_eq!(history["times"], json!([-60.0, -10.0]));
    assert_eq!(get("/api/v1/workloads").0, 200);
}

#[test]
fn a_run_is_started_changed_and_stopped() {
    let site = new_site();
    let run = |method: &str, path: &str, body: Option<Value>| ask(&site, good(method, path, body));
    assert_eq!(
        run("POST", "/api/v1/runs", Some(json!({"scenario": "quick", "seed": 7}))).0,
        201
    );
    assert_eq!(run("POST", "/api/v1/runs", Some(json!({"toml": "[run]"}))).0, 201);
    let (status, changed) = run("PATCH", "/api/v1/runs/r1", Some(json!({"rate_factor": 0.5})));
    assert_eq!((status, &changed["rate_factor"]), (200, &json!(0.5)));
    assert_eq!(run("DELETE", "/api/v1/runs/r1", None).0, 202);

    let start = |body: Value| good("POST", "/api/v1/runs", Some(body));
    check(start(json!({})), 400, "scenario");
    check(start(json!({"scenario": "quick", "toml": ""})), 400, "toml");
    check(start(json!({"scenario": "quikc"})), 404, "scenario");
    check(start(json!({"scenario": "quick", "seed": -1})), 400, "body");
    let invalid = check(start(json!({"toml": "bad"})), 422, "toml");
    assert_eq!(invalid["problems"][0]["column"], 2);
    for wrong in [json!(-1), json!(1001), json!("x"), json!(null)] {
        let problem = ask(
            &site,
            good("PATCH", "/api/v1/runs/r1", Some(json!({"rate_factor": wrong}))),
        );
        assert_eq!(problem.0, 400);
    }
    check(good("DELETE", "/api/v1/runs/r9", None), 404, "id");
    check(good("GET", "/api/v1/runs/..%2f..%2fetc/report.json", None), 404, "id");
}

#[test]
fn a_report_comes_as_csv_and_html_too() {
    block_on(async {
        for (kind, content, part) in [("csv", "text/csv", "at_seconds,"), ("html", "text/html", "quick")] {
            let request = good("GET", &format!("/api/v1/runs/r1/report.{kind}"), None);
            let response = new_site().app().answer(request).await;
            assert!(
                response.headers()[header::CONTENT_TYPE]
                    .to_str()
                    .unwrap()
                    .starts_with(content)
            );
            assert!(text(response).await.contains(part));
        }
    });
}

#[test]
fn the_page_is_served_for_its_own_routes() {
    block_on(async {
        let site = new_site();
        let page = site.clone().app().answer(good("GET", "/", None)).await;
        assert_eq!(page.status(), 200);
        let tag = page.headers()[header::ETAG].to_str().unwrap().to_owned();
        let route = site.clone().app().answer(good("GET", "/threads/4711", None)).await;
        assert_eq!(route.headers()[header::ETAG], tag.as_str());
        let again = with(good("GET", "/", None), header::IF_NONE_MATCH, &tag);
        assert_eq!(site.app().answer(again).await.status(), 304);
    });
}

#[test]
fn an_answer_that_takes_too_long_is_given_up() {
    let settings = Settings {
        answer_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let (site, _, _stop) = fakes::site(settings);
    let (status, problem) = ask(&site, good("GET", "/api/v1/processes/99/threads", None));
    assert_eq!(status, 503, "{problem}");
}

#[test]
fn metrics_come_in_both_forms() {
    block_on(async {
        let site = new_site();
        site.live.snapshot(&fakes::snapshot(3));
        let old = site.clone().app().answer(good("GET", "/metrics", None)).await;
        assert_eq!(
            old.headers()[header::CONTENT_TYPE],
            "text/plain; version=0.0.4; charset=utf-8"
        );
        let old = text(old).await;
        for part in [
            "process_cpu_seconds_total ",
            "threadscape_sampler_snapshots_total 7.0",
            "threadscape_threads{process=\"workhorse\",pid=\"4712\",role=\"other\",group=\"worker-#\",state=\"",
            "threadscape_pool_tasks_total{pool=\"even\",outcome=\"done\"} 3.0",
            "threadscape_pool_service_seconds{pool=\"even\",quantile=\"0.99\"}",
            "threadscape_load_tasks_total{scenario=\"quick\",load=\"gaps\",outcome=\"done\"} 9",
        ] {
            assert!(old.contains(part), "{part} is missing in\n{old}");
        }
        let open = with(
            good("GET", "/metrics", None),
            header::ACCEPT,
            "application/openmetrics-text; version=1.0.0",
        );
        assert!(text(site.app().answer(open).await).await.ends_with("# EOF\n"));
    });
}

/// Reads a stream until it holds `part`.
async fn read_until(body: &mut Body, part: &str) -> String {
    let mut all = String::new();
    while !all.contains(part) {
        let frame = body.frame().await.expect("the stream ended early").unwrap();
        all += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
    }
    all
}

#[test]
fn a_stream_passes_events_on_and_resumes() {
    block_on(async {
        let (site, machine, stop) = fakes::site(Settings::default());
        let open = |id: Option<&str>| {
            let request = good("GET", &format!("/api/v1/events?process={}&interval=1", OTHER.0), None);
            let request = match id {
                Some(id) => with(request, "last-event-id".parse().unwrap(), id),
                None => request,
            };
            let site = site.clone();
            async move {
                let response = site.app().answer(request).await;
                assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
                response.into_body()
            }
        };
        let mut first = open(None).await;
        assert!(
            read_until(&mut first, "\n\n")
                .await
                .starts_with("event: hello\ndata: {\"version\":")
        );
        assert_eq!(machine.watching.load(Ordering::SeqCst), 1);
        site.live.snapshot(&fakes::snapshot(3));
        let seen = read_until(&mut first, "event: snapshot").await;
        let id = seen
            .lines()
            .find_map(|line| line.strip_prefix("id: "))
            .unwrap()
            .to_owned();
        drop(first);

        site.live.run(&fakes::run("r1"));
        site.live.gone(fakes::snapshot(1).process);
        let mut second = open(Some(&id)).await;
        let seen = read_until(&mut second, "event: gone").await;
        assert!(
            seen.contains("event: run") && !seen.contains("event: snapshot") && !seen.contains("event: missed"),
            "{seen}"
        );
        let mut third = open(Some("12")).await;
        assert!(
            read_until(&mut third, "event: hello")
                .await
                .starts_with("event: missed\ndata: {\"count\":1}")
        );

        // The watch ends with the stream, and every stream with the daemon.
        stop.send_replace(true);
        for mut body in [second, third] {
            while let Some(frame) = body.frame().await {
                frame.unwrap();
            }
        }
        let until = Instant::now() + LONG;
        while machine.watching.load(Ordering::SeqCst) > 0 {
            assert!(Instant::now() < until, "a watch outlives its stream");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn streams_are_bounded() {
    block_on(async {
        let settings = Settings {
            max_streams: 1,
            ..Settings::default()
        };
        let (site, _, _stop) = fakes::site(settings);
        let held = site.clone().app().answer(good("GET", "/api/v1/events", None)).await;
        assert_eq!(held.status(), 200);
        let refused = site.app().answer(good("GET", "/api/v1/events", None)).await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers().contains_key(header::RETRY_AFTER));
    });
}

/// Runs the accept loop on a free port while `client` talks to it.
fn serving<F: Future<Output = ()>>(settings: Settings, client: impl FnOnce(std::net::SocketAddr) -> F) {
    block_on(async {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (site, _, stop) = fakes::site(settings);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(serve::accept(listener, site, stop, async {
            let _ = ended.await;
        }));
        client(address).await;
        let _ = end.send(());
        served.await.unwrap().unwrap();
    });
}

async fn everything(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut all).await;
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_client_that_is_slow_with_its_head_or_idle_is_closed() {
    let settings = Settings {
        header_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    serving(settings, |address| async move {
        for begun in ["", "GET / HTTP/1.1\r\nHost: loc"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
            everything(&mut stream).await;
        }
        // Kept alive after an answer, but not for good.
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert!(everything(&mut stream).await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_client_that_is_slow_with_its_body_is_told_so() {
    let settings = Settings {
        body_timeout: Duration::from_millis(100),
        ..Settings::default()
    };
    serving(settings, |address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(everything(&mut stream).await.starts_with("HTTP/1.1 408"));
    });
}

#[test]
fn a_client_that_does_not_read_is_closed() {
    let settings = Settings {
        write_timeout: Duration::from_millis(100),
        max_connections: 1,
        ..Settings::default()
    };
    serving(settings, |address| async move {
        let mut stuck = TcpStream::connect(address).await.unwrap();
        let ask =
            format!("GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        // Far more answers than the socket's buffers hold, and none is read.
        let _ = tokio::time::timeout(Duration::from_secs(5), stuck.write_all(ask.repeat(2000).as_bytes())).await;
        // Its seat becomes free.
        let until = Instant::now() + LONG;
        loop {
            let mut next = TcpStream::connect(address).await.unwrap();
            let _ = next
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .await;
            if everything(&mut next).await.starts_with("HTTP/1.1 200") {
                return;
            }
            assert!(Instant::now() < until, "the seat was never freed");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn connections_are_bounded_and_a_head_too() {
    let settings = Settings {
        max_connections: 1,
        ..Settings::default()
    };
    serving(settings, |address| async move {
        let mut first = TcpStream::connect(address).await.unwrap();
        first
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        first.read_exact(&mut byte).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let refusal = everything(&mut second).await;
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503") && head.contains(&format!("content-length: {}", body.len())),
            "{refusal}"
        );
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["status"], 503);
    });
    serving(Settings::default(), |address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        );
        let _ = stream.write_all(head.as_bytes()).await;
        let answer = everything(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    });
}

#[test]
fn stopping_ends_streams_and_waits_for_nobody_for_long() {
    let settings = Settings {
        drain: Duration::from_millis(200),
        ..Settings::default()
    };
    serving(settings, |address| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        // And one that never ends its request.
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP").await.unwrap();
        std::mem::forget(half);
    });
}

#[test]
fn beyond_loopback_takes_a_flag() {
    let settings = |listen: &str, insecure_listen| Settings {
        listen: listen.parse().unwrap(),
        insecure_listen,
        ..Settings::default()
    };
    let error = serve::bind(&settings("0.0.0.0:0", false)).unwrap_err().to_string();
    assert!(error.contains("--insecure-listen"), "{error}");
    assert!(serve::bind(&settings("[::]:0", false)).is_err());
    assert!(serve::bind(&settings("0.0.0.0:0", true)).is_ok());
    let taken = serve::bind(&settings("127.0.0.1:0", false)).unwrap();
    let error = serve::bind(&settings(&taken.address().to_string(), false))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--listen"), "{error}");
    assert!(
        taken
            .link(&super::Token::of_test(TOKEN))
            .ends_with(&format!("/?token={TOKEN}"))
    );
}

/// The fields of each `export interface` of `wire.ts`, inner shapes left out.
fn interfaces(source: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for part in source.split("export interface ").skip(1) {
        let (name, rest) = part.split_once('{').unwrap();
        let mut fields = BTreeSet::new();
        let (mut depth, mut word) = (1, String::new());
        let mut text = rest;
        while depth > 0 {
            // Comments hold braces and colons.
            for (open, close) in [("/*", "*/"), ("//", "\n")] {
                if let Some(after) = text.strip_prefix(open) {
                    text = after.split_once(close).unwrap().1;
                }
            }
            let c = text.chars().next().unwrap();
            text = &text[c.len_utf8()..];
            match c {
                '{' | '(' | '[' | '<' => depth += 1,
                '}' | ')' | ']' | '>' => depth -= 1,
                ':' if depth == 1 => {
                    fields.insert(word.trim_end_matches('?').to_owned());
                }
                _ => {}
            }
            if c.is_alphanumeric() || c == '_' || c == '?' {
                word.push(c);
            } else {
                word.clear();
            }
        }
        found.insert(name.trim().to_owned(), fields);
    }
    found
}

#[test]
fn the_shapes_are_those_the_dashboard_was_written_for() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboard/src/wire.ts");
    let expected = interfaces(&std::fs::read_to_string(path).unwrap());
    assert!(
        expected.len() > 25 && expected["Threads"].contains("started_exact"),
        "wire.ts was not understood"
    );
    let (_, document) = get("/api/v1/openapi.json");
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for (name, fields) in &expected {
        // A run's document is the scenario room's, version 1, and passes through unopened.
        if ["Report", "Fact"].contains(&name.as_str()) {
            continue;
        }
        let schema = schemas
            .get(name)
            .unwrap_or_else(|| panic!("{name} is in wire.ts and not in wire.rs"));
        let ours: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(&ours, fields, "the fields of {name} (wire.rs left, wire.ts right)");
    }
}

#[test]
fn every_route_is_documented_and_every_documented_route_exists() {
    let (_, document) = get("/api/v1/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 20);
    for (path, methods) in paths {
        let path = path
            .replace("{pid}", "4712")
            .replace("{tid}", "4712")
            .replace("{name}", "even")
            .replace("{id}", "r1");
        for method in methods.as_object().unwrap().keys() {
            if path.ends_with("/events") {
                continue;
            }
            let body = matches!(method.as_str(), "post" | "patch").then(|| json!({}));
            let status = block_on(async {
                new_site()
                    .app()
                    .answer(good(&method.to_uppercase(), &path, body))
                    .await
                    .status()
            });
            assert!(status != 404 && status != 405, "{method} {path}: {status}");
        }
    }
}
