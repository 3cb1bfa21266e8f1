import { expect, test } from "vitest";
import { DecodeError } from "./decode";
import { decodeEvent, decodeHealth, decodeProcesses, decodeThreads, eventNames } from "./wire";

const health = {
  status: "ok", version: "0.1.0", boot_id: "b", started_at: "2026-01-01T00:00:00Z", uptime_seconds: 3, problems: [],
  cost: { cpu_ratio: null, rss_bytes: 1, sampler_lateness_seconds: 0, sampler_cpu_seconds_total: 0, snapshots_total: 0, watched: 2 },
};

test("a whole answer is taken, and fields of a newer daemon are left out", () => {
  expect(decodeHealth({ ...health, mood: "fine" }, "")).toEqual(health);
});

test("a malformed answer is refused, and the error names the place", () => {
  const cases: [unknown, string][] = [
    [null, "answer"], [[], "answer"], ["text", "answer"],
    [{ ...health, status: "great" }, "status"],
    [{ ...health, uptime_seconds: "3" }, "uptime_seconds"],
    [{ ...health, version: undefined }, "version"],
    [{ ...health, cost: { ...health.cost, watched: Number.NaN } }, "cost.watched"],
    [{ ...health, cost: { ...health.cost, watched: null } }, "cost.watched"],
    [{ ...health, problems: [{ code: "x", message: 1, fix: null }] }, "problems[0].message"],
  ];
  for (const [value, path] of cases) {
    try {
      decodeHealth(value, "");
      expect.unreachable(`accepted a bad ${path}`);
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
      expect((error as DecodeError).path).toBe(path);
    }
  }
});

test("an unknown value stays null and is never read as zero", () => {
  const processes = decodeProcesses({
    taken_at: "t", total: 1, hidden: null,
    machine: { hostname: "h", kernel: "k", boot_id: "b", cpus: 2, memory_bytes: 8, available_bytes: null, cpu_ratio: null, load_average: null },
    processes: [{
      pid: 1, start_time: 0, ppid: 0, name: "init", exe: null, user: null, role: "other", state: "S", threads: 1, cpu_ratio: null, rss_bytes: null,
      unknown: { cpu_ratio: { reason: "denied", code: "no_access", why: "not ours", need: "CAP_SYS_PTRACE", fix: null } },
    }],
  }, "");
  expect(processes.processes[0]?.cpu_ratio).toBeNull();
  expect(processes.processes[0]?.unknown["cpu_ratio"]?.reason).toBe("denied");
});

test("states that nobody is in may be left out of the counts", () => {
  const answer = decodeThreads({
    process: { pid: 1, start_time: 1, name: "x", role: "other" }, taken_at: "t", sequence: 1, interval_seconds: null, total: 0, all: 0,
    counts: { runnable: 1 }, pools: {}, peak: 1, started_total: 1, started_exact: false, ended_total: 0, watched_since: "t", truncated: false,
    cpu_ratio: null, rss_bytes: null, heap: null, threads: [], unknown: {},
  }, "");
  expect(answer.counts).toMatchObject({ runnable: 1, zombie: 0 });
});

test("events are decoded by name; text that is no JSON is an error", () => {
  expect(decodeEvent("health", JSON.stringify(health))).toEqual({ event: "health", data: health });
  expect(decodeEvent("missed", '{"count":3}')).toEqual({ event: "missed", data: { count: 3 } });
  expect(() => decodeEvent("missed", "{")).toThrow(SyntaxError);
  expect(() => decodeEvent("run", "{}")).toThrow(DecodeError);
  expect(eventNames).toContain("snapshot");
});
