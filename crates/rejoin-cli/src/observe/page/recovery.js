// The bill of each outage as one stacked bar: where the time went.

import { el, mark, rows, say, svg } from "./dom.js";
import { harmless, span, words } from "./format.js";

export const PHASES = [
  ["detect", "detect", "until the loss was noticed"],
  ["refused", "refused", "attempts that failed"],
  ["waited", "waited", "pauses between attempts"],
  ["connect", "connect", "the attempt that succeeded"],
  ["resubscribe", "resubscribe", "until the subscriptions were granted"],
  ["drain", "drain", "until what had waited was acknowledged"],
];
export const BARS_MAX = 8;

export function phaseLegend(node) {
  node.replaceChildren(...PHASES.map(([name, word, title]) =>
    el("span", { class: "item", title }, svg("svg", { class: "phase-swatch", viewBox: "0 0 14 10", "aria-hidden": "true" }, ...phaseRects(name, 0, 14, 10)), word)));
}

// So many outages, the newest first, with their numbers. A program that gives them none is counted along: the numbers change
// when it forgets the oldest then, and the start tells which is which.
export function newest(run, most) {
  const numbered = run.outages.map((outage, index) => {
    const number = outage.number || index + 1;
    return { outage, number, key: `${run.startedUnixMs ?? ""}/${outage.number ? number : `${number}/${outage.start_ms}`}` };
  });
  return numbered.slice(-most).reverse();
}

// One row per outage, the newest first, all to one scale.
export function drawBars(node, run, onPick) {
  const numbered = newest(run, BARS_MAX);
  const longest = Math.max(1, ...numbered.map(({ outage }) => lengthOf(outage, run.nowMs)));
  rows(node, numbered, ({ key }) => key, () => makeBar(onPick), (row, { outage, number }) => {
    const length = lengthOf(outage, run.nowMs);
    const phases = PHASES.map(([name]) => [name, outage[`${name}_ms`] ?? 0]);
    say(row.querySelector(".bill-number"), `#${number}`);
    say(row.querySelector(".bill-length"), outage.end_ms === null || outage.end_ms === undefined ? `${span(length)} …` : span(length));
    say(row.querySelector(".bill-cause"), harmless(words(outage.injected ?? outage.cause)));
    const button = row.querySelector("button");
    button.outage = outage;
    const told = phases.filter(([, ms]) => ms > 0).map(([name, ms]) => `${name} ${span(ms)}`).join(", ");
    say(row.querySelector(".unseen"), `: ${told}; show it in the charts`);
    mark(button, "title", told);
    const sum = phases.reduce((all, [, ms]) => all + ms, 0);
    const drawn = `${length}/${longest}/${sum}`;
    const bar = row.querySelector("svg");
    if (bar.dataset.drawn === drawn) return;
    bar.dataset.drawn = drawn;
    let at = 0;
    const parts = [];
    // Less than the whole is known while an outage lasts: the rest is left open.
    const unit = 1000 / longest;
    for (const [name, ms] of phases) {
      if (ms <= 0) continue;
      parts.push(...phaseRects(name, at * unit, Math.max(1.5, ms * unit), 14));
      at += ms;
    }
    if (at < length) parts.push(svg("rect", { class: "phase-open", x: at * unit, y: 0.5, width: Math.max(0, (length - at) * unit), height: 13 }));
    bar.replaceChildren(...parts);
  });
}

export function lengthOf(outage, nowMs) {
  const phases = PHASES.reduce((sum, [name]) => sum + (outage[`${name}_ms`] ?? 0), 0);
  const lasted = (outage.end_ms ?? nowMs) - outage.start_ms;
  return Math.max(0, outage.total_ms ?? Math.max(lasted, phases));
}

function makeBar(onPick) {
  const button = el("button", { type: "button", class: "bill", on: { click: (event) => onPick(event.currentTarget.outage) } },
    el("span", { class: "bill-number" }), el("span", { class: "bill-cause" }),
    svg("svg", { class: "bill-drawing", viewBox: "0 0 1000 14", preserveAspectRatio: "none", "aria-hidden": "true" }),
    el("span", { class: "bill-length" }), el("span", { class: "unseen" }));
  return el("li", {}, button);
}

function phaseRects(name, x, width, height) {
  const at = { x: Number(x.toFixed(2)), y: 0, width: Number(width.toFixed(2)), height };
  const parts = [svg("rect", { class: `phase phase-${name}`, ...at })];
  // Two of six carry lines, so that neighbours differ in more than their colour.
  if (name === "refused" || name === "resubscribe") {
    const step = name === "refused" ? 3 : 2;
    let path = "";
    for (let y = step - 1; y < height; y += step) path += `M${at.x} ${y + 0.5}h${at.width}`;
    parts.push(svg("path", { class: "phase-lines", d: path }));
  }
  return parts;
}

