/**
 * What the workloads of a finished run measured of themselves, as rows for a list: the heap that one task
 * took (the ledger's figure) first, then each workload's own figures, in the report's order.
 */

import { bytes, count, duration } from "../format";
import type { Fact, Report } from "../wire";

export interface FactRow {
  load: string;
  /** Null: the heap of a task, which the page names in its own language. */
  meaning: string | null;
  /** Null: it could not be had. */
  value: string | null;
}

export function factRows(report: Report): FactRow[] {
  return (report.loads ?? []).flatMap((load) => [
    ...(load.heap_peak_bytes === null ? [] : [{ load: load.name, meaning: null, value: bytes(load.heap_peak_bytes) }]),
    ...load.facts.map((fact) => ({ load: load.name, meaning: fact.meaning, value: shown(fact) })),
  ]);
}

function shown({ value, unit }: Fact): string | null {
  if (value === null) return null;
  if (unit === "bytes") return bytes(value);
  if (unit === "seconds") return duration(value);
  const plain = Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
  return unit === "1" || unit === "" ? plain : `${plain} ${unit}`;
}
