// Who speaks when: the reference's lanes and each diarizer's, over the session's time.
"use strict";
(async () => {
  const make = mlcslm.make;
  const [split, recording, zoom, lanes, text] = ["split", "recording", "zoom", "lanes", "turn"].map((id) => document.getElementById(id));
  const splits = await mlcslm.load("timelines");
  const names = Object.keys(splits);
  let session = null;

  const offer = (element, values) => element.replaceChildren(...values.map((value) => make("option", { value }, value)));
  const seconds = (time) => `${time.toFixed(2)} s`;

  const choose = (button, { speaker, start, end, words, source }) => {
    lanes.querySelector(".chosen")?.classList.remove("chosen");
    button.classList.add("chosen");
    const parts = [make("b", {}, mlcslm.text(source)), ` ${speaker} · ${seconds(start)} to ${seconds(end)} `];
    if (words !== null) parts.push(mlcslm.transcript(words));
    text.replaceChildren(...parts);
    if (session.audio) mlcslm.play(session.audio, start, end);
    else text.append(make("span", { className: "muted" }, " (no audio in this report)"));
  };

  const lane = (source, { speaker, colour, turns }, scale) => {
    const track = make("div", { className: "track", style: { width: `${session.duration * scale}px` } });
    for (const [start, end, words] of turns) {
      const button = make("button", {
        type: "button", className: "turn", tabIndex: -1, title: `${speaker} ${seconds(start)} to ${seconds(end)}`,
        attributes: { "aria-label": `${source}, ${speaker}, ${seconds(start)} to ${seconds(end)}` },
        style: { left: `${start * scale}px`, width: `${Math.max(2, (end - start) * scale - 1)}px`, "--colour": colour },
        onclick: (event) => choose(event.currentTarget, { speaker, start, end, words, source }),
      });
      track.append(button);
    }
    return make("div", { className: "lane" }, make("span", { className: "name" }, mlcslm.text(speaker)), track);
  };

  const draw = () => {
    const scale = Number(zoom.value);
    const step = [1, 2, 5, 10, 20, 30, 60].find((one) => one * scale >= 60) ?? 60;
    const marks = make("div", { className: "track marks", style: { width: `${session.duration * scale}px` } });
    for (let time = 0; time < session.duration; time += step) {
      marks.append(make("span", { style: { left: `${time * scale}px` } }, mlcslm.clock(time).replace(/\.0$/, "")));
    }
    lanes.replaceChildren(
      ...session.sources.map(({ name, note, lanes: speakers }) => make("section", {},
        make("h3", {}, mlcslm.text(name), make("span", { className: "muted" }, ` ${note}`)), ...speakers.map((one) => lane(name, one, scale)))),
      make("div", { className: "lane" }, make("span", { className: "name" }), marks),
      make("div", { className: "head-line", id: "playhead", hidden: true }));
    text.replaceChildren();
  };

  const show = async () => {
    const found = splits[split.value];
    const number = found.recordings.indexOf(recording.value);
    session = await mlcslm.load(`${split.value}/timelines/${number}`);
    zoom.value = Math.max(12, (lanes.clientWidth - 64) / session.duration);
    draw();
    try { history.replaceState(null, "", `#${new URLSearchParams({ split: split.value, session: recording.value })}`); } catch { /* see utterances.js */ }
    lanes.dataset.ready = recording.value;
  };
  const offerRecordings = () => { offer(recording, splits[split.value].recordings); };

  const requested = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  offer(split, names);
  if (names.includes(requested.split)) split.value = requested.split;
  offerRecordings();
  if (splits[split.value].recordings.includes(requested.session)) recording.value = requested.session;
  split.addEventListener("change", () => { offerRecordings(); show(); });
  recording.addEventListener("change", show);
  zoom.addEventListener("input", draw);

  lanes.addEventListener("keydown", (event) => {
    const turns = [...lanes.querySelectorAll(".turn")];
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by && turns.length) {
      const place = turns.indexOf(document.activeElement);
      turns[Math.min(Math.max(place + by, 0), turns.length - 1)].focus();
    } else if (["ArrowUp", "ArrowDown"].includes(event.key)) {
      const rows = [...lanes.querySelectorAll(".track:not(.marks)")];
      const row = rows.indexOf(document.activeElement.closest(".track"));
      const next = rows[row + (event.key === "ArrowDown" ? 1 : -1)];
      const left = parseFloat(document.activeElement.style.left) || 0;
      const near = next && [...next.children].sort((a, b) => Math.abs(parseFloat(a.style.left) - left) - Math.abs(parseFloat(b.style.left) - left))[0];
      near?.focus();
    } else return;
    event.preventDefault();
  });
  document.addEventListener("playing", ({ detail }) => {
    const line = document.getElementById("playhead");
    if (!line || !detail) return;
    line.hidden = !detail.on;
    line.style.setProperty("--at", `${detail.time * Number(zoom.value)}px`);
  });
  if (names.length) show();
})();
