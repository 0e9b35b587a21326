// What every page does: the menu, the theme, forms that act, confirmations, notes, shortcuts.
"use strict";
(() => {
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

  // ---- theme and menu
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  $("[data-theme-toggle]")?.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* not remembered */ }
    document.dispatchEvent(new Event("themechange"));
  });
  const menu = $(".menu"), nav = $("#nav");
  const openMenu = (open) => {
    nav.classList.toggle("open", open);
    menu.setAttribute("aria-expanded", String(open));
    if (open) $("a", nav).focus();
  };
  menu?.addEventListener("click", () => openMenu(!nav.classList.contains("open")));
  for (const kind of ["click", "focusin"]) {
    document.addEventListener(kind, ({ target }) => {
      if (nav?.classList.contains("open") && $("main").contains(target)) openMenu(false);
    });
  }

  // ---- notes: what came of an action
  const note = (text, bad = false) => {
    for (const old of $$(".note")) if (old.firstChild.data === text) old.remove();
    const box = document.createElement("div");
    box.className = bad ? "note bad" : "note";
    box.append(text);
    const close = document.createElement("button");
    close.type = "button";
    close.setAttribute("aria-label", "Dismiss");
    close.append("✕");
    close.addEventListener("click", () => box.remove());
    box.append(close);
    $("#notes").append(box);
    if (!bad) setTimeout(() => box.remove(), 6000);
  };
  try {
    const kept = sessionStorage.getItem("note");
    if (kept) { sessionStorage.removeItem("note"); note(kept); }
  } catch { /* storage is off: the page itself shows what is new */ }

  // ---- confirmation: what it ends for good looks like it
  const confirmed = (title, text, word, danger = false) => new Promise((resolve) => {
    const dialog = $("#confirm");
    $("#confirm-title").textContent = title;
    $("#confirm-text").textContent = text;
    $("#confirm-yes").textContent = word;
    $("#confirm-yes").className = danger ? "button danger" : "button primary";
    dialog.returnValue = "no";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.showModal();
  });

  // ---- a session that ended: whoever signs people in leads back here, and what was filled in is
  // there again, for the same person and in this tab only. Passwords are not kept.
  const WHO = $(".who")?.textContent;
  const signInAgain = (form) => {
    const fields = [...form?.elements ?? []].filter(({ name, type }) => name && !["hidden", "password", "file"].includes(type));
    const values = fields.map((one) => [one.name, one.type === "checkbox" ? one.value : null, one.type === "checkbox" ? one.checked : one.value]);
    try {
      sessionStorage.setItem("note", "The session had ended. Nothing was done.");
      if (values.length) sessionStorage.setItem("form", JSON.stringify({ at: location.pathname, who: WHO, action: form.getAttribute("action"), values }));
    } catch { /* storage is off, or the form is larger than it */ }
    location.reload();
  };
  const fillAgain = () => {
    const kept = JSON.parse(sessionStorage.getItem("form") ?? "null");
    if (!kept || kept.at !== location.pathname) return;
    sessionStorage.removeItem("form");
    const form = kept.who === WHO && $$("main form").find((one) => one.getAttribute("action") === kept.action);
    if (!form) return;
    const rest = [...form.elements];
    for (const [name, box, value] of kept.values) {
      const at = rest.findIndex((one) => one.name === name && one.type !== "hidden" && (box === null || one.value === box));
      if (at < 0) continue;
      const [input] = rest.splice(at, 1);
      if (box === null) input.value = value; else input.checked = value;
      for (let up = input.closest("details"); up; up = up.parentElement.closest("details")) if (value) up.open = true;
    }
    form.closest("dialog")?.showModal();
    form.dispatchEvent(new Event("change"));
    note("What you had filled in is here again.");
  };

  // ---- forms with data-act: sent as JSON, answered with {message, location} or a problem
  const valueOf = (input) => {
    if (input.type === "checkbox") return input.checked;
    if (input.value === "" && input.dataset.empty !== "keep") return undefined;
    return input.type === "number" || input.dataset.type === "number" ? Number(input.value) : input.value;
  };
  const bodyOf = (form, button) => {
    const body = {};
    for (const input of form.elements) {
      if (!input.name || input.disabled || input.type === "submit") continue;
      if (input.type === "radio" && !input.checked) continue;
      if (input.dataset.list !== undefined) {
        if (input.checked) (body[input.name] ??= []).push(input.value);
        continue;
      }
      const value = valueOf(input);
      if (value === undefined) continue;
      const [member, inner] = input.name.split(".");
      if (inner) (body[member] ??= {})[inner] = value; else body[member] = value;
    }
    if (button?.name) body[button.name] = button.value;
    return body;
  };
  const send = async (address, body, form) => {
    let response;
    try {
      response = await fetch(address, {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify(body),
        credentials: "same-origin",
      });
    } catch {
      throw new Error("The gateway cannot be reached. Nothing is known to have been done.");
    }
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401 && location.pathname !== "/dashboard/login") {
      signInAgain(form);
      throw new Error("Sign in again.");
    }
    if (!response.ok) {
      const faults = (answer.errors ?? []).map((fault) => `\n${fault.pointer} ${fault.detail}`).join("");
      throw new Error((answer.detail ?? `The gateway answered ${response.status}.`) + faults);
    }
    return answer.data ?? {};
  };
  const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  const act = async (form, button) => {
    const body = bodyOf(form, button);
    const address = button?.getAttribute("formaction") ?? form.getAttribute("action");
    const from = (name) => button?.dataset[name] ?? form.dataset[name];
    const title = from("title") ?? button?.textContent.trim() ?? "Sure?";
    const word = from("word") ?? title, danger = button?.classList.contains("danger");
    if (from("dry") !== undefined) {
      const { count, more } = await send(address, { ...body, dryRun: true }, form);
      if (!count) { note("Nothing matches: there is nothing to do."); return; }
      const text = `${plural(count, "job")}${more ? " (at least)" : ""} ${count === 1 ? "matches" : "match"}. ${from("confirm") ?? ""}`;
      if (!await confirmed(title, text, `${word} ${plural(count, "job")}`, danger)) return;
      body.dryRun = false;
    } else if (from("confirm") && !await confirmed(title, from("confirm"), word, danger)) return;
    const { message, location: next } = await send(address, body, form);
    if (next) {
      try { if (message) sessionStorage.setItem("note", message); } catch { /* as above */ }
      const here = location.pathname + location.search;
      if (next === here || next === ".") location.reload(); else location.assign(next);
      return true;
    }
    if (message) note(message);
    return false;
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.act === undefined) return;
    event.preventDefault();
    const buttons = $$("button", form);
    if (form.dataset.busy) return;
    form.dataset.busy = "1";
    buttons.forEach((one) => { one.setAttribute("aria-busy", "true"); });
    // Busy to the end of the page when it is left: what is live on it must not go elsewhere meanwhile.
    const said = $("[data-said]");
    if (said) said.hidden = true;
    try { if (await act(form, event.submitter)) return; } catch (error) {
      if (said) { said.textContent = error.message; said.hidden = false; $("input:not([type=hidden])", form)?.select(); } else note(error.message, true);
    }
    delete form.dataset.busy;
    buttons.forEach((one) => { one.removeAttribute("aria-busy"); });
  });

  // ---- selections: a box that ticks all, a bar that shows while something is ticked
  for (const form of $$("form[data-selection]")) {
    const boxes = () => $$("input[data-list]", form), all = $("[data-all]", form);
    const show = () => {
      const count = boxes().filter((box) => box.checked).length;
      const every = $("[data-every]", form);
      for (const bar of $$("[data-while-selected]", form)) bar.hidden = !count && !every?.checked;
      for (const text of $$("[data-count]", form)) text.textContent = every?.checked ? "All selected" : `${count} selected`;
      if (all) { all.checked = count > 0 && count === boxes().length; all.indeterminate = count > 0 && !all.checked; }
    };
    form.addEventListener("change", (event) => {
      if (event.target === all) boxes().forEach((box) => { box.checked = all.checked; });
      show();
    });
    show();
  }
  for (const opener of $$("[data-opens]")) {
    opener.addEventListener("click", () => document.getElementById(opener.dataset.opens)?.showModal());
  }
  for (const closer of $$("[data-closes]")) {
    closer.addEventListener("click", () => closer.closest("dialog")?.close());
  }

  for (const select of $$("select[data-submits]")) {
    select.addEventListener("change", () => select.form.requestSubmit());
  }

  // ---- the tab of this page is in sight, however narrow the screen
  for (const tab of $$(".tabs [aria-current]")) {
    const row = tab.parentElement;
    row.scrollLeft = tab.offsetLeft - row.offsetLeft - (row.clientWidth - tab.offsetWidth) / 2;
  }

  // ---- keyboard: / searches, g and a letter goes somewhere, Escape closes the menu
  let waiting = false;
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && nav?.classList.contains("open")) { openMenu(false); menu.focus(); }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, dialog")) return;
    if (event.key === "/") {
      const search = $("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); search.select(); }
    } else if (waiting) {
      waiting = false;
      const target = $$(".nav a").find((link) => link.textContent.trim().toLowerCase().startsWith(event.key));
      target?.click();
    } else if (event.key === "g") {
      waiting = true;
      setTimeout(() => { waiting = false; }, 1200);
    }
  });
  try { fillAgain(); } catch { /* storage is off */ }
  window.credstream = Object.freeze({ send, note, confirmed, signInAgain, isDark });
})();
