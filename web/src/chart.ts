// Series over time by uPlot: many points, a cursor that reads them, and a zoom by dragging.

import uPlot from "uplot";

import { h } from "./dom";
import { time } from "./format";
import { at, type Changes, type Series } from "./model";

const HEIGHT = 260;
const MOST = 1600;

export interface ChartLine { name: string; changes: Changes }
export interface Threshold { name: string; value: number }

function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export interface Drawn {
  /** Lines that change, and thresholds, which are dashed. */
  lines: readonly string[]; thresholds: readonly Threshold[];
  across: (value: number) => string; up: (value: number) => string;
  /** What the axis across is called in the legend. */
  what: string;
}

/** A chart whose data can be set anew; it is drawn for the width that it has, in the colours that the page has. */
export class Plot {
  readonly element: HTMLElement;
  private plot: uPlot | null = null;
  private data: uPlot.AlignedData;
  private width = 0;

  constructor(private readonly drawn: Drawn) {
    this.element = h("div", { class: "chart", role: "img", "aria-label": drawn.lines.join(", ") });
    this.data = [[], ...drawn.lines.map(() => []), ...drawn.thresholds.map(() => [])];
    new ResizeObserver((entries) => {
      const width = Math.round(entries[0]?.contentRect.width ?? 0);
      if (width > 40 && width !== this.width) this.draw(width);
    }).observe(this.element);
    const anew = (): void => { if (this.plot && this.element.isConnected) this.draw(this.width); };
    document.addEventListener("themechange", anew);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  }

  /** Show values of the lines at these places; the label says in words what is seen. */
  set(places: readonly number[], values: readonly number[][], label: string): void {
    this.element.setAttribute("aria-label", label);
    this.data = [[...places], ...values, ...this.drawn.thresholds.map((each) => places.map(() => each.value))];
    this.plot?.setData(this.data);
  }

  private draw(width: number): void {
    this.plot?.destroy();
    this.width = width;
    const { lines, thresholds, across, up, what } = this.drawn;
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    this.plot = new uPlot({
      width, height: HEIGHT,
      scales: { x: { time: false } },
      axes: [
        { ...axis, values: (_, marks) => marks.map(across) },
        { ...axis, size: 74, values: (_, marks) => marks.map(up) },
      ],
      series: [
        { value: (_, value) => (value === null ? "–" : across(value)), label: what },
        ...lines.map((line, index) => ({
          label: line, stroke: colour(`--s${index}`), width: 1.5, paths: uPlot.paths.stepped?.({ align: 1 }) as uPlot.Series.PathBuilder,
          points: { show: false }, value: (_: uPlot, value: number | null) => (value === null ? "–" : up(value)),
        })),
        ...thresholds.map((each, index) => ({
          label: each.name, stroke: colour(`--s${(index + 4) % 8}`), width: 1, dash: [6, 4], points: { show: false }, value: () => up(each.value),
        })),
      ],
    }, this.data, this.element);
  }
}

/** Return in words how large lines become. */
export function largest(label: string, lines: readonly { name: string; values: readonly number[] }[], write: (value: number) => string): string {
  return `${label}: ${lines.map((line) => `${line.name} at most ${write(line.values.reduce((a, b) => Math.max(a, b), 0))}`).join(", ")}`;
}

/** Make a chart of step functions of a series, with thresholds as dashed lines. */
export function chart(label: string, series: Series, lines: readonly ChartLine[], thresholds: readonly Threshold[], write: (value: number) => string): HTMLElement {
  const step = Math.max(1, Math.ceil(series.points / MOST));
  const points = Array.from({ length: Math.ceil(series.points / step) }, (_, index) => index * step);
  const plot = new Plot({ lines: lines.map((line) => line.name), thresholds, across: time, up: write, what: "time" });
  const values = lines.map((line) => points.map((point) => at(line.changes, point)));
  plot.set(points.map((point) => point * series.period_ns), values, largest(label, lines.map((line) => ({ name: line.name, values: line.changes.value })), write));
  return plot.element;
}
