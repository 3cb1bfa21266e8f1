//! Every route, on one page.

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get, post};

use super::site::Site;
use super::{
    assets, events, findings, health, history, locks, memory, metrics, openapi, pools, processes, runs, scenarios,
    stacks, threads, workloads,
};

pub fn router(site: Arc<Site>) -> Router {
    let api = Router::new()
        .route("/health", get(health::health))
        .route("/capabilities", get(health::capabilities))
        .route("/processes", get(processes::list))
        .route("/processes/{pid}", get(processes::one))
        .route("/processes/{pid}/threads", get(threads::list))
        .route("/processes/{pid}/threads/{tid}", get(threads::one))
        .route("/processes/{pid}/memory", get(memory::memory))
        .route("/processes/{pid}/stacks", get(stacks::stacks))
        .route("/processes/{pid}/locks", get(locks::locks))
        .route("/processes/{pid}/dump", get(stacks::dump))
        .route("/processes/{pid}/findings", get(findings::of_process))
        .route("/findings", get(findings::of_all))
        .route("/pools", get(pools::list))
        .route("/pools/{name}", get(pools::one))
        .route("/workloads", get(workloads::list))
        .route("/scenarios", get(scenarios::list))
        .route("/scenarios/validate", post(scenarios::validate))
        .route("/runs", get(runs::list).post(runs::start))
        .route("/runs/{id}", get(runs::one).patch(runs::change).delete(runs::stop))
        .route("/runs/{id}/report.json", get(runs::report_json))
        .route("/runs/{id}/report.csv", get(runs::report_csv))
        .route("/runs/{id}/report.html", get(runs::report_html))
        .route("/history", get(history::history))
        .route("/events", get(events::stream))
        .route("/openapi.json", get(openapi::document))
        .fallback(|| async { axum::http::StatusCode::NOT_FOUND });
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .nest("/api/v1", api)
        .route("/api", any(|| async { axum::http::StatusCode::NOT_FOUND }))
        .route("/api/{*rest}", any(|| async { axum::http::StatusCode::NOT_FOUND }))
        .fallback(get(assets::file))
        .with_state(site)
}
