import { expect, test } from "vitest";
import { reportedLatency, reportedThroughput } from "./report";

const series = {
  at_seconds: [1, 2, 2.01], width_seconds: [1, 1, 0.01],
  loads: {
    a: { done: [10, 20, 0], response_p99: [0.1, null, null], service_p99: [0.05, 0.06, null] },
    b: { done: [1, 2, 1], response_p99: [0.2, null, null], service_p99: [0.01, 0.07, null] },
  },
};

test("rates of several loads add up, and a splinter of an interval is none", () => {
  expect(reportedThroughput(series, null)).toEqual({ at: [1, 2], done: [11, 22] });
  expect(reportedThroughput(series, "b").done).toEqual([1, 2]);
});

test("of several latencies the worst shows, and nothing measured is a gap", () => {
  expect(reportedLatency(series, null, "p99_seconds")).toEqual({ at: [1, 2], response: [0.2, null], service: [0.05, 0.07] });
  expect(reportedLatency(series, "a", "p50_seconds").response).toEqual([null, null]);
});
