// The camera: asked for, shown, recorded; what stands against it is said.

import { el } from "./page.js";

const KINDS = ["video/webm;codecs=vp8,opus", "video/webm;codecs=vp9,opus", "video/webm", "video/mp4"];

// The stream of a camera. Throws an Error in words.
export async function openCamera(constraints = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 30 } }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new Error(isSecureContext ? "This browser gives no camera to pages." : "Browsers give no camera over plain http from another machine. Start the studio with --host and open its https address.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ video: constraints, audio: false });
  } catch (error) {
    const why = {
      NotAllowedError: "The camera was denied. Allow it for this page in the browser, then try again.",
      NotFoundError: "No camera was found. Connect one, then try again.",
      NotReadableError: "The camera is used by another program. Close that, then try again.",
      OverconstrainedError: "The camera cannot do what was asked of it.",
    }[error.name] ?? `The camera did not open: ${error.message}`;
    throw new Error(why);
  }
}

export function recorderOf(stream, options = { videoBitsPerSecond: 2_500_000 }) {
  const kind = KINDS.find((one) => globalThis.MediaRecorder?.isTypeSupported(one));
  if (!kind) throw new Error("This browser cannot record video.");
  return new MediaRecorder(stream, { ...options, mimeType: kind });
}

// Record a clip into a panel: resolves to a File, or null where it was called off.
export async function recorder(panel) {
  const stream = await openCamera();
  const video = el("video", { playsinline: true, autoplay: true, "aria-label": "The camera" });
  video.muted = true; video.srcObject = stream;
  const clock = el("output", {}, "0.0 s");
  return new Promise((done, failed) => {
    const parts = [];
    let maker, started = 0, timer = 0;
    const end = (result) => { clearInterval(timer); for (const track of stream.getTracks()) track.stop(); panel.replaceChildren(); result instanceof Error ? failed(result) : done(result); };
    const begin = el("button", { type: "button", class: "main", onclick: () => {
      try { maker = recorderOf(stream); } catch (error) { end(error); return; }
      maker.addEventListener("dataavailable", (event) => parts.push(event.data));
      maker.addEventListener("stop", () => {
        const type = maker.mimeType.split(";")[0];
        end(new File(parts, `recording.${type.split("/")[1]}`, { type }));
      });
      maker.start(1000); started = performance.now(); begin.hidden = true; stop.hidden = false; stop.focus();
      timer = setInterval(() => { clock.textContent = `${((performance.now() - started) / 1000).toFixed(1)} s`; }, 100);
    } }, "Record");
    const stop = el("button", { type: "button", class: "main", hidden: true, onclick: () => maker.stop() }, "Stop");
    stream.getVideoTracks()[0].addEventListener("ended", () => end(new Error("The camera has gone.")));
    panel.replaceChildren(el("div", { class: "card" }, video, el("p", { class: "buttons" }, begin, stop, el("button", { type: "button", class: "quiet", onclick: () => end(null) }, "Call off"), clock)));
    begin.focus();
  });
}
