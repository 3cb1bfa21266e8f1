import { expect, test } from "vitest";
import { home, parse, type Place, print } from "./url";

test("an empty address is home, and home is a short address", () => {
  expect(parse("")).toEqual(home);
  expect(print(home)).toBe("#/overview");
});

test("what is printed is read back", () => {
  const places: Partial<Place>[] = [
    { screen: "threads", process: "42", sort: "name", order: "asc", state: "runnable", pool: "a&b=c #1", name: "ts-", thread: 77 },
    { screen: "memory", process: "self", view: "table", scale: "touched", language: "zh" },
    { screen: "stacks", process: "5000", find: "Queue::pop", state: "sleeping", stack: "00ff12ab34cd56ef", thread: 5001 },
    { screen: "locks", process: "5000", lock: "0x7f3a1c0010d0", view: "table" },
    { screen: "findings", finding: "5000-deadlock-1764487379000-5030", scope: "process" },
    { screen: "processes", shape: "tree", filter: "bank", processSort: "pid" },
    { screen: "overview", filter: "数据库 100%", processSort: "rss_bytes", processOrder: "asc" },
  ];
  for (const part of places) {
    const place = { ...home, ...part };
    expect(parse(print(place))).toEqual(place);
  }
});

test("nonsense is read as the default", () => {
  expect(parse("#/nowhere?process=-1&thread=x&sort=evil&order=up&state=dancing&lang=tlh")).toEqual(home);
  expect(parse("#/locks?lock=0x12;drop&stack=zz&shape=bush&scope=world")).toEqual({ ...home, screen: "locks" });
  expect(parse("#/threads?process=4294967297000").process).toBe("workbench");
  expect(parse(`#/threads?name=${"x".repeat(5000)}`).name.length).toBe(200);
});
