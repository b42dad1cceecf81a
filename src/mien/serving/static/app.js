// The page's frame: tabs, files, theme, settings, the token dialog; starts the three panels.

import { onTokenNeeded } from "./api.js";
import { startCamera, stop as stopCamera } from "./camera.js";
import { fillLegend, percent } from "./design/labels.js";
import { $, setState } from "./design/parts.js";
import { addImages, imagesAreWorking, startImages } from "./images.js";
import { settings } from "./settings.js";
import { addVideo, startVideo, videoHash, videoIsUploading } from "./video.js";

const VIDEO = /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|ts|mts|ogv|wmv|flv|3gp|y4m|h26[45])$/i;
const SAMPLES = { "sample-image": ["astronaut.png", "image/png"], "sample-clip": ["clip.mp4", "video/mp4"] };
if (settings.alone) $("tab-video").remove();
const tabs = [...document.querySelectorAll("[role=tab]")];
const panelOf = (tab) => tab.getAttribute("aria-controls");

function showPanel(panel) {
  for (const tab of tabs) {
    const chosen = panelOf(tab) === panel;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(panelOf(tab)).hidden = !chosen;
  }
  if (panel !== "camera") stopCamera("The camera was switched off because you left this panel.");
}

/** Opens a panel, "images", "camera" or "video", and makes it the page's address. */
function open(panel) {
  showPanel(panel);
  history.replaceState(null, "", panel === "video" ? videoHash() : `#${panel}`);
}

function startTabs() {
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => open(panelOf(tab)));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowLeft: tabs.at(index - 1), ArrowRight: tabs[index + 1] ?? tabs[0], Home: tabs[0], End: tabs.at(-1) }[key];
      if (!to) return;
      open(panelOf(to));
      to.focus();
    });
  });
  const wanted = tabs.find((tab) => location.hash.split("=")[0] === `#${panelOf(tab)}`);
  if (wanted) showPanel(panelOf(wanted)); // the address may name a job: it stays
}

/** Takes files from anywhere on the page to the panels of their kinds. */
function takeFiles(files) {
  const isVideo = ({ type, name }) => type.startsWith("video/") || VIDEO.test(name) || (type === "image/gif" && !$("video").hidden);
  const [videos, images] = [files.filter(isVideo), files.filter((file) => !isVideo(file))];
  if (!files.length) return;
  open(images.length ? "images" : "video");
  if (images.length) addImages(images);
  if (videos.length) addVideo(videos[0]);
}

function startFiles() {
  const over = (isOver) => document.body.classList.toggle("over", isOver);
  // Every drop is taken: one that is not would leave the page, and lose what is on it.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    over([...event.dataTransfer.types].includes("Files"));
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    takeFiles([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => takeFiles([...(event.clipboardData?.files ?? [])]));
  for (const [id, [name, type]] of Object.entries(SAMPLES)) {
    $(id).addEventListener("click", async () => takeFiles([new File([await (await fetch(`examples/${name}`)).blob()], name, { type })]));
  }
  window.addEventListener("beforeunload", (event) => {
    if (imagesAreWorking() || videoIsUploading()) event.preventDefault();
  });
}

function startTheme() {
  const root = document.documentElement;
  $("theme").value = root.dataset.theme;
  $("theme").addEventListener("change", ({ target }) => {
    root.dataset.theme = target.value;
    try {
      localStorage.setItem("mien-theme", target.value);
    } catch {
      // Storage is switched off: the choice holds until the page is closed.
    }
  });
}

function startSettings() {
  for (const name of ["model", "detector"]) $(name).addEventListener("change", ({ target }) => settings.choose({ [name]: target.value }));
  $("unsure").addEventListener("input", ({ target }) => {
    $("unsure-value").textContent = percent(target.value / 100);
    settings.setUnsureBelow(target.value / 100);
  });
  [$("unsure").value, $("on-device").checked] = ["0", false]; // browsers restore them after a reload
  $("on-device").addEventListener("change", ({ target }) => move(target.checked));
  $("server-retry").addEventListener("click", load);
  settings.addEventListener("offer", () => {
    fill($("model"), settings.models.map(({ name }) => name), settings.model);
    fill($("detector"), settings.detectors, settings.detector);
    fillLegend($("expressions"), settings.labels);
    $("limits").textContent = settings.limits ? `Up to ${settings.limits.max_upload_mb} MB each.` : "";
    $("device-choice").hidden = !settings.canMove;
  });
  if (!settings.alone) return;
  document.querySelector("footer").hidden = true;
  navigator.serviceWorker?.register("offline.js").catch(() => {}); // without it the page works online only
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  select.disabled = select.parentElement.hidden = names.length < 2;
}

/** Switches the place. On the device nothing goes to the server, even while networks load or if they fail to. */
async function move(onDevice) {
  settings.onDevice = onDevice;
  if (onDevice) settings.choose({});
  showPlace();
  if (await load()) settings.choose({});
}

function showPlace() {
  const place = settings.onDevice ? "device" : "server";
  for (const words of document.querySelectorAll("[data-place]")) words.hidden = words.dataset.place !== place;
}

/** Fetches the models, detectors and limits. Returns false on failure, after showing the error. */
async function load() {
  const error = await settings.load().then(() => null, (reason) => reason);
  setState($("server-state"), error?.message ?? "", true);
  $("server-retry").hidden = !error;
  return !error;
}

function startTokens() {
  const dialog = $("token-dialog");
  onTokenNeeded(async (wasWrong) => {
    $("token-why").textContent = wasWrong ? "The last token was not accepted." : "The operator of this server can give you one.";
    $("token").value = dialog.returnValue = "";
    dialog.showModal();
    await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
    const given = $("token").value.trim();
    $("token").value = "";
    return dialog.returnValue === "given" ? given : null;
  });
}

$("host").textContent = `this server (${location.host})`;
for (const start of [showPlace, startTheme, startTokens, startSettings, startImages, startCamera, startVideo, startFiles, startTabs]) start();
await load();
