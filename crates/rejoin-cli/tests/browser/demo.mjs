// The page of `rejoin demo`: what was injected, what was true, what the client said, and the faults at hand.

import { address, by, check, judge, until } from "./harness.mjs";

async function theDemoIsShownAndItsFaultsAreAtHand(page) {
  await page.goto(address.href);
  await page.waitForSelector("html[data-ready='1']");
  for (const name of ["cut", "freeze", "heal", "restart"]) await page.waitForSelector(by(`control-${name}`));
  // The demo kills its broker after four seconds.
  await until(page, "the demo's own fault is in the lane", () => globalThis.rejoinRun.lanes.injected.length > 0 && document.querySelector(".injected"));
  await until(page, "its outage is over and in the table", () => {
    const row = [...document.querySelectorAll("[data-testid=outage-row]")].at(-1);
    return row && !row.dataset.open;
  });
  check("the truth has its lane", await page.evaluate(() => globalThis.rejoinRun.lanes.truth.some((span) => span.state === "closed") && document.querySelector(".state-closed") !== null));
  check("honesty is summed", /open while closed/.test(await page.locator(by("honesty")).innerText()));
  const before = await page.evaluate(() => ({ injected: globalThis.rejoinRun.lanes.injected.length, last: globalThis.rejoinRun.lanes.client.at(-1).from_ms }));
  await page.locator(by("control-cut")).click();
  await until(page, "the press is answered", () => document.querySelector("[data-testid=control-answer]").textContent.includes("Cut: done"));
  await until(page, "the press is in the lane", ({ injected }) => globalThis.rejoinRun.lanes.injected.length > injected, before);
  // A cut is over when it has begun, and the client may be back before anybody looks: the lane remembers.
  await until(page, "the link was closed", ({ last }) => globalThis.rejoinRun.lanes.client.some((span) => span.from_ms > last && span.state !== "open" && span.state !== "suspect"), before);
  await page.locator(by("control-heal")).click();
  await until(page, "the link is open again", () => document.querySelector("[data-testid=link-state]").textContent === "open");
}

// For the README: `REJOIN_SHOTS=FOLDER cargo test -p rejoin-cli --test browser demo` takes the two pictures, in the
// demo's last outage.
async function takePictures(page, context) {
  const pages = [["light", page], ["dark", await context.newPage()]];
  for (const [colorScheme, page] of pages) {
    await page.setViewportSize({ width: 1440, height: 840 });
    await page.emulateMedia({ colorScheme });
    await page.goto(address.href);
    await page.click("[data-range=all]");
  }
  const take = async ([colorScheme, page]) => {
    await page.waitForFunction(() => globalThis.rejoinRun.nowMs > 22_200, null, { timeout: 40_000 });
    // With the latency chart, once the program measures it.
    const measured = await page.evaluate(() => globalThis.rejoinRun.column("ack_p50_ms").some((value) => value !== null));
    await page.setViewportSize({ width: 1440, height: measured ? 1056 : 816 });
    await page.screenshot({ path: `${process.env.REJOIN_SHOTS}/live-page-${colorScheme}.png` });
  };
  await Promise.all(pages.map(take));
}

const stories = process.env.REJOIN_SHOTS
  ? [["the pictures are taken", takePictures]]
  : [["the demo is shown and its faults are at hand", theDemoIsShownAndItsFaultsAreAtHand]];
process.exit((await judge(stories)) ? 0 : 1);
