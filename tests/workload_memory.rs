//! Holds what workloads say of their memory against what they take: a counting allocator sees
//! every byte of inputs, tasks and checks, at their peak. A test binary of its own, because the
//! allocator counts for the whole process and so nothing else may run in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use threadscape::workloads::{self, Join, ParamValue, Params};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is also the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `memory` came from `alloc` above with this layout, so from the system.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct OnThreads(usize);

impl Join for OnThreads {
    fn both(&self, a: &mut (dyn FnMut() + Send), b: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(b);
            a();
        });
    }

    fn width(&self) -> usize {
        self.0
    }
}

/// The most bytes there were at once while `workers` threads ran and checked forked tasks.
fn peak(workload: &dyn workloads::Workload, params: &Params, workers: usize) -> usize {
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let prepared = workload.prepare(params, 9).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..workers as u64 {
            let prepared = &prepared;
            scope.spawn(move || {
                for task in [worker, worker + 1] {
                    let answer = prepared.run(task, &OnThreads(workers));
                    prepared.verify(task, &answer).unwrap();
                }
            });
        }
    });
    drop(prepared);
    PEAK.load(Ordering::Relaxed) - before
}

/// What the threads of the test itself may take: each fork is one, and their handles and results
/// are no part of the workload.
const THREADS: usize = 1 << 20;

#[test]
fn workloads_take_no_more_memory_than_they_say() {
    let whole = |name: &str, value: i64| (name.to_owned(), ParamValue::Integer(value));
    let choice = |name: &str, value: &str| (name.to_owned(), ParamValue::Text(value.to_owned()));
    let flag = |name: &str, value: bool| (name.to_owned(), ParamValue::Flag(value));
    let cases = [
        ("lowest_common_ancestor", vec![]),
        (
            "lowest_common_ancestor",
            vec![choice("method", "inlabel"), choice("shape", "chain")],
        ),
        (
            "lowest_common_ancestor",
            vec![
                choice("method", "traversal"),
                choice("shape", "chain"),
                whole("nodes", 100_000),
                whole("queries", 20),
            ],
        ),
        ("lowest_common_ancestor", vec![whole("nodes", 1), whole("queries", 1)]),
        ("merge_sorted_array", vec![]),
        ("merge_sorted_array", vec![whole("m", 0), whole("n", 0)]),
        ("maximum_gap", vec![]),
        ("maximum_gap", vec![choice("shape", "even")]),
        ("maximum_gap", vec![choice("shape", "clustered")]),
        ("maximum_gap", vec![whole("elements", 40)]),
        ("combination_sum", vec![]),
        ("combination_sum", vec![flag("count_only", false), whole("target", 60)]),
        ("combination_sum", vec![flag("reuse", false)]),
        ("flash_attention", vec![]),
        (
            "flash_attention",
            vec![whole("queries", 700), whole("keys", 3000), choice("dtype", "bf16")],
        ),
        (
            "flash_attention",
            vec![
                whole("queries", 2),
                whole("keys", 20_000),
                choice("pass", "decode"),
                whole("inputs", 1),
            ],
        ),
        ("flash_attention", vec![choice("pass", "forward_backward")]),
        (
            "flash_attention",
            vec![
                choice("pass", "forward_backward"),
                choice("dtype", "f64"),
                whole("queries", 900),
                whole("keys", 1100),
                whole("head_dim", 40),
            ],
        ),
        ("upsampling", vec![]),
        (
            "upsampling",
            vec![choice("dtype", "u8"), whole("height", 500), whole("inputs", 1)],
        ),
        (
            "upsampling",
            vec![
                choice("mode", "bilinear"),
                whole("channels", 16),
                ("factor".to_owned(), ParamValue::Number(2.7)),
            ],
        ),
        (
            "upsampling",
            vec![
                flag("antialias", true),
                ("factor".to_owned(), ParamValue::Number(0.3)),
                whole("height", 700),
                whole("width", 900),
            ],
        ),
        ("upsampling", vec![choice("op", "pixel_shuffle"), whole("factor", 3)]),
        (
            "upsampling",
            vec![choice("op", "pixel_unshuffle"), choice("dtype", "u8")],
        ),
        ("upsampling", vec![choice("op", "max_unpool2d"), whole("channels", 8)]),
        (
            "upsampling",
            vec![
                choice("op", "conv_transpose2d"),
                whole("channels", 32),
                whole("out_channels", 20),
            ],
        ),
        (
            "upsampling",
            vec![
                choice("op", "conv_transpose2d"),
                whole("factor", 4),
                whole("width", 300),
            ],
        ),
        ("geometry", vec![]),
        ("geometry", vec![choice("shape", "circle"), whole("points", 100_000)]),
        ("geometry", vec![choice("shape", "collinear"), whole("points", 100_000)]),
        ("geometry", vec![choice("comparison", "eps"), whole("points", 100_000)]),
        ("geometry", vec![choice("op", "diameter"), choice("shape", "circle")]),
        (
            "geometry",
            vec![choice("op", "enclosing_circle"), choice("shape", "circle")],
        ),
        ("geometry", vec![choice("op", "closest_pair"), whole("points", 100_000)]),
        (
            "geometry",
            vec![
                choice("op", "closest_pair"),
                choice("shape", "equal"),
                whole("points", 100_000),
            ],
        ),
        (
            "geometry",
            vec![
                choice("op", "closest_pair"),
                choice("shape", "collinear"),
                whole("points", 100_000),
            ],
        ),
        (
            "geometry",
            vec![choice("op", "point_in_polygon"), whole("points", 100_000)],
        ),
        (
            "geometry",
            vec![
                choice("op", "point_in_polygon"),
                whole("points", 1_000_000),
                whole("inputs", 1),
            ],
        ),
        ("geometry", vec![choice("op", "crossings"), whole("points", 100_000)]),
        (
            "geometry",
            vec![
                choice("op", "crossings"),
                choice("shape", "circle"),
                whole("points", 100_000),
            ],
        ),
        (
            "geometry",
            vec![
                choice("op", "crossings"),
                choice("shape", "equal"),
                whole("points", 1_000),
            ],
        ),
        (
            "geometry",
            vec![
                choice("op", "crossings"),
                choice("shape", "collinear"),
                whole("points", 100_000),
            ],
        ),
        (
            "geometry",
            vec![
                choice("op", "crossings"),
                choice("shape", "grid"),
                whole("points", 100_000),
            ],
        ),
        ("geometry", vec![choice("op", "half_planes"), whole("points", 100_000)]),
        (
            "geometry",
            vec![
                choice("op", "half_planes"),
                choice("shape", "grid"),
                whole("points", 100_000),
            ],
        ),
        ("geometry", vec![choice("op", "delaunay"), whole("points", 100_000)]),
        (
            "geometry",
            vec![
                choice("op", "delaunay"),
                choice("shape", "circle"),
                whole("points", 100_000),
            ],
        ),
        ("mixed_precision", vec![]),
        ("mixed_precision", vec![choice("model", "conv"), whole("batch", 512)]),
        (
            "mixed_precision",
            vec![
                choice("model", "conv"),
                choice("mode", "f32"),
                whole("hidden", 256),
                whole("steps", 1),
            ],
        ),
        (
            "mixed_precision",
            vec![
                choice("mode", "bf16"),
                choice("optimizer", "adam"),
                whole("hidden", 1024),
                whole("shards", 4),
                whole("steps", 1),
            ],
        ),
        (
            "mixed_precision",
            vec![
                choice("mode", "f64"),
                whole("batch", 1400),
                whole("shards", 1),
                whole("hidden", 64),
            ],
        ),
        ("allreduce", vec![]),
        ("allreduce", vec![choice("algorithm", "direct"), choice("dtype", "f64")]),
        (
            "allreduce",
            vec![choice("exchange", "fused"), choice("algorithm", "halving_doubling")],
        ),
        (
            "allreduce",
            vec![whole("ranks", 64), whole("elements", 64), choice("algorithm", "direct")],
        ),
        ("allreduce", vec![whole("ranks", 64), whole("elements", 64)]),
        ("medusa", vec![]),
        (
            "medusa",
            vec![
                choice("mode", "typical"),
                whole("texts", 8),
                whole("tokens", 192),
                whole("nodes", 64),
            ],
        ),
        (
            "medusa",
            vec![
                choice("mode", "plain"),
                whole("tokens", 1),
                whole("prompt", 1),
                whole("nodes", 1),
            ],
        ),
    ];
    for (name, given) in cases {
        let workload = workloads::find(name).unwrap();
        let params = Params::resolve(workload.about(), &given).unwrap();
        for workers in [1, 2] {
            let told = workload.memory_bytes(&params, workers);
            let taken = peak(workload, &params, workers) as u64;
            println!("{name} {given:?}, {workers} workers: told {told}, taken {taken}");
            assert!(
                taken <= told + THREADS as u64,
                "{name} {given:?} on {workers} workers takes {taken} bytes but tells {told}"
            );
        }
    }
}
