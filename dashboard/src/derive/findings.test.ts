import { expect, test } from "vitest";
import type { Finding } from "../wire";
import { afterNews, bySeverity, figure, findingKey, inOrder, keyed, worst } from "./findings";

const finding = (more: Partial<Finding> = {}): Finding => ({
  kind: "starvation", severity: "warning", pid: 7, process_name: "app", since: "2026-11-30T07:00:00Z", lasted_seconds: 3, culprits: [9, 8], culprit_count: 2,
  summary: "s", evidence: [], frames: null, rule: "r", ...more,
});
const deadlock = finding({ kind: "deadlock", severity: "critical", since: "2026-11-30T07:05:00Z" });

test("the most severe comes first, then the oldest", () => {
  const newer = finding({ since: "2026-11-30T07:01:00Z" });
  expect(inOrder([newer, finding(), deadlock])).toEqual([deadlock, finding(), newer]);
  expect(worst([finding(), deadlock])).toBe("critical");
  expect(worst([])).toBeNull();
  expect(bySeverity([finding(), deadlock, newer])).toEqual({ critical: 1, warning: 2, notice: 0 });
});

test("a finding keeps its key while its culprits change places; two deadlocks have two", () => {
  expect(findingKey(finding({ culprits: [8, 9] }))).toBe(findingKey(finding()));
  expect(findingKey({ ...deadlock, culprits: [3, 2] })).not.toBe(findingKey(deadlock));
});

test("no two in a list have one key", () => {
  const keys = keyed([finding(), finding(), deadlock, finding()]).map(({ key }) => key);
  expect(new Set(keys).size).toBe(4);
  expect(keys[0]).toBe(findingKey(finding()));
});

test("news raises, changes and clears", () => {
  const raised = afterNews([finding()], { ...deadlock, state: "raised" });
  expect(raised).toEqual([deadlock, finding()]);
  const changed = afterNews(raised, { ...deadlock, lasted_seconds: 60, state: "changed" });
  expect(changed.map(({ lasted_seconds }) => lasted_seconds)).toEqual([60, 3]);
  expect(afterNews(changed, { ...deadlock, lasted_seconds: 61, state: "cleared" })).toEqual([finding()]);
  expect(afterNews([], { ...deadlock, state: "cleared" })).toEqual([]);
});

test("figures wear their units", () => {
  expect([figure(0.5, "ratio"), figure(2048, "bytes"), figure(12_000, "threads"), figure(1.5, "seconds"), figure(3, "furlongs")]).toEqual(["50.0\u202f%", "2\u202fKiB", "12\u202f000", "1.50\u202fs", "3 furlongs"]);
});
