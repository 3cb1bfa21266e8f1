/** Texts by key, in the reader's language. A missing key or a missing translation does not compile. */

import type { Language } from "../url";
import type { Unknown } from "../wire";
import { en } from "./en";
import { zh } from "./zh";

export type Key = keyof typeof en;
export const catalogues: Record<Language, Record<Key, string>> = { en, zh };

export type Values = Record<string, string | number>;

/** The text with its `{places}` filled. */
export function say(language: Language, key: Key, values: Values = {}): string {
  return catalogues[language][key].replace(/\{(\w+)\}/g, (place, name: string) => String(values[name] ?? place));
}

/** What the daemon says of an unknown value, in the reader's language; in the daemon's words where its code is new to us. */
export function explain(language: Language, part: "why" | "need" | "fix", unknown: Unknown): string | null {
  const key = `${part}.${unknown.code}`;
  return key in en ? say(language, key as Key) : unknown[part];
}

/** A word of the daemon's (`lock.kind.pthread_mutex`) in the reader's language; as the daemon wrote it where it is new to us. */
export function named(language: Language, key: string, otherwise?: string): string {
  return key in en ? say(language, key as Key) : (otherwise ?? key.slice(key.lastIndexOf(".") + 1).replaceAll("_", " "));
}

/** The language the browser asks for, of those we speak. */
export function preferred(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    if (tag.toLowerCase().startsWith("zh")) return "zh";
    if (tag.toLowerCase().startsWith("en")) return "en";
  }
  return "en";
}
