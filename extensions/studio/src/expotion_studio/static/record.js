// The room Record: the protocol of the paper, 4.1. Choose pieces, agree, listen once, then move while it plays.

import { call, ended, onJob, send } from "./api.js";
import { calibrate, eye, take } from "./clock.js";
import { act, el, say, seconds } from "./page.js";

const NONE = { delay_s: 0, from: "the browser's clocks alone" };

export async function open(room) {
  const state = { songs: [], performer: "", camera: null, context: null, offset: NONE, heard: new Set(), player: null };
  const songs = el("ul", { class: "list" }), list = el("ul", { class: "list" }), people = el("select", { "aria-label": "Performer", onchange: () => { state.performer = people.value; ready(); } });
  const consent = el("div", { class: "consent", tabindex: "0", role: "region", "aria-label": "What is agreed to" }), code = el("input", { type: "text", maxlength: "24", pattern: "[A-Za-z0-9_\\-]+", autocomplete: "off" });
  const agreed = el("input", { type: "checkbox" });
  const video = el("video", { playsinline: true, "aria-label": "The camera" }), screen = el("div", { class: "flash", "aria-hidden": "true" });
  const clock = el("output", { "aria-live": "off" }, ""), offset = el("p", { class: "hint" }), chosen = el("select", { "aria-label": "Piece", onchange: ready });
  const listen = el("button", { type: "button", class: "quiet", onclick: act(hear) }, "Listen once"), record = el("button", { type: "button", class: "main", onclick: act(film) }, "Record");
  const stop = el("button", { type: "button", class: "quiet", hidden: true }, "Call off");
  const length = el("input", { type: "number", min: "2", max: "30", value: "30" }), count = el("input", { type: "number", min: "1", max: "50", value: "3" });
  const file = el("input", { type: "file", multiple: true, accept: "audio/*,video/*", class: "away", "aria-label": "Sounds from this machine", onchange: act(giveOwn) });
  const made = el("p", { class: "hint" });
  const open_camera = el("button", { type: "button", class: "quiet", onclick: act(openEye) }, "Open the camera"), measure = el("button", { type: "button", class: "quiet", disabled: true, onclick: act(calibration) }, "Calibrate");
  room.append(el("p", { class: "lede" }, "Hear a piece, then move to it: the camera records you while it plays, on one clock with the sound."),
    el("div", { class: "steps" },
      el("section", { class: "card fields" }, el("h2", {}, "1. Pieces"), songs,
        el("div", { class: "pair" }, el("label", {}, "How many", count), el("label", {}, "Seconds each", length)),
        el("p", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: act(() => call(`/api/songs/world?count=${count.value}&seconds=${length.value}`, { method: "POST" })) }, "Make them"),
          el("button", { type: "button", class: "quiet", onclick: () => file.click() }, "Take some of mine"), file)),
      el("section", { class: "card fields" }, el("h2", {}, "2. Who moves"), consent, el("label", {}, "A code, no name", code),
        el("label", { class: "tick" }, agreed, " I have read this and agree."),
        el("p", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: act(agree) }, "Agree"), el("label", {}, "Moving now ", people))),
      el("section", { class: "card" }, el("h2", {}, "3. Record"), el("div", { class: "screen" }, video), el("p", { class: "buttons" }, open_camera, measure),
        offset, el("p", { class: "buttons" }, el("label", {}, "Piece ", chosen), listen, record, stop, clock))),
    el("section", {}, el("h2", {}, "Recordings"), list, el("p", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: act(() => call("/api/manifest", { method: "POST" })) }, "Write the manifest")), made), screen);

  function ready() {
    const piece = chosen.value;
    listen.disabled = !piece;
    record.disabled = !(piece && state.performer && state.camera && state.heard.has(piece));
    record.title = !state.camera ? "Open the camera first" : !state.performer ? "Agree first" : !state.heard.has(piece) ? "Listen once first" : "";
    measure.disabled = !state.camera;
    offset.textContent = `Sound and picture: ${state.offset.from}${state.offset.from === NONE.from ? ". Calibrate to measure what this speaker and this camera add." : `, ${(1000 * state.offset.delay_s).toFixed(0)} ms are taken off.`}`;
  }
  async function listSongs() {
    state.songs = await call("/api/songs");
    songs.replaceChildren(...state.songs.map((song) => {
      const strange = song.own && song.distance_db > 1.5 * song.usual_db;
      return el("li", {}, el("div", {}, el("strong", {}, song.title), ` ${seconds(song.duration_s)} `, el("span", { class: "hint" }, song.caption),
        song.own ? el("p", { class: strange ? "notice" : "hint" }, `Through the codec it is ${song.distance_db} dB from itself; ${song.usual_db} dB is usual. `,
          el("a", { href: `/api/songs/${song.id}/back` }, "Hear it"), strange ? ". The model that ships does not carry this sound: it knows its own instruments only. MusicGen small, medium and large do (docs/checkpoints.md)." : "") : null),
        el("audio", { controls: true, preload: "none", src: `/api/songs/${song.id}/sound`, "aria-label": song.title }),
        el("button", { type: "button", class: "quiet", "aria-label": `Delete ${song.title}`, onclick: act(async () => { await call(`/api/songs/${song.id}`, { method: "DELETE" }); await listSongs(); }) }, "Delete"));
    }));
    const before = chosen.value;
    chosen.replaceChildren(...state.songs.map((song) => el("option", { value: song.id }, song.title)));
    if (state.songs.some((song) => song.id === before)) chosen.value = before;
    ready();
  }
  async function giveOwn() {
    const refused = [];
    for (const own of file.files) await send(`/api/songs?name=${encodeURIComponent(own.name)}`, own).catch((error) => refused.push(`${own.name}: ${error.message}`));
    file.value = "";
    if (refused.length) throw new Error(refused.join("\n"));
  }
  async function listPeople(wanted = null) {
    const found = await call("/api/consent");
    consent.replaceChildren(...found.text.trim().split(/\n\s*\n/).map((text) => el("p", {}, text)));
    people.replaceChildren(el("option", { value: "" }, "nobody"), ...found.performers.map((name) => el("option", {}, name)));
    people.value = state.performer = wanted ?? state.performer;
    ready();
  }
  async function agree() {
    if (!code.reportValidity() || !code.value) throw new Error("Give a code: letters, digits, - and _.");
    await call("/api/performers", { method: "POST", json: { code: code.value, agreed: agreed.checked } });
    await listPeople(code.value);
    agreed.checked = false;
  }
  function sound() {
    state.context ??= new AudioContext({ latencyHint: "interactive" });
    return state.context.resume().then(() => state.context);
  }
  async function openEye() {
    if (state.camera) { state.camera.close(); state.camera = null; open_camera.textContent = "Open the camera"; ready(); return; }
    state.camera = await eye(await sound(), video);
    state.camera.onGone(() => { state.camera = null; say("The camera has gone.", true); ready(); });
    open_camera.textContent = "Close the camera";
    ready();
  }
  async function calibration() {
    offset.textContent = "Point the camera at this screen, or sit close to it in the dark: twenty flashes, each with a click.";
    const found = await calibrate(await sound(), state.camera, screen);
    if (!found) { ready(); throw new Error("The camera did not see the flashes. Point it at the screen, or darken the room, and calibrate again."); }
    state.offset = { delay_s: Math.max(-.9, Math.min(.9, found.delay_s)), from: `calibrated by ${found.seen} flashes` };
    ready();
  }
  async function piece() {
    const answer = await fetch(`/api/songs/${chosen.value}/sound`);
    return (await sound()).decodeAudioData(await answer.arrayBuffer());
  }
  async function hear() {
    const name = chosen.value, node = new AudioBufferSourceNode(await sound(), { buffer: await piece() });
    node.connect(state.context.destination);
    const began = state.context.currentTime;
    await new Promise((done) => {
      node.onended = done; node.start(); stop.hidden = false; stop.onclick = () => node.stop();
      const tick = () => { clock.textContent = seconds(state.context.currentTime - began); if (!stop.hidden) requestAnimationFrame(tick); };
      tick();
    }).finally(() => { stop.hidden = true; clock.textContent = ""; });
    if (state.context.currentTime - began > .9 * node.buffer.duration) state.heard.add(name);
    ready();
  }
  async function film() {
    const off = new AbortController(), buffer = await piece(), song = chosen.value;
    stop.hidden = false; stop.onclick = () => off.abort(); listen.disabled = true;
    try {
      const found = await take(state.context, state.camera, buffer, { offset: state.offset, signal: off.signal,
        said: (s, dropped) => { clock.textContent = `${s.toFixed(1)} s${dropped ? `, ${dropped} frames dropped` : ""}`; } });
      stop.hidden = true; clock.textContent = "is being written";
      const kept = await send(`/api/recordings?song=${song}&performer=${encodeURIComponent(state.performer)}`, found.blob);
      say(kept.notes.length ? `Kept: ${kept.notes.join("; ")}.` : `Kept: ${kept.frames} frames at ${kept.fps} a second, none dropped.`);
      await listRecordings();
    } finally { stop.hidden = true; clock.textContent = ""; listen.disabled = false; }
  }
  async function listRecordings() {
    const found = await call("/api/recordings");
    list.replaceChildren(...found.map((one) => el("li", {}, el("div", {}, el("strong", {}, one.title), ` by ${one.performer}, ${seconds(one.duration_s)}, ${one.fps} frames a second `, el("span", { class: "hint" }, `${(1000 * one.offset_s).toFixed(0)} ms taken off, ${one.offset_from}`), one.notes.map((text) => el("p", { class: "notice" }, text))),
      el("video", { controls: true, preload: "metadata", src: `/api/recordings/${one.id}/video`, "aria-label": `${one.title} by ${one.performer}` }),
      el("span", { class: "buttons" }, el("button", { type: "button", class: "quiet", onclick: () => { chosen.value = one.song; ready(); record.scrollIntoView({ block: "center" }); } }, "Repeat"),
        el("button", { type: "button", class: "quiet", "aria-label": `Delete ${one.title} by ${one.performer}`, onclick: act(() => forget(one)) }, "Delete")))));
    if (!found.length) list.replaceChildren(el("li", {}, "None yet."));
  }
  async function forget(one) {
    if (!confirm(`Delete this recording of ${one.title} by ${one.performer}, and all that was computed from it?`)) return;
    const { runs } = await call(`/api/recordings/${one.id}`, { method: "DELETE" });
    await listRecordings();
    const told = ["Deleted."];
    for (const run of runs) {
      const gone = confirm(`The adaptor ${run} was trained on it. Delete that, too?`);
      if (gone) await call(`/api/runs/${run}`, { method: "DELETE" });
      told.push(gone ? `The adaptor ${run} went with it.` : `The adaptor ${run} was trained on it and still stands.`);
    }
    say(told.join(" "));
  }
  const off = onJob((job, before) => {
    if (!ended(job) || before?.state === job.state) return;
    if (["song", "songs"].includes(job.kind)) listSongs().catch((error) => say(error.message, true));
    if (job.kind === "manifest" && job.state === "done") made.textContent = `The manifest is written. Clips: ${job.result.clips}; songs: ${job.result.songs}; performers: ${job.result.performers}.`;
  });
  await Promise.all([listSongs(), listPeople(), listRecordings()]);
  return () => { off(); state.camera?.close(); state.context?.close(); };
}
