// The page on words: how often each is wrong, and what is heard instead, in two systems.
"use strict";
(async () => {
  const at = (id) => document.getElementById(id);
  const MOST = 200;
  const orders = {
    most: "most often wrong", change: "largest change", better: "better in B", worse: "worse in B", rate: "highest rate",
    frequent: "most frequent",
  };
  const controls = { split: "split", a: "system-a", b: "system-b", group: "group", order: "order", least: "least", text: "search" };
  const splits = await mlcslm.load("splits");
  let requested = 0;

  const fill = (id, options, value) => {
    at(id).replaceChildren(...options.map(([name, text]) => mlcslm.make("option", { value: name }, text)));
    at(id).value = options.some(([name]) => name === value) ? value : options[0][0];
  };
  const systems = () => splits[at("split").value].systems;
  const offerSystems = (state) => {
    const named = systems().map(({ name, wer }) => [name, wer === null ? name : `${name} · ${wer.toFixed(2)} %`]);
    const ranked = [...systems()].sort((one, other) => (one.wer ?? Infinity) - (other.wer ?? Infinity));
    const known = (name) => systems().some((system) => system.name === name);
    fill("system-a", named, known(state.a) ? state.a : (ranked[1] || ranked[0]).name);
    fill("system-b", [["", "none"], ...named], known(state.b) || state.b === "" ? state.b : ranked[1] ? ranked[0].name : "");
  };
  const read = () => Object.fromEntries(Object.entries(controls).map(([key, id]) => [key, at(id).value]));
  const number = (name) => systems().findIndex((system) => system.name === name);

  const link = (state, group, text) => `utterances.html#${new URLSearchParams(
    { split: state.split, a: state.a, ...(state.b ? { b: state.b } : {}), group, text })}`;
  const cell = (text, className = "number") => mlcslm.make("td", { className }, text);
  const change = (value) => cell(value === null ? "" : `${value > 0 ? "+" : ""}${value.toLocaleString("en")}`,
    `number ${value < 0 ? "better" : value > 0 ? "worse" : ""}`);
  const token = (text) => mlcslm.make("bdi", { dir: "auto" }, text === null ? "∅" : mlcslm.text(text));

  const table = (id, heads, rows, total) => {
    const head = mlcslm.make("tr", {}, ...heads.filter(Boolean).map(([text, className = "number"]) =>
      mlcslm.make("th", { className, attributes: { scope: "col" } }, text)));
    at(id).replaceChildren(rows.length
      ? mlcslm.make("table", {}, mlcslm.make("thead", {}, head), mlcslm.make("tbody", {}, ...rows))
      : mlcslm.make("p", {}, "None."));
    if (total > rows.length) at(id).append(mlcslm.make("p", {}, `${rows.length} of ${total.toLocaleString("en")}; the database has all`));
  };

  const sorted = (rows, order) => {
    const key = {
      most: (row) => -Math.max(row.a, row.b ?? 0), change: (row) => -Math.abs((row.b ?? row.a) - row.a),
      better: (row) => (row.b ?? row.a) - row.a, worse: (row) => row.a - (row.b ?? row.a),
      rate: (row) => -Math.max(row.a, row.b ?? 0) / (row.n || 1), frequent: (row) => -(row.n || 0),
    }[order];
    return rows.sort((one, other) => key(one) - key(other) || (other.n || 0) - (one.n || 0));
  };

  const showWords = (state, index, a, b, group) => {
    const sought = state.text.toLowerCase(), least = Number(state.least || 1);
    const rows = [];
    index.word.forEach((word, w) => {
      const [first, second] = [a.wrong[w], b ? b.wrong[w] : null];
      if (!first && !second) return;
      if (group >= 0 && index.group[w] !== group) return;
      if (index.occurrences[w] < least || (sought && !word.toLowerCase().includes(sought))) return;
      rows.push({ word, group: index.groups[index.group[w]], n: index.occurrences[w], a: first, b: second });
    });
    const share = (count, n) => `${count.toLocaleString("en")} (${(100 * count / n).toFixed(0)} %)`;
    const several = group < 0 && index.groups.length > 1;
    table("words", [["word", ""], several && ["group", ""], ["occurs"], ["wrong in A"], b && ["in B"], b && ["B − A"]],
      sorted(rows, state.order).slice(0, MOST).map((row) => mlcslm.make("tr", {},
        mlcslm.make("td", {}, mlcslm.make("a", { href: link(state, row.group, row.word) }, token(row.word))),
        several ? cell(row.group, "") : null, cell(row.n.toLocaleString("en")), cell(share(row.a, row.n)),
        b ? cell(share(row.b, row.n)) : null, b ? change(row.b - row.a) : null)), rows.length);
    return rows.length;
  };

  const showConfusions = (state, index, a, b, group) => {
    const sought = state.text.toLowerCase(), found = new Map();
    for (const [side, pairs] of [["a", a.confusions], ["b", b ? b.confusions : []]]) {
      for (const [g, meant, heard, count] of pairs) {
        if (group >= 0 && g !== group) continue;
        if (sought && ![meant, heard].some((text) => text !== null && text.toLowerCase().includes(sought))) continue;
        const key = JSON.stringify([g, meant, heard]);
        if (!found.has(key)) found.set(key, { meant, heard, group: index.groups[g], a: 0, b: b ? 0 : null });
        found.get(key)[side] += count;
      }
    }
    const rows = sorted([...found.values()], state.order);
    const several = group < 0 && index.groups.length > 1;
    table("confusions", [["reference", ""], ["heard as", ""], several && ["group", ""], ["in A"], b && ["in B"], b && ["B − A"]],
      rows.slice(0, MOST).map((row) => mlcslm.make("tr", {},
        mlcslm.make("td", {}, token(row.meant)), mlcslm.make("td", {}, token(row.heard)),
        several ? cell(row.group, "") : null, cell(row.a.toLocaleString("en")),
        b ? cell(row.b.toLocaleString("en")) : null, b ? change(row.b - row.a) : null)), rows.length);
  };

  const refresh = async () => {
    const mine = ++requested, state = read();
    const load = (name) => mlcslm.load(`${state.split}/${number(name)}/words`);
    const [index, a, b] = await Promise.all([mlcslm.load(`${state.split}/words`), load(state.a), state.b ? load(state.b) : null]);
    if (mine !== requested) return;
    fill("group", [["", "all"], ...index.groups.map((name) => [name, name])], state.group);
    const group = index.groups.indexOf(at("group").value);
    const count = showWords(state, index, a, b, group);
    showConfusions(state, index, a, b, group);
    at("summary").textContent = `${count.toLocaleString("en")} words with errors · A: ${state.a}${state.b ? ` · B: ${state.b}` : ""}`;
    const address = new URLSearchParams(Object.entries(read()).filter(([key, value]) => value || key === "b"));
    try { history.replaceState(null, "", `#${address}`); } catch { /* not allowed for pages on disk in every browser */ }
    document.body.dataset.ready = String(mine);
  };

  const failed = (error) => { at("summary").textContent = error.message; };
  const again = () => refresh().catch(failed);

  const start = () => {
    const state = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    fill("split", Object.keys(splits).map((name) => [name, name]), state.split);
    offerSystems(state);
    fill("group", [["", "all"], ...(state.group ? [[state.group, state.group]] : [])], state.group);
    fill("order", Object.entries(orders), state.order);
    for (const key of ["least", "text"]) at(controls[key]).value = state[key] || "";
    return again();
  };
  at("choice").addEventListener("submit", (event) => event.preventDefault());
  at("split").addEventListener("change", () => { offerSystems(read()); again(); });
  for (const id of ["system-a", "system-b", "group", "order"]) at(id).addEventListener("change", again);
  for (const id of ["least", "search"]) at(id).addEventListener("input", again);
  addEventListener("hashchange", start);
  start();
})();
