import { expect, test } from "vitest";
import { bytes, count, duration } from "../format";
import { factRows } from "./facts";

const fact = (unit: string, value: number | null) => ({ workload: "w", name: "n", unit, meaning: "what", value });

test("a figure wears its unit, and one that is unknown stays unknown", () => {
  const facts = [fact("1", 2.34567), fact("tokens", 12000), fact("bytes", 2048), fact("seconds", 0.25), fact("1", null)];
  expect(factRows({ loads: [{ name: "a", heap_peak_bytes: null, facts }] }).map((row) => row.value)).toEqual([
    "2.346", `${count(12000)} tokens`, bytes(2048), duration(0.25), null,
  ]);
});

test("the heap of a task comes first, and an old report has no rows", () => {
  expect(factRows({ loads: [{ name: "a", heap_peak_bytes: 1024, facts: [fact("1", 1)] }] })[0]).toMatchObject({ load: "a", meaning: null });
  expect(factRows({})).toEqual([]);
});
