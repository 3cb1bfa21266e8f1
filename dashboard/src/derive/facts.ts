/**
 * What the workloads of a finished run measured of themselves, as rows for a list: the heap that one task
 * took (the ledger's figure) first, then each workload's own figures, in the report's order.
 */

import { bytes, count, duration } from "../format";
import type { Fact, Report } from "../wire";

export interface FactRow {
  /** `medusa`, `2: medusa` where it is not the first of the load's mix; null: the load as a whole. */
  part: string | null;
  /** Null: the heap of a task, which the page names in its own language. */
  meaning: string | null;
  /** Null: it could not be had. */
  value: string | null;
}

/** One entry for each load that has any. */
export function factsByLoad(report: Report): { load: string; rows: FactRow[] }[] {
  return (report.loads ?? []).map((load) => ({ load: load.name, rows: factRows(load) })).filter(({ rows }) => rows.length > 0);
}

function factRows(load: NonNullable<Report["loads"]>[number]): FactRow[] {
  return [
    ...(load.heap_peak_bytes === null ? [] : [{ part: null, meaning: null, value: bytes(load.heap_peak_bytes) }]),
    ...load.facts.map((fact) => ({ part: fact.part === 0 ? fact.workload : `${fact.part + 1}: ${fact.workload}`, meaning: fact.meaning, value: shown(fact) })),
  ];
}

function shown({ value, unit }: Fact): string | null {
  if (value === null) return null;
  if (unit === "bytes") return bytes(value);
  if (unit === "seconds") return duration(value);
  const plain = Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
  return unit === "1" || unit === "" ? plain : `${plain} ${unit}`;
}
