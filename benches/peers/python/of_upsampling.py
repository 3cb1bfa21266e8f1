"""Upsampling by torch.nn.functional and OpenCV."""

import numpy
import torch

F = torch.nn.functional


def image(asked):
    torch.set_num_threads(asked["threads"])
    shape = [int(asked[name]) for name in ("batch", "channels", "height", "width")]
    kind = "<f4" if asked.get("dtype", "f32") == "f32" else "u1"
    return torch.from_numpy(numpy.fromfile(asked["input"], kind).reshape(shape))


def timed(make):
    out = [None]

    def run():
        with torch.no_grad():
            out[0] = make()

    return run, lambda: out[0].double().numpy()


def interpolate(asked):
    pixels = image(asked)
    factor = int(asked["factor"])
    corners = None if asked["mode"] == "nearest" else asked["align_corners"] == "1"
    return timed(lambda: F.interpolate(pixels, scale_factor=factor, mode=asked["mode"], align_corners=corners))


def pixel_shuffle(asked):
    pixels = image(asked)
    return timed(lambda: F.pixel_shuffle(pixels, int(asked["factor"])))


def max_unpool(asked):
    pooled, indices = F.max_pool2d(image(asked), 2, return_indices=True)
    return timed(lambda: F.max_unpool2d(pooled, indices, 2))


def conv_transpose(asked):
    pixels = image(asked)
    channels, kernel = int(asked["out_channels"]), int(asked["kernel"])
    weight = torch.from_numpy(
        numpy.fromfile(asked["weight"], "<f4").reshape(pixels.shape[1], channels, kernel, kernel)
    )
    stride, padding = int(asked["stride"]), int(asked["padding"])
    return timed(lambda: F.conv_transpose2d(pixels, weight, stride=stride, padding=padding))


def opencv(asked):
    import cv2

    cv2.setNumThreads(asked["threads"])
    # OpenCV has the channels innermost.
    pixels = numpy.ascontiguousarray(image(asked)[0].permute(1, 2, 0).numpy())
    factor = int(asked["factor"])
    how = {"nearest": cv2.INTER_NEAREST, "bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[asked["mode"]]
    size = (pixels.shape[1] * factor, pixels.shape[0] * factor)
    out = [None]

    def run():
        out[0] = cv2.resize(pixels, size, interpolation=how)

    return run, lambda: out[0].astype("f8").transpose(2, 0, 1)
