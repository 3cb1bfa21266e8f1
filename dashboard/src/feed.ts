/**
 * The two roads from the daemon: answers to questions (`ask`, `tell`) and one stream of events (`Feed`).
 *
 * The stream is ours to keep alive. When it breaks we close it and open another, with growing pauses, until
 * the daemon is back; a stream that is open but silent is treated as broken. What was missed meanwhile is not
 * replayed here: whoever listens fetches anew after `hello`.
 */

import { DecodeError, type Decoder } from "./decode";
import { decodeEvent, decodeProblem, type Event, eventNames, type Problem } from "./wire";

const PREFIX = "/api/v1";
/** Longer than any answer we ask for; a hung daemon must not hang the page. */
const ASK_TIMEOUT_MS = 15_000;

/** What the daemon answered instead of what we asked for, or that it did not answer at all. */
export class Refused extends Error {
  override name = "Refused";
  constructor(readonly kind: "unreachable" | "problem" | "malformed", readonly problem: Problem) {
    super(problem.detail || problem.title);
  }
  get status(): number {
    return this.problem.status;
  }
}

function trouble(kind: "unreachable" | "malformed", title: string, detail: string): Refused {
  return new Refused(kind, { type: "about:blank", title, status: 0, detail });
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export function withQuery(path: string, query: Query): string {
  const used = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") used.set(key, String(value));
  }
  const text = used.toString();
  return PREFIX + path + (text === "" ? "" : `?${text}`);
}

/** GET, decoded. Throws `Refused`; an abort by the caller is thrown as it is. */
export async function ask<T>(path: string, query: Query, decoder: Decoder<T>, signal?: AbortSignal): Promise<T> {
  return request(withQuery(path, query), { method: "GET" }, decoder, signal);
}

/** A change: POST, PATCH or DELETE. */
export async function tell<T>(method: "POST" | "PATCH" | "DELETE", path: string, body: unknown, decoder: Decoder<T>): Promise<T> {
  const init: RequestInit = { method, headers: { "Content-Type": "application/json" } };
  if (body !== undefined) init.body = JSON.stringify(body);
  return request(withQuery(path, {}), init, decoder);
}

async function request<T>(url: string, init: RequestInit, decoder: Decoder<T>, signal?: AbortSignal): Promise<T> {
  const timeout = AbortSignal.timeout(ASK_TIMEOUT_MS);
  let response: Response;
  let body: unknown;
  try {
    response = await fetch(url, { credentials: "same-origin", cache: "no-store", ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    const text = await response.text();
    body = text === "" ? null : JSON.parse(text);
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error instanceof SyntaxError) throw trouble("malformed", "not JSON", `the answer to ${url} is not JSON`);
    throw trouble("unreachable", "no answer", "the daemon does not answer");
  }
  if (!response.ok) throw new Refused("problem", problemFrom(response, body));
  try {
    return decoder(body, "");
  } catch (error) {
    if (error instanceof DecodeError) throw trouble("malformed", "unexpected answer", `${url}: ${error.message}`);
    throw error;
  }
}

function problemFrom(response: Response, body: unknown): Problem {
  try {
    return decodeProblem(body, "");
  } catch {
    return { type: "about:blank", title: response.statusText || "error", status: response.status, detail: `the daemon answered with status ${response.status}` };
  }
}

/** What we use of an EventSource: a test brings its own. */
export interface Stream {
  addEventListener(name: string, listener: (message: { data: string }) => void): void;
  close(): void;
}

export type Connection = "connecting" | "live" | "lost" | "locked";

export interface FeedParts {
  open: (url: string) => Stream;
  later: (act: () => void, milliseconds: number) => () => void;
  /** Is the daemon there, and do we hold its token? Asked after a break, which an EventSource cannot tell apart. */
  probe: () => Promise<"ok" | "locked" | "unreachable">;
  onEvent: (event: Event) => void;
  onConnection: (connection: Connection, retryInMs: number | null) => void;
  /** A message that could not be decoded: reported, and the stream lives on. */
  onMalformed: (error: unknown) => void;
}

export const FIRST_PAUSE_MS = 500;
export const LONGEST_PAUSE_MS = 5_000;
/** Health and snapshots come every second or so. */
export const SILENCE_MS = 12_000;

export class Feed {
  #stream: Stream | null = null;
  #opened = false;
  #query: Query = {};
  /** The daemon is there but refuses this question, say about a process that has ended: then we listen without it. */
  #refused = false;
  #cancel: (() => void) | null = null;
  #failures = 0;
  #running = false;

  constructor(private readonly parts: FeedParts) {}

  /** Opens the stream, or opens it anew where the question has changed. */
  start(query: Query): void {
    if (this.#running && JSON.stringify(query) === JSON.stringify(this.#query)) return;
    this.#query = query;
    this.#refused = false;
    this.#running = true;
    this.#failures = 0;
    this.#connect();
  }

  stop(): void {
    this.#running = false;
    this.#drop();
  }

  /** Try now: the reader pressed the button, or the machine has woken up. */
  retry(): void {
    if (!this.#running) return;
    this.#refused = false;
    this.#connect();
  }

  #drop(): void {
    this.#cancel?.();
    this.#cancel = null;
    this.#stream?.close();
    this.#stream = null;
  }

  #connect(): void {
    this.#drop();
    this.parts.onConnection("connecting", null);
    const stream = this.parts.open(withQuery("/events", this.#refused ? {} : this.#query));
    this.#stream = stream;
    this.#opened = false;
    // A connection that never gets to its first word counts as silent.
    this.#watchSilence(stream);
    for (const name of eventNames) {
      stream.addEventListener(name, (message) => {
        if (this.#stream !== stream) return;
        this.#heard(stream);
        let event: Event;
        try {
          event = decodeEvent(name, message.data);
        } catch (error) {
          this.parts.onMalformed(error);
          return;
        }
        this.parts.onEvent(event);
      });
    }
    stream.addEventListener("open", () => this.#stream === stream && this.#heard(stream));
    stream.addEventListener("error", () => this.#stream === stream && void this.#broke());
  }

  #heard(stream: Stream): void {
    this.#opened = true;
    this.#failures = 0;
    this.parts.onConnection("live", null);
    this.#watchSilence(stream);
  }

  #watchSilence(stream: Stream): void {
    this.#cancel?.();
    this.#cancel = this.parts.later(() => this.#stream === stream && void this.#silent(stream), SILENCE_MS);
  }

  /** Nothing may have happened, or the connection may be dead without anyone having told us. */
  async #silent(stream: Stream): Promise<void> {
    const there = await this.parts.probe();
    if (this.#stream !== stream) return;
    if (there === "ok") this.#connect();
    else await this.#broke();
  }

  async #broke(): Promise<void> {
    const refusedAtOnce = !this.#opened && !this.#refused;
    this.#drop();
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#cancel = this.parts.later(() => this.#running && this.#connect(), pause);
    if (!refusedAtOnce) this.parts.onConnection("lost", pause);
    const there = await this.parts.probe();
    if (!this.#running || this.#stream !== null) return;
    if (there === "ok" && refusedAtOnce) {
      this.#refused = true;
      this.#connect();
    } else this.parts.onConnection(there === "locked" ? "locked" : "lost", pause);
  }
}
