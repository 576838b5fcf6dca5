// A strength over time, drawn: points that can be dragged, added and taken away, by mouse, touch and keys.

import { el } from "./page.js";

const MOST = 2;

// `text` is what `expotion generate --strength` takes: 0.5, or 0:1.0,5:0.2
export function curve(name, duration, text, changed) {
  let points = read(text, duration);
  const line = el("svg:path", { class: "strength-line" });
  const svg = el("svg:svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" }, line);
  const handles = el("div", { class: "handles" });
  const field = el("input", { type: "text", value: text, spellcheck: "false", autocomplete: "off", "aria-label": `Strength of ${name}, as seconds:value` });
  const area = el("div", { class: "strength", title: "Click to add a point, drag to move it, Delete to take it away" }, svg, handles);
  const node = el("div", { class: "strength-box" }, el("p", { class: "hint" }, `Strength of ${name}: 0 is off, 1 as trained, up to ${MOST}`), area,
    el("label", { class: "hint" }, "as text ", field));

  const x = (t) => 100 * t / duration, y = (v) => 100 * (1 - Math.min(v, MOST) / MOST);
  function show(focus = null) {
    const along = [[0, points[0][1]], ...points, [duration, points.at(-1)[1]]];
    line.setAttribute("d", along.map(([t, v], i) => `${i ? "L" : "M"}${10 * x(t)} ${y(v)}`).join(""));
    handles.replaceChildren(...points.map((point, i) => {
      const handle = el("button", { type: "button", role: "slider", "aria-label": `${name} at ${point[0].toFixed(1)} s`, "aria-orientation": "vertical",
        "aria-valuemin": "0", "aria-valuemax": String(MOST), "aria-valuenow": point[1].toFixed(2), onkeydown: (event) => keyed(event, i) });
      handle.style.left = `${x(point[0])}%`; handle.style.top = `${y(point[1])}%`;
      handle.addEventListener("pointerdown", (event) => { event.stopPropagation(); event.preventDefault(); handle.focus(); drag(i, event.pointerId); });
      return handle;
    }));
    if (focus !== null) handles.children[focus]?.focus();
  }
  function tell() { field.value = written(points); changed(field.value); }
  function place(i, t, v) {
    const low = i > 0 ? points[i - 1][0] + .05 : 0, high = i < points.length - 1 ? points[i + 1][0] - .05 : duration;
    points[i] = [Math.max(low, Math.min(high, t)), Math.max(0, Math.min(MOST, v))];
  }
  function at(event) {
    const box = area.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width * duration, (1 - (event.clientY - box.top) / box.height) * MOST];
  }
  function drag(i, pointer) {
    area.setPointerCapture(pointer);
    const move = (event) => { place(i, ...at(event)); show(i); };
    const end = () => { area.removeEventListener("pointermove", move); area.removeEventListener("pointerup", end); area.removeEventListener("pointercancel", end); tell(); };
    area.addEventListener("pointermove", move); area.addEventListener("pointerup", end); area.addEventListener("pointercancel", end);
  }
  function keyed(event, i) {
    const [t, v] = points[i], step = event.shiftKey ? .5 : .1;
    const moves = { ArrowUp: [t, v + step / 2], ArrowDown: [t, v - step / 2], ArrowLeft: [t - step, v], ArrowRight: [t + step, v] };
    if (moves[event.key]) place(i, ...moves[event.key]);
    else if ((event.key === "Delete" || event.key === "Backspace") && points.length > 1) { points.splice(i, 1); i = Math.max(0, i - 1); }
    else if (event.key === "Enter" || event.key === "Insert") {
      const next = i < points.length - 1 ? points[i + 1][0] : duration;
      if (next - t > .2) { points.splice(i + 1, 0, [(t + next) / 2, v]); i += 1; }
    } else return;
    event.preventDefault(); show(i); tell();
  }
  area.addEventListener("pointerdown", (event) => {
    const [t, v] = at(event), i = points.filter((point) => point[0] < t).length;
    points.splice(i, 0, [t, v]); place(i, t, v); show(i); drag(i, event.pointerId);
  });
  field.addEventListener("change", () => { points = read(field.value, duration); show(); changed(field.value); });
  show();
  return node;
}

function read(text, duration) {
  const parts = String(text).split(",").map((part) => part.split(":").map(Number));
  const found = parts.map((part) => part.length === 1 ? [0, part[0]] : part).filter(([t, v]) => Number.isFinite(t) && Number.isFinite(v) && t <= duration);
  return found.length ? found.sort((a, b) => a[0] - b[0]) : [[0, 1]];
}
const short = (n) => String(Math.round(n * 100) / 100);
const written = (points) => points.length === 1 ? short(points[0][1]) : points.map(([t, v]) => `${short(t)}:${short(v)}`).join(",");
