// The live page: shows the stream, the faces of the newest frame, and thirty seconds of the chosen face.

const WINDOW_S = 30;
const MOST_SAVED = 6;
const ANNOUNCE_EVERY_MS = 2000;

const at = (id) => document.getElementById(id);
const make = (tag, className = "", text = "") => {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
};
const percent = (share) => `${Math.round(100 * share)} %`;
const milliseconds = (seconds) => (seconds === null ? "–" : Math.round(1000 * seconds));

let labels = []; // {name, color}, in the model's order
let newest = null; // the newest frame's message
let held = null; // the snapshot shown while paused
let chosen = null; // the chosen face's track, null until one is chosen
let ended = false;
let lastAnnounced = 0;
const history = new Map(); // track -> [{time_s, smoothed}], of the last thirty seconds

function state(text, bad = false) {
  at("state").textContent = text;
  at("state").classList.toggle("bad", bad);
}

// The image

function connectImage() {
  if (!ended && held === null && !document.hidden) {
    at("image").src = `stream.mjpeg?${Date.now()}`; // a new URL: browsers don't request the same image twice
  }
}

at("image").addEventListener("error", () => {
  if (held === null) setTimeout(connectImage, 1000);
});

// A hidden page requests no images.
document.addEventListener("visibilitychange", () => {
  if (document.hidden && held === null && !ended) at("image").removeAttribute("src");
  else connectImage();
});

// Messages

function connectEvents() {
  const events = new EventSource("events");
  events.addEventListener("about", (message) => {
    const about = JSON.parse(message.data);
    labels = about.labels;
    at("source").textContent = about.source;
    document.title = `mien ${about.source}`;
    showLegend();
    if (newest !== null) {
      state("");
      connectImage();
    }
  });
  events.addEventListener("ended", () => {
    ended = true;
    events.close();
    state("The source has ended.", true);
    at("snapshot").disabled = held === null;
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
  for (const face of frame.faces) {
    const past = history.get(face.track) ?? [];
    past.push({ time_s: frame.time_s, smoothed: face.smoothed });
    history.set(face.track, past);
  }
  for (const [track, past] of history) {
    while (past.length > 0 && past[0].time_s < frame.time_s - WINDOW_S) past.shift();
    if (past.length === 0) history.delete(track);
  }
}

function showFigures(frame) {
  at("fps").textContent = frame.fps === null ? "–" : frame.fps.toFixed(1);
  at("latency").textContent = `${milliseconds(frame.latency_p50_s)} / ${milliseconds(frame.latency_p95_s)} ms`;
  at("dropped").textContent = frame.dropped;
}

// Faces

/** The track whose bars and chart are shown: the chosen one while it has a history, else the longest one. */
function shownTrack(frame) {
  if (chosen !== null && history.has(chosen)) return chosen;
  const length = (face) => history.get(face.track)?.length ?? 0;
  return [...frame.faces].sort((a, b) => length(b) - length(a))[0]?.track ?? null;
}

function showFaces(frame) {
  const track = shownTrack(frame);
  at("none").hidden = frame.faces.length > 0;
  const list = at("faces");
  const old = new Map([...list.children].map((item) => [Number(item.dataset.track), item]));
  const items = frame.faces.map((face) => faceItem(face, old.get(face.track), face.track === track));
  // Nodes are reused, so that the keyboard focus stays.
  for (const [number, item] of old) if (!frame.faces.some((face) => face.track === number)) item.remove();
  items.forEach((item, place) => {
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
  });
  drawChart(frame, track);
  announce(frame, track);
}

function faceItem(face, old, isChosen) {
  const item = old ?? newItem(face.track);
  const [button, bars] = item.children;
  const share = face.smoothed[face.smoothed_expression];
  button.setAttribute("aria-pressed", isChosen);
  button.children[1].replaceChildren(dot(face.smoothed_expression), face.smoothed_expression);
  button.children[2].textContent = percent(share);
  bars.hidden = !isChosen;
  labels.forEach(({ name, color }, place) => {
    const [, bar, number] = [...bars.children].slice(3 * place, 3 * place + 3);
    bar.firstChild.style.width = `${100 * face.smoothed[name]}%`;
    bar.firstChild.style.background = color;
    number.textContent = Math.round(100 * face.smoothed[name]);
  });
  return item;
}

function newItem(track) {
  const item = make("li");
  item.dataset.track = track;
  const button = make("button");
  button.type = "button";
  button.append(make("span", "", `Face ${track}`), make("strong"), make("span", "share"));
  button.addEventListener("click", () => {
    chosen = track;
    showFaces(held?.frame ?? newest);
  });
  const bars = make("div", "bars");
  for (const { name } of labels) {
    const bar = make("span", "track");
    bar.append(make("div", "fill"));
    bars.append(make("span", "", name), bar, make("span", "share"));
  }
  item.append(button, bars);
  return item;
}

function dot(name) {
  const mark = make("span", "dot");
  mark.style.background = labels.find((label) => label.name === name)?.color ?? "gray";
  return mark;
}

function showLegend() {
  at("legend").replaceChildren(
    ...labels.map(({ name }) => {
      const item = make("li");
      item.append(dot(name), name);
      return item;
    }),
  );
}

/** Announces expressions to screen readers, at most every two seconds. */
function announce(frame, track) {
  const text = frame.faces.map((face) => `Face ${face.track}: ${face.smoothed_expression}`).join(", ") || "No face.";
  const chart = track === null ? "" : ` Bars and chart: face ${track}.`;
  const now = Date.now();
  if (now - lastAnnounced > ANNOUNCE_EVERY_MS && at("said").textContent !== text + chart) {
    at("said").textContent = text + chart;
    lastAnnounced = now;
  }
}

// Chart: stacked areas, as `mien watch --plot` draws them

function drawChart(frame, track) {
  const canvas = at("chart");
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(document.body);
  const foot = 18;
  const x = (time_s) => width * (1 + (time_s - frame.time_s) / WINDOW_S);
  const y = (share) => (height - foot) * (1 - share);
  at("chart-title").textContent = track === null ? "Last 30 seconds" : `Face ${track}, last 30 seconds`;
  for (const stretch of stretches((history.get(track) ?? []).filter((point) => point.time_s <= frame.time_s))) {
    const below = stretch.map(() => 0);
    for (const { name, color } of labels) {
      pen.beginPath();
      stretch.forEach((point, i) => pen.lineTo(x(point.time_s), y(below[i])));
      for (let i = stretch.length - 1; i >= 0; i -= 1) {
        below[i] += stretch[i].smoothed[name];
        pen.lineTo(x(stretch[i].time_s), y(below[i]));
      }
      pen.closePath();
      pen.fillStyle = color;
      pen.fill();
    }
  }
  pen.fillStyle = style.getPropertyValue("--soft");
  pen.strokeStyle = style.getPropertyValue("--line");
  pen.font = "12px system-ui, sans-serif";
  for (const [ago, align] of [[30, "left"], [20, "center"], [10, "center"], [0, "right"]]) {
    const place = width * (1 - ago / WINDOW_S);
    pen.textAlign = align;
    pen.fillText(ago === 0 ? "now" : `${ago} s ago`, place, height - 5);
    pen.strokeRect(place, height - foot, 0, 4);
  }
}

/** Splits a face's history at gaps of more than a second, which the chart leaves empty. */
function stretches(past) {
  const pieces = [];
  past.forEach((point, i) => {
    if (i === 0 || point.time_s - past[i - 1].time_s > 1) pieces.push([]);
    pieces.at(-1).push(point);
  });
  return pieces;
}

window.addEventListener("resize", () => {
  const frame = held?.frame ?? newest;
  if (frame !== null) drawChart(frame, shownTrack(frame));
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
    at("image").src = held.image;
    showFaces(held.frame);
    state(`Paused at ${held.frame.time_s.toFixed(1)} s.`);
  } else {
    forget(held);
    held = null;
    state(ended ? "The source has ended." : "", ended);
    connectImage();
    at("snapshot").disabled = ended;
  }
  at("pause").setAttribute("aria-pressed", held !== null);
  at("pause").firstChild.textContent = held === null ? "Pause " : "Resume ";
  at("image").classList.toggle("still", held !== null);
}

async function save() {
  const taken = held ?? (await takeSnapshot());
  if (at(taken.name) !== null) return; // this frame is saved already
  const item = make("li");
  item.id = taken.name;
  item.dataset.image = taken.image;
  const thumbnail = make("img");
  thumbnail.src = taken.image;
  thumbnail.alt = "";
  const rows = new Blob([`${JSON.stringify(taken.frame, null, 2)}\n`], { type: "application/json" });
  item.append(
    thumbnail,
    `Frame ${taken.frame.frame}:`,
    download(taken.image, `${taken.name}.jpg`, "image"),
    download(URL.createObjectURL(rows), `${taken.name}.json`, "rows"),
  );
  at("saved").prepend(item);
  while (at("saved").children.length > MOST_SAVED) {
    const last = at("saved").lastChild;
    for (const link of last.querySelectorAll("a")) URL.revokeObjectURL(link.href);
    last.remove();
  }
}

function forget(snapshot) {
  if (at(snapshot.name) === null) URL.revokeObjectURL(snapshot.image);
}

function download(address, name, text) {
  const link = make("a", "", text);
  link.href = address;
  link.download = name;
  return link;
}

async function act(action) {
  try {
    await action();
  } catch {
    state("No frame is available.", true);
  }
}

at("pause").addEventListener("click", () => act(togglePause));
at("snapshot").addEventListener("click", () => act(save));
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
