// One browser, a fresh profile per test, and a judge who hears everything the page says to its console.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

// A container has no user namespaces for the sandbox; the rest keeps the browser from calling home.
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
// No wait is longer.
export const LIMIT_MS = 12_000;
// What the browser itself writes when a request fails; only a test that makes requests fail may see it.
const NETWORK_TROUBLE = /^Failed to load resource|net::ERR_/;

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const address = new URL(process.env.REJOIN_PAGE);
export const origin = address.origin;

// Asks the test that started us to do something to the world, and waits until it is done.
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
export async function ask(what) {
  process.stdout.write(`do ${what}\n`);
  const { value, done } = await answers.next();
  if (done || value !== "done") throw new Error(`\`${what}\` was answered with ${value}`);
}

// Waits for a state of the program, behind the back of the page.
export async function programSays(what, test) {
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const { state } = await (await fetch(`${origin}/api/v1/snapshot`)).json();
    if (test(state)) return;
    check(`the program says within ${LIMIT_MS / 1000} s that the link is ${what}`, performance.now() < end, state);
    // waits: the program tells its state when asked, so it is asked a few times a second
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function check(what, truth, seen) {
  if (!truth) throw new Error(`${what}${seen === undefined ? "" : `; seen: ${JSON.stringify(seen)}`}`);
}

// Waits for a state of the page instead of for a time. `test` runs in the page.
export async function until(page, what, test, argument) {
  try {
    await page.waitForFunction(test, argument, { timeout: LIMIT_MS, polling: 50 });
  } catch (error) {
    if (error.name !== "TimeoutError") throw error;
    const seen = await page.evaluate(() => document.body.innerText.slice(0, 1500));
    throw new Error(`not within ${LIMIT_MS / 1000} s: ${what}\n${seen}`);
  }
}

export const by = (id) => `[data-testid="${id}"]`;
export const text = (page, id) => page.locator(by(id)).first().innerText();

export async function axe(page, where) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`);
  check(`axe-core is content with ${where}`, violations.length === 0, told);
}

// Runs the tests one after another. True when all passed.
export async function judge(tests) {
  const browser = await chromium.launch({ executablePath: process.env.REJOIN_CHROMIUM, headless: true, args: FLAGS });
  let failed = 0;
  const wanted = process.env.REJOIN_BROWSER_ONLY;
  for (const [name, test, options = {}] of tests) {
    if (wanted && !name.includes(wanted)) continue;
    const begin = performance.now();
    const complaints = [];
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options.context });
    await listen(context, complaints, options.trouble);
    try {
      await test(await context.newPage(), context);
      check("the page was content", complaints.length === 0, complaints);
      process.stdout.write(`ok ${name} (${Math.round(performance.now() - begin)} ms)\n`);
    } catch (error) {
      failed += 1;
      process.stdout.write(`FAILED ${name}: ${error.message}\n`);
      if (complaints.length > 0) process.stdout.write(`       ${complaints.join("\n       ")}\n`);
    } finally {
      await context.close();
    }
  }
  await browser.close();
  return failed === 0;
}

async function listen(context, complaints, trouble) {
  await context.exposeFunction("complain", (what) => complaints.push(what));
  await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) => globalThis.complain(`against the content policy: ${event.violatedDirective} ${event.blockedURI}`)));
  context.on("weberror", (error) => complaints.push(`error: ${error.error().stack}`));
  context.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    if (!(trouble && NETWORK_TROUBLE.test(message.text()))) complaints.push(`console: ${message.text()}`);
  });
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== origin) complaints.push(`foreign request: ${request.url()}`);
  });
  context.on("response", (response) => {
    if (response.status() >= 400 && !trouble) complaints.push(`${response.status()} for ${response.url()}`);
  });
}
