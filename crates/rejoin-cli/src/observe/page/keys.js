// The keyboard: single keys for what is done often, and the list of them.

import { byId } from "./dom.js";

const KEPT = "rejoin-single-keys";

// `actions`: by key, what to do. Single keys can be switched off, for those who speak or whose fingers slip.
export function listen(actions) {
  const dialog = byId("help");
  const box = byId("keys-on");
  box.checked = recall() !== "off";
  box.addEventListener("change", () => keep(box.checked ? "on" : "off"));
  byId("help-open").addEventListener("click", () => dialog.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open || !box.checked) return;
    const at = event.target;
    if (at instanceof HTMLInputElement || at instanceof HTMLTextAreaElement || at instanceof HTMLSelectElement || at.isContentEditable) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (event.key === "?") dialog.showModal();
    else if (actions[event.key]) actions[event.key]();
    else return;
    event.preventDefault();
  });
}

// A browser that keeps nothing for this page is no reason to fail.
function recall() {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

function keep(value) {
  try {
    localStorage.setItem(KEPT, value);
  } catch {
    // Then it holds until the page is closed.
  }
}
