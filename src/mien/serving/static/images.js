// The panel of images: dropped, pasted, chosen or sample ones, each with its boxes and a card for every face.

import { showCode } from "./code.js";
import { FaceCard } from "./design/card.js";
import { annotated, drawOver, faceAt } from "./design/draw.js";
import { shown } from "./design/labels.js";
import { $, download, make, makeButton, set } from "./design/parts.js";
import { encode, renamed, toCsv, toJson } from "./save.js";
import { settings } from "./settings.js";

const AT_ONCE = 2; // requests
const PREVIEW_EDGE = 1600; // pixels; what is downloaded has the full size
const OPEN_CARDS = 2; // with more faces, or on a small screen, the cards show their top bars only

const entries = [];
const waiting = [];
let running = 0;

/** Connects the panel with the page. */
export function startImages() {
  $("files").addEventListener("change", ({ target }) => {
    addImages([...target.files]);
    target.value = "";
  });
  $("copy-json").addEventListener("click", copyJson);
  $("save-json").addEventListener("click", () => download("mien.json", jsonText(), "application/json"));
  $("save-csv").addEventListener("click", () => download("mien.csv", toCsv(modelOf().labels, answers(), settings.unsureBelow), "text/csv"));
  $("image-code").addEventListener("click", () => showCode("images", answers().map(({ source }) => source)));
  $("clear").addEventListener("click", () => {
    for (const entry of [...entries]) entry.remove();
    $("files").focus();
  });
  settings.addEventListener("unsure", () => entries.forEach((entry) => entry.show()));
  settings.addEventListener("choice", () => entries.forEach(enqueue)); // all results of a download are of one model
}

/** Adds files, and recognises them. */
export function addImages(files) {
  for (const file of files) {
    const entry = new Entry(file);
    entries.push(entry);
    $("image-list").append(entry.root);
    enqueue(entry);
  }
  say();
}

/** Whether an image is being recognised. */
export function imagesAreWorking() {
  return running > 0;
}

function enqueue(entry) {
  entry.begin();
  if (!waiting.includes(entry)) waiting.push(entry);
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    const entry = waiting.shift();
    if (!entries.includes(entry)) continue;
    running += 1;
    entry.recognize().finally(() => {
      running -= 1;
      next();
    });
  }
}

/** An image, its answer, and what is shown of both. */
class Entry {
  answer = null; // {model, image}, as `predict` returns it
  error = null;
  #bitmap = null; // the image as the browser shows it
  #working = null; // AbortController of the request
  #chosen = -1; // the face under the pointer or with the focus
  #cards = [];
  #canvas = set(make("canvas", "image"), { role: "img" });
  #overlay = set(make("canvas", "overlay"), { "aria-hidden": "true" });
  #list = make("ol", "faces");
  #note = make("p", "note");
  #stage = make("div", "answer", make("div", "sheet", this.#canvas, this.#overlay), this.#list);
  #save = makeButton("Download", () => this.#download(), "save");
  #watching = new ResizeObserver(() => this.#draw());

  constructor(file) {
    this.file = file;
    this.name = file.name || "Pasted image";
    set(this.#save, { "aria-label": `Download ${this.name} with boxes` });
    const removal = set(makeButton("Remove", () => this.#removeAndFocus(), "remove"), { "aria-label": `Remove ${this.name}` });
    const head = make("header", "", make("h2", "title", this.name), make("div", "buttons", this.#save, removal));
    this.root = make("article", "entry", head, this.#note, this.#stage);
    this.#watching.observe(this.#overlay);
    this.#overlay.addEventListener("pointermove", (event) => this.#choose(this.#faceUnder(event)));
    this.#overlay.addEventListener("pointerleave", () => this.#choose(-1));
    this.#overlay.addEventListener("click", (event) => this.#cards[this.#faceUnder(event)]?.focus());
    this.#save.hidden = this.#stage.hidden = true;
  }

  get isBusy() {
    return this.root.hasAttribute("aria-busy");
  }

  /** Stops a request that is under way, and waits for the next. */
  begin() {
    this.#working?.abort();
    this.root.setAttribute("aria-busy", "true");
  }

  async recognize() {
    const { signal } = (this.#working = new AbortController());
    try {
      this.#bitmap ??= await preview(this.file);
      const most = settings.limits?.max_upload_mb ?? Infinity;
      const size = this.file.size / 1_000_000;
      if (size >= most) throw new Error(`It has ${Math.ceil(size)} MB; this server takes up to ${most} MB.`);
      const { model, image } = await settings.place.predict(this.file, settings.choice, signal);
      this.error = image.error && inPlainWords(image);
      // The file's own name: browsers escape quotes in the names of forms.
      this.answer = { model, image: { ...image, source: this.file.name || image.source } };
    } catch (error) {
      if (signal.aborted) return;
      this.answer = null;
      this.error = error.message;
    }
    this.#chosen = -1;
    this.root.removeAttribute("aria-busy");
    this.show();
    say();
  }

  /** Shows everything that depends on the result and the threshold. */
  show() {
    const image = this.error ? null : this.answer?.image;
    this.#note.textContent = this.error ?? (image && !image.faces.length ? "No face found." : "");
    this.root.classList.toggle("failed", Boolean(this.error));
    this.#save.hidden = !image || !this.#bitmap;
    this.#stage.hidden = !image;
    if (!image) return;
    const scale = Math.min(1, PREVIEW_EDGE / Math.max(image.width, image.height));
    const { width, height } = this.#bitmap ?? { width: Math.round(image.width * scale), height: Math.round(image.height * scale) };
    Object.assign(this.#canvas, { width, height });
    if (this.#bitmap) this.#canvas.getContext("2d").drawImage(this.#bitmap, 0, 0);
    else this.#note.textContent = "This browser can't show the image; the boxes are correct.";
    const said = image.faces.map((face) => shown(face, settings.unsureBelow).text);
    this.#canvas.setAttribute("aria-label", `${this.name}, ${count(said.length, "face")}${said.length ? `: ${said.join("; ")}` : ""}`);
    const open = image.faces.length <= OPEN_CARDS && matchMedia("(min-width: 56rem)").matches;
    this.#cards = image.faces.map((face, index) => this.#makeCard(face, index, this.#cards[index]?.isOpen ?? open));
    this.#list.replaceChildren(...this.#cards.map(({ root }) => root));
    // After the first answer notice and drop box fold, so that the answer is in view.
    if (!$("images").classList.contains("answered")) $("notice").open = false;
    $("images").classList.add("answered");
    this.#draw();
  }

  remove() {
    this.#working?.abort();
    this.#bitmap?.close();
    this.#watching.disconnect();
    this.root.remove();
    entries.splice(entries.indexOf(this), 1);
    say();
  }

  #removeAndFocus() {
    const place = entries.indexOf(this);
    this.remove();
    const near = (entries[place] ?? entries.at(-1))?.root.querySelector(".remove");
    (near ?? $("files")).focus(); // a removed button would lose the focus
  }

  #makeCard(face, index, open) {
    const card = new FaceCard(Object.keys(face.probabilities), { open });
    card.update({ ...face, number: index + 1, unsureBelow: settings.unsureBelow });
    if (this.#bitmap) card.setImage(this.#bitmap, face.box, this.answer.image.width);
    const chosen = { pointerenter: index, focusin: index, pointerleave: -1, focusout: -1 };
    for (const [event, place] of Object.entries(chosen)) card.root.addEventListener(event, () => this.#choose(place));
    return card;
  }

  #faceUnder({ offsetX, offsetY }) {
    const { width = 0, faces = [] } = this.answer?.image ?? {};
    const scale = width / this.#overlay.clientWidth;
    return faceAt(faces, offsetX * scale, offsetY * scale);
  }

  #choose(index) {
    if (this.#chosen === index) return;
    this.#chosen = index;
    this.#cards.forEach(({ root }, i) => root.classList.toggle("chosen", i === index));
    this.#draw();
  }

  #draw() {
    const { faces = [], width = 0 } = this.answer?.image ?? {};
    drawOver(this.#overlay, this.#canvas, faces, { width, unsureBelow: settings.unsureBelow, chosen: this.#chosen });
  }

  async #download() {
    const { width, height, faces } = this.answer.image;
    const whole = await createImageBitmap(this.file);
    const canvas = annotated(whole, width, height, faces, { unsureBelow: settings.unsureBelow });
    whole.close();
    const name = renamed(this.file.name || "image", this.file.type === "image/jpeg" ? "-mien.jpg" : "-mien.png");
    download(name, await encode(canvas, name));
  }
}

/** The image as this browser shows it, upright and not too large; null if it does not support the format. */
async function preview(file) {
  const whole = await createImageBitmap(file).catch(() => null);
  const scale = Math.min(1, PREVIEW_EDGE / Math.max(whole?.width ?? 0, whole?.height ?? 0));
  if (scale === 1 || !whole) return whole;
  const size = { resizeWidth: Math.round(whole.width * scale), resizeHeight: Math.round(whole.height * scale) };
  const small = await createImageBitmap(whole, { ...size, resizeQuality: "high" });
  whole.close();
  return small;
}

/** The server's reason without the file's name, which stands above it. */
function inPlainWords({ error, source }) {
  return `This file ${error.startsWith(`${source}: `) ? error.slice(source.length + 2) : error}.`;
}

const answered = () => entries.filter(({ answer }) => answer);
const answers = () => answered().map(({ answer }) => answer.image);
const modelOf = () => answered()[0].answer.model;
const jsonText = () => toJson(modelOf(), answers(), settings.unsureBelow);

async function copyJson() {
  const copied = await navigator.clipboard?.writeText(jsonText()).then(() => true, () => false);
  $("image-state").textContent = copied ? "JSON copied." : "This browser does not allow copying here; download the JSON instead.";
}

/** Shows the progress in one line, which screen readers announce. */
function say() {
  $("image-actions").hidden = !entries.length;
  const busy = entries.filter(({ isBusy }) => isBusy).length;
  const failed = entries.filter(({ error }) => error).length;
  const faces = answers().reduce((sum, image) => sum + image.faces.length, 0);
  const done = `${count(entries.length - failed, "image")} read, ${count(faces, "face")}`;
  const text = busy ? `Processing ${count(busy, "image")} …` : `${done}${failed ? `, ${count(failed, "image")} not read` : ""}.`;
  $("image-state").textContent = entries.length ? text : "";
  for (const id of ["copy-json", "save-json", "save-csv", "image-code"]) $(id).disabled = !answered().length;
}

function count(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}
