// A canary that runs, or goes on by itself: its numbers, and a fresh page when something is decided.
"use strict";
(() => {
  const box = document.querySelector("[data-canary]");
  if (!box || box.dataset.follow !== "yes") return;
  const look = async () => {
    if (document.querySelector("form[data-busy], dialog[open]")) { setTimeout(look, 500); return; }
    try {
      const response = await fetch(box.dataset.canary, { headers: { Accept: "application/json" } });
      if (response.status === 401) { location.reload(); return; }
      const { data } = await response.json();
      if (document.querySelector("form[data-busy], dialog[open]")) { setTimeout(look, 500); return; }
      if (data.verdict !== box.dataset.verdict || data.outcome !== box.dataset.outcome) { location.reload(); return; }
      for (const part of ["completed", "failed", "running", "sent"]) {
        const shown = box.querySelector(`[data-part=${part}]`);
        if (shown) shown.textContent = data[part].toLocaleString("en");
      }
      const running = box.querySelector("[data-running]");
      if (running) running.textContent = data.running;
    } catch { /* the next look will tell */ }
    setTimeout(look, 1500);
  };
  setTimeout(look, 1000);
})();
