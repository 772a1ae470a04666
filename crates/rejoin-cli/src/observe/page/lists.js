// Everything on the page that is words: answers, totals, health, alerts, baselines, outages, events, verdict.

import { byId, cells, el, icon, mark, rows, say, svg } from "./dom.js";
import { NOTHING, bytes, count, harmless, measured, seconds, span, words } from "./format.js";
import { lengthOf, newest } from "./recovery.js";

const OUTAGES_SHOWN = 200;
const ANOMALIES_SHOWN = 20;
const EVENTS_SHOWN = 150;
const LINK_WORDS = { open: "open", suspect: "suspect", connecting: "closed", waiting: "closed", closed: "closed", stopped: "stopped" };
const LEVEL_TONES = { info: "info", good: "good", warn: "wait", bad: "bad" };
const STATUS_TONES = { healthy: "good", degraded: "wait", unhealthy: "bad" };
const ALERT_TONES = { ok: "good", pending: "wait", firing: "bad", resolved: "info" };
const ALERT_ORDER = ["firing", "pending", "resolved", "ok"];

// The two big answers. Returns what is worth saying aloud: it changes only when an answer does.
// An old answer keeps its word and loses its tone and shape.
export function answers(run, old) {
  const spoken = [];
  for (const [name, label] of [["deliver", "Will deliver"], ["link", "Link open"]]) {
    const node = byId(`answer-${name}`);
    const answer = run.answers?.[name] ?? { word: "unknown", detail: "", tone: "none" };
    toned(node, old ? "old" : answer.tone);
    say(node.querySelector("h2"), old ? `${label}, when last heard of` : label);
    say(node.querySelector(".word"), harmless(answer.word));
    say(node.querySelector(".detail"), harmless(answer.detail));
    spoken.push(`${label}: ${harmless(answer.word)}.`);
  }
  const state = run.state ?? {};
  const link = byId("link-state");
  say(link, LINK_WORDS[state.link] ?? "unknown");
  mark(link, "data-link", state.link ?? "unknown");
  mark(link, "data-tone", run.answers?.link?.tone ?? "none");
  const reason = reasonOf(run, state, harmless(run.answers?.link?.detail));
  say(byId("link-reason"), reason.text);
  if (reason.spoken) spoken.push(`${reason.spoken}.`);
  return spoken.join(" ");
}

// What stands beside the state: nothing that the answer above it says already.
function reasonOf(run, state, detail) {
  if (state.link === "open") {
    const parts = [[state.server, 1], [state.version && `MQTT ${state.version}`, 1], [state.session && `session ${state.session}`, 1]];
    return { text: parts.filter(([text]) => text).map(([text]) => harmless(text)).join(" · "), spoken: "" };
  }
  const why = harmless(state.reason ?? state.last_loss ?? "");
  const parts = [detail.includes(why) ? "" : why];
  if (state.link === "connecting" && state.stage && !detail.includes(state.stage)) parts.push(`stage ${harmless(state.stage)}`);
  if ((state.link === "connecting" || state.link === "waiting") && !detail.includes("attempt")) parts.push(`attempt ${state.attempt ?? 1}`);
  if (state.link === "waiting" && state.until_ms > run.nowMs && !detail.includes("next try")) parts.push(`next try in ${span(state.until_ms - run.nowMs)}`);
  return { text: parts.filter(Boolean).join(" · "), spoken: why };
}

export function totals(run) {
  const { totals: sums = {}, state = {} } = run;
  const t = sums ?? {};
  const s = state ?? {};
  const tiles = [
    ["accepted", count(t.accepted)],
    ["acknowledged", count(t.acked)],
    ["waiting", count(s.ahead ?? run.latest("queue")), s.queue_bytes > 0 ? bytes(s.queue_bytes) : null],
    ["oldest", span(s.oldest_ms ?? run.latest("oldest_ms"))],
    ["in flight", count(run.latest("in_flight"))],
    ["received", count(t.received)],
    ["sent again", count(t.resent)],
    ["failed", count(t.failed), null, t.failed > 0 ? "bad" : null],
    ["losses", count(t.losses), `${many(t.links, "link", "links")}, ${many(t.attempts, "try", "tries")}`],
    ["sessions lost", count(t.sessions_lost), null, t.sessions_lost > 0 ? "wait" : null],
    ["gaps", count(t.gaps), null, t.gaps > 0 ? "wait" : null],
  ];
  rows(byId("totals"), tiles, ([name]) => name, ([name]) => el("div", { class: "tile" }, el("dt", {}, name), el("dd"), el("dd", { class: "quiet" })), (node, [, value, more, tone]) => {
    say(node.children[1], value);
    say(node.children[2], more ?? "");
    mark(node, "data-tone", tone);
  });
}

const many = (number, one, more) => `${count(number)} ${number === 1 ? one : more}`;

export function health(run) {
  const given = run.health ?? { status: null, checks: [] };
  const badge = byId("health-status");
  say(badge, given.status ?? "");
  mark(badge, "data-tone", STATUS_TONES[given.status]);
  const checks = given.checks ?? [];
  byId("no-checks").hidden = checks.length > 0;
  rows(byId("checks"), checks, (check) => check.name, (check) => el("li", { class: "check", "data-testid": "health-row" },
    icon("info"), el("span", { class: "name" }, words(check.name)), el("span", { class: "detail" }), el("span", { class: "status" })), (row, check) => {
    toned(row, STATUS_TONES[check.status]);
    mark(row, "data-status", check.status);
    say(row.querySelector(".detail"), harmless(check.detail));
    const known = check.since_ms !== undefined && check.since_ms !== null;
    say(row.querySelector(".status"), check.status === "healthy" ? "" : known ? `${check.status} for ${seconds(run.nowMs - check.since_ms)}` : check.status);
  });
}

export function alerts(run) {
  const all = [...(run.alerts ?? [])].sort((a, b) => ALERT_ORDER.indexOf(a.state) - ALERT_ORDER.indexOf(b.state));
  const firing = all.filter((alert) => alert.state === "firing").length;
  const badge = byId("alert-count");
  say(badge, firing > 0 ? `${firing} firing` : all.length > 0 ? "none firing" : "");
  mark(badge, "data-tone", firing > 0 ? "bad" : all.length > 0 ? "good" : null);
  byId("no-alerts").hidden = all.length > 0;
  rows(byId("alerts"), all, (alert) => alert.rule, () => el("li", { class: "alert", "data-testid": "alert-row" },
    icon("info"), el("span", { class: "rule mono" }), el("span", { class: "status" }), el("p", { class: "measure quiet" }), el("p", { class: "evidence" }), el("p", { class: "hint quiet" })), (row, alert) => {
    toned(row, ALERT_TONES[alert.state]);
    mark(row, "data-state", alert.state);
    const unit = (run.baselines ?? []).find((one) => one.signal === alert.signal)?.unit;
    say(row.querySelector(".rule"), harmless(alert.rule));
    say(row.querySelector(".status"), alert.state === "ok" || !(alert.since_ms >= 0) ? alert.state : `${alert.state} for ${seconds(run.nowMs - alert.since_ms)}`);
    say(row.querySelector(".measure"), `${words(alert.signal)} ${measured(alert.value, alertUnit(alert, unit))}, limit ${measured(alert.limit, alertUnit(alert, unit))}`);
    const told = alert.state !== "ok";
    say(row.querySelector(".evidence"), told ? harmless(alert.evidence ?? "") : "");
    say(row.querySelector(".hint"), told ? harmless(alert.hint ?? "") : "");
  });
  return all.filter((alert) => alert.state === "firing").map((alert) => `Alert: ${harmless(alert.rule)}.`).join(" ");
}

// Reconnects are counted within a window, not per hour as their baseline is.
function alertUnit(alert, unit) {
  return alert.signal === "reconnects" ? "" : unit ?? "";
}

// A meter from a quarter to four times the usual, the middle being normal.
const RATIO_SPAN = 4;

export function baselines(run) {
  const all = run.baselines ?? [];
  byId("no-baselines").hidden = all.length > 0;
  byId("baselines").closest(".scroll").hidden = all.length === 0;
  rows(byId("baselines"), all, (one) => one.signal, (one) => el("tr", {},
    el("th", { scope: "row" }, words(one.signal)), el("td", { class: "num" }), el("td", { class: "num" }), el("td", { class: "ratio" },
      svg("svg", { class: "meter", viewBox: "0 0 64 10", "aria-hidden": "true" }, svg("path", { class: "rail", d: "M0 5h64M32 1v8" }), svg("circle", { r: 3.5, cy: 5, cx: 32, class: "now" })), el("span"))), (row, one) => {
    const learning = one.state === "learning";
    say(row.cells[1], one.median === null || one.median === undefined ? NOTHING : measured(one.median, one.unit));
    row.cells[1].title = one.spread ? `± ${measured(one.spread, one.unit)}` : "";
    say(row.cells[2], measured(one.now, one.unit));
    const ratio = one.ratio > 0 ? Math.min(RATIO_SPAN, Math.max(1 / RATIO_SPAN, one.ratio)) : null;
    const dot = row.querySelector(".now");
    mark(dot, "cx", ratio === null ? 32 : (32 + (Math.log(ratio) / Math.log(RATIO_SPAN)) * 28).toFixed(1));
    mark(row.querySelector(".meter"), "data-off", one.ratio > 2 || one.ratio < 0.5 ? "yes" : null);
    row.querySelector(".meter").classList.toggle("none", ratio === null || learning);
    say(row.querySelector(".ratio span"), learning ? `learning, ${count(one.samples)} seen` : `${one.ratio > 0 ? `${one.ratio.toFixed(one.ratio < 10 ? 1 : 0)}×` : NOTHING}${one.state === "frozen" ? " frozen" : ""}`);
  });
}

export function outages(run, timeline, onPick) {
  const numbered = newest(run, OUTAGES_SHOWN);
  const present = run.outages.at(-1);
  const lasting = present && isOpen(present);
  say(byId("outage-count"), run.outages.length === 0 ? "" : `${count(run.outages.length)}${lasting ? ", one lasting" : ""}`);
  mark(byId("outage-count"), "data-tone", lasting ? "bad" : null);
  const none = run.outages.length === 0;
  byId("no-outages").hidden = !none;
  byId("recovery").hidden = none;
  byId("outage-rows").closest(".scroll").hidden = none;
  rows(byId("outage-rows"), numbered, ({ key }) => key, () => {
    const row = el("tr", { "data-testid": "outage-row" });
    const button = el("button", { type: "button", class: "link", on: { click: () => onPick(row.outage) } });
    for (let index = 0; index < 13; index += 1) row.append(el("td", { class: index >= 3 && index <= 11 ? "num" : null }));
    row.cells[0].append(button);
    return row;
  }, (row, { outage, number }) => {
    row.outage = outage;
    const button = row.cells[0].firstElementChild;
    say(button, `#${number}`);
    mark(button, "aria-label", `Show outage ${number} in the charts`);
    const open = isOpen(outage);
    mark(row, "data-open", open ? "yes" : null);
    const texts = [timeline.label(outage.start_ms, { tenths: true }), [harmless(outage.words ?? words(outage.cause)), outage.injected ? `(${harmless(outage.injected)})` : ""].filter(Boolean).join(" "),
      `${span(lengthOf(outage, run.nowMs))}${open ? " …" : ""}`, ...["detect", "refused", "waited", "connect", "resubscribe", "drain"].map((phase) => span(outage[`${phase}_ms`])),
      count(outage.attempts), count(outage.drained), harmless(outage.session ?? NOTHING)];
    texts.forEach((text, index) => say(row.cells[index + 1], text));
    mark(row.cells[12], "data-tone", outage.session === "lost" ? "wait" : null);
  });
}

const isOpen = (outage) => outage.end_ms === null || outage.end_ms === undefined;

// The event log with its filter.
export class Log {
  constructor(timeline) {
    this.timeline = timeline;
    this.words = [];
    this.level = "all";
    this.shown = EVENTS_SHOWN;
    this.drawn = "";
    byId("event-filter").addEventListener("input", (event) => {
      this.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      this.#again();
    });
    for (const button of document.querySelectorAll("[data-level]")) {
      button.addEventListener("click", () => {
        this.level = button.dataset.level;
        for (const other of document.querySelectorAll("[data-level]")) mark(other, "aria-pressed", other === button);
        this.#again();
      });
    }
    byId("more-events").addEventListener("click", () => {
      this.shown += 4 * EVENTS_SHOWN;
      this.#again();
    });
  }

  draw(run) {
    this.run = run;
    const key = `${run.lastEvent}/${run.events.length}/${this.words}/${this.level}/${this.shown}/${this.timeline.ofDay}/${run.startedUnixMs}/${run.steps.at(-1)?.at_ms}`;
    if (key === this.drawn) return;
    this.drawn = key;
    const found = run.events.filter((event) => this.#wanted(event));
    const shown = found.slice(-this.shown).reverse();
    byId("no-events").hidden = found.length > 0;
    say(byId("no-events"), run.events.length === 0 ? "No event yet." : "No event fits the filter.");
    say(byId("event-count"), found.length === run.events.length ? count(found.length) : `${count(found.length)} of ${count(run.events.length)}`);
    byId("more-events").hidden = shown.length === found.length;
    rows(byId("event-rows"), shown, (event) => run.keyed(event.id), (event) => {
      const tone = LEVEL_TONES[event.level] ?? "info";
      return el("tr", { "data-testid": "event-row", "data-tone": tone, "data-level": event.level },
        el("td", { class: "num time" }), el("td", { class: "what" }, icon(tone), harmless(event.word)), el("td", { class: "told" }, el("bdi", {}, harmless(event.text))));
    }, (row, event) => say(row.cells[0], this.timeline.label(event.at_ms, { tenths: true })));
  }

  #wanted(event) {
    if (this.level === "bad" && event.level !== "bad") return false;
    if (this.level === "warn" && event.level !== "bad" && event.level !== "warn") return false;
    const text = `${event.word} ${event.text}`.toLowerCase();
    return this.words.every((word) => text.includes(word));
  }

  #again() {
    if (this.run) this.draw(this.run);
  }
}

export function verdict(run) {
  const node = byId("verdict");
  const given = run.verdict;
  node.hidden = !given;
  if (!given) return "";
  const key = JSON.stringify(given);
  if (node.dataset.key !== key) {
    node.dataset.key = key;
    toned(node, given.pass ? "good" : "bad");
    const expectations = (given.expectations ?? []).map((one) => el("tr", { "data-tone": one.pass ? "good" : "bad" },
      el("th", { scope: "row" }, harmless(one.name)), el("td", { class: "num" }, harmless(one.limit)), el("td", { class: "num" }, harmless(one.value)), el("td", { class: "what" }, icon(one.pass ? "good" : "bad"), one.pass ? "pass" : "fail")));
    const title = harmless(given.title || (given.pass ? "PASS" : "FAIL"));
    // The lines are those of a terminal, where the first one begins with the title.
    const lines = (given.lines ?? []).map((line) => harmless(line).trim()).map((line) => (line.startsWith(`${title} `) ? line.slice(title.length).trim() : line));
    node.replaceChildren(icon(given.pass ? "good" : "bad"), el("div", {}, el("div", {}, el("h2", {}, title), ...lines.map((line) => el("p", {}, line)), ...(given.anomalies ?? []).slice(0, ANOMALIES_SHOWN).map(({ what }) => el("p", { class: "quiet" }, harmless(what)))),
      ...(expectations.length > 0 ? [el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Expectations" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Expectation", "Limit", "Value", "Result"].map((head, index) => el("th", { scope: "col", class: index === 1 || index === 2 ? "num" : null }, head)))), el("tbody", {}, ...expectations)))] : [])));
  }
  return `Verdict: ${harmless(given.title ?? "")}.`;
}

// A table twin: head, body and a note about what it leaves out. All but the first column are numbers, unless it is words.
export function fillTwin(node, { head, body, note, inWords = false }, title) {
  const kind = (index) => (index > 0 && !inWords ? "num" : null);
  if (!node.firstElementChild) {
    node.append(el("table", {}, el("caption"), el("thead", {}, el("tr", {}, ...head.map((text, index) => el("th", { scope: "col", class: kind(index) }, text)))), el("tbody")));
  }
  say(node.querySelector("caption"), `${title}: ${note}`);
  rows(node.querySelector("tbody"), body.map((texts, index) => ({ texts, index })), ({ index }) => index, () => el("tr", {}, ...head.map((_, index) => el("td", { class: kind(index) }))), (row, { texts }) => cells(row, texts));
}

// Colour and shape of whatever tells good from bad.
function toned(node, tone = "none") {
  if (node.dataset.tone === tone) return;
  node.dataset.tone = tone;
  const use = node.querySelector(":scope > .icon use");
  if (use) mark(use, "href", `#i-${["good", "wait", "bad", "old"].includes(tone) ? tone : "info"}`);
}
