/** Why a field of a row is null. */

import type { Unknown, UnknownMap } from "../wire";

/**
 * The reason for `field` ("stack.used_bytes"), or that of what holds it ("stack"). A row names a code of its own
 * where it differs from the most frequent reason, which is the one the map explains.
 */
export function reasonFor(map: UnknownMap, row: Record<string, string> | null, field: string): Unknown | undefined {
  for (let path = field; path !== ""; path = path.slice(0, Math.max(0, path.lastIndexOf(".")))) {
    const code = row?.[path];
    const explained = map[path];
    if (code === undefined) {
      if (row === null && explained) return explained;
      continue;
    }
    if (explained?.code === code) return explained;
    return Object.values(map).find((each) => each.code === code) ?? { reason: "unsupported", code, why: code.replaceAll("_", " "), need: null, fix: null };
  }
  return map[field] ?? map[field.split(".")[0] ?? ""];
}
