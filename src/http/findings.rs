//! What detectors found, in one process or in all that are watched.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{Path, State};
use axum::http::Uri;

use super::ask::Ask;
use super::site::{Answer, Site, encode};
use super::wire;

/// GET /processes/{pid}/findings
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/findings",
    tag = "findings",
    params(("pid" = String, Path, description = "A number, self or workbench")),
    responses(
        (status = 200, description = "What was found so far; the process is watched from now on", body = wire::Findings),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn of_process(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        let findings = site.looks.findings(pid)?;
        encode(&wire::Findings::of(findings.iter(), SystemTime::now()))
    })
    .await
}

/// GET /findings
#[utoipa::path(
    get,
    path = "/api/v1/findings",
    tag = "findings",
    responses((status = 200, description = "Of every process that is watched", body = wire::Findings))
)]
pub async fn of_all(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let findings = site.looks.all_findings();
        encode(&wire::Findings::of(findings.iter(), SystemTime::now()))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;

    #[test]
    fn the_most_severe_comes_first_and_figures_that_are_no_numbers_never_leave() {
        let mut notice = fakes::finding();
        notice.severity = crate::model::Severity::Notice;
        notice.evidence[0].value = f64::NAN;
        let found = [notice, fakes::finding()];
        let shape = serde_json::to_value(wire::Findings::of(found.iter(), SystemTime::UNIX_EPOCH)).unwrap();
        assert_eq!(shape["findings"][0]["severity"], "critical");
        assert_eq!(shape["findings"][0]["evidence"][0]["value"], 2.0);
        assert_eq!(shape["findings"][0]["lasted_seconds"], 3.0);
        assert!(shape["findings"][1]["evidence"][0]["value"].is_null());
    }
}
