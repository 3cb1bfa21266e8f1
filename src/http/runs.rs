//! Runs of scenarios: started, listed, steered, stopped, and their reports.
//!
//! A finished run's report is kept as JSON by the workbench's side. Its CSV and HTML forms are made
//! here from that text, whatever it holds: names in it are hostile, so each form has its encoder.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::ask::Ask;
use super::problem::Problem;
use super::site::{Answer, Site, body, encode, json_response};
use super::wire;
use crate::scenario::StartRun;

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

fn parsed(text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| Problem::ours(&error))
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
        (status = 200, description = "One line a load", content_type = "text/csv", body = String),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run is still under way", body = wire::Problem),
    )
)]
pub async fn report_csv(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let text = site
        .ask({
            let id = id.clone();
            move |site| Ok(csv(&parsed(&report(site, &id)?)?))
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
        (status = 200, description = "The whole document as tables", content_type = "text/html", body = String),
        (status = 404, description = "No such run", body = wire::Problem),
        (status = 409, description = "The run is still under way", body = wire::Problem),
    )
)]
pub async fn report_html(State(site): State<Arc<Site>>, Path(id): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let text = site
        .ask({
            let id = id.clone();
            move |site| Ok(html(&parsed(&report(site, &id)?)?))
        })
        .await?;
    Ok(file(&id, "html", "text/html; charset=utf-8", text))
}

/// One line a load, one column a field, nested ones by their path.
fn csv(document: &Value) -> String {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    let loads = document.get("loads").and_then(Value::as_array);
    for load in loads.map_or(std::slice::from_ref(document), Vec::as_slice) {
        let mut row = Map::new();
        flatten("", load, &mut row);
        rows.push(row);
    }
    let mut columns: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(Map::keys) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let mut text = line(columns.iter().map(|name| cell(name)).collect());
    for row in &rows {
        text += &line(
            columns
                .iter()
                .map(|name| match row.get(name) {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => cell(text),
                    Some(other) => other.to_string(),
                })
                .collect(),
        );
    }
    text
}

fn flatten(path: &str, value: &Value, into: &mut Map<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(&path, value, into);
            }
        }
        // Lists have no place in a table's line; the JSON has them.
        Value::Array(_) => {}
        plain => {
            into.insert(path.to_owned(), plain.clone());
        }
    }
}

/// Quoted, and never the beginning of a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, text.replace('"', "\"\""))
}

/// How deep tables may nest; our reports have four levels.
const DEEPEST: usize = 12;

fn html(document: &Value) -> String {
    let title = document.get("scenario").and_then(Value::as_str).unwrap_or("run");
    let verdict = document.get("verdict").and_then(Value::as_str).unwrap_or("no verdict");
    let (title, verdict) = (escape(title), escape(verdict));
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{title}: {verdict}</title>\n<h1>{title}: {verdict}</h1>\n"
    );
    table(document, 0, &mut text);
    text += "\n</html>\n";
    text
}

fn table(value: &Value, depth: usize, into: &mut String) {
    match value {
        _ if depth > DEEPEST => into.push('…'),
        Value::Object(fields) => {
            into.push_str("<table border=\"1\">\n");
            for (name, value) in fields {
                let _ = write!(into, "<tr><th align=\"left\" valign=\"top\">{}</th><td>", escape(name));
                table(value, depth + 1, into);
                into.push_str("</td></tr>\n");
            }
            into.push_str("</table>");
        }
        Value::Array(items) => {
            into.push_str("<ol>\n");
            for item in items {
                into.push_str("<li>");
                table(item, depth + 1, into);
                into.push_str("</li>\n");
            }
            into.push_str("</ol>");
        }
        Value::Null => into.push_str("unknown"),
        Value::String(text) => into.push_str(&escape(text)),
        plain => into.push_str(&plain.to_string()),
    }
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_report_as_csv_has_a_line_for_each_load() {
        let document = json!({"loads": [
            {"name": "=cmd|'/c calc'!A1", "done": 3, "response": {"p99_seconds": 0.5}, "list": [1]},
            {"name": "b \"quoted\"", "done": 4, "late": null},
        ]});
        assert_eq!(
            csv(&document),
            "\"done\",\"name\",\"response.p99_seconds\",\"late\"\r\n\
             3,\"'=cmd|'/c calc'!A1\",0.5,\r\n\
             4,\"b \"\"quoted\"\"\",,\r\n"
        );
    }

    #[test]
    fn a_report_as_html_lets_no_markup_through() {
        let page = html(&json!({"scenario": "<script>alert(1)</script>", "x": [{"a\"": null}]}));
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("&lt;script&gt;") && page.contains("a&quot;") && page.contains("unknown"));
    }
}
