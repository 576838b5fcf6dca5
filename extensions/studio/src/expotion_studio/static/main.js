// The page: which room is shown, and the work that goes on whatever room it is.

import { call, ended, jobs, listen, onJob } from "./api.js";
import { $, act, el, left, say, seconds } from "./page.js";

const ROOMS = { compose: "Compose", record: "Record", train: "Train", live: "Live" };

let leave = null, visits = 0;

async function enter(name, push = true) {
  const visit = ++visits;
  if (!(name in ROOMS)) name = "compose";
  if (push) history.pushState({}, "", `/${name}`);
  document.title = `${ROOMS[name]} – Expotion studio`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.room === name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  leave?.();
  leave = null;
  const place = el("div");
  $("#room").replaceChildren(el("h1", {}, ROOMS[name]), place);
  try {
    const { open } = await import(`./${name}.js`);
    const closes = await open(place);
    if (visit === visits) leave = closes; else closes(); // it opened too slowly: another room stands there by now
  } catch (error) { if (visit === visits) say(error.message, true); }
}

for (const [name, title] of Object.entries(ROOMS)) {
  $("nav").append(el("a", { href: `/${name}`, "data-room": name, onclick: (event) => { event.preventDefault(); enter(name); $("#room").focus(); } }, title));
}
addEventListener("popstate", () => enter(location.pathname.slice(1), false));

const STATES = { waiting: "waits", running: "runs", stopping: "is being stopped", done: "done", failed: "failed", stopped: "stopped" };

function row(job) {
  const share = job.total > 0 ? job.done / job.total : 0;
  const state = job.suspended ? "stands still while live plays" : STATES[job.state];
  const busy = !ended(job);
  return el("li", { class: job.state },
    el("div", {}, el("strong", {}, job.title), ` ${state}`, job.state === "running" && job.stage ? `: ${job.stage} ${job.done}/${job.total}, ${left(job.left_s)}`.replace(/, $/, "") : "",
      ended(job) ? ` after ${seconds(job.seconds)}` : "",
      ...job.problems.map((text) => el("p", { class: "problem" }, text))),
    busy ? el("progress", { max: 1, value: job.state === "waiting" ? 0 : share, "aria-label": job.title }) : null,
    busy ? el("button", { type: "button", class: "quiet", onclick: act(() => call(`/api/jobs/${job.id}/stop`, { method: "POST" })) }, "Stop")
      : el("button", { type: "button", class: "quiet", onclick: act(() => call(`/api/jobs/${job.id}`, { method: "DELETE" })) }, "Clear"));
}

function drawWork() {
  const shown = [...jobs.values()].filter((job) => !ended(job) || job.state === "failed").sort((a, b) => a.number - b.number);
  const work = $("#work");
  work.hidden = shown.length === 0;
  const focused = document.activeElement?.closest?.("#work li button") && [...work.querySelectorAll("button")].indexOf(document.activeElement);
  work.replaceChildren(el("h2", {}, "Work"), el("ul", {}, shown.map(row)));
  if (typeof focused === "number") work.querySelectorAll("button")[focused]?.focus();
}

let pending = false;
onJob((job, before) => {
  if (job.state === "failed" && before && before.state !== "failed") say(`${job.title}: ${job.problems.join("\n")}`, true);
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => { pending = false; drawWork(); });
});
let lost = false;
listen((connected) => {
  if (!connected && !lost) say("The studio does not answer. It is tried again.", true);
  if (connected && lost) say("");
  lost = !connected;
});
enter(location.pathname.slice(1), false);
