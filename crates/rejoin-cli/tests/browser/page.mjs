// The live page of a running program, whose link the test can cut.

import { address, ask, axe, by, check, judge, origin, programSays, text, until } from "./harness.mjs";

const token = new URLSearchParams(address.hash.slice(1)).get("token");

async function open(page, { path = "/", hash = "" } = {}) {
  const answer = await page.goto(origin + path + hash);
  await page.waitForSelector("html[data-ready='1']");
  return answer;
}

const phase = (page, wanted) => until(page, `the stream is ${wanted}`, (wanted) => document.querySelector("[data-testid=stream-state]").dataset.phase === wanted, wanted);
const link = (page, wanted) => until(page, `the link is ${wanted}`, (wanted) => document.querySelector("[data-testid=link-state]").textContent === wanted, wanted);

// The page holds what the program holds: no sample and no event is missing or there twice.
async function hasNoHole(page) {
  const seen = await page.evaluate(async () => {
    const theirs = await (await fetch("api/v1/snapshot")).json();
    const last = theirs.samples.t_ms.at(-1);
    const end = performance.now() + 5000;
    while (globalThis.rejoinRun.columns.t_ms.at(-1) < last && performance.now() < end) await new Promise((resolve) => requestAnimationFrame(resolve));
    const { columns, events } = globalThis.rejoinRun;
    const ours = new Set(columns.t_ms);
    const mine = new Set(events.map((event) => event.id));
    return {
      missing: theirs.samples.t_ms.filter((at) => !ours.has(at)),
      twice: columns.t_ms.length - ours.size,
      disordered: columns.t_ms.some((at, row) => row > 0 && at <= columns.t_ms[row - 1]),
      lostEvents: theirs.events.filter((event) => !mine.has(event.id)).length,
      doubleEvents: events.length - mine.size,
      uneven: Object.values(columns).some((column) => column.length !== columns.t_ms.length),
    };
  });
  check("the page holds the whole run", seen.missing.length === 0 && seen.twice === 0 && !seen.disordered && seen.lostEvents === 0 && seen.doubleEvents === 0 && !seen.uneven, seen);
}

const outageRows = (page, wanted) => until(page, `${wanted} finished outages in the table`, (wanted) => {
  const rows = [...document.querySelectorAll("[data-testid=outage-row]")];
  return rows.length === wanted && rows.every((row) => !row.dataset.open);
}, wanted);

async function aHealthyLinkIsShownAndTheTokenLeavesTheAddress(page) {
  const answer = await open(page, { hash: `#token=${token}` });
  check("the policy is strict", answer.headers()["content-security-policy"]?.includes("default-src 'self'"), answer.headers());
  await phase(page, "live");
  await link(page, "open");
  check("the address has no token", !page.url().includes(token), page.url());
  check("the answer is in words", (await text(page, "deliver-answer")).includes("YES"), await text(page, "deliver-answer"));
  check("the state is in the title", (await page.title()).includes("open"), await page.title());
  for (const id of ["event-row", "health-row"]) await page.waitForSelector(by(id));
  await until(page, "samples are drawn", () => globalThis.rejoinRun.rows > 3 && document.querySelectorAll("canvas").length === 3);
}

async function aCutIsToldWithItsReasonAndTheOutageIsInTheTable(page) {
  await open(page);
  await link(page, "open");
  const before = await page.locator(by("outage-row")).count();
  await ask("cut");
  await link(page, "closed");
  const told = await text(page, "link-answer");
  check("the reason is told", /reset|closed by|ended|refused/i.test(told) && told.includes("NO"), told);
  check("the promise changes", (await text(page, "deliver-answer")).includes("when the link is back"), await text(page, "deliver-answer"));
  await until(page, "the outage lasts", () => document.querySelector("[data-testid=outage-row]")?.dataset.open === "yes");
  check("the screen reader hears it", (await page.locator("#said").textContent()).includes("NO"));
  await ask("heal");
  await link(page, "open");
  await outageRows(page, before + 1);
  const row = await page.locator(by("outage-row")).first().innerText();
  check("the outage has its bill", /\d (ms|s)/.test(row), row);
  check("and its bar", (await page.locator("#bars .phase").count()) > 0);
  check("and its event", (await page.locator(by("event-row")).allInnerTexts()).some((event) => event.includes("recovered")));
}

async function thePageCatchesUpAfterItsOwnOutage(page, context) {
  const places = [];
  page.on("request", (request) => request.url().endsWith("/stream") && places.push(request.headers()["last-event-id"]));
  await open(page);
  await phase(page, "live");
  // A stream on which nothing came goes on from where it began.
  const none = await page.locator(by("outage-row")).count();
  await ask("cut");
  await link(page, "closed");
  await ask("heal");
  await link(page, "open");
  await outageRows(page, none + 1);
  const before = await page.locator(by("outage-row")).count();
  await context.setOffline(true);
  await phase(page, "lost");
  const notice = await text(page, "lost-notice");
  check("the page says that it is old", /lost the program .* ago; what it shows is old/.test(notice), notice);
  check("nothing stays green", (await page.locator(by("link-answer")).getAttribute("data-tone")) === "old");
  // What happens meanwhile must be there afterwards.
  await ask("cut");
  await programSays("closed", (state) => state.link === "waiting" || state.link === "connecting");
  await ask("heal");
  await programSays("open again", (state) => state.link === "open");
  await context.setOffline(false);
  await phase(page, "live");
  await link(page, "open");
  await outageRows(page, before + 1);
  check("it asks for what came after the last it had", places.length >= 2 && places.at(-1) !== places[0], places);
  check("the notice is gone", await page.locator(by("lost-notice")).isHidden());
  await hasNoHole(page);
}

async function aProgramThatHangsIsNoticed(page) {
  await open(page);
  await phase(page, "live");
  await ask("stop");
  try {
    await phase(page, "silent");
    check("silence is told", (await text(page, "lost-notice")).includes("what it shows is old"));
    check("nothing stays green", (await page.locator(by("deliver-answer")).getAttribute("data-tone")) === "old");
  } finally {
    await ask("continue");
  }
  await phase(page, "live");
  await hasNoHole(page);
}

async function anUnknownPlaceInTheStreamBeginsAnew(page) {
  let snapshots = 0;
  let turned = false;
  page.on("request", (request) => (snapshots += request.url().endsWith("/snapshot") ? 1 : 0));
  await page.route("**/api/v1/stream", (route) => {
    const headers = { ...route.request().headers() };
    if (!turned) headers["last-event-id"] = "of-another-run-1";
    turned = true;
    return route.continue({ headers });
  });
  await open(page);
  await phase(page, "live");
  await until(page, "the run goes on", () => globalThis.rejoinRun.rows > 0);
  const rows = await page.evaluate(() => globalThis.rejoinRun.rows);
  await until(page, "rows come after the reset", (rows) => globalThis.rejoinRun.rows > rows, rows);
  check("the whole was fetched again", snapshots >= 2, snapshots);
  await hasNoHole(page);
}

async function aSnapshotIsLoadedOnceAndKeptStill(page) {
  const streams = [];
  page.on("request", (request) => request.url().includes("/stream") && streams.push(request.url()));
  await open(page, { path: "/?snapshot=1" });
  await phase(page, "snapshot");
  check("no stream is opened", streams.length === 0, streams);
}

async function aWrongTokenIsRefusedInWords(page) {
  await open(page, { hash: "#token=wrong" });
  await page.locator(by("control-nudge")).click();
  await until(page, "the refusal is told", () => document.querySelector("[data-testid=control-answer]").textContent.includes("not the token"));
}

async function theRightTokenActs(page) {
  await open(page, { hash: `#token=${token}` });
  await page.locator(by("control-nudge")).click();
  await until(page, "the press is answered", () => document.querySelector("[data-testid=control-answer]").textContent.includes("done"));
}

async function everythingWorksWithKeysAlone(page) {
  await open(page);
  await phase(page, "live");
  await page.keyboard.press("Tab");
  check("the first stop skips the bar", (await page.evaluate(() => document.activeElement.className)) === "skip");
  const seen = new Set();
  for (let stop = 0; stop < 60; stop += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const node = document.activeElement;
      if (node === document.body) return null;
      const { outlineStyle, outlineWidth } = getComputedStyle(node);
      return { name: node.id || node.getAttribute("aria-label") || node.textContent.slice(0, 30), visible: outlineStyle !== "none" && outlineWidth !== "0px" };
    });
    if (!at) break;
    check("the focus is visible", at.visible, at);
    seen.add(at.name);
  }
  for (const name of ["hold", "clock", "help-open", "axis", "event-filter"]) check(`Tab reaches ${name}`, seen.has(name), [...seen]);
  await page.keyboard.press("3");
  check("3 shows everything", (await page.locator("[data-range=all]").getAttribute("aria-pressed")) === "true");
  await page.keyboard.press("c");
  await page.keyboard.press("ArrowLeft");
  // The page draws when the browser has a frame for it.
  await until(page, "the cursor is read aloud", () => /client open.*acknowledged/.test(document.querySelector("#axis").getAttribute("aria-valuetext")));
  await page.keyboard.press("Escape");
  check("Esc leaves", await page.locator("#cursor").isHidden());
  await page.locator(".twin-open").first().focus();
  await page.keyboard.press("Enter");
  check("Enter opens the table of the lanes", (await page.locator("#lanes-twin tbody tr").count()) > 0);
  await page.keyboard.press("p");
  check("p holds", (await page.locator("#hold").innerText()) === "Follow");
  await page.keyboard.press("p");
  await page.keyboard.press("/");
  await page.keyboard.type("zzz-no-such-event");
  await until(page, "the filter filters", () => document.querySelectorAll("[data-testid=event-row]").length === 0);
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  check("? opens the list of keys", await page.locator("#help").isVisible());
  await page.keyboard.press("Escape");
  check("Esc closes it", await page.locator("#help").isHidden());
}

async function hostileTextIsOnlyText(page) {
  await open(page);
  const body = await page.locator("body").innerText();
  check("the client's name is shown as it is", body.includes("<img src=x onerror=hacked=1>"), body.slice(0, 300));
  check("and was not executed", await page.evaluate(() => globalThis.hacked === undefined && document.querySelectorAll("main img").length === 0));
}

async function theTablesSayWhatTheChartsShow(page) {
  await open(page);
  await until(page, "a few samples", () => globalThis.rejoinRun.rows > 8);
  for (const button of await page.locator(".twin-open").all()) await button.click();
  for (const id of ["lanes", "rates", "queue", "latency"]) check(`the table of ${id} has rows`, (await page.locator(`#${id}-twin tbody tr`).count()) > 0);
  await axe(page, "the page with every table open");
}

async function readersFindNoBarrier(page) {
  await open(page, { hash: `#token=${token}` });
  await phase(page, "live");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [320, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      await axe(page, `${colorScheme} at ${width}`);
    }
  }
}

async function readersFindNoBarrierInAnOutage(page) {
  await open(page);
  await ask("cut");
  try {
    await link(page, "closed");
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await axe(page, `${colorScheme} in an outage`);
    }
  } finally {
    await ask("heal");
  }
  await link(page, "open");
}

async function nothingPilesUpWhereTwoOutagesBeginAtOnce(page) {
  await open(page);
  const seen = await page.evaluate(async () => {
    const { drawBars } = await import("/assets/recovery.js");
    const { el, rows } = await import("/assets/dom.js");
    const list = document.createElement("ol");
    const run = { nowMs: 9000, outages: [{ start_ms: 1000, end_ms: 1000, cause: "a" }, { start_ms: 1000, end_ms: 5000, cause: "b" }] };
    drawBars(list, run, () => {});
    const first = [...list.children];
    for (let time = 0; time < 20; time += 1) drawBars(list, run, () => {});
    const kept = [...list.children].every((child, index) => child === first[index]);
    // The oldest is forgotten; the others keep their numbers and elements.
    const numbered = [7, 8, 9].map((number) => ({ number, start_ms: number * 1000, end_ms: number * 1000 + 5, cause: "a" }));
    drawBars(list, { nowMs: 9500, outages: numbered }, () => {});
    const newest = list.firstElementChild;
    drawBars(list, { nowMs: 9500, outages: numbered.slice(1) }, () => {});
    const stays = list.firstElementChild === newest && newest.querySelector(".bill-number").textContent === "#9";
    drawBars(list, run, () => {});
    const plain = document.createElement("ol");
    for (let time = 0; time < 20; time += 1) rows(plain, ["x", "x", "y"], (item) => item, () => el("li"));
    return { bars: list.children.length, kept, stays, plain: plain.children.length };
  });
  check("each outage has one row, which stays", seen.bars === 2 && seen.kept && seen.stays && seen.plain === 3, seen);
}

async function nothingStandsOutAtAnyWidth(page) {
  await open(page);
  for (const width of [320, 768, 1440, 2560]) {
    await page.setViewportSize({ width, height: 900 });
    await until(page, `nothing is wider than ${width}`, (width) => document.documentElement.scrollWidth <= width, width);
    const plots = await page.locator(".plot canvas").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().right));
    check(`the charts fit ${width}`, plots.every((right) => right <= width), plots);
  }
}

// A tab that is not seen gets no frames; its title is all that is read of it.
async function aHiddenTabTellsInItsTitle(page, context) {
  await open(page);
  await phase(page, "live");
  const title = (what, part) => until(page, what, (part) => document.title.includes(part), part);
  await title("the link is open", "● open");
  await page.evaluate(() => (globalThis.requestAnimationFrame = () => 0));
  await ask("cut");
  try {
    await title("the loss is in the title", "○ closed");
    check("and is said", (await page.locator("#said").textContent()).includes("NO"));
  } finally {
    await ask("heal");
  }
  await title("so is the next link", "● open");
  await context.setOffline(true);
  await title("a program that is lost is in the title", "? open (old)");
  await context.setOffline(false);
  await title("and one that is back", "● open");
}

// Another program on the same port: its numbers begin anew. The last one, because the first program is gone then.
async function anotherProgramAtTheSameAddressIsNotTakenForTheFirst(page) {
  await open(page);
  await phase(page, "live");
  await page.waitForSelector(by("outage-row"));
  const before = await page.evaluate(() => globalThis.rejoinRun.startedUnixMs);
  // With nobody to connect to, its first events are others.
  await ask("cut");
  await ask("restart");
  await until(page, "the run is the other one's", (before) => globalThis.rejoinRun.startedUnixMs !== before, before);
  await until(page, "its first events are shown, and none of the other one's", () => {
    const wanted = globalThis.rejoinRun.events.map((event) => event.text.replaceAll(/\s+/g, " ").trim()).reverse();
    const seen = [...document.querySelectorAll("[data-testid=event-row] .told")].map((cell) => cell.textContent.replaceAll(/\s+/g, " ").trim());
    return wanted.length > 0 && wanted.length === seen.length && wanted.every((text, row) => text === seen[row]);
  });
  check("no outage is left over", (await page.locator(by("outage-row")).count()) === 0);
  await ask("heal");
  await link(page, "open");
}

const passed = await judge([
  ["a healthy link is shown and the token leaves the address", aHealthyLinkIsShownAndTheTokenLeavesTheAddress],
  ["a cut is told with its reason and the outage is in the table", aCutIsToldWithItsReasonAndTheOutageIsInTheTable],
  ["the page catches up after its own outage", thePageCatchesUpAfterItsOwnOutage, { trouble: true }],
  ["a program that hangs is noticed", aProgramThatHangsIsNoticed],
  ["an unknown place in the stream begins anew", anUnknownPlaceInTheStreamBeginsAnew],
  ["a snapshot is loaded once and kept still", aSnapshotIsLoadedOnceAndKeptStill],
  ["a wrong token is refused in words", aWrongTokenIsRefusedInWords, { trouble: true }],
  ["the right token acts", theRightTokenActs],
  ["everything works with keys alone", everythingWorksWithKeysAlone],
  ["hostile text is only text", hostileTextIsOnlyText],
  ["the tables say what the charts show", theTablesSayWhatTheChartsShow],
  ["readers find no barrier", readersFindNoBarrier],
  ["readers find no barrier in an outage", readersFindNoBarrierInAnOutage],
  ["nothing piles up where two outages begin at once", nothingPilesUpWhereTwoOutagesBeginAtOnce],
  ["nothing stands out at any width", nothingStandsOutAtAnyWidth],
  ["a hidden tab tells in its title", aHiddenTabTellsInItsTitle, { trouble: true }],
  ["another program at the same address is not taken for the first", anotherProgramAtTheSameAddressIsNotTakenForTheFirst, { trouble: true }],
]);
process.exit(passed ? 0 : 1);
