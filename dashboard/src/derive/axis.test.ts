import { expect, test } from "vitest";
import { historyWindow, isolated, runWindow, STEPS } from "./axis";

test("a planned run shows its whole time, an endless one the last two minutes", () => {
  expect(runWindow(3, 10, false)).toEqual([0, 10]);
  expect(runWindow(11, 10, false)).toEqual([0, 11]);
  expect(runWindow(3, null, false)).toEqual([-117, 3]);
  expect(runWindow(5000, 7200, false)).toEqual([4880, 5000]);
  expect(runWindow(7, null, true)).toEqual([0, 7]);
});

test("a history shows what it holds, and at least half a minute", () => {
  const times = [-300, -200, -100, -2, -1];
  expect(historyWindow(times, [[null, null, null, 1, 2]])).toEqual({ first: 3, window: [-30, 0] });
  expect(historyWindow(times, [[null, null, null, 1, 2], [null, 0, null, null, null]])).toEqual({ first: 1, window: [-200, 0] });
  expect(historyWindow(times, [[null, null, null, null, null]])).toEqual({ first: 5, window: [-30, 0] });
});

test("a value alone is a dot", () => {
  expect(isolated([5])).toEqual([0]);
  expect(isolated([1, 2, null, 4, null])).toEqual([3]);
  expect(isolated([null])).toEqual([]);
});

test("no mark is finer than a second", () => {
  expect(Math.min(...STEPS)).toBe(1);
});
