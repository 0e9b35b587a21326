// A canary that runs: its numbers, and a fresh page when the verdict is there.
"use strict";
(() => {
  const box = document.querySelector("[data-canary]");
  if (!box || box.dataset.verdict !== "running") return;
  const look = async () => {
    try {
      const response = await fetch(box.dataset.canary, { headers: { Accept: "application/json" } });
      const { data } = await response.json();
      if (data.verdict !== "running") { location.reload(); return; }
      for (const part of ["completed", "failed", "running"]) {
        box.querySelector(`[data-part=${part}]`).textContent = data[part].toLocaleString("en");
      }
      box.querySelector("[data-running]").textContent = data.running;
    } catch { /* the next look will tell */ }
    setTimeout(look, 1500);
  };
  setTimeout(look, 1000);
})();
