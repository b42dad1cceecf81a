// Parts of all pages: elements, messages, files.

export const $ = (id) => document.getElementById(id);

/** An element with a class and children: nodes and texts; null is left out. */
export function make(tag, className = "", ...children) {
  const element = Object.assign(document.createElement(tag), { className });
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Sets attributes of an element, and returns it. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** A canvas of a size in pixels. */
export function makeCanvas(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** A button. */
export function makeButton(text, onClick, className = "") {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", onClick);
  return button;
}

/** Shows a message, as an error if `bad`. */
export function setState(element, text, bad = false) {
  element.textContent = text;
  element.classList.toggle("bad", bad);
}

/** Offers data as a file. data: a Blob or text. */
export function download(name, data, type) {
  const address = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = Object.assign(make("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Rows as CSV. A text that a spreadsheet would take for a formula gets an apostrophe, as in mien/files.py. */
export function csvText(rows) {
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function cell(value) {
  const isNumber = /^-?[\d.]+(e[-+]?\d+)?$/.test(value);
  const text = /^'*[=+\-@\t\r]./s.test(value) && !isNumber ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
