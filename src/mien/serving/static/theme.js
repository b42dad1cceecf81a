// Sets the theme before anything is painted: a plain script in the head, so that a dark page never flashes white.
"use strict";
(() => {
  let theme = "system";
  try {
    theme = localStorage.getItem("mien-theme") || theme;
  } catch {
    // Storage is switched off: the system's theme it is.
  }
  document.documentElement.dataset.theme = theme;
})();
