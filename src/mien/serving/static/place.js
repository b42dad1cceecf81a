// Where pictures are looked at: by the server, or on this device alone. The panels ask here and need not know.

import * as server from "./api.js";
import * as device from "./device/client.js";
import { settings } from "./settings.js";

const $ = (id) => document.getElementById(id);
const CAMERA_OFF = { device: "The camera is off. When you start it, frames stay on this device." };

/** Whether there is no server: the page is an exported folder. */
const alone = Boolean(document.querySelector("meta[name=mien-on-device]"));

/** Prepares the switch; `load` fetches the offer of the chosen place. Comes before the panels start. */
export function startPlace(load) {
  CAMERA_OFF.server = $("camera-state").textContent;
  $("on-device").checked = false; // browsers bring back what was there before a reload
  $("on-device").addEventListener("change", ({ target }) => move(target.checked, load));
  if (!alone) return;
  settings.onDevice = true;
  $("tab-video").remove();
  document.querySelector("footer").hidden = true;
  showPlace();
  navigator.serviceWorker?.register("offline.js").catch(() => {}); // without it the page works, but not offline
}

/** What is offered at the chosen place: the answer of GET /v1/models, or the like of it. */
export async function getModels() {
  if (settings.onDevice) return device.getModels();
  const offer = await server.getModels();
  $("device-choice").hidden = !offer.on_device;
  return offer;
}

/** One picture's answer, as api.js gives it. */
export function predict(...given) {
  return (settings.onDevice ? device : server).predict(...given);
}

/** A stream of frames, as api.js opens it. */
export function openStream(...given) {
  return (settings.onDevice ? device : server).openStream(...given);
}

/** From this moment on nothing goes to the server, also while the networks load or where they can't be loaded. */
async function move(onDevice, load) {
  settings.onDevice = onDevice;
  if (onDevice) settings.again();
  showPlace();
  if (await load()) settings.again();
}

function showPlace() {
  const place = settings.onDevice ? "device" : "server";
  for (const words of document.querySelectorAll("[data-place]")) words.hidden = words.dataset.place !== place;
  if (Object.values(CAMERA_OFF).includes($("camera-state").textContent)) {
    $("camera-state").textContent = CAMERA_OFF[place];
  }
}
