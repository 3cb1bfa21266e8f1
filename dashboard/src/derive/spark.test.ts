import { expect, test } from "vitest";
import { spark, topOf } from "./spark";

test("values run from left to right, and the top value touches the upper edge", () => {
  expect(spark([0, 1], 10, 20, 1).line).toBe("M0.0 19.3L10.0 0.8");
});

test("a gap breaks the line, a lone value is a dash", () => {
  const { line, area } = spark([0, 0, null, 1, null, 0, 0], 60, 20, 1);
  expect(line.match(/M/g)?.length).toBe(3);
  expect(line).toContain("M30.0 0.8h1");
  expect(area.match(/z/g)?.length).toBe(2);
});

test("rows that are shown together share a round upper edge", () => {
  expect([topOf([]), topOf([[0.01, null], undefined]), topOf([[0.3], [0.04]]), topOf([[1]]), topOf([[2.2]])]).toEqual([0.05, 0.05, 0.5, 1, 3]);
});

test("nothing known draws nothing, and beyond the top is at the top", () => {
  expect(spark([null, null], 10, 10, 1).line).toBe("");
  expect(spark([], 10, 10, 1).line).toBe("");
  expect(spark([5, 5], 10, 10, 1).line).toContain("0.8");
});
