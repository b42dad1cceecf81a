// The panel of videos: upload, progress, then a player with a timeline for each face under it.

import { getVideo, getVideoFile, removeVideo, uploadVideo } from "./api.js";
import { drawChart, summarize } from "./chart.js";
import { fillLegend, percent } from "./labels.js";
import { acceptDrops } from "./images.js";
import { download, renamed } from "./save.js";
import { settings } from "./settings.js";

const ASK_MS = 500;
const MOST_CHARTS = 8;
const STEPS_S = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
const HEAD = ["frame", "time_s", "track", "source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score",
  "expression", "confidence"];
const TAIL = ["error", "smoothed_expression"];
const $ = (id) => document.getElementById(id);

let working = null; // AbortController while a video is uploaded or worked on
let job = null; // {id, name, csv, mp4, address} once the server knows it
let faces = []; // {number, points, canvas, words}
let length = 0; // seconds

/** Connects the panel with the page. */
export function startVideo() {
  $("video-file").addEventListener("change", ({ target }) => {
    if (target.files.length) run(target.files[0]);
    target.value = "";
  });
  acceptDrops($("video-drop"), (files) => files.length && run(files[0]));
  $("video-cancel").addEventListener("click", () => working?.abort());
  $("video-remove").addEventListener("click", () => forget("The video and its results are removed from the server."));
  $("video-csv").addEventListener("click", (event) => save(event, job.csv, "-mien.csv"));
  $("video-mp4").addEventListener("click", (event) => save(event, job.mp4, "-mien.mp4"));
  const player = $("video-player");
  for (const event of ["timeupdate", "seeked"]) player.addEventListener(event, drawAll);
  player.addEventListener("durationchange", () => {
    if (Number.isFinite(player.duration)) length = Math.max(length, player.duration);
    drawAll();
  });
  player.addEventListener("play", followPlayer);
  settings.addEventListener("unsure", drawAll);
  settings.addEventListener("offer", () => {
    $("video-not-offered").hidden = settings.videos;
    $("video-offered").hidden = !settings.videos;
  });
  new ResizeObserver(drawAll).observe($("video-timeline"));
  // A closed page needs its video no longer; what this misses the server removes by itself.
  window.addEventListener("pagehide", () => job && removeVideo(job.id).catch(() => {}));
}

async function run(file) {
  if (working) return;
  await forget("");
  working = new AbortController();
  $("video-drop").hidden = true;
  $("video-work").hidden = false;
  progress("Uploading", 0);
  try {
    const choice = { model: settings.model, detector: settings.detector };
    const { signal } = working;
    const id = await uploadVideo(file, choice, { onProgress: (share) => progress("Uploading", share), signal });
    job = { id, name: file.name || "video" };
    const reason = await finished(id, signal);
    progress("Fetching the result", 1);
    const [csv, mp4] = await Promise.all(["timeline.csv", "video.mp4"].map((name) => getVideoFile(id, name, signal)));
    Object.assign(job, { csv, mp4 });
    await showResult();
    say(reason ? `The end is missing: ${reason}.` : "");
  } catch (error) {
    const cancelled = working.signal.aborted;
    await forget(cancelled ? "Cancelled; nothing of the video is left on the server." : error.message);
    $("video-state").classList.toggle("bad", !cancelled);
  } finally {
    working = null;
    $("video-drop").hidden = false;
    $("video-work").hidden = true;
    if (job) $("video-player").focus();
  }
}

/** Waits until a job is done. Throws where it failed; gives why where only a part could be worked on. */
async function finished(id, signal) {
  for (;;) {
    const { state, progress: share, error } = await getVideo(id, signal);
    if (state === "done" || state === "incomplete") return error;
    if (state === "failed" || state === "cancelled") throw new Error(error ?? "The video could not be worked on.");
    progress(state === "queued" ? "Waiting for its turn" : "Looking for faces", share ?? null);
    await new Promise((resolve) => setTimeout(resolve, ASK_MS));
    signal.throwIfAborted();
  }
}

async function showResult() {
  const player = $("video-player");
  job.address = URL.createObjectURL(job.mp4);
  player.src = job.address;
  player.setAttribute("aria-label", `${job.name} with boxes`);
  const { labels, rows, end } = readTimeline(await job.csv.text());
  length = end;
  fillLegend($("video-legend"), labels);
  faces = [...rows].map(([number, points]) => ({ number, points }));
  faces.sort((a, b) => b.points.length - a.points.length);
  const left = faces.splice(MOST_CHARTS).length;
  faces.sort((a, b) => a.number - b.number);
  $("video-timeline").replaceChildren(...faces.map((face) => makeRow(face, labels)));
  if (!faces.length || left) $("video-timeline").append(note(left ? `${left} more faces, seen for less time, are in the CSV.` : "No face was found in this video."));
  $("video-result").hidden = false;
  drawAll();
}

function note(text) {
  return Object.assign(document.createElement("p"), { className: "hint", textContent: text });
}

/** A timeline as `mien video` writes it -> labels, points of each track, and the last frame's time. */
function readTimeline(text) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(","));
  const names = lines.shift();
  const labels = names.filter((name) => !HEAD.includes(name) && !TAIL.includes(name));
  const at = Object.fromEntries(names.map((name, i) => [name, i]));
  const rows = new Map();
  let end = 0;
  for (const cells of lines) {
    const time = Number(cells[at.time_s]);
    end = Math.max(end, time);
    const track = cells[at.track];
    if (!track) continue; // a frame without a face
    if (!rows.has(Number(track))) rows.set(Number(track), []);
    const probabilities = Object.fromEntries(labels.map((label) => [label, Number(cells[at[label]])]));
    rows.get(Number(track)).push({ time, probabilities });
  }
  return { labels, rows, end };
}

/** A face's chart: a slider over the time of the video, for mouse, finger and keys. */
function makeRow(face, labels) {
  const row = document.createElement("div");
  row.className = "track";
  face.labels = labels;
  face.words = document.createElement("p");
  face.words.id = `video-face-${face.number}`;
  face.canvas = document.createElement("canvas");
  const attributes = { role: "slider", tabindex: "0", "aria-label": `Time, face ${face.number}`, "aria-describedby": face.words.id, "aria-valuemin": "0" };
  for (const [name, value] of Object.entries(attributes)) face.canvas.setAttribute(name, value);
  const seekThere = (event) => seek((event.offsetX / face.canvas.clientWidth) * length);
  face.canvas.addEventListener("pointerdown", (event) => {
    face.canvas.setPointerCapture(event.pointerId);
    seekThere(event);
  });
  face.canvas.addEventListener("pointermove", (event) => event.buttons && seekThere(event));
  face.canvas.addEventListener("keydown", onKey);
  row.append(face.words, face.canvas);
  return row;
}

function onKey(event) {
  const player = $("video-player");
  if (event.key === "Home") seek(0);
  else if (event.key === "End") seek(length);
  else if (event.key === " ") player.paused ? player.play() : player.pause();
  else if (event.key in STEPS_S) seek(player.currentTime + STEPS_S[event.key] * (event.shiftKey ? 0.1 : 1));
  else return;
  event.preventDefault();
}

function seek(time) {
  $("video-player").currentTime = Math.max(0, Math.min(length, time));
  drawAll();
}

/** Smoother than the few time updates a second that a player gives. */
function followPlayer() {
  drawAll();
  if (!$("video-player").paused) requestAnimationFrame(followPlayer);
}

function drawAll() {
  const cursor = $("video-player").currentTime;
  const { unsureBelow } = settings;
  for (const { number, points, labels, canvas, words } of faces) {
    drawChart(canvas, points, { labels, from: 0, to: length, gap: 0.5, unsureBelow, cursor });
    const text = `Face ${number}: ${summarize(points, unsureBelow)}`;
    if (words.textContent !== text) words.textContent = text;
    canvas.setAttribute("aria-valuemax", length.toFixed(1));
    canvas.setAttribute("aria-valuenow", cursor.toFixed(1));
    canvas.setAttribute("aria-valuetext", `${cursor.toFixed(1)} of ${length.toFixed(1)} seconds`);
  }
}

function save(event, data, ending) {
  event.preventDefault();
  download(renamed(job.name, ending), data);
}

/** Lets go of the video, here and on the server, and says so. */
async function forget(text) {
  const old = job;
  job = null;
  faces = [];
  length = 0;
  $("video-result").hidden = true;
  $("video-timeline").replaceChildren();
  $("video-player").removeAttribute("src");
  if (old?.address) URL.revokeObjectURL(old.address);
  say(text);
  if (!old) return;
  try {
    await removeVideo(old.id);
  } catch {
    say("The server can't be reached to remove the video; it removes it by itself after a while.");
  }
}

function progress(step, share) {
  const bar = $("video-progress");
  if (share === null) bar.removeAttribute("value"); // a video that does not say how long it is
  else bar.value = share;
  $("video-step").textContent = share === null ? step : `${step} ${percent(share)}`;
}

function say(text) {
  $("video-state").classList.remove("bad");
  $("video-state").textContent = text;
}
