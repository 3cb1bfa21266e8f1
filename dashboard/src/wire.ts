/**
 * The shapes of the REST API under /api/v1, as outsiders see them. One contract with
 * src/http/wire.rs; a drift test holds both against the OpenAPI document.
 * Unknown is null; `unknown` says why. Times are seconds, sizes bytes, wall clocks RFC 3339.
 */

import {
  type Decoder, DecodeError, absentIsNull, boolean, list, nullable, number, object, oneOf, optional, record, string,
} from "./decode";

export type Seconds = number & { readonly unit?: "s" };
export type Bytes = number & { readonly unit?: "B" };
export type Ratio = number & { readonly unit?: "1" };

/** Why a field is null. `threads` counts the rows it is missing in, where the answer has rows. */
export interface Unknown {
  reason: "denied" | "gone" | "unsupported" | "not_applicable";
  code: string;
  why: string;
  need: string | null;
  fix: string | null;
  threads?: number;
}

/** Field path ("wait", "stack.used_bytes") to the reason; the most frequent one where rows differ. */
export type UnknownMap = Record<string, Unknown>;

/** GET /health */
export interface Health {
  status: "ok" | "degraded";
  version: string;
  boot_id: string;
  started_at: string;
  uptime_seconds: Seconds;
  problems: { code: string; message: string; fix: string | null }[];
  cost: { cpu_ratio: Ratio | null; rss_bytes: Bytes | null; sampler_lateness_seconds: Seconds; sampler_cpu_seconds_total: Seconds; snapshots_total: number; watched: number };
}

/** GET /capabilities */
export interface Capabilities {
  sources: { name: string; works: boolean; scope: string; reason: string | null; need: string | null; fix: string | null }[];
  locks: { kind: string; owner_provable: boolean; why: string }[] | null;
}

export type Role = "daemon" | "workbench" | "other";

export interface Process {
  pid: number;
  start_time: Seconds; // since boot
  ppid: number;
  name: string;
  exe: string | null;
  user: string | null;
  role: Role;
  state: string;
  threads: number | null;
  cpu_ratio: Ratio | null; // CPUs' worth
  rss_bytes: Bytes | null;
  findings: FindingMark[]; // if it is watched; most severe first
  unknown: UnknownMap;
}

/** A finding beside a process' name. */
export interface FindingMark { kind: string; severity: Severity }

export interface Machine {
  hostname: string;
  kernel: string;
  boot_id: string;
  cpus: number;
  memory_bytes: Bytes | null;
  available_bytes: Bytes | null;
  cpu_ratio: Ratio | null; // of all CPUs, 0..1
  load_average: [number, number, number] | null;
}

/** GET /processes?filter&role&sort&order&limit&offset */
export interface Processes {
  taken_at: string;
  machine: Machine;
  total: number; // after the filter, before the page
  hidden: number | null;
  processes: Process[];
}

export type ThreadState =
  | "runnable" | "sleeping" | "disk_sleep" | "stopped" | "traced" | "zombie" | "dead" | "idle" | "parked";

export interface WaitObject { kind: string; fd: number | null; name: string }

export interface Wait {
  kind: string; // futex poll read write sleep child signal socket io other
  syscall: string | null;
  address: string | null; // hex
  kernel_function: string | null;
  object: WaitObject | null; // what the call is about
  timed: boolean | null; // a time-out was given: it ends by itself
  lock: string | null;
  owner_tid: number | null;
}

export interface Stack {
  start: string; // hex
  end: string;
  reserved_bytes: Bytes;
  resident_bytes: Bytes | null;
  used_bytes: Bytes | null;
  guard_bytes: Bytes | null;
}

export interface Heap {
  allocated_bytes: Bytes;
  freed_bytes: Bytes;
  allocations: number;
  frees: number;
}

export interface Task {
  pool: string;
  workload: string | null;
  id: number | null;
  age_seconds: Seconds | null;
  done: number;
  queue_seconds_total: Seconds;
  service_seconds_total: Seconds;
}

export interface Thread {
  tid: number;
  name: string;
  name_bytes: string | null; // hex, only where the name is not plain UTF-8
  start_time: Seconds; // since boot
  state: ThreadState;
  state_letter: string;
  pool: string | null;
  cpu_ratio: Ratio | null;
  user_seconds: Seconds | null;
  system_seconds: Seconds | null;
  on_cpu_seconds: Seconds | null;
  run_delay_seconds: Seconds | null;
  run_delay_ratio: Ratio | null;
  timeslices: number | null;
  voluntary_switches: number | null;
  involuntary_switches: number | null;
  minor_faults: number | null;
  major_faults: number | null;
  last_cpu: number | null;
  nice: number | null;
  policy: string | null;
  rt_priority: number | null;
  allowed_cpus: string | null;
  wait: Wait | null;
  stack: Stack | null;
  heap: Heap | null;
  task: Task | null;
  java_state: string | null; // as java.lang.Thread.State has them
  suspended: string | null; // stopped, traced or frozen
  in_kernel: string | null; // the system call it is blocked in
  /** field path to code, for what is null in this row. */
  unknown: Record<string, string>;
  /** With `?sparkline=N`: the newest N values of cpu_ratio, oldest first. */
  sparkline?: (number | null)[];
}

/** The time-out of a thread's call, or the end of its sleep. */
export interface TimeLimit { words: string; clock: string; seconds: Seconds | null; absolute: boolean }

/** Signals by name. */
export interface Signals { pending: string[]; pending_shared: string[]; blocked: string[]; ignored: string[]; caught: string[] }

/** What only the view of one thread has. */
export interface Details {
  signals: Signals | null;
  tracer_pid: number | null;
  namespace_tids: number[] | null; // from ours inwards
  cgroup: string | null;
  frozen: boolean | null;
  time_limit: TimeLimit | null;
}

/** What is out of the ordinary about a process as a whole. */
export interface Condition {
  marks: string[]; // kernel_thread zombie main_thread_gone vfork_parent stopped frozen traced
  tracer_pid: number | null;
  frozen: boolean | null;
  cgroup: string | null;
  namespace_pid: number | null;
}

export interface ProcessRef { pid: number; start_time: Seconds; name: string; role: Role }

/** GET /processes/{pid}/threads?sort&order&state&name&pool&limit&offset&sparkline */
export interface Threads {
  process: ProcessRef;
  taken_at: string;
  sequence: number;
  interval_seconds: Seconds | null;
  total: number; // after the filters
  all: number; // before them
  counts: Record<ThreadState, number>; // of the whole process
  pools: Record<string, number>; // threads of each pool, of the whole process
  peak: number;
  started_total: number;
  started_exact: boolean;
  ended_total: number;
  watched_since: string;
  truncated: boolean;
  cpu_ratio: Ratio | null;
  rss_bytes: Bytes | null;
  heap: { net_bytes: number; ended_threads: number } | null;
  condition: Condition | null;
  threads: Thread[];
  unknown: UnknownMap;
}

/** GET /processes/{pid}/threads/{tid} */
export interface ThreadDetail {
  process: ProcessRef;
  taken_at: string;
  thread: Thread;
  details: Details | null;
  unknown: UnknownMap;
  /** Columns; null is a gap. times are seconds before taken_at, negative, oldest first. */
  history: { times: Seconds[]; cpu_ratio: (number | null)[]; run_delay_ratio: (number | null)[]; voluntary_switches: (number | null)[]; involuntary_switches: (number | null)[] };
}

export interface Sizes { virtual_bytes: Bytes; resident_bytes: Bytes | null; proportional_bytes: Bytes | null; private_bytes: Bytes | null }

/** A limit of setrlimit. */
export interface MemoryLimit {
  bytes: Bytes | null;
  unlimited: boolean;
}

/** How much a process has had at most, and may have. */
export interface MemoryBounds {
  peak_resident_bytes: Bytes | null;
  data_limit: MemoryLimit | null; // brk and private writable mappings
  address_space_limit: MemoryLimit | null;
}

/** GET /processes/{pid}/memory?regions=true */
export interface Memory {
  process: ProcessRef;
  taken_at: string;
  shared: { heap: Sizes; code: Sizes; globals: Sizes; mapped_files: Sizes; shared_memory: Sizes; other: Sizes };
  per_thread: { stacks: Sizes; guards: Sizes };
  total: Sizes;
  kernel: { rollup: Sizes | null; statm_virtual_bytes: Bytes; statm_resident_bytes: Bytes };
  bounds: MemoryBounds | null;
  threads: {
    tid: number; name: string; pool: string | null; state: ThreadState | null;
    found_by: "exact" | "stack_pointer" | "guess" | null;
    stack: Stack | null; heap: Heap | null; unknown: Record<string, string>;
  }[];
  regions: { start: string; end: string; kind: string; permissions: string; name: string; owner_tid: number | null; found_by: string | null; sizes: Sizes }[];
  unknown: UnknownMap;
}

export interface Spread { count: number; mean_seconds: Seconds; p50_seconds: Seconds; p90_seconds: Seconds; p99_seconds: Seconds; max_seconds: Seconds }

export interface Pool {
  name: string;
  kind: "stealing" | "shared-channel";
  size: number; active: number; queue_depth: number; queue_capacity: number;
  policy: "block" | "reject";
  submitted: number; done: number; panicked: number; rejected: number; abandoned: number;
  queue_wait: Spread; service: Spread;
  workers: { tid: number; name: string; done: number; stolen: number; parked: boolean; task: string | null }[];
}
/** GET /pools · GET /pools/{name} is one Pool */
export interface Pools { pools: Pool[]; workbench_pid: number | null }

export interface LoadProgress {
  name: string; workload: string; pool: string; executor: "open" | "closed";
  arrived: number; done: number; shed: number; late: number; cancelled: number; panicked: number; outstanding: number;
  verified: number; wrong: number;
  target: number; throughput: number;
  lag: Spread; queue: Spread; service: Spread; response: Spread;
}

export interface Run {
  id: string;
  scenario: string;
  phase: "preparing" | "running" | "draining" | "finished" | "stopped" | "failed";
  started_at: string;
  ended_at: string | null;
  elapsed_seconds: Seconds;
  planned_seconds: Seconds | null; // null: endless
  seed: number;
  rate_factor: number;
  loads: LoadProgress[];
  verdict: "pass" | "fail" | "invalid" | null;
  messages: string[];
}
/** GET /runs, newest first. POST /runs {scenario} or {toml} (+seed) → 201 Run. PATCH /runs/{id} {rate_factor} → Run. DELETE → 202 Run */
export interface Runs { runs: Run[] }

/** GET /runs/{id}/report.json, the part that the page shows. A run that failed has no thresholds and no series. */
export interface Report {
  loads?: { name: string; heap_peak_bytes: Bytes | null; facts: Fact[] }[];
  thresholds?: { load: string | null; require: string; kept: boolean; shown: string | null }[];
  series?: { at_seconds: Seconds[]; width_seconds: Seconds[]; loads: Record<string, Record<string, (number | null)[]>> };
}

/** What one part of a load's mix measured of itself. Unit "1": a plain number, or a share of one. */
export interface Fact { part: number; workload: string; name: string; unit: string; meaning: string; value: number | null }

/** GET /scenarios */
export interface Scenarios { scenarios: { name: string; description: string; seconds: Seconds | null; toml: string; problems: ValidationProblem[] }[] }
/** POST /scenarios/validate {toml} */
export interface ValidationProblem { line: number; column: number; field: string; message: string; suggestion: string | null }
export interface Validation { valid: boolean; problems: ValidationProblem[] }

/** GET /workloads */
export interface Workloads {
  workloads: {
    name: string; title: string; summary: string; shared: string; per_thread: string; checked: string; notes: string;
    parameters: { name: string; meaning: string; unit: string; kind: "integer" | "number" | "choice" | "flag"; min: number | null; max: number | null; choices: string[] | null; default: string }[];
    input_example: unknown; output_example: unknown;
  }[];
}

/** GET /history?process=PID[&thread=TID]&series=cpu_ratio,threads[&from=-300&to=0&step=1] : seconds before now */
export interface History {
  process: ProcessRef;
  thread: number | null;
  times: Seconds[]; // seconds before the answer's taken_at, negative
  taken_at: string;
  step_seconds: Seconds;
  series: Record<string, (number | null)[]>;
  unknown: UnknownMap;
}

/** How a frame was found, from certain to guessed. */
export type Trust = "context" | "unwound" | "frame_pointer" | "recovered" | "guessed";

/** One function of a stack; inlined ones stand before the one that holds them. */
export interface Frame {
  address: string; // hex
  function: string | null;
  offset: number | null; // bytes into the function; null for inlined ones
  file: string | null;
  line: number | null;
  inlined: boolean;
  module: string | null;
  module_address: string | null;
  trust: Trust;
}

/** Where and why a walk ended. */
export interface End { complete: boolean; code: string; why: string }

export interface FoldedStack {
  count: number;
  tids: number[];
  states: Partial<Record<ThreadState, number>>;
  frames: Frame[]; // innermost first
  end: End;
  source: "syscall" | "sample" | "pause";
  moved: boolean;
}

export interface StackThread {
  tid: number;
  name: string;
  state: ThreadState;
  state_letter: string;
  java_state: string | null; // as java.lang.Thread.State has it
  stack: number | null; // place in `stacks`
  unknown: Unknown | null;
}

/** GET /processes/{pid}/stacks?pause&max_depth&tid */
export interface Stacks {
  process: ProcessRef;
  taken_at: string;
  took_seconds: Seconds;
  total: number;
  truncated: boolean;
  paused: number; // threads that were stopped for a moment
  stacks: FoldedStack[]; // most threads first
  threads: StackThread[]; // in tid order
  unknown: UnknownMap;
}

export interface Owner {
  kind: "thread" | "ended" | "foreign";
  tid: number | null;
  name: string | null;
  recorded_tid: number | null;
  proof: string | null; // recorded futex_word join_target ledger kernel_lock likely
  proved: boolean;
}

export interface Place {
  kind: string; // global mapping heap stack shared_memory thread_block unknown
  text: string;
  module: string | null;
  symbol: string | null;
  offset: number | null;
  tid: number | null;
}

export interface Lock {
  id: number;
  address: string;
  kind: string;
  flags: string[];
  place: Place;
  owner: Owner | null;
  owner_unknown: Unknown | null;
  readers: number | null;
  told_by: string;
  state: string;
  waiters: number[];
}

/** A thread that holds what somebody waits for. */
export interface Holder { tid: number; name: string; locks: number[] }

export interface LockWait {
  tid: number;
  name: string;
  lock: number;
  mode: "exclusive" | "shared" | "signal" | "end";
  timed: boolean;
  function: string | null;
}

export interface CycleStep { tid: number; name: string; holds: number; wants: number; frames: Frame[] | null }
export interface Deadlock { confirmed: boolean; threads: CycleStep[] }
export interface ChainLink { tid: number; name: string; lock: number; owner_tid: number | null; proof: string | null }
export interface Root { tid: number; name: string; frames: Frame[] | null }
export interface Chain { links: ChainLink[]; root: Root | null; root_doing: string; behind_root: number }

/** GET /processes/{pid}/locks */
export interface Locks {
  process: ProcessRef;
  taken_at: string;
  total: number;
  truncated: boolean;
  confirmed_after_seconds: Seconds | null;
  deadlocks: Deadlock[];
  chains: Chain[];
  locks: Lock[]; // most waiters first
  waits: LockWait[]; // in tid order
  holders: Holder[]; // in tid order
  unknown: UnknownMap;
}

export type Severity = "notice" | "warning" | "critical";

export interface Finding {
  kind: string;
  severity: Severity;
  pid: number;
  process_name: string;
  since: string;
  lasted_seconds: Seconds;
  culprits: number[]; // at most 64, of culprit_count
  culprit_count: number;
  summary: string;
  evidence: { name: string; value: number | null; unit: string }[];
  frames: Frame[] | null; // where all culprits stand, when that is one place
  rule: string;
}

/** GET /findings · GET /processes/{pid}/findings */
export interface Findings { taken_at: string; findings: Finding[] }

/** What became of a finding: it came, it is still there with other figures, it is over. */
export type FindingNews = Finding & { state: "raised" | "changed" | "cleared" };

/** Errors: application/problem+json, RFC 9457. */
export interface Problem { type: string; title: string; status: number; detail: string; field?: string; fix?: string; problems?: ValidationProblem[] }

/**
 * GET /events?process=PID&interval=1 : text/event-stream. Ids grow; Last-Event-ID resumes, and when
 * events were missed the first event is `missed` {"count": n}.
 */
export type Event =
  | { event: "hello"; data: { version: string; boot_id: string; started_at: string } }
  /** A tick of the watched process: totals; the page fetches rows it shows. */
  | { event: "snapshot"; data: { process: ProcessRef; sequence: number; taken_at: string; interval_seconds: Seconds | null; threads: number; counts: Record<ThreadState, number>; cpu_ratio: Ratio | null; rss_bytes: Bytes | null; peak: number; started_total: number } }
  /** A process that was watched has ended. */
  | { event: "gone"; data: { process: ProcessRef } }
  | { event: "run"; data: Run }
  | { event: "pools"; data: Pools }
  | { event: "health"; data: Health }
  | { event: "finding"; data: FindingNews }
  | { event: "missed"; data: { count: number } };

// ---- Decoding: JSON is checked here, once; nothing past this line is `any`. ----

const seconds = number as Decoder<Seconds>;
const bytes = number as Decoder<Bytes>;
const ratio = number as Decoder<Ratio>;
const role = oneOf("daemon", "workbench", "other");
export const threadStates = [
  "runnable", "sleeping", "disk_sleep", "stopped", "traced", "zombie", "dead", "idle", "parked",
] as const satisfies readonly ThreadState[];
const threadState = oneOf(...threadStates);
const stateCounts: Decoder<Record<ThreadState, number>> = (value, path) => {
  const given = record(number)(value, path);
  return Object.fromEntries(threadStates.map((state) => [state, given[state] ?? 0])) as Record<ThreadState, number>;
};

const unknown = object<Unknown>({
  reason: oneOf("denied", "gone", "unsupported", "not_applicable"),
  code: string, why: string, need: nullable(string), fix: nullable(string), threads: optional(number) as Decoder<number>,
});
const unknownMap: Decoder<UnknownMap> = record(unknown);

export const decodeHealth = object<Health>({
  status: oneOf("ok", "degraded"), version: string, boot_id: string, started_at: string, uptime_seconds: seconds,
  problems: list(object({ code: string, message: string, fix: nullable(string) })),
  cost: object<Health["cost"]>({
    cpu_ratio: nullable(ratio), rss_bytes: nullable(bytes), sampler_lateness_seconds: seconds,
    sampler_cpu_seconds_total: seconds, snapshots_total: number, watched: number,
  }),
});

export const decodeCapabilities = object<Capabilities>({
  sources: list(object({ name: string, works: boolean, scope: string, reason: nullable(string), need: nullable(string), fix: nullable(string) })),
  locks: absentIsNull(list(object({ kind: string, owner_provable: boolean, why: string }))),
});

const severity = oneOf("notice", "warning", "critical");
/** An older daemon finds nothing. */
const findingMarks: Decoder<FindingMark[]> = (value, path) => absentIsNull(list(object<FindingMark>({ kind: string, severity })))(value, path) ?? [];

const process = object<Process>({
  pid: number, start_time: seconds, ppid: number, name: string, exe: nullable(string), user: nullable(string), role, state: string,
  threads: nullable(number), cpu_ratio: nullable(ratio), rss_bytes: nullable(bytes), findings: findingMarks, unknown: unknownMap,
});
export const decodeProcess = process;

const loadAverage: Decoder<[number, number, number]> = (value, path) => {
  const [one, five, fifteen] = list(number)(value, path);
  if (one === undefined || five === undefined || fifteen === undefined) throw new DecodeError(path, "three numbers", value);
  return [one, five, fifteen];
};

export const decodeProcesses = object<Processes>({
  taken_at: string,
  machine: object<Machine>({
    hostname: string, kernel: string, boot_id: string, cpus: number, memory_bytes: nullable(bytes), available_bytes: nullable(bytes),
    cpu_ratio: nullable(ratio), load_average: nullable(loadAverage),
  }),
  total: number, hidden: nullable(number), processes: list(process),
});

const wait = object<Wait>({
  kind: string, syscall: nullable(string), address: nullable(string), kernel_function: nullable(string),
  object: absentIsNull(object<WaitObject>({ kind: string, fd: absentIsNull(number), name: string })), timed: absentIsNull(boolean), lock: nullable(string), owner_tid: nullable(number),
});
const stack = object<Stack>({
  start: string, end: string, reserved_bytes: bytes, resident_bytes: nullable(bytes), used_bytes: nullable(bytes), guard_bytes: nullable(bytes),
});
const heap = object<Heap>({ allocated_bytes: bytes, freed_bytes: bytes, allocations: number, frees: number });
const task = object<Task>({
  pool: string, workload: nullable(string), id: nullable(number), age_seconds: nullable(seconds), done: number,
  queue_seconds_total: seconds, service_seconds_total: seconds,
});

const thread = object<Thread>({
  tid: number, name: string, name_bytes: absentIsNull(string), start_time: seconds, state: threadState, state_letter: string, pool: nullable(string),
  cpu_ratio: nullable(ratio), user_seconds: nullable(seconds), system_seconds: nullable(seconds), on_cpu_seconds: nullable(seconds),
  run_delay_seconds: nullable(seconds), run_delay_ratio: nullable(ratio), timeslices: nullable(number),
  voluntary_switches: nullable(number), involuntary_switches: nullable(number), minor_faults: nullable(number), major_faults: nullable(number),
  last_cpu: nullable(number), nice: nullable(number), policy: nullable(string), rt_priority: nullable(number), allowed_cpus: nullable(string),
  wait: nullable(wait), stack: nullable(stack), heap: nullable(heap), task: nullable(task),
  java_state: absentIsNull(string), suspended: absentIsNull(string), in_kernel: absentIsNull(string),
  unknown: record(string), sparkline: optional(list(nullable(number))) as Decoder<(number | null)[]>,
});

const processRef = object<ProcessRef>({ pid: number, start_time: seconds, name: string, role });

export const decodeThreads = object<Threads>({
  process: processRef, taken_at: string, sequence: number, interval_seconds: nullable(seconds), total: number, all: number,
  counts: stateCounts, pools: record(number), peak: number, started_total: number, started_exact: boolean, ended_total: number,
  watched_since: string, truncated: boolean, cpu_ratio: nullable(ratio), rss_bytes: nullable(bytes),
  heap: nullable(object({ net_bytes: number, ended_threads: number })),
  condition: absentIsNull(object<Condition>({
    marks: list(string), tracer_pid: nullable(number), frozen: nullable(boolean), cgroup: nullable(string), namespace_pid: nullable(number),
  })), threads: list(thread), unknown: unknownMap,
});

const column = list(nullable(number));
export const decodeThreadDetail = object<ThreadDetail>({
  process: processRef, taken_at: string, thread, unknown: unknownMap,
  details: absentIsNull(object<Details>({
    signals: nullable(object<Signals>({ pending: list(string), pending_shared: list(string), blocked: list(string), ignored: list(string), caught: list(string) })),
    tracer_pid: nullable(number), namespace_tids: nullable(list(number)), cgroup: nullable(string), frozen: nullable(boolean),
    time_limit: nullable(object<TimeLimit>({ words: string, clock: string, seconds: nullable(seconds), absolute: boolean })),
  })),
  history: object<ThreadDetail["history"]>({
    times: list(seconds), cpu_ratio: column, run_delay_ratio: column, voluntary_switches: column, involuntary_switches: column,
  }),
});

const sizes = object<Sizes>({
  virtual_bytes: bytes, resident_bytes: nullable(bytes), proportional_bytes: nullable(bytes), private_bytes: nullable(bytes),
});
const memoryLimit = object<MemoryLimit>({ bytes: nullable(bytes), unlimited: boolean });
export const decodeMemory = object<Memory>({
  process: processRef, taken_at: string,
  shared: object<Memory["shared"]>({ heap: sizes, code: sizes, globals: sizes, mapped_files: sizes, shared_memory: sizes, other: sizes }),
  per_thread: object<Memory["per_thread"]>({ stacks: sizes, guards: sizes }),
  total: sizes,
  kernel: object<Memory["kernel"]>({ rollup: nullable(sizes), statm_virtual_bytes: bytes, statm_resident_bytes: bytes }),
  bounds: absentIsNull(object<MemoryBounds>({
    peak_resident_bytes: nullable(bytes), data_limit: nullable(memoryLimit), address_space_limit: nullable(memoryLimit),
  })),
  threads: list(object<Memory["threads"][number]>({
    tid: number, name: string, pool: nullable(string), state: nullable(threadState),
    found_by: nullable(oneOf("exact", "stack_pointer", "guess")), stack: nullable(stack), heap: nullable(heap), unknown: record(string),
  })),
  regions: list(object<Memory["regions"][number]>({
    start: string, end: string, kind: string, permissions: string, name: string, owner_tid: nullable(number), found_by: nullable(string), sizes,
  })),
  unknown: unknownMap,
});

const spread = object<Spread>({
  count: number, mean_seconds: seconds, p50_seconds: seconds, p90_seconds: seconds, p99_seconds: seconds, max_seconds: seconds,
});
const pool = object<Pool>({
  name: string, kind: oneOf("stealing", "shared-channel"), size: number, active: number, queue_depth: number, queue_capacity: number,
  policy: oneOf("block", "reject"), submitted: number, done: number, panicked: number, rejected: number, abandoned: number,
  queue_wait: spread, service: spread,
  workers: list(object<Pool["workers"][number]>({ tid: number, name: string, done: number, stolen: number, parked: boolean, task: nullable(string) })),
});
export const decodePools = object<Pools>({ pools: list(pool), workbench_pid: nullable(number) });

export const decodeRun = object<Run>({
  id: string, scenario: string, phase: oneOf("preparing", "running", "draining", "finished", "stopped", "failed"), started_at: string,
  ended_at: nullable(string), elapsed_seconds: seconds, planned_seconds: nullable(seconds), seed: number, rate_factor: number,
  loads: list(object<LoadProgress>({
    name: string, workload: string, pool: string, executor: oneOf("open", "closed"),
    arrived: number, done: number, shed: number, late: number, cancelled: number, panicked: number, outstanding: number,
    verified: number, wrong: number, target: number, throughput: number, lag: spread, queue: spread, service: spread, response: spread,
  })),
  verdict: nullable(oneOf("pass", "fail", "invalid")), messages: list(string),
});
export const decodeRuns = object<Runs>({ runs: list(decodeRun) });
const fact = object<Fact>({ part: number, workload: string, name: string, unit: string, meaning: string, value: nullable(number) });
/** Reports of earlier versions tell no facts. */
const facts: Decoder<Fact[]> = (value, path) => (value === undefined ? [] : list(fact)(value, path));
export const decodeReport = object<Report>({
  loads: optional(list(object({ name: string, heap_peak_bytes: absentIsNull(bytes), facts }))) as Decoder<NonNullable<Report["loads"]>>,
  thresholds: optional(list(object({ load: nullable(string), require: string, kept: boolean, shown: absentIsNull(string) }))) as Decoder<NonNullable<Report["thresholds"]>>,
  series: optional(object<NonNullable<Report["series"]>>({
    at_seconds: list(seconds), width_seconds: list(seconds), loads: record(record(column)),
  })) as Decoder<NonNullable<Report["series"]>>,
});

const validationProblem = object<ValidationProblem>({ line: number, column: number, field: string, message: string, suggestion: nullable(string) });
export const decodeScenarios = object<Scenarios>({
  scenarios: list(object<Scenarios["scenarios"][number]>({
    name: string, description: string, seconds: nullable(seconds), toml: string, problems: list(validationProblem),
  })),
});

export const decodeProblem = object<Problem>({
  type: string, title: string, status: number, detail: string, field: optional(string) as Decoder<string>,
  fix: optional(string) as Decoder<string>, problems: optional(list(validationProblem)) as Decoder<ValidationProblem[]>,
});

export const decodeHistory = object<History>({
  process: processRef, thread: nullable(number), times: list(seconds), taken_at: string, step_seconds: seconds,
  series: record(column), unknown: unknownMap,
});

const frame = object<Frame>({
  address: string, function: nullable(string), offset: nullable(number), file: nullable(string), line: nullable(number), inlined: boolean,
  module: nullable(string), module_address: nullable(string), trust: oneOf("context", "unwound", "frame_pointer", "recovered", "guessed"),
});
const frames = nullable(list(frame));
/** An older daemon tells none. */
const holders: Decoder<Holder[]> = (value, path) => absentIsNull(list(object<Holder>({ tid: number, name: string, locks: list(number) })))(value, path) ?? [];
const statesOfStack: Decoder<FoldedStack["states"]> = (value, path) => {
  const given = record(number)(value, path);
  return Object.fromEntries(threadStates.filter((state) => (given[state] ?? 0) > 0).map((state) => [state, given[state]]));
};
export const decodeStacks = object<Stacks>({
  process: processRef, taken_at: string, took_seconds: seconds, total: number, truncated: boolean, paused: number,
  stacks: list(object<FoldedStack>({
    count: number, tids: list(number), states: statesOfStack, frames: list(frame), end: object<End>({ complete: boolean, code: string, why: string }),
    source: oneOf("syscall", "sample", "pause"), moved: boolean,
  })),
  threads: list(object<StackThread>({ tid: number, name: string, state: threadState, state_letter: string, java_state: absentIsNull(string), stack: nullable(number), unknown: nullable(unknown) })),
  unknown: unknownMap,
});

export const decodeLocks = object<Locks>({
  process: processRef, taken_at: string, total: number, truncated: boolean, confirmed_after_seconds: nullable(seconds),
  deadlocks: list(object<Deadlock>({
    confirmed: boolean, threads: list(object<CycleStep>({ tid: number, name: string, holds: number, wants: number, frames })),
  })),
  chains: list(object<Chain>({
    links: list(object<ChainLink>({ tid: number, name: string, lock: number, owner_tid: nullable(number), proof: nullable(string) })),
    root: nullable(object<Root>({ tid: number, name: string, frames })), root_doing: string, behind_root: number,
  })),
  locks: list(object<Lock>({
    id: number, address: string, kind: string, flags: list(string),
    place: object<Place>({ kind: string, text: string, module: nullable(string), symbol: nullable(string), offset: nullable(number), tid: nullable(number) }),
    owner: nullable(object<Owner>({
      kind: oneOf("thread", "ended", "foreign"), tid: nullable(number), name: nullable(string), recorded_tid: nullable(number), proof: nullable(string), proved: boolean,
    })),
    owner_unknown: nullable(unknown), readers: nullable(number), told_by: string, state: string, waiters: list(number),
  })),
  waits: list(object<LockWait>({
    tid: number, name: string, lock: number, mode: oneOf("exclusive", "shared", "signal", "end"), timed: boolean, function: nullable(string),
  })),
  holders, unknown: unknownMap,
});

const findingFields: { [K in keyof Finding]-?: Decoder<Finding[K]> } = {
  kind: string, severity, pid: number, process_name: string, since: string, lasted_seconds: seconds, culprits: list(number), culprit_count: number,
  summary: string, evidence: list(object({ name: string, value: nullable(number), unit: string })), frames, rule: string,
};
export const decodeFindings = object<Findings>({ taken_at: string, findings: list(object<Finding>(findingFields)) });

type DataOf<Name extends Event["event"]> = Extract<Event, { event: Name }>["data"];
const eventData: { [Name in Event["event"]]: Decoder<DataOf<Name>> } = {
  hello: object<DataOf<"hello">>({ version: string, boot_id: string, started_at: string }),
  snapshot: object<DataOf<"snapshot">>({
    process: processRef, sequence: number, taken_at: string, interval_seconds: nullable(seconds), threads: number, counts: stateCounts,
    cpu_ratio: nullable(ratio), rss_bytes: nullable(bytes), peak: number, started_total: number,
  }),
  gone: object<DataOf<"gone">>({ process: processRef }),
  run: decodeRun,
  pools: decodePools,
  health: decodeHealth,
  finding: object<FindingNews>({ ...findingFields, state: oneOf("raised", "changed", "cleared") }),
  missed: object<DataOf<"missed">>({ count: number }),
};
export const eventNames = Object.keys(eventData) as Event["event"][];

/** One message of the stream. Throws `DecodeError` (or `SyntaxError` where it is not JSON). */
export function decodeEvent(name: Event["event"], text: string): Event {
  return { event: name, data: eventData[name](JSON.parse(text), name) } as Event;
}
