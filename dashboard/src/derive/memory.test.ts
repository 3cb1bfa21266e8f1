import { expect, test } from "vitest";
import type { Memory, Sizes, Stack } from "../wire";
import { difference, hit, inOrder, inSight, kinds, type Lane, laneBox, layout, pieces, scaleOf, sharedTotal, step, sum } from "./memory";

const KiB = 1024;
const sizes = (resident: number | null, own = resident): Sizes => ({ virtual_bytes: 100, resident_bytes: resident, proportional_bytes: resident, private_bytes: own });
const stack = (reserved: number, resident: number | null, used: number | null, guard: number | null = 4 * KiB): Stack => ({
  start: "0x0", end: "0x1", reserved_bytes: reserved, resident_bytes: resident, used_bytes: used, guard_bytes: guard,
});
const lane = (tid: number, of: Stack | null = stack(256 * KiB, 40 * KiB, 8 * KiB), pool: string | null = null): Lane => ({
  tid, name: `t${tid}`, pool, state: null, found_by: null, stack: of, heap: null, unknown: {},
});
const memory = (threads: Lane[], heap = sizes(40)): Memory => ({
  process: { pid: 1, start_time: 0, name: "p", role: "other" }, taken_at: "t",
  shared: { heap, code: sizes(10, 0), globals: sizes(5), mapped_files: sizes(20, 5), shared_memory: sizes(0), other: sizes(1) },
  per_thread: { stacks: sizes(7), guards: sizes(0) }, total: sizes(83), kernel: { rollup: sizes(83), statm_virtual_bytes: 1, statm_resident_bytes: 1 }, bounds: null,
  threads, regions: [], unknown: {},
});
const many = (count: number): Memory => memory(Array.from({ length: count }, (_, index) => lane(index + 1)));

test("a lane's pieces follow one another, in order, within the lane", () => {
  for (const touched of [false, true]) {
    for (const of of [stack(256 * KiB, 40 * KiB, 8 * KiB), stack(8192 * KiB, 4 * KiB, null, null), stack(64 * KiB, 64 * KiB, 64 * KiB), stack(16 * KiB, null, null)]) {
      const drawn = pieces(of, scaleOf([lane(1, of), lane(2)], touched), 400);
      expect(drawn[0]?.from).toBe(0);
      drawn.forEach((piece, index) => {
        expect(piece.to).toBeGreaterThan(piece.from);
        expect(piece.to).toBeLessThanOrEqual(400);
        if (index > 0) expect(piece.from).toBe(drawn[index - 1]?.to);
      });
      if (of.guard_bytes !== null) expect(drawn.at(-1)?.part).toBe("guard");
    }
  }
});

test("lengths are to scale: twice the bytes, twice the pixels", () => {
  const scale = { full: 1024 * KiB, touched: false };
  const length = (of: Stack, part: string): number => {
    const piece = pieces(of, scale, 1000).find((each) => each.part === part);
    return piece ? piece.to - piece.from : 0;
  };
  expect(length(stack(512 * KiB, 256 * KiB, 128 * KiB), "used")).toBeCloseTo(125);
  expect(length(stack(512 * KiB, 256 * KiB, 128 * KiB), "high")).toBeCloseTo(125);
  expect(length(stack(512 * KiB, 256 * KiB, 64 * KiB), "used")).toBeCloseTo(62.5);
});

test("one giant stack is cut short, and does not make slivers of the others", () => {
  const lanes = [...Array.from({ length: 9 }, (_, index) => lane(index)), lane(99, stack(8192 * KiB, 40 * KiB, 8 * KiB))];
  const scale = scaleOf(lanes, false);
  expect(scale.full).toBe(260 * KiB);
  expect(pieces(lanes[9]?.stack as Stack, scale, 300).map((piece) => piece.part)).toContain("cut");
  expect(pieces(lanes[0]?.stack as Stack, scale, 300).map((piece) => piece.part)).not.toContain("cut");
});

test("unknown residency draws no resident piece", () => {
  expect(pieces(stack(64 * KiB, null, null, null), { full: 64 * KiB, touched: false }, 100).map((piece) => piece.part)).toEqual(["unused"]);
});

test("no stacks at all is no division by nothing", () => {
  expect(scaleOf([], true).full).toBe(1);
  expect(scaleOf([lane(1, null)], false).full).toBe(1);
});

test("the house is in the middle with lanes on both sides, or above them on a narrow screen", () => {
  const wide = layout(many(5), 1400, 700);
  expect(wide.sides).toBe(true);
  expect(laneBox(wide, 0).x + laneBox(wide, 0).width).toBeLessThanOrEqual(wide.house.x);
  expect(laneBox(wide, 1).x).toBeGreaterThanOrEqual(wide.house.x + wide.house.width);
  const narrow = layout(many(5), 380, 700);
  expect(narrow.sides).toBe(false);
  expect(laneBox(narrow, 0).y).toBeGreaterThan(narrow.house.y + narrow.house.height);
});

test("floors share one scale, and split what is ours from what other processes map too", () => {
  const { floors } = layout(many(1), 1400, 700);
  const bar = (kind: string) => floors.find((floor) => floor.kind === kind)?.bar;
  expect(bar("heap")?.own).toBeCloseTo((bar("mapped_files")?.own ?? 0) * 8);
  expect(bar("mapped_files")?.others).toBeCloseTo((bar("mapped_files")?.own ?? 0) * 3);
  expect(layout(memory([], sizes(null)), 1400, 700).floors[0]?.bar).toBeNull();
});

test("of ten thousand lanes only those in sight are drawn", () => {
  const of = layout(many(10_000), 1400, 700);
  expect(of.contentHeight).toBeGreaterThan(100_000);
  const { first, last } = inSight(of, 50_000, 700);
  expect(last - first).toBeLessThan(50);
  expect(inSight(of, 9e9, 700)).toEqual({ first: 10_000, last: 10_000 });
  expect(inSight(layout(many(0), 1400, 700), 0, 700)).toEqual({ first: 0, last: 0 });
});

test("what is drawn somewhere is hit there, scrolled or not", () => {
  const of = layout(many(1001), 1400, 700);
  for (const index of [0, 1, 500, 1000]) {
    const box = laneBox(of, index);
    const scrolled = Math.max(0, box.y - 300);
    expect(hit(of, box.x + 5, box.y + 5 - scrolled, scrolled)).toEqual({ lane: index });
  }
  const floor = of.floors[2];
  expect(hit(of, (floor?.box.x ?? 0) + 5, (floor?.box.y ?? 0) + 5, 9000)).toEqual({ floor: 2 });
  expect(hit(of, 2, 2, 0)).toBeNull();
  const last = laneBox(of, 1001);
  expect(hit(of, last.x + 5, last.y + 5, 0)).toBeNull();
});

test("arrow keys reach every floor and every lane, and go no further", () => {
  for (const width of [1400, 380]) {
    const of = layout(many(7), width, 700);
    const seen = new Set<string>();
    let at = step(of, null, "ArrowDown", 5);
    for (let turn = 0; turn < 40; turn += 1) {
      seen.add(JSON.stringify(at));
      if (of.sides) seen.add(JSON.stringify(step(of, at, "ArrowRight", 5)));
      at = step(of, at, "ArrowDown", 5) ?? at;
    }
    expect(seen.size).toBe(kinds.length + 7);
    expect(step(of, { lane: 0 }, "ArrowUp", 5)).toEqual({ floor: 5 });
    expect(step(of, { lane: 3 }, "PageDown", 50)).toEqual({ lane: 6 });
    expect(step(of, { lane: 3 }, "q", 50)).toBeNull();
  }
});

test("sums add up, and an unknown part makes the sum unknown", () => {
  expect(sharedTotal(many(1)).resident_bytes).toBe(76);
  expect(sum([sizes(1), sizes(null)]).resident_bytes).toBeNull();
  expect(difference(many(1))).toBe(0);
  expect(difference({ ...many(1), kernel: { rollup: null, statm_virtual_bytes: 1, statm_resident_bytes: 1 } })).toBeNull();
});

test("lanes keep an order that does not depend on what they do", () => {
  const lanes = [lane(9, null, null), lane(5, null, "b"), lane(4, null, "b"), lane(7, null, "a"), lane(1, null, null)];
  expect(inOrder(lanes, 1).map((each) => each.tid)).toEqual([1, 7, 4, 5, 9]);
});
