/**
 * Which rows of a long list are on the screen, and what stands in each.
 *
 * The daemon sorts; we ask for the part that shows. Rows keep their identity (tid and start time) when they
 * move. While the reader points at the list the order is held: values change in place, rows do not run away.
 */

import type { Thread } from "../wire";

export interface Span {
  first: number;
  /** Exclusive. */
  last: number;
}

export function spanOf(scrollTop: number, height: number, rowHeight: number, total: number, around: number): Span {
  const first = Math.max(0, Math.min(total, Math.floor(scrollTop / rowHeight)) - around);
  const last = Math.min(total, Math.ceil((scrollTop + height) / rowHeight) + around);
  return { first, last: Math.max(first, last) };
}

const STEP = 20;
/** The daemon gives at most this many rows a page. */
export const MOST = 200;

/** What to ask for so that `span` is covered: aligned, so that a small scroll asks the same question. */
export function pageFor(span: Span): { offset: number; limit: number } {
  const offset = Math.floor(span.first / STEP) * STEP;
  const end = Math.ceil(Math.max(span.last, span.first + 1) / STEP) * STEP;
  return { offset, limit: Math.min(MOST, Math.max(60, end - offset)) };
}

export function keyOf(thread: { tid: number; start_time: number }): string {
  return `${thread.tid}:${thread.start_time}`;
}

/** Row number to thread. Rows that are not known yet are absent. */
export type Rows = ReadonlyMap<number, Thread>;

/** Rows kept beyond the answer, so that a short scroll back shows something at once. */
const KEPT = 300;

export function merge(rows: Rows, offset: number, answer: readonly Thread[], total: number, held: boolean): Rows {
  const fresh = new Map(answer.map((thread) => [keyOf(thread), thread]));
  const merged = new Map<number, Thread>();
  if (held) {
    const placed = new Set<string>();
    for (const [index, thread] of rows) {
      if (index >= total) continue;
      merged.set(index, fresh.get(keyOf(thread)) ?? thread);
      placed.add(keyOf(thread));
    }
    answer.forEach((thread, position) => {
      if (!merged.has(offset + position) && !placed.has(keyOf(thread))) merged.set(offset + position, thread);
    });
    return merged;
  }
  answer.forEach((thread, position) => merged.set(offset + position, thread));
  for (const [index, thread] of rows) {
    const near = index >= offset - KEPT && index < offset + answer.length + KEPT;
    if (!merged.has(index) && index < total && near && !fresh.has(keyOf(thread))) merged.set(index, thread);
  }
  return merged;
}

/** Where a key leads. Null for a key that does not move. */
export function move(key: string, from: number, total: number, page: number): number | null {
  if (total === 0) return null;
  const to = (index: number): number => Math.max(0, Math.min(total - 1, index));
  switch (key) {
    case "ArrowDown": case "j": return to(from + 1);
    case "ArrowUp": case "k": return to(from - 1);
    case "PageDown": return to(from + page);
    case "PageUp": return to(from - page);
    case "Home": return 0;
    case "End": return total - 1;
    default: return null;
  }
}
