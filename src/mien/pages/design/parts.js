// Parts of all pages: elements, legend, snapshots.

import { colorOf, css, emojiOf } from "./labels.js";

export const $ = (id) => document.getElementById(id);

/** An element with a class and children: nodes and texts; null is left out. */
export function make(tag, className = "", ...children) {
  const element = Object.assign(document.createElement(tag), { className });
  element.append(...children.filter((child) => child !== null));
  return element;
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

/** Returns a function that announces changed texts to screen readers, at most every three seconds. */
export function announcer(element) {
  let last = -Infinity;
  return (text) => {
    const now = performance.now();
    if (text === element.textContent || now - last < 3000) return;
    last = now;
    element.textContent = text;
  };
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

/** Adds a snapshot in front of a list of at most `most`. links: [{address, name, text}], the files to download. */
export function addSnapshot(list, most, { image, text, links }) {
  const anchors = links.map((link) => Object.assign(make("a", "", link.text), { href: link.address, download: link.name }));
  const item = make("li", "", Object.assign(make("img"), { src: image, alt: "" }), text, ...anchors);
  list.prepend(item);
  while (list.children.length > most) {
    for (const { href } of list.lastElementChild.querySelectorAll("a")) URL.revokeObjectURL(href);
    list.lastElementChild.remove();
  }
  return item;
}
