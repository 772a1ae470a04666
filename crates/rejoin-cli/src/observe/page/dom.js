// Elements by name, with text as text: nothing on this page ever parses markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function icon(tone, className = "icon") {
  const name = ["good", "wait", "bad", "old"].includes(tone) ? tone : "info";
  return svg("svg", { class: className, "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

// Writes only what changed, so that selections and screen readers are left alone.
export function say(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

export function mark(node, name, value) {
  if (value === null || value === undefined) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, String(value));
}

// Brings the children of `parent` in line with `items`: rows keep their element, and with it focus and selection.
export function rows(parent, items, keyOf, make, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  const seen = new Set();
  for (const item of items) {
    let key = String(keyOf(item));
    // Two rows of one key would be two elements of which only one is ever found again.
    while (seen.has(key)) key += "'";
    seen.add(key);
    let row = old.get(key);
    if (row) old.delete(key);
    else {
      row = make(item);
      row.dataset.key = key;
    }
    update?.(row, item);
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
  }
  for (const gone of old.values()) gone.remove();
}

// Sets the texts of a row's cells.
export function cells(row, texts) {
  texts.forEach((text, index) => say(row.cells[index], text));
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.setAttribute("class", value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
