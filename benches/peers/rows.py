"""What is compared with what. Inputs are made here once, from fixed seeds, and handed over as files."""

import itertools

import numpy

PORTS = itertools.count(29500)


def all_rows(folder):
    def file(name, values):
        path = folder / name
        values.tofile(path)
        return path

    yield from lists(file)
    yield from attention(file)
    yield from upsampling(file)
    yield from geometry(file)
    yield from training()
    yield from allreduce(folder)
    yield {
        "title": "Medusa greedy, 6 texts of 128 tokens",
        "ours": "medusa.greedy",
        "threads": [1],
        "parameters": {"tokens": 128},
        # Token for token the same text.
        "tolerance": 0,
        "peers": [("plain decoding, same model", "ours", "medusa.plain")],
    }


def lists(file):
    random = numpy.random.default_rng(1)
    for m, n in [(10_000_000, 10_000_000), (10_000_000, 1_000_000)]:
        yield {
            "title": f"merge {m} + {n} i64",
            "ours": "lists.merge",
            "parameters": {
                "a": file("a", numpy.sort(random.integers(0, 1 << 40, m))),
                "b": file("b", numpy.sort(random.integers(0, 1 << 40, n))),
            },
            "bytes": 16 * (m + n),
            "peers": [
                ("numpy stable sort of two runs", "python", "lists.merge", "one thread"),
                ("std::merge, gnu parallel", "native", "merge"),
                ("rayon par_sort", "ours", "lists.merge_rayon_sort"),
            ],
        }
    for n in [1_000_000, 20_000_000]:
        yield {
            "title": f"maximum gap of {n} below 2^31",
            "ours": "lists.gap",
            "parameters": {"nums": file("nums", random.integers(0, 1 << 31, n))},
            "peers": [
                ("numpy sort and diff", "python", "lists.gap", "one thread"),
                ("rayon par_sort and scan", "ours", "lists.gap_rayon_sort"),
            ],
        }
    for nodes, queries, peers in [
        (1_000_000, 1_000_000, [("Euler tour and sparse table, C++", "native", "ancestor", "one thread")]),
        (20_000, 20_000, [("networkx", "python", "lists.ancestor", "one thread")]),
    ]:
        none = numpy.iinfo("i8").min
        order, count = [0], 1
        # The first levels are full, so that the tree cannot end early.
        while count < nodes:
            missing = count > 64 and random.random() < 0.45
            order.append(none if missing else count)
            count += not missing
        yield {
            "title": f"{queries} ancestors in {nodes} nodes",
            "ours": "lists.ancestor",
            "parameters": {
                "order": file("order", numpy.array(order, "<i8")),
                "queries": file("queries", random.integers(0, nodes, 2 * queries, dtype="u4")),
            },
            "peers": peers,
        }
    for by, peer in [("search", "plain recursion, C++"), ("table", "dynamic programming, C++")]:
        yield {
            "title": f"combination sum 1..60 to 80, by {by}",
            "ours": "lists.combinations",
            "parameters": {"candidates": ",".join(map(str, range(1, 61))), "target": 80, "by": by},
            "peers": [(peer, "native", "combinations", "one thread")],
        }


def attention(file):
    random = numpy.random.default_rng(2)
    heads, dim = 8, 64

    def normal(name, length):
        return file(name, random.standard_normal((heads, length, dim), dtype="f4"))

    def row(title, ours, length, queries, dtype, causal, flops, peers):
        tolerance = 1e-4 if dtype == "f32" else 3e-2
        return {
            "title": title,
            "ours": ours,
            "parameters": {
                "heads": heads, "queries": queries, "keys": length, "dim": dim, "dtype": dtype,
                "causal": int(causal), "q": normal("q", queries), "k": normal("k", length), "v": normal("v", length),
            },
            "flops": flops,
            "tolerance": tolerance,
            "peers": peers,
        }

    for dtype in ["f32", "bf16"]:
        for length in [512, 1024, 2048, 4096, 8192]:
            for causal in [False, True]:
                flops = 4 * heads * length * length * dim // (2 if causal else 1)
                kind = "causal" if causal else "full"
                peers = [("torch SDPA", "python", "attention.forward")]
                if length == 2048 and dtype == "f32" and not causal:
                    peers.append(("torch, standard method", "python", "attention.standard"))
                yield row(
                    f"attention {dtype} {kind} {length}", "attention.forward", length, length, dtype, causal, flops, peers
                )
    for length in [512, 2048]:
        flops = 14 * heads * length * length * dim // 2
        yield row(
            f"attention f32 causal {length}, and backward", "attention.forward_backward", length, length, "f32", True,
            flops, [("torch SDPA", "python", "attention.forward_backward")],
        )
    decode = row(
        "attention f32, one query over 4096 keys", "attention.decode", 4096, 1, "f32", False, 0,
        [("torch SDPA", "python", "attention.forward")],
    )
    del decode["flops"]
    decode["bytes"] = 2 * heads * 4096 * dim * 4
    yield decode


def upsampling(file):
    random = numpy.random.default_rng(3)

    def row(title, ours, shape, peers, dtype="f32", cost=None, **parameters):
        batch, channels, height, width = shape
        pixels = random.integers(0, 256, shape, dtype="u1") if dtype == "u8" else random.random(shape, dtype="f4")
        return {
            "title": title,
            "ours": ours,
            "parameters": {
                "batch": batch, "channels": channels, "height": height, "width": width, "dtype": dtype,
                "input": file("image", pixels), **parameters,
            },
            "tolerance": 1e-4,
            **(cost or {}),
            "peers": peers,
        }

    torch = [("torch interpolate", "python", "upsampling.interpolate")]
    shape = (1, 64, 256, 256)
    traffic = {"bytes": 4 * 5 * 64 * 256 * 256}
    for mode, corners in [("nearest", 0), ("bilinear", 0), ("bilinear", 1), ("bicubic", 0), ("bicubic", 1)]:
        title = f"{mode}{', corners' if corners else ''} 64x256x256 x2 f32"
        yield row(
            title, "upsampling.interpolate", shape, torch, cost=traffic, mode=mode, align_corners=corners, factor=2
        )
    for dtype in ["f32", "u8"]:
        for mode in ["nearest", "bilinear", "bicubic"]:
            wide = 4 if dtype == "f32" else 1
            other = ["other rounding"] if (mode, dtype) == ("bicubic", "u8") else []
            # OpenCV rounds u8 by its own fixed point, within 1; the coordinates are PyTorch's of align_corners
            # false. Its bicubic keeps what is below 0 and above 255 between the two passes, PyTorch's (and ours)
            # does not, so on noise they differ.
            made = row(
                f"{mode} 1080p to 2160p {dtype}", "upsampling.interpolate", (1, 3, 1080, 1920),
                [("OpenCV", "python", "upsampling.opencv", *other), *torch], dtype,
                {"bytes": wide * 5 * 3 * 1080 * 1920}, mode=mode, align_corners=0, factor=2,
            )
            made["tolerance"] = 1e-4 if dtype == "f32" else 1
            yield made
    yield row(
        "pixel shuffle 256x256x256 r2", "upsampling.pixel_shuffle", (1, 256, 256, 256),
        [("torch", "python", "upsampling.pixel_shuffle")], cost={"bytes": 8 * 256 * 256 * 256}, factor=2,
    )
    yield row(
        "max-unpool 64x128x128 k2", "upsampling.max_unpool", (1, 64, 256, 256),
        [("torch", "python", "upsampling.max_unpool")],
    )
    weight = random.standard_normal((64, 32, 4, 4), dtype="f4") / 32
    yield row(
        "transposed convolution 64 to 32 k4 s2 p1", "upsampling.conv_transpose", (1, 64, 256, 256),
        [("torch", "python", "upsampling.conv_transpose")], cost={"flops": 2 * 64 * 32 * 16 * 256 * 256},
        weight=file("weight", weight), out_channels=32, kernel=4, stride=2, padding=1,
    )


def geometry(file):
    random = numpy.random.default_rng(4)

    def disk(n):
        radius, angle = numpy.sqrt(random.random(n)), 2 * numpy.pi * random.random(n)
        return numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], 1)

    def row(title, ours, peers, **parameters):
        return {"title": title, "ours": ours, "parameters": parameters, "peers": peers, "tolerance": 1e-9}

    yield row(
        "hull of 1M points in a disk", "geometry.hull",
        [
            ("geo", "ours", "geometry.hull_geo", "one thread"),
            ("qhull (scipy)", "python", "geometry.hull_qhull", "one thread"),
            ("GEOS (shapely)", "python", "geometry.hull_geos", "one thread"),
        ],
        points=file("disk", disk(1_000_000)),
    )
    yield row(
        "closest pair of 1M", "geometry.closest_pair", [("scipy k-d tree", "python", "geometry.closest_pair")],
        points=file("square", random.random((1_000_000, 2))),
    )
    ends = random.random((100_000, 1, 2))
    yield row(
        "crossings of 100k short segments", "geometry.crossings",
        [("shapely STRtree", "python", "geometry.crossings", "one thread")],
        points=file("segments", ends + numpy.concatenate([0 * ends, (random.random((100_000, 1, 2)) - 0.5) * 0.01], 1)),
    )
    angle = numpy.sort(2 * numpy.pi * random.random(10_000))
    radius = 0.5 + 0.4 * random.random(10_000)
    yield row(
        "1M points in a 10k-gon", "geometry.inside", [("shapely, prepared", "python", "geometry.inside", "one thread")],
        polygon=file("polygon", numpy.stack([radius * numpy.cos(angle), radius * numpy.sin(angle)], 1)),
        points=file("cloud", 2 * random.random((1_000_000, 2)) - 1),
    )
    yield row(
        "Delaunay of 200k", "geometry.delaunay",
        [
            ("qhull (scipy)", "python", "geometry.delaunay", "one thread"),
            ("spade", "ours", "geometry.delaunay_spade", "one thread"),
        ],
        points=file("delaunay", random.random((200_000, 2))),
    )
    angle = 2 * numpy.pi * random.random(100_000)
    planes = numpy.stack([numpy.cos(angle), numpy.sin(angle), 1 + 0.1 * random.random(100_000)], 1)
    yield row(
        "100k half-planes", "geometry.half_planes",
        [("qhull (scipy)", "python", "geometry.half_planes", "one thread")], planes=file("planes", planes),
    )


def training():
    for model, mode, hidden in [
        ("mlp", "f32", 256), ("mlp", "bf16", 256), ("mlp", "f64", 256), ("conv", "f32", 0), ("conv", "bf16", 0),
    ]:
        yield {
            "title": f"training step {model} {mode}, batch 256",
            "ours": "training.step",
            "parameters": {"model": model, "mode": mode, "batch": 256, "hidden": hidden},
            "peers": [("torch", "python", "training.step")],
        }


def allreduce(folder):
    for elements in [1 << 18, 1 << 22, 1 << 24]:
        pipes = folder / f"pipes{elements}"
        pipes.mkdir()
        yield {
            "title": f"allreduce {elements >> 18} MiB f32, 2 ranks",
            "ours": "allreduce.shared",
            # A rank is a thread: two of them on both sides.
            "threads": [2],
            "parameters": {"ranks": 2, "elements": elements},
            "peers": [
                ("OpenMPI, shared memory", "mpi", "allreduce_mpi", {"pipes": pipes}),
                ("gloo, loopback TCP", "python", "allreduce.gloo", {"port": next(PORTS)}),
            ],
        }
        yield {
            "title": f"allreduce {elements >> 18} MiB f32, 2 processes",
            "ours": "allreduce.sockets",
            "threads": [2],
            "parameters": {"ranks": 2, "elements": elements},
            "peers": [("gloo, loopback TCP", "python", "allreduce.gloo", {"port": next(PORTS)})],
        }
