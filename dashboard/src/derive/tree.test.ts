import { expect, test } from "vitest";
import type { Process } from "../wire";
import { comparing, rowsOf } from "./tree";

const process = (pid: number, ppid: number, name = `p${pid}`, cpu: number | null = 0): Process => ({
  pid, ppid, name, cpu_ratio: cpu, start_time: 0, exe: null, user: "ana", role: "other", state: "sleeping", threads: 1, rss_bytes: null, findings: [], unknown: {},
});
const all = [process(1, 0, "init"), process(10, 1, "sshd"), process(20, 10, "bash"), process(21, 20, "vim", 0.5), process(11, 1, "cron", null), process(90, 77, "orphan")];
const shape = (folded: number[] = [], filter = ""): string[] => rowsOf(all, comparing("pid", "asc"), new Set(folded), filter).map(({ process: { name }, depth, below, fits }) => `${" ".repeat(depth)}${name}${below ? `+${below}` : ""}${fits ? "" : "~"}`);

test("children stand below their parents; one whose parent is not seen is a root", () => {
  expect(shape()).toEqual(["init+4", " sshd+2", "  bash+1", "   vim", " cron", "orphan"]);
});

test("what is folded hides what is below it, and still counts it", () => {
  expect(shape([10])).toEqual(["init+4", " sshd+2", " cron", "orphan"]);
});

test("a search keeps the way to what fits, looks into folded ones, and tells them apart", () => {
  expect(shape([10], "vim")).toEqual(["init+4~", " sshd+2~", "  bash+1~", "   vim"]);
  expect(shape([], "nothing")).toEqual([]);
});

test("siblings are sorted, the unknown last", () => {
  expect([process(1, 0, "a", null), process(2, 0, "b", 0.1), process(3, 0, "c", 0.9)].sort(comparing("cpu_ratio", "desc")).map(({ pid }) => pid)).toEqual([3, 2, 1]);
});

test("a circle of parents is cut and nobody is lost", () => {
  const circle = [process(5, 6), process(6, 5), process(7, 6), process(8, 8)];
  expect(rowsOf(circle, comparing("pid", "asc"), new Set(), "").map(({ process: { pid } }) => pid).sort()).toEqual([5, 6, 7, 8]);
});

test("a long chain of parents is walked to its end", () => {
  const chain = Array.from({ length: 2000 }, (_, index) => process(index + 1, index));
  expect(rowsOf(chain, comparing("pid", "asc"), new Set(), "").at(-1)?.depth).toBe(1999);
});
