// Which utterances are listed: the controls, their state in the page's address, and the selection itself.
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const orders = {
    errors: "most errors first", rate: "highest rate first", change: "largest change first",
    length: "longest first", corpus: "as spoken",
  };
  const controls = {
    split: "split", a: "system-a", b: "system-b", group: "group", from: "errors-from", to: "errors-to", change: "change",
    order: "order", text: "search",
  };
  const flagBoxes = () => [...at("flags").querySelectorAll("input")];

  const fill = (id, options, value) => {
    at(id).replaceChildren(...options.map(([name, text]) => mlcslm.make("option", { value: name }, text)));
    at(id).value = options.some(([name]) => name === value) ? value : options[0][0];
  };

  const filters = mlcslm.filters = { orders };

  /** The state that the page's address holds. */
  filters.fromAddress = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

  /** Offer the splits and a split's systems and groups; keep what `state` names where it is offered. */
  filters.offer = (splits, state) => {
    fill("split", Object.keys(splits).map((name) => [name, name]), state.split);
    const systems = splits[at("split").value].systems;
    const best = systems.reduce((one, other) => (other.wer !== null && other.wer < one.wer ? other : one), systems[0]);
    const named = systems.map(({ name, wer }) => [name, wer === null ? name : `${name} · ${wer.toFixed(2)} %`]);
    fill("system-a", named, state.a in Object.fromEntries(named) ? state.a : best.name);
    fill("system-b", [["", "none"], ...named], state.b || "");
    fill("order", Object.entries(orders), state.order);
    for (const key of ["from", "to", "change", "text"]) at(controls[key]).value = state[key] || "";
    const flags = (state.flags || "").split(".");
    for (const box of flagBoxes()) box.checked = flags.includes(box.value);
  };
  filters.offerGroups = (groups, value) => fill("group", [["", "all"], ...groups.map(([name]) => [name, name])], value || "");

  /** The controls' state, without defaults. */
  filters.read = () => {
    const state = {};
    for (const [key, id] of Object.entries(controls)) if (at(id).value) state[key] = at(id).value;
    const flags = flagBoxes().filter((box) => box.checked).map((box) => box.value);
    if (flags.length) state.flags = flags.join(".");
    if (state.order === "errors") delete state.order;
    if (!state.b) delete state.change;
    return state;
  };
  filters.clear = () => {
    for (const key of ["group", "from", "to", "change", "text"]) at(controls[key]).value = "";
    for (const box of flagBoxes()) box.checked = false;
  };

  const lowered = new WeakMap();
  const haystack = (owner, make) => {
    if (!lowered.has(owner)) lowered.set(owner, make());
    return lowered.get(owner);
  };
  const answersText = (answers) => haystack(answers, () => answers.tokens.map((text) => text.toLowerCase()));
  const indexText = (index) => haystack(index, () => index.ids.map(
    (id, u) => `${id}\n${index.text[u] || ""}\n${index.tokens[u]}`.toLowerCase()));

  const mask = (state) => (state.flags || "").split(".").filter(Boolean).reduce((bits, bit) => bits | (1 << bit), 0);

  /** Numbers of the utterances that `state` selects, in its order, and how many answers have each flag. */
  filters.choose = ({ index, a, b }, state) => {
    const group = index.groups.findIndex(([name]) => name === state.group);
    const from = Number(state.from || 0), to = state.to ? Number(state.to) : Infinity, flags = mask(state);
    const sought = (state.text || "").toLowerCase();
    const texts = sought && [indexText(index), answersText(a), ...(b ? [answersText(b)] : [])];
    const change = { better: (u) => b.errors[u] < a.errors[u], worse: (u) => b.errors[u] > a.errors[u],
      other: (u) => b.tokens[u] !== a.tokens[u] }[b ? state.change : ""];
    const chosen = [], counts = new Array(flagBoxes().length).fill(0);
    for (let u = 0; u < index.ids.length; u++) {
      if (group >= 0 && index.sessions[index.session[u]][1] !== group) continue;
      if (a.errors[u] < from || a.errors[u] > to) continue;
      if (change && !change(u)) continue;
      if (sought && !texts.some((text) => text[u].includes(sought))) continue;
      const bits = b ? a.flags[u] | b.flags[u] : a.flags[u];
      for (let bit = 0; bit < counts.length; bit++) counts[bit] += (bits >> bit) & 1;
      if (!flags || bits & flags) chosen.push(u);
    }
    const key = {
      errors: (u) => -a.errors[u], rate: (u) => -a.errors[u] / Math.max(1, a.length[u]), corpus: (u) => u,
      length: (u) => index.start[u] - index.end[u], change: (u) => (b ? -Math.abs(b.errors[u] - a.errors[u]) : -a.errors[u]),
    }[state.order || "errors"];
    const keys = new Float64Array(index.ids.length);
    for (const u of chosen) keys[u] = key(u);
    chosen.sort((one, other) => keys[one] - keys[other] || one - other);
    return { chosen, counts };
  };

  filters.showCounts = (counts) => flagBoxes().forEach((box, bit) => {
    const chip = box.closest(".chip");
    chip.querySelector("b").textContent = counts[bit].toLocaleString("en");
    chip.classList.toggle("empty", counts[bit] === 0 && !box.checked);
  });
})();
