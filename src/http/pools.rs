//! The workbench's pools.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

use super::ask::{Ask, quote};
use super::problem::Problem;
use super::site::{Answer, Site, encode};
use super::wire;

/// GET /pools
#[utoipa::path(get, path = "/api/v1/pools", tag = "pools", responses((status = 200, body = wire::Pools)))]
pub async fn list(State(site): State<Arc<Site>>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(|site| {
        encode(&wire::Pools {
            pools: site.runs.pools().iter().map(wire::Pool::of).collect(),
            workbench_pid: site.runs.workbench_pid().map(|pid| pid.0),
        })
    })
    .await
}

/// GET /pools/{name}
#[utoipa::path(
    get,
    path = "/api/v1/pools/{name}",
    tag = "pools",
    params(("name" = String, Path, description = "The pool's name")),
    responses(
        (status = 200, body = wire::Pool),
        (status = 404, description = "No such pool", body = wire::Problem),
    )
)]
pub async fn one(State(site): State<Arc<Site>>, Path(name): Path<String>, uri: Uri) -> Answer {
    Ask::of(&uri, &[])?;
    site.json(move |site| {
        let pools = site.runs.pools();
        match pools.iter().find(|pool| *pool.name == *name) {
            Some(pool) => encode(&wire::Pool::of(pool)),
            None => {
                let names: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
                Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "no-such-pool",
                    format!("there is no pool {}", quote(&name)),
                )
                .field("name")
                .fix(match names.as_slice() {
                    [] => "start a run: its scenario makes the pools".to_owned(),
                    names => format!("the pools are {}", names.join(", ")),
                }))
            }
        }
    })
    .await
}
