// A job: documents that unfold piece by piece, and its state while it has not ended.
"use strict";
(() => {
  const PART = 100;
  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const leaf = (value) => {
    const text = JSON.stringify(value);
    const made = element("span", typeof value === "string" ? "str" : "lit", text.length > 500 ? `${text.slice(0, 500)}…` : text);
    if (text.length > 500) {
      const more = element("button", "size", ` ${text.length.toLocaleString("en")} characters: show`);
      more.type = "button";
      more.addEventListener("click", () => { made.textContent = text; more.remove(); });
      const both = element("span");
      both.append(made, more);
      return both;
    }
    return made;
  };
  const fill = (list, entries, from) => {
    for (const [key, value] of entries.slice(from, from + PART)) list.append(node(key, value));
    if (entries.length <= from + PART) return;
    const item = element("li", "leaf"), more = element("button", "size", `${(entries.length - from - PART).toLocaleString("en")} more`);
    more.type = "button";
    more.addEventListener("click", () => { item.remove(); fill(list, entries, from + PART); });
    item.append(more);
    list.append(item);
  };
  const node = (key, value, open = false) => {
    const item = element("li");
    const isTree = value !== null && typeof value === "object";
    if (!isTree) {
      item.className = "leaf";
      if (key !== null) item.append(element("span", "key", `${key}: `));
      item.append(leaf(value));
      return item;
    }
    const entries = Object.entries(value);
    const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
    const twist = element("button", "twist");
    twist.type = "button";
    if (key !== null) twist.append(element("span", "key", `${key} `));
    twist.append(element("span", "size", size));
    let list = null;
    const unfold = (show) => {
      twist.setAttribute("aria-expanded", String(show));
      if (show && !list) { list = element("ul"); fill(list, entries, 0); item.append(list); }
      if (list) list.hidden = !show;
    };
    twist.addEventListener("click", () => unfold(twist.getAttribute("aria-expanded") !== "true"));
    item.append(twist);
    unfold(open);
    return item;
  };
  for (const box of document.querySelectorAll("[data-json]")) {
    fetch(box.dataset.json, { headers: { Accept: "application/json" } }).then(async (response) => {
      if (!response.ok) throw new Error(response.statusText);
      const root = element("ul");
      root.append(node(null, (await response.json()).data, true));
      box.replaceChildren(root);
    }).catch(() => {
      // What is in the page stays; what is too large for it is not on its way any more.
      if (box.dataset.large !== undefined) box.firstElementChild.textContent = "The document could not be loaded. Open the page again to try once more.";
    });
  }

  const facts = document.querySelector("[data-job]");
  if (!facts || ["completed", "failed"].includes(facts.dataset.state)) return;
  const source = new EventSource(facts.dataset.job.replace(/\/state$/, "/events"));
  source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) source.close(); });
  const look = async () => {
    const response = await fetch(facts.dataset.job, { headers: { Accept: "application/json" } }).catch(() => null);
    if (response?.status === 401) { location.reload(); return; }
    if (!response?.ok) return;
    const { data } = await response.json();
    if (document.querySelector("form[data-busy]")) return;
    if (data.state === "gone") { source.close(); location.assign(facts.dataset.job.replace(/\/job\/.*$/, "")); return; }
    if (data.state !== facts.dataset.state) { location.reload(); return; }
    if (data.progress === null) return;
    document.querySelector("[data-progress]").hidden = false;
    document.querySelector("[data-progress-text]").textContent = JSON.stringify(data.progress, null, 2);
  };
  for (const name of ["active", "completed", "failed", "delayed", "waiting", "removed"]) source.addEventListener(name, look);
  setInterval(look, 2000);
})();
