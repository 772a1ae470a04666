// The parts of the page that need no browser: the run it holds, its limits, the pauses, the stream, foreign texts.

import assert from "node:assert/strict";
import { PAUSE_FIRST_MS, PAUSE_MAX_MS, Parser, TEXT_MAX, pauseMs } from "./page/feed.js";
import { harmless, moment, span } from "./page/format.js";
import { EVENTS_MAX, ROWS_MAX, Run, SPANS_MAX } from "./page/run.js";
import { Timeline } from "./page/timeline.js";

const rowsOf = (from, to, step = 250) => Array.from({ length: (to - from) / step }, (_, index) => from + index * step);
const samples = (times, value = 1) => ({ every_ms: 250, t_ms: times, queue: times.map(() => value), ping_ms: times.map(() => null) });

const tests = {
  "rows that are known already are not taken twice"() {
    const run = new Run({ samples: samples(rowsOf(0, 1000)) });
    assert.ok(run.apply({ now_ms: 1500, samples: samples(rowsOf(500, 1500)) }));
    assert.deepEqual(run.columns.t_ms, rowsOf(0, 1500));
    assert.equal(run.columns.queue.length, run.rows);
  },
  "a column that comes later is filled up"() {
    const run = new Run({ samples: samples(rowsOf(0, 1000)) });
    run.apply({ samples: { t_ms: [1000], new_one: [7] } });
    assert.deepEqual(run.columns.new_one, [null, null, null, null, 7]);
    assert.equal(run.columns.queue.at(-1), null);
  },
  "old rows are thinned and a peak survives"() {
    const run = new Run({ samples: samples(rowsOf(0, 250 * ROWS_MAX)) });
    run.columns.queue[101] = 999;
    for (let batch = 0; batch < 40; batch += 1) {
      const from = 250 * ROWS_MAX + batch * 250_000;
      run.apply({ samples: samples(rowsOf(from, from + 250_000)) });
      assert.ok(run.rows <= ROWS_MAX);
    }
    assert.equal(Math.max(...run.columns.queue), 999);
    assert.ok(run.columns.t_ms.every((at, row) => row === 0 || at > run.columns.t_ms[row - 1]));
    assert.equal(run.columns.ping_ms.length, run.rows);
  },
  "events are bounded and none comes twice"() {
    const events = (from, to) => Array.from({ length: to - from }, (_, index) => ({ id: from + index, at_ms: 0, level: "info", word: "x", text: "" }));
    const run = new Run({ events: events(0, 10) });
    run.apply({ events: events(5, 15) });
    assert.equal(run.events.length, 15);
    run.apply({ events: events(15, EVENTS_MAX + 500) });
    assert.equal(run.events.length, EVENTS_MAX);
    assert.equal(run.events.at(-1).id, EVENTS_MAX + 499);
  },
  "a list is replaced from an index on, and a hole or a flood asks for the whole"() {
    const run = new Run({ lanes: { client: [{ from_ms: 0, to_ms: null, state: "open" }] } });
    assert.ok(run.apply({ lanes: { client: { from: 0, items: [{ from_ms: 0, to_ms: 5, state: "open" }, { from_ms: 5, to_ms: null, state: "waiting" }] } } }));
    assert.equal(run.lanes.client.length, 2);
    assert.equal(run.apply({ outages: { from: 3, items: [{}] } }), false);
    assert.equal(run.apply({ outages: { from: 0, items: new Array(SPANS_MAX + 1).fill({}) } }), false);
  },
  "open while closed is found from the two lanes"() {
    const run = new Run({ clock: { now_ms: 100 }, lanes: { truth: [{ from_ms: 0, to_ms: 40, state: "open" }, { from_ms: 40, to_ms: null, state: "closed" }], client: [{ from_ms: 0, to_ms: 60, state: "open" }, { from_ms: 60, to_ms: 70, state: "suspect" }, { from_ms: 70, to_ms: null, state: "waiting" }] } });
    assert.deepEqual(run.claims(), [{ from_ms: 40, to_ms: 60 }], "who is in doubt claims nothing");
  },
  "times of day follow a clock that was set"() {
    const hour = 3_600_000;
    const started = new Date(2026, 10, 26, 9, 59, 0).getTime();
    const run = new Run({ clock: { started_unix_ms: started, now_ms: 60_000, steps: [] } });
    const timeline = new Timeline();
    timeline.run = run;
    timeline.ofDay = true;
    assert.equal(timeline.label(30_000), "09:59:30");
    assert.ok(run.apply({ now_ms: 240_000, steps: [{ at_ms: 60_000, offset_ms: 2 * hour }, { at_ms: 120_000, offset_ms: -hour - 500 }] }));
    const labels = () => [59_999, 60_000, 119_000, 120_500].map((ms) => timeline.label(ms));
    assert.deepEqual(labels(), ["09:59:59", "12:00:00", "12:00:59", "09:01:00"], "from each step on, and not before");
    assert.ok(run.apply({ now_ms: 240_250 }));
    assert.equal(run.steps.length, 2, "an update without them changes nothing");
    timeline.settle(run, 1280);
    [timeline.from, timeline.to] = [0, 240_000];
    const ticks = timeline.ticks();
    assert.ok(ticks.length > 3 && ticks.every((at, index) => index === 0 || at > ticks[index - 1]), ticks);
    assert.ok(ticks.every((at) => timeline.label(at, { tenths: true }).endsWith("0.0")), ticks.map((at) => timeline.label(at, { tenths: true })));
    timeline.ofDay = false;
    assert.equal(timeline.label(90_000), "1:30");
  },
  "rows that were merged are told from those that were measured"() {
    const merged = [60_000, 120_000, 180_000];
    const fine = rowsOf(180_250, 183_000);
    const run = new Run({ samples: samples([...merged, ...fine]) });
    assert.equal(run.columns.t_ms[run.finelyFrom], 180_000);
    assert.equal(new Run({ samples: samples(fine) }).finelyFrom, 0, "nothing was merged");
    const late = fine.filter((_, row) => row !== 7);
    assert.equal(new Run({ samples: samples(late) }).finelyFrom, 0, "one row that is missing makes no other doubtful");
    assert.equal(new Run({ samples: samples([...merged, 240_000, 300_000]) }).finelyFrom, 5, "nothing is known");
    assert.equal(new Run({ samples: samples([250]) }).finelyFrom, 0);
    // What this page itself thins out.
    const long = new Run({ samples: samples(rowsOf(0, 250 * (ROWS_MAX + 1))) });
    const from = long.finelyFrom;
    assert.ok(from > 0 && long.columns.t_ms[from + 1] - long.columns.t_ms[from] === 250, from);
    assert.ok(long.columns.t_ms[from] - long.columns.t_ms[from - 1] === 500, from);
  },
  "a moment of another day has its date"() {
    const started = new Date(2026, 10, 25, 23, 59, 0).getTime();
    const run = new Run({ clock: { started_unix_ms: started, now_ms: 3_600_000 } });
    const timeline = new Timeline();
    timeline.run = run;
    timeline.ofDay = true;
    assert.equal(timeline.label(30_000, { tenths: true }), "11-25 23:59:30.0");
    assert.equal(timeline.label(90_000), "00:00:30");
    [timeline.from, timeline.to] = [0, 3_600_000];
    assert.equal(timeline.tickLabel(30_000), "11-25 23:59");
    assert.equal(timeline.tickLabel(90_000), "00:00:30");
    [timeline.from, timeline.to] = [0, 60_000];
    assert.equal(timeline.tickLabel(30_000), "23:59:30", "seconds are what tells two apart here");
  },
  "nothing at all is a run too"() {
    const run = new Run(null);
    assert.ok(run.apply({}));
    assert.equal(run.nearest(5), -1);
    const timeline = new Timeline();
    timeline.settle(run, 320);
    assert.ok(timeline.ticks().length > 1 && timeline.to > timeline.from);
  },
  "pauses grow to their limit and are never the same for all"() {
    assert.equal(pauseMs(0, 0), PAUSE_FIRST_MS / 2);
    assert.equal(pauseMs(0, 1), PAUSE_FIRST_MS);
    assert.equal(pauseMs(3, 1), PAUSE_FIRST_MS * 8);
    assert.equal(pauseMs(1e9, 1), PAUSE_MAX_MS);
    assert.equal(pauseMs(1e9, 0), PAUSE_MAX_MS / 2);
  },
  "the stream is read however it is cut into pieces"() {
    const wire = ": hello\r\n\r\nid: a-1\nevent: update\ndata: {\"x\":\ndata: 1}\n\nevent: reset\n\nid: 2\nevent: update\ndata:{}\n\n";
    const wanted = [{ event: "update", data: '{"x":\n1}', id: "a-1" }, { event: "reset", data: "", id: null }, { event: "update", data: "{}", id: "2" }];
    for (let size = 1; size <= wire.length; size += 1) {
      const parser = new Parser();
      const seen = [];
      for (let at = 0; at < wire.length; at += size) seen.push(...parser.take(wire.slice(at, at + size)));
      assert.deepEqual(seen, wanted, `pieces of ${size}`);
    }
  },
  "a line without end is not kept"() {
    const parser = new Parser();
    const piece = "x".repeat(1024 * 1024);
    assert.throws(() => {
      for (let sum = 0; sum <= TEXT_MAX; sum += piece.length) [...parser.take(piece)];
    }, /without end/);
  },
  "what would hide or turn text is shown by its number"() {
    assert.equal(harmless("a\u202eb\u0007\u200b<b>"), "a\\u{202e}b\\u{7}\\u{200b}<b>");
    assert.equal(harmless(null), "");
  },
  "lengths and moments are written for people"() {
    const wanted = { 0: "0 ms", 0.25: "0.25 ms", 4.25: "4.3 ms", 312.4: "312 ms", 999.6: "1.00 s", 4200: "4.20 s", 12_340: "12.3 s", 59_960: "1 min 00 s", 3_725_000: "1 h 02 min", 200_000_000: "2 d 07 h" };
    for (const [ms, text] of Object.entries(wanted)) assert.equal(span(Number(ms)), text, ms);
    assert.equal(span(null), "–");
    assert.equal(moment(83_260, null, true, { tenths: true }), "1:23.2");
    assert.equal(moment(3_600_000, null, false), "1:00:00");
  },
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
  try {
    test();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${error.message}`);
  }
}
process.exit(failed === 0 ? 0 : 1);
