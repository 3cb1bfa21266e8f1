/**
 * The course of a run that is over, from its report: what the charts draw when the page did not see it run.
 *
 * Here the figures are of each interval, where a run under way tells totals since its beginning. Of several
 * loads the rates add up; latencies cannot, so the worst shows.
 */

import type { Report } from "../wire";
import type { Latency, Percentile } from "./run";

type Series = NonNullable<Report["series"]>;
type Column = (number | null)[];

const columns = (series: Series, load: string | null, name: string): Column[] =>
  Object.entries(series.loads).flatMap(([each, of]) => (load === null || each === load ? [of[name] ?? []] : []));

/** The last interval is what was left after the plan's end: far too short to be a rate. */
const SHORTEST = 0.1;
const intervals = (series: Series): number[] => series.width_seconds.flatMap((width, index) => (width >= SHORTEST ? [index] : []));

export function reportedThroughput(series: Series, load: string | null): { at: number[]; done: Column } {
  const done = columns(series, load, "done");
  const wide = intervals(series);
  return {
    at: wide.map((index) => series.at_seconds[index] ?? 0),
    done: wide.map((index) => done.reduce((total, column) => total + (column[index] ?? 0), 0) / (series.width_seconds[index] ?? 1)),
  };
}

export function reportedLatency(series: Series, load: string | null, percentile: Percentile): { at: number[] } & Record<Extract<Latency, "response" | "service">, Column> {
  const wide = intervals(series);
  const worst = (name: string): Column => {
    const all = columns(series, load, `${name}_${percentile.slice(0, 3)}`);
    return wide.map((index) => {
      const known = all.flatMap((column) => column[index] ?? []);
      return known.length === 0 ? null : Math.max(...known);
    });
  };
  return { at: wide.map((index) => series.at_seconds[index] ?? 0), response: worst("response"), service: worst("service") };
}
