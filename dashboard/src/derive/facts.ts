/**
 * What the workloads of a finished run measured of themselves, as rows for a list: the heap that one task
 * took (the ledger's figure) first, then each workload's own figures, in the report's order.
 */

import { bytes, count, duration } from "../format";
import type { Fact, Report } from "../wire";

export interface FactRow {
  /** `mean accepted length`; null: the heap of a task, which the page names in its own language. */
  name: string | null;
  meaning: string | null;
  /** Null: it could not be had. */
  value: string | null;
}

export interface FactsOfPart {
  /** `medusa`, `2: medusa` where it is not the first of the load's mix; null: the load as a whole. */
  part: string | null;
  rows: FactRow[];
}

/** One entry for each load that has any. */
export function factsByLoad(report: Report): { load: string; parts: FactsOfPart[] }[] {
  return (report.loads ?? []).map((load) => ({ load: load.name, parts: partsOf(load) })).filter(({ parts }) => parts.length > 0);
}

function partsOf(load: NonNullable<Report["loads"]>[number]): FactsOfPart[] {
  const parts: FactsOfPart[] = load.heap_peak_bytes === null ? [] : [{ part: null, rows: [{ name: null, meaning: null, value: bytes(load.heap_peak_bytes) }] }];
  for (const fact of load.facts) {
    const part = fact.part === 0 ? fact.workload : `${fact.part + 1}: ${fact.workload}`;
    const row = { name: fact.name.replaceAll("_", " "), meaning: fact.meaning, value: shown(fact) };
    const last = parts.at(-1);
    if (last?.part === part) last.rows.push(row);
    else parts.push({ part, rows: [row] });
  }
  return parts;
}

function shown({ value, unit }: Fact): string | null {
  if (value === null) return null;
  if (unit === "bytes") return bytes(value);
  if (unit === "seconds") return duration(value);
  const plain = Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
  return unit === "1" || unit === "" ? plain : `${plain} ${unit}`;
}
