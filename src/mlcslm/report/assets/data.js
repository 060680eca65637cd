// Loads data files. They are scripts, since a page on disk may not fetch anything else; each calls mlcslm.put.
"use strict";
const mlcslm = { promises: new Map(), receive: new Map() };

mlcslm.put = (key, text) => mlcslm.receive.get(key)(JSON.parse(text));

/** Value of `data/<key>.js`, a promise; each file is loaded once. */
mlcslm.load = (key) => {
  if (!mlcslm.promises.has(key)) {
    mlcslm.promises.set(key, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      mlcslm.receive.set(key, resolve);
      script.src = `data/${key}.js`;
      script.onload = () => script.remove();
      script.onerror = () => reject(new Error(`data/${key}.js cannot be read; copy the whole folder of the report`));
      document.head.append(script);
    }));
  }
  return mlcslm.promises.get(key);
};

/** An element with properties, attributes (under `attributes`) and children: nodes, or strings, which become text. */
mlcslm.make = (tag, { attributes = {}, style = {}, ...properties } = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  for (const [name, value] of Object.entries(style)) element.style.setProperty(name, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};

mlcslm.percent = (errors, length) => (length ? `${(100 * errors / length).toFixed(2)} %` : "–");
mlcslm.clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
