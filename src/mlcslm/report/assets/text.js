// Transcripts on the page: always as text, invisible characters named, alignments coloured.
"use strict";
(() => {
  const names = {
    "\u061c": "ALM", "\u200e": "LRM", "\u200f": "RLM", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO",
    "\u202e": "RLO", "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI", "\ufeff": "BOM",
  };
  const control = /([\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff])/;

  /** `text` as nodes. Characters that would change how others are displayed are shown by name. */
  mlcslm.text = (text) => {
    const fragment = document.createDocumentFragment();
    text.split(control).forEach((part, place) => {
      if (place % 2 === 0) { if (part) fragment.append(part); return; }
      const code = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      fragment.append(mlcslm.make("span", { className: "control", title: code }, names[part] || code));
    });
    return fragment;
  };

  /** A transcript with a direction of its own. */
  mlcslm.transcript = (text, className = "") => mlcslm.make("bdi", { className, dir: "auto" }, mlcslm.text(text));

  /** [step, reference's unit, hypothesis's unit] of an alignment; steps are = S D I. */
  mlcslm.pairs = (steps, reference, hypothesis) => {
    const meant = reference ? reference.split(" ") : [];
    const heard = hypothesis ? hypothesis.split(" ") : [];
    let i = 0, j = 0;
    return [...steps].map((step) => [step, step === "I" ? "" : meant[i++], step === "D" ? "" : heard[j++]]);
  };

  const kinds = { S: ["sub", "substitution"], D: ["del", "deletion"], I: ["ins", "insertion"] };

  /** Merges adjacent pairs of the same step: in scripts without spaces, marks belong to the letter before them. */
  const joined = (pairs, alike) => pairs.reduce((runs, [step, meant, heard]) => {
    const last = runs.at(-1);
    if (last && last[0] === step && alike(step, meant, heard)) { last[1] += meant; last[2] += heard; } else runs.push([step, meant, heard]);
    return runs;
  }, []);
  const isMark = (step, meant, heard) => step === "=" || /^\p{M}/u.test(meant) || /^\p{M}/u.test(heard);

  /** An answer on one line: errors coloured, deletions struck through. */
  mlcslm.inline = (pairs, unit, most = Infinity) => {
    const line = mlcslm.make("bdi", { dir: "auto", className: "inline" });
    const some = pairs.slice(0, most);
    (unit === "word" ? some : joined(some, () => true)).forEach(([step, meant, heard], place) => {
      if (place && unit === "word") line.append(" ");
      if (step === "=") { line.append(mlcslm.text(heard)); return; }
      const [className, name] = kinds[step];
      const title = step === "S" ? `${name}; reference: ${meant}` : name;
      line.append(mlcslm.make("bdi", { className, title }, mlcslm.text(step === "D" ? meant : heard)));
    });
    if (pairs.length > most) line.append(" …");
    return line;
  };

  /** Reference above answer, unit by unit. */
  mlcslm.stacked = (pairs, unit) => {
    const block = mlcslm.make("div", { className: "stacked", dir: "auto" });
    for (const [step, meant, heard] of unit === "word" ? pairs : joined(pairs, isMark)) {
      const className = step === "=" ? "unit" : `unit ${kinds[step][0]}`;
      block.append(mlcslm.make("span", { className, title: step === "=" ? "" : kinds[step][1] },
        mlcslm.make("bdi", {}, meant ? mlcslm.text(meant) : "∅"), mlcslm.make("bdi", {}, heard ? mlcslm.text(heard) : "∅")));
    }
    return block;
  };
})();
