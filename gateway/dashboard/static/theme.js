// Runs before the first paint, so that no page flashes in the other colours.
"use strict";
(() => {
  const root = document.documentElement;
  let chosen = null;
  try { chosen = localStorage.getItem("theme"); } catch { /* storage is off: follow the system */ }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
})();
