"""Allreduce by gloo over loopback: this process is rank 0 and starts the others."""

import os
import subprocess
import sys

import numpy
import torch
import torch.distributed as distributed


def join_group(rank, ranks, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", rank=rank, world_size=ranks)


def work(rank, elements):
    mine = torch.from_numpy(numpy.random.default_rng(rank).random(elements, dtype="f4"))
    row = mine.clone()

    def run():
        distributed.all_reduce(row)

    return row, mine, run


def gloo(asked):
    ranks, elements, port = int(asked["ranks"]), int(asked["elements"]), asked["port"]
    others = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(ranks), str(elements), port], stdin=subprocess.PIPE, text=True
        )
        for rank in range(1, ranks)
    ]
    join_group(0, ranks, port)
    _, _, mine = work(0, elements)

    def run():
        for other in others:
            other.stdin.write("run\n")
            other.stdin.flush()
        mine()

    return run, lambda: numpy.empty(0)


if __name__ == "__main__":
    rank, ranks, elements, port = sys.argv[1:]
    join_group(int(rank), int(ranks), port)
    _, _, run = work(int(rank), int(elements))
    for _ in sys.stdin:
        run()
