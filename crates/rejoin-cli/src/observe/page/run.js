// The run as this page holds it: the program's document, kept up to date and bounded.

// Rows of samples kept: 40 min at four a second in full; beyond that the older half loses every second row.
export const ROWS_MAX = 9_600;
export const EVENTS_MAX = 2_000;
// A program that sends more spans or outages than this is asked for its own, shorter picture.
export const SPANS_MAX = 20_000;

// Rows no farther apart than this, in distances of samples, and so many of them one after another, were not merged.
const FINE = 1.5;
const EVEN_ROWS = 4;

const LANES = ["injected", "truth", "client"];
const PLAIN = ["state", "answers", "health", "alerts", "baselines", "totals", "honesty", "verdict", "controls"];
// When two rows become one, these keep the worse of both; the others their mean.
const WORSE = /^(queue|oldest_ms|in_flight|ack_p\d+_ms|ping_ms|silent_ms)$/;

export class Run {
  constructor(document) {
    this.replace(document);
  }

  // Takes a whole document.
  replace(document) {
    const given = document ?? {};
    this.program = given.program ?? {};
    this.client = given.client ?? {};
    this.startedUnixMs = given.clock?.started_unix_ms ?? null;
    this.nowMs = given.clock?.now_ms ?? 0;
    this.steps = given.clock?.steps ?? [];
    for (const name of PLAIN) this[name] = given[name] ?? null;
    this.lanes = {};
    for (const name of LANES) this.lanes[name] = [...(given.lanes?.[name] ?? [])];
    this.hasTruth = Array.isArray(given.lanes?.truth) && given.lanes.truth.length > 0;
    this.hasInjected = this.hasTruth || this.lanes.injected.length > 0;
    this.outages = [...(given.outages ?? [])];
    this.events = [];
    this.lastEvent = -1;
    this.#takeEvents(given.events ?? []);
    this.#takeSamples(given.samples ?? {});
  }

  // Takes what came after. False when it does not fit what is here, so that the whole must be fetched again.
  apply(update) {
    this.nowMs = update.now_ms ?? this.nowMs;
    this.steps = update.steps ?? this.steps;
    for (const name of PLAIN) if (name in update) this[name] = update[name];
    if (update.client) this.client = update.client;
    let fits = true;
    for (const name of LANES) if (update.lanes?.[name]) fits = spliced(this.lanes[name], update.lanes[name]) && fits;
    if (update.outages) fits = spliced(this.outages, update.outages) && fits;
    if (this.lanes.truth.length > 0) this.hasTruth = this.hasInjected = true;
    this.#takeEvents(update.events ?? []);
    this.#appendRows(update.samples ?? {});
    return fits;
  }

  // Where the clock on the wall goes on evenly: from when on, and what it would have shown at the start.
  evenly() {
    if (this.startedUnixMs === null) return [];
    return [{ from: -Infinity, started: this.startedUnixMs }, ...this.steps.map(({ at_ms: from, offset_ms: offset }) => ({ from, started: this.startedUnixMs + offset }))];
  }

  // What the clock that shows the time of a moment would have shown at the start.
  startedBy(ms) {
    return this.evenly().findLast(({ from }) => from <= ms)?.started ?? null;
  }

  // The key of a row on the page: numbers begin anew with each program, and another one may come to the same address.
  keyed(id) {
    return `${this.startedUnixMs}/${id}`;
  }

  get rows() {
    return this.columns.t_ms.length;
  }

  column(name) {
    return this.columns[name] ?? [];
  }

  // From which row on each is a measurement. Of those before, several became one with the worst of them; a few that are late
  // because the program had to wait are none of these.
  get finelyFrom() {
    const times = this.columns.t_ms;
    let even = 0;
    for (let row = 1; row < times.length; row += 1) {
      even = times[row] - times[row - 1] <= FINE * this.everyMs ? even + 1 : 0;
      if (even === EVEN_ROWS) return row - EVEN_ROWS;
    }
    return times.length > EVEN_ROWS ? times.length : 0;
  }

  // The last value of a column that was measured.
  latest(name) {
    return this.column(name).at(-1) ?? null;
  }

  // Indices [from, to) of the rows within a time, with one neighbour on each side so that lines reach the edge.
  within(fromMs, toMs) {
    const times = this.columns.t_ms;
    return [Math.max(0, lowerBound(times, fromMs) - 1), Math.min(times.length, lowerBound(times, toMs) + 1)];
  }

  // The row nearest to a time, or -1.
  nearest(ms) {
    const times = this.columns.t_ms;
    if (times.length === 0) return -1;
    const at = lowerBound(times, ms);
    if (at === 0) return 0;
    return at === times.length || ms - times[at - 1] < times[at] - ms ? at - 1 : at;
  }

  // Where the client said open and the link was not: found here from the two lanes, so that it can be drawn.
  claims() {
    if (!this.hasTruth) return [];
    const found = [];
    const closed = this.lanes.truth.filter((span) => span.state === "closed");
    for (const claim of this.lanes.client) {
      // Who says that it is in doubt claims nothing.
      if (claim.state !== "open") continue;
      for (const span of closed) {
        const from = Math.max(claim.from_ms, span.from_ms);
        const to = Math.min(claim.to_ms ?? this.nowMs, span.to_ms ?? this.nowMs);
        if (to > from) found.push({ from_ms: from, to_ms: to });
      }
    }
    return found;
  }

  #takeEvents(events) {
    for (const event of events) {
      // After a reconnect the first events may be known already.
      if (event.id <= this.lastEvent) continue;
      this.lastEvent = event.id;
      this.events.push(event);
    }
    if (this.events.length > EVENTS_MAX) this.events.splice(0, this.events.length - EVENTS_MAX);
  }

  #takeSamples(samples) {
    this.everyMs = samples.every_ms ?? 250;
    this.queueLimit = samples.queue_limit ?? null;
    this.columns = { t_ms: [] };
    this.#appendRows(samples);
  }

  #appendRows(samples) {
    // New rows may come without it.
    this.queueLimit = samples.queue_limit ?? this.queueLimit;
    const times = samples.t_ms ?? [];
    const before = this.columns.t_ms.length;
    const last = before > 0 ? this.columns.t_ms[before - 1] : -Infinity;
    const first = times.findIndex((time) => time > last);
    if (first < 0) return;
    const names = new Set([...Object.keys(this.columns), ...Object.keys(samples).filter((name) => Array.isArray(samples[name]))]);
    for (const name of names) {
      const column = (this.columns[name] ??= new Array(before).fill(null));
      for (let index = first; index < times.length; index += 1) column.push(samples[name]?.[index] ?? null);
    }
    if (this.columns.t_ms.length > ROWS_MAX) this.#thin();
  }

  #thin() {
    const half = Math.floor(this.columns.t_ms.length / 4) * 2;
    for (const [name, column] of Object.entries(this.columns)) {
      const merged = [];
      for (let index = 0; index < half; index += 2) merged.push(one(name, column[index], column[index + 1]));
      this.columns[name] = merged.concat(column.slice(half));
    }
  }
}

function one(name, a, b) {
  if (name === "t_ms") return b;
  if (a === null || a === undefined) return b ?? null;
  if (b === null || b === undefined) return a;
  return WORSE.test(name) ? Math.max(a, b) : (a + b) / 2;
}

function spliced(list, { from = 0, items = [] }) {
  if (from > list.length || from + items.length > SPANS_MAX) return false;
  list.splice(from, list.length - from, ...items);
  return true;
}

function lowerBound(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
