// The panel of videos: upload, progress with a preview, then the original with boxes and a timeline for each face.

import { getVideo, getVideoFile, removeVideo, uploadVideo } from "./api.js";
import { showCode } from "./code.js";
import { FaceCard } from "./design/card.js";
import { drawCrop, drawOver, sizeOf } from "./design/draw.js";
import { percent } from "./design/labels.js";
import { $, fillLegend, make, setState } from "./design/parts.js";
import { clock } from "./design/timeline.js";
import { download, encode, renamed } from "./save.js";
import { settings } from "./settings.js";

const ASK_MS = 400;
const MOST_FACES = 8;
const IMAGES = 7; // of a face on its timeline
const GAP_S = 0.5;
const STEPS_S = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };

let working = null; // AbortController while a video is uploaded or processed
let uploading = false;
let job = null; // {id, name, file, state, address, isDrawn, frames: Blob} after the upload
let frames = []; // {time, width, faces: [{number, box, expression, confidence, probabilities, details}]}
let faces = []; // {number, points, images, card, note}
let length = 0; // seconds
let hovered = null; // the time under the pointer
const player = $("video-player");
const say = (text, bad) => setState($("video-state"), text, bad);

/** Connects the panel with the page. */
export function startVideo() {
  $("video-file").addEventListener("change", ({ target }) => {
    if (target.files.length) addVideo(target.files[0]);
    target.value = "";
  });
  $("video-cancel").addEventListener("click", () => working?.abort());
  $("video-remove").addEventListener("click", () => forget("The video and its results are removed from the server."));
  $("video-csv").addEventListener("click", () => save("timeline.csv", "-mien.csv"));
  $("video-mp4").addEventListener("click", () => save("video.mp4", "-mien.mp4"));
  $("video-json").addEventListener("click", () => download(renamed(job.name, "-mien.json"), job.frames));
  $("video-png").addEventListener("click", savePlot);
  $("video-code").addEventListener("click", () => showCode("video", [job.name]));
  for (const id of ["video-boxes", "video-blur"]) $(id).addEventListener("change", drawAll);
  for (const event of ["timeupdate", "seeked", "loadeddata"]) player.addEventListener(event, drawAll);
  player.addEventListener("play", followPlayer);
  player.addEventListener("error", () => job?.address && playDrawn());
  settings.addEventListener("unsure", showFaces);
  settings.addEventListener("offer", () => {
    $("video-not-offered").hidden = settings.videos;
    $("video-offered").hidden = !settings.videos;
    const [, id] = /^#video=([\w-]+)$/.exec(location.hash) ?? [];
    if (id && settings.videos && !job && !working) resume(id);
  });
  new ResizeObserver(drawAll).observe($("video-overlay"));
}

/** The address of the panel, with the job it shows. */
export function videoHash() {
  return job ? `#video=${job.id}` : "#video";
}

/** Whether leaving the page would lose an upload. */
export function videoIsUploading() {
  return uploading;
}

/** Uploads a video and shows its result. */
export async function addVideo(file) {
  if (working || !settings.videos) {
    if (working) say(`${file.name} was not added: one video is processed at a time.`, true);
    return;
  }
  await forget("");
  await work(async (signal) => {
    uploading = true;
    progress("Uploading", 0);
    const choice = { model: settings.model, detector: settings.detector };
    const id = await uploadVideo(file, choice, { onProgress: (share) => progress("Uploading", share), signal });
    uploading = false;
    job = { id, name: file.name || "video", file };
    history.replaceState(null, "", videoHash());
  });
}

/** Shows a job by its address: after a reload, or from a bookmark. */
async function resume(id) {
  await work(async () => {
    progress("Asking the server", null);
    job = { id, name: "video", file: null };
  });
}

async function work(begin) {
  working = new AbortController();
  const { signal } = working;
  $("video-drop").hidden = true;
  $("video-work").hidden = false;
  say("");
  try {
    await begin(signal);
    const reason = await finished(signal);
    progress("Fetching the result", null);
    job.frames = await getVideoFile(job.id, "frames.json", signal);
    await showResult();
    if (job) say([reason ? `The end is missing: ${reason}.` : "", keptUntil()].join(" ").trim(), Boolean(reason));
  } catch (error) {
    if (!job && !uploading && !signal.aborted) return; // it was removed in the meantime
    if (signal.aborted) await forget("Cancelled. The video was removed from the server.");
    else clear(error.message, true); // a job may still be there: its address shows it
  } finally {
    working = null;
    uploading = false;
    $("video-drop").hidden = false;
    $("video-work").hidden = true;
    if (job) player.focus();
  }
}

/** Waits until the job has ended. Returns the reason if its results are incomplete; throws if it failed. */
async function finished(signal) {
  for (;;) {
    const state = await getVideo(job.id, signal);
    Object.assign(job, { state });
    if (state.state === "done" || state.state === "incomplete") return state.error;
    if (state.state === "failed") throw new Error(state.error ?? "The video could not be processed.");
    progress(state.state === "queued" ? "Waiting for its turn" : "Detecting faces", state.progress ?? null, state.seconds_left);
    await showPreview(state.latest, signal);
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    signal.throwIfAborted();
  }
}

/** Shows the original, as far as it is processed. latest: its last frame so far. */
async function showPreview(latest, signal) {
  if (!job.address) await playOriginal(signal);
  $("video-stage").hidden = !job.address;
  if (!latest) return;
  frames = [toFrame(latest)];
  player.currentTime = latest.time_s;
  drawAll();
}

/** Plays the original. Returns false where it is not available. */
async function playOriginal(signal) {
  const current = job;
  const original = job.file ?? (await getVideoFile(job.id, "upload", signal).catch(() => null));
  if (!original || job !== current) return false;
  play(original);
  return true;
}

function play(blob) {
  if (job.address) URL.revokeObjectURL(job.address);
  job.address = URL.createObjectURL(blob);
  player.src = job.address;
}

/** Plays the video that the server has drawn: this browser can't play the original. */
async function playDrawn() {
  const current = job;
  if (job.isDrawn || !job.frames) return;
  job.isDrawn = true;
  for (const id of ["video-boxes", "video-blur"]) $(id).disabled = true;
  const drawn = await getVideoFile(job.id, "video.mp4");
  if (job !== current) return;
  play(drawn);
  collectImages();
}

async function showResult() {
  const { model, frames: rows } = JSON.parse(await job.frames.text());
  frames = rows.map(toFrame);
  length = frames.at(-1)?.time ?? 0;
  fillLegend($("video-legend"), model.labels);
  const tracks = [...job.state.summary.tracks].sort((a, b) => b.seconds - a.seconds);
  const left = tracks.splice(MOST_FACES).length;
  faces = tracks.sort((a, b) => a.track - b.track).map((track) => makeRow(track, model.labels));
  $("video-faces").replaceChildren(...faces.map(({ card }) => card.root));
  $("video-none").textContent = faces.length ? (left ? `${left} more faces, visible for less time, are in the files.` : "") : "No face was found in this video.";
  player.setAttribute("aria-label", job.name);
  player.controls = true;
  for (const id of ["video-stage", "video-result"]) $(id).hidden = false;
  $("video").classList.add("answered");
  $("notice").open = false;
  if (player.error || (!job.address && !(await playOriginal()))) await playDrawn();
  player.currentTime = faces[0]?.points[0].time ?? 0;
  showFaces();
  collectImages();
}

/** A frame of frames.json or of a job's state, with the smoothed probabilities, as `mien watch` shows them. */
function toFrame({ time_s: time, width, faces: found }) {
  const one = ({ track, box, smoothed, smoothed_expression: expression, details }) => ({
    number: track, box, expression, confidence: smoothed[expression], probabilities: smoothed, details,
  });
  return { time, width, faces: found.map(one) };
}

/** A face's row. track: of the summary, the same figures that the command line shows. */
function makeRow(track, labels) {
  const points = frames.flatMap((frame) => frame.faces.filter(({ number }) => number === track.track).map((face) => ({ time: frame.time, width: frame.width, ...face })));
  const card = new FaceCard(labels, { timeline: { onPoint: (point) => hover(point?.time ?? null), onSeek: seek } });
  const shares = track.expressions.map(({ expression, share }) => `${expression} ${percent(share)}`).join(", ");
  const changes = track.transitions.reduce((sum, { count }) => sum + count, 0);
  const note = `In view ${clock(track.seconds, true)}: ${shares}.${changes ? ` ${changes} change${changes === 1 ? "" : "s"}.` : ""}`;
  const { root } = card.timeline;
  const attributes = { role: "slider", tabindex: "0", "aria-label": `Time, face ${track.track}`, "aria-valuemin": "0", "aria-valuemax": length.toFixed(1) };
  for (const [name, value] of Object.entries(attributes)) root.setAttribute(name, value);
  root.addEventListener("keydown", onKey);
  return { number: track.track, points, images: [], card, note };
}

function hover(time) {
  hovered = time;
  showCards();
}

function onKey(event) {
  if (event.key === "Home") seek(0);
  else if (event.key === "End") seek(length);
  else if (event.key === " ") player.paused ? player.play() : player.pause();
  else if (event.key in STEPS_S) seek(player.currentTime + STEPS_S[event.key] * (event.shiftKey ? 0.1 : 1));
  else return;
  event.preventDefault();
}

function seek(time) {
  player.currentTime = Math.max(0, Math.min(length, time));
  drawAll();
}

/** Draws each frame of the page: a player reports its time only a few times per second. */
function followPlayer() {
  drawAll();
  if (!player.paused) requestAnimationFrame(followPlayer);
}

/** Shows what depends on the data and the threshold. */
function showFaces() {
  for (const { points, images, card } of faces) {
    card.timeline.set({ points, from: 0, to: Math.max(length, 0.1), gap: GAP_S, images, unsureBelow: settings.unsureBelow });
  }
  drawAll();
}

/** Draws what depends on the time of the player. */
function drawAll() {
  const now = player.currentTime;
  const frame = frames.length === 1 ? frames[0] : frameAt(now);
  const boxes = $("video-boxes").checked;
  const options = { width: frame?.width ?? 0, boxes, blur: $("video-blur").checked, unsureBelow: settings.unsureBelow };
  drawOver($("video-overlay"), player, job?.isDrawn ? [] : (frame?.faces ?? []), options);
  for (const { card } of faces) {
    card.timeline.mark(now);
    card.timeline.root.setAttribute("aria-valuenow", now.toFixed(1));
    card.timeline.root.setAttribute("aria-valuetext", `${now.toFixed(1)} of ${length.toFixed(1)} seconds`);
  }
  showCards();
}

/** The bars at the time under the pointer, or at that of the player. */
function showCards() {
  const time = hovered ?? player.currentTime;
  for (const { number, points, card, note } of faces) {
    const point = card.timeline.at(time);
    card.root.classList.toggle("gone", !point);
    card.update({ ...(point ?? points[0]), number, note, unsureBelow: settings.unsureBelow, text: point ? null : `not in view at ${clock(time, true)}` });
  }
}

/** The last frame at or before a time. */
function frameAt(time) {
  let [low, high] = [0, frames.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (frames[middle].time <= time + 1e-3) low = middle;
    else high = middle - 1;
  }
  return frames[low] ?? null;
}

/** Cuts images of the faces out of the video, time by time, with a second player. */
async function collectImages() {
  const current = job;
  const video = Object.assign(make("video"), { src: current.address, muted: true, preload: "auto" });
  const wanted = faces.flatMap((face) => {
    const { points } = face;
    const step = Math.max(1, Math.floor(points.length / IMAGES));
    return points.filter((_, i) => i % step === step >> 1).map((point) => ({ face, point }));
  });
  wanted.sort((a, b) => a.point.time - b.point.time);
  for (const face of faces) face.images.length = 0;
  for (const { face, point } of wanted) {
    if (video.currentTime !== point.time || !sizeOf(video).width) {
      const there = new Promise((resolve) => {
        for (const name of ["seeked", "error"]) video.addEventListener(name, resolve, { once: true });
      });
      video.currentTime = point.time + 1e-3;
      await there;
    }
    if (job !== current || current.address !== video.src) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    if (!drawCrop(canvas, video, point.box, point.width)) return;
    if (!face.images.length) face.card.setImage(video, point.box, point.width);
    face.images.push({ time: point.time, canvas });
    showFaces();
  }
}

async function save(name, ending) {
  try {
    download(renamed(job.name, ending), await getVideoFile(job.id, name));
  } catch (error) {
    say(error.message, true);
  }
}

/** Saves the timelines as one image. */
async function savePlot() {
  const style = getComputedStyle(document.body);
  const drawn = faces.map(({ number, note, card }) => ({ title: `Face ${number}. ${note}`, canvas: card.timeline.canvas })).filter(({ canvas }) => canvas);
  const density = window.devicePixelRatio || 1;
  const head = 28 * density;
  const width = Math.max(...drawn.map(({ canvas }) => canvas.width), 1);
  const height = drawn.reduce((sum, { canvas }) => sum + canvas.height + head, head);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.fillStyle = style.backgroundColor;
  context.fillRect(0, 0, width, height);
  context.fillStyle = style.color;
  context.font = `600 ${15 * density}px system-ui, sans-serif`;
  context.fillText(job.name, 12 * density, 0.75 * head);
  let y = head;
  for (const { title, canvas: part } of drawn) {
    context.font = `${13 * density}px system-ui, sans-serif`;
    context.fillText(title, 12 * density, y + 0.75 * head);
    context.drawImage(part, 0, y + head);
    y += head + part.height;
  }
  const name = renamed(job.name, "-mien.png");
  download(name, await encode(canvas, name));
}

/** Removes the video from the page and the server, and shows `text`. */
async function forget(text, bad = false) {
  const old = job;
  clear(text, bad);
  if (!old) return;
  if (location.hash.startsWith("#video")) history.replaceState(null, "", videoHash());
  try {
    await removeVideo(old.id);
  } catch {
    say("The server can't be reached to remove the video. It removes the video by itself after a while.", true);
  }
}

function clear(text, bad) {
  if (job?.address) URL.revokeObjectURL(job.address);
  [job, frames, faces, length, hovered] = [null, [], [], 0, null];
  for (const id of ["video-stage", "video-result"]) $(id).hidden = true;
  for (const id of ["video-boxes", "video-blur"]) $(id).disabled = false;
  $("video-faces").replaceChildren();
  player.removeAttribute("src");
  player.controls = false;
  say(text, bad);
}

function keptUntil() {
  const minutes = Math.round((job.state.removed_in_s ?? 0) / 60);
  return `The video and its results are in a private folder of this server for ${minutes || 1} more min, or until you remove them.`;
}

function progress(step, share, secondsLeft = null) {
  const bar = $("video-progress");
  if (share === null) bar.removeAttribute("value"); // the length of the video is unknown
  else bar.value = share;
  const left = secondsLeft === null ? "" : `, about ${secondsLeft < 90 ? `${Math.ceil(secondsLeft)} s` : `${Math.ceil(secondsLeft / 60)} min`} left`;
  $("video-step").textContent = `${step}${share === null ? "" : ` ${percent(share)}`}${left}`;
}
