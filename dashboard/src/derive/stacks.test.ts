import { expect, test } from "vitest";
import type { FoldedStack, Frame, Stacks, ThreadState } from "../wire";
import { asText, groupsOf, headline, narrow, nameOf, stackKey } from "./stacks";

const frame = (name: string | null, module: string | null = "/opt/app", more: Partial<Frame> = {}): Frame => ({
  address: `0x${(name ?? "x").length.toString(16)}00`, function: name, offset: 4, file: null, line: null, inlined: false, module, module_address: "0x10", trust: "unwound", ...more,
});
const libc = (name: string): Frame => frame(name, "/usr/lib/x86_64-linux-gnu/libc.so.6");
const stack = (frames: Frame[], tids: number[], more: Partial<FoldedStack> = {}): FoldedStack => ({
  count: tids.length, tids, states: {}, frames, end: { complete: true, code: "complete", why: "the walk reached the thread's start" }, source: "syscall", moved: false, ...more,
});
const waiting = [libc("__futex_abstimed_wait_common"), libc("pthread_cond_wait@@GLIBC_2.3.2"), frame("app::Queue::pop"), frame("worker_main"), libc("start_thread")];
const answer = (): Stacks => ({
  process: { pid: 1, start_time: 0, name: "app", role: "other" }, taken_at: "t", took_seconds: 0.1, total: 5, truncated: false, paused: 0,
  stacks: [stack(waiting, [2, 3]), stack([frame("hash_block", "/opt/app", { file: "src/hash.c", line: 7, inlined: true }), frame("main")], [1], { end: { complete: false, code: "no_module", why: "the last frame's code belongs to no file" } })],
  threads: [
    { tid: 1, name: "app", stack: 1, state: "runnable" as ThreadState }, { tid: 2, name: "worker-1", stack: 0, state: "sleeping" as ThreadState },
    { tid: 3, name: "worker-2", stack: 0, state: "disk_sleep" as ThreadState }, { tid: 4, name: "busy", stack: null, state: "runnable" as ThreadState }, { tid: 5, name: "busy", stack: null, state: "runnable" as ThreadState },
  ].map((each) => ({ ...each, state_letter: "S", java_state: null, unknown: each.stack === null ? { reason: "not_applicable", code: "running", why: "it was running", need: null, fix: null } : null })),
  unknown: {},
});

test("threads are put to their stacks; those without one are told by why", () => {
  const { groups, unread } = groupsOf(answer());
  expect(groups.map(({ threads }) => threads.map(({ tid }) => tid))).toEqual([[2, 3], [1]]);
  expect(unread.map(({ why, threads }) => [why.code, threads.length])).toEqual([["running", 2]]);
});

test("a search finds frames by function, file and module, and threads by name and tid", () => {
  const { groups } = groupsOf(answer());
  const tids = (find: string, state: ThreadState | null = null): number[] => narrow(groups, { find, state }).flatMap(({ threads }) => threads.map(({ tid }) => tid));
  expect(tids("")).toEqual([2, 3, 1]);
  expect(tids("QUEUE::POP")).toEqual([2, 3]);
  expect(tids("hash.c")).toEqual([1]);
  expect(tids("worker-2")).toEqual([3]);
  expect(tids("2")).toEqual([2, 3]);
  expect(narrow(groups, { find: "1", state: "runnable" }).map(({ threads }) => threads.length)).toEqual([1]);
  expect(tids("libc", "disk_sleep")).toEqual([3]);
  expect(tids("nowhere")).toEqual([]);
});

test("a stack is called by the function that waits and the program's own that led there", () => {
  const named = (frames: Frame[]): (string | undefined)[] => { const { waits, by } = headline(frames); return [waits?.function ?? undefined, by?.function ?? undefined]; };
  expect(named(waiting)).toEqual(["pthread_cond_wait@@GLIBC_2.3.2", "app::Queue::pop"]);
  expect(named([frame("spin"), frame("main")])).toEqual(["spin", undefined]);
  expect(named([libc("syscall"), frame("std::sys::sync::mutex::futex::Mutex::lock_contended"), frame("app::Cache::get")])).toEqual(["std::sys::sync::mutex::futex::Mutex::lock_contended", "app::Cache::get"]);
  expect(named([libc("__poll"), libc("start_thread")])).toEqual(["__poll", undefined]);
  expect(named([libc("__futex_abstimed_wait_common"), libc("__pthread_clockjoin_ex"), frame("main"), libc("__libc_start_call_main")])).toEqual(["__pthread_clockjoin_ex", "main"]);
  expect(named([])).toEqual([undefined, undefined]);
});

test("a key is the frames': the same again, another for other frames", () => {
  const [one, two] = answer().stacks as [FoldedStack, FoldedStack];
  expect(stackKey(one)).toBe(stackKey({ ...one, tids: [9], count: 1 }));
  expect(stackKey(one)).not.toBe(stackKey(two));
  expect(stackKey(one)).toMatch(/^[0-9a-f]{16}$/);
});

test("a frame without a symbol is named by its module, and without one by its address", () => {
  expect(nameOf(frame(null))).toBe("app+0x10");
  expect(nameOf(frame(null, null))).toBe("0x100");
});

test("as text: counts, threads, frames with their marks, and why a stack was cut", () => {
  const text = asText(groupsOf(answer()).groups, 1);
  expect(text).toContain("2 threads: 1 sleeping, 1 disk_sleep\n  worker-1(2) … 1 more\n");
  expect(text).toMatch(/#0 {3}0x\w+ +hash_block\+0x4 \(app\) at src\/hash\.c:7 \[inlined\]/);
  expect(text).toContain("… the last frame's code belongs to no file");
});
