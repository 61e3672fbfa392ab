// Samples of the last minutes, in arrays that grow to a bound and then lose their oldest.

/** What one look added: from when to when, at which rate in b/s, for which share paused, and the queue at its end. */
export interface Sample { from: number; to: number; rate: number; paused: number; queue: number }

const FIELDS = 5;
const FIRST = 64;

export class Ring {
  private data = new Float64Array(FIRST * FIELDS);
  private start = 0;
  private count = 0;

  constructor(private readonly most: number) {}

  get length(): number {
    return this.count;
  }

  push(sample: Sample): void {
    const room = this.data.length / FIELDS;
    if (this.count === room && room < this.most) this.grow(Math.min(room * 2, this.most));
    const whole = this.data.length / FIELDS;
    if (this.count === whole) this.start = (this.start + 1) % whole;
    else this.count += 1;
    const at = ((this.start + this.count - 1) % whole) * FIELDS;
    this.data.set([sample.from, sample.to, sample.rate, sample.paused, sample.queue], at);
  }

  at(index: number): Sample {
    const at = ((this.start + index) % (this.data.length / FIELDS)) * FIELDS;
    const field = (place: number): number => this.data[at + place] as number;
    return { from: field(0), to: field(1), rate: field(2), paused: field(3), queue: field(4) };
  }

  last(): Sample | undefined {
    return this.count ? this.at(this.count - 1) : undefined;
  }

  /** Hand over the samples that end after an instant, in their order, without making an object of each. */
  since(instant: number, take: (from: number, to: number, rate: number, paused: number, queue: number) => void): void {
    const whole = this.data.length / FIELDS;
    const place = (index: number): number => ((this.start + index) % whole) * FIELDS;
    let first = this.count;
    while (first > 0 && (this.data[place(first - 1) + 1] as number) > instant) first -= 1;
    for (let index = first; index < this.count; index += 1) {
      const at = place(index);
      take(this.data[at] as number, this.data[at + 1] as number, this.data[at + 2] as number, this.data[at + 3] as number, this.data[at + 4] as number);
    }
  }

  private grow(to: number): void {
    const next = new Float64Array(to * FIELDS);
    const whole = this.data.length / FIELDS;
    const tail = Math.min(this.count, whole - this.start);
    next.set(this.data.subarray(this.start * FIELDS, (this.start + tail) * FIELDS));
    next.set(this.data.subarray(0, (this.count - tail) * FIELDS), tail * FIELDS);
    this.data = next;
    this.start = 0;
  }
}
