// Numbers as people read them.

const DECIMAL: readonly [number, string][] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

// One that is made anew for each number takes longer than all the rest.
const WITH_DIGITS = Array.from({ length: 22 }, (_, count) => new Intl.NumberFormat("en", { maximumSignificantDigits: Math.max(count, 1) }));
const WHOLE = new Intl.NumberFormat("en");

/** Return a number with so many significant digits, without an exponent where it needs none. */
export function digits(value: number, count = 3): string {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e15)) return value.toExponential(count - 1);
  return (WITH_DIGITS[count] as Intl.NumberFormat).format(Number(value.toPrecision(count)));
}

function scaled(value: number, unit: string, count = 3): string {
  for (const [size, letter] of DECIMAL) {
    if (Math.abs(value) >= size) return `${digits(value / size, count)} ${letter}${unit}`;
  }
  return `${digits(value, count)} ${unit}`;
}

/** Write bytes: 44.1 kB. */
export const bytes = (value: number): string => scaled(value, "B");
/** Write bits per second: 100 Gb/s. */
export const rate = (value: number): string => scaled(value, "b/s");
/** Write a whole number with its thousands apart. */
export const count = (value: number): string => WHOLE.format(value);
/** Write a share as a percentage. */
export const percent = (value: number): string => (value > 0 && value < 1e-4 ? "< 0.01 %" : `${digits(value * 100, 3)} %`);

/** Write nanoseconds in the unit that suits them. */
export function time(ns: number): string {
  const size = Math.abs(ns);
  if (size === 0) return "0";
  if (size < 1e3) return `${digits(ns, 4)} ns`;
  if (size < 1e6) return `${digits(ns / 1e3, 4)} µs`;
  if (size < 1e9) return `${digits(ns / 1e6, 4)} ms`;
  return `${digits(ns / 1e9, 4)} s`;
}

/** Write metres. */
export const metres = (value: number): string => (value >= 1000 ? `${digits(value / 1000, 4)} km` : `${digits(value, 4)} m`);

/** Write a size as collectives have them: powers of 1024 where it is one, else decimal. */
export function size(value: number): string {
  for (const [power, letter] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]] as const) {
    if (value >= power && value % power === 0) return `${value / power} ${letter}`;
  }
  return bytes(value);
}

/** Return round numbers from `low` to `high`, about so many. */
export function ticks(low: number, high: number, about: number): number[] {
  if (!(high > low)) return [low];
  const raw = (high - low) / Math.max(about, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= raw) ?? raw;
  const first = Math.ceil(low / step - 1e-9);
  const found: number[] = [];
  for (let number = first; number * step <= high * (1 + 1e-9); number += 1) found.push(number * step);
  return found;
}

/** Return the powers of ten from `low` to `high`, both above 0. */
export function decades(low: number, high: number): number[] {
  const found: number[] = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high * 1.0001; power += 1) {
    if (10 ** power >= low * 0.9999) found.push(10 ** power);
  }
  return found;
}
