// The connection to the broker in words, and again after it was lost.

import { Session, type End, type Handlers } from "./mqtt";

/** A second, two, four … to this between two tries. */
const LONGEST_MS = 8_000;

export type Status =
  | { is: "idle" }
  | { is: "connecting" }
  | { is: "connected" }
  | { is: "lost"; reason: string; retryMs: number }
  | { is: "refused"; reason: string };

/** Return a status as a sentence. */
export function statusText(status: Status, address: string): string {
  switch (status.is) {
    case "idle": return "Not connected.";
    case "connecting": return `Connecting to ${address} …`;
    case "connected": return `Connected to ${address}.`;
    case "lost": {
      const doubt = address.startsWith("wss:") && status.reason.includes("reached")
        ? ` If it runs, this browser may not trust its certificate: open ${address.replace("wss:", "https:")} once, or give the browser the broker's ca.pem.` : "";
      return `Connection lost: ${status.reason}. The next try is in ${Math.max(1, Math.round(status.retryMs / 1000))} s; figures are those from before.${doubt}`;
    }
    case "refused": return `Refused: ${status.reason}.`;
  }
}

export class Connection {
  private session: Session | null = null;
  private waiting = 0;
  private tries = 0;
  private user = "";
  private password = "";
  private filters: string[] = [];

  constructor(readonly address: string, private readonly message: Handlers["message"], private readonly changed: (status: Status) => void) {}

  /** Connect as a user; an earlier connection ends. */
  open(user: string, password: string): void {
    [this.user, this.password] = [user, password];
    this.tries = 0;
    this.start();
  }

  /** Subscribe to these topics from now on, in this connection and in the next, and to no others. */
  follow(filters: readonly string[]): void {
    const gone = this.filters.filter((each) => !filters.includes(each));
    const added = filters.filter((each) => !this.filters.includes(each));
    this.filters = [...filters];
    if (gone.length) this.session?.unsubscribe(...gone);
    if (added.length) this.session?.subscribe(...added);
  }

  private start(): void {
    clearTimeout(this.waiting);
    this.session?.close();
    this.changed({ is: "connecting" });
    let session: Session;
    try {
      session = this.session = this.make(() => session);
    } catch (fault) {
      // A page that came by https may not open ws://.
      this.changed({ is: "refused", reason: `the browser does not open ${this.address} (${fault instanceof Error ? fault.message : "no reason"})` });
    }
  }

  private make(own: () => Session): Session {
    return new Session(this.address, this.user, this.password, {
      connected: () => {
        this.tries = 0;
        if (this.filters.length) own().subscribe(...this.filters);
        this.changed({ is: "connected" });
      },
      message: this.message,
      ended: (end) => this.ended(end),
    });
  }

  private ended(end: End): void {
    this.session = null;
    if (end.refused) {
      this.changed({ is: "refused", reason: end.reason });
      return;
    }
    const retryMs = Math.min(1000 * 2 ** this.tries, LONGEST_MS);
    this.tries += 1;
    this.changed({ is: "lost", reason: end.reason, retryMs });
    this.waiting = window.setTimeout(() => this.start(), retryMs);
  }
}
