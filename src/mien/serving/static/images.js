// The panel of images: dropped, pasted, chosen or sample ones, each with its boxes and a card for every face.

import { FaceCard } from "./design/card.js";
import { annotated, drawOver, faceAt } from "./design/draw.js";
import { shown } from "./design/labels.js";
import { $, make, makeButton } from "./design/parts.js";
import { showCode } from "./code.js";
import { predict } from "./place.js";
import { download, encode, renamed, toCsv, toJson } from "./save.js";
import { settings } from "./settings.js";

const AT_ONCE = 2; // requests
const PREVIEW_EDGE = 1600; // pixels; what is downloaded has the full size
const OPEN_CARDS = 2; // with more faces, or on a small screen, the cards show their top bars only

const entries = []; // {file, answer: {model, image} | null, error, bitmap, chosen, working: AbortController, view}
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
  $("save-csv").addEventListener("click", () => download("mien.csv", csvText(), "text/csv"));
  $("image-code").addEventListener("click", () => showCode("images", answered().map(({ answer }) => answer.image.source)));
  $("clear").addEventListener("click", () => {
    for (const entry of [...entries]) remove(entry);
    $("files").focus();
  });
  settings.addEventListener("unsure", () => entries.forEach(showAnswer));
  settings.addEventListener("choice", () => entries.forEach(enqueue)); // all results of a download are of one model
}

/** Adds files, and recognises them. */
export function addImages(files) {
  for (const file of files) {
    const entry = { file, answer: null, error: null, bitmap: null, chosen: -1, working: null, view: null };
    entry.view = makeView(entry);
    entries.push(entry);
    $("image-list").append(entry.view.root);
    enqueue(entry);
  }
  say();
}

/** After the first answer: notice and drop box fold, so that the answer is in view. */
function fold() {
  if ($("images").classList.contains("answered")) return;
  $("images").classList.add("answered");
  $("notice").open = false;
}

/** Whether an image is being recognised. */
export function imagesAreWorking() {
  return running > 0;
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
  const name = entry.file.name || "Pasted image";
  const [canvas, overlay, cards, note] = [make("canvas", "image"), make("canvas", "overlay"), make("ol", "faces"), make("p", "note")];
  canvas.setAttribute("role", "img");
  overlay.setAttribute("aria-hidden", "true");
  const save = makeButton("Download", () => saveAnnotated(entry), "save");
  const removal = makeButton("Remove", () => removeAndFocus(entry), "remove");
  save.setAttribute("aria-label", `Download ${name} with boxes`);
  removal.setAttribute("aria-label", `Remove ${name}`);
  const stage = make("div", "answer", make("div", "sheet", canvas, overlay), cards);
  const head = make("header", "", make("h2", "title", name), make("div", "buttons", save, removal));
  const root = make("article", "entry", head, note, stage);
  const watching = new ResizeObserver(() => drawOverlay(entry));
  watching.observe(overlay);
  overlay.addEventListener("pointermove", (event) => choose(entry, faceUnder(entry, event)));
  overlay.addEventListener("pointerleave", () => choose(entry, -1));
  overlay.addEventListener("click", (event) => entry.view.faces[faceUnder(entry, event)]?.focus());
  save.hidden = stage.hidden = true;
  return { root, note, stage, canvas, overlay, cards, save, watching, faces: [] };
}

function removeAndFocus(entry) {
  const place = entries.indexOf(entry);
  remove(entry);
  const near = (entries[place] ?? entries.at(-1))?.view.root.querySelector(".remove");
  (near ?? $("files")).focus(); // a removed button would lose the focus
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
  entry.view.faces.forEach(({ root }, i) => root.classList.toggle("chosen", i === index));
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
  const open = image.faces.length <= OPEN_CARDS && matchMedia("(min-width: 56rem)").matches;
  const before = view.faces;
  view.faces = image.faces.map((face, index) => makeCard(entry, face, index, before[index]?.isOpen ?? open));
  view.cards.replaceChildren(...view.faces.map(({ root }) => root));
  fold();
  drawOverlay(entry);
}

function describe({ file, answer }) {
  const faces = answer.image.faces.map((face) => shown(face.expression, face.confidence, settings.unsureBelow).text);
  return `${file.name || "Pasted image"}, ${count(faces.length, "face")}${faces.length ? `: ${faces.join("; ")}` : ""}`;
}

function makeCard(entry, face, index, open) {
  const card = new FaceCard(Object.keys(face.probabilities), { open });
  card.update({ ...face, number: index + 1, unsureBelow: settings.unsureBelow });
  if (entry.bitmap) card.setImage(entry.bitmap, face.box, entry.answer.image.width);
  card.root.addEventListener("pointerenter", () => choose(entry, index));
  card.root.addEventListener("pointerleave", () => choose(entry, -1));
  card.root.addEventListener("focusin", () => choose(entry, index));
  card.root.addEventListener("focusout", () => choose(entry, -1));
  return card;
}

function drawOverlay({ view, answer, chosen }) {
  const { faces = [], width = 0 } = answer?.image ?? {};
  drawOver(view.overlay, view.canvas, faces, { width, unsureBelow: settings.unsureBelow, chosen });
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
  for (const id of ["copy-json", "save-json", "save-csv", "image-code"]) $(id).disabled = !answered().length;
}

function count(number, name) {
  return `${number} ${name}${number === 1 ? "" : "s"}`;
}
