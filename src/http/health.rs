//! How the daemon is: the open probes that say yes or no, and the full state for those with a token.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site, encode};
use super::wire;
use crate::model::{Nanos, Pid, Role};

/// A pass of the sampler that begins this late is worth telling.
const LATE: Nanos = Nanos(500_000_000);

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = (status, text).into_response();
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// GET /healthz: the process answers.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "ok", content_type = "text/plain", body = String))
)]
pub async fn healthz() -> Response {
    plain(StatusCode::OK, "ok\n")
}

/// GET /readyz: the sampler delivers, and we are not stopping.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "ready", content_type = "text/plain", body = String),
        (status = 503, description = "Not yet, or stopping", body = wire::Problem),
    )
)]
pub async fn readyz(State(site): State<Arc<Site>>) -> Answer {
    if *site.stopping.borrow() {
        return Err(Problem::busy("the daemon is stopping"));
    }
    if site.ask(|site| Ok(site.looks.cost().snapshots)).await? == 0 {
        return Err(Problem::busy("nothing has been read yet"));
    }
    Ok(plain(StatusCode::OK, "ready\n"))
}

/// GET /health
#[utoipa::path(get, path = "/api/v1/health", tag = "health", responses((status = 200, body = wire::Health)))]
pub async fn health(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(|site| encode(&now(site))).await
}

pub fn now(site: &Site) -> wire::Health {
    let cost = site.looks.cost();
    let own = site
        .live
        .latest()
        .into_iter()
        .find(|snapshot| snapshot.role == Role::Daemon);
    let mut problems: Vec<wire::HealthProblem> = site
        .runs
        .problems()
        .into_iter()
        .map(|told| {
            // Our messages name the thing, then the way out.
            let (message, fix) = match told.split_once("; ") {
                Some((message, fix)) => (message.to_owned(), Some(fix.to_owned())),
                None => (told, None),
            };
            wire::HealthProblem {
                code: "workbench".to_owned(),
                message,
                fix,
            }
        })
        .collect();
    if cost.lateness > LATE {
        problems.push(wire::HealthProblem {
            code: "sampler_late".to_owned(),
            message: format!("the sampler began its last pass {:.1} s late", cost.lateness.seconds()),
            fix: Some("watch fewer processes, or sample at a longer interval".to_owned()),
        });
    }
    if !site.settings.listen.ip().to_canonical().is_loopback() {
        problems.push(wire::HealthProblem {
            code: "insecure_listen".to_owned(),
            message: format!(
                "{} is served to other machines without encryption",
                site.settings.listen
            ),
            fix: Some("listen on 127.0.0.1 behind a TLS proxy or an SSH tunnel".to_owned()),
        });
    }
    wire::Health {
        status: if problems.is_empty() { "ok" } else { "degraded" },
        version: env!("CARGO_PKG_VERSION"),
        boot_id: site.looks.census().machine.boot_id.to_string(),
        started_at: wire::rfc3339(site.started),
        uptime_seconds: site.started_instant.elapsed().as_secs_f64(),
        problems,
        cost: wire::Cost {
            cpu_ratio: own
                .as_ref()
                .and_then(|own| own.cpu_ratio.ok())
                .filter(|ratio| ratio.is_finite()),
            rss_bytes: own.as_ref().and_then(|own| own.rss_bytes.ok()),
            sampler_lateness_seconds: cost.lateness.seconds(),
            sampler_cpu_seconds_total: cost.cpu.seconds(),
            snapshots_total: cost.snapshots,
            watched: cost.watched,
        },
    }
}

/// GET /capabilities
#[utoipa::path(
    get,
    path = "/api/v1/capabilities",
    tag = "health",
    params(("pid" = Option<String>, Query, description = "Try the sources on this process: a number, self or workbench")),
    responses(
        (status = 200, body = wire::Capabilities),
        (status = 400, description = "pid is not one", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn capabilities(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    let pid = Ask::of(&uri, &["pid"])?.text("pid").map(str::to_owned);
    site.json(move |site| {
        let pid: Option<Pid> = pid.map(|pid| site.pid("pid", &pid)).transpose()?;
        if let Some(pid) = pid {
            site.looks.resolve(pid)?;
        }
        encode(&wire::Capabilities::of(&site.looks.capabilities(pid)))
    })
    .await
}
