// The panel of videos: upload, progress, then a player with a timeline for each face under it.

import { getVideo, getVideoFile, removeVideo, uploadVideo } from "./api.js";
import { drawChart, summarize } from "./chart.js";
import { percent } from "./labels.js";
import { acceptDrops } from "./images.js";
import { $, fillLegend, make, setState } from "./parts.js";
import { COLUMNS, download, renamed } from "./save.js";
import { settings } from "./settings.js";

const ASK_MS = 500;
const MOST_CHARTS = 8;
const STEPS_S = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };

let working = null; // AbortController while a video is uploaded or processed
let job = null; // {id, name, csv, mp4, address} after the upload
let faces = []; // {number, points, canvas, words}
let length = 0; // seconds
const say = (text, bad) => setState($("video-state"), text, bad);

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
  // Removes the video when the page closes. If this fails, the server removes it after a while.
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
    await forget(cancelled ? "Cancelled. The video was removed from the server." : error.message, !cancelled);
  } finally {
    working = null;
    $("video-drop").hidden = false;
    $("video-work").hidden = true;
    if (job) $("video-player").focus();
  }
}

/** Waits until a job has ended. Returns the reason if its results are incomplete; throws if it failed. */
async function finished(id, signal) {
  for (;;) {
    const { state, progress: share, error } = await getVideo(id, signal);
    if (state === "done" || state === "incomplete") return error;
    if (state === "failed" || state === "cancelled") throw new Error(error ?? "The video could not be processed.");
    progress(state === "queued" ? "Waiting for its turn" : "Detecting faces", share ?? null);
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
  if (!faces.length || left) $("video-timeline").append(make("p", "hint", left ? `${left} more faces, visible for less time, are in the CSV.` : "No face was found in this video."));
  $("video-result").hidden = false;
  drawAll();
}

/** Parses a timeline of `mien watch`: labels, points of each track, and the last frame's time. */
function readTimeline(text) {
  const lines = text.trim().split(/\r?\n/).map((line) => line.split(","));
  const names = lines.shift();
  const labels = names.filter((name) => !COLUMNS.has(name));
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
  const [row, words, canvas] = [make("div", "track"), make("p"), make("canvas", "chart")];
  Object.assign(face, { labels, words, canvas });
  words.id = `video-face-${face.number}`;
  const attributes = { role: "slider", tabindex: "0", "aria-label": `Time, face ${face.number}`, "aria-describedby": words.id, "aria-valuemin": "0" };
  for (const [name, value] of Object.entries(attributes)) canvas.setAttribute(name, value);
  const seekThere = (event) => seek((event.offsetX / canvas.clientWidth) * length);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    seekThere(event);
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && seekThere(event));
  canvas.addEventListener("keydown", onKey);
  row.append(words, canvas);
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

/** Draws each frame of the page: a player reports its time only a few times per second. */
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

/** Removes the video from the page and the server, and shows `text`. */
async function forget(text, bad = false) {
  const old = job;
  job = null;
  faces = [];
  length = 0;
  $("video-result").hidden = true;
  $("video-timeline").replaceChildren();
  $("video-player").removeAttribute("src");
  if (old?.address) URL.revokeObjectURL(old.address);
  say(text, bad);
  if (!old) return;
  try {
    await removeVideo(old.id);
  } catch {
    say("The server can't be reached to remove the video. It removes the video by itself after a while.");
  }
}

function progress(step, share) {
  const bar = $("video-progress");
  if (share === null) bar.removeAttribute("value"); // the length of the video is unknown
  else bar.value = share;
  $("video-step").textContent = share === null ? step : `${step} ${percent(share)}`;
}
