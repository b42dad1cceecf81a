// The live view of the camera panel and of `mien watch`: frames with boxes, a card with bars and a timeline for each
// face, pause, snapshots and their keys. A source shows frames in an element and gives their faces to `show`.

import { FaceCard } from "./card.js";
import { drawOver, faceImage } from "./draw.js";
import { fillLegend, shown, withExpression } from "./labels.js";
import { make, makeButton, set, setState } from "./parts.js";
import { summarize } from "./timeline.js";

const WINDOW_S = 30;
const GAP_S = 1;
const MOST_FACES = 6;
const MOST_SHOTS = 8;
const IMAGE_EVERY_S = 3;
const CARDS_MS = 100; // between two updates of cards
const SPEECH_MS = 3000; // between two texts for screen readers

/** Faces are {number, box, probabilities, details}; their probabilities are smoothed over time. */
export class LiveView {
  paused = false;
  #faces = new Map(); // number -> {card, points, images, seen}
  #labels = [];
  #newest = null; // the last argument of show
  #drawn = 0; // when the cards were updated
  #saidAt = -Infinity;
  #said = set(make("p", "unseen"), { "aria-live": "polite" });
  #frame;
  #options;
  #overlay = set(make("canvas", "overlay"), { "aria-hidden": "true" });
  #state = set(make("p", "state"), { role: "status" });
  #figures = make("p", "figures");
  #hint = make("p", "hint");
  #list = make("ol", "faces");
  #legend = set(make("ul", "legend"), { "aria-label": "Colours of bars and timelines" });
  #shots = set(make("ul", "shots"), { "aria-label": "Snapshots" });
  #pause = makeButton("", () => this.#act(() => this.pause(!this.paused)));
  #snapshot = makeButton("Snapshot ", () => this.#act(() => this.#save()));

  /**
   * frame: the <video> or <img> with the frames. boxes: whether they are drawn here. onPause(paused) and onSnapshot(),
   * which returns {image, text, links: [{address, name, text}]} or null, may throw. controls, more: elements at the start
   * and the end of the toolbar.
   */
  constructor(root, frame, { boxes, onPause, onSnapshot, controls = [], more = [] }) {
    this.#frame = frame;
    this.#options = { boxes, onPause, onSnapshot, mirror: false, unsureBelow: 0 };
    set(this.#pause, { "aria-keyshortcuts": "Space" });
    set(this.#snapshot, { "aria-keyshortcuts": "s" });
    this.#snapshot.append(make("kbd", "", "s"));
    this.stage = make("div", "stage", frame, this.#overlay);
    const buttons = make("div", "buttons", ...controls, this.#pause, this.#snapshot, ...more);
    const side = set(make("section", "side", make("h2", "", "Faces, last 30 seconds"), this.#hint, this.#list), { "aria-label": "Faces" });
    const left = make("div", "", this.stage, make("div", "bar", buttons, this.#figures), this.#state, this.#legend, this.#shots);
    root.append(make("div", "live", left, side), this.#said);
    this.setRunning(false);
    new ResizeObserver(() => this.#draw()).observe(this.stage);
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** Sets `mirror` or `unsureBelow`, and draws anew. */
  set(options) {
    Object.assign(this.#options, options);
    this.hold(this.#newest);
  }

  say(text, bad) {
    setState(this.#state, text, bad);
  }

  /** Begins with the labels of a model, in its order. */
  begin(labels) {
    this.#labels = labels;
    this.#faces.clear();
    this.#list.replaceChildren();
    fillLegend(this.#legend, labels);
  }

  /** Enables the buttons while there are frames. hint: shown while there is no face. */
  setRunning(running, hint = "") {
    this.#pause.disabled = this.#snapshot.disabled = !running;
    this.#legend.hidden = !running && !this.#faces.size;
    this.#hint.textContent = running ? "No face in sight." : hint;
    this.#figures.textContent = "";
    this.#showPause();
  }

  /** Shows the faces of a frame. time: seconds. width: of the frame that the boxes belong to. figures: a text. */
  show({ time, width, faces, figures }) {
    this.#newest = { time, width, faces };
    this.#figures.textContent = figures;
    for (const face of faces) this.#remember(face, time, width);
    for (const [number, { card, seen }] of this.#faces) {
      if (seen >= time - WINDOW_S && seen <= time) continue;
      card.root.remove();
      this.#faces.delete(number);
    }
    this.#draw();
    if (performance.now() - this.#drawn < CARDS_MS) return;
    this.#drawn = performance.now();
    this.#showCards();
    const names = faces.map((face) => `face ${face.number} ${shown(withExpression(face), this.#options.unsureBelow).name}`);
    this.#announce(names.join(", ") || "no face in sight");
  }

  /** Shows a frame that was kept: a source's paused one. */
  hold(held) {
    this.#newest = held;
    this.#draw();
    this.#showCards();
  }

  /** Removes all boxes: there are no frames any more, so nothing is known of any face. */
  clear() {
    this.hold(this.#newest && { ...this.#newest, faces: [] });
  }

  async pause(paused) {
    await this.#options.onPause(paused);
    this.paused = paused;
    this.#showPause();
  }

  #showPause() {
    this.#pause.setAttribute("aria-pressed", String(this.paused));
    this.#pause.replaceChildren(this.paused ? "Resume " : "Pause ", make("kbd", "", "space"));
    this.stage.classList.toggle("still", this.paused);
  }

  #remember({ number, box, probabilities }, time, width) {
    let face = this.#faces.get(number);
    if (!face) {
      const card = new FaceCard(this.#labels, { timeline: { live: true } });
      this.#faces.set(number, (face = { card, points: [], images: [] }));
      this.#list.append(card.root);
    }
    face.seen = time;
    face.points.push({ time, probabilities });
    while (face.points[0].time < time - WINDOW_S) face.points.shift();
    if (face.images.length && time - face.images.at(-1).time < IMAGE_EVERY_S) return;
    const { mirror } = this.#options;
    const canvas = faceImage(this.#frame, box, width, mirror);
    if (!canvas) return;
    face.card.setImage(this.#frame, box, width, mirror);
    face.images.push({ time, canvas });
    while (face.images[0].time < time - WINDOW_S) face.images.shift();
  }

  #draw() {
    const { boxes, mirror, unsureBelow } = this.#options;
    if (!boxes) return;
    const { faces = [], width = 0 } = this.#newest ?? {};
    drawOver(this.#overlay, this.#frame, faces.map(withExpression), { width, mirror, unsureBelow });
  }

  #showCards() {
    const { time = 0, faces = [] } = this.#newest ?? {};
    this.#hint.hidden = this.#faces.size > 0;
    const { unsureBelow } = this.#options;
    const kept = [...this.#faces].slice(-MOST_FACES);
    for (const [number, { card, points, images }] of this.#faces) {
      card.root.hidden = !kept.some(([one]) => one === number);
      if (card.root.hidden) continue;
      const face = faces.find((each) => each.number === number);
      const view = withExpression(face ?? { number, probabilities: points.at(-1).probabilities });
      card.root.classList.toggle("gone", !face);
      card.update({ ...view, unsureBelow, text: face ? null : "out of sight" });
      const until = points.filter((point) => point.time <= time);
      card.timeline.set({ points: until, from: time - WINDOW_S, to: time, gap: GAP_S, images, unsureBelow });
      card.timeline.root.setAttribute("aria-label", `Face ${number}, last ${WINDOW_S} seconds: ${summarize(until, unsureBelow)}`);
    }
  }

  async #save() {
    const shot = await this.#options.onSnapshot();
    if (!shot) return;
    const anchors = shot.links.map(({ address, name, text }) => Object.assign(make("a", "", text), { href: address, download: name }));
    this.#shots.prepend(make("li", "", Object.assign(make("img"), { src: shot.image, alt: "" }), shot.text, ...anchors));
    if (this.#shots.children.length <= MOST_SHOTS) return;
    for (const { href } of this.#shots.lastElementChild.querySelectorAll("a")) URL.revokeObjectURL(href);
    this.#shots.lastElementChild.remove();
  }

  #announce(text) {
    if (text === this.#said.textContent || performance.now() - this.#saidAt < SPEECH_MS) return;
    this.#saidAt = performance.now();
    this.#said.textContent = text;
  }

  async #act(action) {
    try {
      await action();
    } catch {
      this.say("There is no frame.", true);
    }
  }

  #onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !this.stage.offsetParent) return;
    if (event.target.closest?.("input, select, dialog")) return;
    const button = { " ": this.#pause, s: this.#snapshot, S: this.#snapshot }[event.key];
    if (!button || button.disabled || (event.key === " " && event.target.closest?.("button, a, summary"))) return;
    event.preventDefault(); // else the page scrolls
    button.click();
  }
}
