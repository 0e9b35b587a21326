// Charts of a queue, drawn by uPlot from what the gateway has counted.
"use strict";
(() => {
  const panel = document.querySelector("[data-charts]");
  if (!panel || !window.uPlot) return;
  let span = "hour", drawn = [], data = null;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ms = (value) => value >= 60000 ? `${+(value / 60000).toFixed(1)} min` : value >= 1000 ? `${+(value / 1000).toFixed(1)} s` : `${Math.round(value)} ms`;
  const clock = (second) => new Date(second * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const draw = (name, series, units) => {
    const box = panel.querySelector(`[data-chart=${name}]`);
    box.replaceChildren();
    if (!series.some(([, values]) => values.some((value) => value))) {
      const text = document.createElement("p");
      text.className = "no-chart";
      text.textContent = `No job ended in the last ${span}.`;
      box.append(text);
      return;
    }
    const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const newest = (chart) => { if (chart.cursor.idx == null) chart.setLegend({ idx: data.at.length - 1 }); };
    drawn.push(new window.uPlot({
      hooks: { ready: [newest], setCursor: [newest] },
      width: box.clientWidth, height: 190, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 58, values: (_, ticks) => ticks.map(units) }],
      series: [{ label: "time", value: (_, second) => (second === null ? "–" : clock(second)) }, ...series.map(([label, , tone]) => ({ label, stroke: colour(tone), width: 1.5, spanGaps: true, points: { show: false }, value: (_, value) => value === null ? "–" : units(value) }))],
    }, [data.at, ...series.map(([, values]) => values)], box));
  };
  const show = () => {
    drawn.forEach((chart) => chart.destroy());
    drawn = [];
    if (!data) return;
    draw("throughput", [["completed", data.completed, "--accent"], ["failed", data.failed, "--bad"]], (value) => String(+value.toFixed(2)));
    for (const name of ["wait", "run"]) {
      draw(name, [["p50", data[name].p50, "--ok"], ["p95", data[name].p95, "--warn"], ["p99", data[name].p99, "--bad"]], ms);
    }
  };
  const load = async () => {
    try {
      const response = await fetch(`${panel.dataset.charts}?span=${span}`, { headers: { Accept: "application/json" } });
      if (response.ok) { data = (await response.json()).data; show(); }
    } catch { /* the next look will tell */ }
  };
  for (const button of panel.querySelectorAll("[data-span]")) {
    button.addEventListener("click", () => {
      span = button.dataset.span;
      for (const one of panel.querySelectorAll("[data-span]")) one.setAttribute("aria-pressed", String(one === button));
      load();
    });
  }
  document.addEventListener("themechange", show);
  window.addEventListener("resize", show);
  load();
  setInterval(load, 60000);
})();
