// The card of a face: its image, number and expression, the one set of bars of all pages, and where wanted its timeline.

import { drawCrop } from "./draw.js";
import { colorOf, css, emojiImage, percent, shown } from "./labels.js";
import { make } from "./parts.js";
import { Timeline } from "./timeline.js";

const TOP = 3; // bars that always show

/** A card, as an item of a list. */
export class FaceCard {
  #bars = new Map(); // label -> {row, bar, share}
  #head = make("button", "head");
  #thumb = make("canvas", "thumb");
  #number = make("span", "number");
  #name = make("span", "name");
  #share = make("span", "share");
  #list = make("ul", "bars");
  #note = make("p", "details");

  /** labels: in the model's order. timeline: its options, or null for none. */
  constructor(labels, { timeline = null, open = false } = {}) {
    this.root = make("li", "face", this.#head, this.#list, this.#note);
    this.#head.type = "button";
    this.#head.append(this.#thumb, make("span", "unseen", "Face"), this.#number, this.#name, this.#share);
    this.#head.addEventListener("click", () => this.open(!this.root.classList.contains("open")));
    Object.assign(this.#thumb, { width: 112, height: 112, hidden: true });
    for (const label of labels) {
      const [bar, share] = [make("span"), make("span")];
      bar.style.background = css(colorOf(label));
      const row = make("li", "", make("span", "", label), make("span", "rail", bar), share);
      this.#bars.set(label, { row, bar, share });
      this.#list.append(row);
    }
    if (timeline) {
      this.timeline = new Timeline(labels, timeline);
      this.root.append(this.timeline.root);
    }
    this.open(open);
  }

  /** Shows all bars, or the top ones. */
  open(open) {
    this.root.classList.toggle("open", open);
    this.#head.setAttribute("aria-expanded", String(open));
  }

  get isOpen() {
    return this.root.classList.contains("open");
  }

  focus() {
    this.#head.focus();
  }

  /** Shows a face. text: in place of the expression and its share. details: as in the API's JSON; note: below the bars. */
  update({ number, expression, confidence, probabilities, unsureBelow = 0, text = null, details = null, note = "" }) {
    const look = shown({ expression, confidence }, unsureBelow);
    this.root.style.setProperty("--mark", css(look.color));
    this.root.style.setProperty("--on-mark", look.ink);
    this.#number.textContent = number;
    this.#name.replaceChildren(...(text === null ? [emojiImage(look.emoji), make("span", "", look.title)] : [text]));
    this.#share.textContent = text === null ? percent(confidence) : "";
    this.#note.textContent = note || detailsLine(details);
    this.setBars(probabilities);
  }

  /** Shows probabilities, {label: share}. */
  setBars(probabilities) {
    const most = [...this.#bars.keys()].sort((a, b) => (probabilities[b] ?? 0) - (probabilities[a] ?? 0)).slice(0, TOP);
    for (const [label, { row, bar, share }] of this.#bars) {
      const value = probabilities[label] ?? 0;
      row.classList.toggle("most", most.includes(label));
      bar.style.width = `${100 * value}%`;
      share.textContent = percent(value);
    }
  }

  /** Shows the face's image, cut out of a source with its size in the boxes' pixels. */
  setImage(source, box, width, mirror = false) {
    if (drawCrop(this.#thumb, source, box, width, mirror)) this.#thumb.hidden = false;
  }
}

/** What a face does, in a line; empty where the server gives no details. */
function detailsLine(details) {
  if (!details) return "";
  const { pose, gaze, eyes_open: eyes, mouth_open: mouth, error } = details;
  if (error) return `No details: ${error}.`;
  const degrees = (angles) => Object.entries(angles).map(([name, angle]) => `${name} ${Math.round(angle)}°`).join(", ");
  const looks = gaze ? `Gaze: ${degrees(gaze)}.` : "Eyes closed.";
  return `Head: ${degrees(pose)}. ${looks} Eyes open: left ${percent(eyes.left)}, right ${percent(eyes.right)}. Mouth open: ${percent(mouth)}.`;
}

