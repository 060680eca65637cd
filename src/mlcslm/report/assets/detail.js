// One utterance: both answers aligned, their details, and the session around it.
"use strict";
(() => {
  const CHUNK = 512, AROUND = 4;
  const make = mlcslm.make;
  let pane, onSelect = () => {}, shown = 0;

  const playButton = (data, u, label, before = 0, after = 0) => {
    const source = data.index.sessions[data.index.session[u]][2];
    const start = Math.max(0, data.index.start[u] - before), end = data.index.end[u] + after;
    const button = make("button", {
      type: "button", className: "play", disabled: !source, title: source ? `${label} (${(end - start).toFixed(1)} s)` : "no audio in this report",
      attributes: { "data-source": source || "", "data-start": start, "data-end": end, "aria-label": label },
      onclick: (event) => { event.stopPropagation(); mlcslm.play(source, start, end); },
    }, "▶");
    return button;
  };

  const counted = (errors) => (errors === 1 ? "1 error" : `${errors} errors`);
  const facts = (details, answers, u) => {
    const [, , , language, tokens, stop, seconds] = details;
    const kinds = { S: 0, D: 0, I: 0 };
    for (const step of answers.steps[u]) if (step !== "=") kinds[step] += 1;
    const found = [
      `${counted(answers.errors[u])} in ${answers.length[u]} (${mlcslm.percent(answers.errors[u], answers.length[u])})`,
      `${kinds.S} substituted, ${kinds.D} deleted, ${kinds.I} inserted`,
    ];
    if (answers.first[u] !== null) found.push(`${counted(answers.first[u])} inside <think>`);
    if (language) found.push(language);
    if (tokens !== null) found.push(`${tokens} tokens`, `ended by ${stop}`, `${seconds} s`);
    return make("p", { className: "facts-line" }, found.join(" · "));
  };

  const answer = (data, name, answers, u, details) => {
    const pairs = mlcslm.pairs(answers.steps[u], data.index.tokens[u], answers.tokens[u]);
    const [raw, transcript, think] = details;
    const blocks = [
      make("h3", {}, mlcslm.text(name), ...mlcslm.flagNames(answers.flags[u]).map(
        ([flag, title]) => make("span", { className: "flag", title }, flag))),
      facts(details, answers, u), mlcslm.stacked(pairs, data.unit(u)),
    ];
    if (think) blocks.push(make("h4", {}, "Reasoning"), make("p", { className: "think" }, mlcslm.transcript(think)));
    if (transcript !== null) blocks.push(make("details", {}, make("summary", {}, "as the model wrote it"),
      make("pre", {}, mlcslm.transcript(raw))));
    else blocks.push(make("p", { className: "muted" }, "No answer."));
    return make("article", { className: "answer" }, ...blocks);
  };

  const around = (data, u) => {
    const { index } = data;
    const speakers = index.speakers ??= [...new Set(index.speaker)].sort();
    const rows = [];
    for (let other = u - AROUND; other <= u + AROUND; other++) {
      if (other < 0 || other >= index.ids.length || index.session[other] !== index.session[u]) continue;
      const speaker = speakers.indexOf(index.speaker[other]) % 4;
      rows.push(make("li", {
        className: `speaker-${speaker}${other === u ? " here" : ""}`, tabIndex: 0, attributes: other === u ? { "aria-current": "true" } : {},
        onclick: () => onSelect(other), onkeydown: (event) => { if (event.key === "Enter" && event.target === event.currentTarget) onSelect(other); },
      },
      make("div", { className: "head" }, playButton(data, other, "play"), make("span", {}, `${index.speaker[other]} · ${mlcslm.clock(index.start[other])}`)),
      make("div", { className: "words" }, mlcslm.transcript(index.text[other] || ""),
        mlcslm.inline(mlcslm.pairs(data.a.steps[other], index.tokens[other], data.a.tokens[other]), data.unit(other)))));
    }
    return make("ol", { className: "around" }, ...rows);
  };

  const detail = mlcslm.detail = {};
  detail.start = (whenSelected) => {
    [pane, onSelect] = [document.getElementById("detail"), whenSelected];
    document.addEventListener("playing", ({ detail: now }) => {
      for (const button of document.querySelectorAll("button.play")) {
        const mine = now && now.on && button.dataset.source === now.source && Number(button.dataset.start) === now.start
          && Number(button.dataset.end) === now.end;
        button.classList.toggle("on", Boolean(mine));
        button.textContent = mine ? "■" : "▶";
        button.style.setProperty("--done", mine ? (now.time - now.start) / (now.end - now.start) : 0);
      }
    });
  };
  detail.clear = () => { shown += 1; pane.replaceChildren(make("p", { className: "muted hint" }, "Select an utterance to read, compare and hear it.")); };

  /** Show utterance `u`; names: of the systems, numbers: theirs in the data. */
  detail.show = async (data, u, names, numbers, split) => {
    const mine = ++shown;
    const chunk = Math.floor(u / CHUNK);
    const read = await Promise.all(numbers.map((number) => mlcslm.load(`${split}/${number}/${chunk}`)));
    if (mine !== shown) return;
    const { index } = data;
    const session = index.sessions[index.session[u]];
    const answers = [data.a, data.b].filter(Boolean);
    pane.replaceChildren(
      make("div", { className: "title" },
        make("button", { type: "button", className: "back", onclick: () => detail.close() }, "← list"),
        playButton(data, u, "play the utterance"),
        make("div", {}, make("h2", {}, mlcslm.text(index.ids[u])),
          make("p", { className: "muted" }, mlcslm.text(`${index.groups[session[1]][0]} · session ${session[0]} · ${index.speaker[u]} · ${
            mlcslm.clock(index.start[u])} to ${mlcslm.clock(index.end[u])}`)))),
      make("p", { className: "reference" }, make("span", { className: "muted" }, "reference "), mlcslm.transcript(index.text[u] || "")),
      make("div", { className: "answers" }, ...answers.map((one, k) => answer(data, names[k], one, u, read[k][u % CHUNK]))),
      make("div", { className: "around-head" }, make("h3", {}, "Context"),
        playButton(data, u, "play with five seconds around it", 5, 5)),
      around(data, u));
    pane.scrollTop = 0;
  };
  detail.open = () => document.body.classList.add("reading");
  detail.close = () => { document.body.classList.remove("reading"); mlcslm.list.focus(); };
  detail.play = (wider = false) => pane.querySelector(wider ? ".around-head .play" : ".title .play")?.click();
})();
