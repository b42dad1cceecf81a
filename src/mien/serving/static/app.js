// The page's frame: tabs, theme, settings, the token dialog; starts the three panels.

import { onTokenNeeded } from "./api.js";
import { startCamera, stop as stopCamera } from "./camera.js";
import { percent } from "./design/labels.js";
import { $, fillLegend, setState } from "./design/parts.js";
import { addImages, imagesAreWorking, startImages } from "./images.js";
import { getModels, startPlace } from "./place.js";
import { settings } from "./settings.js";
import { addVideo, startVideo, videoHash, videoIsUploading } from "./video.js";

const VIDEO = /\.(mp4|m4v|mov|webm|mkv|avi|mpe?g|ts|mts|ogv|wmv|flv|3gp|y4m|h26[45])$/i;

function showPanel(panel) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const chosen = tab.id === `tab-${panel}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (panel !== "camera") stopCamera("The camera was switched off because you left this panel.");
}

/** Opens a panel, "images", "camera" or "video", and makes it the page's address. */
function open(panel) {
  showPanel(panel);
  history.replaceState(null, "", panel === "video" ? videoHash() : `#${panel}`);
}

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => open(panelOf(tab)));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const to = key === "Home" ? tabs[0] : key === "End" ? tabs.at(-1) : step && tabs.at((index + step) % tabs.length);
      if (!to) return;
      open(panelOf(to));
      to.focus();
    });
  });
  const wanted = tabs.find((tab) => location.hash.split("=")[0] === `#${panelOf(tab)}`);
  if (wanted) showPanel(panelOf(wanted)); // the address may name a job: it stays
}

const panelOf = (tab) => tab.getAttribute("aria-controls");

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
  const samples = { "sample-image": ["astronaut.png", "image/png"], "sample-clip": ["clip.mp4", "video/mp4"] };
  for (const [id, [name, type]] of Object.entries(samples)) {
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
  $("model").addEventListener("change", ({ target }) => settings.choose({ model: target.value }));
  $("detector").addEventListener("change", ({ target }) => settings.choose({ detector: target.value }));
  $("unsure").addEventListener("input", ({ target }) => {
    $("unsure-value").textContent = percent(target.value / 100);
    settings.setUnsureBelow(target.value / 100);
  });
  $("unsure").value = "0"; // browsers restore it after a reload
  $("server-retry").addEventListener("click", load);
  settings.addEventListener("offer", () => {
    fill($("model"), settings.models.map((model) => model.name), settings.model);
    fill($("detector"), settings.detectors, settings.detector);
    fillLegend($("expressions"), settings.labels);
    const { limits } = settings;
    $("limits").textContent = limits ? `Up to ${limits.max_upload_mb} MB each.` : "";
  });
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  select.disabled = select.parentElement.hidden = names.length < 2;
}

/** Fetches the models, detectors and limits. Returns false on failure, after showing the error. */
async function load() {
  $("server-retry").hidden = true;
  setState($("server-state"), "");
  try {
    settings.offer(await getModels());
    return true;
  } catch (error) {
    setState($("server-state"), error.message, true);
    $("server-retry").hidden = false;
    return false;
  }
}

function startTokens() {
  const dialog = $("token-dialog");
  onTokenNeeded((wasWrong) => {
    $("token-why").textContent = wasWrong ? "The last token was not accepted." : "The operator of this server can give you one.";
    $("token").value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      const close = () => {
        const given = dialog.returnValue === "given" ? $("token").value.trim() : null;
        $("token").value = "";
        resolve(given);
      };
      dialog.addEventListener("close", close, { once: true });
    });
  });
  $("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    dialog.close("given");
  });
  $("token-cancel").addEventListener("click", () => dialog.close());
}

$("host").textContent = `this server (${location.host})`;
startPlace(load);
startTheme();
startTokens();
startSettings();
startImages();
startCamera();
startVideo();
startFiles();
startTabs();
await load();
