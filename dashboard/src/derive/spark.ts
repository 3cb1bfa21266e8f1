/** Turns recent values into an SVG path. A gap breaks the line; nothing is drawn where nothing is known. */

/** The upper edge for rows that are shown together: the least of a few round shares that holds them all. */
export function topOf(rows: Iterable<readonly (number | null)[] | undefined>): number {
  let most = 0;
  for (const values of rows) for (const value of values ?? []) if (value !== null && value > most) most = value;
  return [0.05, 0.1, 0.25, 0.5, 1].find((top) => most <= top) ?? Math.ceil(most);
}

export interface Spark {
  line: string;
  area: string;
}

/** `top` is the value at the upper edge: rows of one list share it, so that they can be compared. */
export function spark(values: readonly (number | null)[], width: number, height: number, top: number): Spark {
  if (values.length < 2 || top <= 0) return { line: "", area: "" };
  const step = width / (values.length - 1);
  const y = (value: number): string => (height - 0.75 - Math.min(1, Math.max(0, value / top)) * (height - 1.5)).toFixed(1);
  let line = "";
  let area = "";
  for (let index = 0; index < values.length; ) {
    const first = index;
    const points: string[] = [];
    for (let value = values[index]; value !== null && value !== undefined; value = values[index]) {
      points.push(`${(index * step).toFixed(1)} ${y(value)}`);
      index += 1;
    }
    if (points.length > 0) {
      // A lone point would be invisible: it becomes a short dash.
      const path = points.length === 1 ? `M${points[0]}h1` : `M${points.join("L")}`;
      line += path;
      if (points.length > 1) area += `${path}L${((index - 1) * step).toFixed(1)} ${height}L${(first * step).toFixed(1)} ${height}z`;
    } else {
      index += 1;
    }
  }
  return { line, area };
}
