import { expect, test } from "vitest";
import type { Stack } from "../wire";
import { segments } from "./stack";

const stack = (reserved: number, resident: number | null, used: number | null, guard: number | null): Stack => ({
  start: "0x0", end: "0x1", reserved_bytes: reserved, resident_bytes: resident, used_bytes: used, guard_bytes: guard,
});
const shape = (of: Stack): string => segments(of).map(({ part, bytes }) => `${part} ${bytes}`).join(", ");

test("a stack is used, resident, unused and guard, and the parts add up", () => {
  expect(shape(stack(100, 40, 10, 4))).toBe("used 10, high 30, unused 60, guard 4");
});

test("an unknown part is left out, not drawn as nothing", () => {
  expect(shape(stack(100, 40, null, null))).toBe("high 40, unused 60");
  expect(shape(stack(100, null, 10, 4))).toBe("used 10, unused 90, guard 4");
  expect(shape(stack(100, null, null, null))).toBe("unused 100");
});

test("readings that were moments apart never draw beyond the reservation", () => {
  expect(shape(stack(100, 8, 12, null))).toBe("used 12, unused 88");
  expect(shape(stack(100, 140, 120, null))).toBe("used 100");
});
