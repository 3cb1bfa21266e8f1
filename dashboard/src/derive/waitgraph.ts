/**
 * The wait-for graph as a picture in numbers: which thread waits for which lock, held by whom, and where each stands.
 *
 * A thread waits for at most one lock and a lock has at most one owner here, so from every node at most one edge leads on:
 * each connected part is a tree that flows into one root, or into one circle. Trees are laid out in columns towards
 * their root, a circle as a racetrack of two rows with its trees above and below. Threads that only wait, and for the
 * same lock, stand for each other: a few are drawn, the rest are one node with their number.
 */

import type { Chain, Deadlock, Lock, Locks, LockWait } from "../wire";

export type Node =
  | { id: string; type: "thread"; tid: number; name: string; wait: LockWait | null; cycle: boolean; root: boolean }
  | { id: string; type: "lock"; lock: Lock; cycle: boolean }
  | { id: string; type: "more"; lock: Lock; tids: number[] }
  /** An owner that is no living thread of this process. */
  | { id: string; type: "stranger"; kind: "ended" | "foreign"; recorded: number | null };

export interface Edge {
  from: string;
  to: string;
  type: "waits" | "held";
  cycle: boolean;
  /** Only likely: nothing proves it. */
  likely: boolean;
}

/** One connected part. */
export interface Part {
  id: string;
  nodes: Node[];
  edges: Edge[];
  deadlock: Deadlock | null;
  /** The longest chain to its root; null in a circle and where nobody is known to hold the last lock. */
  chain: Chain | null;
  waiting: number;
}

export const threadId = (tid: number): string => `t${tid}`;
export const lockId = (id: number): string => `l${id}`;

/** `shown`: how many of those that only wait for one lock are drawn before the rest become one node. */
export function partsOf(locks: Locks, shown: number): Part[] {
  const waitOf = new Map(locks.waits.map((wait) => [wait.tid, wait]));
  const heldBy = new Map<number, number[]>();
  for (const lock of locks.locks) {
    const tid = lock.owner?.tid;
    if (tid !== null && tid !== undefined) heldBy.set(tid, [...(heldBy.get(tid) ?? []), lock.id]);
  }
  const names = new Map<number, string>(locks.waits.map((wait) => [wait.tid, wait.name]));
  for (const lock of locks.locks) if (lock.owner?.tid != null && lock.owner.name !== null) names.set(lock.owner.tid, lock.owner.name);
  const cycleOf = new Map<number, Deadlock>();
  for (const deadlock of locks.deadlocks) for (const step of deadlock.threads) cycleOf.set(step.tid, deadlock);
  const byId = new Map(locks.locks.map((lock) => [lock.id, lock]));

  // Where everything flows to: the end of the road, or the lowest thread of its circle.
  const sinkOf = new Map<string, string>();
  const sink = (start: Lock): string => {
    const way: string[] = [];
    const seen = new Set<string>();
    let at: Lock | undefined = start;
    let end = lockId(start.id);
    while (at) {
      end = lockId(at.id);
      const known = sinkOf.get(end);
      if (known !== undefined) {
        end = known;
        break;
      }
      if (seen.has(end)) {
        const circle = way.slice(way.indexOf(end));
        end = `c${Math.min(...circle.map((id) => Number(id.slice(1))))}`;
        break;
      }
      seen.add(end);
      way.push(end);
      const tid: number | null = at.owner?.tid ?? null;
      if (tid === null) break;
      const next = waitOf.get(tid);
      if (!next) {
        end = threadId(tid);
        break;
      }
      at = byId.get(next.lock);
    }
    for (const id of way) sinkOf.set(id, end);
    return end;
  };

  const parts = new Map<string, Part>();
  for (const lock of locks.locks) {
    const id = sink(lock);
    let part = parts.get(id);
    if (!part) parts.set(id, (part = { id, nodes: [], edges: [], deadlock: null, chain: null, waiting: 0 }));
    const has = new Set(part.nodes.map((node) => node.id));
    const put = (node: Node): void => {
      if (!has.has(node.id)) part?.nodes.push(node);
      has.add(node.id);
    };
    const thread = (tid: number): void => put({
      id: threadId(tid), type: "thread", tid, name: names.get(tid) ?? "", wait: waitOf.get(tid) ?? null, cycle: cycleOf.has(tid), root: !waitOf.has(tid),
    });
    const inCycle = (tid: number | null | undefined): boolean => tid != null && (cycleOf.get(tid)?.threads.some((step) => step.holds === lock.id) ?? false);
    put({ id: lockId(lock.id), type: "lock", lock, cycle: inCycle(lock.owner?.tid) });
    if (lock.owner?.tid != null) {
      thread(lock.owner.tid);
      part.edges.push({ from: lockId(lock.id), to: threadId(lock.owner.tid), type: "held", cycle: inCycle(lock.owner.tid), likely: !lock.owner.proved });
    } else if (lock.owner && lock.owner.kind !== "thread") {
      put({ id: `x${lock.id}`, type: "stranger", kind: lock.owner.kind, recorded: lock.owner.recorded_tid });
      part.edges.push({ from: lockId(lock.id), to: `x${lock.id}`, type: "held", cycle: false, likely: !lock.owner.proved });
    }
    const holders = lock.waiters.filter((tid) => heldBy.has(tid));
    const idle = lock.waiters.filter((tid) => !heldBy.has(tid));
    // One node for a single thread would say less than the thread itself.
    const drawn = idle.length <= shown + 1 ? idle.length : shown;
    for (const tid of [...holders, ...idle.slice(0, drawn)]) {
      thread(tid);
      part.edges.push({ from: threadId(tid), to: lockId(lock.id), type: "waits", cycle: cycleOf.get(tid)?.threads.some((step) => step.tid === tid && step.wants === lock.id) ?? false, likely: false });
    }
    if (drawn < idle.length) {
      put({ id: `m${lock.id}`, type: "more", lock, tids: idle.slice(drawn) });
      part.edges.push({ from: `m${lock.id}`, to: lockId(lock.id), type: "waits", cycle: false, likely: false });
    }
    part.waiting += lock.waiters.length;
  }
  for (const part of parts.values()) {
    const tids = new Set(part.nodes.flatMap((node) => (node.type === "thread" ? [node.tid] : [])));
    part.deadlock = locks.deadlocks.find((deadlock) => deadlock.threads.some((step) => tids.has(step.tid))) ?? null;
    const ids = new Set(part.nodes.flatMap((node) => (node.type === "lock" ? [node.lock.id] : [])));
    part.chain = locks.chains.find((chain) => chain.links.some((link) => ids.has(link.lock))) ?? null;
  }
  const rank = (part: Part): number => (part.deadlock ? 0 : part.chain?.root ? 1 : part.edges.some((edge) => edge.type === "held") ? 2 : 3);
  return [...parts.values()].sort((a, b) => rank(a) - rank(b) || b.waiting - a.waiting || (a.id < b.id ? -1 : 1));
}

export interface Sizes {
  /** Of a node. */
  width: number;
  height: number;
  /** Between nodes, along the flow and across it. */
  along: number;
  across: number;
  /** Waiters above and root below, for narrow screens; else from left to right. */
  down: boolean;
}

export interface Placed {
  node: Node;
  x: number;
  y: number;
}

export interface Picture {
  width: number;
  height: number;
  nodes: Placed[];
  edges: { edge: Edge; path: string; head: string }[];
}

interface Spot {
  /** Columns along the flow, rows across it; the racetrack of a circle is two rows with room between them. */
  u: number;
  v: number;
}

/** Room between the two rows of a circle, in rows. */
const INFIELD = 1.7;

export function pictureOf(part: Part, sizes: Sizes): Picture {
  const into = new Map<string, string[]>();
  const onward = new Map<string, string>();
  for (const { from, to } of part.edges) {
    onward.set(from, to);
    const list = into.get(to);
    if (list) list.push(from);
    else into.set(to, [from]);
  }
  const circle = circleOf(part, onward);
  const onCircle = new Set(circle);
  const spots = new Map<string, Spot>();

  // A tree that flows into `id`, from row `from` on: the rows it took. Its nodes stand in the columns before `id`.
  const tree = (id: string, u: number, from: number): number => {
    const children = (into.get(id) ?? []).filter((child) => !onCircle.has(child) && !spots.has(child));
    let row = from;
    spots.set(id, { u, v: from });
    const rows: number[] = [];
    for (const child of children) {
      const took = tree(child, u - 1, row);
      rows.push(spots.get(child)?.v ?? row);
      row += took;
    }
    const [first, last] = [rows[0], rows.at(-1)];
    // On a narrow page the way to the root goes straight down, so that it stays in sight.
    if (first !== undefined && last !== undefined) spots.set(id, { u, v: sizes.down ? first : (first + last) / 2 });
    return Math.max(1, row - from);
  };

  if (circle.length === 0) {
    const root = part.nodes.find((node) => !onward.has(node.id));
    if (root) tree(root.id, 0, 0);
  } else {
    const columns = Math.max(1, Math.ceil(circle.length / 2));
    circle.forEach((id, index) => spots.set(id, index < columns ? { u: index, v: 0 } : { u: circle.length - 1 - index, v: INFIELD }));
    let [above, below] = [0, INFIELD + 1];
    circle.forEach((id, index) => {
      for (const child of into.get(id) ?? []) {
        if (onCircle.has(child)) continue;
        const u = spots.get(id)?.u ?? 0;
        if (index < columns) {
          const took = tree(child, u - 1, 0);
          above -= took;
          shift(child, into, onCircle, spots, above);
        } else below += tree(child, u - 1, below);
      }
    });
  }

  const all = [...spots.values()];
  const least = { u: Math.min(0, ...all.map(({ u }) => u)), v: Math.min(0, ...all.map(({ v }) => v)) };
  const [stepU, stepV] = sizes.down ? [sizes.height + sizes.along, sizes.width + sizes.across] : [sizes.width + sizes.along, sizes.height + sizes.across];
  const nodes = part.nodes.flatMap((node): Placed[] => {
    const spot = spots.get(node.id);
    if (!spot) return [];
    const [u, v] = [(spot.u - least.u) * stepU, (spot.v - least.v) * (sizes.down && onCircle.has(node.id) ? stepV / INFIELD : stepV)];
    return [{ node, x: sizes.down ? v : u, y: sizes.down ? u : v }];
  });
  const at = new Map(nodes.map((placed) => [placed.node.id, placed]));
  const edges = part.edges.flatMap((edge) => {
    const [from, to] = [at.get(edge.from), at.get(edge.to)];
    if (!from || !to) return [];
    return [{ edge, ...route(from, to, sizes, circle.length === 2 && onCircle.has(edge.from) && onCircle.has(edge.to) ? (circle[0] === edge.from ? 1 : -1) : 0, onCircle.has(edge.to) && !onCircle.has(edge.from)) }];
  });
  return {
    width: Math.max(sizes.width, ...nodes.map(({ x }) => x + sizes.width)), height: Math.max(sizes.height, ...nodes.map(({ y }) => y + sizes.height)), nodes, edges,
  };
}

function shift(id: string, into: ReadonlyMap<string, string[]>, onCircle: ReadonlySet<string>, spots: Map<string, Spot>, rows: number): void {
  const spot = spots.get(id);
  if (!spot) return;
  spots.set(id, { u: spot.u, v: spot.v + rows });
  for (const child of into.get(id) ?? []) if (!onCircle.has(child)) shift(child, into, onCircle, spots, rows);
}

/** The circle in its own order, from the thread that the daemon names first; empty where all flows to a root. */
function circleOf(part: Part, onward: ReadonlyMap<string, string>): string[] {
  const first = part.deadlock?.threads[0];
  let at = first ? threadId(first.tid) : (part.nodes.find((node) => node.type === "thread")?.id ?? "");
  const seen: string[] = [];
  while (!seen.includes(at)) {
    seen.push(at);
    const next = onward.get(at);
    if (next === undefined) return [];
    at = next;
  }
  return seen.slice(seen.indexOf(at));
}

interface Point { x: number; y: number }

/**
 * A curve from the side of one node to the side of the other that faces it, and its arrow head. `joins`: it comes from
 * outside into a circle, whose nodes have their neighbours at the sides: it leaves along the flow and arrives across it.
 */
function route(from: Point, to: Point, { width, height, down }: Sizes, bow: number, joins: boolean): { path: string; head: string } {
  const [a, b] = [{ x: from.x + width / 2, y: from.y + height / 2 }, { x: to.x + width / 2, y: to.y + height / 2 }];
  const [sx, sy] = [Math.sign(b.x - a.x), Math.sign(b.y - a.y)];
  // In the same column or row there is only one way.
  const sideways = down ? Math.abs(b.y - a.y) < 1 : Math.abs(b.x - a.x) >= 1;
  const enters = joins && Math.abs(b.x - a.x) >= 1 && Math.abs(b.y - a.y) >= 1 ? !sideways : sideways;
  const beside = Math.abs(b.x - a.x) < 1 ? bow * width * 0.25 : 0;
  const side = (at: Point, along: boolean, sign: 1 | -1): Point => (along ? { x: at.x + (sign * sx * width) / 2, y: at.y } : { x: at.x + beside, y: at.y + (sign * sy * height) / 2 });
  const [start, end] = [side(a, sideways, 1), side(b, enters, -1)];
  const [middleX, middleY] = [(start.x + end.x) / 2, (start.y + end.y) / 2];
  const one = sideways === enters ? (sideways ? { x: middleX, y: start.y } : { x: start.x, y: middleY }) : sideways ? { x: end.x, y: start.y } : { x: start.x, y: end.y };
  const two = sideways === enters ? (sideways ? { x: middleX, y: end.y } : { x: end.x, y: middleY }) : one;
  const n = (value: number): string => value.toFixed(1);
  const [ux, uy] = enters ? [sx, 0] : [0, sy];
  const [length, half] = [8, 4.5];
  const neck = { x: end.x - ux * length, y: end.y - uy * length };
  return {
    path: `M${n(start.x)} ${n(start.y)}C${n(one.x)} ${n(one.y)} ${n(two.x)} ${n(two.y)} ${n(end.x - ux * 4)} ${n(end.y - uy * 4)}`,
    head: `M${n(end.x)} ${n(end.y)}L${n(neck.x - uy * half)} ${n(neck.y + ux * half)}L${n(neck.x + uy * half)} ${n(neck.y - ux * half)}Z`,
  };
}

/** Whose tids are in a part, all of them: those behind "more" as well. */
export function holdsThread(part: Part, tid: number): boolean {
  return part.nodes.some((node) => (node.type === "thread" && node.tid === tid) || (node.type === "more" && node.tids.includes(tid)));
}
