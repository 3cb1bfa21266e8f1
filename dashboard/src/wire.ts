/**
 * The shapes of the REST API under /api/v1, as outsiders see them. One contract with
 * src/http/wire.rs; a drift test holds both against the OpenAPI document.
 * Unknown is null; `unknown` says why. Times are seconds, sizes bytes, wall clocks RFC 3339.
 */

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
  unknown: UnknownMap;
}

export interface Machine {
  hostname: string;
  kernel: string;
  boot_id: string;
  cpus: number;
  memory_bytes: Bytes;
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

export interface Wait {
  kind: string; // futex poll read write sleep child signal socket io other
  syscall: string | null;
  address: string | null; // hex
  kernel_function: string | null;
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
  /** field path to code, for what is null in this row. */
  unknown: Record<string, string>;
  /** With `?sparkline=N`: the newest N values of cpu_ratio, oldest first. */
  sparkline?: (number | null)[];
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
  threads: Thread[];
  unknown: UnknownMap;
}

/** GET /processes/{pid}/threads/{tid} */
export interface ThreadDetail {
  process: ProcessRef;
  taken_at: string;
  thread: Thread;
  unknown: UnknownMap;
  /** Columns; null is a gap. times are seconds before taken_at, negative, oldest first. */
  history: { times: Seconds[]; cpu_ratio: (number | null)[]; run_delay_ratio: (number | null)[]; voluntary_switches: (number | null)[]; involuntary_switches: (number | null)[] };
}

export interface Sizes { virtual_bytes: Bytes; resident_bytes: Bytes | null; proportional_bytes: Bytes | null; private_bytes: Bytes | null }

/** GET /processes/{pid}/memory?regions=true */
export interface Memory {
  process: ProcessRef;
  taken_at: string;
  shared: { heap: Sizes; code: Sizes; globals: Sizes; mapped_files: Sizes; shared_memory: Sizes; other: Sizes };
  per_thread: { stacks: Sizes; guards: Sizes };
  total: Sizes;
  kernel: { rollup: Sizes | null; statm_virtual_bytes: Bytes; statm_resident_bytes: Bytes };
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
  | { event: "missed"; data: { count: number } };
