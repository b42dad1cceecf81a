// The panel of videos: upload, progress with a preview, then the original with boxes and a timeline for each face.

import { getVideo, getVideoFile, readFrames, removeVideo, uploadVideo, wait } from "./api.js";
import { showCode } from "./code.js";
import { FaceCard } from "./design/card.js";
import { drawOver, faceImage } from "./design/draw.js";
import { fillLegend, percent } from "./design/labels.js";
import { $, download, make, makeCanvas, set, setState } from "./design/parts.js";
import { clock, lastUntil } from "./design/timeline.js";
import { encode, renamed } from "./save.js";
import { settings } from "./settings.js";

const ASK_MS = 400;
const MOST_FACES = 8;
const IMAGES = 7; // of a face on its timeline
const GAP_S = 0.5;
const STEPS_S = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
const FILES = { csv: "timeline.csv", json: "frames.json", mp4: "video.mp4" };

let working = null; // AbortController while a video is uploaded or processed
let uploading = false;
let job = null; // {id, name, file, state, address, isDrawn} after the upload
let frames = []; // {time, width, faces: [{number, box, expression, confidence, probabilities}]}
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
  for (const [kind, name] of Object.entries(FILES)) $(`video-${kind}`).addEventListener("click", () => save(name, `-mien.${kind}`));
  $("video-png").addEventListener("click", savePlot);
  $("video-code").addEventListener("click", () => showCode("video", [job.name]));
  $("video-boxes").addEventListener("change", drawAll);
  $("video-hide").addEventListener("change", showFaces);
  for (const event of ["timeupdate", "seeked", "loadeddata"]) player.addEventListener(event, drawAll);
  player.addEventListener("play", followPlayer);
  player.addEventListener("error", () => job?.address && !working && playDrawn());
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

/** Whether leaving the page would lose an upload; a job goes on, and its address shows it. */
export function videoIsUploading() {
  return uploading;
}

/** Uploads a video and shows its result. */
export async function addVideo(file) {
  if (working) say(`${file.name} was not added: one video is processed at a time.`, true);
  if (working || !settings.videos) return;
  await forget("");
  await work(async (signal) => {
    uploading = true;
    progress("Uploading", 0);
    const id = await uploadVideo(file, settings.choice, { onProgress: (share) => progress("Uploading", share), signal });
    uploading = false;
    job = { id, name: file.name || "video", file };
    history.replaceState(null, "", videoHash());
  });
}

/** Shows a job by its address: after a reload, or from a bookmark. */
function resume(id) {
  return work(() => (job = { id, name: "video", file: null }));
}

/** Begins a job, and follows it until its result is shown. */
async function work(begin) {
  working = new AbortController();
  const { signal } = working;
  $("video-drop").hidden = true;
  $("video-work").hidden = false;
  say("");
  progress("Asking the server", null);
  try {
    await begin(signal);
    const reason = await finished(signal);
    frames = [];
    await readFrames(job.id, {
      onFrame: (frame) => frames.push(toFrame(frame)),
      onProgress: (share) => progress("Fetching the result", share),
      signal,
    });
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
    const { state, error, latest, progress: share = null, seconds_left: left } = (job.state = await getVideo(job.id, signal));
    if (state === "done" || state === "incomplete") return error;
    if (state === "failed") throw new Error(error ?? "The video could not be processed.");
    progress(state === "queued" ? "Waiting for its turn" : "Detecting faces", share, left);
    await showPreview(latest, signal);
    await wait(ASK_MS);
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

/** Plays the video that the server has drawn: this browser can't play the original. It shows boxes and faces. */
async function playDrawn() {
  const current = job;
  if (job.isDrawn) return;
  job.isDrawn = true;
  $("video-hide").checked = false;
  for (const id of ["video-boxes", "video-hide"]) $(id).disabled = true;
  const drawn = await getVideoFile(job.id, FILES.mp4);
  if (job !== current) return;
  play(drawn);
  showFaces();
  collectImages();
}

async function showResult() {
  const labels = Object.keys(frames.find(({ faces: [face] }) => face)?.faces[0].probabilities ?? {});
  length = frames.at(-1)?.time ?? 0;
  fillLegend($("video-legend"), labels);
  const tracks = [...job.state.summary.tracks].sort((a, b) => b.seconds - a.seconds);
  const left = tracks.splice(MOST_FACES).length;
  faces = tracks.sort((a, b) => a.track - b.track).map((track) => makeRow(track, labels));
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
  const one = ({ track, box, smoothed, smoothed_expression: expression }) => ({
    number: track, box, expression, confidence: smoothed[expression], probabilities: smoothed,
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
  set(card.timeline.root, { role: "slider", tabindex: 0, "aria-label": `Time, face ${track.track}`, "aria-valuemin": 0, "aria-valuemax": length.toFixed(1) });
  card.timeline.root.addEventListener("keydown", onKey);
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

/** Shows what depends on the data, the threshold and whether faces are hidden. */
function showFaces() {
  const hide = $("video-hide").checked;
  $("video-faces").classList.toggle("hidden-faces", hide);
  $("video-mp4").disabled = hide;
  $("video-mp4-why").hidden = !hide;
  set(player, { controlslist: hide ? "nodownload nofullscreen" : "" }); // both would show the original alone
  player.disablePictureInPicture = hide;
  for (const { points, images, card } of faces) {
    card.timeline.set({ points, from: 0, to: Math.max(length, 0.1), gap: GAP_S, images: hide ? [] : images, unsureBelow: settings.unsureBelow });
  }
  drawAll();
}

/** Draws what depends on the time of the player. */
function drawAll() {
  const now = player.currentTime;
  const frame = frames.length === 1 ? frames[0] : (frames[lastUntil(frames, now + 1e-3)] ?? frames[0]);
  const options = { width: frame?.width ?? 0, boxes: $("video-boxes").checked, hide: $("video-hide").checked, unsureBelow: settings.unsureBelow };
  drawOver($("video-overlay"), player, job?.isDrawn ? [] : (frame?.faces ?? []), options);
  for (const { card } of faces) {
    card.timeline.mark(now);
    set(card.timeline.root, { "aria-valuenow": now.toFixed(1), "aria-valuetext": `${now.toFixed(1)} of ${length.toFixed(1)} seconds` });
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

/** Cuts images of the faces out of the video, time by time, with a second player. */
async function collectImages() {
  const current = job;
  const video = Object.assign(make("video"), { src: current.address, muted: true, preload: "auto" });
  const wanted = faces.flatMap((face) => {
    const step = Math.max(1, Math.floor(face.points.length / IMAGES));
    face.images.length = 0;
    return face.points.filter((_, i) => i % step === step >> 1).map((point) => ({ face, point }));
  });
  for (const { face, point } of wanted.sort((a, b) => a.point.time - b.point.time)) {
    await new Promise((resolve) => {
      for (const name of ["seeked", "error"]) video.addEventListener(name, resolve, { once: true });
      video.currentTime = point.time + 1e-3;
    });
    if (job !== current || current.address !== video.src) return;
    const canvas = faceImage(video, point.box, point.width);
    if (!canvas) return;
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
  const drawn = faces.map(({ number, note, card }) => ({ title: `Face ${number}. ${note}`, canvas: card.timeline.canvas })).filter(({ canvas }) => canvas);
  const density = window.devicePixelRatio || 1;
  const head = 28 * density;
  const width = Math.max(...drawn.map(({ canvas }) => canvas.width), 1);
  const height = drawn.reduce((sum, { canvas }) => sum + canvas.height + head, head);
  const plot = makeCanvas(width, height);
  const context = plot.getContext("2d");
  const { backgroundColor, color } = getComputedStyle(document.body);
  context.fillStyle = backgroundColor;
  context.fillRect(0, 0, width, height);
  context.fillStyle = color;
  let y = 0;
  for (const { title, canvas } of [{ title: job.name, canvas: null }, ...drawn]) {
    context.font = `${canvas ? 13 * density : `600 ${15 * density}`}px system-ui, sans-serif`;
    context.fillText(title, 12 * density, y + 0.75 * head);
    if (canvas) context.drawImage(canvas, 0, y + head);
    y += head + (canvas?.height ?? 0);
  }
  const name = renamed(job.name, "-mien.png");
  download(name, await encode(plot, name));
}

/** Removes the video from the page and the server, and shows `text`. */
async function forget(text) {
  const old = job;
  clear(text);
  if (!old) return;
  if (location.hash.startsWith("#video")) history.replaceState(null, "", videoHash());
  await removeVideo(old.id).catch(() => say("The server can't be reached to remove the video. It removes the video by itself after a while.", true));
}

function clear(text, bad) {
  if (job?.address) URL.revokeObjectURL(job.address);
  [job, frames, faces, length, hovered] = [null, [], [], 0, null];
  for (const id of ["video-stage", "video-result"]) $(id).hidden = true;
  for (const id of ["video-boxes", "video-hide"]) $(id).disabled = false;
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
