//! The memory of one process: what its threads share, and what is each thread's own.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;

use super::ask::Ask;
use super::site::{Answer, Site, encode, wall_clock_of};
use super::wire;
use crate::model::{MemoryMap, Snapshot};

/// GET /processes/{pid}/memory
#[utoipa::path(
    get,
    path = "/api/v1/processes/{pid}/memory",
    tag = "memory",
    params(
        ("pid" = String, Path, description = "A number, self or workbench"),
        ("regions" = Option<bool>, Query, description = "Whether to list every mapping"),
    ),
    responses(
        (status = 200, body = wire::Memory),
        (status = 400, description = "A parameter cannot be used", body = wire::Problem),
        (status = 403, description = "The kernel does not let us read this process", body = wire::Problem),
        (status = 404, description = "No such process", body = wire::Problem),
    )
)]
pub async fn memory(State(site): State<Arc<Site>>, Path(pid): Path<String>, uri: Uri) -> Answer {
    let regions = Ask::of(&uri, &["regions"])?.flag("regions")?;
    site.json(move |site| {
        let pid = site.pid("pid", &pid)?;
        let snapshot = site.looks.snapshot(pid)?;
        let map = site.looks.memory(pid)?;
        encode(&shape(&map, &snapshot, regions))
    })
    .await
}

fn shape<'a>(map: &'a MemoryMap, snapshot: &'a Snapshot, regions: bool) -> wire::Memory<'a> {
    let taken_at = wall_clock_of(map.taken_at);
    wire::Memory::of(
        map,
        wire::ProcessRef::of(snapshot),
        taken_at,
        Ok(&snapshot.threads),
        regions,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fakes;
    use crate::model::Unknown;

    #[test]
    fn the_parts_add_up_to_the_total() {
        let snapshot = fakes::snapshot(2);
        let map = fakes::memory();
        let shape = serde_json::to_value(shape(&map, &snapshot, true)).unwrap();
        let mut sum = 0;
        for group in ["shared", "per_thread"] {
            for part in shape[group].as_object().unwrap().values() {
                sum += part["resident_bytes"].as_u64().unwrap();
            }
        }
        assert_eq!(shape["total"]["resident_bytes"].as_u64(), Some(sum));
        assert_eq!(shape["regions"].as_array().unwrap().len(), map.regions.len());
    }

    #[test]
    fn without_smaps_residence_is_unknown_and_says_why() {
        let mut map = fakes::memory();
        map.resident_known = Err(Unknown::PtraceDenied);
        let shape = serde_json::to_value(shape(&map, &fakes::snapshot(2), false)).unwrap();
        assert!(shape["total"]["resident_bytes"].is_null());
        assert!(shape["total"]["virtual_bytes"].is_u64());
        assert_eq!(shape["unknown"]["sizes.resident_bytes"]["reason"], "denied");
        assert!(shape["regions"].as_array().unwrap().is_empty());
    }
}
