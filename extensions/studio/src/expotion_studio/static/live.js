// The room Live: frames of the camera go over a WebSocket, music comes back and is played as soon as it may.

import { call, ended, onJob } from "./api.js";
import { eye } from "./clock.js";
import { act, el, say, seconds } from "./page.js";

const RATE_HZ = 32000, SIDE = 360, QUALITY = .8;
const UNSENT_BYTES = 1 << 20, GAP_S = 1; // more is not sent any more; a longer gap between frames is taken out of the session
const UNSEEN = 4; // so often in a row nothing was seen, before it is said

export async function open(room) {
  const state = { session: null, about: null };
  const video = el("video", { playsinline: true, "aria-label": "The camera" });
  const start = el("button", { type: "button", class: "main", onclick: act(begin) }, "Start"), stop = el("button", { type: "button", class: "main", hidden: true, onclick: () => { stop.disabled = true; state.session?.stop(); } }, "Stop");
  const doing = el("p", { class: "hint", "aria-live": "polite" }, "The camera opens when it starts; sound and picture stay on this machine.");
  const numbers = ["From camera to speaker", "Of that, to make it", "Buffer", "Dropouts", "Frames left out"].map((label) => [label, el("dd", {}, "–")]);
  const [heard, made, level, gaps, lost] = numbers.map(([, value]) => value);
  const adaptor = el("select", { name: "adaptor", onchange: act(() => pick(adaptor.value)) });
  const prompt = el("textarea", { name: "prompt", rows: "2", maxlength: "2000" });
  const unknown = el("p", { class: "hint", "aria-live": "polite" });
  const change = el("button", { type: "button", class: "quiet", disabled: true, onclick: () => state.session?.tell({ say: prompt.value.trim() }) }, "Change the prompt");
  const faders = el("div", { class: "faders" });
  const osc = el("input", { type: "text", placeholder: "127.0.0.1:9000", autocomplete: "off", spellcheck: "false" }), midi = el("input", { type: "text", placeholder: "Expotion", autocomplete: "off", spellcheck: "false" });
  const list = el("ul", { class: "list" });
  room.append(el("p", { class: "lede" }, "Move, and the music follows while you do."),
    el("div", { class: "studio" },
      el("div", {}, el("div", { class: "screen" }, video), el("p", { class: "buttons" }, start, stop), doing,
        el("dl", { class: "meters" }, numbers.map(([label, value]) => el("div", {}, el("dt", {}, label), value)))),
      el("div", { class: "card asked" }, el("label", {}, "Adaptor", adaptor), el("label", {}, "Prompt", prompt), el("p", { class: "buttons" }, change), unknown,
        el("h2", { class: "eyebrow" }, "How much each control counts"), faders,
        el("details", {}, el("summary", {}, "Beats and values for other programs"), el("p", { class: "hint" }, "Beats, tempo, quantity of motion and the face's expressiveness are sent while it plays; where there is no beat, none is."),
          el("label", {}, "OSC to HOST:PORT", osc), el("label", {}, "MIDI port, a new one if none has this name", midi)))),
    el("section", {}, el("h2", {}, "Sessions"), list));

  async function pick(name) {
    state.about = await call(`/api/adaptors/about?name=${encodeURIComponent(name)}`);
    prompt.value = state.about.prompt;
    unknown.textContent = "";
    faders.replaceChildren(...state.about.controls.map(({ name: control, strength }) => {
      const value = el("output", {}, Number(strength) >= 0 ? strength : "1");
      const slider = el("input", { type: "range", min: "0", max: "2", step: "0.05", value: value.textContent, "data-control": control, oninput: () => {
        value.textContent = slider.value;
        state.session?.tell({ strength: [control, Number(slider.value)] });
      } });
      return el("div", {}, el("label", {}, `${control} `, slider), value, el("p", { class: "hint", "data-seen": control }, ""));
    }));
  }
  const strengths = () => Object.fromEntries([...faders.querySelectorAll("input")].map((one) => [one.dataset.control, Number(one.value)]));
  const asked = () => ({ adaptor: adaptor.value, prompt: prompt.value.trim(), strengths: strengths(), osc: osc.value.trim(), midi_port: midi.value.trim() });

  async function begin() {
    doing.textContent = "The camera is opened.";
    const session = state.session = new Session(video, asked(), show);
    start.hidden = true; stop.hidden = stop.disabled = false; adaptor.disabled = true; stop.focus();
    try {
      await session.over();
    } finally {
      state.session = null;
      start.hidden = false; stop.hidden = true; adaptor.disabled = false; change.disabled = true;
      doing.textContent = session.told;
      if (document.activeElement === document.body) start.focus();
    }
  }
  const unseen = {};
  function show(event) {
    if (event.event === "stage") doing.textContent = `The studio ${event.text}.`;
    else if (event.event === "ready") {
      change.disabled = false;
      const notes = event.without_frames.map((name) => `${name} needs more than a picture, and is left out.`);
      if (event.late.length) notes.unshift(`What ${event.late.join(" and ")} show comes up to half a second later: 0.64 s of pictures are needed for it.`);
      if (event.slow) notes.push("This machine makes music about as slowly as it is played: expect dropouts.");
      doing.textContent = ["It plays.", ...notes].join(" ");
      unknown.textContent = event.unknown;
    } else if (event.event === "said") unknown.textContent = event.unknown || `From here on: ${event.prompt}`;
    else if (event.event === "note") say(event.text, true);
    else if (event.event === "now") {
      made.textContent = `${event.engine_s.toFixed(2)} s, ${event.engine_p95_s.toFixed(2)} s for 95 in 100`;
      lost.textContent = String(event.left_out + event.refused + event.unsent);
      for (const [name, seen] of Object.entries(event.seen)) {
        unseen[name] = seen ? 0 : (unseen[name] ?? 0) + 1;
        const place = faders.querySelector(`[data-seen="${CSS.escape(name)}"]`), text = unseen[name] >= UNSEEN ? `${name} sees nothing: is somebody in the picture, and is it light enough?` : "";
        if (place && place.textContent !== text) place.textContent = text;
      }
    } else if (event.event === "heard") {
      heard.textContent = event.latency_s === null ? "–" : `${event.latency_s.toFixed(2)} s`;
      level.textContent = `${event.level_s.toFixed(2)} s`;
      gaps.textContent = String(event.dropouts);
    }
  }
  async function listSessions() {
    const found = await call("/api/sessions");
    list.replaceChildren(...found.map((one) => {
      const at = `/api/sessions/${one.id}`, when = new Date(one.added).toLocaleString();
      return el("li", {}, el("div", {}, el("strong", {}, when), ` ${seconds(one.duration_s)} `, el("p", { class: "hint" }, one.said.map(([at_s, text]) => at_s ? `from ${seconds(at_s)} on: ${text}` : text).join("; ")), el("p", { class: "hint" }, one.about)),
        el("video", { controls: true, preload: "none", playsinline: true, src: `${at}/video`, "aria-label": `Session of ${when}` }),
        el("span", { class: "buttons" }, el("a", { class: "quiet", href: `${at}/video`, download: "" }, "Download"),
          el("button", { type: "button", class: "quiet", "aria-label": `Delete the session of ${when}`, onclick: act(async () => { await call(at, { method: "DELETE" }); await listSessions(); }) }, "Delete")));
    }));
    if (!found.length) list.replaceChildren(el("li", {}, "None yet."));
  }
  const off = onJob((job, before) => {
    if (job.kind === "session" && ended(job) && before?.state !== job.state) listSessions().catch((error) => say(error.message, true));
  });
  const names = await call("/api/adaptors");
  adaptor.replaceChildren(...names.map((name) => el("option", { value: name }, name || "the one for this machine")));
  await Promise.all([pick(""), listSessions()]);
  return () => { off(); state.session?.leave(); };
}

// From the camera's opening to the last sound. `show(event)` is told of everything.
class Session {
  constructor(video, asked, show) {
    Object.assign(this, { video, asked, show, told: "", sent: new Map(), samples: 0, pieces: [], unsent: 0, busy: false, ready: false, zero: null, skipped: 0, last: -1 });
  }

  async over() {
    this.context = new AudioContext({ latencyHint: "interactive", sampleRate: RATE_HZ });
    try {
      await this.context.resume();
      this.camera = await eye(this.context, this.video);
      if (this.left) return;
      this.camera.onGone(() => { this.gone = "The camera has gone. What was played is kept."; this.stop(); });
      await this.context.audioWorklet.addModule("/static/player.js");
      await this.talk();
    } finally { this.close(); }
  }

  talk() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = this.socket = new WebSocket(`${scheme}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    return new Promise((done, failed) => {
      let wrong = "The studio does not answer any more. What was played is kept.";
      socket.addEventListener("open", () => socket.send(JSON.stringify(this.asked)));
      socket.addEventListener("message", ({ data }) => {
        if (typeof data !== "string") { this.play(data); return; }
        const event = JSON.parse(data);
        if (event.event === "wrong") wrong = event.problems.join("\n");
        else if (event.event === "ended") {
          wrong = "";
          this.told = `${event.text}. ${event.session ? "Its video is being written." : "That is too short to be kept."} ${event.note}`;
        } else if (event.event === "ready") { this.begin(event); this.show(event); } else this.show({ ...event, unsent: this.unsent });
      });
      socket.addEventListener("close", () => {
        if (this.left || !(wrong || this.gone)) done(); else failed(new Error(wrong || this.gone));
      });
    });
  }

  begin({ rate_hz, channels }) {
    if (rate_hz !== this.context.sampleRate) throw new Error(`The sound is at ${rate_hz} Hz, the browser plays ${this.context.sampleRate} Hz.`);
    this.channels = channels;
    this.node = new AudioWorkletNode(this.context, "player", { numberOfInputs: 0, outputChannelCount: [2], processorOptions: { channels } });
    this.node.port.onmessage = ({ data }) => this.hear(data);
    this.node.connect(this.context.destination);
    this.camera.each((frame) => this.see(frame));
  }

  // A frame: sent with its time of the session, unless the one before is not away yet.
  async see({ video, time_s }) {
    this.zero ??= time_s;
    if (time_s - this.zero - this.skipped > this.last + GAP_S && this.last >= 0) this.skipped = time_s - this.zero - this.last - .04;
    const own_s = time_s - this.zero - this.skipped;
    if (own_s <= this.last || this.socket.readyState !== WebSocket.OPEN) return;
    if (this.busy || this.socket.bufferedAmount > UNSENT_BYTES) { this.unsent += 1; return; }
    this.busy = true; this.last = own_s;
    try {
      const scale = Math.min(1, SIDE / Math.min(video.videoWidth, video.videoHeight));
      const canvas = this.canvas ??= document.createElement("canvas"), width = Math.round(scale * video.videoWidth), height = Math.round(scale * video.videoHeight);
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      canvas.getContext("2d").drawImage(video, 0, 0, width, height);
      const jpeg = await new Promise((ready) => canvas.toBlob(ready, "image/jpeg", QUALITY));
      const data = new Uint8Array(8 + jpeg.size);
      new DataView(data.buffer).setFloat64(0, own_s);
      data.set(new Uint8Array(await jpeg.arrayBuffer()), 8);
      if (this.socket.readyState !== WebSocket.OPEN) return;
      this.socket.send(data);
      this.sent.set(own_s, time_s);
      if (this.sent.size > 600) this.sent.delete(this.sent.keys().next().value);
    } finally { this.busy = false; }
  }

  // Music: the times of the frames that nothing before it was computed with, and samples.
  play(data) {
    const view = new DataView(data), count = view.getUint16(0);
    const whole = new Int16Array(data, 2 + 8 * count), samples = Float32Array.from(whole, (sample) => sample / 32767);
    if (count) this.pieces.push([this.samples, this.sent.get(view.getFloat64(2))]);
    this.samples += samples.length / this.channels;
    this.node.port.postMessage(samples, [samples.buffer]);
  }

  // How the player stands: a piece's first sample leaves the speakers so long after the frame that it was computed with.
  hear({ time_s, played, level_s, dropouts, began, loudest }) {
    while (began && this.pieces.length > 1 && this.pieces[1][0] <= played) this.pieces.shift();
    const [first, seen_s] = this.pieces[0] ?? [];
    const latency_s = began && seen_s !== undefined ? time_s + (first - played) / this.context.sampleRate - seen_s : null;
    this.show({ event: "heard", latency_s, level_s, dropouts: Math.max(0, dropouts), loudest });
  }

  tell(words) { if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(words)); }

  // What is left is still made and kept; before it plays, there is nothing to wait for.
  stop() {
    if (this.node) this.tell({ stop: true }); else this.leave();
  }

  leave() { this.left = true; this.close(); }

  close() {
    this.camera?.close();
    this.node?.port.postMessage("end");
    this.socket?.close();
    if (this.context.state !== "closed") this.context.close();
  }
}
