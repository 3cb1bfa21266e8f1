import { expect, test } from "vitest";
import type { Chain, Deadlock, Lock, Locks, LockWait } from "../wire";
import { holdsThread, type Part, partsOf, type Picture, pictureOf, type Sizes } from "./waitgraph";

const lock = (id: number, owner: number | null, waiters: number[], more: Partial<Lock> = {}): Lock => ({
  id, address: `0x${id}00`, kind: "pthread_mutex", flags: [], place: { kind: "heap", text: "heap", module: null, symbol: null, offset: null, tid: null },
  owner: owner === null ? null : { kind: "thread", tid: owner, name: `t${owner}`, recorded_tid: null, proof: "recorded", proved: true },
  owner_unknown: null, readers: null, told_by: "stack and memory", state: "held", waiters, ...more,
});
const report = (locks: Lock[], deadlocks: Deadlock[] = [], chains: Chain[] = []): Locks => ({
  process: { pid: 1, start_time: 0, name: "p", role: "other" }, taken_at: "t", total: 9, truncated: false, confirmed_after_seconds: null, deadlocks, chains, locks,
  waits: locks.flatMap(({ id, waiters }) => waiters.map((tid): LockWait => ({ tid, name: `t${tid}`, lock: id, mode: "exclusive", timed: false, function: null }))).sort((a, b) => a.tid - b.tid),
  holders: [], unknown: {},
});
const circle = (n: number): Locks => {
  const step = (at: number) => ({ tid: at + 1, name: `t${at + 1}`, holds: at, wants: (at + 1) % n, frames: null });
  // Thread i+1 holds lock i and wants lock i+1.
  return report(Array.from({ length: n }, (_, id) => lock(id, id + 1, [id === 0 ? n : id])), [{ confirmed: true, threads: Array.from({ length: n }, (_, at) => step(at)) }]);
};
const wide: Sizes = { width: 100, height: 40, along: 40, across: 20, down: false };
const only = (locks: Locks): Part => { const parts = partsOf(locks, 3); expect(parts).toHaveLength(1); return parts[0] as Part; };
const apart = ({ nodes }: Picture, { width, height }: Sizes): void => {
  for (const a of nodes) for (const b of nodes) if (a !== b) expect(Math.abs(a.x - b.x) >= width || Math.abs(a.y - b.y) >= height, `${a.node.id} on ${b.node.id}`).toBe(true);
};

test("a chain flows to its root, in columns", () => {
  const part = only(report([lock(0, 2, [1]), lock(1, 3, [2])], [], [{ links: [{ tid: 1, name: "t1", lock: 0, owner_tid: 2, proof: "recorded" }], root: { tid: 3, name: "t3", frames: null }, root_doing: "on_cpu", behind_root: 2 }]));
  const picture = pictureOf(part, wide);
  expect(picture.nodes.sort((a, b) => a.x - b.x).map(({ node }) => node.id)).toEqual(["t1", "l0", "t2", "l1", "t3"]);
  expect(new Set(picture.nodes.map(({ y }) => y)).size).toBe(1);
  expect(part.chain?.root?.tid).toBe(3);
  expect(part.nodes.filter((node) => node.type === "thread" && node.root).map(({ id }) => id)).toEqual(["t3"]);
});

test("circles of one, two, three and five are whole, marked, and nothing lies on anything", () => {
  for (const n of [1, 2, 3, 5]) {
    const part = only(circle(n));
    expect(part.edges).toHaveLength(2 * n);
    expect(part.edges.every(({ cycle }) => cycle)).toBe(true);
    expect(part.nodes.filter((node) => node.type !== "more" && node.type !== "stranger" && node.cycle)).toHaveLength(2 * n);
    for (const sizes of [wide, { ...wide, down: true }]) {
      const picture = pictureOf(part, sizes);
      expect(picture.nodes).toHaveLength(2 * n);
      expect(picture.edges).toHaveLength(2 * n);
      apart(picture, sizes);
    }
  }
});

test("who waits behind a circle is drawn beside it and is not of it", () => {
  const locks = circle(3);
  locks.locks[0]?.waiters.push(8, 9);
  locks.locks[1]?.waiters.push(7);
  locks.waits.push({ tid: 7, name: "t7", lock: 1, mode: "exclusive", timed: false, function: null }, { tid: 8, name: "t8", lock: 0, mode: "exclusive", timed: true, function: null }, { tid: 9, name: "t9", lock: 0, mode: "shared", timed: false, function: null });
  const part = only(locks);
  const picture = pictureOf(part, wide);
  expect(picture.nodes).toHaveLength(9);
  apart(picture, wide);
  expect(part.edges.filter(({ cycle }) => !cycle)).toHaveLength(3);
  expect(Math.min(...picture.nodes.map(({ x }) => x))).toBe(0);
  expect(Math.min(...picture.nodes.map(({ y }) => y))).toBe(0);
});

test("many that only wait for one lock become one node, and one that holds something is never among them", () => {
  const waiters = Array.from({ length: 9000 }, (_, index) => index + 10);
  const part = only(report([lock(0, 1, waiters), lock(1, 12, [5])]));
  const more = part.nodes.find((node) => node.type === "more");
  expect(more?.type === "more" && more.tids.length).toBe(8996);
  expect(part.nodes.some((node) => node.id === "t12")).toBe(true);
  expect(part.nodes.length).toBeLessThan(12);
  expect(part.waiting).toBe(9001);
  expect(holdsThread(part, 8000)).toBe(true);
  expect(holdsThread(part, 2)).toBe(false);
  const five = only(report([lock(0, 1, [10, 11, 12, 13])]));
  expect(five.nodes.some((node) => node.type === "more")).toBe(false);
});

test("a likely owner makes a likely edge; an owner that is gone is a node of its own; no owner ends at the lock", () => {
  const likely = only(report([lock(0, 1, [2], { owner: { kind: "thread", tid: 1, name: "t1", recorded_tid: null, proof: "likely", proved: false } })]));
  expect(likely.edges.find(({ type }) => type === "held")?.likely).toBe(true);
  const ended = only(report([lock(0, null, [2], { owner: { kind: "ended", tid: null, name: null, recorded_tid: 77, proof: null, proved: true } })]));
  expect(ended.nodes.find(({ type }) => type === "stranger")).toMatchObject({ kind: "ended", recorded: 77 });
  const open = only(report([lock(0, null, [2, 3])]));
  expect(pictureOf(open, wide).nodes).toHaveLength(3);
});

test("circles come first, then chains to a root, then what nobody is known to hold", () => {
  const locks = report([lock(0, null, [1, 2, 3]), lock(1, 5, [4]), lock(2, 7, [6]), lock(3, 6, [7])],
    [{ confirmed: true, threads: [{ tid: 6, name: "", holds: 3, wants: 2, frames: null }, { tid: 7, name: "", holds: 2, wants: 3, frames: null }] }]);
  expect(partsOf(locks, 3).map(({ deadlock, nodes }) => [deadlock !== null, nodes.length])).toEqual([[true, 4], [false, 3], [false, 4]]);
});

test("without waits there is nothing to draw", () => {
  expect(partsOf(report([]), 3)).toEqual([]);
});
