/**
 * The memory picture as numbers: where the house stands, which lane goes where, and how long each part is.
 *
 * Shared memory stands in the middle as a house with a floor for each kind; threads are lanes that leave its
 * walls to both sides (below it where there is no room). All lanes share one scale, and so do all floors. Only the
 * lanes in sight are ever computed: ten thousand threads cost no more than fifty.
 */

import type { Memory, Sizes, Stack } from "../wire";
import { type Part, segments } from "./stack";

export const kinds = ["heap", "mapped_files", "shared_memory", "code", "globals", "other"] as const;
export type Kind = (typeof kinds)[number];
export type Lane = Memory["threads"][number];

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Scale {
  /** Bytes that the whole length of a lane stands for. */
  full: number;
  /** Whether lanes end at what was touched; the rest is cut short. */
  touched: boolean;
}

/**
 * The scale that all lanes share. A few stacks that dwarf the others (a main thread's 8 MiB among pools of
 * 256 KiB) are cut short, and drawn so, rather than making all others slivers.
 */
export function scaleOf(lanes: readonly Lane[], touched: boolean): Scale {
  const lengths = lanes
    .flatMap(({ stack }) => (stack ? [touched ? Math.max(stack.resident_bytes ?? 0, stack.used_bytes ?? 0) * 1.15 : stack.reserved_bytes + (stack.guard_bytes ?? 0)] : []))
    .filter((length) => length > 0)
    .sort((a, b) => a - b);
  if (lengths.length === 0) return { full: 1, touched };
  const median = lengths[Math.floor(lengths.length / 2)] ?? 1;
  const fitting = lengths.filter((length) => length <= median * 2.5);
  return { full: fitting.at(-1) ?? median, touched };
}

export interface Piece {
  part: Part | "cut";
  /** From the wall outwards, in pixels. */
  from: number;
  to: number;
}

const GUARD_PIXELS = 4;
const CUT_PIXELS = 14;
const LEAST_PIXELS = 2;

/** One stack as pieces of a lane `width` pixels long. What there is can be seen, however small: at least two pixels. */
export function pieces(stack: Stack, scale: Scale, width: number): Piece[] {
  const result: Piece[] = [];
  let at = 0;
  const put = (part: Piece["part"], length: number): void => {
    const to = Math.min(width, at + length);
    if (to > at) result.push({ part, from: at, to });
    at = Math.max(at, to);
  };
  const parts = segments(stack);
  const guard = parts.some((segment) => segment.part === "guard");
  const whole = parts.reduce((sum, segment) => sum + segment.bytes, 0);
  const cut = scale.touched || whole > scale.full * 1.001;
  // Room at the outer end for what stands there at a fixed size.
  const room = width - (guard ? GUARD_PIXELS : 0) - (cut ? CUT_PIXELS : 0);
  for (const { part, bytes } of parts) {
    if (part === "guard") continue;
    const length = Math.max(LEAST_PIXELS, (bytes / scale.full) * width);
    const left = Math.max(LEAST_PIXELS, room - at);
    if (part === "unused" && scale.touched) put(part, Math.min(left, 10));
    else put(part, Math.min(left, length));
  }
  if (cut) put("cut", CUT_PIXELS);
  if (guard) put("guard", GUARD_PIXELS);
  return result;
}

export interface Floor {
  kind: Kind;
  sizes: Sizes;
  box: Box;
  /** Pixels of the floor's bar: resident here alone, and resident but shared with other processes. Null: not known. */
  bar: { own: number; others: number } | null;
  /** Pixels of its outline: what is reserved. Longer than there is room: cut short. */
  outline: { width: number; cut: boolean };
}

export interface Layout {
  width: number;
  /** Lanes on both sides of the house; else below it. */
  sides: boolean;
  house: Box;
  roof: number;
  floors: Floor[];
  laneHeight: number;
  laneWidth: number;
  /** Where the first lane begins, from the top of the content. */
  lanesTop: number;
  lanes: number;
  contentHeight: number;
}

const GAP = 22;
export const LANE_HEIGHT = 34;
/** Few lanes are drawn larger, up to this. */
const TALLEST_LANE = 52;
const ROOF = 64;
const EDGE = 10;
const TORN = 24;

export function layout(memory: Memory, width: number, viewHeight: number): Layout {
  const sides = width >= 860;
  const houseWidth = sides ? Math.min(380, Math.max(290, width * 0.27)) : width - 2 * EDGE;
  const houseHeight = sides ? Math.max(380, Math.min(660, viewHeight - 2 * EDGE)) : ROOF + kinds.length * 58;
  const house: Box = { x: sides ? (width - houseWidth) / 2 : EDGE, y: EDGE, width: houseWidth, height: houseHeight };
  const floorHeight = (houseHeight - ROOF) / kinds.length;
  const largest = Math.max(1, ...kinds.map((kind) => memory.shared[kind].resident_bytes ?? 0));
  // The longest bar leaves room for the torn edge of what is reserved beyond it.
  const inner = houseWidth - 32 - TORN;
  const floors = kinds.map((kind, index): Floor => {
    const sizes = memory.shared[kind];
    const resident = sizes.resident_bytes;
    const own = sizes.private_bytes === null || resident === null ? 0 : Math.min(sizes.private_bytes, resident);
    return {
      kind, sizes,
      box: { x: house.x, y: house.y + ROOF + index * floorHeight, width: houseWidth, height: floorHeight },
      outline: { width: Math.min(inner + TORN, (sizes.virtual_bytes / largest) * inner), cut: (sizes.virtual_bytes / largest) * inner > inner + TORN },
      bar: resident === null ? null : { own: (own / largest) * inner, others: ((resident - own) / largest) * inner },
    };
  });
  const lanes = memory.threads.length;
  const rows = sides ? Math.ceil(lanes / 2) : lanes;
  const laneHeight = sides ? Math.max(LANE_HEIGHT, Math.min(TALLEST_LANE, Math.floor((houseHeight - ROOF) / Math.max(1, rows)))) : LANE_HEIGHT;
  const lanesTop = sides ? EDGE + ROOF - 14 : house.y + house.height + 40;
  return {
    width, sides, house, roof: ROOF, floors, lanes, lanesTop, laneHeight,
    laneWidth: Math.max(60, sides ? house.x - GAP - EDGE : width - 2 * EDGE),
    contentHeight: lanesTop + rows * laneHeight + EDGE,
  };
}

/** Where a lane lies in the content, and whether it runs leftwards from the wall. */
export function laneBox(of: Layout, index: number): Box & { leftwards: boolean } {
  const leftwards = of.sides && index % 2 === 0;
  const row = of.sides ? Math.floor(index / 2) : index;
  const x = !of.sides || leftwards ? EDGE : of.house.x + of.house.width + GAP;
  return { x, y: of.lanesTop + row * of.laneHeight, width: of.laneWidth, height: of.laneHeight, leftwards };
}

/** The lanes in sight: from `first` up to `last`, exclusive. */
export function inSight(of: Layout, scrollTop: number, viewHeight: number): { first: number; last: number } {
  const columns = of.sides ? 2 : 1;
  const first = Math.floor((scrollTop - of.lanesTop) / of.laneHeight) * columns;
  const last = Math.ceil((scrollTop + viewHeight - of.lanesTop) / of.laneHeight) * columns;
  return { first: Math.max(0, Math.min(of.lanes, first)), last: Math.max(0, Math.min(of.lanes, last)) };
}

export type Target = { floor: number } | { lane: number };

/** What lies under a point of the view. The house stays in sight where lanes pass beside it. */
export function hit(of: Layout, x: number, y: number, scrollTop: number): Target | null {
  const houseY = of.sides ? y : y + scrollTop;
  const floor = of.floors.findIndex(({ box }) => within(box, x, houseY));
  if (floor >= 0) return { floor };
  const row = Math.floor((y + scrollTop - of.lanesTop) / of.laneHeight);
  if (row < 0) return null;
  for (const lane of of.sides ? [row * 2, row * 2 + 1] : [row]) {
    if (lane < of.lanes && within(laneBox(of, lane), x, y + scrollTop)) return { lane };
  }
  return null;
}

function within(box: Box, x: number, y: number): boolean {
  return x >= box.x && x < box.x + box.width && y >= box.y && y < box.y + box.height;
}

/** Where an arrow key leads from `from`. Null for a key that does not move. */
export function step(of: Layout, from: Target | null, key: string, page: number): Target | null {
  const columns = of.sides ? 2 : 1;
  if (from === null) return of.lanes > 0 || of.floors.length > 0 ? { floor: 0 } : null;
  const lane = (index: number): Target => ({ lane: Math.max(0, Math.min(of.lanes - 1, index)) });
  if (key === "Home") return { floor: 0 };
  if (key === "End") return of.lanes > 0 ? lane(of.lanes - 1) : { floor: of.floors.length - 1 };
  if ("floor" in from) {
    const next = from.floor + (key === "ArrowDown" ? 1 : key === "ArrowUp" ? -1 : 0);
    if (key === "ArrowDown" || key === "ArrowUp") {
      if (next >= of.floors.length) return of.lanes > 0 ? lane(0) : from;
      return { floor: Math.max(0, next) };
    }
    if (key === "PageDown" || key === "ArrowRight") return of.lanes > 0 ? lane(of.sides ? 1 : 0) : from;
    if (key === "ArrowLeft") return of.lanes > 0 ? lane(0) : from;
    return key === "PageUp" ? { floor: 0 } : null;
  }
  switch (key) {
    case "ArrowDown": return from.lane + columns < of.lanes ? lane(from.lane + columns) : from;
    case "ArrowUp": return from.lane - columns >= 0 ? lane(from.lane - columns) : { floor: of.floors.length - 1 };
    case "PageDown": return lane(from.lane + page * columns);
    case "PageUp": return lane(from.lane - page * columns);
    case "ArrowLeft": return of.sides && from.lane % 2 === 1 ? lane(from.lane - 1) : from;
    case "ArrowRight": return of.sides && from.lane % 2 === 0 ? lane(from.lane + 1) : from;
    default: return null;
  }
}

/** The sum of sizes; a part that is not known makes the sum unknown, not smaller. */
export function sum(all: readonly Sizes[]): Sizes {
  const add = (pick: (sizes: Sizes) => number | null): number | null =>
    all.reduce<number | null>((total, sizes) => {
      const value = pick(sizes);
      return total === null || value === null ? null : total + value;
    }, 0);
  return {
    virtual_bytes: add((sizes) => sizes.virtual_bytes) ?? 0, resident_bytes: add((sizes) => sizes.resident_bytes),
    proportional_bytes: add((sizes) => sizes.proportional_bytes), private_bytes: add((sizes) => sizes.private_bytes),
  };
}

export function sharedTotal(memory: Memory): Sizes {
  return sum(kinds.map((kind) => memory.shared[kind]));
}

export function perThreadTotal(memory: Memory): Sizes {
  return sum([memory.per_thread.stacks, memory.per_thread.guards]);
}

/** Our resident total less the kernel's own; null where one is not known. */
export function difference(memory: Memory): number | null {
  const kernel = memory.kernel.rollup?.resident_bytes ?? null;
  return kernel === null || memory.total.resident_bytes === null ? null : memory.total.resident_bytes - kernel;
}

/** Lanes keep their place from one reading to the next: the main thread, then pool by pool, by tid. */
export function inOrder(threads: readonly Lane[], pid: number): Lane[] {
  const rank = (lane: Lane): string => (lane.tid === pid ? "0" : lane.pool === null ? "2" : `1${lane.pool}`);
  const ranked = threads.map((lane) => ({ lane, rank: rank(lane) }));
  ranked.sort((a, b) => (a.rank < b.rank ? -1 : a.rank > b.rank ? 1 : a.lane.tid - b.lane.tid));
  return ranked.map(({ lane }) => lane);
}
