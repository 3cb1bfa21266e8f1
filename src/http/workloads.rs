//! The catalogue of workloads.

use axum::http::{StatusCode, Uri};

use super::ask::Ask;
use super::site::{Answer, encode, json_response};
use super::wire;
use crate::workloads::CATALOGUE;

/// GET /workloads
#[utoipa::path(get, path = "/api/v1/workloads", tag = "runs", responses((status = 200, body = wire::Workloads)))]
pub async fn list(uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    let body = encode(&wire::Workloads {
        workloads: CATALOGUE
            .iter()
            .map(|workload| wire::Workload::of(workload.about()))
            .collect(),
    })?;
    Ok(json_response(StatusCode::OK, body))
}
