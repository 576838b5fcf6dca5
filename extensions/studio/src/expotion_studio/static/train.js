// The room Train: recordings and controls, an estimate first, then the run with its curve, sounds and report.

import { call, ended, jobs, onJob } from "./api.js";
import { act, el, say, seconds } from "./page.js";

const SOON_MS = 500, OFTEN_MS = 1500;

export async function open(room) {
  const name = el("input", { type: "text", value: "mine", maxlength: "40", pattern: "[a-z][a-z0-9_\\-]*", required: true });
  const steps = el("input", { type: "number", min: "1", max: "20000", value: "200", required: true });
  const clip = el("input", { type: "number", min: "1", max: "30", step: "0.5", value: "10", required: true });
  const model = el("select", {}, el("option", { value: "tiny" }, "the tiny MusicGen that ships"));
  const takes = el("fieldset", {}, el("legend", {}, "Recordings"), el("p", { class: "hint" }, "are being listed"));
  const controls = el("fieldset", {}, el("legend", {}, "Controls"), el("p", { class: "hint" }, "are being looked for"));
  const estimate = el("div", { class: "estimate", role: "status", "aria-label": "Estimate" }), train = el("button", { type: "submit", class: "main", disabled: true }, "Train");
  const runs = el("div", { class: "grid wide" }), empty = el("p", { hidden: true }, "None yet.");
  const form = el("form", { class: "card fields", novalidate: true, onsubmit: (event) => { event.preventDefault(); act(begin)({ currentTarget: train }); }, oninput: soon },
    takes, controls, el("label", {}, "Model", model),
    el("div", { class: "three" }, el("label", {}, "Name", name), el("label", {}, "Steps", steps), el("label", {}, "Seconds of a clip", clip)),
    estimate, el("p", { class: "buttons" }, train));
  room.append(el("p", { class: "lede" }, "Teach an adaptor your gestures: the recipe and the run folder of the command line, on your recordings."),
    form, el("section", {}, el("h2", {}, "Runs"), empty, runs));

  const chosen = (field) => [...field.querySelectorAll("input:checked")];
  function wanted() {
    for (const [input, what] of [[name, "Name: small letters, digits, - and _, a letter first."], [steps, "Steps: 1 to 20000."], [clip, "Seconds of a clip: 1 to 30."]]) {
      if (!input.checkValidity()) throw new Error(what);
    }
    const json = { name: name.value, model: model.value, steps: Number(steps.value), clip_s: Number(clip.value), recordings: chosen(takes).map((input) => input.value),
      controls: Object.fromEntries(chosen(controls).map((input) => [input.dataset.name, input.value])) };
    if (!json.recordings.length) throw new Error("Choose recordings; the room Record makes them.");
    if (!Object.keys(json.controls).length) throw new Error("Choose a control.");
    return json;
  }

  // Whatever is changed is estimated anew, and only what has been estimated can be trained.
  let timer = 0, asked = 0, listed = false;
  function soon() {
    train.disabled = true;
    clearTimeout(timer);
    if (listed) timer = setTimeout(plan, SOON_MS);
  }
  async function plan() {
    const mine = ++asked;
    train.disabled = true;
    try {
      const json = wanted();
      estimate.replaceChildren(el("p", { class: "hint" }, "is being estimated"));
      const found = await call("/api/plan", { method: "POST", json });
      if (mine === asked) showPlan(found);
    } catch (error) { if (mine === asked) estimate.replaceChildren(el("p", { class: "hint" }, error.message)); }
  }
  function showPlan(found) {
    const times = Object.entries(found.times).map(([what, time]) => `${what} ${time === "0 s" ? "a moment" : `about ${time}`}`).join(", ");
    estimate.replaceChildren(
      el("p", {}, el("strong", {}, `${found.clips} clips of ${found.songs} pieces. `), found.trainable ? `${found.trainable.toLocaleString("en")} numbers are trained. ` : "", times ? `On two cores: ${times}.` : "How long it takes is not known before its weights are here."),
      el("p", { class: found.songs < 3 ? "notice" : "hint" }, found.songs < 3 ? `Of ${found.note}.`.replace("Of fewer", "Fewer") : `What is measured: ${found.note}.`),
      found.gpus.length ? el("details", {}, el("summary", {}, "On GPUs, computed"), el("ul", {}, found.gpus.map((text) => el("li", {}, text))), el("p", { class: "hint" }, "A run here computes on the processor.")) : "",
      found.fetches.length ? el("div", { class: "hint" }, "It fetches, once:", el("ul", {}, found.fetches.map((text) => el("li", {}, text)))) : "",
      found.lacks.length ? el("div", { class: "notice" }, "It needs what is not here yet:", el("ul", {}, found.lacks.map((text) => el("li", {}, text)))) : "");
    train.disabled = found.lacks.length > 0;
  }
  async function begin() {
    await call("/api/runs", { method: "POST", json: wanted() });
    say("It stands under Work, and here as soon as it has begun.");
    await listRuns();
  }

  async function listTakes() {
    const found = await call("/api/recordings");
    takes.replaceChildren(el("legend", {}, "Recordings"), el("div", { class: "choices" }, found.map((one) => el("label", { class: "tick" }, el("input", { type: "checkbox", value: one.id, checked: true }), ` ${one.title} by ${one.performer}, ${seconds(one.duration_s)}`))));
    if (!found.length) takes.append(el("p", {}, "None yet: the room Record makes them."));
  }
  async function listControls() {
    const found = await call("/api/controls");
    model.replaceChildren(...Object.entries(found.models).map(([value, title]) => el("option", { value }, title)));
    const tick = (one) => el("label", { class: "tick" },
      el("input", { type: "checkbox", value: one.encoder, "data-name": one.name, checked: one.usual }), ` ${one.name} `, el("span", { class: "hint" }, one.about, one.lacks.length ? `. Not here: ${one.lacks[0]}` : ""));
    const usual = found.controls.filter((one) => one.usual), others = found.controls.filter((one) => !one.usual);
    controls.replaceChildren(el("legend", {}, "Controls"), ...usual.map(tick), el("details", {}, el("summary", {}, `${others.length} more`), others.map(tick)));
  }

  const busy = (run) => [...jobs.values()].some((job) => ["train", "study"].includes(job.kind) && job.about === run && !ended(job));
  const cards = new Map();
  async function listRuns() {
    const found = await call("/api/runs");
    for (const [run, shown] of cards) if (!found.some((one) => one.name === run)) { shown.node.remove(); cards.delete(run); }
    for (const run of found) {
      if (!cards.has(run.name)) { const made = card(run.name, busy, listRuns); cards.set(run.name, made); runs.prepend(made.node); }
      cards.get(run.name).show(run);
    }
    empty.hidden = found.length > 0;
  }
  let last = 0;
  const off = onJob((job, before) => {
    if (!["train", "study"].includes(job.kind)) return;
    const now = Date.now();
    if (before?.state === job.state && now - last < OFTEN_MS) return;
    last = now;
    listRuns().catch((error) => say(error.message, true));
  });
  // controls come when they have been looked for; the runs need not wait for them
  Promise.all([listTakes(), listControls()]).then(() => { listed = true; return plan(); }).catch((error) => say(error.message, true));
  await listRuns();
  return () => { off(); clearTimeout(timer); asked += 1; };
}

// A part of a page that is drawn anew only where what it shows has changed: nobody's focus or sound is lost.
function slot(name = "div") {
  const node = el(name);
  let before;
  return { node, show(key, make) {
    const now = JSON.stringify(key);
    if (now !== before) { before = now; node.replaceChildren(...[make()].flat().filter(Boolean)); }
  } };
}

function card(name, busy, changed) {
  const at = `/api/runs/${name}`, told = slot(), drawn = slot(), numbers = slot(), sounds = slot(), ends = slot("p");
  ends.node.className = "buttons";
  const node = el("article", { class: "take", "data-run": name }, el("h3", {}, name), told.node, drawn.node, numbers.node, sounds.node, ends.node);
  const button = (title, work) => el("button", { type: "button", class: "quiet", "aria-label": `${title} ${name}`, onclick: act(async () => { await work(); await changed(); }) }, title);
  return { node, show(run) {
    const works = busy(name), done = run.has_report;
    told.show([run.note, works, done, run.recordings], () => el("p", { class: "hint" }, `${run.recordings} recordings; ${run.note}. `, el("strong", {}, works ? "It is at work." : done ? "It is done." : "It has stopped.")));
    drawn.show(run.curve, () => curve(run));
    numbers.show(run.metrics, () => table(run.metrics));
    sounds.show(run.samples, () => run.samples.length ? el("details", { open: true }, el("summary", {}, "Sounds"), el("ul", { class: "list" }, shown(run.samples).map(([i, of]) => el("li", {}, el("span", {}, of), el("audio", { controls: true, preload: "none", src: `${at}/samples/${i}`, "aria-label": of }))))) : null);
    const tested = done && run.metrics.text_only !== undefined;
    ends.show([works, done, run.has_adaptor, run.has_study, tested], () => [
      done ? el("a", { href: `${at}/report`, target: "_blank", rel: "noopener" }, "Report") : null,
      run.has_adaptor ? el("a", { href: "/compose" }, "Compose offers its adaptor") : null,
      run.has_study ? el("a", { href: `/study/${name}/`, target: "_blank", rel: "noopener" }, "Listening study") : null,
      run.has_study ? el("a", { href: `${at}/study/results`, target: "_blank", rel: "noopener" }, "What it found") : null,
      tested && !run.has_study && !works ? button("Build a listening study", () => call(`${at}/study`, { method: "POST" })) : null,
      !works && !done ? button("Go on", () => call(`${at}/resume`, { method: "POST" })) : null,
      works ? button("Stop", () => stop(name)) : null,
      !works ? button("Delete", async () => { if (confirm(`Delete ${name}, its adaptor and its listening study?`)) await call(at, { method: "DELETE" }); }) : null,
    ]);
  } };
}

const stop = (run) => Promise.all([...jobs.values()].filter((job) => job.kind === "train" && job.about === run && !ended(job)).map((job) => call(`/api/jobs/${job.id}/stop`, { method: "POST" })));

const NAMED = { training_samples: "while it trained", ground_truth: "the piece", text_only: "without controls", shuffled: "another take's controls" };
const MOST_SHOWN = 12;

// The newest sound made while it trained, then those of the test: with all controls first, [place, what it is of].
function shown(samples) {
  const all = samples.map(([of, clip], i) => [i, of === "training_samples" ? `after step ${Number(clip.replace("step_", ""))}` : `${NAMED[of] ?? of}, ${clip}`, of]);
  const rank = (of) => of === "training_samples" ? 0 : of in NAMED ? 2 : 1;
  return all.sort((a, b) => rank(a[2]) - rank(b[2]) || a[0] - b[0]).slice(0, MOST_SHOWN);
}

// Loss by step: while training, and where it was validated on clips that are not trained on, with the controls and without.
function curve(run) {
  if (run.curve.length < 2) return null;
  const last = Math.max(run.steps - 1, run.curve.at(-1).step, 1), all = run.curve.flatMap((point) => [point.loss, point.validation_loss, point.baseline_loss].filter((one) => one !== undefined));
  const low = Math.min(...all), high = Math.max(...all);
  const d = (key) => run.curve.filter((point) => point[key] !== undefined).map((point, i) => `${i ? "L" : "M"}${(1000 * point.step / last).toFixed(1)} ${(95 - 90 * (point[key] - low) / (high - low || 1)).toFixed(1)}`).join("");
  const first = run.curve[0].loss, now = run.curve.at(-1), seen = run.curve.filter((point) => point.validation_loss !== undefined).at(-1);
  const words = `Loss ${now.loss.toFixed(3)} after ${now.step + 1} steps, ${first.toFixed(3)} at first.` + (seen ? ` On clips that are not trained on ${seen.validation_loss.toFixed(3)}, without controls ${seen.baseline_loss.toFixed(3)}.` : "");
  return el("figure", { class: "rows" }, el("svg:svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": words },
    el("svg:path", { class: "line c0 faint", d: d("loss") }), el("svg:path", { class: "line c1", d: d("baseline_loss") }), el("svg:path", { class: "line c2", d: d("validation_loss") })),
    el("figcaption", { class: "hint" }, words));
}

// Means with intervals: with all controls beside without any.
function table(metrics) {
  const own = Object.keys(metrics).find((row) => !(row in NAMED) && row !== "codec_ceiling"), alone = metrics.text_only;
  const rows = own ? Object.entries(metrics[own]).filter(([, one]) => typeof one.mean === "number") : [];
  if (!rows.length) return null;
  const cell = (one) => typeof one?.mean === "number" ? `${one.mean.toFixed(2)}${typeof one.ci_low === "number" ? ` [${one.ci_low.toFixed(2)}, ${one.ci_high.toFixed(2)}]` : ""}` : "–";
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What was measured" }, el("table", {}, el("thead", {}, el("tr", {}, ["metric", "with controls", "without"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows.map(([metric, one]) => el("tr", {}, el("th", { scope: "row" }, metric.replaceAll("_", " ")), el("td", {}, cell(one)), el("td", {}, cell(alone?.[metric])))))));
}
