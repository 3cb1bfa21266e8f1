/** What a pool's cells show. */

import type { Pool } from "../wire";

type Worker = Pool["workers"][number];
export type Doing = "task" | "parked" | "idle";

export function doing(worker: Worker): Doing {
  if (worker.task !== null) return "task";
  return worker.parked ? "parked" : "idle";
}

/** More cells than this become a count: a pool may have thousands of workers. */
export const CELLS = 64;

/** A colour for each workload, the same in every pool: its place in the sorted names. */
export function tones(pools: Pool[]): Map<string, number> {
  const names = new Set<string>();
  for (const pool of pools) for (const worker of pool.workers) if (worker.task !== null) names.add(worker.task);
  return new Map([...names].sort().map((name) => [name, tone(name)]));
}

/** From the name alone, so that it does not change when another workload comes or goes. */
export function tone(name: string): number {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 1_000_003;
  return hash % 6;
}

/** 0 to 1; null for a queue without a bound. */
export function fullness(pool: Pool): number | null {
  return pool.queue_capacity > 0 ? Math.min(1, pool.queue_depth / pool.queue_capacity) : null;
}
