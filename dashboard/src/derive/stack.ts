/**
 * A stack as segments of its reservation, from its start (used first) to its end (guard last).
 *
 * Linux stacks grow downwards: what is used now lies at the top, the resident part reaches as deep as the stack
 * has ever been, below is what was reserved and never touched, then the guard page.
 */

import type { Stack } from "../wire";

export type Part = "used" | "high" | "unused" | "guard";
export interface Segment {
  part: Part;
  bytes: number;
}

/** An unknown part is left out and its neighbour takes its room: an unknown depth is not drawn as 0. */
export function segments(stack: Stack): Segment[] {
  const resident = stack.resident_bytes === null ? null : Math.min(stack.resident_bytes, stack.reserved_bytes);
  const used = stack.used_bytes === null ? null : Math.min(stack.used_bytes, stack.reserved_bytes);
  // The page in use counts as touched, even where the two readings were moments apart.
  const touched = Math.max(resident ?? 0, used ?? 0);
  const parts: Segment[] = [];
  if (used !== null) parts.push({ part: "used", bytes: used });
  if (resident !== null) parts.push({ part: "high", bytes: touched - (used ?? 0) });
  parts.push({ part: "unused", bytes: stack.reserved_bytes - (resident === null ? (used ?? 0) : touched) });
  if (stack.guard_bytes !== null) parts.push({ part: "guard", bytes: stack.guard_bytes });
  return parts.filter((segment) => segment.bytes > 0);
}
