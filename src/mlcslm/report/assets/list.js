// The list of utterances. Only visible rows exist: a split has tens of thousands.
"use strict";
(() => {
  const MARGIN = 8, MOST_UNITS = 60;
  let box, rows, chosen = [], data = null, place = -1, height = 58, onSelect = () => {};

  const badge = (answers, u) => mlcslm.make("span", { className: `badge ${answers.errors[u] ? "wrong" : "right"}`,
    title: `Errors: ${answers.errors[u]} in ${answers.length[u]} reference tokens` }, `${answers.errors[u]}/${answers.length[u]}`);

  mlcslm.flagNames = (bits) => [...document.querySelectorAll("#flags .chip")]
    .filter((_, bit) => (bits >> bit) & 1).map((chip) => [chip.querySelector("span").textContent, chip.title]);

  const line = (answers, u) => mlcslm.make("div", { className: "line" }, badge(answers, u), mlcslm.inline(
    mlcslm.pairs(answers.steps[u], data.index.tokens[u], answers.tokens[u]), data.unit(u), MOST_UNITS));

  const row = (number) => {
    const u = chosen[number];
    const head = mlcslm.make("div", { className: "head" },
      mlcslm.make("span", { className: "group" }, data.index.groups[data.index.sessions[data.index.session[u]][1]][0]),
      mlcslm.make("span", { className: "id" }, mlcslm.text(data.index.ids[u])),
      ...mlcslm.flagNames(data.a.flags[u]).map(([name, title]) => mlcslm.make("span", { className: "flag", title }, name)));
    return mlcslm.make("div", {
      className: number === place ? "row selected" : "row", id: `row-${number}`, style: { top: `${number * height}px`, height: `${height}px` },
      attributes: { role: "option", "aria-selected": number === place, "aria-setsize": chosen.length, "aria-posinset": number + 1 },
      onclick: () => select(number),
    }, head, line(data.a, u), data.b ? line(data.b, u) : null);
  };

  const draw = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / height) - MARGIN);
    const last = Math.min(chosen.length, Math.ceil((box.scrollTop + box.clientHeight) / height) + MARGIN);
    rows.replaceChildren(...Array.from({ length: Math.max(0, last - first) }, (_, k) => row(first + k)));
    if (place >= first && place < last) box.setAttribute("aria-activedescendant", `row-${place}`);
    else box.removeAttribute("aria-activedescendant");
  };

  const select = (number, tell = true) => {
    if (!chosen.length) return;
    place = Math.min(Math.max(number, 0), chosen.length - 1);
    const top = place * height;
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + height > box.scrollTop + box.clientHeight) box.scrollTop = top + height - box.clientHeight;
    draw();
    if (tell) onSelect(chosen[place]);
  };

  const list = mlcslm.list = {};
  list.start = (whenSelected) => {
    [box, rows, onSelect] = [document.getElementById("list"), document.getElementById("rows"), whenSelected];
    let waiting = false;
    box.addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    });
    new ResizeObserver(() => data && draw()).observe(box);
  };
  /** Show these utterances; the one numbered `u` is selected if it is among them, else none. */
  list.show = (shownData, numbers, u) => {
    [data, chosen] = [shownData, numbers];
    height = data.b ? 84 : 58;
    rows.style.height = `${chosen.length * height}px`;
    place = chosen.indexOf(u);
    if (place < 0) { box.scrollTop = 0; draw(); } else select(place, false);
    rows.classList.toggle("none", chosen.length === 0);
  };
  list.move = (by) => select(place < 0 ? 0 : place + by);
  list.to = (number) => select(number < 0 ? chosen.length - 1 : number);
  list.page = () => Math.max(1, Math.floor(box.clientHeight / height) - 1);
  list.focus = () => box.focus();
})();
