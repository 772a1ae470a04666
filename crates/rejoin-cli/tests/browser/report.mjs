// The report of a run: one file, opened from the disk, with no network and no program behind it.

import { address, axe, check, judge, until } from "./harness.mjs";

async function readersFindNoBarrierInTheReport(page) {
  await page.goto(address.href);
  check("it has a heading", (await page.locator("h1").count()) === 1);
  check("it has drawings", (await page.locator("svg").count()) > 3);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [320, 1280]) {
      await page.setViewportSize({ width, height: 800 });
      await until(page, `nothing is wider than ${width}`, (width) => document.documentElement.scrollWidth <= width, width);
      await axe(page, `the report, ${colorScheme} at ${width}`);
    }
  }
}

process.exit((await judge([["readers find no barrier in the report", readersFindNoBarrierInTheReport]])) ? 0 : 1);
