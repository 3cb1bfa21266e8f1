//! What every route shares: the handles, the door, and the way to ask a blocking handle from
//! async code without ever waiting for good.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;

use super::ask::{self, nearest, quote};
use super::door::{self, Door};
use super::events::Live;
use super::looks::{Looks, Past};
use super::problem::{PROBLEM_JSON, Problem};
use super::token::Token;
use super::{Settings, routes};
use crate::model::{Nanos, Pid, Role, Snapshot};
use crate::{history, observe, scenario};

/// What a handler gives.
pub type Answer = Result<Response, Problem>;

/// Handles that are asked at one time; more wait their turn.
const ASKED_AT_ONCE: usize = 8;

/// Leases that are renewed at one time, and how often each is; leases last 2 s at least.
const RENEWED_AT_ONCE: usize = 2;
const RENEWAL: Nanos = Nanos(1_000_000_000);
/// A snapshot this old is never at hand.
const STALE: Nanos = Nanos(5_000_000_000);

/// The handles through which the outside looks in.
pub struct Handles {
    pub inspector: observe::Inspector,
    pub runs: scenario::Remote,
    pub history: history::Reader,
}

pub struct Site {
    pub looks: Arc<dyn Looks>,
    pub past: Arc<dyn Past>,
    pub runs: scenario::Remote,
    pub live: Live,
    pub settings: Settings,
    pub started: SystemTime,
    pub started_instant: Instant,
    pub streams: Arc<Semaphore>,
    /// True once the daemon is stopping.
    pub stopping: watch::Receiver<bool>,
    /// Answers by the first digit of their status.
    pub answered: [AtomicU64; 6],
    asking: Arc<Semaphore>,
    renewing: Arc<Semaphore>,
    renewed: Mutex<HashMap<Pid, Instant>>,
    door: Door,
}

impl Site {
    pub fn new(
        handles: (Arc<dyn Looks>, Arc<dyn Past>, scenario::Remote),
        live: Live,
        token: Token,
        settings: Settings,
        port: u16,
        stopping: watch::Receiver<bool>,
    ) -> Site {
        let (looks, past, runs) = handles;
        Site {
            looks,
            past,
            runs,
            live,
            started: SystemTime::now(),
            started_instant: Instant::now(),
            streams: Arc::new(Semaphore::new(settings.max_streams)),
            stopping,
            answered: Default::default(),
            asking: Arc::new(Semaphore::new(ASKED_AT_ONCE)),
            renewing: Arc::new(Semaphore::new(RENEWED_AT_ONCE)),
            renewed: Mutex::new(HashMap::new()),
            door: Door::new(&settings, port, token),
            settings,
        }
    }

    /// Runs `question`, which may block, on a thread for it. The number of these threads is
    /// bounded even when questions outlive their time-out: the permit goes with the question.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Site) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let limit = self.settings.answer_timeout;
        let late = || Problem::busy(format!("there was no answer within {limit:?}"));
        let asked = async {
            let permit = self
                .asking
                .clone()
                .acquire_owned()
                .await
                .map_err(|e| Problem::ours(&e))?;
            let site = self.clone();
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                question(&site)
            })
            .await
            .map_err(|error| Problem::ours(&error))?
        };
        tokio::time::timeout(limit, asked).await.map_err(|_| late())?
    }

    /// [`Site::ask`] for a JSON body: the answer is serialised where it is made, so it may borrow
    /// from a snapshot.
    pub async fn json(
        self: &Arc<Self>,
        question: impl FnOnce(&Site) -> Result<Vec<u8>, Problem> + Send + 'static,
    ) -> Answer {
        Ok(json_response(StatusCode::OK, self.ask(question).await?))
    }

    /// Whether a process is one of our own.
    pub fn role(&self, pid: Pid) -> Role {
        if pid.0 == std::process::id() {
            Role::Daemon
        } else if self.runs.workbench_pid() == Some(pid) {
            Role::Workbench
        } else {
            Role::Other
        }
    }

    /// The process that a path's `{pid}` or a query's `process` names.
    pub fn pid(&self, field: &str, text: &str) -> Result<Pid, Problem> {
        match text {
            "self" => Ok(Pid(std::process::id())),
            "workbench" => self.runs.workbench_pid().ok_or_else(|| {
                Problem::new(StatusCode::NOT_FOUND, "no-workbench", "the workbench is not running")
                    .field(field)
                    .fix("the next run starts one")
            }),
            _ => id(field, text, " (or self, or workbench)").map(Pid),
        }
    }

    /// The latest snapshot of this process when it is fresh: without waiting, so that an answer
    /// does not depend on how busy the machine keeps the sampler. `None`: ask the inspector.
    pub fn at_hand(self: &Arc<Self>, text: &str) -> Option<Arc<Snapshot>> {
        let pid = match text {
            // Asking for its pid may block.
            "workbench" => self.live.latest_in(Role::Workbench)?.process.pid,
            _ => self.pid("pid", text).ok()?,
        };
        // One short read of /proc: a pid that is another process now, or none, is not at hand.
        let key = self.looks.resolve(pid).ok()?;
        let snapshot = self.live.latest_of(key)?;
        let ended = Nanos(snapshot.taken_at.0 + snapshot.cost.wall.0);
        let interval = snapshot.interval.unwrap_or(RENEWAL);
        let fresh = Nanos(interval.0.saturating_mul(2).saturating_add(RENEWAL.0)).min(STALE);
        (monotonic_now().saturating_sub(ended) <= fresh).then(|| {
            self.renew(pid);
            snapshot
        })
    }

    /// Tells the sampler that somebody still looks, on another thread and not for every request.
    fn renew(self: &Arc<Self>, pid: Pid) {
        let now = Instant::now();
        {
            let mut renewed = self.renewed.lock();
            let every = Duration::from_nanos(RENEWAL.0);
            renewed.retain(|_, last| now.duration_since(*last) < every);
            if renewed.contains_key(&pid) {
                return;
            }
            renewed.insert(pid, now);
        }
        // Without a free one the next request tries again.
        if let Ok(permit) = self.renewing.clone().try_acquire_owned() {
            let site = self.clone();
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                if let Err(error) = site.looks.snapshot(pid) {
                    tracing::debug!(%error, "a lease was not renewed");
                }
            });
        } else {
            self.renewed.lock().remove(&pid);
        }
    }

    /// Everything a client may meet, door first.
    pub fn app(self: Arc<Self>) -> App {
        App {
            router: routes::router(self.clone()),
            site: self,
        }
    }
}

/// A process or thread number: the kernel's are positive and fit 31 bits.
pub fn id(field: &str, text: &str, or: &str) -> Result<u32, Problem> {
    let wrong = || {
        Problem::bad(
            field,
            format!(
                "{field} must be a number from 1 to {}{or}, not {}",
                i32::MAX,
                quote(text)
            ),
        )
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    match text.parse::<u32>() {
        Ok(number) if number > 0 && i32::try_from(number).is_ok() => Ok(number),
        _ => Err(wrong()),
    }
}

pub fn encode(shape: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(shape).map_err(|error| Problem::ours(&error))
}

pub fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = (status, body).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `CLOCK_MONOTONIC` now, the clock of the model's `taken_at`.
pub fn monotonic_now() -> Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// The wall clock at a point of `CLOCK_MONOTONIC`, by the distance to now.
pub fn wall_clock_of(taken_at: Nanos) -> SystemTime {
    let age = monotonic_now().saturating_sub(taken_at);
    SystemTime::now()
        .checked_sub(Duration::from_nanos(age.0))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads a JSON body into `T`, whose fields are `fields`.
pub async fn body<T: DeserializeOwned>(site: &Site, body: Body, fields: &[&'static str]) -> Result<T, Problem> {
    let settings = &site.settings;
    let collected = tokio::time::timeout(
        settings.body_timeout,
        Limited::new(body, settings.max_body_bytes).collect(),
    );
    let bytes = match collected.await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("the body may have {} bytes at most", settings.max_body_bytes),
            )
            .field("body"));
        }
        Ok(Err(_)) => return Err(Problem::bad("body", "the body ended early")),
        Err(_) => {
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow-body",
                format!("the body was not there within {:?}", settings.body_timeout),
            )
            .field("body"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| refused(&error, fields))
}

/// Which field a body was refused for, as far as serde's message tells.
fn refused(error: &serde_json::Error, fields: &[&'static str]) -> Problem {
    let text = error.to_string();
    let named = text.split('`').nth(1).unwrap_or_default();
    if text.starts_with("unknown field") {
        return ask::unknown(named, fields);
    }
    let field = if fields.contains(&named) { named } else { "body" };
    let problem = Problem::bad(field, format!("the body is not the JSON this route takes: {text}"));
    match nearest(named, fields) {
        Some(near) if field == "body" => problem.fix(format!("did you mean {near}?")),
        _ => problem.fix(format!("its fields are {}", fields.join(", "))),
    }
}

/// Door, routes and seal as one service.
#[derive(Clone)]
pub struct App {
    router: Router,
    site: Arc<Site>,
}

impl App {
    pub async fn answer(self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let mut response = match self.site.door.check(&parts) {
            Ok(()) => match self.router.oneshot(Request::from_parts(parts, body)).await {
                Ok(response) => as_problem(response),
            },
            Err(refusal) => *refusal,
        };
        door::seal(&mut response);
        let class = usize::from(response.status().as_u16() / 100).min(5);
        // Relaxed: a tally that stands alone.
        self.site.answered[class].fetch_add(1, Ordering::Relaxed);
        response
    }
}

/// What the router itself refuses (no such path, wrong method, a path that is not UTF-8) is bare
/// text; outsiders always get a problem document.
fn as_problem(response: Response) -> Response {
    let status = response.status();
    let told = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind == PROBLEM_JSON || kind.as_bytes().starts_with(b"text/html"));
    if told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem = Problem::of_status(status, "the request could not be understood").into_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_positive_number_of_31_bits() {
        for wrong in [
            "0",
            "-1",
            "4294967297",
            "2147483648",
            "abc",
            "",
            "1.0",
            "+1",
            " 1",
            "0x1",
        ] {
            let problem = id("pid", wrong, "").unwrap_err();
            assert_eq!(problem.field.as_deref(), Some("pid"), "{wrong}");
            assert_eq!(problem.status, 400);
        }
        assert_eq!(id("pid", "1", "").unwrap(), 1);
        assert_eq!(id("pid", "2147483647", "").unwrap(), i32::MAX as u32);
    }

    #[test]
    fn the_wall_clock_of_now_is_now() {
        let off = wall_clock_of(monotonic_now())
            .duration_since(SystemTime::now())
            .unwrap_or_default();
        assert!(off < Duration::from_secs(60));
    }
}
