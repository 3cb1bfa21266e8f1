//! Errors as outsiders see them: RFC 9457 problem documents, and the one place where an error of
//! another room becomes a status.
//!
//! Each says what is wrong (`detail`), where (`field`: the parameter or body field) and, where we
//! know, the way out (`fix`). What our own side got wrong is logged with its cause and told
//! without it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::wire;
use crate::history::HistoryError;
use crate::observe::InspectError;
use crate::scenario::{RunError, ValidationProblem};

pub const PROBLEM_JSON: &str = "application/problem+json";

/// One word wide, so that the good answers beside it stay small.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Told>);

#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub status: StatusCode,
    /// The kind, as the last part of the problem's type.
    kind: &'static str,
    pub detail: String,
    pub field: Option<String>,
    pub fix: Option<String>,
    problems: Option<Vec<wire::ValidationProblem>>,
    retry_after_seconds: Option<u32>,
}

impl std::ops::Deref for Problem {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.0
    }
}

impl Problem {
    pub fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Problem {
        Problem(Box::new(Told {
            status,
            kind,
            detail: detail.into(),
            field: None,
            fix: None,
            problems: None,
            retry_after_seconds: None,
        }))
    }

    /// A parameter that cannot be used.
    pub fn bad(field: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad-parameter", detail).field(field)
    }

    pub fn busy(detail: impl Into<String>) -> Problem {
        let mut problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
        problem.0.retry_after_seconds = Some(1);
        problem
    }

    /// Our own fault: the cause goes to the log.
    pub fn ours(cause: &dyn std::fmt::Display) -> Problem {
        tracing::error!(%cause, "a request could not be answered");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the answer could not be made; the daemon's log says why",
        )
    }

    pub fn field(mut self, field: &str) -> Problem {
        self.0.field = Some(field.to_owned());
        self
    }

    pub fn fix(mut self, fix: impl Into<String>) -> Problem {
        self.0.fix = Some(fix.into());
        self
    }

    /// For an answer that the HTTP layer itself gave as bare text.
    pub fn of_status(status: StatusCode, detail: &str) -> Problem {
        let (kind, detail, fix) = match status {
            StatusCode::NOT_FOUND => (
                "no-such-route",
                "there is nothing at this path",
                Some("GET /api/v1/openapi.json lists every route"),
            ),
            StatusCode::METHOD_NOT_ALLOWED => (
                "wrong-method",
                "this path does not take this method",
                Some("the Allow header lists the methods it takes"),
            ),
            _ => ("bad-request", detail, None),
        };
        let problem = Problem::new(status, kind, detail);
        match fix {
            Some(fix) => problem.fix(fix),
            None => problem,
        }
    }

    fn invalid(problems: &[ValidationProblem], detail: String) -> Problem {
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-scenario", detail).field("toml");
        problem.0.problems = Some(problems.iter().map(wire::ValidationProblem::of).collect());
        problem
    }

    /// Which field of a request an error about a run speaks of: `id` where not told otherwise.
    pub fn of_run(error: RunError) -> Problem {
        let detail = error.to_string();
        match error {
            RunError::Invalid(problems) => Problem::invalid(&problems, detail),
            RunError::UnknownScenario { .. } => Problem::new(StatusCode::NOT_FOUND, "no-such-scenario", detail)
                .field("scenario")
                .fix("GET /api/v1/scenarios lists them"),
            RunError::UnknownRun(_) => Problem::new(StatusCode::NOT_FOUND, "no-such-run", detail).field("id"),
            RunError::Busy(id) => {
                Problem::new(StatusCode::CONFLICT, "busy-run", detail).fix(format!("DELETE /api/v1/runs/{id} stops it"))
            }
            RunError::Over(_) => Problem::new(StatusCode::CONFLICT, "run-over", detail).field("id"),
            RunError::Workbench(_) => Problem::busy(detail),
        }
    }

    fn shape(&self) -> wire::Problem {
        wire::Problem {
            r#type: format!("urn:threadscape:problem:{}", self.kind),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            field: self.field.clone(),
            fix: self.fix.clone(),
            problems: self.problems.clone(),
        }
    }
}

impl From<InspectError> for Problem {
    fn from(error: InspectError) -> Problem {
        let detail = error.to_string();
        match error {
            InspectError::NoProcess(_) => Problem::new(StatusCode::NOT_FOUND, "no-such-process", detail)
                .field("pid")
                .fix("GET /api/v1/processes lists those that can be seen"),
            InspectError::NoThread { .. } => Problem::new(StatusCode::NOT_FOUND, "no-such-thread", detail).field("tid"),
            InspectError::Ended(_) => Problem::new(StatusCode::NOT_FOUND, "process-ended", detail).field("pid"),
            InspectError::Denied(_) => Problem::new(StatusCode::FORBIDDEN, "denied", detail)
                .field("pid")
                .fix("run threadscape as the owner of the process, as root, or with CAP_SYS_PTRACE"),
            InspectError::Late(..) => Problem::busy(detail).field("pid"),
            InspectError::Stopped => Problem::busy(detail),
            InspectError::Unreadable { ref source, .. } => {
                tracing::error!(%error, %source, "a process could not be read");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "unreadable", detail).field("pid")
            }
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Problem {
        let detail = error.to_string();
        match error {
            HistoryError::EmptyRange => Problem::bad("from", detail),
            HistoryError::TooMany(..) => Problem::bad("step", detail),
            HistoryError::NotOfThreads(_) => {
                Problem::bad("series", detail).fix("leave out `thread`, or ask for a series that is kept of threads")
            }
            HistoryError::Nothing => Problem::new(StatusCode::NOT_FOUND, "no-history", detail).field("process"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.shape()).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"threadscape\""),
            );
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Pid, Tid};

    #[test]
    fn each_error_of_another_room_has_a_status_and_a_field() {
        let check = |problem: Problem, status: u16, field: Option<&str>| {
            assert_eq!(problem.status.as_u16(), status, "{problem:?}");
            assert_eq!(problem.field.as_deref(), field, "{problem:?}");
        };
        check(InspectError::NoProcess(Pid(7)).into(), 404, Some("pid"));
        check(
            InspectError::NoThread {
                pid: Pid(7),
                tid: Tid(8),
            }
            .into(),
            404,
            Some("tid"),
        );
        check(InspectError::Denied(Pid(1)).into(), 403, Some("pid"));
        check(InspectError::Stopped.into(), 503, None);
        check(HistoryError::EmptyRange.into(), 400, Some("from"));
        check(HistoryError::TooMany(9, 5).into(), 400, Some("step"));
        check(Problem::of_run(RunError::Busy("r1".into())), 409, None);
        check(Problem::of_run(RunError::Invalid(Vec::new())), 422, Some("toml"));
        check(Problem::of_run(RunError::UnknownRun("r9".into())), 404, Some("id"));
    }

    #[test]
    fn our_own_fault_is_told_without_its_cause() {
        let problem = Problem::ours(&"the secret path /root/x");
        assert!(!problem.detail.contains("secret"));
    }
}
