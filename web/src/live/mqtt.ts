// The part of MQTT 3.1.1 that a reader needs, over a websocket: it subscribes at QoS 0 and can publish nothing.
// Clients from npm were measured: mqtt.js makes 341 kB of 40 packages, most of it for what a reader never does.

const CONNECT = 0x10;
const CONNACK = 0x20;
const PUBLISH = 0x30;
const SUBSCRIBE = 0x82;
const SUBACK = 0x90;
const UNSUBSCRIBE = 0xa2;
const PING = new Uint8Array([0xc0, 0]);
const DISCONNECT = new Uint8Array([0xe0, 0]);
const KEEP_ALIVE_S = 20;
/** Silence after which a broker counts as gone: it answers each ping. */
const SILENCE_MS = 2.2 * KEEP_ALIVE_S * 1000;
const OPENING_MS = 10_000;
/** A picture of some thousand nodes has a megabyte. */
export const MOST_BYTES = 16 * 1024 * 1024;

/** Section 3.2.2.3 of the standard. */
const REFUSALS = [
  "", "the broker does not speak MQTT 3.1.1", "the broker does not accept this client", "the broker is not available", "wrong user or password",
  "wrong user or password, or this user may not connect",
] as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** What is wrong with the bytes of a broker, in words. */
export class ProtocolFault extends Error {}

function packet(type: number, parts: readonly (number | string)[]): Uint8Array<ArrayBuffer> {
  const body: number[] = [];
  for (const part of parts) {
    if (typeof part === "number") { body.push(part); continue; }
    const text = encoder.encode(part);
    if (text.length > 0xffff) throw new ProtocolFault("a text is too long for MQTT");
    body.push(text.length >> 8, text.length & 0xff, ...text);
  }
  const length: number[] = [];
  let left = body.length;
  do {
    length.push((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
    left >>= 7;
  } while (left > 0);
  return new Uint8Array([type, ...length, ...body]);
}

interface Packet { type: number; body: Uint8Array }

/** Packets out of a stream of bytes, whose messages may end anywhere. */
class Packets {
  private waiting = new Uint8Array(0);

  /** Take bytes and return the packets that are whole. Raises ProtocolFault. */
  feed(bytes: Uint8Array): Packet[] {
    const all = this.waiting.length ? new Uint8Array(this.waiting.length + bytes.length) : bytes;
    if (all !== bytes) {
      all.set(this.waiting);
      all.set(bytes, this.waiting.length);
    }
    const found: Packet[] = [];
    let at = 0;
    for (;;) {
      const head = header(all, at);
      if (!head || all.length - head.start < head.length) break;
      found.push({ type: all[at] as number, body: all.subarray(head.start, head.start + head.length) });
      at = head.start + head.length;
    }
    this.waiting = all.slice(at);
    return found;
  }
}

/** Return where the body of a packet starts and how long it is; null where that is not there yet. */
function header(bytes: Uint8Array, at: number): { start: number; length: number } | null {
  let length = 0;
  for (let digit = 0; digit < 4; digit += 1) {
    const byte = bytes[at + 1 + digit];
    if (byte === undefined) return null;
    length += (byte & 0x7f) * 128 ** digit;
    if (length > MOST_BYTES) throw new ProtocolFault(`the broker sent a message of more than ${MOST_BYTES >> 20} MiB`);
    if (byte < 0x80) return { start: at + 2 + digit, length };
  }
  throw new ProtocolFault("the broker sent a packet without an end");
}

/** Why a session ended: it was refused, and to try again is of no use, or it was lost. */
export interface End { refused: boolean; reason: string }

export interface Handlers {
  connected: () => void;
  /** A message; the bytes are valid during the call. */
  message: (topic: string, payload: Uint8Array) => void;
  ended: (end: End) => void;
}

/** One connection, from its opening to its end, of which `ended` tells once. */
export class Session {
  private readonly socket: WebSocket;
  private readonly packets = new Packets();
  private heard = performance.now();
  private isConnected = false;
  private isOver = false;
  private nextId = 1;
  private readonly timer: number;
  private readonly opening: number;

  constructor(address: string, user: string, password: string, private readonly handlers: Handlers) {
    this.socket = new WebSocket(address, "mqtt");
    this.socket.binaryType = "arraybuffer";
    const name = `page-${Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    // A clean session with a user and a password.
    this.socket.onopen = () => this.send(packet(CONNECT, ["MQTT", 4, 0xc2, 0, KEEP_ALIVE_S, name, user, password]));
    this.socket.onmessage = (event: MessageEvent<ArrayBuffer | string>) => this.receive(event.data);
    this.socket.onclose = () => this.end({ refused: false, reason: this.isConnected ? "the broker closed the connection" : "the broker cannot be reached" });
    this.timer = window.setInterval(() => this.keep(), (KEEP_ALIVE_S * 1000) / 2);
    this.opening = window.setTimeout(() => this.end({ refused: false, reason: "the broker does not answer" }), OPENING_MS);
  }

  subscribe(...filters: string[]): void {
    this.send(packet(SUBSCRIBE, [0, this.id(), ...filters.flatMap((filter) => [filter, 0])]));
  }

  unsubscribe(...filters: string[]): void {
    this.send(packet(UNSUBSCRIBE, [0, this.id(), ...filters]));
  }

  /** End it from this side; `ended` is not told. */
  close(): void {
    if (this.isOver) return;
    this.send(DISCONNECT);
    this.stop();
  }

  private id(): number {
    this.nextId = (this.nextId % 255) + 1;
    return this.nextId;
  }

  private send(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(bytes);
  }

  private keep(): void {
    if (performance.now() - this.heard > SILENCE_MS) this.end({ refused: false, reason: "the broker is silent" });
    else this.send(PING);
  }

  private stop(): void {
    this.isOver = true;
    clearInterval(this.timer);
    clearTimeout(this.opening);
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  private end(end: End): void {
    if (this.isOver) return;
    this.stop();
    this.handlers.ended(end);
  }

  private receive(data: ArrayBuffer | string): void {
    this.heard = performance.now();
    try {
      if (typeof data === "string") throw new ProtocolFault("the broker sent text");
      for (const each of this.packets.feed(new Uint8Array(data))) {
        if (this.isOver) return;
        this.take(each);
      }
    } catch (fault) {
      if (!(fault instanceof ProtocolFault)) throw fault;
      this.end({ refused: false, reason: fault.message });
    }
  }

  private take({ type, body }: Packet): void {
    if (!this.isConnected) {
      if (type !== CONNACK || body.length !== 2) throw new ProtocolFault("what answers is not an MQTT broker");
      const code = body[1] as number;
      if (code) {
        this.end({ refused: true, reason: REFUSALS[code] ?? `the broker refused with code ${code}` });
        return;
      }
      this.isConnected = true;
      clearTimeout(this.opening);
      this.handlers.connected();
    } else if ((type & 0xf0) === PUBLISH) this.publish(type, body);
    else if (type === SUBACK && body.subarray(2).some((code) => code === 0x80)) this.end({ refused: true, reason: "this user may not read labs" });
  }

  private publish(type: number, body: Uint8Array): void {
    if (body.length < 2 || (type & 0x06) !== 0) throw new ProtocolFault("the broker sent what was not subscribed");
    const length = ((body[0] as number) << 8) | (body[1] as number);
    if (body.length < 2 + length) throw new ProtocolFault("the broker sent a broken message");
    let topic: string;
    try {
      topic = decoder.decode(body.subarray(2, 2 + length));
    } catch {
      throw new ProtocolFault("the broker sent a broken topic");
    }
    this.handlers.message(topic, body.subarray(2 + length));
  }
}
