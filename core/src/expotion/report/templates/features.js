"use strict";
(() => {
  const video = document.getElementById("video"), canvas = document.getElementById("over");
  const seek = document.getElementById("seek"), now = document.getElementById("now"), play = document.getElementById("play");
  const cursors = [...document.querySelectorAll(".cursor")], bar = document.querySelector(".transport");
  const switches = [...document.querySelectorAll("[data-layer]")];
  for (const layer of DATA.overlays) if (layer.boxes) layer.boxTimes = layer.boxes.map((row) => row[0]);

  function box(g, layer, t, w, h) {
    const row = layer.boxes[last(layer.boxTimes, t)];
    g.font = "13px system-ui"; g.lineWidth = 3;
    if (!row || row[1] === null) {
      g.fillStyle = "#f59352"; g.fillText(`${layer.name}: nothing here`, 8, 18);
      return;
    }
    g.strokeStyle = "#000"; g.strokeRect(row[1] * w, row[2] * h, (row[3] - row[1]) * w, (row[4] - row[2]) * h);
    g.lineWidth = 1.6; g.strokeStyle = "#4cf2e0"; g.strokeRect(row[1] * w, row[2] * h, (row[3] - row[1]) * w, (row[4] - row[2]) * h);
  }
  function arrows(g, layer, t, w, h) {
    const grid = layer.vectors[last(layer.times, t)];
    if (!grid) return;
    const [rows, columns] = layer.shape, cell = w / columns;
    for (let i = 0; i < rows * columns; i++) {
      const dx = grid[2 * i], dy = grid[2 * i + 1], speed = Math.hypot(dx, dy);
      if (speed < 0.02) continue;
      const x = (i % columns + .5) * cell, y = (Math.floor(i / columns) + .5) * h / rows;
      const length = cell * Math.min(1.4, .35 + 2 * speed), u = dx / speed, v = dy / speed, ex = x + u * length, ey = y + v * length;
      g.lineWidth = 2; g.strokeStyle = `hsl(${Math.atan2(dy, dx) * 180 / Math.PI + 180} 95% 62%)`;
      g.beginPath(); g.moveTo(x, y); g.lineTo(ex, ey);
      g.moveTo(ex - 5 * u - 3 * v, ey - 5 * v + 3 * u); g.lineTo(ex, ey); g.lineTo(ex - 5 * u + 3 * v, ey - 5 * v - 3 * u); g.stroke();
    }
  }
  function points(g, layer, t, w, h) {
    const row = layer.points[last(layer.pointTimes, t)];
    if (!row) return;
    const at = (k) => row[2 * k] < 0 && row[2 * k + 1] < 0 ? null : [row[2 * k] * w / 1000, row[2 * k + 1] * h / 1000];
    g.strokeStyle = "#4cf2e0"; g.fillStyle = "#fff";
    g.lineWidth = layer.lines.length > 40 ? 1 : 2.2;
    g.beginPath();
    for (const [a, b] of layer.lines) { const p = at(a), q = at(b); if (p && q) { g.moveTo(...p); g.lineTo(...q); } }
    g.stroke();
    if (layer.lines.length <= 40) for (let k = 0; k < row.length / 2; k++) {
      const p = at(k); if (!p) continue;
      g.beginPath(); g.arc(p[0], p[1], 3.2, 0, 7); g.fill();
    }
  }
  function flash(g, times, t, x, y, radius, colour) {
    const k = last(times, t + .02), lit = k >= 0 && t - times[k] < .12;
    g.beginPath(); g.arc(x, y, radius, 0, 7); g.lineWidth = 4; g.strokeStyle = "#000"; g.stroke();
    g.lineWidth = 2; g.strokeStyle = g.fillStyle = colour; g.stroke(); if (lit) g.fill();
  }
  function tempo(beats, t) {
    const near = beats.filter((beat) => Math.abs(beat - t) <= 2.5);
    if (near.length < 2) return "no beat";
    const first = Math.max(0, last(beats, t) - 2), some = beats.slice(first, first + 5);
    const periods = some.slice(1).map((beat, k) => beat - some[k]).sort((a, b) => a - b);
    return periods.length ? `${Math.round(60 / periods[periods.length >> 1])} BPM` : "no beat";
  }
  function heard(g, layer, t, w) {
    if (layer.events) flash(g, layer.events, t, w - 22, 22, 11, "#f59352");
    if (!layer.beats) return;
    flash(g, layer.beats, t, w - 22, 52, 8, "#ffd640");
    g.font = "14px system-ui"; g.textAlign = "right"; g.lineWidth = 3; g.strokeStyle = "#000"; g.fillStyle = "#ffd640";
    g.strokeText(tempo(layer.beats, t), w - 38, 57); g.fillText(tempo(layer.beats, t), w - 38, 57); g.textAlign = "left";
  }
  function draw() {
    const t = video.currentTime, ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
    if (canvas.width !== Math.round(w * ratio)) canvas.width = Math.round(w * ratio);
    if (canvas.height !== Math.round(h * ratio)) canvas.height = Math.round(h * ratio);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0); g.clearRect(0, 0, w, h);
    DATA.overlays.forEach((layer, i) => {
      if (!switches[i].checked) return;
      if (layer.vectors) arrows(g, layer, t, w, h);
      if (layer.boxes) box(g, layer, t, w, h);
      if (layer.points) points(g, layer, t, w, h);
      heard(g, layer, t, w);
    });
    for (const cursor of cursors) cursor.style.left = `${100 * t / DATA.duration}%`;
    seek.value = t; now.textContent = `${t.toFixed(1)} s`;
    if (!video.paused) requestAnimationFrame(draw);
  }
  const toggle = () => video.paused ? video.play() : video.pause();
  const to = (t) => { video.currentTime = Math.max(0, Math.min(DATA.duration, t)); };
  play.addEventListener("click", toggle);
  video.addEventListener("play", () => { bar.classList.add("playing"); draw(); });
  video.addEventListener("pause", () => { bar.classList.remove("playing"); draw(); });
  for (const name of ["seeked", "loadeddata", "timeupdate"]) video.addEventListener(name, draw);
  seek.addEventListener("input", () => to(Number(seek.value)));
  switches.forEach((input) => input.addEventListener("change", draw));
  window.addEventListener("resize", draw);
  for (const rows of document.querySelectorAll(".rows")) {
    const at = (event) => { const r = rows.getBoundingClientRect(); to((event.clientX - r.left) / r.width * DATA.duration); };
    rows.addEventListener("pointerdown", at);
    rows.addEventListener("pointermove", (event) => { if (event.buttons) at(event); });
  }
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input[type=checkbox], a, summary")) return;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " ") { event.preventDefault(); toggle(); }
    else if (step) { event.preventDefault(); to(video.currentTime + step * (event.shiftKey ? 1 / 15 : .5)); }
  });
  const wanted = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
  if (wanted > 0) video.addEventListener("loadedmetadata", () => to(wanted), { once: true });
  draw();
})();
