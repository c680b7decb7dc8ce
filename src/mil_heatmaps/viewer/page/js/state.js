// The whole view as one flat object, stored in the address after '#': sending the address sends the view.

export const MODES = ["side", "overlay", "swipe"];

export const DEFAULTS = Object.freeze({
  slide: "", // by name: numbers change when slides are added
  mode: "side",
  panes: "", // contents of the panes, separated by ';' (see content.js)
  x: null, // centre, level-0 pixels
  y: null,
  z: null, // screen pixels per level-0 pixel
  r: 0, // rotation, degrees
  swipe: 50, // position of the divider, percent
  cmap: "auto",
  norm: "auto", // depends on the kind of score
  fixedLow: null,
  fixedHigh: null,
  center: true,
  low: 0, // ends of the colours, shares of the scale
  high: 1,
  threshold: 0,
  cold: false, // the threshold hides the high side
  opacity: 0.6,
  picture: 1, // opacity of a picture that is laid over the slide: it holds the slide already
  diff: null, // end of the colours of a difference, share of the scale; null: the largest on this slide
  region: true, // only the part that the run's pictures show, if they show a part
  gone: 0, // share of the patches that is greyed out, highest first
  marks: true,
  smooth: false,
  inside: false, // colours only inside the tissue
  tissue: true,
  patch: null, // the chosen patch
});

const KEYS = Object.keys(DEFAULTS);

/** Read a view from an address; missing or wrong values keep their default. */
export function parseView(hash, defaults = DEFAULTS) {
  const view = { ...defaults };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    if (!KEYS.includes(key)) continue;
    const sample = DEFAULTS[key];
    if (typeof sample === "boolean") view[key] = text === "1";
    else if (typeof sample === "string") view[key] = text;
    else if (Number.isFinite(Number(text)) && text !== "") view[key] = Number(text);
  }
  if (!MODES.includes(view.mode)) view.mode = DEFAULTS.mode;
  for (const key of ["low", "high", "threshold", "opacity", "picture", "gone"]) view[key] = Math.min(1, Math.max(0, view[key]));
  view.swipe = Math.min(100, Math.max(0, view.swipe));
  if (view.diff !== null) view.diff = Math.min(1, Math.max(0.01, view.diff));
  if (view.low >= view.high) [view.low, view.high] = [0, 1];
  return view;
}

/** Write a view as an address; defaults are left out. */
export function formatView(view, defaults = DEFAULTS) {
  const parts = new URLSearchParams();
  for (const key of KEYS) {
    const value = view[key];
    if (value === defaults[key] || value === null || value === "") continue;
    if (typeof value === "boolean") parts.set(key, value ? "1" : "0");
    else if (typeof value === "number") parts.set(key, String(Number(value.toPrecision(10))));
    else parts.set(key, value);
  }
  return `#${parts}`;
}

/** Holds the view and tells listeners of every change. */
export class Store {
  constructor(view, defaults) {
    this.view = view;
    this.defaults = defaults;
    this.listeners = [];
  }

  /** @param {function(object, Set<string>)} listener gets the view and the names that changed */
  onChange(listener) {
    this.listeners.push(listener);
  }

  set(change) {
    const changed = new Set(Object.keys(change).filter((key) => change[key] !== this.view[key]));
    if (!changed.size) return;
    Object.assign(this.view, change);
    for (const listener of this.listeners) listener(this.view, changed);
    this.writeSoon();
  }

  /** Browsers limit how often the address may change. */
  writeSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.writeNow(), 250);
  }

  writeNow() {
    clearTimeout(this.timer);
    const hash = formatView(this.view, this.defaults);
    if (hash !== location.hash) history.replaceState(null, "", hash === "#" ? location.pathname : hash);
  }
}
