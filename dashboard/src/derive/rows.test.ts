import { expect, test } from "vitest";
import type { Thread } from "../wire";
import { merge, MOST, move, pageFor, type Rows, spanOf } from "./rows";

const thread = (tid: number, cpu = 0, start = 1): Thread => ({ tid, start_time: start, cpu_ratio: cpu }) as Thread;
const tids = (rows: Rows): [number, number][] => [...rows].sort((a, b) => a[0] - b[0]).map(([index, each]) => [index, each.tid]);

test("the rows on the screen, and some around", () => {
  expect(spanOf(0, 100, 10, 1000, 5)).toEqual({ first: 0, last: 15 });
  expect(spanOf(5000, 100, 10, 1000, 5)).toEqual({ first: 495, last: 515 });
  expect(spanOf(9e9, 100, 10, 12, 5)).toEqual({ first: 7, last: 12 });
  expect(spanOf(0, 100, 10, 0, 5)).toEqual({ first: 0, last: 0 });
});

test("a page covers the span, is aligned and bounded", () => {
  for (const span of [{ first: 0, last: 1 }, { first: 37, last: 81 }, { first: 9990, last: 10_000 }]) {
    const { offset, limit } = pageFor(span);
    expect(offset % 20).toBe(0);
    expect(offset).toBeLessThanOrEqual(span.first);
    expect(offset + limit).toBeGreaterThanOrEqual(span.last);
  }
  expect(pageFor({ first: 0, last: 9999 }).limit).toBe(MOST);
});

test("rows follow the daemon's order while nobody points", () => {
  const before = merge(new Map(), 0, [thread(1), thread(2), thread(3)], 3, false);
  expect(tids(merge(before, 0, [thread(3), thread(1), thread(2)], 3, false))).toEqual([[0, 3], [1, 1], [2, 2]]);
});

test("while the order is held values change in place", () => {
  const before = merge(new Map(), 0, [thread(1), thread(2)], 3, false);
  const after = merge(before, 0, [thread(2, 0.9), thread(9), thread(1, 0.1)], 3, true);
  expect(tids(after)).toEqual([[0, 1], [1, 2]]);
  expect(after.get(1)?.cpu_ratio).toBe(0.9);
});

test("no thread stands in two rows, and a reused tid is another thread", () => {
  const before = merge(new Map(), 0, [thread(1), thread(2)], 50, false);
  expect(tids(merge(before, 1, [thread(1), thread(5)], 50, false))).toEqual([[1, 1], [2, 5]]);
  const reused = merge(before, 2, [thread(1, 0, 99)], 50, true);
  expect(tids(reused)).toEqual([[0, 1], [1, 2], [2, 1]]);
});

test("rows past the end are dropped", () => {
  const before = merge(new Map(), 0, [thread(1), thread(2), thread(3)], 3, false);
  expect(merge(before, 0, [thread(1)], 1, false).size).toBe(1);
  expect(merge(before, 0, [thread(1)], 1, true).size).toBe(1);
});

test("keys move within the list", () => {
  expect([move("ArrowDown", 8, 10, 5), move("j", 9, 10, 5), move("PageUp", 3, 10, 5), move("End", 0, 10, 5), move("x", 0, 10, 5), move("Home", 0, 0, 5)]).toEqual([9, 9, 0, 9, null, null]);
});
