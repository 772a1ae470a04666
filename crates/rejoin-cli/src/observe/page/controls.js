// What the page can do to the program: the faults of a lab's proxy, and "try now". Only with the token.

import { byId, el, mark, rows, say } from "./dom.js";

const WORDS = {
  cut: ["Cut", "end the connection at once"],
  freeze: ["Freeze", "hold every byte and say nothing"],
  heal: ["Heal", "let bytes pass again"],
  restart: ["Restart broker", "stop the broker and start it again"],
  nudge: ["Try now", "end the pause before the next attempt"],
};
const LIMIT_MS = 10_000;

// The token comes in the fragment, which is never sent anywhere. It is taken out of the address at once, so that it ends
// up in no bookmark, screenshot or history, and lives in this variable only.
export function takeToken() {
  const found = new URLSearchParams(location.hash.replace(/^#/, "")).get("token");
  if (found) history.replaceState(history.state, "", location.pathname + location.search);
  return found;
}

export class Controls {
  constructor(token) {
    this.token = token;
    this.busy = false;
    this.old = false;
  }

  draw(run) {
    const given = Array.isArray(run.controls) ? run.controls : [];
    const panel = byId("controls");
    const faults = given.filter((name) => name !== "nudge");
    panel.hidden = given.length === 0 || (!this.token && faults.length === 0);
    say(byId("controls-title"), faults.length > 0 ? "Faults" : "Controls");
    if (panel.hidden) return;
    if (!this.token) {
      say(byId("control-answer"), "To act from here, open the address with #token=… that the program printed.");
      byId("control-buttons").hidden = true;
      return;
    }
    rows(byId("control-buttons"), given, (name) => name, (name) => {
      const [word, title] = WORDS[name] ?? [name, name];
      return el("button", { type: "button", title, "data-testid": `control-${name}`, "data-control": name, on: { click: () => this.#act(name, word) } }, word);
    }, (button) => mark(button, "aria-disabled", this.old || this.busy ? "true" : null));
  }

  // While the picture is old nobody should act on it.
  stale(old) {
    this.old = old;
    for (const button of byId("control-buttons").children) mark(button, "aria-disabled", old || this.busy ? "true" : null);
  }

  async #act(name, word) {
    if (this.busy || this.old) return;
    this.busy = true;
    this.stale(this.old);
    const tell = (text, tone) => {
      say(byId("control-answer"), text);
      mark(byId("control-answer"), "data-tone", tone);
    };
    try {
      const answer = await fetch("api/v1/control", {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.token}` },
        body: JSON.stringify({ action: name }),
        signal: AbortSignal.timeout(LIMIT_MS),
        credentials: "omit",
      });
      if (answer.ok) tell(`${word}: done`, "good");
      else if (answer.status === 403) tell(`${word}: refused, this is not the token of the running program (403)`, "bad");
      else if (answer.status === 401) tell(`${word}: refused, a token is needed (401)`, "bad");
      else tell(`${word}: the program answered ${answer.status}: ${(await answer.text()).slice(0, 200)}`, "bad");
    } catch (error) {
      tell(`${word}: ${error?.name === "TimeoutError" ? "no answer within 10 s" : "the program cannot be reached"}`, "bad");
    } finally {
      this.busy = false;
      this.stale(this.old);
    }
  }
}
