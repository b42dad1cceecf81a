// The user's choices: the place where images are recognised (this server, or this device), the model, the detector and
// the threshold. Dispatches "choice" (all but the threshold), "unsure", and "offer" when the place's models are known.

import * as server from "./api.js";
import * as device from "./device/client.js";

class Settings extends EventTarget {
  /** Whether the page is an exported folder, without a server. */
  alone = Boolean(document.querySelector("meta[name=mien-on-device]"));
  onDevice = this.alone; // whether images stay on this device
  models = [];
  detectors = [];
  videos = false;
  limits = null;
  model = "";
  detector = "";
  unsureBelow = 0; // predictions of a lower confidence are shown as unsure

  /** What recognises: `getModels`, `predict` and `openStream`, as api.js has them. */
  get place() {
    return this.onDevice ? device : server;
  }

  /** The model and the detector, as the functions of the place take them. */
  get choice() {
    return { model: this.model, detector: this.detector };
  }

  /** The chosen model's labels, in its order. */
  get labels() {
    return this.models.find(({ name }) => name === this.model)?.labels ?? [];
  }

  /** Fetches what the place offers, and keeps a choice that it has. Throws an Error with a message for people. */
  async load() {
    const { models, detectors, videos, limits, on_device: canMove } = await this.place.getModels();
    Object.assign(this, { models, detectors, videos: Boolean(videos), limits: limits ?? null });
    this.canMove = this.onDevice ? !this.alone : Boolean(canMove);
    if (!models.some(({ name }) => name === this.model)) this.model = models[0]?.name ?? "";
    if (!detectors.includes(this.detector)) this.detector = detectors[0] ?? "";
    this.dispatchEvent(new Event("offer"));
  }

  /** Chooses `model`, `detector` or `onDevice`; what is shown is requested anew. */
  choose(values) {
    Object.assign(this, values);
    this.dispatchEvent(new Event("choice"));
  }

  setUnsureBelow(share) {
    this.unsureBelow = share;
    this.dispatchEvent(new Event("unsure"));
  }
}

export const settings = new Settings();
