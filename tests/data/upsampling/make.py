#!/usr/bin/env python3
"""Makes the cases beside this file with PyTorch (2.15 on x86-64 with AVX2): `pip install torch`, then run me.

Each file holds a case as `threadscape workloads upsampling --input` takes it, and PyTorch's output.
"""
import json
import pathlib

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
torch.manual_seed(20260501)


def keep(name, case, output):
    text = json.dumps({"case": case, "output": output.tolist()}, separators=(",", ":"))
    (HERE / f"{name}.json").write_text(text + "\n")


def interpolate(name, image, **params):
    case = {"op": "interpolate", "params": params, "input": image.tolist()}
    if image.dtype == torch.uint8:
        case["dtype"] = "u8"
    keep(name, case, F.interpolate(image, **params))


def real(*shape):
    return torch.randn(*shape)


def byte(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8)


interpolate("nearest", real(1, 2, 3, 4), scale_factor=[2.5, 1.75])
interpolate("nearest_kept_and_doubled", real(1, 1, 5, 4), scale_factor=[1.1, 2.2])
interpolate("nearest_large", real(1, 1, 5, 4), size=[3, 131])
interpolate("nearest_exact", real(1, 2, 4, 3), size=[7, 5], mode="nearest-exact")
interpolate("nearest_exact_ties", real(1, 1, 1, 2), size=[6, 123], mode="nearest-exact")
interpolate("bilinear", real(2, 2, 4, 5), scale_factor=2, mode="bilinear")
interpolate("bilinear_corners", real(1, 2, 4, 5), size=[7, 11], mode="bilinear", align_corners=True)
interpolate("bilinear_factor", real(1, 1, 5, 6), scale_factor=1.7, mode="bilinear")
interpolate("bilinear_recomputed", real(1, 1, 5, 6), scale_factor=1.7, mode="bilinear", recompute_scale_factor=True)
interpolate("bilinear_antialias", real(1, 1, 11, 13), size=[4, 5], mode="bilinear", antialias=True)
interpolate("bicubic", real(1, 2, 4, 5), scale_factor=2, mode="bicubic")
interpolate("bicubic_corners", real(1, 1, 5, 4), size=[8, 3], mode="bicubic", align_corners=True)
interpolate("bicubic_factor", real(1, 1, 5, 6), scale_factor=[0.6, 2.3], mode="bicubic")
interpolate("bicubic_antialias", real(1, 1, 11, 13), size=[5, 17], mode="bicubic", antialias=True)
interpolate("bytes_bilinear", byte(1, 3, 5, 4), size=[9, 10], mode="bilinear")
interpolate("bytes_bicubic", byte(1, 3, 5, 4), scale_factor=2, mode="bicubic")
interpolate("bytes_bicubic_antialias", byte(1, 1, 12, 9), size=[5, 6], mode="bicubic", antialias=True)
interpolate("bytes_nearest", byte(1, 5, 3, 4), scale_factor=3)

image = real(1, 8, 2, 3)
keep("pixel_shuffle", {"op": "pixel_shuffle", "params": {"upscale_factor": 2}, "input": image.tolist()}, F.pixel_shuffle(image, 2))
image = real(1, 1, 6, 3)
keep("pixel_unshuffle", {"op": "pixel_unshuffle", "params": {"downscale_factor": 3}, "input": image.tolist()}, F.pixel_unshuffle(image, 3))

values, indices = F.max_pool2d(real(1, 2, 7, 6), 2, stride=2, padding=1, return_indices=True)
params = {"kernel_size": 2, "stride": 2, "padding": 1, "output_size": [7, 6]}
keep(
    "max_unpool2d",
    {"op": "max_unpool2d", "params": params, "input": values.tolist(), "indices": indices.tolist()},
    F.max_unpool2d(values, indices, **params),
)


def transpose(name, image, weight, bias=None, **params):
    case = {"op": "conv_transpose2d", "params": params, "input": image.tolist(), "weight": weight.tolist()}
    if bias is not None:
        case["bias"] = bias.tolist()
    keep(name, case, F.conv_transpose2d(image, weight, bias, **params))


transpose("conv_transpose2d", real(1, 3, 4, 3), real(3, 2, 4, 4), stride=2, padding=1)
transpose(
    "conv_transpose2d_all",
    real(2, 4, 3, 4),
    real(4, 3, 3, 2),
    real(6),
    stride=[3, 2],
    padding=[1, 0],
    output_padding=[2, 1],
    dilation=[2, 3],
    groups=2,
)
