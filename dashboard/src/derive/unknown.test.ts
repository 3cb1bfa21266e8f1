import { expect, test } from "vitest";
import type { Unknown } from "../wire";
import { reasonFor } from "./unknown";

const because = (code: string): Unknown => ({ reason: "denied", code, why: `because ${code}`, need: null, fix: null });
const map = { stack: because("denied_maps"), "stack.used_bytes": because("running"), heap: because("no_ledger") };

test("the row's own reason comes first, then that of what holds the field", () => {
  expect(reasonFor(map, { "stack.used_bytes": "running" }, "stack.used_bytes")?.code).toBe("running");
  expect(reasonFor(map, { stack: "denied_maps" }, "stack.used_bytes")?.code).toBe("denied_maps");
  expect(reasonFor(map, { wait: "no_ledger" }, "wait")?.why).toBe("because no_ledger");
});

test("a code that nobody explains is shown as it is", () => {
  expect(reasonFor(map, { wait: "some_new_code" }, "wait")).toMatchObject({ why: "some new code" });
});

test("without a row the map speaks; without both nothing is made up", () => {
  expect(reasonFor(map, null, "heap")?.code).toBe("no_ledger");
  expect(reasonFor({}, {}, "wait")).toBeUndefined();
});
