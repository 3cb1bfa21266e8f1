import { expect, test } from "vitest";
import { bytes, count, duration } from "../format";
import type { Bytes } from "../wire";
import { factsByLoad } from "./facts";

const fact = (unit: string, value: number | null) => ({ part: 1, workload: "w", name: "mean_length", unit, meaning: "what", value });

test("a figure wears its unit, and one that is unknown stays unknown", () => {
  const facts = [fact("1", 2.34567), fact("tokens", 12000), fact("bytes", 2048), fact("seconds", 0.25), fact("1", null)];
  expect(factsByLoad({ loads: [{ name: "a", heap_peak_bytes: null, facts }] })[0]?.parts[0]?.rows.map((row) => row.value)).toEqual([
    "2.346", `${count(12000)} tokens`, bytes(2048), duration(0.25), null,
  ]);
});

test("the heap of a task comes first, then each part of the mix", () => {
  const told = factsByLoad({ loads: [{ name: "a", heap_peak_bytes: 1024 as Bytes, facts: [fact("1", 1)] }] });
  expect(told.map(({ load }) => load)).toEqual(["a"]);
  expect(told[0]?.parts.map(({ part, rows }) => [part, rows.map(({ name }) => name)])).toEqual([[null, [null]], ["2: w", ["mean length"]]]);
});

test("a load without figures, and an old report, have no rows", () => {
  expect(factsByLoad({ loads: [{ name: "a", heap_peak_bytes: null, facts: [] }] })).toEqual([]);
  expect(factsByLoad({})).toEqual([]);
});
