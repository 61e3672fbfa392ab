// Frames of the browser: what came is drawn once a frame, and drawing takes a bounded share of the time.

const KEPT = 600;
/** After a frame that took long the page rests for so many times as long: the browser has the rest. */
const REST = 3;

/** A part of the page: what is drawn of a lab, and how often at most. */
export interface Part<T> { element: HTMLElement; everyMs: number; draw: (shown: T, now: number) => void }

/** How much time the page itself has taken, by its own clock. */
export class Work {
  frames = 0;
  longestMs = 0;
  private sinceFrame = 0;
  private readonly last: number[] = [];

  /** Add what was done between two frames. */
  add(ms: number): void {
    this.sinceFrame += ms;
  }

  /** A frame is over, in which so much was done. */
  frame(ms: number): void {
    const whole = ms + this.sinceFrame;
    this.sinceFrame = 0;
    this.frames += 1;
    this.longestMs = Math.max(this.longestMs, whole);
    this.last.push(whole);
    if (this.last.length > KEPT) this.last.shift();
  }

  get medianMs(): number {
    const sorted = [...this.last].sort((a, b) => a - b);
    return sorted[sorted.length >> 1] ?? 0;
  }
}

export class Frames<T> {
  /** While it is held nothing is drawn, not even what was asked for before. */
  isHeld = false;
  private isAsked = false;
  private free = 0;
  private readonly drawn = new Map<Part<T>, number>();

  constructor(private readonly parts: readonly Part<T>[], private readonly shown: () => T, private readonly work: Work) {}

  /** Draw at the next frame. */
  request(): void {
    if (this.isAsked || this.isHeld) return;
    this.isAsked = true;
    const wait = this.free - performance.now();
    if (wait > 0) setTimeout(() => requestAnimationFrame(() => this.draw()), wait);
    else requestAnimationFrame(() => this.draw());
  }

  /** Draw all parts, however short ago they were drawn. */
  all(): void {
    this.drawn.clear();
    this.request();
  }

  private draw(): void {
    this.isAsked = false;
    if (this.isHeld) return;
    const began = performance.now();
    const shown = this.shown();
    for (const part of this.parts) {
      if (began - (this.drawn.get(part) ?? -Infinity) < part.everyMs) continue;
      this.drawn.set(part, began);
      part.draw(shown, began);
    }
    const ended = performance.now();
    this.work.frame(ended - began);
    this.free = ended + REST * (ended - began);
  }
}
