// The error browser: connects filters, list and utterance, and handles the keyboard.
"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const { filters, list, detail } = mlcslm;
  let data = null, state = {}, selected = null, turn = 0, requested = 0, fresh = true;

  const splits = await mlcslm.load("splits");
  const systems = () => splits[state.split].systems;
  const numberOf = (name) => systems().findIndex((system) => system.name === name);
  const chosenSystems = () => [state.a, state.b].filter(Boolean);

  const remember = () => {
    const address = new URLSearchParams({ ...state, ...(selected === null ? {} : { id: data.index.ids[selected] }) });
    try { history.replaceState(null, "", `#${address}`); } catch { /* not allowed for pages on disk in every browser */ }
  };

  const pooled = (answers, chosen) => {
    let errors = 0, length = 0;
    for (const u of chosen) { errors += answers.errors[u]; length += answers.length[u]; }
    return `${mlcslm.percent(errors, length)} (${errors.toLocaleString("en")}/${length.toLocaleString("en")})`;
  };

  /** Result of the paired comparison of the two systems: for the group, or for the whole split and the mean of groups. */
  const comparison = async () => {
    const [a, b] = [numberOf(state.a), numberOf(state.b)];
    const rows = await mlcslm.load(`${state.split}/comparisons`);
    return (state.group ? [state.group] : ["all", "mean of groups"]).map((group) => {
      const row = rows.find((one) => one[2] === group && ((one[0] === a && one[1] === b) || (one[0] === b && one[1] === a)));
      if (!row) return "";
      const turned = row[0] === a ? 1 : -1;
      // No interval for too few sessions.
      const ends = row[4] === null ? [] : [turned * row[4], turned * row[5]].sort((one, other) => one - other);
      const interval = ends.length ? ` [${ends.map((end) => end.toFixed(2)).join(", ")}]` : "";
      return ` · second − first, ${group}: ${(turned * row[3]).toFixed(2)} points${interval}, p = ${row[6].toPrecision(2)}`;
    }).join("");
  };

  const summarise = async (chosen) => {
    const mine = ++turn;
    const parts = [`${chosen.length.toLocaleString("en")} of ${data.index.ids.length.toLocaleString("en")} utterances`,
      ...chosenSystems().map((name, k) => `${name}: ${pooled(k ? data.b : data.a, chosen)}`)];
    at("summary").textContent = parts.join(" · ");
    if (!state.b) return;
    const text = await comparison();
    if (mine === turn) at("summary").textContent += text;
  };

  const show = (u, open = true) => {
    selected = u;
    if (open) detail.open();
    remember();
    return detail.show(data, u, chosenSystems(), chosenSystems().map(numberOf), state.split);
  };

  const refresh = async (id = null) => {
    const mine = ++requested;
    const requestedState = filters.read();
    const load = (name) => mlcslm.load(`${requestedState.split}/${splits[requestedState.split].systems.findIndex((one) => one.name === name)}/answers`);
    const [index, a, b] = await Promise.all([
      mlcslm.load(`${requestedState.split}/utterances`), load(requestedState.a), requestedState.b ? load(requestedState.b) : null]);
    if (mine !== requested) return;  // superseded by a later request
    const kept = id ?? (selected === null || !data ? null : data.index.ids[selected]);
    if (fresh || data.index !== index) {
      fresh = false;
      filters.offerGroups(index.groups, filters.fromAddress().group);
      selected = null;
    }
    state = filters.read();
    data = { index, a, b, unit: (u) => index.groups[index.sessions[index.session[u]][1]][1] };
    const place = kept === null ? -1 : index.ids.indexOf(kept);
    at("change-label").hidden = !b;
    const { chosen, counts } = filters.choose(data, state);
    filters.showCounts(counts);
    list.show(data, chosen, place);
    summarise(chosen);
    if (place >= 0) await show(place, id !== null);
    else { selected = null; detail.clear(); remember(); }
    document.body.dataset.ready = String(Number(document.body.dataset.ready || 0) + 1);
  };
  const failed = (error) => { at("summary").textContent = error.message; };
  const again = (id = null) => refresh(id).catch(failed);

  const begin = () => {
    const state = filters.fromAddress();
    filters.offer(splits, state);
    fresh = true;
    return again(state.id ?? null);
  };
  list.start((u) => show(u).catch(failed));
  detail.start((u) => { list.show(data, filters.choose(data, state).chosen, u); show(u).catch(failed); });

  let typing = 0;
  at("filters").addEventListener("input", (event) => {
    clearTimeout(typing);
    if (event.target.id === "split") { const { flags, ...kept } = filters.read(); filters.offer(splits, { ...kept, flags }); }
    const wait = event.target.type === "search" || event.target.type === "number" ? 120 : 0;
    typing = setTimeout(again, wait);
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  at("clear").addEventListener("click", () => { filters.clear(); again(); });
  at("help").addEventListener("click", () => at("keys").showModal());
  addEventListener("hashchange", begin);

  const swap = () => {
    if (!state.b) return;
    [at("system-a").value, at("system-b").value] = [state.b, state.a];
    again();
  };
  const keys = {
    j: () => list.move(1), k: () => list.move(-1), ArrowDown: () => list.move(1), ArrowUp: () => list.move(-1),
    PageDown: () => list.move(list.page()), PageUp: () => list.move(-list.page()), Home: () => list.to(0), End: () => list.to(-1),
    " ": () => detail.play(), p: () => detail.play(), c: () => detail.play(true), s: swap, "/": () => at("search").focus(),
    "?": () => at("keys").showModal(), Enter: () => { detail.open(); at("detail").querySelector(".play")?.focus(); },
    Escape: () => detail.close(),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || at("keys").open) return;
    const typed = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && typed) { list.focus(); return; }
    const within = event.target.closest("button, a, summary, li, input");
    if (typed || !keys[event.key] || (within && [" ", "Enter"].includes(event.key))) return;
    event.preventDefault();
    keys[event.key]();
  });
  begin();
})();
