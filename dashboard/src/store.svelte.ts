/**
 * What the page knows now. One writer: the feed and the answers come in here; screens only read.
 *
 * Nothing is remembered that the daemon could tell: after a break everything is asked for anew. `epoch` grows
 * each time that is due, and whoever holds an answer watches it.
 */

import { advance, emptyTrack, type RunTrack } from "./derive/run";
import { Ring } from "./derive/ring";
import { afterNews } from "./derive/findings";
import { ask, type Connection, Feed, Refused } from "./feed";
import { explain, type Key, named, preferred, say, type Values } from "./text";
import { home, type Language, parse, type Place, print } from "./url";
import {
  decodeFindings, decodeHealth, decodePools, decodeRuns, decodeScenarios, type Event, type Finding, type Health, type Machine, type Pools, type ProcessRef, type Run, type Scenarios, type Unknown,
} from "./wire";

type SnapshotData = Extract<Event, { event: "snapshot" }>["data"];
export type Theme = "system" | "dark" | "light";

const KEPT_MACHINE = 120;
const FINDINGS_PAUSE_MS = 700;

/** Private windows may refuse storage; then a preference lasts as long as the page. */
const remembered = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  },
  set(key: string, value: string): void {
    try {
      localStorage.setItem(key, value);
    } catch {
      /* nothing to do: see above */
    }
  },
};

class Store {
  place = $state<Place>({ ...home });
  theme = $state<Theme>("system");
  /** What is on the screen: `system` resolved. */
  dark = $state(true);
  language = $state<Language>("en");

  connection = $state<Connection>("connecting");
  everLive = $state(false);
  lastHeard = $state<string | null>(null);
  epoch = $state(0);
  notice = $state<Key | null>(null);

  health = $state.raw<Health | null>(null);
  machine = $state.raw<Machine | null>(null);
  machineCpu = $state.raw(new Ring<number>(KEPT_MACHINE));
  ownCpu = $state.raw(new Ring<number>(KEPT_MACHINE));
  snapshot = $state.raw<SnapshotData | null>(null);
  /** The process we watched has ended. */
  gone = $state.raw<ProcessRef | null>(null);
  pools = $state.raw<Pools | null>(null);
  runs = $state.raw<Run[] | null>(null);
  scenarios = $state.raw<Scenarios["scenarios"] | null>(null);
  track = $state.raw<RunTrack>(emptyTrack());
  /** Of all processes that are watched; null while they have not been told. */
  findings = $state.raw<Finding[] | null>(null);
  /** Grows with each piece of news, for screens that asked for the findings of one process. */
  findingNews = $state(0);

  /** The newest run: the one under way, or the last. */
  run = $derived(this.runs?.[0] ?? null);

  #started: string | null = null;
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;
  #findingsTimer: ReturnType<typeof setTimeout> | undefined;

  #feed = new Feed({
    open: (url) => {
      const source = new EventSource(url);
      return {
        addEventListener: (name, listener) => source.addEventListener(name, (event) => listener(event as MessageEvent<string>)),
        close: () => source.close(),
      };
    },
    later: (act, milliseconds) => {
      const timer = setTimeout(act, milliseconds);
      return () => clearTimeout(timer);
    },
    probe: async () => {
      try {
        await ask("/health", {}, decodeHealth);
        return "ok";
      } catch (error) {
        return error instanceof Refused && (error.status === 401 || error.status === 403) ? "locked" : "unreachable";
      }
    },
    onEvent: (event) => this.#take(event),
    onConnection: (connection) => {
      if (connection === "live") this.everLive = true;
      // A try is under way: while it lasts, what the reader was told before stays.
      if (connection === "connecting" && this.connection !== "connecting") return;
      this.connection = connection;
    },
    onMalformed: (error) => console.warn("an event could not be read:", error),
  });

  /** Called once, by `main.ts`. Returns nothing: the page lives as long as its store. */
  begin(): void {
    const saved = remembered.get("theme");
    this.theme = saved === "dark" || saved === "light" ? saved : "system";
    const system = matchMedia("(prefers-color-scheme: light)");
    const applyTheme = (): void => {
      this.dark = this.theme === "system" ? !system.matches : this.theme === "dark";
      document.documentElement.dataset["theme"] = this.dark ? "dark" : "light";
    };
    system.addEventListener("change", applyTheme);
    addEventListener("hashchange", () => this.#arrive(parse(location.hash)));
    // A laptop that wakes up should not wait for the next try.
    addEventListener("online", () => this.#feed.retry());
    $effect.root(() => {
      $effect(applyTheme);
      $effect(() => {
        document.documentElement.lang = this.language === "zh" ? "zh-CN" : "en";
      });
      $effect(() => this.#feed.start({ process: this.place.process, interval: 1 }));
    });
    this.#arrive(parse(location.hash));
  }

  #arrive(place: Place): void {
    if (place.process !== this.place.process) {
      this.snapshot = null;
      this.gone = null;
    }
    this.place = place;
    const saved = remembered.get("language");
    this.language = place.language ?? (saved === "en" || saved === "zh" ? saved : preferred(navigator.languages));
  }

  /** Goes somewhere. `replace` for what should not fill the back button: typing, sorting. */
  go(change: Partial<Place>, how: "push" | "replace" = "push"): void {
    const next = { ...this.place, ...change };
    // What was chosen is of the process that was looked at.
    if (change.process !== undefined && change.process !== this.place.process) {
      for (const field of ["thread", "stack", "lock"] as const) if (change[field] === undefined) next[field] = null;
    }
    const hash = print(next);
    if (hash !== print(this.place)) history[how === "push" ? "pushState" : "replaceState"](null, "", hash);
    this.#arrive(next);
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    remembered.set("theme", theme);
  }

  setLanguage(language: Language): void {
    remembered.set("language", language);
    this.go({ language }, "replace");
  }

  explain = (part: "why" | "need" | "fix", unknown: Unknown): string | null => explain(this.language, part, unknown);
  named = (key: string, otherwise?: string): string => named(this.language, key, otherwise);
  t = (key: Key, values?: Values): string => say(this.language, key, values);

  retry(): void {
    this.#feed.retry();
  }

  tell(notice: Key): void {
    this.notice = notice;
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = setTimeout(() => (this.notice = null), 6000);
  }

  setMachine(machine: Machine): void {
    this.machine = machine;
    this.machineCpu = this.machineCpu.with(machine.cpu_ratio);
  }

  /** A run as the daemon answered it; the newest comes first. */
  setRun(run: Run): void {
    const others = (this.runs ?? []).filter((each) => each.id !== run.id);
    this.runs = [run, ...others].sort((a, b) => (a.started_at < b.started_at ? 1 : a.started_at > b.started_at ? -1 : 0));
    this.track = advance(this.track, this.runs[0] ?? run);
  }

  #take(event: Event): void {
    this.lastHeard = new Date().toISOString();
    switch (event.event) {
      case "hello": {
        const restarted = this.#started !== null && this.#started !== event.data.started_at;
        if (restarted) this.tell("connection.restarted");
        else if (this.connection === "lost") this.tell("connection.back");
        this.#started = event.data.started_at;
        if (restarted) {
          this.pools = null;
          this.runs = null;
          this.findings = null;
          this.track = emptyTrack();
        }
        this.epoch += 1;
        void this.#refetch();
        break;
      }
      case "snapshot":
        this.snapshot = event.data;
        this.gone = null;
        break;
      case "gone":
        if (this.snapshot === null || event.data.process.pid === this.snapshot.process.pid) this.gone = event.data.process;
        break;
      case "run":
        this.setRun(event.data);
        break;
      case "pools":
        this.pools = event.data;
        break;
      case "finding":
        this.findings = afterNews(this.findings ?? [], event.data);
        this.findingNews += 1;
        // The list itself follows once it is quiet: news may have been missed, and order is the daemon's.
        clearTimeout(this.#findingsTimer);
        this.#findingsTimer = setTimeout(() => void this.#fetchFindings(), FINDINGS_PAUSE_MS);
        break;
      case "health":
        this.#setHealth(event.data);
        break;
      case "missed":
        this.epoch += 1;
        void this.#refetch();
        break;
    }
  }

  #setHealth(health: Health): void {
    this.health = health;
    this.ownCpu = this.ownCpu.with(health.cost.cpu_ratio);
  }

  async #fetchFindings(): Promise<void> {
    try {
      this.findings = (await ask("/findings", {}, decodeFindings)).findings;
    } catch (error) {
      console.warn(error);
    }
  }

  /** What the stream only tells when it changes. Each may fail by itself; the screens say so. */
  async #refetch(): Promise<void> {
    const quietly = async (work: Promise<void>): Promise<void> => work.catch((error: unknown) => console.warn(error));
    await Promise.all([
      this.#fetchFindings(),
      quietly(ask("/health", {}, decodeHealth).then((health) => this.#setHealth(health))),
      quietly(ask("/pools", {}, decodePools).then((pools) => void (this.pools = pools))),
      quietly(ask("/scenarios", {}, decodeScenarios).then(({ scenarios }) => void (this.scenarios = scenarios))),
      quietly(ask("/runs", {}, decodeRuns).then(({ runs }) => {
        this.runs = runs;
        const newest = runs[0];
        if (newest) this.track = advance(this.track, newest);
      })),
    ]);
  }
}

export const store = new Store();
