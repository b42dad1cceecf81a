// The page's frame: tabs, theme, settings, the token dialog; starts the three panels.

import { onTokenNeeded } from "./api.js";
import { startCamera, stop as stopCamera } from "./camera.js";
import { percent } from "./labels.js";
import { startImages } from "./images.js";
import { $, setState } from "./parts.js";
import { getModels, startPlace } from "./place.js";
import { settings } from "./settings.js";
import { startVideo } from "./video.js";

function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const open = (tab) => {
    for (const each of tabs) {
      const chosen = each === tab;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
      $(each.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (tab.id !== "tab-camera") stopCamera("The camera was switched off because you left this panel.");
    history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
  };
  tabs.forEach((tab, index) => {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const to = key === "Home" ? tabs[0] : key === "End" ? tabs.at(-1) : step && tabs.at((index + step) % tabs.length);
      if (!to) return;
      open(to);
      to.focus();
    });
  });
  const wanted = tabs.find((tab) => `#${tab.getAttribute("aria-controls")}` === location.hash);
  if (wanted) open(wanted);
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
  const wide = matchMedia("(min-width: 40.01rem)"); // on wide screens the settings are always open
  const unfold = () => ($("settings").open = wide.matches);
  wide.addEventListener("change", unfold);
  unfold();
  $("unsure").value = "0"; // browsers restore it after a reload
  $("server-retry").addEventListener("click", load);
  settings.addEventListener("offer", () => {
    fill($("model"), settings.models.map((model) => model.name), settings.model);
    fill($("detector"), settings.detectors, settings.detector);
    const { limits } = settings;
    $("limits").textContent = limits ? `Up to ${limits.max_upload_mb} MB each.` : "";
  });
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  select.disabled = names.length < 2;
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
startTabs();
await load();
