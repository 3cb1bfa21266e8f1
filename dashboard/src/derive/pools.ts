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

export const TONES = 6;

/**
 * A colour for each workload, the same in every pool. It starts from the name, so that it mostly stays when
 * another workload comes or goes; two that would look alike are set apart while there are colours left.
 */
export function tones(pools: Pool[]): Map<string, number> {
  const names = new Set<string>();
  for (const pool of pools) for (const worker of pool.workers) if (worker.task !== null) names.add(worker.task);
  const taken = new Map<string, number>();
  for (const name of [...names].sort()) {
    const used = new Set(taken.values());
    let tone = home(name);
    for (let tries = 0; used.has(tone) && tries < TONES; tries += 1) tone = (tone + 1) % TONES;
    taken.set(name, tone);
  }
  return taken;
}

function home(name: string): number {
  let hash = 7;
  for (const character of name) hash = (hash * 31 + (character.codePointAt(0) ?? 0)) % 1_000_003;
  return hash % TONES;
}

/** 0 to 1; null for a queue without a bound. */
export function fullness(pool: Pool): number | null {
  return pool.queue_capacity > 0 ? Math.min(1, pool.queue_depth / pool.queue_capacity) : null;
}
