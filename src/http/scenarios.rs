//! The files of the scenario folder, and the check of a text before it is saved or run.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use serde::Deserialize;
use utoipa::ToSchema;

use super::ask::Ask;
use super::site::{Answer, Site, body, encode};
use super::wire;

/// GET /scenarios
#[utoipa::path(get, path = "/api/v1/scenarios", tag = "runs", responses((status = 200, body = wire::Scenarios)))]
pub async fn list(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(|site| {
        encode(&wire::Scenarios {
            scenarios: site.runs.scenarios().into_iter().map(wire::Scenario::of).collect(),
        })
    })
    .await
}

/// A scenario as text.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateBody {
    toml: String,
}

/// POST /scenarios/validate
#[utoipa::path(
    post,
    path = "/api/v1/scenarios/validate",
    tag = "runs",
    request_body = ValidateBody,
    responses(
        (status = 200, description = "Valid or not, and each problem with its line", body = wire::Validation),
        (status = 400, description = "The body is not the JSON this takes", body = wire::Problem),
    )
)]
pub async fn validate(State(site): State<Arc<Site>>, uri: Uri, sent: Body) -> Answer {
    Ask::of(&uri, &[])?;
    let asked: ValidateBody = body(&site, sent, &["toml"]).await?;
    site.json(move |site| {
        let problems = site.runs.validate(&asked.toml);
        encode(&wire::Validation {
            valid: problems.is_empty(),
            problems: problems.iter().map(wire::ValidationProblem::of).collect(),
        })
    })
    .await
}
