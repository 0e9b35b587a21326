// Counts of the overview as the gateway pushes them.
"use strict";
(() => {
  const badge = document.querySelector("[data-live]");
  const cards = new Map([...document.querySelectorAll("[data-queue]")].map((card) => [card.dataset.queue, card]));
  const latest = new Map();
  const short = (value) => {
    for (const [limit, unit] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
      if (value >= limit) {
        const scaled = value / (unit === "k" ? 1e3 : limit);
        return `${scaled < 100 ? scaled.toFixed(1) : scaled.toFixed(0)}${unit}`;
      }
    }
    return value.toLocaleString("en");
  };
  const duration = (ms) => {
    if (ms === null) return "–";
    if (ms < 1000) return `${ms} ms`;
    if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
    const steps = [["d", 86400000, "h", 3600000], ["h", 3600000, "min", 60000], ["min", 60000, "s", 1000]];
    for (const [unit, size, below, part] of steps) {
      if (ms >= size) {
        const rest = Math.floor((ms % size) / part);
        return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${below}` : ""}`;
      }
    }
    return "–";
  };
  const put = (element, text) => {
    if (!element || element.textContent === text) return;
    element.textContent = text;
    element.classList.remove("pulse");
    void element.offsetWidth;
    element.classList.add("pulse");
  };
  const show = (one) => {
    const card = cards.get(one.name);
    latest.set(one.name, one);
    if (!card) return;
    for (const state of ["waiting", "active", "delayed", "failed", "completed"]) {
      const element = card.querySelector(`[data-count="${state}"]`);
      put(element, short(one[state]));
      element.parentElement.classList.toggle("zero", one[state] === 0);
    }
    card.querySelector("[data-fact=workers]").textContent = one.workers;
    if (!card.classList.contains("card")) return;
    card.querySelector("[data-noun]").textContent = one.workers === 1 ? "worker" : "workers";
    card.querySelector("[data-fact=oldest]").textContent = duration(one.oldestWaitingMs);
    card.querySelector("[data-badge=paused]").hidden = !one.paused;
    card.querySelector("[data-badge=unattended]").hidden = !one.unattended;
    card.classList.toggle("unattended", one.unattended);
  };
  const sums = () => {
    if (latest.size < cards.size) return;
    for (const element of document.querySelectorAll("[data-sum]")) {
      const state = element.dataset.sum;
      const sum = [...latest.values()].reduce((total, one) => total + one[state], 0);
      put(element, sum.toLocaleString("en"));
    }
  };
  const say = (text, tone) => { badge.textContent = text; badge.className = `badge ${tone}`; };
  const filter = document.querySelector("[data-filter]"), said = document.querySelector("[data-filtered]");
  const sift = () => {
    const sought = filter.value.trim().toLowerCase();
    let found = 0;
    for (const [name, card] of cards) {
      card.hidden = !name.includes(sought);
      found += !card.hidden;
    }
    for (const table of document.querySelectorAll("section:has(tr[data-queue])")) table.hidden = !table.querySelector("tr[data-queue]:not([hidden])");
    said.hidden = !sought;
    said.textContent = `${found} of ${cards.size} queues shown`;
  };
  filter?.addEventListener("input", sift);
  if (filter?.value) sift(); // a browser that goes back fills it in again
  const source = new EventSource("/dashboard/live");
  source.addEventListener("lost", () => say("storage is down", "bad"));
  source.addEventListener("counts", (event) => {
    say("live", "ok");
    JSON.parse(event.data).queues.forEach(show);
    sums();
  });
  const again = async () => {
    const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" }).catch(() => null);
    // A redirect leads to whoever signs people in, and from there back.
    if (response && (response.ok || response.type === "opaqueredirect")) location.reload(); else setTimeout(again, 5000);
  };
  source.addEventListener("error", () => {
    const ended = source.readyState === EventSource.CLOSED;
    say(ended ? "offline" : "reconnecting", "warn");
    if (ended) setTimeout(again, 15000);
  });
})();
