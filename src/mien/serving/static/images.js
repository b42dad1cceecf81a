// The panel of images: dropped, pasted or chosen ones, each with its boxes and a card for every face.

import { annotated, drawFaces, faceAt, fitCanvas } from "./draw.js";
import { css, shown } from "./labels.js";
import { $, detailsLine, faceLine, make, makeBars } from "./parts.js";
import { predict } from "./place.js";
import { download, encode, renamed, toCsv, toJson } from "./save.js";
import { settings } from "./settings.js";

const AT_ONCE = 2; // requests
const PREVIEW_EDGE = 1600; // pixels; what is downloaded has the full size
const OPEN_CARDS = 3; // with more faces the cards are closed to keep the list short

const entries = []; // {file, answer: {model, image} | null, error, view, working: AbortController | null}
const waiting = [];
let running = 0;

/** Connects the panel with the page. */
export function startImages() {
  $("files").addEventListener("change", ({ target }) => {
    add([...target.files]);
    target.value = "";
  });
  acceptDrops($("drop"), add);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
    if (files.length && !$("images").hidden) add(files);
  });
  $("copy-json").addEventListener("click", copyJson);
  $("save-json").addEventListener("click", () => download("mien.json", jsonText(), "application/json"));
  $("save-csv").addEventListener("click", () => download("mien.csv", csvText(), "text/csv"));
  $("clear").addEventListener("click", () => {
    for (const entry of [...entries]) remove(entry);
    $("files").focus();
  });
  settings.addEventListener("unsure", () => entries.forEach(showAnswer));
  settings.addEventListener("choice", () => entries.forEach(enqueue)); // all results of a download are of one model
}

/** Makes an element a place to drop files on. */
export function acceptDrops(element, take) {
  const over = (event) => {
    event.preventDefault();
    element.classList.add("over");
  };
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    take([...event.dataTransfer.files]);
  });
}

function add(files) {
  for (const file of files) {
    const entry = { file, answer: null, error: null, bitmap: null, chosen: -1, working: null, view: null };
    entry.view = makeView(entry);
    entries.push(entry);
    $("image-list").append(entry.view.root);
    enqueue(entry);
  }
  say();
}

function remove(entry) {
  entry.working?.abort();
  entry.bitmap?.close();
  entry.view.watching.disconnect();
  entry.view.root.remove();
  entries.splice(entries.indexOf(entry), 1);
  say();
}

function enqueue(entry) {
  entry.working?.abort();
  entry.view.root.setAttribute("aria-busy", "true");
  if (!waiting.includes(entry)) waiting.push(entry);
  next();
}

function next() {
  while (running < AT_ONCE && waiting.length) {
    const entry = waiting.shift();
    if (!entries.includes(entry)) continue;
    running += 1;
    recognize(entry).finally(() => {
      running -= 1;
      next();
    });
  }
}

async function recognize(entry) {
  const working = (entry.working = new AbortController());
  try {
    entry.bitmap ??= await preview(entry.file);
    const tooLarge = tooLargeFor(settings.limits, entry.file);
    if (tooLarge) throw new Error(tooLarge);
    const choice = { model: settings.model, detector: settings.detector };
    const { model, image } = await predict(entry.file, choice, working.signal);
    // The file's own name: browsers escape quotes in the names of forms.
    entry.answer = { model, image: { ...image, source: entry.file.name || image.source } };
    entry.error = image.error && inPlainWords(image);
  } catch (error) {
    if (working.signal.aborted) return;
    entry.answer = null;
    entry.error = error.message;
  }
  entry.chosen = -1;
  entry.view.root.removeAttribute("aria-busy");
  showAnswer(entry);
  say();
}

/** The image as this browser shows it, upright; null if it does not support the format. */
async function preview(file) {
  try {
    const whole = await createImageBitmap(file);
    const scale = Math.min(1, PREVIEW_EDGE / Math.max(whole.width, whole.height));
    if (scale === 1) return whole;
    const size = { resizeWidth: Math.round(whole.width * scale), resizeHeight: Math.round(whole.height * scale) };
    const small = await createImageBitmap(whole, { ...size, resizeQuality: "high" });
    whole.close();
    return small;
  } catch {
    return null;
  }
}

function tooLargeFor(limits, file) {
  const most = limits?.max_upload_mb;
  if (!most || file.size < most * 1_000_000) return "";
  return `It has ${Math.ceil(file.size / 1_000_000)} MB; this server takes up to ${most} MB.`;
}

/** The server's reason without the file's name, which stands above it. */
function inPlainWords({ error, source }) {
  const reason = error.startsWith(`${source}: `) ? error.slice(source.length + 2) : error;
  return `This file ${reason}.`;
}

function makeView(entry) {
  const root = document.getElementById("image-template").content.firstElementChild.cloneNode(true);
  const find = (name) => root.querySelector(`.${name}`);
  const view = {
    root, title: find("title"), note: find("note"), stage: find("stage"), canvas: find("image"),
    overlay: find("overlay"), cards: find("cards"), save: find("save"),
  };
  view.title.textContent = entry.file.name || "Pasted image";
  find("remove").setAttribute("aria-label", `Remove ${view.title.textContent}`);
  find("remove").addEventListener("click", () => {
    const place = entries.indexOf(entry);
    remove(entry);
    const near = (entries[place] ?? entries.at(-1))?.view.root.querySelector(".remove");
    (near ?? $("files")).focus(); // a removed button would lose the focus
  });
  view.save.addEventListener("click", () => saveAnnotated(entry));
  view.watching = new ResizeObserver(() => drawOverlay(entry));
  view.watching.observe(view.overlay);
  view.overlay.addEventListener("pointermove", (event) => choose(entry, faceUnder(entry, event)));
  view.overlay.addEventListener("pointerleave", () => choose(entry, -1));
  view.overlay.addEventListener("click", (event) => {
    const card = view.cards.children[faceUnder(entry, event)];
    if (!card) return;
    card.open = true;
    card.querySelector("summary").focus();
  });
  return view;
}

function faceUnder(entry, event) {
  const image = entry.answer?.image;
  if (!image?.width) return -1;
  const scale = image.width / entry.view.overlay.clientWidth;
  return faceAt(image.faces, event.offsetX * scale, event.offsetY * scale);
}

function choose(entry, index) {
  if (entry.chosen === index) return;
  entry.chosen = index;
  [...entry.view.cards.children].forEach((card, i) => card.classList.toggle("chosen", i === index));
  drawOverlay(entry);
}

/** Shows everything that depends on the result and the threshold. */
function showAnswer(entry) {
  const { view, answer, error, bitmap } = entry;
  const image = error ? null : answer?.image;
  view.note.textContent = error ?? (image && !image.faces.length ? "No face found." : "");
  view.root.classList.toggle("failed", Boolean(error));
  view.save.hidden = !image || !bitmap;
  view.stage.hidden = !image;
  if (!image) {
    view.cards.replaceChildren();
    return;
  }
  const { canvas } = view;
  const scale = Math.min(1, PREVIEW_EDGE / Math.max(image.width, image.height));
  const blank = { width: Math.round(image.width * scale), height: Math.round(image.height * scale) };
  Object.assign(canvas, bitmap ? { width: bitmap.width, height: bitmap.height } : blank);
  if (bitmap) canvas.getContext("2d").drawImage(bitmap, 0, 0);
  else view.note.textContent = "This browser can't show the image; the boxes are correct.";
  canvas.setAttribute("aria-label", describe(entry));
  const opened = [...view.cards.children].map((card) => card.open);
  const open = (index) => opened[index] ?? image.faces.length <= OPEN_CARDS;
  view.cards.replaceChildren(...image.faces.map((face, index) => makeCard(entry, face, index, open(index))));
  drawOverlay(entry);
}

function describe({ file, answer }) {
  const faces = answer.image.faces.map((face) => shown(face.expression, face.confidence, settings.unsureBelow).text);
  return `${file.name || "Pasted image"}, ${count(faces.length, "face")}${faces.length ? `: ${faces.join("; ")}` : ""}`;
}

function makeCard(entry, face, index, open) {
  const [card, summary] = [make("details", "card"), make("summary")];
  card.open = open;
  const look = shown(face.expression, face.confidence, settings.unsureBelow);
  card.style.setProperty("--mark", css(look.color));
  summary.append(...faceLine(index + 1, look, face.confidence));
  card.append(summary, makeBars(face.probabilities), make("p", "details", detailsLine(face.details)));
  card.addEventListener("pointerenter", () => choose(entry, index));
  card.addEventListener("pointerleave", () => choose(entry, -1));
  card.addEventListener("focusin", () => choose(entry, index));
  card.addEventListener("focusout", () => choose(entry, -1));
  return card;
}

function drawOverlay(entry) {
  const context = fitCanvas(entry.view.overlay);
  const image = entry.answer?.image;
  if (!context || !image?.width) return;
  const { clientWidth } = entry.view.overlay;
  drawFaces(context, image.faces, {
    scale: context.canvas.width / image.width,
    plate: (clientWidth < 420 ? 17 : 21) * (context.canvas.width / clientWidth),
    unsureBelow: settings.unsureBelow,
    chosen: entry.chosen,
  });
}

async function saveAnnotated(entry) {
  const { width, height, faces } = entry.answer.image;
  const whole = await createImageBitmap(entry.file);
  const canvas = annotated(whole, width, height, faces, { unsureBelow: settings.unsureBelow });
  whole.close();
  const name = renamed(entry.file.name || "image", entry.file.type === "image/jpeg" ? "-mien.jpg" : "-mien.png");
  download(name, await encode(canvas, name));
}

function answered() {
  return entries.filter((entry) => entry.answer);
}

function jsonText() {
  const done = answered();
  return toJson(done[0].answer.model, done.map((entry) => entry.answer.image), settings.unsureBelow);
}

function csvText() {
  const done = answered();
  return toCsv(done[0].answer.model.labels, done.map((entry) => entry.answer.image), settings.unsureBelow);
}

async function copyJson() {
  try {
    await navigator.clipboard.writeText(jsonText());
    $("image-state").textContent = "JSON copied.";
  } catch {
    $("image-state").textContent = "This browser does not allow copying here; download the JSON instead.";
  }
}

/** Shows the progress in one line, which screen readers announce. */
function say() {
  $("image-actions").hidden = !entries.length;
  const busy = entries.filter((entry) => entry.view.root.hasAttribute("aria-busy")).length;
  const failed = entries.filter((entry) => entry.error).length;
  const faces = answered().reduce((sum, { answer }) => sum + answer.image.faces.length, 0);
  const done = `${count(entries.length - failed, "image")} read, ${count(faces, "face")}`;
  const text = busy ? `Processing ${count(busy, "image")} …` : `${done}${failed ? `, ${count(failed, "image")} not read` : ""}.`;
  $("image-state").textContent = entries.length ? text : "";
  for (const id of ["copy-json", "save-json", "save-csv"]) $(id).disabled = !answered().length;
}

function count(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}
