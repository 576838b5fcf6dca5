// The room Compose: a clip, what the controls see of it, and takes of music for it.

import { call, ended, onJob, send } from "./api.js";
import { curve } from "./curve.js";
import { lane, stage } from "./look.js";
import { $, act, el, say, seconds } from "./page.js";
import { recorder } from "./camera.js";

const ACCEPT = ".mp4,.mov,.mkv,.webm,.avi,.m4v";

export async function open(room) {
  const view = stage();
  const given = { clip: null, adaptor: "", strengths: {} };
  const clips = el("select", { "aria-label": "Clip", onchange: () => choose(clips.value) });
  const input = el("input", { type: "file", accept: ACCEPT, class: "away", "aria-label": "A video from this machine", onchange: () => { if (input.files[0]) take(input.files[0]); } });
  const arriving = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Arriving" });
  const drop = el("div", { class: "drop" }, el("p", {}, "Drop a video of a person here, ", el("button", { type: "button", class: "quiet", onclick: () => input.click() }, "choose one"), " or ",
    el("button", { type: "button", class: "quiet", onclick: act(film) }, "record one"), "."), arriving, input);
  const camera = el("div", { class: "camera" });
  const lanes = el("div", { class: "lanes-of" }), notes = el("div", { class: "notices" }), takes = el("section", { "aria-label": "Takes", class: "takes" });
  const adaptor = el("select", { name: "adaptor", onchange: act(() => pickAdaptor(adaptor.value)) });
  const prompt = el("textarea", { name: "prompt", rows: "2", maxlength: "2000", oninput: suggest });
  const words = el("div", { class: "words", "aria-label": "Words it knows" }), unknown = el("p", { class: "hint", "aria-live": "polite" });
  const samples = el("input", { name: "samples", type: "number", min: "1", max: "8", value: "2" });
  const seed = el("input", { name: "seed", type: "number", min: "0", value: "0" });
  const cfg = el("input", { name: "cfg", type: "number", min: "0", max: "20", step: "0.5" });
  const scales = el("div", { class: "scales" });
  const make = el("button", { type: "submit", class: "main" }, "Make music");
  const form = el("form", { class: "card asked", onsubmit: (event) => { event.preventDefault(); act(compose)({ currentTarget: make }); } },
    el("label", {}, "Adaptor", adaptor), el("label", {}, "Prompt", prompt), words, unknown,
    el("div", { class: "pair" }, el("label", {}, "Takes", samples), el("label", {}, "First seed", seed)),
    el("details", {}, el("summary", {}, "Guidance"), el("p", { class: "hint" }, "How firmly the prompt and each control are followed; empty is as the adaptor was measured."),
      el("label", {}, "Prompt", cfg), scales),
    make);
  const work = el("div", { class: "studio", hidden: true }, el("div", {}, view.node), form);
  room.append(el("p", { class: "lede" }, "A video of a person and some words go in; music that follows face and body comes out."),
    drop, camera, el("label", { class: "chosen", hidden: true }, "Clip ", clips, " ", el("button", { type: "button", class: "quiet", onclick: act(forget) }, "Delete this clip")),
    notes, work, lanes, takes);

  for (const event of ["dragenter", "dragover"]) drop.addEventListener(event, (e) => { e.preventDefault(); drop.classList.add("over"); });
  for (const event of ["dragleave", "drop"]) drop.addEventListener(event, (e) => { e.preventDefault(); drop.classList.remove("over"); });
  drop.addEventListener("drop", (event) => { const file = event.dataTransfer.files[0]; if (file) take(file); });

  async function take(file) {
    say(""); arriving.hidden = false;
    try {
      const { clip } = await send(`/api/clips?name=${encodeURIComponent(file.name)}&adaptor=${encodeURIComponent(given.adaptor)}`, file, (share) => { arriving.value = share; });
      await list(clip.id);
    } catch (error) { say(error.message, true); } finally { arriving.hidden = true; input.value = ""; }
  }
  async function film() {
    const file = await recorder(camera);
    if (file) await take(file);
  }
  async function list(wanted = null) {
    const found = await call("/api/clips");
    clips.replaceChildren(...found.map((clip) => el("option", { value: clip.id }, `${clip.name}, ${seconds(clip.duration_s)}`)));
    $(".chosen", room).hidden = found.length === 0;
    work.hidden = found.length === 0;
    given.clip = null;
    if (found.length) { clips.value = wanted ?? found[0].id; await choose(clips.value); }
    else { lanes.replaceChildren(); takes.replaceChildren(); notes.replaceChildren(); view.set({}); }
  }
  async function choose(id) {
    given.clip = (await call("/api/clips")).find((clip) => clip.id === id) ?? null;
    if (!given.clip) return;
    await Promise.all([see(), listTakes()]);
  }
  async function see() {
    const id = given.clip.id;
    const found = await call(`/api/clips/${id}/look`);
    notes.replaceChildren(...[...given.clip.notes, ...found?.notes ?? []].map((text) => el("p", { class: "notice" }, text)));
    if (!found) {
      view.set({}); lanes.replaceChildren(el("p", { class: "hint" }, "What the controls see is being looked at; music can be asked for already."));
      return;
    }
    view.set({ picture: `/api/clips/${id}/picture?${Date.now()}`, found });
    drawLanes(found);
  }
  function drawLanes(found) {
    given.strengths = {};
    const controls = Object.fromEntries((given.about?.controls ?? []).map((control) => [control.name, control]));
    lanes.replaceChildren(el("h2", {}, "What the controls see"), ...found.lanes.map((one) => lane(one, view,
      controls[one.name] ? curve(one.name, found.duration_s, controls[one.name].strength, (text) => { given.strengths[one.name] = text; }) : null)));
    for (const rows of lanes.querySelectorAll(".rows > svg")) {
      rows.addEventListener("pointerdown", (event) => { const box = rows.getBoundingClientRect(); view.to((event.clientX - box.left) / box.width * found.duration_s); });
    }
  }
  async function listTakes() {
    const found = await call(`/api/clips/${given.clip.id}/takes`);
    const before = $("input[name=heard]:checked", takes)?.value ?? "";
    if (!found.length) { takes.replaceChildren(); return; }
    takes.replaceChildren(el("h2", {}, "Takes"), el("p", { class: "hint" }, "Choose one to hear it with the picture. Beat F1 and tempo hold the music against the beats of the clip's own sound, alignment against the movement."), el("div", { class: "grid" }, found.map(card)));
    const chosen = found.some((one) => one.id === before) ? before : found.at(-1).id;
    $(`input[value="${chosen}"]`, takes).checked = true;
    if (chosen !== before) view.sound(`/api/takes/${chosen}/files/wav`);
  }
  function card(one) {
    const at = `/api/takes/${one.id}`;
    return el("article", { class: one.kept ? "take kept" : "take" },
      el("label", { class: "hear" }, el("input", { type: "radio", name: "heard", value: one.id, onchange: () => { view.sound(`${at}/files/wav`); view.start(); } }),
        el("strong", {}, ` Seed ${one.seed}`), one.kept ? el("span", { class: "eyebrow" }, " kept") : null),
      el("p", { class: "hint" }, one.prompt),
      el("dl", { class: "pairs" }, one.scores.map(([label, value]) => el("div", {}, el("dt", {}, label), el("dd", {}, value)))),
      one.warnings.map((text) => el("p", { class: "notice" }, text)),
      one.again ? el("p", { class: "notice" }, one.again) : null,
      el("p", { class: "buttons" },
        el("button", { type: "button", class: "quiet", onclick: act(async () => { await call(`${at}/keep?kept=${!one.kept}`, { method: "POST" }); await listTakes(); }) }, one.kept ? "Do not keep" : "Keep"),
        el("button", { type: "button", class: "quiet", onclick: act(() => call(`${at}/again`, { method: "POST" })) }, "Make it again"),
        el("button", { type: "button", class: "quiet", onclick: act(async () => { await call(at, { method: "DELETE" }); await listTakes(); }) }, "Delete"),
        ...Object.entries(one.files).map(([kind, name]) => el("a", { href: `${at}/files/${kind}`, download: name }, kind === "video" ? name.split(".").at(-1) : kind))));
  }
  async function pickAdaptor(name) {
    given.adaptor = name;
    given.about = await call(`/api/adaptors/about?name=${encodeURIComponent(name)}`);
    prompt.placeholder = given.about.prompt;
    if (!prompt.value) prompt.value = given.about.prompt;
    cfg.placeholder = given.about.cfg_scale;
    scales.replaceChildren(...given.about.controls.map((control) => el("label", {}, control.name,
      el("input", { type: "number", min: "0", max: "20", step: "0.5", "data-scale": control.name, placeholder: String(given.about.control_scale ?? given.about.cfg_scale) }))));
    words.replaceChildren(...given.about.captions.map((text) => el("button", { type: "button", class: "chip", onclick: () => { prompt.value = text; suggest(); } }, text)));
    suggest();
    if (given.clip) {
      const wanted = given.about.controls.map((control) => control.name).sort().join();
      const found = await call(`/api/clips/${given.clip.id}/look`);
      if (found && found.lanes.map((one) => one.name).sort().join() !== wanted) await call(`/api/clips/${given.clip.id}/look?adaptor=${encodeURIComponent(name)}`, { method: "POST" });
      else if (found) drawLanes(found);
    }
  }
  function suggest() {
    const known = new Set(given.about?.words ?? []);
    if (!known.size) { unknown.textContent = ""; return; }
    const strange = [...new Set(prompt.value.toLowerCase().match(/[\p{L}\p{N}'_-]+/gu) ?? [])].filter((word) => !known.has(word));
    unknown.replaceChildren(...strange.length ? [`It was not trained on: ${strange.map((word) => { const near = nearest(word, known); return near.length ? `${word} (near: ${near.join(", ")})` : word; }).join("; ")}`] : []);
  }
  async function compose() {
    const json = { adaptor: given.adaptor, prompt: prompt.value.trim(), seed: Number(seed.value), samples: Number(samples.value), strengths: given.strengths, guidance: {} };
    if (cfg.value) json.cfg_scale = Number(cfg.value);
    for (const scale of scales.querySelectorAll("input")) if (scale.value) json.guidance[scale.dataset.scale] = Number(scale.value);
    await call(`/api/clips/${given.clip.id}/takes`, { method: "POST", json });
    seed.value = String(Number(seed.value) + Number(samples.value));
  }
  async function forget() {
    if (!given.clip || !confirm(`Delete ${given.clip.name} and its takes?`)) return;
    await call(`/api/clips/${given.clip.id}`, { method: "DELETE" });
    await list();
  }
  const off = onJob((job, before) => {
    if (!given.clip || job.about !== given.clip.id || (before && before.state === job.state) || !ended(job)) return;
    if (job.kind === "see" && job.state === "done") see().catch((error) => say(error.message, true));
    if (["compose", "again"].includes(job.kind)) listTakes().catch((error) => say(error.message, true));
  });
  const names = await call("/api/adaptors");
  adaptor.replaceChildren(...names.map((name) => el("option", { value: name }, name || "the one for this machine")));
  await pickAdaptor("");
  await list();
  return () => { off(); view.close(); };
}

// Up to three known words that are most like one.
function nearest(word, known) {
  const pairs = (text) => new Set([...` ${text} `].slice(0, -1).map((letter, i) => letter + ` ${text} `[i + 1]));
  const own = pairs(word);
  const scored = [...known].map((other) => { const theirs = pairs(other); return [[...own].filter((pair) => theirs.has(pair)).length * 2 / (own.size + theirs.size), other]; });
  return scored.filter(([score]) => score > .4).sort((a, b) => b[0] - a[0]).slice(0, 3).map(([, other]) => other);
}
