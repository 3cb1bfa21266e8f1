"""The peers that are Python packages: `peer.py CASE THREADS name=value ...`, by the protocol of src/main.rs.

Each case is a function of its parameters that makes its input and gives back two functions: one run, and the
result of the last run as an array of f64.
"""

import importlib
import sys
import time

import numpy


def serve(run, result):
    print("ready", flush=True)
    for line in sys.stdin:
        line = line.strip()
        if line == "run":
            start = time.perf_counter_ns()
            run()
            print(time.perf_counter_ns() - start, flush=True)
        else:
            numpy.ascontiguousarray(result(), dtype="<f8").tofile(line.split(" ", 1)[1])
            print("saved", flush=True)


def main():
    case, threads, *given = sys.argv[1:]
    asked = dict(each.split("=", 1) for each in given)
    asked["threads"] = int(threads)
    room, name = case.split(".")
    serve(*getattr(importlib.import_module(f"of_{room}"), name)(asked))


if __name__ == "__main__":
    main()
