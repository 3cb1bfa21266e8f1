import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Unknown } from "../wire";
import { catalogues, explain, type Key, preferred, say } from "./index";

const places = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1] as string).sort();

test("both languages have every text, with the same places to fill", () => {
  expect(Object.keys(catalogues.zh).sort()).toEqual(Object.keys(catalogues.en).sort());
  for (const key of Object.keys(catalogues.en) as Key[]) {
    expect(catalogues.zh[key].trim(), key).not.toBe("");
    expect(places(catalogues.zh[key]), key).toEqual(places(catalogues.en[key]));
  }
});

test("every text is used somewhere, so the catalogue does not grow moss", () => {
  const root = new URL("..", import.meta.url).pathname;
  const sources = readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(svelte|ts)$/.test(name) && !name.startsWith("text/") && !name.endsWith(".test.ts"))
    .map((name) => readFileSync(root + name, "utf8"))
    .join("\n");
  // Families are asked for with a computed ending: t(`state.${state}`).
  // The reasons are asked for by the daemon's code: see `explain`.
  const families = ["why.", "need.", "fix.", ... [...sources.matchAll(/`([a-z_.]+\.)\$\{/g)].map((match) => match[1] as string)];
  const unused = Object.keys(catalogues.en).filter((key) => !sources.includes(`"${key}"`) && !families.some((family) => key.startsWith(family)));
  expect(unused).toEqual([]);
});

test("places are filled, and an unfilled one stays visible", () => {
  expect(say("en", "machine.cpus", { n: 2 })).toBe("of 2 CPUs");
  expect(say("zh", "machine.cpus", {})).toContain("{n}");
});

test("the browser's wish is followed", () => {
  expect(preferred(["fr", "zh-CN", "en"])).toBe("zh");
  expect(preferred(["de"])).toBe("en");
});

test("every reason the daemon may give has words in both languages", () => {
  const rust = readFileSync(new URL("../../../src/model/evidence.rs", import.meta.url), "utf8");
  const codes = [...(rust.split("pub fn code")[1]?.split("pub fn why")[0] ?? "").matchAll(/=> "(\w+)"/g)].map((match) => match[1] as string);
  expect(codes.length).toBeGreaterThan(10);
  for (const code of codes) expect(Object.keys(catalogues.zh)).toContain(`why.${code}`);
  const unknown: Unknown = { reason: "denied", code: "ptrace_denied", why: "x", need: null, fix: null };
  expect(explain("zh", "fix", unknown)).toContain("root");
  expect(explain("zh", "why", { ...unknown, code: "from_the_future" })).toBe("x");
});
