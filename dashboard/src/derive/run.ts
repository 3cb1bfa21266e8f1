/**
 * A run over time: what the charts draw.
 *
 * The daemon tells where a run stands now; the course is kept here, from when the page was opened. Latencies
 * of several loads cannot be merged from their percentiles, so "all loads" shows the worst of them.
 */

import type { LoadProgress, Run, Spread } from "../wire";

export const latencies = ["lag", "queue", "service", "response"] as const;
export type Latency = (typeof latencies)[number];
export type Percentile = "p50_seconds" | "p99_seconds";

export interface RunPoint {
  at: number; // seconds since the run began
  loads: LoadProgress[];
}

export interface RunTrack {
  id: string | null;
  points: readonly RunPoint[];
}

/** Ten minutes at a point a second. */
export const KEPT_POINTS = 600;

export function emptyTrack(): RunTrack {
  return { id: null, points: [] };
}

/** The track with where the run stands now. Another run starts a new track; a word that is not newer changes nothing. */
export function advance(track: RunTrack, run: Run): RunTrack {
  const points = track.id === run.id ? track.points : [];
  const last = points.at(-1);
  if (run.loads.length === 0 || (last !== undefined && run.elapsed_seconds <= last.at)) return track.id === run.id ? track : { id: run.id, points };
  return { id: run.id, points: [...points.slice(-(KEPT_POINTS - 1)), { at: run.elapsed_seconds, loads: run.loads }] };
}

/** Of one load, or of all where `name` is null. */
function chosen(point: RunPoint, name: string | null): LoadProgress[] {
  return name === null ? point.loads : point.loads.filter((load) => load.name === name);
}

export interface Throughput {
  at: number[];
  done: (number | null)[];
  /** What the open loads intend. A closed load has users, not a rate: null where there is no open one. */
  target: (number | null)[];
}

export function throughput(track: RunTrack, name: string | null): Throughput {
  const result: Throughput = { at: [], done: [], target: [] };
  for (const point of track.points) {
    const loads = chosen(point, name);
    const open = loads.filter((load) => load.executor === "open");
    result.at.push(point.at);
    result.done.push(loads.length === 0 ? null : sum(loads.map((load) => load.throughput)));
    // A target beside a total of other loads would compare unlike things.
    result.target.push(open.length === 0 || open.length < loads.length ? null : sum(open.map((load) => load.target)));
  }
  return result;
}

export function latency(track: RunTrack, name: string | null, percentile: Percentile): { at: number[] } & Record<Latency, (number | null)[]> {
  const result: { at: number[] } & Record<Latency, (number | null)[]> = { at: [], lag: [], queue: [], service: [], response: [] };
  for (const point of track.points) {
    const loads = chosen(point, name);
    result.at.push(point.at);
    for (const each of latencies) result[each].push(worst(loads.map((load) => load[each]), percentile));
  }
  return result;
}

/** Null where nothing was measured yet: an empty histogram's 0 is no latency. */
export function worst(spreads: Spread[], percentile: Percentile): number | null {
  const measured = spreads.filter((spread) => spread.count > 0).map((spread) => spread[percentile]);
  return measured.length === 0 ? null : Math.max(...measured);
}

export function isOver(run: Run): boolean {
  return run.phase === "finished" || run.phase === "stopped" || run.phase === "failed";
}

/** The badge's colour. */
export const phaseTone: Record<Run["phase"], string> = { preparing: "warn", running: "good", draining: "warn", finished: "", stopped: "", failed: "bad" };
export const verdictTone = { pass: "good", fail: "bad", invalid: "warn" } as const;

/** Arrived, but neither done nor under way. */
export function notDone(load: LoadProgress): number {
  return load.shed + load.late + load.cancelled + load.panicked;
}

/** The next sensible rate in a direction: 0.25, 0.5, 1, 2, 4… */
export function stepRate(factor: number, direction: 1 | -1): number {
  const step = Math.log2(factor);
  const next = direction > 0 ? Math.floor(step + 1e-9) + 1 : Math.ceil(step - 1e-9) - 1;
  return 2 ** Math.min(4, Math.max(-4, next));
}

export function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
