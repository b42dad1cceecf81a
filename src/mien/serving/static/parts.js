// Parts of both pages, that of `mien serve` and the live page of `mien watch`: elements, bars, legend, lists, snapshots.

import { colorOf, css, emojiOf, percent } from "./labels.js";

export const $ = (id) => document.getElementById(id);

/** An element with a class and a text. */
export function make(tag, className = "", text = "") {
  return Object.assign(document.createElement(tag), { className, textContent: text });
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

/** The line above a face's bars. look: as `shown` in labels.js returns it. */
export function faceLine(number, look, confidence) {
  const emoji = make("span", "emoji", look.emoji);
  emoji.setAttribute("aria-hidden", "true");
  return [make("span", "number", `Face ${number}`), emoji, make("span", "name", look.title), make("span", "share", percent(confidence))];
}

/** What a face does, in a line; empty where the server gives no details. */
export function detailsLine(details) {
  if (!details) return "";
  const { pose, gaze, eyes_open: eyes, mouth_open: mouth, error } = details;
  if (error) return `No details: ${error}.`;
  const degrees = (angles) => Object.entries(angles).map(([name, angle]) => `${name} ${Math.round(angle)}°`).join(", ");
  const looks = gaze ? `Gaze: ${degrees(gaze)}.` : "Eyes closed.";
  return `Head: ${degrees(pose)}. ${looks} Eyes open: left ${percent(eyes.left)}, right ${percent(eyes.right)}. Mouth open: ${percent(mouth)}.`;
}

/** A bar for each label, in the model's order. */
export function makeBars(probabilities) {
  const list = make("ul", "bars");
  for (const [label, share] of Object.entries(probabilities)) {
    const [row, rail, bar] = [make("li"), make("span", "rail"), make("span")];
    bar.style.width = `${100 * share}%`;
    bar.style.background = css(colorOf(label));
    rail.append(bar);
    row.append(make("span", "", label), rail, make("span", "", percent(share)));
    list.append(row);
  }
  return list;
}

/** Fills a list with the labels and their colours. */
export function fillLegend(list, labels) {
  list.replaceChildren(
    ...labels.map((label) => {
      const [item, dot] = [make("li"), make("span", "dot")];
      dot.style.background = css(colorOf(label));
      item.append(dot, `${emojiOf(label)} ${label}`);
      return item;
    }),
  );
}

/** Shows an item for each thing, in order. Reuses items by their keys, so that the keyboard focus stays. */
export function fillList(list, things, { keyOf, makeItem, update }) {
  const old = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = things.map((thing) => old.get(String(keyOf(thing))) ?? makeItem(thing));
  for (const item of old.values()) if (!items.includes(item)) item.remove();
  items.forEach((item, place) => {
    item.dataset.key = keyOf(things[place]);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    update(item, things[place]);
  });
}

/** Adds a snapshot in front of a list of at most `most`. links: [{address, name, text}], the files to download. */
export function addSnapshot(list, most, { image, text, links }) {
  const item = make("li");
  const anchors = links.map((link) => Object.assign(make("a", "", link.text), { href: link.address, download: link.name }));
  item.append(Object.assign(make("img"), { src: image, alt: "" }), text, ...anchors);
  list.prepend(item);
  while (list.children.length > most) {
    for (const { href } of list.lastElementChild.querySelectorAll("a")) URL.revokeObjectURL(href);
    list.lastElementChild.remove();
  }
  return item;
}
