// A clip's picture with what the controls saw drawn over it, and time: one clock for picture, sound and curves.

import { last } from "./last.js";
import { el } from "./page.js";

function box(g, layer, t, w, h) {
  const row = layer.boxes[last(layer.boxes.map((one) => one[0]), t)];
  if (!row || row[1] === null) { g.font = "13px system-ui"; g.fillStyle = "#f59352"; g.fillText(`${layer.name}: nothing here`, 8, 18); return; }
  for (const [width, colour] of [[3.5, "#000"], [1.8, "#4cf2e0"]]) {
    g.lineWidth = width; g.strokeStyle = colour;
    g.strokeRect(row[1] * w, row[2] * h, (row[3] - row[1]) * w, (row[4] - row[2]) * h);
  }
}

function arrows(g, layer, t, w, h) {
  const grid = layer.vectors[last(layer.times, t)];
  if (!grid) return;
  const [rows, columns] = layer.shape, cell = w / columns;
  for (let i = 0; i < rows * columns; i++) {
    const dx = grid[2 * i], dy = grid[2 * i + 1], speed = Math.hypot(dx, dy);
    if (speed < 0.02) continue;
    const x = (i % columns + .5) * cell, y = (Math.floor(i / columns) + .5) * h / rows, length = cell * Math.min(1.4, .35 + 2 * speed);
    g.lineWidth = 2; g.strokeStyle = `hsl(${Math.atan2(dy, dx) * 180 / Math.PI + 180} 95% 62%)`;
    g.beginPath(); g.moveTo(x, y); g.lineTo(x + dx / speed * length, y + dy / speed * length); g.stroke();
  }
}

export function skeleton(g, row, lines, w, h) {
  const at = (k) => row[2 * k] < 0 && row[2 * k + 1] < 0 ? null : [row[2 * k] * w / 1000, row[2 * k + 1] * h / 1000];
  const many = lines.length > 40;
  g.strokeStyle = "#4cf2e0"; g.fillStyle = "#fff"; g.lineWidth = many ? 1 : 2.2;
  g.beginPath();
  for (const [a, b] of lines) { const p = at(a), q = at(b); if (p && q) { g.moveTo(...p); g.lineTo(...q); } }
  g.stroke();
  if (!many) for (let k = 0; k < row.length / 2; k++) { const p = at(k); if (p) { g.beginPath(); g.arc(p[0], p[1], 3.2, 0, 7); g.fill(); } }
}

function flash(g, times, t, x, y, radius, colour) {
  const k = last(times, t + .02), lit = k >= 0 && t - times[k] < .12;
  g.beginPath(); g.arc(x, y, radius, 0, 7); g.lineWidth = 4; g.strokeStyle = "#000"; g.stroke();
  g.lineWidth = 2; g.strokeStyle = g.fillStyle = colour; g.stroke(); if (lit) g.fill();
}

function draw(g, layer, t, w, h) {
  if (layer.vectors) arrows(g, layer, t, w, h);
  if (layer.boxes) box(g, layer, t, w, h);
  if (layer.points) { const row = layer.points[last(layer.pointTimes, t)]; if (row) skeleton(g, row, layer.lines, w, h); }
  if (layer.events) flash(g, layer.events, t, w - 22, 22, 11, "#f59352");
  if (layer.beats) flash(g, layer.beats, t, w - 22, 52, 8, "#ffd640");
}

// The stage of a clip. `set({ picture, look })` shows one; `sound(url)` chooses what is heard with it (null: nothing).
export function stage() {
  const video = el("video", { playsinline: true, muted: true, preload: "auto", "aria-label": "The clip" });
  video.muted = true;
  const canvas = el("canvas", { "aria-hidden": "true" }), audio = el("audio", { preload: "auto" });
  const seek = el("input", { type: "range", min: "0", max: "1", step: "0.02", value: "0", "aria-label": "Time" });
  const now = el("output", {}, "0.0 s"), layers = el("div", { class: "layers" });
  const play = el("button", { type: "button", class: "play", "aria-label": "Play" }, el("span", { "aria-hidden": "true" }, "▶"));
  const node = el("div", { class: "stage" }, el("div", { class: "screen" }, video, canvas),
    el("div", { class: "transport" }, play, seek, now), layers, audio);
  const moved = new Set();
  let look = null, shown = [], duration = 1, heard = false;

  function paint() {
    const t = video.currentTime, ratio = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    canvas.width = Math.round(w * ratio); canvas.height = Math.round(h * ratio);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0); g.clearRect(0, 0, w, h);
    for (const layer of shown) draw(g, layer, t, w, h);
    seek.value = t; now.textContent = `${t.toFixed(1)} s`;
    for (const listener of moved) listener(t / duration);
    if (heard && Math.abs(audio.currentTime - t) > .15 && !video.paused && !audio.ended) video.currentTime = audio.currentTime;
    if (!video.paused) requestAnimationFrame(paint);
  }
  async function start() {
    if (heard) { audio.currentTime = video.currentTime; await audio.play().catch(() => {}); }
    await video.play().catch(() => {});
  }
  function stop() { video.pause(); audio.pause(); }
  play.addEventListener("click", () => video.paused ? start() : stop());
  video.addEventListener("play", () => { play.setAttribute("aria-label", "Pause"); play.firstChild.textContent = "❚❚"; paint(); });
  video.addEventListener("pause", () => { play.setAttribute("aria-label", "Play"); play.firstChild.textContent = "▶"; audio.pause(); paint(); });
  for (const event of ["seeked", "loadeddata", "timeupdate"]) video.addEventListener(event, paint);
  const to = (t) => { video.currentTime = Math.max(0, Math.min(duration, t)); if (heard) audio.currentTime = video.currentTime; };
  seek.addEventListener("input", () => to(Number(seek.value)));
  addEventListener("resize", paint);
  return {
    node, start, stop, to,
    onTime: (listener) => { moved.add(listener); return () => moved.delete(listener); },
    set({ picture, found }) {
      stop();
      look = found; duration = look?.duration_s ?? 1; seek.max = duration;
      video.src = picture ?? ""; shown = [...look?.overlays ?? []];
      layers.replaceChildren(...(look?.overlays ?? []).map((layer) => el("label", {}, el("input", { type: "checkbox", checked: true,
        onchange: (event) => { shown = event.target.checked ? [...shown, layer] : shown.filter((one) => one !== layer); paint(); } }), ` ${layer.name}`)));
      audio.removeAttribute("src"); heard = false;
    },
    async sound(url) {
      const playing = !video.paused;
      audio.pause(); heard = url !== null;
      if (heard) { audio.src = url; audio.load(); }
      if (playing) await start();
    },
    close() { stop(); removeEventListener("resize", paint); },
  };
}

// The curves of a control along time, with a line where the stage is. `extra` stands in the same box.
export function lane(view, watch, extra = null) {
  const cursor = el("div", { class: "cursor" });
  const svg = el("svg:svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": `What ${view.name} sees` },
    view.gaps.map(([a, b]) => el("svg:rect", { class: "gap", x: 10 * a, y: 0, width: 10 * (b - a), height: 100 })),
    view.curves.map((d, k) => el("svg:path", { class: `line c${k}`, d })));
  const rows = el("div", { class: "rows" }, svg, extra, cursor);
  watch.onTime((share) => { cursor.style.left = `${100 * share}%`; });
  return el("article", { class: "track" }, el("h3", {}, view.name, " ", el("span", { class: "hint" }, view.encoder)),
    el("p", { class: "hint" }, `${view.words} ${view.hint}`), rows);
}
