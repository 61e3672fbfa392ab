// The document of a report: run.json as it is written, pictures of labs, sweep.json. Times of run.json are nominal.

export interface Priority {
  frames_tx: number; frames_rx: number; bytes_tx: number; bytes_rx: number;
  drops: Record<string, number>;
  pause_tx: number; pause_rx: number; paused_ns: number; credit_wait_ns: number;
  queue_bytes: number; queue_bytes_max: number; headroom_bytes_max: number; ingress_bytes_max: number; shared_bytes_max: number;
  ecn_marked: number; demoted: number; paused: boolean;
}
export interface Port { rate_bps: number; priorities: Record<string, Priority> }
export interface Measured { time_us: number; algbw_gbytes_per_s: number; busbw_gbytes_per_s: number; wrong: number | null; percent_of_ideal: number | null }
export interface Row extends Measured { size_bytes: number; count: number; type: string; redop: string; root: number; in_place: Measured | null }
export interface Flow {
  src: string; dst: string; bytes: number; in_place: boolean; iterations: number;
  start_ns: number; completion_ns: number | null; duration_ns: number | null; goodput_bps: number;
}
export interface Spread { mean: number; p50: number; p95: number; p99: number; max: number }
export interface FlowClass { least_bytes: number; most_bytes: number; count: number; finished: number; fct_us: Spread | null; slowdown: Spread | null }
export interface FlowTime { src: string; dst: string; priority: number; bytes: number; start_us: number; fct_us: number | null; alone_us: number; slowdown: number | null }
export interface Job {
  name: string; ranks: string[]; start_us: number | null; end_us: number | null;
  iterations: { time_us: number; exposed_us: number; hidden_us: number }[];
  exposed_us: number; hidden_us: number; busbw_gbytes_per_s: number | null;
  steps: { step: number; collective: string; algorithm: string; size_bytes: number; groups: number; time_us: number; busbw_gbytes_per_s: number }[];
  wrong: number | null; alone_us: number | null; slowdown: number | null;
}
export interface Group { port: string; priority: number; xoff_bytes: number | null; xon_bytes: number | null; headroom_bytes: number | null; [key: string]: unknown }
export interface SwitchSettings { buffer_bytes: number; groups: Group[]; [key: string]: unknown }
export interface LinkFacts { link: string; rate_bps: number; carrier: boolean; length_m: number | null; delay_ns: number; frame_loss: number[]; optics: Record<string, unknown> | null; [key: string]: unknown }
export interface PoweredLink { profile: string; watts: number; joules: number; nominal_pj_per_bit: number | null; useful_pj_per_bit?: number | null; useful_bits: number; cost_per_petabyte?: number | null }
export interface Interval { port: string; priority: number; from_ps: number; to_ps: number | null; by: string; causes: [number, number][]; reason: string | null; root?: number | null }
export interface Root {
  reason: string; at: string; priority: number; from_ps: number; to_ps: number | null; intervals: number; ports: string[]; paused_ps: number;
  victims: { flows: number; listed: { src: string; dst: string }[] }; sentence: string;
}
export interface Expectation { text: string; held: boolean; explanation: string }
export interface Run {
  lab: string; seed: number; clock: string; dilation: number; versions: Record<string, string>; replay: string;
  verdict: { lossless: boolean; trusted: boolean; correct: boolean; complete: boolean; deadlock: boolean; passed: boolean; reasons: string[]; advice: string };
  event_log_hash: string | null;
  collective: { name: string; algorithm: string; ranks: number; root: number; rows: Row[] };
  ranks: { rank: number; host: string; port: string; domain: string | null; site: string | null }[];
  jobs: Job[]; makespan_us: number | null; bytes_by_reach: Record<string, number> | null;
  flow_completion: { sizes: string; load: Record<string, number> | null; all: FlowClass; by_size: FlowClass[]; flows: FlowTime[] } | null;
  flows: Flow[]; ports: Record<string, Port>; pools: Record<string, Record<string, number>>;
  watchdog: { port: string; priority: number; detected_ns: number; restored_ns: number | null; dropped: number; explanation: string }[];
  qps: Record<string, unknown>[]; drops: Record<string, number>;
  deadlocks: Record<string, unknown>[];
  impairments: { link: string; to: string; asked_ns: number; at_ns: number | null; set: Record<string, unknown>; label: string }[];
  fidelity: Record<string, unknown> | null;
  energy: { links?: Record<string, PoweredLink>; watts?: number; joules?: number; nominal_pj_per_bit?: number | null; useful_pj_per_bit?: number | null; cost_per_petabyte?: number | null };
  in_force: { switches?: Record<string, SwitchSettings>; receivers?: Record<string, unknown>; [key: string]: unknown };
  links: LinkFacts[]; hints: { key: string; text: string }[];
  pauses?: { intervals: Interval[]; omitted: number; roots: Root[] } | null;
  expectations?: Expectation[];
  settings?: { lab: Record<string, unknown>; experiment: Record<string, unknown> } | null;
  addresses?: Record<string, { mac: string; ip: string }>;
  provenance?: Record<string, unknown> | null;
}
export interface FabricLink { a: string; b: string; path: string; from: string }
export interface Fabric {
  width: number; height: number; box: number;
  nodes: { name: string; kind: "host" | "switch"; x: number; y: number; w: number }[];
  links: FabricLink[];
  frames: { kind: string; name: string; left: number; top: number; width: number; height: number }[];
}
/** A step function: at these points it took these values, and held each until the next. */
export interface Changes { at: number[]; value: number[] }
/** What was recorded over time: point k is the instant k periods after the start of the first workload. */
export interface Series { period_ns: number; points: number; columns: ({ kind: "port" | "qp" | "rank"; name: string; priority: number; quantity: string } & Changes)[] }
/** A run as a report shows it; `verdict` is the line that ends its table, `pauses` sentences of the roots that matter. */
export interface ShownRun { name: string; verdict: string; pauses: string[]; run: Run; fabric: Fabric | null; series: Series | null }

export interface Figures { [key: string]: number | boolean | null | Record<string, number> }
export interface SweepRow { settings: Record<string, string>; verdict: string; reasons: string[]; figures: Figures | null; replay: string }
export interface Sweep {
  lab: string; seed: number; versions: Record<string, string>; replay: string; over: Record<string, string[]>;
  rows: SweepRow[]; best_by: string[]; best: { where: Record<string, string>; row: number | null; near: number[] }[];
}
export interface ShownSweep { name: string; sweep: Sweep }
export interface Report { title: string; runs: ShownRun[]; sweeps: ShownSweep[] }

/** Read the document out of the page. */
export async function readDocument(): Promise<Report> {
  const text = document.getElementById("data")?.textContent ?? "";
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(stream).json()) as Report;
}

/** Return how long a run was, in nominal ns: until the last that is known of it. */
export function duration(run: Run): number {
  const seen = [
    ...run.flows.map((flow) => flow.completion_ns ?? 0),
    ...run.jobs.map((job) => (job.end_us ?? 0) * 1e3),
    ...(run.flow_completion?.flows ?? []).map((flow) => (flow.start_us + (flow.fct_us ?? 0)) * 1e3),
    ...(run.pauses?.intervals ?? []).map((interval) => (interval.to_ps ?? interval.from_ps) / 1e3),
    ...run.impairments.map((change) => change.at_ns ?? 0),
    ...run.watchdog.map((storm) => storm.restored_ns ?? storm.detected_ns),
  ];
  return seen.reduce((a, b) => Math.max(a, b), 0);
}

/** A port with one of its priorities. */
export interface PortPriority { port: string; priority: string; rate: number; counters: Priority }

/** Return every priority of every port that had something. */
export function priorities(run: Run): PortPriority[] {
  return Object.entries(run.ports).flatMap(([port, facts]) =>
    Object.entries(facts.priorities).map(([priority, counters]) => ({ port, priority, rate: facts.rate_bps, counters })));
}

/** Return how many frames a priority of a port lost. */
export const lost = (counters: Priority): number => Object.values(counters.drops).reduce((a, b) => a + b, 0);

/** Return the value of a step function at a point; 0 before its first change. */
export function at(changes: Changes, point: number): number {
  let [low, high] = [0, changes.at.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((changes.at[middle] as number) <= point) low = middle + 1;
    else high = middle;
  }
  return low ? (changes.value[low - 1] as number) : 0;
}

/** Return one column of a series; one that was never other than 0 has no changes. */
export function changes(series: Series, kind: string, name: string, priority: number, quantity: string): Changes {
  return series.columns.find((each) => each.kind === kind && each.name === name && each.priority === priority && each.quantity === quantity) ?? { at: [], value: [] };
}
