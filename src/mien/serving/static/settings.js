// The user's choices and the served models. Dispatches "choice" (model, detector), "unsure" and "offer".

class Settings extends EventTarget {
  models = [];
  detectors = [];
  videos = false;
  limits = null;
  model = "";
  detector = "";
  unsureBelow = 0;
  onDevice = false; // whether images stay on this device

  /** Takes the response of GET /v1/models. Keeps a choice that is still served. */
  offer({ models, detectors, videos, limits }) {
    this.models = models;
    this.detectors = detectors;
    this.videos = Boolean(videos);
    this.limits = limits ?? null;
    if (!models.some((model) => model.name === this.model)) this.model = models[0]?.name ?? "";
    if (!detectors.includes(this.detector)) this.detector = detectors[0] ?? "";
    this.dispatchEvent(new Event("offer"));
  }

  /** Chooses a model or detector. */
  choose({ model = this.model, detector = this.detector }) {
    if (model === this.model && detector === this.detector) return;
    this.model = model;
    this.detector = detector;
    this.dispatchEvent(new Event("choice"));
  }

  /** Requests all shown results again, after a change of place. */
  again() {
    this.dispatchEvent(new Event("choice"));
  }

  /** Sets the confidence below which predictions are shown as unsure, 0 to 1. */
  setUnsureBelow(share) {
    this.unsureBelow = share;
    this.dispatchEvent(new Event("unsure"));
  }

  /** The chosen model's labels, in its order. */
  get labels() {
    return this.models.find((model) => model.name === this.model)?.labels ?? [];
  }
}

export const settings = new Settings();
