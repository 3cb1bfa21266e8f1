//! The memory of one process: what its threads share, and what is each thread's own.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Uri;

use super::ask::Ask;
use super::site::{Answer, Site, encode, wall_clock_of};
use super::wire::{self, Gaps, Sizes};
use crate::model::{MemoryMap, RegionKind, Snapshot, Thread, Tid};

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
    let mut gaps = Gaps::default();
    let resident = map.resident_known.is_ok();
    if let Err(unknown) = map.resident_known {
        for path in [
            "sizes.resident_bytes",
            "sizes.proportional_bytes",
            "sizes.private_bytes",
        ] {
            gaps.note(path, unknown);
        }
    }
    let sum = |kinds: &[RegionKind]| Sizes::of(map.sum(kinds), resident);
    let rows: HashMap<Tid, &Thread> = snapshot.threads.iter().map(|thread| (thread.key.tid, thread)).collect();
    let found_by: HashMap<Tid, &'static str> = map
        .regions
        .iter()
        .filter(|region| region.kind == RegionKind::Stack)
        .filter_map(|region| Some((region.owner?, region.found_by?)))
        .collect();
    let threads = map
        .stacks
        .iter()
        .map(|(tid, name, stack)| {
            let row = rows.get(tid).copied();
            wire::ThreadMemory::of(*tid, name, stack, found_by.get(tid).copied(), row, &mut gaps)
        })
        .collect();
    let total = map
        .regions
        .iter()
        .fold(crate::model::Sizes::default(), |sum, region| sum.plus(region.sizes));
    wire::Memory {
        process: wire::ProcessRef::of(snapshot),
        taken_at: wire::rfc3339(wall_clock_of(map.taken_at)),
        shared: wire::SharedMemory {
            heap: sum(&[RegionKind::Heap]),
            code: sum(&[RegionKind::Code]),
            globals: sum(&[RegionKind::Globals]),
            mapped_files: sum(&[RegionKind::MappedFile]),
            shared_memory: sum(&[RegionKind::SharedMemory]),
            other: sum(&[RegionKind::Kernel, RegionKind::Other]),
        },
        per_thread: wire::PerThread {
            stacks: sum(&[RegionKind::Stack]),
            guards: sum(&[RegionKind::Guard]),
        },
        total: Sizes::of(total, resident),
        kernel: wire::KernelTotals {
            rollup: gaps
                .one("kernel.rollup", &map.totals.rollup)
                .map(|rollup| Sizes::of(*rollup, true)),
            statm_virtual_bytes: map.totals.statm_virtual_bytes,
            statm_resident_bytes: map.totals.statm_resident_bytes,
        },
        threads,
        regions: if regions {
            map.regions
                .iter()
                .map(|region| wire::Region::of(region, resident))
                .collect()
        } else {
            Vec::new()
        },
        unknown: gaps.finish(),
    }
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
