// The lanes: what was injected, what was true, what the client said; and the outages shaded through everything below.
//
// A state is told by height, pattern and colour, so that no lane needs its colour to be read.

import { el, say, svg } from "./dom.js";
import { harmless, span } from "./format.js";

const LANE = 18;
const GAP = 8;
// Room for the numbers of the outages.
const TOP = 18;
// Height of a bar in the lane, of LANE.
const HEIGHTS = { open: LANE, suspect: LANE, connecting: 10, waiting: 6, closed: 6, stopped: 2 };
const WORDS = { open: "open", suspect: "open, in doubt", connecting: "connecting", waiting: "waiting", closed: "closed", stopped: "stopped" };
// A label inside a bar needs about this much per letter.
const LETTER = 6.2;

export class Lanes {
  constructor(timeline) {
    this.timeline = timeline;
    this.legend = el("span", { class: "legend" });
    this.honesty = el("span", { class: "honesty", "data-testid": "honesty" });
    this.drawing = svg("svg", { class: "lanes", role: "img", "aria-labelledby": "lanes-title", "aria-describedby": "lanes-said" });
    this.said = el("span", { class: "unseen", id: "lanes-said" });
    for (const state of ["open", "suspect", "connecting", "waiting"]) {
      this.legend.append(el("span", { class: "item" }, el("span", { class: `swatch swatch-${state}`, "aria-hidden": "true" }), WORDS[state]));
    }
  }

  draw(run) {
    const { timeline } = this;
    const lanes = run.hasInjected ? ["injected", "truth", "client"] : ["client", "heard"];
    const height = TOP + lanes.length * (LANE + GAP);
    this.drawing.setAttribute("viewBox", `0 0 ${timeline.width} ${height}`);
    this.drawing.setAttribute("width", timeline.width);
    this.drawing.setAttribute("height", height);
    const parts = [patterns(), ...this.#numbers(run)];
    lanes.forEach((name, index) => {
      const y = TOP + index * (LANE + GAP);
      parts.push(svg("text", { class: "lane-name", x: timeline.left - 8, y: y + LANE / 2, "text-anchor": "end", "dominant-baseline": "central" }, name));
      parts.push(svg("line", { class: "lane-floor", x1: timeline.left, x2: timeline.width - timeline.right, y1: y + LANE + 0.5, y2: y + LANE + 0.5 }));
      if (name === "injected") parts.push(...this.#injected(run, y));
      else if (name === "heard") parts.push(...this.#heard(run, y));
      else parts.push(...this.#states(run, run.lanes[name], y));
      if (name === "client") parts.push(...this.#claims(run, y));
    });
    this.drawing.replaceChildren(...parts);
    this.#sum(run);
  }

  // The state of each lane at a moment, in words.
  at(run, ms) {
    const found = (lane) => run.lanes[lane].findLast((span) => span.from_ms <= ms && ms <= (span.to_ms ?? run.nowMs));
    const client = found("client");
    const told = [`client ${WORDS[client?.state] ?? "unknown"}`];
    if (run.hasTruth) told.push(`truth ${WORDS[found("truth")?.state] ?? "unknown"}`);
    const injected = found("injected");
    if (injected) told.push(harmless(injected.label ?? injected.what));
    return told.join(", ");
  }

  twin(run) {
    const { timeline } = this;
    const rows = [];
    for (const [lane, spans] of Object.entries(run.lanes)) {
      for (const one of spans) {
        const to = one.to_ms ?? run.nowMs;
        if (timeline.shows(one.from_ms, to)) rows.push([one.from_ms, lane, harmless(one.label ?? WORDS[one.state] ?? one.state ?? one.what), span(to - one.from_ms), harmless(one.reason ?? "")]);
      }
    }
    rows.sort((a, b) => b[0] - a[0]);
    const body = rows.slice(0, 60).map(([from, ...rest]) => [timeline.label(from, { tenths: true }), ...rest]);
    return { head: ["From", "Lane", "State", "For", "Reason"], body, note: rows.length > 60 ? "the newest 60" : "all that is shown", inWords: true };
  }

  #states(run, spans, y) {
    const parts = [];
    for (const one of spans) {
      const to = one.to_ms ?? run.nowMs;
      if (!this.timeline.shows(one.from_ms, to)) continue;
      const height = HEIGHTS[one.state] ?? 4;
      const title = `${WORDS[one.state] ?? one.state} for ${span(to - one.from_ms)}${one.reason ? `: ${harmless(one.reason)}` : ""}`;
      parts.push(this.#bar(one.from_ms, to, y + LANE - height, height, `state state-${one.state}`, title));
      if (one.state === "suspect" || one.state === "connecting") parts.push(this.#bar(one.from_ms, to, y + LANE - height, height, `over over-${one.state}`, title));
    }
    return parts;
  }

  #injected(run, y) {
    const parts = [];
    for (const one of run.lanes.injected) {
      const to = one.to_ms ?? run.nowMs;
      if (!this.timeline.shows(one.from_ms, to)) continue;
      const label = harmless(one.label ?? one.what);
      parts.push(this.#bar(one.from_ms, to, y, LANE, "injected", `${label} for ${span(to - one.from_ms)}`));
      const [left, right] = [this.timeline.x(one.from_ms), this.timeline.x(to)];
      const short = fitting(label, right - left - 8);
      if (short) parts.push(svg("text", { class: "bar-name", x: (left + right) / 2, y: y + LANE / 2, "text-anchor": "middle", "dominant-baseline": "central" }, short));
    }
    return parts;
  }

  #claims(run, y) {
    return run.claims().filter((one) => this.timeline.shows(one.from_ms, one.to_ms))
      .map((one) => this.#bar(one.from_ms, one.to_ms, y, LANE, "claim", `said open while closed for ${span(one.to_ms - one.from_ms)}`));
  }

  // The outages by their numbers in the table, as far as there is room.
  #numbers(run) {
    const parts = [];
    let free = -Infinity;
    run.outages.forEach((outage, index) => {
      const to = outage.end_ms ?? run.nowMs;
      if (!this.timeline.shows(outage.start_ms, to)) return;
      const text = `#${index + 1}`;
      const middle = (this.timeline.x(outage.start_ms) + this.timeline.x(to)) / 2;
      if (middle - free < text.length * LETTER + 8) return;
      parts.push(svg("text", { class: "band-name", x: middle.toFixed(1), y: 12, "text-anchor": "middle" }, text));
      free = middle;
    });
    return parts;
  }

  // A tick for each sample in which something was heard: a gap is silence.
  #heard(run, y) {
    const [from, to] = run.within(this.timeline.from, this.timeline.to);
    const silent = run.column("silent_ms");
    const fine = run.finelyFrom;
    const known = fine > 0 ? run.columns.t_ms[fine] ?? run.nowMs : 0;
    let path = "";
    let last = -1;
    for (let row = Math.max(from, fine); row < to; row += 1) {
      if (silent[row] === null || silent[row] === undefined || silent[row] > run.everyMs) continue;
      const x = Math.round(this.timeline.x(run.columns.t_ms[row] - silent[row])) + 0.5;
      if (x - last < 2) continue;
      path += `M${x} ${y + 4}v${LANE - 4}`;
      last = x;
    }
    const parts = [svg("path", { class: "heard", d: path || "M0 0" })];
    if (known > this.timeline.from) parts.push(...this.#unknown(known, y));
    return parts;
  }

  // What was heard so long ago is not kept: neither heard nor silent.
  #unknown(known, y) {
    const [left, right] = [this.timeline.left, this.timeline.x(known)];
    const title = "what was heard here is not kept so finely";
    const parts = [this.#bar(this.timeline.from, known, y + LANE / 2 - 1, 2, "unheard", title)];
    const short = fitting("not kept", right - left - 8);
    if (short) parts.push(svg("text", { class: "lane-name", x: (left + right) / 2, y: y + LANE / 2 - 6, "text-anchor": "middle" }, short));
    return parts;
  }

  #bar(fromMs, toMs, y, height, className, title) {
    const x = this.timeline.x(fromMs);
    return svg("rect", { class: className, x: x.toFixed(1), y, width: Math.max(1, this.timeline.x(toMs) - x).toFixed(1), height }, svg("title", {}, title));
  }

  #sum(run) {
    const claimed = run.hasTruth ? run.honesty?.claimed_open_while_closed_ms ?? 0 : null;
    this.honesty.hidden = claimed === null;
    if (claimed !== null) {
      if (!this.honesty.firstElementChild) this.honesty.append(el("span", { class: "swatch swatch-claim", "aria-hidden": "true" }), el("span"));
      const longest = run.honesty?.longest_ms ?? 0;
      say(this.honesty.lastElementChild, claimed > 0 ? `said open while closed: ${span(claimed)} in all, ${span(longest)} at most` : "never said open while closed");
    }
    say(this.said, `Now ${this.at(run, run.nowMs)}. ${claimed === null ? "" : this.honesty.textContent}`);
  }
}

// The outages as bands behind every chart.
export function drawBands(node, run, timeline, height) {
  node.setAttribute("width", timeline.width);
  node.setAttribute("height", height);
  const parts = [];
  for (const outage of run.outages) {
    const to = outage.end_ms ?? run.nowMs;
    if (!timeline.shows(outage.start_ms, to)) continue;
    const [left, right] = [timeline.x(outage.start_ms), timeline.x(to)];
    parts.push(svg("rect", { class: "band", x: left.toFixed(1), y: 0, width: Math.max(1.5, right - left).toFixed(1), height }));
  }
  node.replaceChildren(...parts);
}

// As much of a text as fits, if that is worth reading.
function fitting(text, width) {
  const letters = Math.floor(width / LETTER);
  if (text.length <= letters) return text;
  return letters >= 5 ? `${text.slice(0, letters - 1)}…` : "";
}

function patterns() {
  const lines = (id, className, size, path, turn) => svg("pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turn ? `rotate(${turn})` : null }, svg("path", { class: className, d: path }));
  return svg("defs", {},
    lines("p-claim", "p-claim", 6, "M0 0v6", 45),
    lines("p-suspect", "p-suspect", 8, "M0 0v8", -45),
    lines("p-connecting", "p-connecting", 4, "M0 0v4", 0));
}
