// Calls of the studio, and its jobs as they change. What goes wrong becomes an Error whose message can be shown.

export async function call(path, { method = "GET", json, body } = {}) {
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: json === undefined ? body : JSON.stringify(json) });
  } catch {
    throw new Error("The studio does not answer. Is it still running?");
  }
  const text = await answer.text();
  let content = null;
  try { content = text ? JSON.parse(text) : null; } catch { /* said below */ }
  if (!answer.ok) throw Object.assign(new Error(wrong(content, answer.status)), { status: answer.status });
  return content;
}

function wrong(content, status) {
  if (content?.problems) return content.problems.join("\n");
  if (Array.isArray(content?.detail)) return content.detail.map((one) => `${one.loc.slice(1).join(" ")}: ${one.msg}`).join("\n");
  return content?.detail ?? `The studio answered ${status}.`;
}

// A file as a body, with its progress 0..1.
export function send(path, file, progress, method = "PUT") {
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => progress?.(event.loaded / event.total));
    request.addEventListener("load", () => request.status < 400 ? done(request.response) : failed(new Error(wrong(request.response, request.status))));
    request.addEventListener("error", () => failed(new Error("It did not arrive. Is the studio still running, and the file still there?")));
    request.send(file);
  });
}

export const jobs = new Map();
const heard = new Set();

// `listener(job)` is told of every change; returns what ends it.
export function onJob(listener) {
  heard.add(listener);
  return () => heard.delete(listener);
}

export function listen(connected) {
  const events = new EventSource("/api/jobs/events");
  events.addEventListener("open", () => connected(true));
  events.addEventListener("error", () => connected(false));
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    const before = jobs.get(job.id);
    jobs.set(job.id, job);
    for (const listener of [...heard]) listener(job, before);
  });
  events.addEventListener("gone", (event) => {
    const name = JSON.parse(event.data);
    const job = jobs.get(name);
    jobs.delete(name);
    if (job) for (const listener of [...heard]) listener({ ...job, state: "gone" }, job);
  });
}

export const ended = (job) => ["done", "failed", "stopped", "gone"].includes(job.state);

// A promise for the end of a job.
export function finished(job) {
  return new Promise((done) => {
    const off = onJob((now) => { if (now.id === job.id && ended(now)) { off(); done(now); } });
    const there = jobs.get(job.id);
    if (there && ended(there)) { off(); done(there); }
  });
}
