import { expect, test } from "vitest";
import type { Pool } from "../wire";
import { doing, fullness, TONES, tones } from "./pools";

const spread = { count: 0, mean_seconds: 0, p50_seconds: 0, p90_seconds: 0, p99_seconds: 0, max_seconds: 0 };
const worker = (task: string | null, parked = false): Pool["workers"][number] => ({ tid: 1, name: "w", done: 0, stolen: 0, parked, task });
const pool = (workers: Pool["workers"], depth = 0, capacity = 10): Pool => ({
  name: "p", kind: "stealing", size: workers.length, active: 0, queue_depth: depth, queue_capacity: capacity, policy: "block", submitted: 0, done: 0,
  panicked: 0, rejected: 0, abandoned: 0, queue_wait: spread, service: spread, workers,
});

test("a worker works, is parked, or looks for work", () => {
  expect([worker("gap"), worker(null, true), worker(null), worker("gap", true)].map(doing)).toEqual(["task", "parked", "idle", "task"]);
});

test("workloads are told apart while there are colours, and more than that is no error", () => {
  const names = ["maximum_gap", "lowest_common_ancestor", "combination_sum", "merge_sorted", "e", "f"];
  expect(new Set(tones([pool(names.map((name) => worker(name)))]).values()).size).toBe(TONES);
  expect(tones([pool([..."abcdefghij"].map((name) => worker(name)))]).size).toBe(10);
  expect(tones([pool([worker(null)])]).size).toBe(0);
});

test("a queue is at most full; one without a bound has no fullness", () => {
  expect([fullness(pool([], 5)), fullness(pool([], 50)), fullness(pool([], 5, 0))]).toEqual([0.5, 1, null]);
});
