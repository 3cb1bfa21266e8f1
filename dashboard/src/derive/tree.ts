/** Processes below their parents. The daemon gives a list; here it becomes rows with a depth. */

import type { Process } from "../wire";

export interface Row {
  process: Process;
  depth: number;
  /** Processes below it, at any depth. */
  below: number;
  folded: boolean;
  /** It fits the search itself; else it only leads to one that does. */
  fits: boolean;
}

export type Compare = (a: Process, b: Process) => number;

export function fitsFilter(process: Process, filter: string): boolean {
  const part = filter.trim().toLowerCase();
  return part === "" || process.name.toLowerCase().includes(part) || String(process.pid).includes(part) || (process.user?.toLowerCase().includes(part) ?? false);
}

/**
 * A parent that is not in the list (hidden, or ended in between) makes its children roots. Parents that name each
 * other in a circle, which only a list read while pids were reused can hold, are cut where the circle closes.
 */
export function rowsOf(processes: readonly Process[], compare: Compare, folded: ReadonlySet<number>, filter: string): Row[] {
  const known = new Map(processes.map((process) => [process.pid, process]));
  const children = new Map<number, Process[]>();
  const roots: Process[] = [];
  for (const process of processes) {
    if (process.ppid !== process.pid && known.has(process.ppid) && !leadsBack(process, known)) {
      const siblings = children.get(process.ppid);
      if (siblings) siblings.push(process);
      else children.set(process.ppid, [process]);
    } else roots.push(process);
  }
  const plain = filter.trim() === "";
  const rows: Row[] = [];
  // An explicit stack: a chain of parents may be as long as the list.
  const open: { process: Process; depth: number }[] = [...roots].sort(compare).reverse().map((process) => ({ process, depth: 0 }));
  const ends: { row: Row; at: number }[] = [];
  while (open.length > 0) {
    const { process, depth } = open.pop() as (typeof open)[number];
    while ((ends.at(-1)?.row.depth ?? -1) >= depth) close(ends, rows);
    const row: Row = { process, depth, below: 0, folded: folded.has(process.pid), fits: fitsFilter(process, filter) };
    ends.push({ row, at: rows.length });
    rows.push(row);
    for (const child of [...(children.get(process.pid) ?? [])].sort(compare).reverse()) open.push({ process: child, depth: depth + 1 });
  }
  while (ends.length > 0) close(ends, rows);

  const kept: Row[] = [];
  for (let at = 0; at < rows.length; at += 1) {
    const row = rows[at] as Row;
    const inside = rows.slice(at + 1, at + 1 + row.below);
    if (!row.fits && (plain || !inside.some(({ fits }) => fits))) {
      at += row.below;
      continue;
    }
    kept.push(row);
    // A search looks into folded ones too.
    if (row.folded && plain) at += row.below;
  }
  return kept;
}

function close(ends: { row: Row; at: number }[], rows: readonly Row[]): void {
  const ended = ends.pop();
  if (ended) ended.row.below = rows.length - ended.at - 1;
}

function leadsBack(from: Process, known: ReadonlyMap<number, Process>): boolean {
  const seen = new Set([from.pid]);
  for (let at = known.get(from.ppid); at; at = known.get(at.ppid)) {
    if (at.pid === from.pid) return true;
    if (seen.has(at.pid)) return false;
    seen.add(at.pid);
  }
  return false;
}

/** Unknown values come last, whichever way the order goes; equal ones by pid. */
export function comparing(key: "cpu_ratio" | "rss_bytes" | "threads" | "name" | "pid" | "user", order: "asc" | "desc"): Compare {
  const sign = order === "asc" ? 1 : -1;
  return (a, b) => {
    const [x, y] = [a[key], b[key]];
    if (x === null || y === null) return Number(x === null) - Number(y === null) || a.pid - b.pid;
    return (x < y ? -1 : x > y ? 1 : 0) * sign || a.pid - b.pid;
  };
}
