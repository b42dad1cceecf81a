// The page of `mien watch`: frames, which the watch has drawn, come as an image that never ends; their faces as events.

import { LiveView } from "./design/live.js";
import { $ } from "./design/parts.js";

const image = Object.assign(new Image(), { id: "image", alt: "The newest frame, with a box, an expression and a confidence at each face" });
const view = new LiveView($("live"), image, { boxes: false, onPause: pause, onSnapshot: save });
const saved = new Set();
let newest = null; // what view.show takes
let held = null; // the snapshot that is shown while paused
let ended = false;

function connectImage() {
  if (!ended && held === null && !document.hidden) {
    image.src = `stream.mjpeg?${Date.now()}`; // a new URL: browsers don't request the same image twice
  }
}

image.addEventListener("error", () => {
  if (held === null) setTimeout(connectImage, 1000);
});

// A hidden page requests no images.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && held === null && !ended) image.removeAttribute("src");
  else connectImage();
});

function connectEvents() {
  const events = new EventSource("events");
  events.addEventListener("about", (message) => {
    const { labels, source } = JSON.parse(message.data);
    $("source").textContent = source;
    document.title = `mien ${source}`;
    view.begin(labels);
    if (newest === null) return;
    view.say("");
    connectImage();
  });
  events.addEventListener("message", (message) => {
    if (newest === null) {
      view.setRunning(true);
      view.say("");
    }
    newest = asShown(JSON.parse(message.data));
    if (held === null) view.show(newest);
  });
  events.addEventListener("ended", () => {
    ended = true;
    events.close();
    if (held === null) end();
  });
  events.addEventListener("error", () => {
    if (ended) return;
    view.clear();
    view.say("Connection lost; trying again.", true);
  });
}

function end() {
  view.clear();
  view.setRunning(false);
  view.say("The source has ended.", true);
}

function asShown(frame) {
  const faces = frame.faces.map(({ track, box, smoothed, details }) => ({ number: track, box, probabilities: smoothed, details }));
  const [usual, slow] = [frame.latency_p50_s, frame.latency_p95_s].map((seconds) => Math.round(1000 * seconds));
  const latency = usual ? ` · latency ${usual} / ${slow} ms` : "";
  const figures = frame.fps ? `${frame.fps.toFixed(1)} frames/s${latency} · ${frame.dropped} dropped` : "";
  return { time: frame.time_s, width: frame.width, faces, figures };
}

// A paused view is an unsaved snapshot, so that the shown frame is the saved one.
async function takeSnapshot() {
  const answer = await fetch("snapshot", { method: "POST" });
  if (!answer.ok) throw new Error(answer.statusText);
  const { name, frame, jpeg } = await answer.json();
  const bytes = Uint8Array.from(atob(jpeg), (character) => character.charCodeAt(0));
  return { name, frame, address: URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" })) };
}

async function pause(paused) {
  if (paused) {
    held = await takeSnapshot();
    image.src = held.address;
    view.hold(asShown(held.frame));
    view.say(`Paused at ${held.frame.time_s.toFixed(1)} s.`);
    return;
  }
  if (!saved.has(held.name)) URL.revokeObjectURL(held.address);
  held = null;
  view.say("");
  if (ended) end();
  connectImage();
}

async function save() {
  const { name, frame, address } = held ?? (await takeSnapshot());
  if (saved.has(name)) return null;
  saved.add(name);
  const rows = new Blob([`${JSON.stringify(frame, null, 2)}\n`], { type: "application/json" });
  const links = [
    { address, name: `${name}.jpg`, text: "image" },
    { address: URL.createObjectURL(rows), name: `${name}.json`, text: "rows" },
  ];
  return { image: address, text: `Frame ${frame.frame}:`, links };
}

view.say("Waiting for the first frame.");
connectEvents();
connectImage();
