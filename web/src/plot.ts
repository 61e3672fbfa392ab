// Lines over two axes, as SVG: distributions, and figures of a sweep.

import { h, picture, s, type Child } from "./dom";
import { decades, ticks } from "./format";
import { responsive } from "./responsive";

export interface Line { name: string; points: readonly (readonly [number, number])[]; steps?: boolean; dots?: boolean }
export interface Axis { name: string; write: (value: number) => string; log?: boolean; from?: number; to?: number; at?: readonly number[] }
export interface Mark { at: number; text: string }

const LEFT = 64;
const RIGHT = 16;
const TOP = 26;
const BOTTOM = 44;
const COLOURS = 8;

/** Return the class of a colour of a series of lines. */
export const colour = (index: number): string => `s${index % COLOURS}`;

interface Scale { place: (value: number) => number; ticks: number[] }

function scale(axis: Axis, values: readonly number[], from: number, to: number, about: number): Scale {
  const seen = values.filter((value) => Number.isFinite(value) && (!axis.log || value > 0));
  let low = axis.from ?? seen.reduce((a, b) => Math.min(a, b), Infinity);
  let high = axis.to ?? seen.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = axis.log ? [1, 10] : [0, 1];
  if (low === high) [low, high] = axis.log ? [low / 2, high * 2] : [low - Math.abs(low) * 0.1 - 0.5, high + Math.abs(high) * 0.1 + 0.5];
  // Where all is within a small factor, decades tell nothing.
  const isLog = Boolean(axis.log) && high / low > 4;
  const of = isLog ? (value: number): number => Math.log10(Math.max(value, low)) : (value: number): number => value;
  const place = (value: number): number => from + ((of(value) - of(low)) / (of(high) - of(low))) * (to - from);
  const marks = axis.at ? [...axis.at] : isLog ? decades(low, high) : ticks(low, high, about);
  // Marks that would be written alike are one.
  return { place, ticks: marks.filter((each, index) => index === 0 || axis.write(each) !== axis.write(marks[index - 1] as number)) };
}

function path(line: Line, x: Scale, y: Scale): string {
  let text = "";
  line.points.forEach(([at, value], index) => {
    const [across, down] = [x.place(at).toFixed(1), y.place(value).toFixed(1)];
    text += index === 0 ? `M${across} ${down}` : line.steps ? `H${across}V${down}` : `L${across} ${down}`;
  });
  return text;
}

/** Draw lines over two axes, with a legend where there are several; `marks` are upright lines with a text. */
export function plot(label: string, lines: readonly Line[], across: Axis, up: Axis, marks: readonly Mark[] = [], height = 300): HTMLElement {
  const legend: Child = lines.length > 1 && h("p", { class: "legend" }, ...lines.map((line, index) => h("span", { class: "step" }, h("i", { class: `swatch ${colour(index)}` }), line.name)));
  return h("div", {}, responsive((width) => draw(width, height, label, lines, across, up, marks)), legend);
}

function draw(width: number, height: number, label: string, lines: readonly Line[], across: Axis, up: Axis, marks: readonly Mark[]): SVGSVGElement {
  const points = lines.flatMap((line) => line.points);
  const x = scale(across, points.map((point) => point[0]), LEFT, width - RIGHT, width / 110);
  const y = scale(up, points.map((point) => point[1]), height - BOTTOM, TOP, height / 60);
  let free = -Infinity;
  const grid: Child[] = [
    ...y.ticks.flatMap((value) => [
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y.place(value), y2: y.place(value) }),
      s("text", { class: "tick", x: LEFT - 6, y: y.place(value) + 4, "text-anchor": "end" }, up.write(value)),
    ]),
    ...x.ticks.flatMap((value) => {
      const text = across.write(value);
      const at = x.place(value);
      const room = text.length * 7 + 10;
      const isShown = at - room / 2 > free;
      if (isShown) free = at + room / 2;
      return [
        s("line", { class: "grid", x1: at, x2: at, y1: TOP, y2: height - BOTTOM }),
        isShown && s("text", { class: "tick", x: Math.min(at, width - RIGHT - room / 3), y: height - BOTTOM + 16, "text-anchor": "middle" }, text),
      ];
    }),
    s("text", { class: "axis", x: (LEFT + width - RIGHT) / 2, y: height - 8, "text-anchor": "middle" }, across.name),
    s("text", { class: "axis", x: 0, y: 12 }, up.name),
  ];
  const drawn = lines.flatMap((line, index) => [
    s("path", { class: `line ${colour(index)}`, d: path(line, x, y) }),
    ...(line.dots ? line.points.map(([at, value]) => s("circle", { class: `dot ${colour(index)}`, cx: x.place(at), cy: y.place(value), r: 3.5 }, s("title", {}, `${line.name}: ${across.write(at)}, ${up.write(value)}`))) : []),
  ]);
  const upright = marks.flatMap((mark) => [
    s("line", { class: "mark", x1: x.place(mark.at), x2: x.place(mark.at), y1: TOP, y2: height - BOTTOM }),
    s("text", { class: "mark-name", x: x.place(mark.at) + 4, y: TOP + 12 }, mark.text),
  ]);
  const element = picture(label, width, height, ...grid, ...drawn, ...upright);
  element.classList.add("plot");
  return element;
}
