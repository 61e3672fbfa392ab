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

/** Make a chart of step functions of a series, with thresholds as dashed lines. */
export function chart(label: string, series: Series, lines: readonly ChartLine[], thresholds: readonly Threshold[], write: (value: number) => string): HTMLElement {
  const frame = h("div", { class: "chart", role: "img", "aria-label": `${label}: ${lines.map((line) => `${line.name} at most ${write(line.changes.value.reduce((a, b) => Math.max(a, b), 0))}`).join(", ")}` });
  const step = Math.max(1, Math.ceil(series.points / MOST));
  const points = Array.from({ length: Math.ceil(series.points / step) }, (_, index) => index * step);
  const times = points.map((point) => (point * series.period_ns));
  const data: uPlot.AlignedData = [
    times,
    ...lines.map((line) => points.map((point) => at(line.changes, point))),
    ...thresholds.map((each) => times.map(() => each.value)),
  ];
  let plot: uPlot | null = null;
  const draw = (width: number): void => {
    plot?.destroy();
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    plot = new uPlot({
      width, height: HEIGHT,
      scales: { x: { time: false } },
      axes: [
        { ...axis, values: (_, marks) => marks.map(time) },
        { ...axis, size: 74, values: (_, marks) => marks.map(write) },
      ],
      series: [
        { value: (_, value) => (value === null ? "–" : time(value)), label: "time" },
        ...lines.map((line, index) => ({
          label: line.name, stroke: colour(`--s${index}`), width: 1.5, paths: uPlot.paths.stepped?.({ align: 1 }) as uPlot.Series.PathBuilder,
          points: { show: false }, value: (_: uPlot, value: number | null) => (value === null ? "–" : write(value)),
        })),
        ...thresholds.map((each, index) => ({
          label: each.name, stroke: colour(`--s${(index + 4) % 8}`), width: 1, dash: [6, 4], points: { show: false }, value: () => write(each.value),
        })),
      ],
    }, data, frame);
  };
  new ResizeObserver((entries) => {
    const width = Math.round(entries[0]?.contentRect.width ?? 0);
    if (width > 40 && width !== plot?.width) draw(width);
  }).observe(frame);
  document.addEventListener("themechange", () => { if (plot) draw(plot.width); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (plot) draw(plot.width); });
  return frame;
}
