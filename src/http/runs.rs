//! Runs of scenarios: started, listed, steered, stopped, and their reports.
//!
//! A finished run's report is kept as JSON by the workbench's side; `scenario` makes its CSV and
//! HTML forms from that text.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::ToSchema;

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site, body, encode, json_response};
use super::wire;
use crate::scenario::{self, StartRun};

/// What a run may be sped up to.
const MAX_RATE_FACTOR: f64 = 1000.0;

/// GET /runs
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", responses((status = 200, body = wire::Runs)))]
pub async fn list(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(|site| {
        encode(&wire::Runs {
            runs: site.runs.list().iter().map(wire::Run::of).collect(),
        })
    })
    .await
}

/// A scenario of the folder by its name, or one as text; one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    scenario: Option<String>,
    toml: Option<String>,
    /// Instead of the scenario's own.
    seed: Option<u64>,
}

/// POST /runs
#[utoipa::path(
    post,
    path = "/api/v1/runs",
    tag = "runs",
    request_body = StartBody,
    responses(
        (status = 201, description = "The run has begun; Location names it", body = wire::Run),
        (status = 400, description = "The body is not the JSON this takes", body = wire::Problem),
        (status = 404, description = "No such scenario", body = wire::Problem),
        (status = 409, description = "Another run is under way", body = wire::Problem),
        (status = 422, description = "The scenario has problems", body = wire::Problem),
        (status = 503, description = "The workbench is not available", body = wire::Problem),
    )
)]
pub async fn start(State(site): State<Arc<Site>>, uri: Uri, sent: Body) -> Answer {
    Ask::of(&uri, &[])?;
    let asked: StartBody = body(&site, sent, &["scenario", "toml", "seed"]).await?;
    let what = match (asked.scenario, asked.toml) {
        (Some(name), None) => StartRun::Named(name),
        (None, Some(text)) => StartRun::Inline(text),
        (None, None) => return Err(Problem::bad("scenario", "give scenario (a name) or toml (a text)")),
        (Some(_), Some(_)) => return Err(Problem::bad("toml", "give either scenario or toml, not both")),
    };
    let (id, body) = site
        .ask(move |site| {
            let run = site.runs.start(what, asked.seed).map_err(Problem::of_run)?;
            Ok((run.id.0.clone(), encode(&wire::Run::of(&run))?))
        })
        .await?;
    let mut response = json_response(StatusCode::CREATED, body);
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/runs/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// GET /runs/{id}
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses((status = 200, body = wire::Run), (status = 404, description = "No such run", body = wire::Problem))
)]
pub async fn one(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| encode(&wire::Run::of(&site.runs.get(&id).map_err(Problem::of_run)?)))
        .await
}

/// What can be changed while a run lasts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeBody {
    /// Multiplies the rate of every load from now on; 0 pauses arrivals.
    rate_factor: f64,
}

/// PATCH /runs/{id}
#[utoipa::path(
    patch,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    request_body = ChangeBody,
    responses(
        (status = 200, body = wire::Run),
        (status = 400, description = "rate_factor cannot be used", body = wire::Problem),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run has ended", body = wire::Problem),
    )
)]
pub async fn change(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri, sent: Body) -> Answer {
    Ask::of(&uri, &[])?;
    let asked: ChangeBody = body(&site, sent, &["rate_factor"]).await?;
    if !(0.0..=MAX_RATE_FACTOR).contains(&asked.rate_factor) {
        return Err(Problem::bad(
            "rate_factor",
            format!(
                "rate_factor must be a number from 0 to {MAX_RATE_FACTOR}, not {}",
                asked.rate_factor
            ),
        ));
    }
    site.json(move |site| {
        let run = site.runs.set_rate(&id, asked.rate_factor).map_err(Problem::of_run)?;
        encode(&wire::Run::of(&run))
    })
    .await
}

/// DELETE /runs/{id}
#[utoipa::path(
    delete,
    path = "/api/v1/runs/{id}",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 202, description = "It ends: arrivals have stopped, what is under way drains", body = wire::Run),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run has ended", body = wire::Problem),
    )
)]
pub async fn stop(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let body = site
        .ask(move |site| encode(&wire::Run::of(&site.runs.stop(&id).map_err(Problem::of_run)?)))
        .await?;
    Ok(json_response(StatusCode::ACCEPTED, body))
}

/// The finished run's document, or why there is none.
fn report(site: &Site, id: &str) -> Result<Arc<str>, Problem> {
    site.runs.report(id).map_err(Problem::of_run)
}

fn file(id: &str, extension: &str, kind: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Only plain letters go into the header, whatever the id.
    let name: String = id
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c))
        .collect();
    if let Ok(value) = HeaderValue::try_from(format!("inline; filename=\"threadscape-{name}.{extension}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

/// GET /runs/{id}/report.json
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/report.json",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The finished run's document, format version 1", content_type = "application/json", body = Object),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run is still under way", body = wire::Problem),
    )
)]
pub async fn report_json(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let text = site
        .ask({
            let id = id.clone();
            move |site| report(site, &id)
        })
        .await?;
    Ok(file(&id, "json", "application/json", text.to_string()))
}

/// GET /runs/{id}/report.csv
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/report.csv",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The series, a row for each load and interval", content_type = "text/csv", body = String),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run is still under way", body = wire::Problem),
    )
)]
pub async fn report_csv(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let text = site
        .ask({
            let id = id.clone();
            move |site| scenario::report_csv(&report(site, &id)?).map_err(|error| Problem::ours(&error))
        })
        .await?;
    Ok(file(&id, "csv", "text/csv; charset=utf-8", text))
}

/// GET /runs/{id}/report.html
#[utoipa::path(
    get,
    path = "/api/v1/runs/{id}/report.html",
    tag = "runs",
    params(("id" = String, Path, description = "The run's id")),
    responses(
        (status = 200, description = "The report as a page of its own", content_type = "text/html", body = String),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run is still under way", body = wire::Problem),
    )
)]
pub async fn report_html(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let text = site
        .ask({
            let id = id.clone();
            move |site| scenario::report_html(&report(site, &id)?).map_err(|error| Problem::ours(&error))
        })
        .await?;
    let mut response = file(&id, "html", "text/html; charset=utf-8", text);
    // The page brings its own style, and may do nothing else.
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"),
    );
    Ok(response)
}
