import { expect, test } from "vitest";
import type { LoadProgress, Run, Spread } from "../wire";
import { advance, emptyTrack, KEPT_POINTS, latency, notDone, stepRate, throughput } from "./run";

const spread = (p99: number, count = 10): Spread => ({ count, mean_seconds: p99, p50_seconds: p99 / 2, p90_seconds: p99, p99_seconds: p99, max_seconds: p99 });
const load = (name: string, more: Partial<LoadProgress> = {}): LoadProgress => ({
  name, workload: "w", pool: "p", executor: "open", arrived: 1, done: 1, shed: 0, late: 0, cancelled: 0, panicked: 0, outstanding: 0, verified: 0, wrong: 0,
  target: 100, throughput: 90, lag: spread(0.001), queue: spread(0.002), service: spread(0.003), response: spread(0.006), ...more,
});
const run = (id: string, elapsed: number, loads = [load("a")]): Run => ({
  id, scenario: "s", phase: "running", started_at: "t", ended_at: null, elapsed_seconds: elapsed, planned_seconds: null, seed: 1, rate_factor: 1, loads, verdict: null, messages: [],
});

test("a track grows with its run, forgets the oldest, and starts over with another", () => {
  let track = emptyTrack();
  for (let second = 1; second <= KEPT_POINTS + 5; second += 1) track = advance(track, run("one", second));
  expect(track.points.length).toBe(KEPT_POINTS);
  expect(track.points[0]?.at).toBe(6);
  expect(advance(track, run("one", 3))).toBe(track);
  expect(advance(track, run("two", 1)).points.length).toBe(1);
});

test("throughput adds up; a target is shown only where every load has one", () => {
  const track = advance(emptyTrack(), run("one", 1, [load("a"), load("b", { executor: "closed", target: 8, throughput: 10 })]));
  expect(throughput(track, null)).toEqual({ at: [1], done: [100], target: [null] });
  expect(throughput(track, "a")).toEqual({ at: [1], done: [90], target: [100] });
  expect(throughput(track, "gone")).toEqual({ at: [1], done: [null], target: [null] });
});

test("the worst load speaks for all, and nothing measured is a gap, not zero", () => {
  const track = advance(emptyTrack(), run("one", 1, [load("a"), load("b", { queue: spread(0.5), lag: spread(0, 0) })]));
  const all = latency(track, null, "p99_seconds");
  expect(all.queue).toEqual([0.5]);
  expect(latency(track, "b", "p99_seconds").lag).toEqual([null]);
});

test("rates step in powers of two, within limits", () => {
  expect([1, 0.7, 3, 16, 0.0625].map((factor) => [stepRate(factor, -1), stepRate(factor, 1)])).toEqual([[0.5, 2], [0.5, 1], [2, 4], [8, 16], [0.0625, 0.125]]);
});

test("what was not done is everything that ended otherwise", () => {
  expect(notDone(load("a", { shed: 1, late: 2, cancelled: 3, panicked: 4, outstanding: 100 }))).toBe(10);
});
