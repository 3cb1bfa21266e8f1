#!/usr/bin/env python3
"""Runs our workloads and their peers alternately and prints how many times faster we are.

Each side is a process of its own that has made its input and waits (the protocol of src/main.rs). A round runs
ours once and the peer once; the ratio of a row is the median of the rounds' ratios, with the least and the
greatest beside it. Where a row counts operations or bytes, ours is also told as a share of what the machine
does in the same run: multiply-adds in registers, or a copy in memory. Results are compared where both give some.
"""

import argparse
import itertools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

import numpy

HERE = pathlib.Path(__file__).parent
SPREAD_ROUNDS = 9
# A row may take so many seconds a thread count; at least five rounds are run whatever they take.
PATIENCE = 20.0


class Side:
    """A process that makes its input, then runs when told."""

    def __init__(self, command, environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.expect("ready")

    def expect(self, word):
        # Libraries may print of themselves before they are asked anything.
        for line in self.process.stdout:
            if line.strip() == word:
                return
        raise RuntimeError(f"{self.process.args[:3]} ended before it said {word}")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def run(self):
        self.tell("run")
        return int(self.process.stdout.readline()) / 1e9

    def result(self):
        with tempfile.NamedTemporaryFile() as file:
            self.tell(f"save {file.name}")
            self.expect("saved")
            return numpy.fromfile(file.name, "<f8")

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Peers:
    def __init__(self, options):
        self.options = options
        self.limits = {}

    def command(self, side, threads, parameters):
        kind, case = side
        words = [f"{name}={value}" for name, value in parameters.items()]
        if kind == "ours":
            return [self.options.ours, case, str(threads), *words]
        if kind == "python":
            return [self.options.python, str(HERE / "python" / "peer.py"), case, str(threads), *words]
        if kind == "native":
            return [str(pathlib.Path(self.options.native) / case), str(threads), *words]
        ranks = parameters["ranks"]
        launch = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", str(ranks)]
        return [*launch, str(pathlib.Path(self.options.native) / case), str(threads), *words]

    def open(self, side, threads, parameters):
        # A peer whose idle threads spin would take the processor from us between its runs.
        environment = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}
        return Side(self.command(side, threads, parameters), environment)

    def limit(self, name, threads):
        if (name, threads) not in self.limits:
            side = self.open(("ours", f"limits.{name}"), threads, {})
            best = min(side.run() for _ in range(5))
            amount = side.result()[0] * (threads if name == "multiply_add" else 1)
            side.end()
            self.limits[name, threads] = amount / best
        return self.limits[name, threads]

    def row(self, row, threads):
        parameters = row["parameters"]() if callable(row["parameters"]) else row["parameters"]
        ours_threads = row.get("ours_threads", threads)
        ours = self.open(("ours", row["ours"]), ours_threads, {**parameters, **row.get("ours_parameters", {})})
        told = []
        for name, kind, case, *more in row["peers"]:
            if threads > 1 and "one thread" in more:
                continue
            extra = next((each for each in more if isinstance(each, dict)), {})
            try:
                peer = self.open((kind, case), threads, {**parameters, **extra})
                told.append((name, *self.pairs(ours, peer, row, "other rounding" not in more)))
                peer.end()
            except (RuntimeError, ValueError, OSError) as error:
                print(f"  {name}: could not be run: {error}", file=sys.stderr)
        ours.end()
        return told

    def pairs(self, ours, peer, row, comparable):
        ours.run(), peer.run()
        agrees = None
        if comparable:
            agrees = self.compare(ours.result(), peer.result(), row.get("tolerance", 1e-4))
        mine, theirs, spent = [], [], 0.0
        for round in itertools.count():
            if round >= SPREAD_ROUNDS or (round >= 5 and spent > PATIENCE):
                break
            first, second = (ours, peer) if round % 2 else (peer, ours)
            times = {first: first.run()}
            times[second] = second.run()
            mine.append(times[ours])
            theirs.append(times[peer])
            spent += sum(times.values())
        ratios = sorted(b / a for a, b in zip(mine, theirs))
        return statistics.median(mine), statistics.median(theirs), ratios, agrees

    @staticmethod
    def compare(mine, theirs, tolerance):
        if len(mine) == 0 or len(theirs) == 0:
            return None
        if len(mine) != len(theirs):
            return f"{len(mine)} values against {len(theirs)}"
        apart = numpy.max(numpy.abs(mine - theirs) / (1 + numpy.abs(theirs)))
        return True if apart <= tolerance else f"apart by {apart:.2g}"


def share(peers, row, threads, seconds):
    if "flops" in row:
        rate = row["flops"] / seconds
        limit = peers.limit("multiply_add", threads)
        return f"{rate / 1e9:.0f} GFLOP/s, {rate / limit:.0%} of peak"
    if "bytes" in row:
        rate = row["bytes"] / seconds
        return f"{rate / 1e9:.1f} GB/s, {rate / peers.limit('copy', threads):.0%} of copy"
    return ""


def milliseconds(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.0995 else f"{seconds * 1e3:.0f} ms"


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--ours", required=True, help="the program made from src/main.rs")
    parse.add_argument("--native", required=True, help="the folder of the programs made from native/")
    parse.add_argument("--python", default=sys.executable)
    parse.add_argument("--only", default="", help="rows whose title has this text")
    parse.add_argument("--threads", default="1,2")
    options = parse.parse_args()

    sys.path.insert(0, str(HERE))
    import rows

    peers = Peers(options)
    behind = 0
    print(f"{'what':<58} {'threads':>7} {'ours':>9} {'peer':>9}  faster by (spread)      ours against the machine")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows.all_rows(pathlib.Path(folder)):
            if options.only not in row["title"]:
                continue
            for threads in row.get("threads", [int(each) for each in options.threads.split(",")]):
                for name, mine, theirs, ratios, agrees in peers.row(row, threads):
                    ratio = statistics.median(ratios)
                    behind += ratio < 1
                    note = "" if agrees in (True, None) else f"  RESULTS DIFFER: {agrees}"
                    if ratio < 1:
                        note += "  behind"
                    title = f"{row['title']}: {name}"
                    print(
                        f"{title:<58} {threads:>7} {milliseconds(mine):>9} {milliseconds(theirs):>9}  "
                        f"{ratio:>5.2f}x ({ratios[0]:.2f} to {ratios[-1]:.2f})    {share(peers, row, threads, mine)}{note}",
                        flush=True,
                    )
    print(f"\n{behind} rows behind their peer" if behind else "\nat least as fast as every peer in every row")


if __name__ == "__main__":
    main()
