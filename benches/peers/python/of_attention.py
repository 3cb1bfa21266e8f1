"""Attention by torch.nn.functional.scaled_dot_product_attention."""

import numpy
import torch


def tensor(asked, name, *shape):
    kind = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[asked["dtype"]]
    return torch.from_numpy(numpy.fromfile(asked[name], "<f4").reshape(shape)).to(kind)


def inputs(asked):
    torch.set_num_threads(asked["threads"])
    heads, queries, keys, dim = (int(asked[name]) for name in ("heads", "queries", "keys", "dim"))
    q = tensor(asked, "q", 1, heads, queries, dim)
    k = tensor(asked, "k", 1, heads, keys, dim)
    v = tensor(asked, "v", 1, heads, keys, dim)
    return q, k, v, asked["causal"] == "1"


def forward(asked):
    q, k, v, causal = inputs(asked)
    out = [None]

    def run():
        with torch.no_grad():
            out[0] = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return run, lambda: out[0].float().numpy()


def standard(asked):
    q, k, v, causal = inputs(asked)
    out = [None]

    def run():
        with torch.no_grad(), torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            out[0] = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    return run, lambda: out[0].float().numpy()


def forward_backward(asked):
    q, k, v, causal = inputs(asked)
    for each in (q, k, v):
        each.requires_grad_()
    ones = torch.ones_like(q)

    def run():
        q.grad = k.grad = v.grad = None
        torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).backward(ones)

    return run, lambda: numpy.concatenate([each.grad.float().numpy().ravel() for each in (q, k, v)])
