// What the user chose, and what the server offers. Dispatches "choice" (model, detector), "unsure" and "offer".

class Settings extends EventTarget {
  models = [];
  detectors = [];
  videos = false;
  limits = null;
  model = "";
  detector = "";
  unsureBelow = 0;
  onDevice = false; // whether pictures stay on this device

  /** Takes the answer of GET /v1/models. What was chosen stays where it is still served. */
  offer({ models, detectors, videos, limits }) {
    this.models = models;
    this.detectors = detectors;
    this.videos = Boolean(videos);
    this.limits = limits ?? null;
    if (!models.some((model) => model.name === this.model)) this.model = models[0]?.name ?? "";
    if (!detectors.includes(this.detector)) this.detector = detectors[0] ?? "";
    this.dispatchEvent(new Event("offer"));
  }

  /** Another model or detector. */
  choose({ model = this.model, detector = this.detector }) {
    if (model === this.model && detector === this.detector) return;
    this.model = model;
    this.detector = detector;
    this.dispatchEvent(new Event("choice"));
  }

  /** Another place or model: what is shown must be asked for anew. */
  again() {
    this.dispatchEvent(new Event("choice"));
  }

  /** Answers below this probability count as unsure; 0 to 1. */
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
