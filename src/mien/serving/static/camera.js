// The camera panel: sends one frame at a time, draws boxes on the live image, and updates the charts.

import { drawChart, summarize } from "./chart.js";
import { annotated, drawFaces, fitCanvas } from "./draw.js";
import { css, shown } from "./labels.js";
import { $, addSnapshot, announcer, fillLegend, fillList, make, setState } from "./parts.js";
import { getModels, openStream } from "./place.js";
import { encode } from "./save.js";
import { settings } from "./settings.js";
import { KEPT_S, Tracks } from "./tracks.js";

const FRAME_EDGE = 640; // pixels: enough for faces at a desk, and a small upload
const LEAST_MS = 66; // between two frames
const RESULT_TIMEOUT_MS = 10_000; // timeout of a result
const RETRIES_MS = [500, 2000, 4000];
const MOST_CHARTS = 6;
const MOST_SHOTS = 8;

let media = null; // the camera's stream while it is on
let stream = null; // to the recogniser
let paused = false;
let starting = false;
let lost = 0; // consecutive connections without a result
let sentAt = 0;
let timeout = 0;
let frameWidth = 0; // of the last frame that was sent
let tracks = new Tracks();
let present = [];
const announce = announcer($("camera-said"));
const say = (text, failed) => setState($("camera-state"), text, failed);
const timings = []; // times of the last results, for the frame rate

/** Connects the panel with the page. */
export function startCamera() {
  $("camera-start").addEventListener("click", () => (media ? stop("The camera is off.") : start()));
  $("camera-pause").addEventListener("click", () => pause(!paused));
  $("camera-snapshot").addEventListener("click", snapshot);
  $("camera-device").addEventListener("change", () => restart());
  $("camera-mirror").addEventListener("change", () => {
    $("camera-stage").classList.toggle("mirrored", $("camera-mirror").checked);
    drawOverlay();
  });
  $("camera-stage").classList.toggle("mirrored", $("camera-mirror").checked);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop("The camera was switched off because this tab was hidden.");
  });
  settings.addEventListener("choice", () => stream && connect());
  settings.addEventListener("unsure", () => media && show());
  new ResizeObserver(drawOverlay).observe($("camera-overlay"));
}

/** Switches the camera off, if it is on, and shows the reason. */
export function stop(reason) {
  starting = false;
  if (!media) return;
  for (const track of media.getTracks()) track.stop();
  media = null;
  disconnect();
  $("camera-video").srcObject = null;
  present = [];
  setOn(false);
  drawOverlay();
  say(reason);
}

async function start() {
  if (starting) return;
  if (!navigator.mediaDevices?.getUserMedia) {
    say("The browser allows the camera only on pages over HTTPS or from this machine (http://localhost).", true);
    return;
  }
  starting = true;
  say("Waiting for the camera …");
  const device = $("camera-device").value;
  const wanted = { width: { ideal: 1280 }, height: { ideal: 720 }, ...(device ? { deviceId: { exact: device } } : { facingMode: "user" }) };
  let opened;
  try {
    opened = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  } catch (error) {
    starting = false;
    say(whyNot(error), true);
    return;
  }
  if (!starting || document.hidden) {
    for (const track of opened.getTracks()) track.stop(); // the user has left in the meantime
    starting = false;
    return;
  }
  starting = false;
  media = opened;
  media.getVideoTracks()[0].addEventListener("ended", () => stop("The camera was disconnected."));
  tracks = new Tracks();
  lost = 0;
  $("camera-video").srcObject = media;
  setOn(true);
  await $("camera-video").play().catch(() => {});
  await listCameras();
  if (media) connect();
}

async function restart() {
  if (!media) return;
  stop("Changing the camera …");
  await start();
}

function whyNot(error) {
  return {
    NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, then start again.",
    NotFoundError: "No camera was found.",
    NotReadableError: "The camera is in use by another program.",
    OverconstrainedError: "This camera is no longer available.",
  }[error.name] ?? `The camera can't be opened (${error.name}).`;
}

async function listCameras() {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
  const current = media?.getVideoTracks()[0].getSettings().deviceId;
  const options = cameras.map((camera, i) => new Option(camera.label || `Camera ${i + 1}`, camera.deviceId, false, camera.deviceId === current));
  $("camera-device").replaceChildren(...options);
  $("camera-choice").hidden = cameras.length < 2;
}

function connect() {
  disconnect();
  fillLegend($("camera-legend"), settings.labels);
  if (paused) return;
  say(lost ? "The connection was lost; trying again …" : "Connecting …");
  stream = openStream(
    { model: settings.model, detector: settings.detector },
    {
      onReady: () => {
        say(settings.onDevice ? "Frames stay on this device." : "Frames go to this server, one at a time, and are not stored.");
        sendFrame();
      },
      onResult: take,
      onClose: reconnect,
    },
  );
}

function disconnect() {
  clearTimeout(timeout);
  stream?.close();
  stream = null;
}

async function reconnect() {
  clearTimeout(timeout);
  stream = null;
  if (!media || paused) return;
  if (lost >= RETRIES_MS.length) {
    stop("The server does not respond, or serves too many cameras. Try again later.");
    return;
  }
  await new Promise((resolve) => setTimeout(resolve, RETRIES_MS[lost]));
  lost += 1;
  // A browser hides why a stream was refused; this request asks for a token if that was the reason.
  await getModels().catch(() => null);
  if (media && !paused && !stream) connect();
}

async function sendFrame() {
  const current = stream;
  const video = $("camera-video");
  if (!current || !media || paused) return;
  if (!video.videoWidth) {
    setTimeout(() => current === stream && sendFrame(), 50);
    return;
  }
  const scale = Math.min(1, FRAME_EDGE / Math.max(video.videoWidth, video.videoHeight));
  const canvas = new OffscreenCanvas(Math.round(video.videoWidth * scale), Math.round(video.videoHeight * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const frame = current.takesBitmaps
    ? canvas.transferToImageBitmap()
    : await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
  if (current !== stream || paused) return;
  frameWidth = canvas.width;
  sentAt = performance.now();
  current.send(frame);
  timeout = setTimeout(() => {
    disconnect();
    reconnect();
  }, RESULT_TIMEOUT_MS);
}

/** Takes the result of the current frame, and schedules the next frame. */
function take(result) {
  clearTimeout(timeout);
  const now = performance.now();
  lost = 0;
  timings.push({ at: now, took: now - sentAt });
  while (timings[0].at < now - 3000) timings.shift();
  setTimeout(sendFrame, Math.max(0, LEAST_MS - (now - sentAt)));
  if (result.error) return;
  present = tracks.follow(result.faces, now / 1000);
  show();
}

function show() {
  const now = performance.now() / 1000;
  drawOverlay();
  showFaces(now);
  const took = timings.map((timing) => timing.took).sort((a, b) => a - b);
  const span = timings.length > 1 ? (timings.at(-1).at - timings[0].at) / 1000 : 0;
  $("camera-figures").textContent = span
    ? `${((timings.length - 1) / span).toFixed(1)} frames/s, latency ${Math.round(took[took.length >> 1])} ms`
    : "";
  const visible = tracks.numbered.filter((track) => present.includes(track));
  const names = visible.map(({ number, expression, confidence }) => `face ${number} ${shown(expression, confidence, settings.unsureBelow).name}`);
  announce(names.join(", ") || "no face detected");
}

function drawOverlay() {
  const context = fitCanvas($("camera-overlay"));
  const video = $("camera-video");
  if (!context || !media || !frameWidth || !video.videoWidth) return;
  const { clientWidth } = $("camera-overlay");
  const { width, height } = context.canvas;
  // The video is letterboxed.
  const fitted = Math.min(width / video.videoWidth, height / video.videoHeight);
  context.setTransform(1, 0, 0, 1, (width - fitted * video.videoWidth) / 2, (height - fitted * video.videoHeight) / 2);
  drawFaces(context, present, {
    scale: (fitted * video.videoWidth) / frameWidth,
    plate: (clientWidth < 420 ? 19 : 24) * (width / clientWidth),
    unsureBelow: settings.unsureBelow,
    mirrorWidth: $("camera-mirror").checked ? frameWidth : 0,
    badges: true,
  });
}

function showFaces(now) {
  const faces = tracks.numbered.slice(-MOST_CHARTS);
  $("camera-none").hidden = faces.length > 0;
  fillList($("camera-faces"), faces, { keyOf: (track) => track.number, makeItem, update: (item, track) => showFace(item, track, now) });
}

function makeItem() {
  const [item, canvas] = [make("li"), make("canvas", "chart")];
  canvas.setAttribute("role", "img");
  item.append(make("p"), canvas);
  return item;
}

function showFace(item, track, now) {
  const [title, canvas] = item.children;
  const { unsureBelow } = settings;
  const look = shown(track.expression, track.confidence, unsureBelow);
  const gone = !present.includes(track);
  title.textContent = `${gone ? "" : `${look.emoji} `}Face ${track.number}: ${gone ? "out of sight" : look.text}`;
  item.style.setProperty("--mark", css(look.color));
  item.classList.toggle("gone", gone);
  canvas.setAttribute("aria-label", `Face ${track.number}, last ${KEPT_S} seconds: ${summarize(track.points, unsureBelow)}`);
  const labels = Object.keys(track.probabilities);
  drawChart(canvas, track.points, { labels, from: now - KEPT_S, to: now, gap: 1, unsureBelow });
}

function pause(wanted) {
  paused = wanted;
  $("camera-pause").setAttribute("aria-pressed", String(paused));
  $("camera-pause").textContent = paused ? "Resume" : "Pause";
  $("camera-on-text").textContent = paused ? "Camera on, paused" : "Camera on";
  if (!media) return;
  if (paused) {
    $("camera-video").pause();
    disconnect();
    say("Paused: nothing is sent. The camera is still on.");
  } else {
    $("camera-video").play().catch(() => {});
    connect();
  }
}

async function snapshot() {
  const video = $("camera-video");
  if (!media || !video.videoWidth) return;
  const { videoWidth: width, videoHeight: height } = video;
  const canvas = annotated(video, width, height, present, { unsureBelow: settings.unsureBelow, scale: frameWidth ? width / frameWidth : 1, badges: true });
  const name = `mien-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
  const address = URL.createObjectURL(await encode(canvas, name));
  addSnapshot($("camera-shots"), MOST_SHOTS, { image: address, text: "", links: [{ address, name, text: `Download ${name}` }] });
  say("Snapshot taken; it exists only in this page until you download it.");
}

/** Shows in buttons, image, tab and title whether the camera is on. */
function setOn(on) {
  if (!on && paused) pause(false);
  $("camera-start").textContent = on ? "Stop camera" : "Start camera";
  $("camera-start").classList.toggle("primary", !on);
  for (const id of ["camera-pause", "camera-snapshot"]) $(id).disabled = !on;
  $("camera-on").hidden = $("tab-dot").hidden = !on;
  $("camera-legend").hidden = !on;
  $("camera-figures").textContent = "";
  document.title = on ? "● mien" : "mien";
}
