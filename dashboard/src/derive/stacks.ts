/**
 * Folded stacks as a reader looks for them: which fit a search, what to call them, and all of them as plain text.
 *
 * The daemon has folded equal stacks already. Here threads are put back to them, filters narrow both, and each
 * stack gets a name: the function that waits, and the first one of the program's own that led there.
 */

import type { FoldedStack, Frame, Stacks, StackThread, ThreadState, Unknown } from "../wire";

export interface Group {
  /** Of the frames: the same stack has the same key in the next answer. */
  key: string;
  stack: FoldedStack;
  /** Those that fit the filters, in tid order. */
  threads: StackThread[];
}

/** Threads without a stack, by why. */
export interface Unread {
  why: Unknown;
  threads: StackThread[];
}

/** FNV-1a over the frames' addresses, twice with different beginnings: short enough for the address bar. */
export function stackKey(stack: FoldedStack): string {
  let [one, two] = [0x811c9dc5, 0x01000193];
  const take = (text: string): void => {
    for (let at = 0; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      one = Math.imul(one ^ code, 0x01000193);
      two = Math.imul(two ^ code, 0x85ebca6b);
    }
  };
  for (const frame of stack.frames) take(`${frame.address} ${frame.inlined ? (frame.function ?? "") : ""}\n`);
  take(stack.end.code + stack.source + String(stack.moved));
  const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, "0");
  return hex(one) + hex(two);
}

export function groupsOf(answer: Stacks): { groups: Group[]; unread: Unread[] } {
  const groups = answer.stacks.map((stack): Group => ({ key: stackKey(stack), stack, threads: [] }));
  const unread = new Map<string, Unread>();
  for (const thread of answer.threads) {
    const group = thread.stack === null ? undefined : groups[thread.stack];
    if (group) group.threads.push(thread);
    else {
      const why = thread.unknown ?? { reason: "unsupported", code: "none", why: "", need: null, fix: null };
      const same = unread.get(why.code);
      if (same) same.threads.push(thread);
      else unread.set(why.code, { why, threads: [thread] });
    }
  }
  return { groups, unread: [...unread.values()].sort((a, b) => b.threads.length - a.threads.length) };
}

export interface Filter {
  /** Part of a function, file, module or thread name; or a tid. Case does not matter. */
  find: string;
  state: ThreadState | null;
}

const holds = (text: string | null, part: string): boolean => text !== null && text.toLowerCase().includes(part);

export function fits(frame: Frame, part: string): boolean {
  return part !== "" && (holds(frame.function, part) || holds(frame.file, part) || holds(frame.module, part));
}

/** A stack fits as a whole when one of its frames does; else only those of its threads whose name or tid does. */
export function narrow(groups: readonly Group[], { find, state }: Filter): Group[] {
  const part = find.trim().toLowerCase();
  const found: Group[] = [];
  for (const group of groups) {
    let { threads } = group;
    if (state !== null) threads = threads.filter((thread) => thread.state === state);
    if (part !== "" && !group.stack.frames.some((frame) => fits(frame, part))) threads = threads.filter((thread) => holds(thread.name, part) || String(thread.tid) === part);
    if (threads.length > 0) found.push(threads === group.threads ? group : { ...group, threads });
  }
  return found.sort((a, b) => b.threads.length - a.threads.length);
}

export function statesOf(threads: readonly StackThread[]): [ThreadState, number][] {
  const counts = new Map<ThreadState, number>();
  for (const { state } of threads) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1) || path;
}

const SYSTEM = /^(libc|libpthread|ld-linux[^/]*|ld-musl[^/]*|libc\.musl[^/]*|linux-vdso|\[vdso\])([-.\d]|$)/;
/** Rust's own library is linked into the program: its names tell. */
const RUST_STD = /^(std|core|alloc|parking_lot|parking_lot_core|crossbeam_channel|<std|<core|<alloc|__rust)(::|_|$)/;
/** What stands between a blocking function and its system call. */
const INNER = /^(_*(syscall|internal_syscall|futex_|lll_|libc_start|clone3?$)|__GI___lll_|do_futex|start_thread|_start$)/;

/** Of the C library, the kernel's own page or Rust's: what a program stands on, not what it is. */
export function ofTheSystem(frame: Frame): boolean {
  if (frame.module !== null && (SYSTEM.test(baseName(frame.module)) || frame.module === "[vdso]")) return true;
  return frame.function !== null && RUST_STD.test(frame.function);
}

export interface Headline {
  /** The library's function that waits, or the innermost one. */
  waits: Frame | null;
  /** The program's own function that called it; null when it is the same. */
  by: Frame | null;
}

/** What a stack is called in the list. */
export function headline(frames: readonly Frame[]): Headline {
  const own = frames.findIndex((frame) => !ofTheSystem(frame) && (frame.function !== null || frame.module !== null));
  const inside = own < 0 ? frames : frames.slice(0, own);
  // The outermost function of the library that is not its inner working: what the program asked for.
  const asked = [...inside].reverse().find((frame) => frame.function !== null && !INNER.test(frame.function));
  const waits = asked ?? inside[0] ?? frames[0] ?? null;
  const by = own < 0 ? null : (frames[own] ?? null);
  return { waits, by: by === waits ? null : by };
}

/** `function+0x12`, or the module and the address in it, or the bare address. */
export function nameOf(frame: Frame): string {
  if (frame.function !== null) return frame.function;
  if (frame.module !== null) return `${baseName(frame.module)}+${frame.module_address ?? frame.address}`;
  return frame.address;
}

export function sourceLine(frame: Frame): string | null {
  if (frame.file === null) return null;
  return frame.line === null ? frame.file : `${frame.file}:${frame.line}`;
}

function textOfFrame(frame: Frame, index: number): string {
  const marks = [frame.inlined ? "inlined" : "", frame.trust === "recovered" || frame.trust === "guessed" ? frame.trust : ""].filter((mark) => mark !== "");
  const offset = frame.function !== null && frame.offset !== null ? `+0x${frame.offset.toString(16)}` : "";
  const parts = [`#${index}`.padEnd(4), frame.address.padEnd(18), nameOf(frame) + offset];
  if (frame.module !== null) parts.push(`(${baseName(frame.module)})`);
  const line = sourceLine(frame);
  if (line !== null) parts.push(`at ${line}`);
  if (marks.length > 0) parts.push(`[${marks.join(", ")}]`);
  return `    ${parts.join(" ")}`;
}

export function framesAsText(frames: readonly Frame[]): string {
  return frames.map(textOfFrame).join("\n");
}

/** For a ticket or a mail. Tids and names are told for as many threads as a reader would want. */
export function asText(groups: readonly Group[], threadsTold = 32): string {
  return groups.map(({ stack, threads }) => {
    const states = statesOf(threads).map(([state, n]) => `${n} ${state}`).join(", ");
    const told = threads.slice(0, threadsTold).map((thread) => `${thread.name}(${thread.tid})`).join(" ");
    const rest = threads.length > threadsTold ? ` … ${threads.length - threadsTold} more` : "";
    const notes = [stack.end.complete ? "" : `    … ${stack.end.why}`, stack.moved ? "    (it ran while it was read: frames may be of different moments)" : ""].filter((note) => note !== "");
    return [`${threads.length === 1 ? "1 thread" : `${threads.length} threads`}: ${states}`, `  ${told}${rest}`, framesAsText(stack.frames), ...notes].join("\n");
  }).join("\n\n") + "\n";
}
