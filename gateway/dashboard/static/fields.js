// Forms with data-fields: sent as JSON, what is wrong stands beside its field, secrets are shown
// once. The name of an input is a JSON pointer into the body ("/rate/max"), or a plain member.
"use strict";
(() => {
  const { note, confirmed, signInAgain } = window.credstream;
  const $ = (selector, from = document) => from.querySelector(selector);
  const pathOf = (name) => (name.startsWith("/") ? name.slice(1).split("/") : [name])
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  const pointerOf = ({ name, dataset }) => dataset.pointer ?? (name.startsWith("/") ? name : `/${name}`);

  // ---- the body
  const valueOf = (input) => {
    if (input.type === "checkbox") return input.checked;
    if (input.dataset.null !== undefined && input.value === "null") return null;
    if (input.type === "date") return input.value === "" ? undefined : input.valueAsNumber;
    if (input.value === "") return undefined;
    return input.type === "number" || input.dataset.type === "number" ? Number(input.value) : input.value;
  };
  const put = (body, name, value, grows) => {
    const path = pathOf(name), last = path.pop();
    // Objects without a prototype: "__proto__" is a member like any other.
    const place = path.reduce((at, part) => (at[part] ??= Object.create(null)), body);
    if (grows) (place[last] ??= []).push(value); else place[last] = value;
  };
  const bodyOf = (form) => {
    const body = Object.create(null);
    for (const input of form.elements) {
      if (!input.name || input.disabled) continue;
      if (input.dataset.list !== undefined) {
        if (input.checked) put(body, input.name, input.value, true);
        continue;
      }
      const value = valueOf(input);
      if (value !== undefined) put(body, input.name, value, false);
    }
    return body;
  };

  // ---- faults
  const clear = (form) => {
    for (const fault of form.querySelectorAll(".fault")) fault.remove();
    for (const input of form.querySelectorAll("[aria-invalid]")) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-describedby");
      if (input.dataset.hint) input.setAttribute("aria-describedby", input.dataset.hint);
    }
  };
  const inputFor = (form, pointer) => {
    const named = [...form.elements].filter((input) => input.name && input.type !== "hidden");
    const holds = (input) => pointer === pointerOf(input) || pointer.startsWith(`${pointerOf(input)}/`);
    return named.filter(holds).sort((a, b) => pointerOf(b).length - pointerOf(a).length)[0];
  };
  let count = 0;
  const beside = (input, text) => {
    const fault = document.createElement("p");
    fault.className = "fault";
    fault.id = `fault-${++count}`;
    fault.textContent = text;
    (input.closest(".field, fieldset") ?? input.parentElement).append(fault);
    input.setAttribute("aria-invalid", "true");
    const described = [input.getAttribute("aria-describedby"), fault.id].filter(Boolean).join(" ");
    input.setAttribute("aria-describedby", described);
    for (let at = input.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
  };
  const show = (form, answer, status) => {
    const rest = [];
    let first = null;
    for (const { pointer, detail } of answer.errors ?? []) {
      const input = inputFor(form, pointer);
      if (!input) { rest.push(`${pointer} ${detail}`.trim()); continue; }
      const inside = pointer.slice(pointerOf(input).length);
      beside(input, inside ? `${inside} ${detail}` : detail);
      first ??= input;
    }
    const said = answer.detail ?? answer.title ?? `The gateway answered ${status}.`;
    if (rest.length || !first) note([said, ...rest].join("\n"), true);
    first?.focus();
  };

  // ---- what is shown once
  const reveal = (secret, next) => {
    const dialog = $("#reveal");
    $("#reveal-title").textContent = secret.title;
    $("#reveal-text").textContent = secret.text;
    const list = $("#reveal-values");
    list.replaceChildren();
    for (const { label, value } of secret.values) {
      const field = $("#reveal-value").content.cloneNode(true);
      const input = $("input", field), button = $("button", field), id = `reveal-${++count}`;
      $("label", field).textContent = label;
      $("label", field).htmlFor = id;
      input.id = id;
      input.value = value;
      button.addEventListener("click", async () => {
        input.select();
        try { await navigator.clipboard.writeText(value); button.textContent = "Copied"; } catch { /* it is selected: Ctrl-C */ }
      });
      list.append(field);
    }
    // A slip of the Escape key must not lose what nobody can show again.
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => { list.replaceChildren(); go(next); }, { once: true });
    dialog.showModal();
    $("input", list)?.select();
  };
  const go = (next) => {
    const here = location.pathname + location.search;
    if (next === here || next === ".") location.reload(); else location.assign(next);
  };

  // ---- sending
  const send = async (form) => {
    clear(form);
    const button = $("[type=submit]", form), title = form.dataset.title ?? button.textContent.trim();
    const danger = button.classList.contains("danger");
    if (form.dataset.confirm && !await confirmed(title, form.dataset.confirm, form.dataset.word ?? title, danger)) return;
    let response;
    try {
      response = await fetch(form.getAttribute("action"), {
        method: "POST",
        headers: { "Content-Type": "application/json", Accept: "application/json" },
        body: JSON.stringify(bodyOf(form)),
        credentials: "same-origin",
      });
    } catch {
      note("The gateway cannot be reached. Nothing is known to have been done.", true);
      return;
    }
    const answer = await response.json().catch(() => ({}));
    if (response.status === 401) { signInAgain(form); return; }
    if (!response.ok) { show(form, answer, response.status); return; }
    const { message, location: next, secret } = answer.data ?? {};
    if (secret) { reveal(secret, next || "."); return; }
    if (!next) { note(message); return; }
    try { sessionStorage.setItem("note", message); } catch { /* the page shows what is new */ }
    go(next);
  };
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.dataset.fields === undefined) return;
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = "1";
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-busy", "true");
    try { await send(form); } finally {
      delete form.dataset.busy;
      for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-busy");
    }
  });
  for (const input of document.querySelectorAll("form[data-fields] [aria-describedby]")) {
    input.dataset.hint = input.getAttribute("aria-describedby");
  }
})();
