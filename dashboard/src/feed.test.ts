import { beforeEach, expect, test, vi } from "vitest";
import { ask, type Connection, Feed, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Refused, SILENCE_MS, type Stream, withQuery } from "./feed";
import { decodePools, type Event } from "./wire";

class FakeStream implements Stream {
  closed = false;
  readonly #listeners = new Map<string, ((message: { data: string }) => void)[]>();
  constructor(readonly url: string) {}
  addEventListener(name: string, listener: (message: { data: string }) => void): void {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
  }
  close(): void {
    this.closed = true;
  }
  emit(name: string, data: unknown = {}): void {
    for (const listener of this.#listeners.get(name) ?? []) listener({ data: typeof data === "string" ? data : JSON.stringify(data) });
  }
}

let streams: FakeStream[];
let events: Event[];
let connections: [Connection, number | null][];
let malformed: unknown[];
let probe: "ok" | "locked" | "unreachable";
let feed: Feed;
const latest = (): FakeStream => streams.at(-1) as FakeStream;
const hello = { version: "1", boot_id: "b", started_at: "t" };

beforeEach(() => {
  vi.useFakeTimers();
  streams = [];
  events = [];
  connections = [];
  malformed = [];
  probe = "unreachable";
  feed = new Feed({
    open: (url) => {
      const stream = new FakeStream(url);
      streams.push(stream);
      return stream;
    },
    later: (act, ms) => {
      const timer = setTimeout(act, ms);
      return () => clearTimeout(timer);
    },
    probe: async () => probe,
    onEvent: (event) => events.push(event),
    onConnection: (connection, pause) => connections.push([connection, pause]),
    onMalformed: (error) => malformed.push(error),
  });
  return () => vi.useRealTimers();
});

test("one stream at a time; the same question does not open another, a new one replaces it", () => {
  feed.start({ process: 1 });
  feed.start({ process: 1 });
  expect(streams.length).toBe(1);
  expect(latest().url).toBe("/api/v1/events?process=1");
  feed.start({ process: 2 });
  expect(streams.map((stream) => stream.closed)).toEqual([true, false]);
});

test("events arrive decoded, and a malformed one does not end the stream", () => {
  feed.start({});
  latest().emit("hello", hello);
  latest().emit("run", "{nonsense");
  latest().emit("missed", { count: 2 });
  expect(events.map((event) => event.event)).toEqual(["hello", "missed"]);
  expect(malformed.length).toBe(1);
  expect(connections.at(-1)).toEqual(["live", null]);
});

test("a broken stream is opened again with growing pauses, and at once short after it worked", async () => {
  feed.start({});
  latest().emit("hello", hello);
  const pauses: (number | null)[] = [];
  for (let turn = 0; turn < 6; turn += 1) {
    latest().emit("error");
    await vi.advanceTimersByTimeAsync(0);
    expect(connections.at(-1)?.[0]).toBe("lost");
    pauses.push(connections.at(-1)?.[1] ?? null);
    await vi.advanceTimersByTimeAsync(LONGEST_PAUSE_MS);
  }
  expect(pauses).toEqual([500, 1000, 2000, 4000, 5000, 5000]);
  latest().emit("hello", hello);
  latest().emit("error");
  expect(connections.at(-1)).toEqual(["lost", FIRST_PAUSE_MS]);
});

test("an open stream that says nothing is broken too", async () => {
  feed.start({});
  latest().emit("open");
  await vi.advanceTimersByTimeAsync(SILENCE_MS);
  expect(connections.at(-1)?.[0]).toBe("lost");
  await vi.advanceTimersByTimeAsync(FIRST_PAUSE_MS);
  expect(streams.length).toBe(2);
  expect(streams[0]?.closed).toBe(true);
});

test("a daemon that has nothing to say is not lost: the stream is renewed quietly", async () => {
  probe = "ok";
  feed.start({});
  latest().emit("open");
  await vi.advanceTimersByTimeAsync(SILENCE_MS);
  expect(streams.length).toBe(2);
  expect(connections.map(([connection]) => connection)).not.toContain("lost");
});

test("where the daemon refuses the question but lives, we listen without it, and ask anew for another", async () => {
  probe = "ok";
  feed.start({ process: 42 });
  latest().emit("error");
  await vi.advanceTimersByTimeAsync(0);
  expect(latest().url).toBe("/api/v1/events");
  expect(connections.map(([connection]) => connection)).not.toContain("lost");
  feed.start({ process: 43 });
  expect(latest().url).toBe("/api/v1/events?process=43");
});

test("a daemon that refuses our token is told apart from one that is not there", async () => {
  probe = "locked";
  feed.start({});
  latest().emit("error");
  await vi.advanceTimersByTimeAsync(0);
  expect(connections.at(-1)?.[0]).toBe("locked");
});

test("after stop nothing is opened, and late words of an old stream are not heard", async () => {
  feed.start({ process: 1 });
  const old = latest();
  feed.start({ process: 2 });
  old.emit("hello", hello);
  expect(events).toEqual([]);
  latest().emit("error");
  feed.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(streams.length).toBe(2);
});

test("questions leave out what is empty", () => {
  expect(withQuery("/processes", { filter: "", limit: 50, role: null, order: undefined, regions: true })).toBe("/api/v1/processes?limit=50&regions=true");
});

test("an error is the daemon's own words where it has some", async () => {
  const answer = (body: string, status: number) => vi.stubGlobal("fetch", async () => new Response(body, { status }));
  const outcome = async (): Promise<Refused> => {
    try {
      await ask("/pools", {}, decodePools);
    } catch (error) {
      return error as Refused;
    }
    throw new Error("was not refused");
  };
  answer(JSON.stringify({ type: "about:blank", title: "gone", status: 404, detail: "process 42 has ended", field: "pid" }), 404);
  expect(await outcome()).toMatchObject({ kind: "problem", message: "process 42 has ended", status: 404 });
  answer("", 502);
  expect(await outcome()).toMatchObject({ kind: "problem", status: 502 });
  answer("<html>", 200);
  expect(await outcome()).toMatchObject({ kind: "malformed" });
  answer('{"pools": 3}', 200);
  expect((await outcome()).message).toContain("pools: expected a list");
  vi.stubGlobal("fetch", async () => Promise.reject(new TypeError("refused")));
  expect(await outcome()).toMatchObject({ kind: "unreachable" });
  vi.unstubAllGlobals();
});
