/**
 * The address bar holds the state: what you look at can be sent to a colleague or reloaded.
 *
 * It lives in the fragment (`#/threads?process=42&sort=name`), which never reaches the server. What is at its
 * default is left out. Nonsense is read as the default, not as an error: an old link still opens.
 */

import { type ThreadState, threadStates } from "./wire";

export const screens = ["overview", "processes", "threads", "stacks", "locks", "memory", "findings"] as const;
export type Screen = (typeof screens)[number];
export const languages = ["en", "zh"] as const;
export type Language = (typeof languages)[number];
export const threadSorts = [
  "cpu_ratio", "name", "tid", "state", "run_delay_ratio", "voluntary_switches", "stack.used_bytes", "heap.net_bytes", "task.done", "last_cpu", "start_time",
] as const;
export type ThreadSort = (typeof threadSorts)[number];
export const processSorts = ["cpu_ratio", "rss_bytes", "threads", "name", "pid", "user"] as const;
export type ProcessSort = (typeof processSorts)[number];
export type Order = "asc" | "desc";

export interface Place {
  screen: Screen;
  /** A pid, `self` or `workbench`. */
  process: string;
  /** The thread whose details are open. */
  thread: number | null;
  sort: ThreadSort;
  order: Order;
  state: ThreadState | null;
  pool: string | null;
  /** Part of a thread's name. */
  name: string;
  /** Part of a process' name, its pid or user. */
  filter: string;
  processSort: ProcessSort;
  processOrder: Order;
  /** The memory and lock screens: picture or table. */
  view: "picture" | "table";
  /** The memory picture: whole stacks, or zoomed to what they have touched. */
  scale: "whole" | "touched";
  /** Part of what stands in a stack: function, file, module, a thread's name. */
  find: string;
  /** The stack that is open, by its `stackKey`. */
  stack: string | null;
  /** The lock that is chosen, by its address. */
  lock: string | null;
  /** The finding that is open, by its `findingKey`. */
  finding: string | null;
  /** The process list: flat, or children below their parents. */
  shape: "list" | "tree";
  /** Findings of this process alone, or of all that are watched. */
  scope: "all" | "process";
  /** A former run that is looked at; else the newest is. */
  run: string | null;
  language: Language | null;
}

export const home: Place = {
  screen: "overview", process: "workbench", thread: null, sort: "cpu_ratio", order: "desc", state: null, pool: null, name: "",
  filter: "", processSort: "cpu_ratio", processOrder: "desc", view: "picture", scale: "whole", find: "", stack: null, lock: null, finding: null, shape: "list", scope: "all", run: null, language: null,
};

const MAX_TEXT = 200;

export function parse(hash: string): Place {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const given = new URLSearchParams(query);
  const word = <T extends string, F>(key: string, allowed: readonly T[], otherwise: F): T | F => {
    const value = given.get(key);
    return allowed.find((each) => each === value) ?? otherwise;
  };
  const text = (key: string): string => (given.get(key) ?? "").slice(0, MAX_TEXT);
  const process = text("process");
  const thread = given.get("thread") ?? "";
  return {
    screen: screens.find((each) => each === path) ?? home.screen,
    process: /^(self|workbench|[1-9]\d{0,9})$/.test(process) ? process : home.process,
    thread: /^[1-9]\d{0,9}$/.test(thread) ? Number(thread) : null,
    sort: word("sort", threadSorts, home.sort),
    order: word("order", ["asc", "desc"], home.order),
    state: word("state", threadStates, null),
    pool: text("pool") || null,
    name: text("name"),
    filter: text("filter"),
    processSort: word("process_sort", processSorts, home.processSort),
    processOrder: word("process_order", ["asc", "desc"], home.processOrder),
    view: word("view", ["picture", "table"], home.view),
    scale: word("scale", ["whole", "touched"], home.scale),
    find: text("find"),
    stack: /^[0-9a-f]{1,16}$/.test(text("stack")) ? text("stack") : null,
    lock: /^0x[0-9a-f]{1,16}$/.test(text("lock")) ? text("lock") : null,
    finding: text("finding") || null,
    shape: word("shape", ["list", "tree"], home.shape),
    scope: word("scope", ["all", "process"], home.scope),
    run: text("run") || null,
    language: word("lang", languages, null),
  };
}

const keys: Partial<Record<keyof Place, string>> = {
  process: "process", thread: "thread", sort: "sort", order: "order", state: "state", pool: "pool", name: "name", filter: "filter",
  processSort: "process_sort", processOrder: "process_order", view: "view", scale: "scale", find: "find", stack: "stack",
  lock: "lock", finding: "finding", shape: "shape", scope: "scope", run: "run", language: "lang",
};

export function print(place: Place): string {
  const query = new URLSearchParams();
  for (const [field, key] of Object.entries(keys) as [keyof Place, string][]) {
    const value = place[field];
    if (value !== home[field] && value !== null && value !== "") query.set(key, String(value));
  }
  const text = query.toString();
  return `#/${place.screen}${text === "" ? "" : `?${text}`}`;
}
