// What agents send, read with suspicion: whoever may write on the bus, and whatever it writes, must not break the page.
// `testbed schema telemetry` has the shapes. Texts are cut, numbers are finite, and what does not fit is one malformed message.

import type { Fabric, LinkFacts } from "../model";

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const PORT = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}:[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const PATH = /^[MLCVH0-9 ,.-]{1,400}$/;
const TEXT = 400;
const MOST_PORTS = 20_000;
const MOST_PIXELS = 1_000_000;
const MOST_LISTED = 64;

/** What a priority of a port has counted, and is at. */
export interface Figures { bytesTx: number; bytesRx: number; queue: number; held: number; paused: boolean; pausedNs: number; dropped: number }
/** What happened between two looks. */
export type Happening =
  | { what: "drops"; port: string; priority: number; cause: string; frames: number }
  | { what: "pause"; port: string; priority: number; state: string; pausedNs: number };
interface Head { lab: string; agent: string; session: string; seq: number; at: string; nominalNs: number | null }
export interface Live extends Head { kind: "live"; nominalNs: number; full: boolean; ports: Map<string, Figures>; happened: Happening[]; leftOut: number }
export interface Topology extends Head { kind: "topology"; dilation: number; fabric: Fabric | null; links: LinkFacts[] }
export interface Progress { row: number; rows: number; sizeBytes: number; nominalNs: number; rate: number; share: number | null; leftS: number | null; ranks: number; finished: number }
export interface Started { name: string; ranks: number; at: string; seed: number | null }
export interface Ended {
  name: string; at: string; complete: boolean; verdict: string; passed: boolean | null; exitCode: number | null; reasons: string[];
  figures: [string, number][]; nominalNs: number | null; wallS: number | null; result: string;
}
export interface State extends Head {
  kind: "state"; state: string; busy: boolean; ranks: number; finished: number; frameHops: number; drops: [string, number][]; deadlocks: number; dilation: number;
  lateNs: number | null; heldShare: number | null; current: Started | null; last: Ended | null; progress: Progress | null;
}
export interface Event extends Head {
  kind: "event"; event: string; details: string; started: Started | null; ended: Ended | null; progress: Progress | null;
}
export interface Status { kind: "status"; agent: string; isOnline: boolean }
/** What is retained on a topic was taken back. */
export interface Gone { kind: "gone"; of: "topology" | "state"; lab: string }
export type Message = Live | Topology | State | Event | Status | Gone;

/** What is wrong with a message, in words that hold nothing of it. */
export class Malformed extends Error {}

type Document = Record<string, unknown>;

function object(value: unknown, what: string): Document {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed(`${what} is not an object`);
  return value as Document;
}

function list(value: unknown, what: string, most: number): unknown[] {
  if (!Array.isArray(value) || value.length > most) throw new Malformed(`${what} is not a list of at most ${most}`);
  return value as unknown[];
}

function number(value: unknown, what: string, most = Number.MAX_VALUE): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < 0 || value > most) throw new Malformed(`${what} is not a number that can be`);
  return value;
}

const orNull = <T>(value: unknown, read: (value: unknown) => T): T | null => (value === null || value === undefined ? null : read(value));
const maybe = (value: unknown): number | null => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** Return a text of at most some hundred letters; what is none is empty. Control characters become blanks. */
export function text(value: unknown, most = TEXT): string {
  if (typeof value !== "string") return "";
  const whole = value.length > most ? `${value.slice(0, most)}…` : value;
  return whole.replace(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, " ");
}

function matching(value: unknown, pattern: RegExp, what: string): string {
  if (typeof value !== "string" || !pattern.test(value)) throw new Malformed(`${what} is not a name`);
  return value;
}

function head(document: Document, lab: string): Head {
  return {
    lab, agent: matching(document["agent"], NAME, "agent"), session: text(document["session"], 64), seq: number(document["seq"], "seq", Number.MAX_SAFE_INTEGER),
    at: text(document["at"], 40), nominalNs: maybe(document["nominal_ns"]),
  };
}

function figures(value: unknown): Figures {
  const row = list(value, "figures of a port", 64);
  const at = (index: number): number => number(row[index], "a figure of a port");
  return { bytesTx: at(0), bytesRx: at(1), queue: at(2), held: at(3), paused: at(4) > 0, pausedNs: at(5), dropped: at(9) };
}

function happening(value: unknown): Happening {
  const row = object(value, "happened");
  const where = { port: matching(row["port"], PORT, "port"), priority: number(row["priority"], "priority", 7) };
  if (row["what"] === "drops") return { what: "drops", ...where, cause: text(row["cause"], 60), frames: number(row["frames"], "frames") };
  return { what: "pause", ...where, state: text(row["state"], 20), pausedNs: number(row["paused_ns"], "paused_ns") };
}

function live(document: Document, lab: string): Live {
  const ports = new Map<string, Figures>();
  const given = Object.entries(object(document["ports"], "ports"));
  if (given.length > MOST_PORTS) throw new Malformed("too many ports");
  for (const [port, priorities] of given) {
    matching(port, PORT, "port");
    for (const [priority, row] of Object.entries(object(priorities, "a port"))) {
      if (!/^[0-7]$/.test(priority)) throw new Malformed("priority is not one");
      ports.set(`${port} ${priority}`, figures(row));
    }
  }
  return {
    kind: "live", ...head(document, lab), nominalNs: number(document["nominal_ns"], "nominal_ns"), full: document["full"] === true, ports,
    happened: list(document["happened"] ?? [], "happened", MOST_LISTED).map(happening), leftOut: maybe(document["left_out"]) ?? 0,
  };
}

function picture(value: unknown): Fabric {
  const document = object(value, "picture");
  const pixels = (item: unknown): number => {
    if (typeof item !== "number" || !(Math.abs(item) <= MOST_PIXELS)) throw new Malformed("a place is not a number that can be");
    return item;
  };
  return {
    width: pixels(document["width"]), height: pixels(document["height"]), box: pixels(document["box"]),
    nodes: list(document["nodes"], "nodes", MOST_PORTS).map((item) => {
      const node = object(item, "a node");
      return { name: matching(node["name"], NAME, "node"), kind: node["kind"] === "host" ? "host" : "switch", x: pixels(node["x"]), y: pixels(node["y"]), w: pixels(node["w"]) };
    }),
    links: list(document["links"], "links", MOST_PORTS).map((item) => {
      const link = object(item, "a link");
      const [a, b] = [matching(link["a"], PORT, "port"), matching(link["b"], PORT, "port")];
      return { a, b, path: matching(link["path"], PATH, "path"), from: link["from"] === b ? b : a };
    }),
    frames: list(document["frames"] ?? [], "frames", MOST_PORTS).map((item) => {
      const frame = object(item, "a frame");
      return {
        kind: frame["kind"] === "domain" ? "domain" : "site", name: text(frame["name"], 60),
        left: pixels(frame["left"]), top: pixels(frame["top"]), width: pixels(frame["width"]), height: pixels(frame["height"]),
      };
    }),
  };
}

function topology(document: Document, lab: string): Topology {
  const links = list(document["links"], "links", MOST_PORTS).map((item): LinkFacts => {
    const link = object(item, "a link");
    const name = `${matching(link["a"], PORT, "port")} - ${matching(link["b"], PORT, "port")}`;
    return {
      link: name, rate_bps: number(link["rate_bps"], "rate_bps"), carrier: link["carrier"] !== false, length_m: orNull(link["length_m"], (value) => number(value, "length_m")),
      delay_ns: number(link["delay_ns"], "delay_ns"), frame_loss: [], optics: null,
    };
  });
  const fabric = orNull(document["picture"], picture);
  const isSame = fabric === null || (fabric.links.length === links.length && fabric.links.every((each, index) => links[index]?.link === `${each.a} - ${each.b}`));
  if (!isSame) throw new Malformed("picture and links differ");
  return { kind: "topology", ...head(document, lab), dilation: maybe(document["dilation"]) ?? 1, fabric, links };
}

function counts(value: unknown): [string, number][] {
  return Object.entries(object(value ?? {}, "drops")).slice(0, MOST_LISTED).flatMap(([name, count]): [string, number][] => (typeof count === "number" && count > 0 ? [[text(name, 40), count]] : []));
}

function progress(value: unknown): Progress {
  const row = object(value, "progress");
  const zero = (key: string): number => Math.max(maybe(row[key]) ?? 0, 0);
  return {
    row: zero("row"), rows: zero("rows"), sizeBytes: zero("size_bytes"), nominalNs: zero("nominal_ns"), rate: zero("rate"),
    share: orNull(row["share"], (share) => number(share, "share", 1)), leftS: maybe(row["left_s"]), ranks: zero("ranks"), finished: zero("ranks_finished"),
  };
}

function started(value: unknown): Started {
  const row = object(value, "run started");
  return { name: text(row["name"], 60), ranks: maybe(row["ranks"]) ?? 0, at: text(row["at"], 40), seed: maybe(row["seed"]) };
}

function ended(value: unknown): Ended {
  const row = object(value, "run ended");
  const result = orNull(row["result"], (item) => object(item, "result"));
  const given = typeof row["figures"] === "object" && row["figures"] !== null ? Object.entries(row["figures"] as Document) : [];
  return {
    name: text(row["name"], 60), at: text(row["at"], 40), complete: row["complete"] === true, verdict: text(row["verdict"]),
    passed: typeof row["passed"] === "boolean" ? row["passed"] : null, exitCode: maybe(row["exit_code"]),
    reasons: (Array.isArray(row["reasons"]) ? row["reasons"] as unknown[] : []).slice(0, 20).map((each) => text(each)),
    figures: given.slice(0, 20).flatMap(([name, figure]): [string, number][] => (typeof figure === "number" && Number.isFinite(figure) ? [[text(name, 40), figure]] : [])),
    nominalNs: maybe(row["nominal_ns"]), wallS: maybe(row["wall_s"]),
    result: result ? `${text(result["path"])}${result["host"] ? ` on ${text(result["host"], 80)}` : ""}` : "",
  };
}

/** A run that could not be carried out has no verdict but its reason. */
function failed(document: Document): Ended {
  return ended({ ...document, complete: false, reasons: [document["reason"]], verdict: "" });
}

function state(document: Document, lab: string): State {
  const fidelity = typeof document["fidelity"] === "object" && document["fidelity"] !== null ? document["fidelity"] as Document : {};
  const late = typeof fidelity["lateness_ns"] === "object" && fidelity["lateness_ns"] !== null ? fidelity["lateness_ns"] as Document : {};
  return {
    kind: "state", ...head(document, lab), state: text(document["state"], 40), busy: document["busy"] === true, ranks: maybe(document["ranks"]) ?? 0,
    finished: maybe(document["ranks_finished"]) ?? 0, frameHops: maybe(document["frame_hops"]) ?? 0, drops: counts(document["drops"]),
    deadlocks: Array.isArray(document["deadlocks"]) ? document["deadlocks"].length : 0, dilation: maybe(document["dilation"]) ?? 1,
    lateNs: maybe(late["p99"]), heldShare: maybe(fidelity["held_share"]),
    current: orNull(document["current"], started), last: orNull(document["last"], ended), progress: orNull(document["progress"], progress),
  };
}

/** Return what an event tells besides its name, in one line. */
function detailsOf(document: Document): string {
  const known: string[] = [];
  const add = (value: unknown): void => { if (typeof value === "string" && value) known.push(text(value)); };
  add(document["verdict"]);
  add(document["reason"]);
  if (Array.isArray(document["reasons"]) && !document["verdict"]) (document["reasons"] as unknown[]).slice(0, 8).forEach(add);
  if (Array.isArray(document["directions"])) {
    for (const way of (document["directions"] as unknown[]).slice(0, 8)) {
      const { from, to } = object(way, "direction");
      known.push(`what ${text(from, 130)} sends to ${text(to, 130)}`);
    }
  }
  if (Array.isArray(document["lost"])) {
    for (const each of (document["lost"] as unknown[]).slice(0, 8)) {
      const row = object(each, "lost");
      known.push(`${maybe(row["frames"]) ?? 0} frames lost${row["port"] ? ` at ${text(row["port"], 130)}` : ""}: ${text(row["cause"], 60)}`);
    }
  }
  return known.join("; ");
}

function event(document: Document, lab: string): Event {
  const name = text(document["event"], 80);
  if (!name) throw new Malformed("event has no name");
  return {
    kind: "event", ...head(document, lab), event: name, details: detailsOf(document), started: name === "run started" ? started(document) : null,
    ended: name === "run ended" ? ended(document) : name === "run failed" ? failed(document) : null, progress: name === "run progress" ? progress(document) : null,
  };
}

const decoder = new TextDecoder("utf-8", { fatal: true });

function parse(payload: Uint8Array): Document {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(payload));
  } catch {
    throw new Malformed("not JSON");
  }
  return object(value, "the message");
}

/** Read a message; null on a topic that tells nothing to this page. Raises Malformed, and nothing else. */
export function read(topic: string, payload: Uint8Array): Message | null {
  const parts = topic.split("/");
  if (parts[0] !== "testbed" || parts.length < 3 || parts.length > 4) return null;
  const [lab, last] = [parts[1] as string, parts.at(-1) as string];
  if (lab === "agents" && parts.length === 4 && last === "status") {
    const word = payload.length <= 7 ? new TextDecoder().decode(payload) : "";
    return { kind: "status", agent: matching(parts[2], NAME, "agent"), isOnline: word === "online" };
  }
  if (lab !== "-") matching(lab, NAME, "lab");
  if (parts.length === 4) return last === "live" ? live(parse(payload), lab) : null;
  if (last === "events") return event(parse(payload), lab);
  if (last !== "topology" && last !== "state") return null;
  if (!payload.length) return { kind: "gone", of: last, lab };
  return last === "topology" ? topology(parse(payload), lab) : state(parse(payload), lab);
}
