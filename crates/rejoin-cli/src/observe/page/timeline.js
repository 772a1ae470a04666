// One time axis for all charts: which part of the run is shown, where a moment lies on the screen, and the cursor.

import { moment } from "./format.js";

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800];
// A run of two seconds is not stretched over the whole width.
const LEAST_MS = 10_000;
const PIXELS_PER_LABEL = 88;

export class Timeline {
  constructor() {
    this.range = 60_000;
    // A part chosen by hand, such as one outage: [from, to], or null to follow the present.
    this.fixed = null;
    this.ofDay = false;
    this.cursorMs = null;
    this.left = 56;
    this.right = 48;
    this.width = 800;
    this.from = 0;
    this.to = LEAST_MS;
    this.run = null;
  }

  // Settles what is shown for a run and a width in pixels.
  settle(run, width) {
    this.run = run;
    this.width = width;
    [this.left, this.right] = width < 520 ? [56, 40] : [64, 56];
    if (this.fixed) {
      [this.from, this.to] = this.fixed;
      return;
    }
    const first = run.rows > 0 ? Math.min(run.columns.t_ms[0], run.nowMs) : 0;
    const begin = this.range === "all" ? 0 : Math.max(0, run.nowMs - this.range);
    this.from = this.range === "all" && first > 60_000 ? first : begin;
    this.to = Math.max(run.nowMs, this.from + LEAST_MS);
  }

  get plotWidth() {
    return Math.max(10, this.width - this.left - this.right);
  }

  // Pixels from the left edge of the figures.
  x(ms) {
    const share = (ms - this.from) / (this.to - this.from);
    return this.left + Math.min(1, Math.max(0, share)) * this.plotWidth;
  }

  // The moment under a pixel, within what is shown.
  at(x) {
    const share = Math.min(1, Math.max(0, (x - this.left) / this.plotWidth));
    return this.from + share * (this.to - this.from);
  }

  // Whether any of a span is shown.
  shows(fromMs, toMs) {
    return toMs >= this.from && fromMs <= this.to;
  }

  // Where labels and grid lines stand.
  ticks() {
    const wanted = Math.max(2, this.plotWidth / PIXELS_PER_LABEL);
    const least = (this.to - this.from) / 1000 / wanted;
    const step = (STEPS_S.find((step) => step >= least) ?? Math.ceil(least / 604800) * 604800) * 1000;
    const even = this.ofDay ? this.run?.evenly() ?? [] : [];
    const parts = even.length > 0 ? even.map(({ from, started }) => [from, wallShift(started)]) : [[-Infinity, 0]];
    const ticks = [];
    parts.forEach(([from, shift], index) => {
      const first = Math.max(this.from, from);
      const next = parts[index + 1]?.[0] ?? Infinity;
      for (let at = Math.ceil((first + shift) / step) * step - shift; at <= this.to && at < next; at += step) ticks.push(at);
    });
    return ticks;
  }

  label(ms, options) {
    const now = this.run ? this.run.startedBy(this.run.nowMs) + this.run.nowMs : null;
    return moment(ms, this.run?.startedBy(ms), this.ofDay, { now, ...options });
  }

  // The same below the axis, where there is little room: the seconds of another day only where nothing else tells two apart.
  tickLabel(ms) {
    return this.label(ms, this.to - this.from < 600_000 ? { now: null } : { coarse: true });
  }
}

// How far the start of the run is from midnight by the clock on the wall, so that full minutes get the labels.
function wallShift(startedUnixMs) {
  const date = new Date(startedUnixMs);
  return ((date.getHours() * 60 + date.getMinutes()) * 60 + date.getSeconds()) * 1000 + date.getMilliseconds();
}
