// Light, dark, or the system's theme; remembered where the browser lets pages on disk store anything.
"use strict";
(() => {
  const key = "mlcslm-theme";
  const names = { "": "◐ auto", light: "☀ light", dark: "☾ dark" };
  const stored = () => { try { return localStorage.getItem(key) || ""; } catch { return ""; } };
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = names[theme];
    document.dispatchEvent(new Event("theme"));
  };
  apply(stored() in names ? stored() : "");
  document.addEventListener("DOMContentLoaded", () => {
    apply(document.documentElement.dataset.theme);
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
    document.getElementById("theme").addEventListener("click", () => {
      const order = Object.keys(names);
      const next = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
      try { localStorage.setItem(key, next); } catch { /* then the choice holds for this page only */ }
      apply(next);
    });
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("theme")));
})();
