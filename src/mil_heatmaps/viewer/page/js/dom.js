// Small helpers for building the page. Text is always inserted as text: a slide name with markup stays a name.

/** @param {string} tag @param {object} attributes `text`, `on*` handlers, or attributes @param {...Node|string} children */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "className") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export const byId = (id) => document.getElementById(id);

let toastTimer;

/** Show a message for a moment. */
export function toast(text) {
  const box = byId("toast");
  box.textContent = text;
  box.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => box.classList.remove("shown"), 3500);
}

export const grouped = (number) => Math.round(number).toLocaleString("en").replaceAll(",", "\u202f");

/** Call a function of share.js, which is fetched at first use. */
export const share = async (name, ...given) => (await import("./share.js"))[name](...given);

/** Read what the browser stores for its user or, with a value, write it; private windows store nothing. */
export function kept(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(key);
    localStorage.setItem(key, value);
  } catch {
    // Then the value lasts as long as the page.
  }
  return null;
}
