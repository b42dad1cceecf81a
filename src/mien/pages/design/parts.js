// Parts of all pages: elements, messages, the legend.

import { colorOf, css, emojiOf } from "./labels.js";

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

/** An emoji of labels.js as an element. */
export function emojiImage(image) {
  const copy = image?.cloneNode() ?? make("span");
  copy.className = "emoji";
  return copy;
}

/** Fills a list with the labels and their colours. */
export function fillLegend(list, labels) {
  list.replaceChildren(
    ...labels.map((label) => {
      const dot = make("span", "dot");
      dot.style.background = css(colorOf(label));
      return make("li", "", dot, emojiImage(emojiOf(label)), label);
    }),
  );
}
