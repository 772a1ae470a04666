// From the program to this page: a snapshot, then the stream, and back again after every loss.
//
//   loading ──snapshot──▶ live ──nothing heard──▶ silent ──still nothing──▶ lost ──pause──▶ (resume by id) ──▶ live
//
// The page never guesses: whatever is not "live" is told to whoever looks at it.

// The program sends several updates a second; after this long without one the picture is called old.
const SILENT_MS = 3_000;
// And after this long the connection is given up.
const DEAD_MS = 8_000;
const REQUEST_MS = 10_000;
export const PAUSE_FIRST_MS = 250;
export const PAUSE_MAX_MS = 10_000;
// A stream that lasted this long earns a short first pause.
const STEADY_MS = 5_000;
// A program that says "reset" over and over is asked with pauses.
const RESETS_MAX = 3;
// One update is a few kilobytes; a line that never ends is not kept.
export const TEXT_MAX = 16 * 1024 * 1024;

export class Feed {
  // `on`: { snapshot(document), update(data) → fits, phase({ phase, sinceMs, nextAtMs, why }) }; times by performance.now().
  constructor(on) {
    this.on = on;
    this.lastId = null;
    this.tries = 0;
    this.heardAt = 0;
    this.status = { phase: "loading", since: performance.now(), nextAt: null, why: null };
    this.wake = null;
    this.abort = null;
  }

  // Loads once and leaves it at that.
  async once() {
    try {
      await this.#snapshot();
      this.#tell("snapshot");
    } catch (error) {
      this.#tell("lost", reason(error));
    }
  }

  async follow() {
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => this.#give("the browser says it is offline"));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.hurry());
    setInterval(() => this.#watch(), 500);
    for (let resets = 0; ; ) {
      const why = (await this.#cycle()) ?? (++resets > RESETS_MAX ? "the program asked to begin anew again and again" : null);
      if (why === null) continue;
      resets = 0;
      const pause = pauseMs(this.tries, Math.random());
      this.tries += 1;
      this.#tell("lost", why, performance.now() + pause);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, pause);
      });
      this.wake = null;
    }
  }

  // Ends the present pause.
  hurry() {
    this.wake?.();
  }

  // One connection from start to end: why it ended, or null when the whole is to be fetched at once.
  async #cycle() {
    const begin = performance.now();
    try {
      if (this.lastId === null) await this.#snapshot();
      return await this.#stream();
    } catch (error) {
      return reason(error);
    } finally {
      if (this.status.phase === "live" && performance.now() - begin > STEADY_MS) this.tries = 0;
    }
  }

  async #snapshot() {
    const answer = await this.#get("api/v1/snapshot", { Accept: "application/json" });
    const document = await answer.json();
    this.lastId = answer.headers.get("Last-Event-ID") ?? "";
    this.heardAt = performance.now();
    this.on.snapshot(document);
  }

  async #stream() {
    const headers = { Accept: "text/event-stream" };
    if (this.lastId) headers["Last-Event-ID"] = this.lastId;
    const answer = await this.#get("api/v1/stream", headers, false);
    this.heardAt = performance.now();
    this.#tell("live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const parser = new Parser();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "the program ended the stream";
      this.heardAt = performance.now();
      if (this.status.phase !== "live") this.#tell("live");
      for (const message of parser.take(value)) {
        if (!this.#take(message)) {
          this.lastId = null;
          this.abort?.abort();
          return null;
        }
      }
    }
  }

  // False when the whole must be fetched anew.
  #take({ event, data, id }) {
    if (event === "reset") return false;
    if (event !== "update") return true;
    const fits = this.on.update(JSON.parse(data));
    if (id !== null) this.lastId = id;
    return fits;
  }

  async #get(path, headers, whole = true) {
    const abort = (this.abort = new AbortController());
    const timer = setTimeout(() => abort.abort("no answer within 10 s"), REQUEST_MS);
    try {
      const answer = await fetch(path, { headers, signal: abort.signal, cache: "no-store", credentials: "same-origin" });
      if (!answer.ok) throw new Error(`the program answered ${answer.status}: ${(await answer.text()).slice(0, 200).trim()}`);
      // The body of a snapshot falls under the limit as well; a stream has its own watch.
      return whole ? new Response(await answer.blob(), { headers: answer.headers }) : answer;
    } finally {
      clearTimeout(timer);
    }
  }

  #watch() {
    if (this.status.phase !== "live" && this.status.phase !== "silent") return;
    const quiet = performance.now() - this.heardAt;
    if (quiet > DEAD_MS) this.#give(`nothing heard for ${Math.round(quiet / 1000)} s`);
    else if (quiet > SILENT_MS && this.status.phase === "live") this.#tell("silent", "the connection stands and nothing comes");
  }

  #give(why) {
    this.abort?.abort(why);
  }

  #tell(phase, why = null, nextAt = null) {
    this.status = { phase, why, nextAt, heardAt: this.heardAt };
    this.on.phase(this.status);
  }
}

// Grows with each try in vain; the upper half is left to chance (0 to 1), so that a hundred open pages do not come back
// at one moment.
export function pauseMs(tries, chance) {
  return Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** Math.min(tries, 20)) * (0.5 + chance / 2);
}

// Server-sent events, as much of them as the program uses.
export class Parser {
  constructor() {
    this.text = "";
  }

  *take(chunk) {
    this.text += chunk;
    if (this.text.length > TEXT_MAX) throw new Error("the program sent a line without end");
    const blocks = this.text.split(/\r?\n\r?\n/);
    this.text = blocks.pop();
    for (const block of blocks) {
      const message = { event: "message", data: "", id: null };
      const data = [];
      for (const line of block.split(/\r?\n/)) {
        const colon = line.indexOf(":");
        if (colon === 0) continue;
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") data.push(value);
        else if (name === "event") message.event = value;
        else if (name === "id") message.id = value;
      }
      message.data = data.join("\n");
      if (data.length > 0 || message.event === "reset") yield message;
    }
  }
}

function reason(error) {
  if (typeof error === "string") return error;
  if (error?.name === "AbortError") return "the connection was given up";
  if (error instanceof TypeError) return "the program cannot be reached";
  return String(error?.message ?? error);
}
