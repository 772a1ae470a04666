// The three charts under the lanes, drawn by uPlot: messages per second, queue, latency.

import { el, mark, say } from "./dom.js";
import { NOTHING, count, rate, short, shortSpan, span } from "./format.js";

const HEIGHT = 148;
const HEIGHT_NARROW = 128;
// Decades below and above what was measured are not shown.
const LATENCY_LEAST_MS = 0.1;

// `look` names custom properties of the style sheet; `key` a column of the samples.
export const CHARTS = [
  {
    id: "rates",
    title: "Messages per second",
    unit: "messages per second",
    lines: [
      { key: "acked_per_s", label: "acknowledged", look: "acked", fill: true, width: 1.75, format: rate },
      { key: "accepted_per_s", label: "accepted", look: "accepted", dash: [6, 3], width: 1.75, format: rate },
      { key: "received_per_s", label: "received", look: "received", dash: [1.5, 3], width: 1.5, format: rate, optional: true },
    ],
    axis: { format: short, least: 5 },
  },
  {
    id: "queue",
    title: "Queue",
    unit: "messages, and age of the oldest on the right",
    lines: [
      { key: "queue", label: "waiting", look: "queue", fill: true, width: 1.5, format: count },
      { key: "oldest_ms", label: "oldest", look: "oldest", width: 1.75, dash: [8, 2, 2, 2], format: span, scale: "age" },
      { key: "limit", label: "limit", look: "limit", dash: [3, 5], width: 1.5, format: count, flat: (run) => run.queueLimit, far: 8 },
    ],
    axis: { format: short, least: 10 },
    second: { scale: "age", format: shortSpan, least: 1000 },
  },
  {
    id: "latency",
    title: "Latency",
    unit: "publish to acknowledgement and ping round trip, logarithmic",
    lines: [
      { key: "ack_p99_ms", label: "p99", look: "p99", width: 2, format: span },
      { key: "ack_p95_ms", label: "p95", look: "p95", width: 1.5, dash: [6, 3], format: span },
      { key: "ack_p50_ms", label: "p50", look: "p50", width: 1.25, format: span },
      { key: "ping_ms", label: "ping", look: "ping", dots: true, format: span, sparse: true },
      { key: "ping_high", label: "", look: "none", flat: (run) => pingBand(run)?.[1] ?? null, hidden: true },
      { key: "ping_low", label: "usual ping", look: "band", flat: (run) => pingBand(run)?.[0] ?? null, hidden: true, band: ["ping_high", "ping_low"], format: () => "" },
    ],
    axis: { format: shortSpan, log: true },
  },
];

// A line that lies this many times above everything shown is told in the legend only: it would press the rest flat.
function isFar(line, value, rows) {
  return line.far && value > line.far * rows.reduce((most, row) => Math.max(most, row ?? 0), 1);
}

// Lowest and highest usual ping in milliseconds, once it is known.
export function pingBand(run) {
  const baseline = (run.baselines ?? []).find((one) => one.signal === "ping_round_trip" && one.median > 0 && one.state !== "learning");
  if (!baseline) return null;
  const unit = baseline.unit === "ms" ? 1 : 1000;
  const spread = baseline.spread ?? 0;
  return [Math.max(baseline.median - 2 * spread, baseline.median / 4) * unit, (baseline.median + 2 * spread) * unit];
}

export class Chart {
  constructor(spec, timeline) {
    this.spec = spec;
    this.timeline = timeline;
    this.plot = null;
    this.rows = [0, 0];
    this.legend = el("span", { class: "legend" });
    this.host = el("div", { class: "plot", role: "img", "aria-labelledby": `${spec.id}-title`, "aria-describedby": `${spec.id}-said` });
    this.said = el("span", { class: "unseen", id: `${spec.id}-said` });
    this.values = spec.lines.map((line) => {
      if (!line.label) return null;
      const value = el("span", { class: "value" });
      const item = el("span", { class: "item", "data-line": line.key }, el("span", { class: `key key-${line.look}`, "aria-hidden": "true" }), line.label, " ", value);
      this.legend.append(item);
      return { item, value };
    });
  }

  // Lines there is something to show of.
  #present(run, line) {
    if (line.flat) return line.flat(run) !== null;
    return !line.optional || run.column(line.key).some((value) => value > 0);
  }

  draw(run) {
    const [from, to] = (this.rows = run.within(this.timeline.from, this.timeline.to));
    const log = this.spec.axis.log;
    const clean = (value) => (log && !(value > 0) ? null : value);
    const data = [run.columns.t_ms.slice(from, to)];
    for (const line of this.spec.lines) {
      if (!this.#present(run, line)) data.push(new Array(to - from).fill(null));
      else if (line.flat) data.push(new Array(to - from).fill(isFar(line, line.flat(run), data[1]) ? null : line.flat(run)));
      else data.push(run.column(line.key).slice(from, to).map(clean));
    }
    const [width, height] = [Math.max(120, this.timeline.width), this.timeline.width < 520 ? HEIGHT_NARROW : HEIGHT];
    const gutters = `${this.timeline.left}/${this.timeline.right}`;
    if (!this.plot || this.gutters !== gutters) {
      this.plot?.destroy();
      this.gutters = gutters;
      this.plot = new globalThis.uPlot(this.#options(width, height), data, this.host);
    } else {
      if (this.plot.width !== width || this.plot.height !== height) this.plot.setSize({ width, height });
      this.plot.setData(data, true);
    }
  }

  // Legend values at a row; null for the latest.
  read(run, row) {
    const at = row ?? run.rows - 1;
    const told = [];
    this.spec.lines.forEach((line, index) => {
      const value = this.values[index];
      if (!value) return;
      value.item.hidden = !this.#present(run, line);
      if (value.item.hidden) return;
      const text = line.format(line.flat ? line.flat(run) : valueNear(run.column(line.key), at, line.sparse));
      say(value.value, text);
      if (text) told.push(`${line.label} ${text}`);
    });
    return told.join(", ");
  }

  // What the picture shows, for those who do not see it.
  summarise(run) {
    const parts = [this.spec.unit];
    for (const line of this.spec.lines) {
      if (line.flat || !this.#present(run, line)) continue;
      const shown = run.column(line.key).slice(...this.rows).filter((value) => value !== null);
      if (shown.length === 0) continue;
      const [low, high] = shown.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
      parts.push(`${line.label} from ${line.format(low)} to ${line.format(high)}`);
    }
    say(this.said, parts.join("; "));
  }

  // The colours are read when a plot is made.
  forget() {
    this.plot?.destroy();
    this.plot = null;
  }

  #options(width, height) {
    const { spec, timeline } = this;
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim() || "transparent";
    const font = `11px ${style.getPropertyValue("--font").trim()}`;
    const y = { show: true, scale: "y", size: timeline.left, gap: 6, font, stroke: colour("ink-3"), ticks: { show: false }, grid: { stroke: colour("grid"), width: 1 }, space: 32,
      values: (_, splits) => splits.map((value) => (value === null ? "" : spec.axis.format(value))) };
    const axes = [
      { scale: "x", size: 8, font, stroke: colour("ink-3"), ticks: { show: false }, grid: { stroke: colour("grid"), width: 1 }, splits: () => timeline.ticks(), values: (_, splits) => splits.map(() => "") },
      spec.axis.log ? { ...y, splits: (_, __, low, high) => decades(low, high) } : y,
    ];
    const scales = { x: { time: false, range: () => [timeline.from, timeline.to] }, y: scaleOf(spec.axis) };
    if (spec.second) {
      axes.push({ ...y, scale: spec.second.scale, side: 1, size: timeline.right, grid: { show: false }, values: (_, splits) => splits.map(spec.second.format) });
      scales[spec.second.scale] = scaleOf(spec.second);
    }
    const index = (key) => spec.lines.findIndex((line) => line.key === key) + 1;
    return {
      width, height, scales, axes,
      padding: [8, spec.second ? 0 : timeline.right, 0, 0],
      legend: { show: false },
      cursor: { show: false },
      series: [{}, ...spec.lines.map((line) => ({
        scale: line.scale ?? "y",
        stroke: line.hidden ? "transparent" : colour(`line-${line.look}`),
        fill: line.fill ? colour(`fill-${line.look}`) : undefined,
        width: line.width ?? 1,
        dash: line.dash,
        paths: line.dots ? () => null : undefined,
        points: line.dots ? { show: true, size: 5, stroke: colour(`line-${line.look}`), fill: colour("panel"), width: 1.5 } : { show: false },
      }))],
      bands: spec.lines.filter((line) => line.band).map((line) => ({ series: line.band.map(index), fill: colour("fill-band") })),
    };
  }
}

// The table twin of a chart: at most this many rows, each the mean or the worst of its part.
const TWIN_ROWS = 30;

export function twinOf(spec, run, timeline) {
  const [from, to] = run.within(timeline.from, timeline.to);
  const lines = spec.lines.filter((line) => !line.flat);
  const head = ["Time", ...lines.map((line) => line.label)];
  const step = Math.max(1, Math.ceil((to - from) / TWIN_ROWS));
  const body = [];
  for (let end = to; end > from; end -= step) {
    const begin = Math.max(from, end - step);
    const worst = (line) => run.column(line.key).slice(begin, end).reduce((most, value) => (value === null ? most : Math.max(most ?? value, value)), null);
    body.push([timeline.label(run.columns.t_ms[end - 1], { tenths: true }), ...lines.map((line) => line.format(worst(line)))]);
  }
  return { head, body, note: step > 1 ? `highest value of each ${span(step * run.everyMs)}` : "every sample" };
}

export function legendFor(chart, run, row) {
  const text = chart.read(run, row);
  mark(chart.legend, "data-at", row === null ? null : "cursor");
  return text || NOTHING;
}

// Pings are rare: the value of the last few seconds is still the present one.
function valueNear(column, at, sparse) {
  const least = sparse ? Math.max(0, at - 60) : at;
  for (let index = at; index >= least && index >= 0; index -= 1) if (column[index] !== null && column[index] !== undefined) return column[index];
  return null;
}

function scaleOf({ log, least }) {
  if (!log) return { range: (_, low, high) => [0, nice(Math.max(high ?? 0, least))] };
  return {
    distr: 3,
    log: 10,
    range: (_, low, high) => {
      if (!(low > 0)) return [1, 100];
      const [from, to] = [Math.max(LATENCY_LEAST_MS, 10 ** Math.floor(Math.log10(low))), 10 ** Math.ceil(Math.log10(high * 1.01))];
      return [from, Math.max(to, from * 10)];
    },
  };
}

function decades(low, high) {
  const found = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power += 1) found.push(10 ** power);
  return found;
}

// The next round number with some air above.
function nice(value) {
  const air = value * 1.08;
  const decade = 10 ** Math.floor(Math.log10(air));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * decade).find((round) => round >= air) ?? air;
}
