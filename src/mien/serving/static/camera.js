// The panel of the camera: frames go out one at a time, boxes come back onto the live picture, charts roll.

import { drawChart, inWords } from "./chart.js";
import { annotated, drawFaces, fitCanvas } from "./draw.js";
import { css, fillLegend, shown } from "./labels.js";
import { getModels, openStream } from "./place.js";
import { encode } from "./save.js";
import { settings } from "./settings.js";
import { KEPT_S, Tracks } from "./tracks.js";

const FRAME_EDGE = 640; // pixels: enough for faces at a desk, and small to send
const LEAST_MS = 66; // between two frames
const PATIENCE_MS = 10_000; // for an answer
const RETRIES_MS = [500, 2000, 4000];
const SAID_MS = 3000; // a screen reader is told at most so often
const MOST_CHARTS = 6;
const MOST_SHOTS = 8;
const $ = (id) => document.getElementById(id);

let media = null; // the camera's stream while it is on
let stream = null; // to the recogniser
let paused = false;
let starting = false;
let lost = 0; // connections in a row that ended without an answer
let sentAt = 0;
let patience = 0;
let frameWidth = 0; // of the last frame that was sent
let tracks = new Tracks();
let present = [];
let lastSaid = { at: 0, text: "" };
const rounds = []; // times of the last answers, for frames a second

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

/** Switches the camera off, if it is on, and says why. */
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
    say("The browser gives a camera only to pages that came over HTTPS or from this machine (http://localhost).", true);
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
    for (const track of opened.getTracks()) track.stop(); // the user has gone in the meantime
    starting = false;
    return;
  }
  starting = false;
  media = opened;
  media.getVideoTracks()[0].addEventListener("ended", () => stop("The camera was taken away."));
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
    OverconstrainedError: "This camera is not there any more.",
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
      ready: () => {
        say(settings.onDevice ? "Frames stay on this device." : "Frames go to this server, one at a time, and are not stored.");
        sendFrame();
      },
      answered: take,
      closed: reconnect,
    },
  );
}

function disconnect() {
  clearTimeout(patience);
  stream?.close();
  stream = null;
}

async function reconnect() {
  clearTimeout(patience);
  stream = null;
  if (!media || paused) return;
  if (lost >= RETRIES_MS.length) {
    stop("The server does not answer, or serves too many cameras at once. Try again later.");
    return;
  }
  await new Promise((resolve) => setTimeout(resolve, RETRIES_MS[lost]));
  lost += 1;
  // A browser does not say why a stream was refused; this asks for a token where that was the reason.
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
  patience = setTimeout(() => {
    disconnect();
    reconnect();
  }, PATIENCE_MS);
}

/** The answer to the frame that is under way: the next one may go out now. */
function take(result) {
  clearTimeout(patience);
  const now = performance.now();
  lost = 0;
  rounds.push({ at: now, took: now - sentAt });
  while (rounds[0].at < now - 3000) rounds.shift();
  setTimeout(sendFrame, Math.max(0, LEAST_MS - (now - sentAt)));
  if (result.error) return;
  present = tracks.follow(result.faces, now / 1000);
  show();
}

function show() {
  const now = performance.now() / 1000;
  drawOverlay();
  showFaces(now);
  const took = rounds.map((round) => round.took).sort((a, b) => a - b);
  const span = rounds.length > 1 ? (rounds.at(-1).at - rounds[0].at) / 1000 : 0;
  $("camera-figures").textContent = span
    ? `${((rounds.length - 1) / span).toFixed(1)} frames/s, answer after ${Math.round(took[took.length >> 1])} ms`
    : "";
  announce();
}

function drawOverlay() {
  const context = fitCanvas($("camera-overlay"));
  const video = $("camera-video");
  if (!context || !media || !frameWidth || !video.videoWidth) return;
  const { clientWidth } = $("camera-overlay");
  const { width, height } = context.canvas;
  // The video is fitted into its place, with bars beside or above it.
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
  const numbered = tracks.numbered;
  const faces = numbered.slice(-MOST_CHARTS);
  $("camera-none").hidden = faces.length > 0;
  const list = $("camera-faces");
  while (list.children.length > faces.length) list.lastElementChild.remove();
  while (list.children.length < faces.length) {
    const item = document.createElement("li");
    const title = document.createElement("p");
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    item.append(title, canvas);
    list.append(item);
  }
  faces.forEach((track, i) => {
    const [title, canvas] = list.children[i].children;
    const look = shown(track.expression, track.confidence, settings.unsureBelow);
    const gone = !present.includes(track);
    title.textContent = `${gone ? "" : `${look.emoji} `}Face ${track.number}: ${gone ? "out of sight" : look.text}`;
    list.children[i].style.setProperty("--mark", css(look.color));
    list.children[i].classList.toggle("gone", gone);
    canvas.setAttribute("aria-label", `Face ${track.number}, last ${KEPT_S} seconds: ${inWords(track.points, settings.unsureBelow)}`);
    drawChart(canvas, track.points, {
      labels: Object.keys(track.probabilities), from: now - KEPT_S, to: now, gap: 1, unsureBelow: settings.unsureBelow,
    });
  });
}

/** Tells a screen reader what changed, seldom enough to be listened to. */
function announce() {
  const faces = tracks.numbered.filter((track) => present.includes(track));
  const names = faces.map((track) => `face ${track.number} ${shown(track.expression, track.confidence, settings.unsureBelow).name}`);
  const text = names.join(", ") || "no face in sight";
  const now = performance.now();
  if (text === lastSaid.text || now - lastSaid.at < SAID_MS) return;
  lastSaid = { at: now, text };
  $("camera-said").textContent = text;
}

function pause(wanted) {
  paused = wanted;
  $("camera-pause").setAttribute("aria-pressed", String(paused));
  $("camera-pause").textContent = paused ? "Go on" : "Pause";
  $("camera-on-text").textContent = paused ? "Camera on, paused" : "Camera on";
  if (!media) return;
  if (paused) {
    $("camera-video").pause();
    disconnect();
    say("Paused: nothing is sent. The camera itself is still on.");
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
  const item = document.createElement("li");
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  const picture = Object.assign(document.createElement("img"), { src: address, alt: "" });
  link.append(picture, `Download ${name}`);
  item.append(link);
  $("camera-shots").prepend(item);
  while ($("camera-shots").children.length > MOST_SHOTS) {
    URL.revokeObjectURL($("camera-shots").lastElementChild.querySelector("a").href);
    $("camera-shots").lastElementChild.remove();
  }
  say("Snapshot taken; it is in this page only until you download it.");
}

/** Buttons, the mark on the picture, the tab and the title say whether the camera is on. */
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

function say(text, failed = false) {
  $("camera-state").textContent = text;
  $("camera-state").classList.toggle("bad", failed);
}
