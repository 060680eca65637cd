// One player per page, which plays one section of a session's audio at a time.
"use strict";
(() => {
  const audio = mlcslm.make("audio", { preload: "auto", id: "audio" });
  document.addEventListener("DOMContentLoaded", () => document.body.append(audio));
  if (document.body) document.body.append(audio);
  let stretch = null;

  const tell = () => document.dispatchEvent(new CustomEvent("playing", {
    detail: stretch && { ...stretch, time: audio.currentTime, on: !audio.paused },
  }));
  const follow = () => {
    if (!stretch || audio.paused) { tell(); return; }
    if (audio.currentTime >= stretch.end) { audio.pause(); audio.currentTime = stretch.end; }
    tell();
    requestAnimationFrame(follow);
  };

  /** Play `source` from `start` to `end` (seconds), or stop if exactly that is playing. */
  mlcslm.play = async (source, start, end) => {
    const same = stretch && stretch.source === source && stretch.start === start && stretch.end === end;
    if (same && !audio.paused) { audio.pause(); tell(); return; }
    if (!stretch || stretch.source !== source) audio.src = source;
    stretch = { source, start, end };
    const set = () => { audio.currentTime = start; return audio.play(); };
    try {
      if (audio.readyState === 0) await new Promise((resolve, reject) => {
        audio.onloadedmetadata = resolve;
        audio.onerror = () => reject(audio.error);
      });
      await set();
      follow();
    } catch (error) {
      if (error.name !== "AbortError") document.dispatchEvent(new CustomEvent("playing", { detail: { ...stretch, fault: true } }));
    }
  };
  mlcslm.stop = () => { audio.pause(); tell(); };
})();
