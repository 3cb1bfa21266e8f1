import { expect, test } from "vitest";
import type { Pool } from "../wire";
import { doing, fullness, tone, tones } from "./pools";

const spread = { count: 0, mean_seconds: 0, p50_seconds: 0, p90_seconds: 0, p99_seconds: 0, max_seconds: 0 };
const worker = (task: string | null, parked = false): Pool["workers"][number] => ({ tid: 1, name: "w", done: 0, stolen: 0, parked, task });
const pool = (workers: Pool["workers"], depth = 0, capacity = 10): Pool => ({
  name: "p", kind: "stealing", size: workers.length, active: 0, queue_depth: depth, queue_capacity: capacity, policy: "block", submitted: 0, done: 0,
  panicked: 0, rejected: 0, abandoned: 0, queue_wait: spread, service: spread, workers,
});

test("a worker works, is parked, or looks for work", () => {
  expect([worker("gap"), worker(null, true), worker(null), worker("gap", true)].map(doing)).toEqual(["task", "parked", "idle", "task"]);
});

test("a workload keeps its colour whoever else is there", () => {
  expect(tones([pool([worker("b"), worker("a"), worker(null)])])).toEqual(new Map([["a", tone("a")], ["b", tone("b")]]));
});

test("a queue is at most full; one without a bound has no fullness", () => {
  expect([fullness(pool([], 5)), fullness(pool([], 50)), fullness(pool([], 5, 0))]).toEqual([0.5, 1, null]);
});
