import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { catalogues, type Key, preferred, say } from "./index";

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
  const families = [...sources.matchAll(/`([a-z_.]+\.)\$\{/g)].map((match) => match[1] as string);
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
