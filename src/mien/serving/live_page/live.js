// The live page: shows the stream, the faces of the newest frame, and thirty seconds of the chosen face.

import { drawChart } from "./chart.js";
import { css, shown } from "./labels.js";
import { $, addSnapshot, announcer, detailsLine, faceLine, fillLegend, fillList, make, makeBars, setState } from "./parts.js";

const WINDOW_S = 30;
const MOST_SAVED = 6;

const announce = announcer($("said"));
const state = (text, bad) => setState($("state"), text, bad);
const milliseconds = (seconds) => (seconds === null ? "–" : Math.round(1000 * seconds));

let labels = [];
let newest = null; // the newest frame's message
let held = null; // the snapshot shown while paused
let chosen = null; // the chosen face's track, null until one is chosen
let ended = false;
const history = new Map(); // track -> [{time, probabilities}], of the last thirty seconds

// The image

function connectImage() {
  if (!ended && held === null && !document.hidden) {
    $("image").src = `stream.mjpeg?${Date.now()}`; // a new URL: browsers don't request the same image twice
  }
}

$("image").addEventListener("error", () => {
  if (held === null) setTimeout(connectImage, 1000);
});

// A hidden page requests no images.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && held === null && !ended) $("image").removeAttribute("src");
  else connectImage();
});

// Messages

function connectEvents() {
  const events = new EventSource("events");
  events.addEventListener("about", (message) => {
    const about = JSON.parse(message.data);
    labels = about.labels;
    $("source").textContent = about.source;
    document.title = `mien ${about.source}`;
    fillLegend($("legend"), labels);
    if (newest !== null) {
      state("");
      connectImage();
    }
  });
  events.addEventListener("ended", () => {
    ended = true;
    events.close();
    state("The source has ended.", true);
    $("snapshot").disabled = held === null;
  });
  events.addEventListener("message", (message) => {
    newest = JSON.parse(message.data);
    remember(newest);
    showFigures(newest);
    if (held === null) {
      state("");
      showFaces(newest);
    }
  });
  events.addEventListener("error", () => {
    if (!ended) state("Connection lost; trying again.", true);
  });
}

function remember(frame) {
  for (const { track, smoothed } of frame.faces) {
    if (!history.has(track)) history.set(track, []);
    history.get(track).push({ time: frame.time_s, probabilities: smoothed });
  }
  for (const [track, past] of history) {
    while (past.length > 0 && past[0].time < frame.time_s - WINDOW_S) past.shift();
    if (past.length === 0) history.delete(track);
  }
}

function showFigures(frame) {
  $("fps").textContent = frame.fps === null ? "–" : frame.fps.toFixed(1);
  $("latency").textContent = `${milliseconds(frame.latency_p50_s)} / ${milliseconds(frame.latency_p95_s)} ms`;
  $("dropped").textContent = frame.dropped;
}

// Faces and the chart

/** The track whose bars and chart are shown: the chosen one while it has a history, else the longest one. */
function shownTrack(frame) {
  if (chosen !== null && history.has(chosen)) return chosen;
  const length = (face) => history.get(face.track)?.length ?? 0;
  return [...frame.faces].sort((a, b) => length(b) - length(a))[0]?.track ?? null;
}

function showFaces(frame) {
  const track = shownTrack(frame);
  $("none").hidden = frame.faces.length > 0;
  fillList($("faces"), frame.faces, {
    keyOf: (face) => face.track,
    makeItem,
    update: (item, face) => showFace(item, face, face.track === track),
  });
  showChart(frame, track);
  const texts = frame.faces.map((face) => `Face ${face.track}: ${face.smoothed_expression}`);
  announce(`${texts.join(", ") || "No face."}${track === null ? "" : ` Bars and chart: face ${track}.`}`);
}

function makeItem({ track }) {
  const [item, button] = [make("li", "card"), make("button")];
  button.type = "button";
  button.addEventListener("click", () => {
    chosen = track;
    showFaces(held?.frame ?? newest);
  });
  item.append(button, make("ul"), make("p", "details"));
  return item;
}

function showFace(item, { track, smoothed, smoothed_expression: expression, details }, isChosen) {
  const look = shown(expression, smoothed[expression], 0);
  item.style.setProperty("--mark", css(look.color));
  item.firstChild.setAttribute("aria-pressed", isChosen);
  item.firstChild.replaceChildren(...faceLine(track, look, smoothed[expression]));
  const bars = makeBars(smoothed);
  bars.hidden = !isChosen;
  item.children[1].replaceWith(bars);
  item.lastChild.textContent = isChosen ? detailsLine(details) : "";
}

function showChart(frame, track) {
  $("chart-title").textContent = track === null ? "Last 30 seconds" : `Face ${track}, last 30 seconds`;
  const range = { from: frame.time_s - WINDOW_S, to: frame.time_s };
  const points = (history.get(track) ?? []).filter((point) => point.time <= frame.time_s);
  drawChart($("chart"), points, { labels, ...range, gap: 1, unsureBelow: 0 });
}

window.addEventListener("resize", () => {
  const frame = held?.frame ?? newest;
  if (frame !== null) showChart(frame, shownTrack(frame));
});

// Pause and snapshots: a paused view is an unsaved snapshot, so that the shown frame is the saved one

async function takeSnapshot() {
  const answer = await fetch("snapshot", { method: "POST" });
  if (!answer.ok) throw new Error(answer.statusText);
  const { name, frame, jpeg } = await answer.json();
  const bytes = Uint8Array.from(atob(jpeg), (character) => character.charCodeAt(0));
  return { name, frame, image: URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) };
}

async function togglePause() {
  if (held === null) {
    held = await takeSnapshot();
    $("image").src = held.image;
    showFaces(held.frame);
    state(`Paused at ${held.frame.time_s.toFixed(1)} s.`);
  } else {
    if ($(held.name) === null) URL.revokeObjectURL(held.image); // it was not saved
    held = null;
    state(ended ? "The source has ended." : "", ended);
    connectImage();
    $("snapshot").disabled = ended;
  }
  $("pause").setAttribute("aria-pressed", held !== null);
  $("pause").firstChild.textContent = held === null ? "Pause " : "Resume ";
  $("image").classList.toggle("still", held !== null);
}

async function save() {
  const { name, frame, image } = held ?? (await takeSnapshot());
  if ($(name) !== null) return; // this frame is saved already
  const rows = new Blob([`${JSON.stringify(frame, null, 2)}\n`], { type: "application/json" });
  const links = [
    { address: image, name: `${name}.jpg`, text: "image" },
    { address: URL.createObjectURL(rows), name: `${name}.json`, text: "rows" },
  ];
  addSnapshot($("saved"), MOST_SAVED, { image, text: `Frame ${frame.frame}:`, links }).id = name;
}

async function act(action) {
  try {
    await action();
  } catch {
    state("No frame is available.", true);
  }
}

$("pause").addEventListener("click", () => act(togglePause));
$("snapshot").addEventListener("click", () => act(save));
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const onControl = event.target.closest?.("button, a") !== null;
  if (event.key === "s" || event.key === "S") act(save);
  else if (event.key === " " && !onControl) {
    event.preventDefault(); // else the page scrolls
    act(togglePause);
  }
});

connectEvents();
connectImage();
