//! The OpenAPI document, made from the handlers' own descriptions.

use axum::http::{StatusCode, Uri};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::ask::Ask;
use super::site::{Answer, encode, json_response};
use super::{
    events, findings, health, history, locks, memory, metrics, pools, processes, runs, scenarios, stacks, threads,
    wire, workloads,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "threadscape",
        description = "What every thread of a Linux process is doing, waiting for and costing. Unknown is null, and \
                       `unknown` says why; times are seconds, sizes bytes, wall clocks RFC 3339; errors are \
                       application/problem+json and name the field."
    ),
    paths(
        health::healthz, health::readyz, health::health, health::capabilities,
        processes::list, processes::one, threads::list, threads::one, memory::memory,
        stacks::stacks, stacks::dump, locks::locks, findings::of_process, findings::of_all,
        pools::list, pools::one, workloads::list, scenarios::list, scenarios::validate,
        runs::list, runs::start, runs::one, runs::change, runs::stop,
        runs::report_json, runs::report_csv, runs::report_html,
        history::history, events::stream, metrics::metrics, document,
    ),
    components(schemas(wire::Hello, wire::SnapshotEvent, wire::GoneEvent, wire::FindingEvent, wire::MissedEvent)),
    modifiers(&Token),
    security(("token" = []))
)]
struct Document;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", scheme);
    }
}

/// GET /openapi.json
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "health",
    responses((status = 200, description = "This document", content_type = "application/json", body = Object))
)]
pub async fn document(uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    Ok(json_response(StatusCode::OK, encode(&Document::openapi())?))
}
