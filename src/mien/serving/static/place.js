// Chooses where images are recognised: on the server, or on this device. The panels call these functions.

import * as server from "./api.js";
import * as device from "./device/client.js";
import { $ } from "./design/parts.js";
import { settings } from "./settings.js";

/** Whether the page is an exported folder, without a server. */
const alone = Boolean(document.querySelector("meta[name=mien-on-device]"));

/** Prepares the switch. load: fetches the models of the chosen place. Must run before the panels start. */
export function startPlace(load) {
  $("on-device").checked = false; // browsers restore it after a reload
  $("on-device").addEventListener("change", ({ target }) => move(target.checked, load));
  if (!alone) return;
  settings.onDevice = true;
  $("tab-video").remove();
  document.querySelector("footer").hidden = true;
  showPlace();
  navigator.serviceWorker?.register("offline.js").catch(() => {}); // without it the page works online only
}

/** The models, detectors and limits of the chosen place, as GET /v1/models returns them. */
export async function getModels() {
  if (settings.onDevice) return device.getModels();
  const offer = await server.getModels();
  $("device-choice").hidden = !offer.on_device;
  return offer;
}

/** Recognises one image, as in api.js. */
export function predict(...given) {
  return (settings.onDevice ? device : server).predict(...given);
}

/** Opens a stream of frames, as in api.js. */
export function openStream(...given) {
  return (settings.onDevice ? device : server).openStream(...given);
}

/** Switches the place. On the device nothing goes to the server, even while networks load or if they fail to. */
async function move(onDevice, load) {
  settings.onDevice = onDevice;
  if (onDevice) settings.again();
  showPlace();
  if (await load()) settings.again();
}

function showPlace() {
  const place = settings.onDevice ? "device" : "server";
  for (const words of document.querySelectorAll("[data-place]")) words.hidden = words.dataset.place !== place;
}
