// The live page: holds the run, draws it when something came, and says so when nothing comes any more.

import { Controls, takeToken } from "./controls.js";
import { byId, mark, say } from "./dom.js";
import { Feed } from "./feed.js";
import { harmless, seconds } from "./format.js";
import { listen } from "./keys.js";
import { Log, alerts, answers, baselines, health, outages, totals, verdict } from "./lists.js";
import { Picture } from "./picture.js";
import { drawBars, phaseLegend } from "./recovery.js";
import { Run } from "./run.js";
import { Timeline } from "./timeline.js";

const once = new URLSearchParams(location.search).get("snapshot") === "1";
// Some air on both sides of an outage that is looked at.
const AIR_LEAST_MS = 2_000;

const timeline = new Timeline();
const controls = new Controls(takeToken());
const picture = new Picture(timeline);
const log = new Log(timeline);
let run = null;
let status = { phase: "loading" };
let due = false;
let spoken = "";
let stuckSaid = "";

const feed = new Feed({
  snapshot(document) {
    if (run) {
      const before = run.startedUnixMs;
      run.replace(document);
      // A picture that was held is one of another run.
      if (run.startedUnixMs !== before && timeline.fixed) hold();
    } else {
      run = new Run(document);
      timeline.ofDay = run.program.verb !== "demo";
      tellClock();
    }
    // For the console and for tests: what this page holds.
    globalThis.rejoinRun = run;
    redraw();
  },
  update(data) {
    const fits = run.apply(data);
    redraw();
    return fits;
  },
  phase(given) {
    status = given;
    tellPhase();
    redraw();
  },
});

// What is read in the title of a tab and by a screen reader waits for no frame: a hidden tab gets none.
function tell() {
  const texts = [answers(run, isOld()), alerts(run), verdict(run)];
  announce(texts.filter(Boolean).join(" "));
  entitle();
}

function redraw() {
  if (run) tell();
  if (due) return;
  due = true;
  // A hidden tab draws when it is seen again.
  requestAnimationFrame(() => {
    due = false;
    if (run) draw();
  });
}

function draw() {
  totals(run);
  health(run);
  baselines(run);
  controls.draw(run);
  picture.follow(run);
  drawBars(byId("bars"), run, show);
  outages(run, timeline, show);
  log.draw(run);
  subject();
  document.documentElement.dataset.ready = "1";
}

function subject() {
  const { client, program } = run;
  say(byId("client-name"), harmless(client.name || client.id || "client"));
  say(byId("servers"), [client.name && client.id, (client.servers ?? []).join(", ")].filter(Boolean).map(harmless).join(" → "));
  say(byId("program"), [`rejoin ${program.version ?? ""}`, program.command, program.machine].filter(Boolean).map(harmless).join(" · "));
}

function entitle() {
  const { client } = run;
  const link = byId("link-state").textContent;
  const title = isOld() ? `? ${link} (old) · rejoin` : `${link === "open" ? "●" : link === "suspect" ? "◐" : "○"} ${link} · ${harmless(client.name || client.id || "rejoin")}`;
  if (document.title !== title) document.title = title;
}

function announce(text) {
  if (text === spoken) return;
  spoken = text;
  say(byId("said"), text);
}

const isOld = () => status.phase === "silent" || status.phase === "lost";

function tellPhase() {
  const node = byId("stream");
  mark(node, "data-phase", status.phase);
  mark(document.documentElement, "data-old", isOld() && run ? "yes" : null);
  controls.stale(isOld());
  tickPhase();
}

// Once a second, as its texts count.
function tickPhase() {
  const now = performance.now();
  const words = { loading: "loading", live: timeline.fixed ? "live, picture held" : "live", snapshot: "one moment, not live", silent: "silent", lost: "lost" };
  const next = status.phase === "lost" && status.nextAt ? Math.max(0, status.nextAt - now) : null;
  say(byId("stream-word"), next === null ? words[status.phase] : next < 1000 ? "lost, trying" : `lost, next try in ${seconds(next)}`);
  byId("lost").hidden = !isOld();
  if (!isOld()) {
    stuckSaid = "";
    say(byId("said-loudly"), "");
    return;
  }
  const age = status.heardAt ? now - status.heardAt : null;
  const ended = run?.verdict && status.phase === "lost";
  say(byId("lost-head"), ended ? `The program ended its run and is gone for ${seconds(age)}; this is how it ended.` : run ? `This page lost the program ${seconds(age)} ago; what it shows is old.` : "This page cannot reach the program.");
  say(byId("lost-detail"), `${capital(harmless(status.why ?? ""))}.`);
  if (!stuckSaid) {
    stuckSaid = run ? "This page lost the program; what it shows is old." : "This page cannot reach the program.";
    say(byId("said-loudly"), stuckSaid);
  }
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function choose(range) {
  timeline.range = range;
  timeline.fixed = null;
  settled();
}

// Shows one outage with some air around it.
function show(outage) {
  const to = outage.end_ms ?? run.nowMs;
  const air = Math.max(AIR_LEAST_MS, (to - outage.start_ms) / 3);
  timeline.fixed = [Math.max(0, outage.start_ms - air), to + air];
  settled();
  picture.panel.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function settled() {
  for (const button of document.querySelectorAll("[data-range]")) {
    const range = button.dataset.range === "all" ? "all" : Number(button.dataset.range);
    mark(button, "aria-pressed", !timeline.fixed && range === timeline.range);
  }
  say(byId("hold"), timeline.fixed ? "Follow" : "Hold");
  tickPhase();
  if (run) {
    picture.draw(run);
    redraw();
  }
}

// Holds the picture where it is, or lets it follow the present again.
function hold() {
  timeline.fixed = timeline.fixed ? null : [timeline.from, timeline.to];
  settled();
}

function turnClock() {
  timeline.ofDay = !timeline.ofDay;
  tellClock();
  settled();
}

function tellClock() {
  say(byId("clock"), timeline.ofDay ? "Since start" : "Time of day");
}

const go = (id) => () => {
  byId(id).scrollIntoView({ block: "start" });
  byId(id).focus({ preventScroll: true });
};

for (const button of document.querySelectorAll("[data-range]")) {
  button.addEventListener("click", () => choose(button.dataset.range === "all" ? "all" : Number(button.dataset.range)));
}
byId("hold").addEventListener("click", hold);
byId("clock").addEventListener("click", turnClock);
byId("lost-retry").addEventListener("click", () => feed.hurry());
listen({ 1: () => choose(60_000), 2: () => choose(600_000), 3: () => choose("all"), p: hold, t: turnClock, c: go("axis"), o: go("outages"), e: go("events"), "/": go("event-filter") });
phaseLegend(byId("phases"));
setInterval(tickPhase, 1000);
tellPhase();
tellClock();

if (once) feed.once();
else feed.follow();
