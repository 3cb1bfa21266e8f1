//! What the threads of one process wait for, held by whom.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;

use super::ask::Ask;
use super::site::{Answer, Site, encode};
use super::{stacks, wire};
use crate::observe::StackOptions;

/// GET /processes/{pid}/locks
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/locks",
    tag = "stacks",
    params(("pid" = String, Path, description = "A number, self or workbench")),
    responses(
        (status = 200, body = wire::Locks),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn locks(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        let report = site.looks.locks(pid, &StackOptions::default())?;
        let taken_at = wire::rfc3339(report.dump.wall_clock);
        encode(&wire::Locks::of(
            &report,
            stacks::reference(site, &report.dump),
            taken_at,
        ))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use serde_json::json;

    #[test]
    fn a_cycle_names_its_threads_what_they_hold_and_what_they_want() {
        let report = fakes::deadlock();
        let shape = wire::Locks::of(
            &report,
            wire::ProcessRef {
                pid: 1,
                start_time: 0.0,
                name: String::new(),
                role: "other",
            },
            String::new(),
        );
        let shape = serde_json::to_value(shape).unwrap();
        let first = fakes::OTHER.0;
        assert_eq!(shape["deadlocks"][0]["confirmed"], true);
        let steps = &shape["deadlocks"][0]["threads"];
        assert_eq!(
            (&steps[0]["tid"], &steps[0]["holds"], &steps[0]["wants"]),
            (&json!(first), &json!(1), &json!(0))
        );
        assert_eq!(steps[0]["frames"][0]["function"], "function_10");
        assert_eq!(shape["locks"][0]["owner"]["tid"], first + 1);
        assert_eq!(shape["locks"][0]["owner"]["proof"], "recorded");
        assert_eq!(shape["locks"][0]["place"]["text"], "left+0x28");
        assert_eq!(shape["locks"][1]["place"]["text"], format!("stack of thread {first}"));
        assert_eq!(shape["waits"][1]["lock"], 1);
        assert_eq!(
            shape["holders"],
            json!([
                {"tid": first, "name": shape["holders"][0]["name"], "locks": [1]},
                {"tid": first + 1, "name": shape["holders"][1]["name"], "locks": [0]},
            ])
        );
        assert_eq!(shape["chains"][0]["root_doing"], "owner_unknown");
        assert_eq!(shape["chains"][0]["root"], json!(null));
        assert_eq!(shape["locks"][2]["owner_unknown"]["code"], "owner_not_recorded");
    }
}
