// What is known of labs, from the messages of agents. Pure: the time of arrival comes in as an argument, in ms.

import { Malformed, read, type Ended, type Event, type Figures, type Happening, type Live, type Progress, type Started, type State, type Topology } from "./messages";
import { Ring } from "./ring";

const MOST_LABS = 128;
const MOST_AGENTS = 128;
const MOST_ENTRIES = 400;
/** Samples of all ports of a lab together, 40 bytes each, and how many of them a port has at most: ten minutes at ten looks a second. */
const MOST_SAMPLES = 600_000;
const MOST_OF_PORT = 6_000;
const LEAST_OF_PORT = 120;
const MOST_PORTS = 40_000;
/** How many of the last lines are looked at for one of the same second, and how much of a time is its second. */
const MERGED = 40;
const SECOND = "2026-11-30T19:26:00".length;

/** A priority of a port: the last figures, and what it did over the last minutes. */
export class PortPriority {
  readonly ring: Ring;
  now: Figures;
  rate = 0;
  share = 0;
  /** When it was last told of; of a look that leaves it out it did nothing. */
  look = 0;
  /** The largest queue that was seen, and when it was last seen paused. */
  most = 0;
  pausedAt = -Infinity;

  constructor(readonly port: string, readonly priority: number, readonly agent: string, first: Figures, room: number) {
    this.now = first;
    this.ring = new Ring(room);
  }
}

/** What was done or happened, at the time of the machine that tells of it. */
export interface Entry { at: string; kind: "event" | "drops"; what: string; where: string; details: string; frames: number }

/** The last look of an agent; `isFull` once all figures were told. */
interface Look { session: string; nominalNs: number; at: number; number: number; isFull: boolean }

/** What is known of a lab. */
export class Lab {
  topology: Topology | null = null;
  readonly states = new Map<string, State>();
  readonly ports = new Map<string, PortPriority>();
  readonly entries: Entry[] = [];
  readonly rates = new Map<string, number>();
  readonly agents = new Set<string>();
  current: Started | null = null;
  progress: Progress | null = null;
  last: Ended | null = null;
  lost = 0;
  pauses = 0;
  /** Changes of what is drawn anew only when it changed. */
  version = 0;
  told = 0;
  private readonly looks = new Map<string, Look>();

  constructor(readonly name: string) {}

  get state(): State | undefined {
    return [...this.states.values()].at(-1);
  }

  get dilation(): number {
    return this.topology?.dilation ?? this.state?.dilation ?? 1;
  }

  /** Nominal time of the lab at the last look, in ns. */
  get nominalNs(): number | null {
    const known = [...this.looks.values()].map((look) => look.nominalNs);
    return known.length ? Math.max(...known) : (this.state?.nominalNs ?? null);
  }

  /** Return what a port's priority sends now in b/s: nothing, if the last look had nothing new of it. */
  rateOf(each: PortPriority): number {
    return each.look === this.looks.get(each.agent)?.number ? each.rate : 0;
  }

  /** Return the share of the last look for which it was paused. */
  pausedOf(each: PortPriority): number {
    return each.look === this.looks.get(each.agent)?.number ? each.share : Number(each.now.paused);
  }

  take(topology: Topology): void {
    this.topology = topology;
    this.rates.clear();
    topology.links.forEach((link) => link.link.split(" - ").forEach((port) => this.rates.set(port, link.rate_bps)));
    this.version += 1;
  }

  takeState(state: State): void {
    this.states.set(state.agent, state);
    this.current = state.current;
    this.progress = state.progress ?? (state.current ? this.progress : null);
    if (state.last) this.last = state.last;
  }

  takeEvent(event: Event): void {
    if (event.progress) {
      this.progress = event.progress;
      return;
    }
    if (event.started) [this.current, this.progress] = [event.started, null];
    if (event.ended) [this.current, this.progress, this.last] = [null, null, event.ended];
    this.add({ at: event.at, kind: "event", what: event.event, where: event.started?.name ?? event.ended?.name ?? "", details: event.details, frames: 0 });
  }

  takeLive(live: Live, now: number): void {
    const before = this.looks.get(live.agent);
    // Another session, or nominal time that began anew: what was counted before has nothing to do with it.
    const isAnew = !before || before.session !== live.session || live.nominalNs < before.nominalNs;
    if (isAnew) for (const [key, each] of this.ports) if (each.agent === live.agent) this.ports.delete(key);
    const look: Look = { session: live.session, nominalNs: live.nominalNs, at: now, number: (before?.number ?? 0) + 1, isFull: live.full || (!isAnew && before.isFull) };
    this.looks.set(live.agent, look);
    const spanNs = isAnew ? 0 : live.nominalNs - before.nominalNs;
    for (const [key, figures] of live.ports) this.port(key, figures, live.agent, look, spanNs, before?.at ?? now, isAnew || !before.isFull);
    for (const each of live.happened) this.happened(each, live.at);
    if (live.leftOut) this.add({ at: live.at, kind: "drops", what: "more", where: "", details: `${live.leftOut} more drops and pauses at once`, frames: 0 });
  }

  /** Forget what ports did. */
  forget(): void {
    this.looks.clear();
    this.ports.clear();
  }

  private port(key: string, figures: Figures, agent: string, look: Look, spanNs: number, from: number, isFirst: boolean): void {
    let each = this.ports.get(key);
    if (!each) {
      if (this.ports.size >= MOST_PORTS) return;
      const [port, priority] = key.split(" ") as [string, string];
      const room = Math.max(LEAST_OF_PORT, Math.min(MOST_OF_PORT, Math.floor(MOST_SAMPLES / Math.max(this.rates.size, this.ports.size + 1))));
      // One that all figures before had left out had counted nothing.
      const nothing = { ...figures, bytesTx: 0, bytesRx: 0, pausedNs: 0, dropped: 0 };
      each = new PortPriority(port, Number(priority), agent, isFirst ? figures : nothing, room);
      this.ports.set(key, each);
    }
    const sent = figures.bytesTx - each.now.bytesTx;
    const paused = figures.pausedNs - each.now.pausedNs;
    each.now = figures;
    each.look = look.number;
    each.most = Math.max(each.most, figures.queue);
    each.rate = spanNs > 0 && sent > 0 ? (sent * 8e9) / spanNs : 0;
    each.share = spanNs > 0 && paused > 0 ? Math.min(paused / spanNs, 1) : Number(figures.paused);
    if (each.share) each.pausedAt = look.at;
    const last = each.ring.last();
    if (!each.rate && !each.share && last?.queue === figures.queue && !last.rate && !last.paused) return;
    each.ring.push({ from, to: look.at, rate: each.rate, paused: each.share, queue: figures.queue });
  }

  private happened(each: Happening, at: string): void {
    if (each.what === "pause") {
      this.pauses += 1;
      return;
    }
    this.lost += each.frames;
    this.add({ at, kind: "drops", what: each.cause, where: `${each.port} · ${each.priority}`, details: "", frames: each.frames });
  }

  private add(entry: Entry): void {
    this.told += 1;
    // A port that loses frames at each look has one line a second.
    const second = entry.at.slice(0, SECOND);
    const same = entry.kind === "drops" && this.entries.slice(-MERGED).find((each) => each.kind === "drops" && each.what === entry.what && each.where === entry.where && each.at.startsWith(second));
    if (same) {
      same.frames += entry.frames;
      return;
    }
    this.entries.push(entry);
    if (this.entries.length > MOST_ENTRIES) this.entries.splice(0, this.entries.length - MOST_ENTRIES);
  }
}

/** All that a page knows, and how well it came through. */
export class Store {
  readonly labs = new Map<string, Lab>();
  readonly agents = new Map<string, boolean>();
  messages = 0;
  bytes = 0;
  malformed = 0;
  lastFault = "";
  /** Messages that a gap in sequence numbers says were lost. */
  missing = 0;
  private readonly numbers = new Map<string, { session: string; seq: number }>();

  /** Take a message that came at an instant; one that is malformed is counted, and changes nothing. */
  take(topic: string, payload: Uint8Array, now: number): void {
    this.messages += 1;
    this.bytes += payload.length;
    try {
      this.apply(topic, payload, now);
    } catch (fault) {
      this.malformed += 1;
      this.lastFault = fault instanceof Malformed ? fault.message : "a defect of this page";
      // Those that come after it are taken all the same.
      if (!(fault instanceof Malformed)) reportError(fault);
    }
  }

  /** Forget the order of messages: after a new connection the next ones are the first. */
  begin(): void {
    this.numbers.clear();
  }

  /** Begin a lab's figures anew: what its ports did while nobody followed is not known. */
  forget(name: string): void {
    this.labs.get(name)?.forget();
    for (const key of this.numbers.keys()) if (key.startsWith(`testbed/${name}/`) && key.includes("/live ")) this.numbers.delete(key);
  }

  private apply(topic: string, payload: Uint8Array, now: number): void {
    const message = read(topic, payload);
    if (!message) return;
    if (message.kind === "status") {
      if (this.agents.has(message.agent) || this.agents.size < MOST_AGENTS) this.agents.set(message.agent, message.isOnline);
      return;
    }
    if (message.kind === "gone") {
      this.gone(message.lab, message.of);
      return;
    }
    this.number(topic, message.agent, message.session, message.seq);
    if (message.lab === "-") return;
    const lab = this.lab(message.lab);
    if (!lab) return;
    lab.agents.add(message.agent);
    if (message.kind === "live") lab.takeLive(message, now);
    else if (message.kind === "topology") lab.take(message);
    else if (message.kind === "state") lab.takeState(message);
    else lab.takeEvent(message);
  }

  private lab(name: string): Lab | null {
    let lab = this.labs.get(name);
    if (!lab) {
      if (this.labs.size >= MOST_LABS) throw new Malformed(`more than ${MOST_LABS} labs`);
      lab = new Lab(name);
      this.labs.set(name, lab);
    }
    return lab;
  }

  /** An agent takes back what it told of a lab: a lab of which nothing is retained any more is gone. */
  private gone(name: string, of: "topology" | "state"): void {
    const lab = this.labs.get(name);
    if (!lab) return;
    if (of === "topology") [lab.topology, lab.version] = [null, lab.version + 1];
    else lab.states.clear();
    if (!lab.topology && !lab.states.size) this.labs.delete(name);
  }

  private number(topic: string, agent: string, session: string, seq: number): void {
    const key = `${topic} ${agent}`;
    const before = this.numbers.get(key);
    if (before?.session === session && seq > before.seq + 1) this.missing += seq - before.seq - 1;
    if (this.numbers.size < 4096 || before) this.numbers.set(key, { session, seq });
  }
}
