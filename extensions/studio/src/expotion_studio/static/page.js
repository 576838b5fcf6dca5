// Small things that every room needs: elements, messages, times.

// An element: el("button", { class: "quiet", onclick: f, "aria-label": "x" }, "text", child, ...)
export function el(name, attributes = {}, ...children) {
  const node = name.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && !name.startsWith("svg:") && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const $ = (selector, within = document) => within.querySelector(selector);

// Words that stay until the next ones, read out by screen readers; problems stand out.
export function say(text, failed = false) {
  const said = $("#said");
  said.replaceChildren();
  if (!text) return;
  said.append(el("div", { class: failed ? "notice failed" : "notice" }, el("span", {}, text),
    el("button", { type: "button", class: "quiet", onclick: () => say("") }, "Close")));
}

// Run something of a button's: it cannot be pressed twice, and what goes wrong is said.
export function act(work) {
  return async (event) => {
    const button = event?.currentTarget;
    if (button?.disabled) return;
    if (button instanceof HTMLButtonElement) button.disabled = true;
    try { say(""); await work(event); } catch (error) { say(error.message, true); }
    finally { if (button instanceof HTMLButtonElement) button.disabled = false; }
  };
}

export const seconds = (s) => s < 60 ? `${Math.round(s * 10) / 10} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
export const left = (s) => s === null || s === undefined ? "" : s < 1 ? "almost there" : `about ${seconds(Math.ceil(s))} left`;
export const megabytes = (n) => `${(n / 1e6).toFixed(1)} MB`;
