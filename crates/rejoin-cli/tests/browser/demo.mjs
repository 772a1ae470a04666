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
  const before = await page.evaluate(() => globalThis.rejoinRun.lanes.injected.length);
  await page.locator(by("control-cut")).click();
  await until(page, "the press is answered", () => document.querySelector("[data-testid=control-answer]").textContent.includes("Cut: done"));
  await until(page, "the press is in the lane", (before) => globalThis.rejoinRun.lanes.injected.length > before, before);
  await until(page, "the link is closed", () => document.querySelector("[data-testid=link-state]").textContent === "closed");
  await page.locator(by("control-heal")).click();
  await until(page, "the link is open again", () => document.querySelector("[data-testid=link-state]").textContent === "open");
}

process.exit((await judge([["the demo is shown and its faults are at hand", theDemoIsShownAndItsFaultsAreAtHand]])) ? 0 : 1);
