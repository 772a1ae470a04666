// The charts as one picture: one time axis, one cursor, the outages shaded through all of it, a table twin for each.

import { CHARTS, Chart, legendFor, twinOf } from "./charts.js";
import { byId, el, mark, rows, say, svg } from "./dom.js";
import { Lanes, drawBands } from "./lanes.js";
import { fillTwin } from "./lists.js";

// Tables for readers are brought up to date less often than pictures.
const TWIN_EVERY_MS = 1_000;
// However long the range is, the picture is drawn anew this often.
const PIXEL_MOST_MS = 2_000;

export class Picture {
  constructor(timeline) {
    this.timeline = timeline;
    this.run = null;
    this.lanes = new Lanes(timeline);
    this.charts = CHARTS.map((spec) => new Chart(spec, timeline));
    this.twins = [];
    this.host = byId("figures");
    this.panel = byId("picture");
    this.axis = byId("axis");
    this.twinsAt = 0;
    this.drawnAt = -Infinity;
    this.drawnKey = "";
    this.#figure("lanes", "Link", this.lanes.drawing, [this.lanes.legend, this.lanes.honesty, this.lanes.said], () => this.lanes.twin(this.run));
    for (const chart of this.charts) {
      this.#figure(chart.spec.id, chart.spec.title, chart.host, [chart.legend, chart.said], () => twinOf(chart.spec, this.run, timeline));
    }
    this.#pointer();
    this.#keyboard();
    new ResizeObserver(() => this.run && this.draw(this.run)).observe(this.host);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      for (const chart of this.charts) chart.forget();
      if (this.run) this.draw(this.run);
    });
  }

  // Draws when there is something to see: a change of state, or time enough to move the picture by a pixel. The values
  // in the legends are always the latest.
  follow(run) {
    const { timeline } = this;
    const key = `${run.lanes.client.length}/${run.lanes.truth.length}/${run.lanes.injected.length}/${run.outages.length}/${run.outages.at(-1)?.end_ms}/${run.startedUnixMs}/${run.steps.at(-1)?.at_ms}`;
    const moved = Math.abs(run.nowMs - this.drawnAt);
    if (run === this.run && key === this.drawnKey && moved < Math.min(PIXEL_MOST_MS, (timeline.to - timeline.from) / timeline.plotWidth)) {
      this.#drawCursor();
      return;
    }
    this.drawnKey = key;
    this.draw(run);
  }

  draw(run) {
    this.run = run;
    this.drawnAt = run.nowMs;
    this.timeline.settle(run, this.host.clientWidth);
    byId("no-samples").hidden = run.rows > 0;
    this.lanes.draw(run);
    for (const chart of this.charts) chart.draw(run);
    drawBands(byId("bands"), run, this.timeline, this.host.offsetHeight);
    this.#drawAxis();
    this.#drawCursor();
    const now = performance.now();
    if (now - this.twinsAt >= TWIN_EVERY_MS) {
      this.twinsAt = now;
      for (const chart of this.charts) chart.summarise(run);
      for (const twin of this.twins) if (!twin.node.hidden) twin.fill();
    }
  }

  #figure(id, title, drawing, legends, twinRows) {
    const twin = el("div", { class: "twin scroll", id: `${id}-twin`, hidden: true, tabindex: 0, role: "region", "aria-label": `${title} as a table` });
    const fill = () => this.run && fillTwin(twin, twinRows(), title);
    const button = el("button", { type: "button", class: "twin-open", "aria-expanded": "false", "aria-controls": twin.id, "aria-label": `${title} as a table`, on: {
      click: () => {
        twin.hidden = !twin.hidden;
        mark(button, "aria-expanded", !twin.hidden);
        if (!twin.hidden) fill();
        if (this.run) this.draw(this.run);
      },
    } }, "Table");
    this.twins.push({ node: twin, fill });
    this.host.append(el("figure", { class: `figure figure-${id}`, "aria-labelledby": `${id}-title` },
      el("figcaption", {}, el("span", { class: "title", id: `${id}-title` }, title), ...legends, button), drawing, twin));
  }

  #drawAxis() {
    const { timeline, axis, run } = this;
    let drawing = axis.firstElementChild;
    if (!drawing) axis.append((drawing = svg("svg", { class: "ticks", "aria-hidden": "true" })));
    mark(drawing, "width", timeline.width);
    mark(drawing, "height", 24);
    rows(drawing, timeline.ticks().map((ms) => ({ ms, x: timeline.x(ms) })).filter(({ x }) => x < timeline.width - timeline.right + 1), ({ ms }) => Math.round(ms),
      () => svg("text", { y: 15, "text-anchor": "middle" }), (node, { ms, x }) => {
        mark(node, "x", x.toFixed(1));
        say(node, timeline.tickLabel(ms));
      });
    mark(axis, "aria-valuemin", Math.round(timeline.from));
    mark(axis, "aria-valuemax", Math.round(timeline.to));
    if (timeline.cursorMs === null) mark(axis, "aria-valuenow", Math.round(run.nowMs));
  }

  // Sets or takes away the cursor.
  point(ms) {
    this.timeline.cursorMs = ms;
    if (this.run) this.#drawCursor();
  }

  #drawCursor() {
    const { timeline, run } = this;
    const line = byId("cursor");
    const ms = timeline.cursorMs;
    const row = ms === null ? null : run.nearest(ms);
    const shown = row !== null && row >= 0 && ms >= timeline.from && ms <= timeline.to;
    line.hidden = !shown;
    const told = this.charts.map((chart) => legendFor(chart, run, shown ? row : null));
    if (!shown) {
      mark(this.axis, "aria-valuetext", "no time chosen");
      return;
    }
    const at = run.columns.t_ms[row];
    // A property set by script is no inline style to the content policy.
    line.style.transform = `translateX(${timeline.x(at).toFixed(1)}px)`;
    line.classList.toggle("leftward", timeline.x(at) > timeline.width * 0.7);
    const state = this.lanes.at(run, at);
    say(byId("cursor-time"), `${timeline.label(at, { tenths: true })} · ${state}`);
    mark(this.axis, "aria-valuenow", Math.round(at));
    mark(this.axis, "aria-valuetext", `${timeline.label(at, { tenths: true })}: ${state}, ${told.join(", ")}`);
  }

  #pointer() {
    const move = (event) => {
      if (!this.run || event.target.closest("button, .twin")) return;
      this.point(this.timeline.at(event.clientX - this.host.getBoundingClientRect().left));
    };
    this.panel.addEventListener("pointermove", move);
    this.panel.addEventListener("pointerdown", move);
    this.panel.addEventListener("pointerleave", () => document.activeElement !== this.axis && this.point(null));
  }

  #keyboard() {
    this.axis.addEventListener("keydown", (event) => {
      if (!this.run || this.run.rows === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
      const { timeline, run } = this;
      const step = Math.max(run.everyMs, (timeline.to - timeline.from) / 120) * (event.shiftKey ? 10 : 1);
      const from = timeline.cursorMs ?? run.nowMs;
      const to = { ArrowLeft: from - step, ArrowRight: from + step, ArrowDown: from - step, ArrowUp: from + step, PageDown: from - 10 * step, PageUp: from + 10 * step, Home: timeline.from, End: run.nowMs, Escape: null }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.point(to === null ? null : Math.min(run.nowMs, Math.max(timeline.from, to)));
    });
    this.axis.addEventListener("blur", () => this.point(null));
  }
}
