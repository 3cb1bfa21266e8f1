import { expect, test } from "vitest";
import { DecodeError } from "./decode";
import { decodeEvent, decodeFindings, decodeHealth, decodeLocks, decodeProcesses, decodeStacks, decodeThreads, eventNames } from "./wire";

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

const process = { pid: 5, start_time: 1, name: "bank", role: "other" };
const frame = { address: "0x1", function: "main", offset: null, file: null, line: null, inlined: true, module: null, module_address: null, trust: "guessed" };
const finding = {
  kind: "from_the_future", severity: "critical", pid: 5, process_name: "bank", since: "2026-11-30T07:00:00Z", lasted_seconds: 1, culprits: [6], culprit_count: 90, summary: "s",
  evidence: [{ name: "threads", value: null, unit: "threads" }], frames: [frame], rule: "r",
};

test("stacks: states that nobody is in are left out, and a trust that nobody knows is refused", () => {
  const stacks = (trust: string): unknown => ({
    process, taken_at: "t", took_seconds: 0.1, total: 2, truncated: false, paused: 0, unknown: {},
    stacks: [{ count: 1, tids: [6], states: { sleeping: 1, zombie: 0 }, frames: [{ ...frame, trust }], end: { complete: false, code: "new_end", why: "w" }, source: "sample", moved: true }],
    threads: [{ tid: 6, name: "a", state: "sleeping", state_letter: "S", stack: 0, unknown: null }, { tid: 7, name: "b", state: "runnable", state_letter: "R", stack: null, unknown: { reason: "denied", code: "sampling_denied", why: "w", need: null, fix: null } }],
  });
  const answer = decodeStacks(stacks("recovered"), "");
  expect(answer.stacks[0]?.states).toEqual({ sleeping: 1 });
  expect(answer.threads.map((thread) => [thread.stack, thread.unknown?.code, thread.java_state])).toEqual([[0, undefined, null], [null, "sampling_denied", null]]);
  expect(() => decodeStacks(stacks("surely"), "")).toThrow("stacks[0].frames[0].trust");
});

test("locks: an owner that is not known stays null, with its reason", () => {
  const answer = decodeLocks({
    process, taken_at: "t", total: 1, truncated: false, confirmed_after_seconds: null, deadlocks: [], unknown: {},
    chains: [{ links: [{ tid: 6, name: "a", lock: 0, owner_tid: null, proof: null }], root: null, root_doing: "owner_unknown", behind_root: 1 }],
    locks: [{
      id: 0, address: "0x10", kind: "a_new_kind", flags: [], place: { kind: "heap", text: "heap", module: null, symbol: null, offset: null, tid: null }, owner: null,
      owner_unknown: { reason: "not_applicable", code: "owner_not_recorded", why: "w", need: null, fix: null }, readers: null, told_by: "call", state: "", waiters: [6],
    }],
    waits: [{ tid: 6, name: "a", lock: 0, mode: "exclusive", timed: false, function: null }],
  }, "");
  expect(answer.locks[0]).toMatchObject({ owner: null, owner_unknown: { code: "owner_not_recorded" } });
  expect(answer.holders).toEqual([]);
});

test("findings: of kinds that are new to us too; news says what became of one", () => {
  expect(decodeFindings({ taken_at: "t", findings: [finding] }, "").findings[0]?.evidence[0]?.value).toBeNull();
  expect(decodeEvent("finding", JSON.stringify({ ...finding, state: "cleared" }))).toMatchObject({ event: "finding", data: { kind: "from_the_future", state: "cleared" } });
  expect(() => decodeEvent("finding", JSON.stringify({ ...finding, state: "perhaps" }))).toThrow("finding.state");
});
