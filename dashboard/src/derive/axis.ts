/** What part of time a chart shows, and where its axis is marked. */

/** Marks stand at whole seconds, minutes and hours: finer ones would carry the same label twice. */
export const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400];

const WINDOW = 120;
/** A plan longer than this does not fit a chart while it runs: then the newest part shows. */
const LONGEST_PLAN = 600;
const LEAST_HISTORY = 30;

export type Window = readonly [from: number, to: number];

/** Of a run: all of its planned time; of one without an end the last two minutes, filling from the right. */
export function runWindow(elapsed: number, planned: number | null, over: boolean): Window {
  if (over) return [0, Math.max(1, elapsed)];
  if (planned !== null && planned <= LONGEST_PLAN) return [0, Math.max(planned, elapsed)];
  return [elapsed - WINDOW, elapsed];
}

type Column = readonly (number | null)[];

/** A history without its empty beginning, and the window that shows it. `times` are seconds before now. */
export function historyWindow(times: readonly number[], columns: readonly Column[]): { first: number; window: Window } {
  const found = times.findIndex((_, index) => columns.some((column) => (column[index] ?? null) !== null));
  const first = found < 0 ? times.length : found;
  return { first, window: [Math.min(-LEAST_HISTORY, times[first] ?? 0), 0] };
}

/** Values without a neighbour: no line goes through them, so each is drawn as a dot. */
export function isolated(values: Column): number[] {
  const known = (index: number): boolean => (values[index] ?? null) !== null;
  return values.flatMap((_, index) => (known(index) && !known(index - 1) && !known(index + 1) ? [index] : []));
}
