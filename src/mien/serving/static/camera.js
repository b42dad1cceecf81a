// The camera panel: the camera as the source of the live view. It sends one frame at a time to the recogniser.

import { wait } from "./api.js";
import { showCode } from "./code.js";
import { annotated, sizeOf } from "./design/draw.js";
import { LiveView } from "./design/live.js";
import { $, make, makeButton } from "./design/parts.js";
import { encode } from "./save.js";
import { settings } from "./settings.js";
import { Tracks } from "./tracks.js";

const FRAME_EDGE = 640; // pixels: enough for faces at a desk, and a small upload
const LEAST_MS = 66; // between two frames
const RESULT_TIMEOUT_MS = 10_000; // timeout of a result
const RETRIES_MS = [500, 2000, 4000];
const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the address bar, then start again.",
  NotFoundError: "No camera was found.",
  NotReadableError: "The camera is in use by another program.",
  OverconstrainedError: "This camera is no longer available.",
};

let media = null; // the camera's stream while it is on
let stream = null; // to the recogniser
let starting = false;
let lost = 0; // consecutive connections without a result
let sentAt = 0;
let timeout = 0;
let frameWidth = 0; // of the last frame that was sent
let tracks = new Tracks();
let present = [];
const timings = []; // times of the last results, for the frame rate

const video = Object.assign(make("video"), { id: "camera-video", muted: true, playsInline: true });
const stopButton = makeButton("Stop the camera", () => stop("The camera is off."));
const device = make("select");
const mirrorBox = Object.assign(make("input"), { type: "checkbox", checked: true });
const mirror = make("label", "check", mirrorBox, " Mirror");
const choice = make("label", "check", "Camera ", device);
const idle = make("div", "idle", makeButton("Start the camera", start, "primary big"), make("p"));
const onAir = make("p", "on-air", make("span", "live-dot"), make("span", "", "Camera on"));
const code = makeButton("Code", () => showCode("camera", []));
code.dataset.place = "server";
const view = new LiveView($("camera"), video, { boxes: true, onPause: pause, onSnapshot: snapshot, controls: [stopButton, mirror, choice], more: [code] });
const whereFramesGo = () => (settings.onDevice ? "Frames stay on this device." : "Frames go to this server, one at a time, and are not stored.");

/** Connects the panel with the page. */
export function startCamera() {
  video.setAttribute("aria-label", "Camera");
  view.stage.append(idle, onAir);
  device.addEventListener("change", restart);
  mirrorBox.addEventListener("change", showMirror);
  showMirror();
  setOn(false);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop("The camera was switched off because this tab was hidden.");
  });
  settings.addEventListener("offer", () => (idle.lastChild.textContent = whereFramesGo()));
  settings.addEventListener("choice", () => media && begin());
  settings.addEventListener("unsure", () => view.set({ unsureBelow: settings.unsureBelow }));
}

/** Switches the camera off, if it is on, and shows the reason. */
export function stop(reason, bad = false) {
  starting = false;
  if (!media) return;
  for (const track of media.getTracks()) track.stop();
  media = video.srcObject = null;
  disconnect();
  forgetFaces();
  setOn(false);
  view.say(reason, bad);
}

async function start() {
  if (starting) return;
  if (!navigator.mediaDevices?.getUserMedia) {
    view.say("The browser allows the camera only on pages over HTTPS or from this machine (http://localhost).", true);
    return;
  }
  starting = true;
  view.say("Waiting for the camera …");
  const camera = device.value ? { deviceId: { exact: device.value } } : { facingMode: "user" };
  const opened = await navigator.mediaDevices
    .getUserMedia({ video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...camera }, audio: false })
    .catch(({ name }) => view.say(REASONS[name] ?? `The camera can't be opened (${name}).`, true));
  const wanted = starting && !document.hidden; // the user may have left in the meantime
  starting = false;
  if (!wanted) for (const track of opened?.getTracks() ?? []) track.stop();
  if (!wanted || !opened) return;
  media = opened;
  media.getVideoTracks()[0].addEventListener("ended", () => stop("The camera was disconnected.", true));
  lost = 0;
  video.srcObject = media;
  setOn(true);
  await video.play().catch(() => {});
  await listCameras();
  if (media) begin();
}

/** Begins with the chosen model and detector. */
function begin() {
  tracks = new Tracks();
  view.begin(settings.labels);
  connect();
}

async function restart() {
  if (!media) return;
  stop("Changing the camera …");
  await start();
}

async function listCameras() {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
  const current = media?.getVideoTracks()[0].getSettings().deviceId;
  device.replaceChildren(...cameras.map((camera, i) => new Option(camera.label || `Camera ${i + 1}`, camera.deviceId, false, camera.deviceId === current)));
  choice.hidden = cameras.length < 2;
}

function connect() {
  disconnect();
  if (view.paused) return;
  view.say(lost ? "The connection was lost; trying again …" : "Connecting …", Boolean(lost));
  stream = settings.place.openStream(settings.choice, { onReady, onResult: take, onClose: reconnect });
}

function onReady() {
  view.say(whereFramesGo());
  sendFrame();
}

function disconnect() {
  clearTimeout(timeout);
  stream?.close();
  stream = null;
}

async function reconnect() {
  disconnect();
  if (!media || view.paused) return;
  forgetFaces();
  if (lost >= RETRIES_MS.length) {
    stop("The server does not respond, or serves too many cameras. Try again later.", true);
    return;
  }
  view.say("The connection was lost; trying again …", true);
  await wait(RETRIES_MS[lost]);
  lost += 1;
  // A browser hides why a stream was refused; this request asks for a token if that was the reason.
  await settings.place.getModels().catch(() => null);
  if (media && !view.paused && !stream) connect();
}

function forgetFaces() {
  present = [];
  view.clear();
}

async function sendFrame() {
  const current = stream;
  if (!current || !media || view.paused) return;
  const { width, height } = sizeOf(video);
  if (!width) {
    setTimeout(() => current === stream && sendFrame(), 50);
    return;
  }
  const scale = Math.min(1, FRAME_EDGE / Math.max(width, height));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  const frame = current.takesBitmaps ? canvas.transferToImageBitmap() : await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
  if (current !== stream || view.paused) return;
  frameWidth = canvas.width;
  sentAt = performance.now();
  current.send(frame);
  timeout = setTimeout(reconnect, RESULT_TIMEOUT_MS);
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
  present = tracks.follow(result.faces, now / 1000).filter(({ number }) => number);
  view.show({ time: now / 1000, width: frameWidth, faces: present.map((face) => ({ ...face })), figures: figures() });
}

function figures() {
  const took = timings.map((timing) => timing.took).sort((a, b) => a - b);
  const span = timings.length > 1 ? (timings.at(-1).at - timings[0].at) / 1000 : 0;
  return span ? `${((timings.length - 1) / span).toFixed(1)} frames/s · latency ${Math.round(took[took.length >> 1])} ms` : "";
}

function pause(paused) {
  onAir.lastChild.textContent = paused ? "Camera on, paused" : "Camera on";
  if (!media) return;
  view.paused = paused;
  if (paused) {
    video.pause();
    disconnect();
    view.say("Paused: nothing is sent. The camera is still on.");
  } else {
    video.play().catch(() => {});
    connect();
  }
}

async function snapshot() {
  const { width, height } = sizeOf(video);
  if (!media || !width) return null;
  const canvas = annotated(video, width, height, present, { unsureBelow: settings.unsureBelow, scale: frameWidth ? width / frameWidth : 1 });
  const name = `mien-${new Date().toISOString().slice(0, 19).replaceAll(":", "-")}.png`;
  const address = URL.createObjectURL(await encode(canvas, name));
  view.say("Snapshot taken; it exists only in this page until you download it.");
  return { image: address, text: "", links: [{ address, name, text: `Download ${name}` }] };
}

function showMirror() {
  view.stage.classList.toggle("mirrored", mirrorBox.checked);
  view.set({ mirror: mirrorBox.checked });
}

/** Shows in buttons, image, tab and title whether the camera is on. */
function setOn(on) {
  if (!on && view.paused) view.pause(false);
  view.setRunning(on, "Start the camera to see faces here.");
  idle.hidden = on;
  for (const element of [stopButton, mirror, onAir, $("tab-dot")]) element.hidden = !on;
  choice.hidden = !on || device.options.length < 2;
  if (on) $("notice").open = false;
  document.title = on ? "● mien" : "mien";
}
