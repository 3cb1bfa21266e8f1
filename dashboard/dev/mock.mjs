/**
 * A stand-in for the daemon, for work on the page: lively data in the shapes of src/wire.ts, without a kernel.
 *
 *     npm run mock            the built page (dist/) and the API on http://127.0.0.1:7718
 *     npm run dev             the page from source with this behind it
 *
 * It knows what is hard to have at hand: a process with 10 000 threads (pid 10000), one with every kind of lock wait and
 * finding (pid 5000), one that waits for no lock (pid 5100), one that may not be read (pid 1), one that has ended (pid 404), unknown fields, a run under way. Stop and start it to see the page
 * lose the daemon and find it again. It is no test double: the browser tests drive the real daemon.
 */

import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize } from "node:path";

const PORT = Number(process.env.PORT ?? 7718);
const DIST = new URL("../dist/", import.meta.url).pathname;
const STARTED = new Date();
const MiB = 2 ** 20, GiB = 2 ** 30, KiB = 1024;
const now = () => Date.now() / 1000;
const wave = (seed, period = 20) => 0.5 + 0.5 * Math.sin((now() / period) * 2 * Math.PI + seed * 1.7);
const noise = (seed) => { const x = Math.sin(seed * 127.1 + Math.floor(now()) * 311.7) * 43758.5453; return x - Math.floor(x); };
const pick = (seed, list) => list[Math.floor(Math.abs(Math.sin(seed * 78.233) * 43758.5453)) % list.length];

const denied = (what) => ({ reason: "denied", code: "ptrace_denied", why: `the kernel does not let us read ${what} of another user's process`, need: "CAP_SYS_PTRACE", fix: "run threadscape as its owner, or with CAP_SYS_PTRACE" });
const noLedger = { reason: "not_applicable", code: "no_ledger", why: "this process keeps no ledger", need: null, fix: "link it with threadscape's allocator to have it count" };

const processes = [
  { pid: 7001, name: "threadscape", role: "daemon", user: "root", threads: 5, cpu: 0.004, rss: 31 * MiB, exe: "/usr/bin/threadscape" },
  { pid: 7002, name: "threadscape", role: "workbench", user: "root", threads: 14, cpu: 1.1, rss: 212 * MiB, exe: "/usr/bin/threadscape" },
  { pid: 10000, name: "ten-thousand", role: "other", user: "root", threads: 10001, cpu: 0.08, rss: 480 * MiB, exe: "/opt/ten-thousand" },
  { pid: 5000, name: "bank", role: "other", user: "ana", threads: 46, cpu: 0.6, rss: 96 * MiB, exe: "/opt/bank/bin/bank", ppid: 2007 },
  { pid: 5100, name: "quiet", role: "other", user: "ana", threads: 3, cpu: 0, rss: 6 * MiB, exe: "/opt/quiet", ppid: 5000 },
  { pid: 1, name: "systemd", role: "other", user: "root", threads: 1, cpu: 0, rss: null, exe: null },
  ...Array.from({ length: 180 }, (_, i) => ({ pid: 2000 + i * 7, name: pick(i, ["postgres", "nginx", "kworker/0:1H", "java", "node", "redis-server", "sshd", "containerd", "chromium", "python3"]), role: "other", user: pick(i + 3, ["root", "www-data", "postgres", "ana"]), threads: 1 + Math.floor(Math.abs(Math.sin(i)) * 60), cpu: i % 9 === 0 ? 0.2 * Math.abs(Math.sin(i)) : 0, rss: i % 11 === 5 ? null : Math.floor(Math.abs(Math.cos(i)) * 900 * MiB), exe: "/usr/bin/x" })),
];
const ref = (p) => ({ pid: p.pid, start_time: 120 + p.pid / 100, name: p.name, role: p.role });
const find = (id) => id === "self" ? processes[0] : id === "workbench" ? processes[1] : processes.find((p) => p.pid === Number(id));

const poolNames = [["steal", "stealing", 6], ["chan", "shared-channel", 4]];
function threadOf(p, i) {
  const tid = p.pid + i;
  const bench = p.role === "workbench";
  let pool = null, name = i === 0 ? p.name : `${p.name.slice(0, 9)}-${i}`;
  if (bench && i >= 2 && i < 8) { pool = "steal"; name = `ts-steal-${i - 2}`; }
  if (bench && i >= 8 && i < 12) { pool = "chan"; name = `ts-chan-${i - 8}`; }
  if (p.pid === 10000 && i > 0) { pool = `blocked`; name = `blk-${i}`; }
  if (i === 13 && bench) name = "evil\u202e\u001b[31m";
  const level = p.pid === 10000 ? (i % 997 === 1 ? noise(i) * 0.3 : 0) : bench && pool ? Math.max(0, wave(i, 9 + i) * 0.8 + noise(i) * 0.2 - 0.15) : noise(i) > 0.8 ? 0.02 : 0;
  const state = p.pid === 10000 ? (level > 0 ? "runnable" : pick(i, ["sleeping", "sleeping", "sleeping", "disk_sleep", "parked"])) : level > 0.35 ? "runnable" : pool ? "parked" : "sleeping";
  const closed = p.pid === 1;
  const reserved = i === 0 ? 8 * MiB : bench ? 2 * MiB : p.pid === 10000 ? 64 * KiB : 8 * MiB;
  const resident = Math.min(reserved, Math.floor((12 + 200 * Math.abs(Math.sin(i * 3.3))) * KiB * (bench ? 3 : 1)));
  const unknown = {};
  if (closed) for (const k of ["wait", "stack"]) unknown[k] = "ptrace_denied";
  if (!bench) { unknown.heap = "no_ledger"; unknown.task = "no_ledger"; }
  const usedKnown = !closed && state !== "runnable";
  if (!closed && !usedKnown) unknown["stack.used_bytes"] = "running";
  return {
    tid, name, name_bytes: null, start_time: 120 + tid / 100, state, state_letter: state === "runnable" ? "R" : state === "disk_sleep" ? "D" : "S", pool,
    cpu_ratio: i % 50 === 49 ? null : level, user_seconds: level * 100 + i, system_seconds: i * 0.1, on_cpu_seconds: level * 300 + 4, run_delay_seconds: 0.3 * i, run_delay_ratio: level * 0.2,
    timeslices: 12000 + i, voluntary_switches: 4031 * (i + 1), involuntary_switches: 90 * i, minor_faults: 1200, major_faults: i % 5 ? 0 : 3, last_cpu: i % 2, nice: 0, policy: "other", rt_priority: 0, allowed_cpus: "0-1",
    wait: closed ? null : state === "runnable" ? null : { kind: pick(i, ["futex", "poll", "read", "sleep"]), syscall: pick(i, ["futex", "epoll_wait", "read", "clock_nanosleep"]), address: "0x7f31c0de40", kernel_function: "futex_wait_queue", object: pick(i, [{ kind: "futex_word", fd: null, name: "0x7f31c0de40" }, { kind: "files", fd: 7, name: "12 fds" }, { kind: "socket", fd: 19, name: "tcp 127.0.0.1:5432 <- 127.0.0.1:40112" }, { kind: "timer", fd: null, name: "for 60 s" }]), timed: pick(i, [false, true, null, true]), lock: null, owner_tid: null },
    java_state: state === "runnable" ? "RUNNABLE" : "WAITING", suspended: null, in_kernel: state === "runnable" ? null : "futex",
    stack: closed ? null : { start: "0x7f3a00000000", end: "0x7f3a00200000", reserved_bytes: reserved, resident_bytes: resident, used_bytes: usedKnown ? Math.floor(resident * (0.2 + 0.5 * wave(i, 31))) : null, guard_bytes: i === 0 ? null : 4096 },
    heap: bench ? { allocated_bytes: Math.floor(now() % 10000 * 1e5 * (i + 1)), freed_bytes: Math.floor(now() % 10000 * 1e5 * (i + 1)) - i * 3 * MiB, allocations: 123456 * i, frees: 123400 * i } : null,
    task: pool && bench ? { pool, workload: level > 0.35 ? pick(i + Math.floor(now() / 3), ["maximum_gap", "lowest_common_ancestor", "combination_sum", "merge_sorted"]) : null, id: 8812 + i, age_seconds: level > 0.35 ? noise(i) * 0.02 : null, done: Math.floor(now() % 100000) * (i + 1), queue_seconds_total: 12, service_seconds_total: 340 } : null,
    unknown,
  };
}
const unknownMap = (threads) => {
  const map = {};
  for (const t of threads) for (const [field, code] of Object.entries(t.unknown)) {
    map[field] ??= code === "no_ledger" ? { ...noLedger, threads: 0 } : code === "running" ? { reason: "unsupported", code, why: "the thread is running: its stack pointer moves while we look", need: null, fix: null, threads: 0 } : { ...denied(field), threads: 0 };
    map[field].threads += 1;
  }
  return map;
};
const everyThread = (p) => Array.from({ length: p.threads }, (_, i) => threadOf(p, i));
const countStates = (threads) => { const counts = { runnable: 0, sleeping: 0, disk_sleep: 0, stopped: 0, traced: 0, zombie: 0, dead: 0, idle: 0, parked: 0 }; for (const t of threads) counts[t.state] += 1; return counts; };
let sequence = 0;

function threadsAnswer(p, q) {
  const threads = everyThread(p);
  let rows = threads.filter((t) => (!q.get("state") || t.state === q.get("state")) && (!q.get("pool") || t.pool === q.get("pool")) && (!q.get("name") || t.name.includes(q.get("name"))));
  const value = { cpu_ratio: (t) => t.cpu_ratio, name: (t) => t.name, tid: (t) => t.tid, state: (t) => t.state, run_delay_ratio: (t) => t.run_delay_ratio, voluntary_switches: (t) => t.voluntary_switches, "stack.used_bytes": (t) => t.stack?.used_bytes ?? null, "heap.net_bytes": (t) => t.heap && t.heap.allocated_bytes - t.heap.freed_bytes, "task.done": (t) => t.task?.done ?? null, last_cpu: (t) => t.last_cpu, start_time: (t) => t.start_time }[q.get("sort") ?? "cpu_ratio"];
  const sign = q.get("order") === "asc" ? 1 : -1;
  rows.sort((a, b) => { const x = value(a), y = value(b); if (x === null || y === null) return (x === null) - (y === null) || a.tid - b.tid; return (x < y ? -1 : x > y ? 1 : 0) * sign || a.tid - b.tid; });
  const offset = Number(q.get("offset") ?? 0), limit = Number(q.get("limit") ?? 100);
  const pools = {};
  for (const t of threads) if (t.pool) pools[t.pool] = (pools[t.pool] ?? 0) + 1;
  const spark = Number(q.get("sparkline") ?? 0);
  const page = rows.slice(offset, offset + limit).map((t, i) => spark ? { ...t, sparkline: Array.from({ length: spark }, (_, k) => (t.tid + k) % 23 === 0 ? null : t.cpu_ratio === null ? null : Math.max(0, Math.min(1, t.cpu_ratio + 0.35 * Math.sin(k * 0.7 + t.tid) * (t.cpu_ratio > 0 ? 1 : 0)))) } : t);
  return { process: ref(p), taken_at: new Date().toISOString(), sequence, interval_seconds: 1, total: rows.length, all: threads.length, counts: countStates(threads), pools, peak: p.threads + 2, started_total: p.threads + 31, started_exact: p.role === "workbench", ended_total: 31, watched_since: STARTED.toISOString(), truncated: false, cpu_ratio: threads.reduce((s, t) => s + (t.cpu_ratio ?? 0), 0), rss_bytes: p.rss, condition: { marks: [], tracer_pid: null, frozen: false, cgroup: "/", namespace_pid: p.pid }, heap: p.role === "workbench" ? { net_bytes: 91 * MiB, ended_threads: 2 } : null, threads: page, unknown: unknownMap(threads) };
}

const sizes = (v, r, p = r, priv = r) => ({ virtual_bytes: v, resident_bytes: r, proportional_bytes: p, private_bytes: priv });
const plus = (...all) => sizes(...["virtual_bytes", "resident_bytes", "proportional_bytes", "private_bytes"].map((k) => all.reduce((s, e) => s + e[k], 0)));
function memoryAnswer(p) {
  const threads = everyThread(p);
  const stackSum = threads.reduce((s, t) => [s[0] + (t.stack?.reserved_bytes ?? 0), s[1] + (t.stack?.resident_bytes ?? 0)], [0, 0]);
  const shared = { heap: sizes(640 * MiB, 118 * MiB), code: sizes(14 * MiB, 8 * MiB, 5 * MiB, 1 * MiB), globals: sizes(3 * MiB, 2 * MiB), mapped_files: sizes(90 * MiB, 22 * MiB, 7 * MiB, 0), shared_memory: sizes(16 * MiB, 3 * MiB, 1.5 * MiB, 0), other: sizes(2 * MiB, 120 * KiB) };
  const per_thread = { stacks: sizes(...stackSum), guards: sizes(threads.length * 4096, 0) };
  const total = plus(...Object.values(shared), ...Object.values(per_thread));
  return { process: ref(p), taken_at: new Date().toISOString(), shared, per_thread, total, kernel: { rollup: total, statm_virtual_bytes: total.virtual_bytes, statm_resident_bytes: total.resident_bytes },
    threads: threads.map((t, i) => ({ tid: t.tid, name: t.name, pool: t.pool, state: t.state, found_by: t.stack ? (i === 0 ? "exact" : pick(i, ["stack_pointer", "exact", "guess"])) : null, stack: t.stack, heap: t.heap, unknown: t.unknown })),
    regions: [], unknown: unknownMap(threads) };
}

// ---- Stacks, locks and findings ----

const LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6", BANK = "/opt/bank/bin/bank";
const frame = (name, module, more = {}) => ({ address: `0x7f${[...name].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) >>> 0, 7).toString(16).padStart(8, "0")}`, function: name, offset: 23 + name.length, file: null, line: null, inlined: false, module, module_address: "0x8a3f0", trust: "unwound", ...more });
const own = (name, file, line, more = {}) => frame(name, BANK, { file: `/home/ana/bank/src/${file}`, line, ...more });
const nameless = (trust) => ({ ...frame("x", BANK, { trust }), function: null, offset: null });
const inC = (...names) => names.map((name, i) => frame(name, LIBC, i === 0 ? { trust: "context" } : {}));
const bottom = [frame("start_thread", LIBC, { trust: "recovered" }), frame("clone3", LIBC, { offset: 44 })];
const complete = { complete: true, code: "complete", why: "the walk reached the thread's start" };
const cut = (code, why) => ({ complete: false, code, why });
const lockMutex = inC("__futex_abstimed_wait_common", "__GI___lll_lock_wait", "pthread_mutex_lock");
const shapes = [
  { n: 18, name: (i) => `worker-${i}`, state: "sleeping", frames: [...inC("__futex_abstimed_wait_common", "pthread_cond_wait"), own("bank::Queue<bank::Transfer, std::allocator<bank::Transfer> >::pop()", "queue.hpp", 88, { inlined: true }), own("bank::Worker::run()", "worker.cpp", 41, { trust: "recovered" }), ...bottom], end: complete },
  { n: 8, name: (i) => `teller-${i}`, state: "sleeping", frames: [...lockMutex, own("bank::Ledger::post(bank::Transfer const&)", "ledger.cpp", 131), own("bank::Teller::serve(int)", "teller.cpp", 64), ...bottom], end: complete },
  { n: 4, name: (i) => `reader-${i}`, state: "sleeping", frames: [...inC("__futex_abstimed_wait_common", "pthread_rwlock_rdlock"), own("bank::Rates::lookup(std::basic_string_view<char>)", "rates.cpp", 22), ...bottom], end: complete },
  { n: 3, name: (i) => ["debit", "credit", "audit"][i], state: "sleeping", frames: [...lockMutex, own("bank::Account::lock_both(bank::Account&)", "account.cpp", 57), own("bank::transfer(bank::Account&, bank::Account&, long)", "transfer.cpp", 19), ...bottom], end: complete },
  { n: 2, name: (i) => `flusher-${i}`, state: "disk_sleep", frames: [...inC("fdatasync"), own("bank::Journal::flush()", "journal.cpp", 203), nameless("recovered"), nameless("guessed")], end: cut("lost_frame_pointer", "the frame pointer is not known here and was not found on the stack") },
  { n: 1, name: () => "bank", state: "sleeping", frames: [...inC("__futex_abstimed_wait_common", "__pthread_clockjoin_ex"), own("main", "main.cpp", 12), ...inC("__libc_start_call_main")], end: complete },
  { n: 1, name: () => "poster", state: "runnable", frames: [own("bank::hash_block(unsigned char const*, unsigned long)", "hash.cpp", 77, { trust: "context" }), own("bank::Ledger::seal()", "ledger.cpp", 260), ...bottom], end: complete, source: "sample" },
  { n: 2, name: (i) => `jit-${i}`, state: "sleeping", frames: [...inC("__poll"), { ...frame("?", null), function: null, offset: null, module_address: null }], end: cut("no_module", "the last frame's code belongs to no file"), moved: true },
  { n: 3, name: (i) => `stdio-${i}`, state: "sleeping", frames: [...inC("__lll_lock_wait_private", "_IO_puts"), own("bank::log(char const*)", "log.cpp", 8), ...bottom], end: complete },
  { n: 4, name: (i) => ["rates-writer", "evil\u202e<b>x</b>", "old-hand", "heir"][i], state: "sleeping", frames: [...inC("__futex_abstimed_wait_common", "pthread_rwlock_wrlock"), own("bank::Rates::reload()", "rates.cpp", 90), ...bottom], end: complete },
];
function crowd(p) {
  if (p.pid === 5000) return shapes;
  if (p.pid === 5100) return [{ ...shapes[5], n: 1, frames: [...inC("clock_nanosleep"), own("main", "main.cpp", 3)], name: () => "quiet" }, { ...shapes[7], n: 2, moved: false, name: (i) => `poller-${i}` }];
  if (p.pid === 10000) return [{ ...shapes[0], n: 9000, name: (i) => `blk-${i}` }, ...Array.from({ length: 299 }, (_, i) => ({ ...shapes[1], n: 3 + (i % 2), name: (k) => `kind-${i}-${k}`, frames: [...lockMutex, own(`ten::Stage${i}::wait()`, "stage.cpp", i), ...bottom] }))];
  return [{ ...shapes[0], n: Math.max(1, p.threads - 1), name: (i) => `${p.name}-${i}` }];
}
function stacksAnswer(p, q) {
  const pause = q.get("pause") === "true";
  let tid = p.pid;
  const threads = [], stacks = [];
  for (const shape of crowd(p)) {
    const tids = Array.from({ length: shape.n }, () => tid++);
    tids.forEach((each, i) => threads.push({ tid: each, name: shape.name(i), state: shape.state, state_letter: shape.state === "runnable" ? "R" : shape.state === "disk_sleep" ? "D" : "S", stack: stacks.length, unknown: null }));
    stacks.push({ count: shape.n, tids, states: { [shape.state]: shape.n }, frames: shape.frames, end: shape.end, source: pause && shape.state === "runnable" ? "pause" : shape.source ?? "syscall", moved: shape.moved ?? false });
  }
  if (p.pid === 5000) for (const [name, code, why] of [["spinner-0", "sampling_denied", "the kernel does not let us sample running threads"], ["spinner-1", "sampling_denied", "the kernel does not let us sample running threads"], ["short-lived", "gone", "it ended while it was being read"]]) threads.push({ tid: tid++, name, state: "runnable", state_letter: "R", stack: null, unknown: { reason: code === "gone" ? "gone" : "denied", code, why, need: null, fix: code === "gone" ? null : "run threadscape as root or with CAP_PERFMON, or ask for a pause" } });
  stacks.sort((a, b) => b.count - a.count);
  const places = new Map(stacks.flatMap((each, at) => each.tids.map((one) => [one, at])));
  for (const each of threads) if (each.stack !== null) each.stack = places.get(each.tid);
  return { process: ref(p), taken_at: new Date().toISOString(), took_seconds: p.pid === 10000 ? 0.61 : 0.0041, total: threads.length + (p.pid === 10000 ? 37 : 0), truncated: p.pid === 10000, paused: pause ? 3 : 0, stacks, threads, unknown: {} };
}
function locksAnswer(p) {
  const answer = { process: ref(p), taken_at: new Date().toISOString(), total: p.threads, truncated: false, confirmed_after_seconds: null, deadlocks: [], chains: [], locks: [], waits: [], unknown: {} };
  if (p.pid !== 5000 && p.pid !== 10000) return answer;
  const { threads, stacks } = stacksAnswer(p, new URLSearchParams());
  const name = (tid) => threads.find((t) => t.tid === tid)?.name ?? "";
  const tidOf = (n) => threads.find((t) => t.name === n)?.tid;
  const framesOf = (tid) => { const at = threads.find((t) => t.tid === tid)?.stack; return at == null ? null : stacks[at].frames; };
  const at = (kind, text, more = {}) => ({ kind, text, module: null, symbol: null, offset: null, tid: null, ...more });
  const global = (symbol, offset = 0) => at("global", offset ? `${symbol}+0x${offset.toString(16)}` : symbol, { module: BANK, symbol, offset });
  const held = (tid, proof = "recorded") => ({ kind: "thread", tid, name: name(tid), recorded_tid: null, proof, proved: proof !== "likely" });
  const nobody = (code, why) => ({ reason: "not_applicable", code, why, need: null, fix: null });
  const add = (kind, place, owner, tids, { mode = "exclusive", fn = "pthread_mutex_lock", timed = false, ...more } = {}) => {
    const id = answer.locks.length;
    answer.locks.push({ id, address: `0x7f3a1c00${(0x1000 + id * 0x68).toString(16)}`, kind, flags: [], place, owner, owner_unknown: owner ? null : nobody("owner_not_recorded", "locks of this kind do not record who holds them"), readers: null, told_by: "stack and memory", state: owner ? "held, with waiters" : "", waiters: tids, ...more });
    for (const tid of tids) answer.waits.push({ tid, name: name(tid), lock: id, mode, timed, function: fn });
    return id;
  };
  if (p.pid === 10000) {
    add("pthread_mutex", global("ten::gate"), held(10000), Array.from({ length: 9000 }, (_, i) => 10001 + i));
    answer.chains.push({ links: [{ tid: 10001, name: "blk-1", lock: 0, owner_tid: 10000, proof: "recorded" }], root: { tid: 10000, name: "blk-0", frames: framesOf(10000) }, root_doing: "on_cpu", behind_root: 9000 });
    return answer;
  }
  const [debit, credit, audit, poster, bank, flusher] = ["debit", "credit", "audit", "poster", "bank", "flusher-0"].map(tidOf);
  const many = (prefix) => threads.filter((t) => t.name.startsWith(prefix)).map((t) => t.tid);
  const a = add("pthread_mutex", global("bank::accounts", 0x40), held(debit), [audit]);
  const b = add("pthread_mutex", global("bank::accounts", 0xa8), held(credit), [debit], { flags: ["recursive"] });
  const c = add("pthread_mutex", at("heap", "heap"), held(audit), [credit, ...many("teller").slice(6)], { flags: ["error_checking"] });
  answer.deadlocks.push({ confirmed: true, threads: [debit, credit, audit].map((tid, i) => ({ tid, name: name(tid), holds: [a, b, c][i], wants: [b, c, a][i], frames: framesOf(tid) })) });
  answer.confirmed_after_seconds = 0.12;
  const ledger = add("pthread_mutex", global("bank::ledger"), held(tidOf("rates-writer")), many("teller").slice(0, 6));
  const rates = add("pthread_rwlock", global("bank::rates", 0x10), held(poster), [tidOf("rates-writer"), ...many("reader")], { fn: "pthread_rwlock_wrlock", state: "held for writing", timed: true });
  answer.waits.filter((w) => w.name.startsWith("reader")).forEach((w) => { w.mode = "shared"; w.function = "pthread_rwlock_rdlock"; });
  answer.chains.push({ links: [{ tid: many("teller")[0], name: "teller-0", lock: ledger, owner_tid: tidOf("rates-writer"), proof: "recorded" }, { tid: tidOf("rates-writer"), name: "rates-writer", lock: rates, owner_tid: poster, proof: "recorded" }], root: { tid: poster, name: "poster", frames: framesOf(poster) }, root_doing: "on_cpu", behind_root: 11 });
  const join = add("join", at("thread_block", `thread ${flusher}'s own block`, { tid: flusher }), held(flusher, "join_target"), [bank], { mode: "end", fn: "pthread_join", state: "" });
  answer.chains.push({ links: [{ tid: bank, name: "bank", lock: join, owner_tid: flusher, proof: "join_target" }], root: { tid: flusher, name: "flusher-0", frames: framesOf(flusher) }, root_doing: "disk_sleep", behind_root: 1 });
  const stdio = add("libc_internal", global("_IO_stdfile_1_lock"), held(tidOf("flusher-1"), "likely"), many("stdio"), { fn: "_IO_puts", told_by: "stack" });
  answer.chains.push({ links: [{ tid: many("stdio")[0], name: "stdio-0", lock: stdio, owner_tid: tidOf("flusher-1"), proof: "likely" }], root: { tid: tidOf("flusher-1"), name: "flusher-1", frames: framesOf(tidOf("flusher-1")) }, root_doing: "disk_sleep", behind_root: 3 });
  add("pthread_mutex", at("heap", "heap"), { kind: "ended", tid: null, name: null, recorded_tid: 4901, proof: null, proved: true }, [tidOf("old-hand")], { flags: ["robust"] });
  add("pthread_mutex", at("shared_memory", "/dev/shm/bank-rates+0x80"), { kind: "foreign", tid: null, name: null, recorded_tid: 811, proof: null, proved: true }, [tidOf("heir")], { flags: ["process_shared"] });
  add("pthread_cond", global("bank::queue", 0x28), null, many("worker"), { mode: "signal", fn: "pthread_cond_wait", state: "" });
  add("rust_mutex", at("heap", "heap"), null, [tidOf("evil\u202e<b>x</b>")], { fn: "std::sys::sync::mutex::futex::Mutex::lock_contended", state: "held, with waiters", told_by: "call" });
  answer.waits.sort((x, y) => x.tid - y.tid);
  answer.unknown = { waits: { ...denied("waits"), threads: 2 } };
  return answer;
}
const began = Date.now();
function findingsOf(p) {
  if (p.pid !== 5000) return [];
  const locks = locksAnswer(p);
  const at = (secondsAgo) => new Date(began - secondsAgo * 1000).toISOString();
  const lasted = (secondsAgo) => (Date.now() - began) / 1000 + secondsAgo;
  const of = (kind, severity, ago, culprits, summary, evidence, rule, more = {}) => ({ kind, severity, pid: p.pid, process_name: p.name, since: at(ago), lasted_seconds: lasted(ago), culprits: culprits.slice(0, 64), culprit_count: culprits.length, summary, evidence, frames: null, rule, ...more });
  return [
    of("deadlock", "critical", 312, locks.deadlocks[0].threads.map((s) => s.tid), "3 threads wait for each other in a circle: debit holds bank::accounts+0x40 and wants bank::accounts+0xa8, held by credit…", [{ name: "threads", value: 3, unit: "threads" }, { name: "confirmed_after_seconds", value: 0.12, unit: "seconds" }], "A circle of threads over locks whose owners are proved, seen in two readings with unchanged switch counts of every thread in it."),
    of("blocked_behind", "warning", 70, [locks.chains[0].root.tid], `11 threads wait, through 2 locks, for poster, which is on a CPU`, [{ name: "waiting_threads", value: 11, unit: "threads" }, { name: "longest_chain", value: 2, unit: "count" }], "At least 8 threads, or a quarter of all, wait at the ends of chains for one thread that itself waits for no lock, in two looks in a row.", { frames: locks.chains[0].root.frames }),
    of("same_place", "warning", 40, Array.from({ length: 18 }, (_, i) => p.pid + i), "18 of 18 workers stand in bank::Queue::pop: nothing reaches them", [{ name: "threads", value: 18, unit: "threads" }, { name: "share", value: 0.39, unit: "ratio" }], "All threads of a group are blocked with the same stack for longer than 30 s while others of the process run.", { frames: shapes[0].frames }),
    of("stack_nearly_exhausted", "notice", 5, [p.pid + 30], "thread flusher-1 uses 7.1 MiB of its stack of 8 MiB", [{ name: "used_bytes", value: 7.1 * MiB, unit: "bytes" }, { name: "stack_ratio", value: 0.89, unit: "ratio" }], "More than 85 % of a thread's reserved stack was in use at one moment."),
  ];
}
const allFindings = () => processes.flatMap(findingsOf);
const marksOf = (p) => findingsOf(p).map(({ kind, severity }) => ({ kind, severity }));

const spread = (ms, n = 1000) => ({ count: n, mean_seconds: ms / 1000, p50_seconds: ms * 0.8 / 1000, p90_seconds: ms * 1.8 / 1000, p99_seconds: ms * (3 + noise(ms)) / 1000, max_seconds: ms * 9 / 1000 });
const poolsAnswer = () => ({ workbench_pid: 7002, pools: poolNames.map(([name, kind, size], n) => {
  const workers = everyThread(processes[1]).filter((t) => t.pool === name).map((t) => ({ tid: t.tid, name: t.name, done: t.task.done, stolen: n === 0 ? 17 * t.tid % 400 : 0, parked: t.state === "parked", task: t.task.workload }));
  return { name, kind, size, active: workers.filter((w) => w.task).length, queue_depth: Math.floor(wave(n, 13) * 900), queue_capacity: 1024, policy: n ? "reject" : "block", submitted: 1e6, done: 998000, panicked: n, rejected: n * 40, abandoned: 0, queue_wait: spread(0.4), service: spread(1.9), workers };
}) });

let runs = [{ id: "2026-11-24T10-00-00-quick", scenario: "quick", phase: "finished", started_at: new Date(Date.now() - 9e5).toISOString(), ended_at: new Date(Date.now() - 8.9e5).toISOString(), elapsed_seconds: 10, planned_seconds: 10, seed: 7, rate_factor: 1, loads: [], verdict: "pass", messages: [] }];
const startRun = (scenario) => { const run = { id: `r-${Date.now()}`, scenario, phase: "running", started_at: new Date().toISOString(), ended_at: null, elapsed_seconds: 0, planned_seconds: scenario === "demo" ? null : 60, seed: 42, rate_factor: 1, loads: [], verdict: null, messages: [] }; runs.unshift(run); return run; };
const live = () => runs.find((r) => !r.ended_at);
function tickRun() {
  const run = live(); if (!run) return;
  run.elapsed_seconds = (Date.now() - Date.parse(run.started_at)) / 1000;
  run.loads = [["gaps", "maximum_gap", "steal", 400], ["ancestors", "lowest_common_ancestor", "steal", 250], ["sums", "combination_sum", "chan", 120]].map(([name, workload, pool, base], i) => {
    const target = base * run.rate_factor * (0.8 + 0.4 * wave(i, 40)); const done = Math.floor(run.elapsed_seconds * base);
    return { name, workload, pool, executor: i === 2 ? "closed" : "open", arrived: done + 12 + i, done, shed: i, late: 0, cancelled: 0, panicked: 0, outstanding: 12, verified: Math.floor(done / 4), wrong: 0, target, throughput: target * (0.93 + 0.1 * noise(i)), lag: spread(0.05 + 0.02 * i), queue: spread(0.5 + wave(i, 17)), service: spread(2 + i), response: spread(2.6 + i + wave(i, 17)) };
  });
  if (run.planned_seconds && run.elapsed_seconds > run.planned_seconds) { run.phase = "finished"; run.ended_at = new Date().toISOString(); run.verdict = "pass"; }
}
startRun("demo");
const scenarios = () => ({ scenarios: [{ name: "demo", description: "Everything, gently and without an end", seconds: null, toml: "[run]\n", problems: [] }, { name: "quick", description: "Ten seconds of everything", seconds: 10, toml: "[run]\n", problems: [] }, { name: "broken", description: "", seconds: null, toml: "", problems: [{ line: 3, column: 1, field: "run.sead", message: "unknown key `sead`", suggestion: "seed" }] }] });
const health = () => ({ status: "degraded", version: "0.1.0-mock", boot_id: "mock", started_at: STARTED.toISOString(), uptime_seconds: now() - STARTED / 1000, problems: [{ code: "btf_missing", message: "the kernel has no BTF: rows are read one by one", fix: "nothing to do; it only costs more" }], cost: { cpu_ratio: 0.004 + 0.002 * wave(1), rss_bytes: 31 * MiB, sampler_lateness_seconds: 0.00012, sampler_cpu_seconds_total: 3.2, snapshots_total: sequence, watched: 2 } });
const snapshot = (p) => { const threads = everyThread(p); return { process: ref(p), sequence, taken_at: new Date().toISOString(), interval_seconds: 1, threads: threads.length, counts: countStates(threads), cpu_ratio: p.cpu, rss_bytes: p.rss, peak: p.threads + 2, started_total: p.threads + 31 }; };

const problem = (status, title, detail, more = {}) => ({ status, body: { type: "about:blank", title, status, detail, ...more }, type: "application/problem+json" });
const ok = (body, status = 200) => ({ status, body, type: "application/json" });

async function api(method, url, body) {
  const path = url.pathname.replace("/api/v1", ""), q = url.searchParams, parts = path.split("/").filter(Boolean);
  if (path === "/health") return ok(health());
  if (path === "/capabilities") return ok({ sources: [] });
  if (path === "/scenarios") return ok(scenarios());
  if (path === "/pools") return ok(poolsAnswer());
  if (path === "/findings") return ok({ taken_at: new Date().toISOString(), findings: allFindings() });
  if (path === "/processes") {
    const f = (q.get("filter") ?? "").toLowerCase();
    let list = processes.map((p) => ({ ...ref(p), ppid: p.ppid ?? (p.pid === 1 ? 0 : p.pid > 2000 && p.pid < 4000 && p.pid % 3 ? 2000 + (Math.floor((p.pid - 2000) / 7 / 12) * 12) * 7 : 1), findings: marksOf(p), exe: p.exe, user: p.user, state: p.cpu ? "running" : "sleeping", threads: p.threads, cpu_ratio: p.rss === null ? null : p.cpu * (0.7 + 0.6 * noise(p.pid)), rss_bytes: p.rss, unknown: p.rss === null ? { rss_bytes: denied("memory"), cpu_ratio: denied("clocks") } : {} })).filter((p) => !q.get("role") || p.role === q.get("role")).filter((p) => !f || p.name.includes(f) || String(p.pid).includes(f) || p.user.includes(f));
    const key = q.get("sort") ?? "cpu_ratio", sign = q.get("order") === "asc" ? 1 : -1;
    list.sort((a, b) => { const x = a[key], y = b[key]; if (x === null || y === null) return (x === null) - (y === null); return (x < y ? -1 : x > y ? 1 : 0) * sign || a.pid - b.pid; });
    const offset = Number(q.get("offset") ?? 0), limit = Number(q.get("limit") ?? 100);
    return ok({ taken_at: new Date().toISOString(), machine: { hostname: "mockingbird", kernel: "6.18.0", boot_id: "mock", cpus: 2, memory_bytes: 16 * GiB, available_bytes: (7 + wave(3)) * GiB, cpu_ratio: 0.35 + 0.3 * wave(2, 14), load_average: [1.4 + wave(4), 1.21, 0.98] }, total: list.length, hidden: 3, processes: list.slice(offset, offset + limit) });
  }
  if (path === "/runs" && method === "GET") { tickRun(); return ok({ runs }); }
  if (path === "/runs" && method === "POST") {
    if (live()) return problem(409, "a run is under way", `run ${live().id} is under way; stop it first`);
    if (body.scenario === "broken") return problem(400, "the scenario has problems", "broken.toml has 1 problem", { problems: scenarios().scenarios[2].problems });
    const run = startRun(body.scenario); tickRun(); return ok(run, 201);
  }
  if (parts[0] === "runs") {
    const run = runs.find((r) => r.id === parts[1]);
    if (!run) return problem(404, "no such run", "no such run");
    if (method === "PATCH") { if (!(body.rate_factor > 0 && body.rate_factor <= 100)) return problem(400, "bad rate", "rate_factor must be between 0.01 and 100", { field: "rate_factor" }); run.rate_factor = body.rate_factor; }
    if (method === "DELETE") { run.phase = "draining"; setTimeout(() => { run.phase = "stopped"; run.ended_at = new Date().toISOString(); }, 1500); return ok(run, 202); }
    return ok(run);
  }
  if (parts[0] === "processes") {
    const p = find(parts[1]);
    if (!p) return problem(404, "process has ended", `process ${parts[1]} has ended, or there never was one`, { field: "pid" });
    if (parts[2] === undefined) return ok({ ...ref(p), ppid: p.ppid ?? (p.pid === 1 ? 0 : p.pid > 2000 && p.pid < 4000 && p.pid % 3 ? 2000 + (Math.floor((p.pid - 2000) / 7 / 12) * 12) * 7 : 1), findings: marksOf(p), exe: p.exe, user: p.user, state: "sleeping", threads: p.threads, cpu_ratio: p.cpu, rss_bytes: p.rss, unknown: {} });
    if (p.pid === 1 && parts[2] === "memory") return problem(403, "not allowed", "not allowed to read the memory map of process 1", { fix: "run threadscape as its owner, or with CAP_SYS_PTRACE" });
    if (p.pid === 1 && ["stacks", "locks"].includes(parts[2])) return problem(403, "not allowed", `not allowed to read the ${parts[2]} of process 1`, { fix: "run threadscape as its owner, as root, or with CAP_SYS_PTRACE" });
    if (parts[2] === "stacks") return ok(stacksAnswer(p, q));
    if (parts[2] === "locks") return ok(locksAnswer(p));
    if (parts[2] === "findings") return ok({ taken_at: new Date().toISOString(), findings: findingsOf(p) });
    if (parts[2] === "memory") return ok(memoryAnswer(p));
    if (parts[2] === "threads" && parts[3]) {
      const t = everyThread(p).find((each) => each.tid === Number(parts[3]));
      if (!t) return problem(404, "thread has ended", `thread ${parts[3]} has ended`, { field: "tid" });
      const times = Array.from({ length: 120 }, (_, i) => i - 119);
      const column = (f) => times.map((x, i) => i > 40 && i < 52 ? null : Math.max(0, f(x + now())));
      return ok({ process: ref(p), taken_at: new Date().toISOString(), thread: t, unknown: unknownMap([t]), details: { signals: { pending: [], pending_shared: [], blocked: ["SIGPIPE", "SIGUSR1"], ignored: ["SIGPIPE"], caught: ["SIGTERM"] }, tracer_pid: null, namespace_tids: [t.tid, t.tid % 100], cgroup: "/system.slice/bank.service", frozen: false, time_limit: null }, history: { times, cpu_ratio: column((x) => (t.cpu_ratio ?? 0) * (0.7 + 0.3 * Math.sin(x / 3))), run_delay_ratio: column((x) => 0.1 + 0.1 * Math.sin(x / 5)), voluntary_switches: column((x) => 120 + 30 * Math.sin(x)), involuntary_switches: column(() => 3) } });
    }
    if (parts[2] === "threads") return ok(threadsAnswer(p, q));
  }
  return problem(404, "no such route", path);
}

createServer(async (request, response) => {
  const url = new URL(request.url, `http://${request.headers.host}`);
  const policy = { "Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" };
  if (url.pathname === "/api/v1/events") {
    response.writeHead(200, { ...policy, "Content-Type": "text/event-stream" });
    let id = 0;
    const send = (event, data) => response.write(`id: ${++id}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    send("hello", { version: "mock", boot_id: "mock", started_at: STARTED.toISOString() });
    const p = find(url.searchParams.get("process") ?? "workbench");
    const tick = () => { sequence += 1; tickRun(); if (p) send("snapshot", snapshot(p)); send("pools", poolsAnswer()); if (runs[0]) send("run", runs[0]); if (sequence % 5 === 0) send("health", health()); if (sequence % 10 === 0) { const [first] = allFindings(); send("finding", { ...first, state: "changed" }); } };
    tick();
    const timer = setInterval(tick, 1000);
    request.on("close", () => clearInterval(timer));
    return;
  }
  if (url.pathname.startsWith("/api/")) {
    let text = "";
    for await (const chunk of request) text += chunk;
    const answer = await api(request.method, url, text ? JSON.parse(text) : {});
    response.writeHead(answer.status, { ...policy, "Content-Type": answer.type });
    response.end(JSON.stringify(answer.body));
    return;
  }
  const file = normalize(url.pathname === "/" ? "/index.html" : url.pathname);
  try {
    const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
    const content = await readFile(join(DIST, file));
    response.writeHead(200, { ...policy, "Content-Type": types[extname(file)] ?? "application/octet-stream" });
    response.end(content);
  } catch {
    response.writeHead(404, policy);
    response.end("not here; is the page built? run: npm run build");
  }
}).listen(PORT, "127.0.0.1", function () { console.log(`mock daemon on http://127.0.0.1:${this.address().port}/`); });
