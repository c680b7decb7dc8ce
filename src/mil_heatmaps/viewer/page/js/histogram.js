// Histogram of the scores, in the colours of the map, with handles for threshold and range.

import { make } from "./dom.js";
import { brief, lowerBound } from "./normalize.js";

const BINS = 64;
const HANDLES = [
  ["low", "Lower end of the colours"],
  ["high", "Upper end of the colours"],
  ["threshold", "Threshold"],
];

export class Histogram {
  constructor(app) {
    this.app = app;
    this.canvas = make("canvas", { className: "histogram", width: 560, height: 150, role: "img" });
    this.track = make("div", { className: "handles" });
    this.handles = new Map(HANDLES.map(([key, label]) => [key, this.makeHandle(key, label)]));
    this.ends = make("div", { className: "ends" }, make("span"), make("span"));
    this.element = make("div", { className: "histogram-box" }, this.canvas, this.track, this.ends);
  }

  makeHandle(key, label) {
    const handle = make("div", {
      className: `handle ${key}`, role: "slider", tabindex: "0", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": "100",
    });
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
    });
    handle.addEventListener("pointermove", (event) => {
      if (!handle.hasPointerCapture(event.pointerId)) return;
      const box = this.track.getBoundingClientRect();
      this.move(key, this.shareAt((event.clientX - box.left) / box.width));
    });
    handle.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -0.01, ArrowDown: -0.01, ArrowRight: 0.01, ArrowUp: 0.01, PageDown: -0.1, PageUp: 0.1 }[event.key];
      const end = { Home: 0, End: 1 }[event.key];
      if (step === undefined && end === undefined) return;
      event.preventDefault();
      event.stopPropagation();
      this.move(key, end ?? this.app.view[key] + step);
    });
    this.track.append(handle);
    return handle;
  }

  move(key, share) {
    const { view, store } = this.app;
    let value = Math.min(1, Math.max(0, Math.round(share * 1000) / 1000));
    if (key === "low") value = Math.min(value, view.high - 0.01);
    if (key === "high") value = Math.max(value, view.low + 0.01);
    store.set({ [key]: value });
  }

  /** Raw score at a place across the box, 0 left and 1 right. */
  rawAt(place) {
    return this.least + place * (this.most - this.least);
  }

  shareAt(place) {
    if (place <= 0) return 0;
    return place >= 1 ? 1 : this.scale.forward(this.rawAt(place));
  }

  placeOf(share) {
    if (share <= 0) return 0;
    if (share >= 1) return 1;
    return Math.min(1, Math.max(0, (this.scale.inverse(share) - this.least) / (this.most - this.least || 1)));
  }

  update() {
    const { app } = this;
    const score = app.activeView;
    const sorted = score?.column.sorted;
    this.element.hidden = !sorted?.length;
    if (this.element.hidden) return;
    this.scale = score.scaled(app.colours.choice).scale;
    this.least = sorted[0];
    this.most = sorted[sorted.length - 1];
    if (this.counted !== score.column) this.count(score.column);
    this.draw();
    const { view } = app;
    for (const [key, handle] of this.handles) {
      handle.style.left = `${this.placeOf(view[key]) * 100}%`;
      handle.setAttribute("aria-valuenow", String(Math.round(view[key] * 1000) / 10));
      const raw = Math.min(this.most, Math.max(this.least, this.scale.inverse(view[key])));
      handle.setAttribute("aria-valuetext", `${Math.round(view[key] * 1000) / 10} % of the scale, score ${brief(raw)}`);
      handle.title = `${handle.getAttribute("aria-label")}: ${brief(raw)}`;
    }
    this.ends.firstChild.textContent = brief(this.least);
    this.ends.lastChild.textContent = brief(this.most);
    this.canvas.setAttribute("aria-label", `Histogram of ${sorted.length} scores from ${brief(this.least)} to ${brief(this.most)}`);
  }

  count(column) {
    this.counted = column;
    const { sorted } = column;
    const edges = Array.from({ length: BINS + 1 }, (_, i) => lowerBound(sorted, this.rawAt(i / BINS)));
    edges[BINS] = sorted.length;
    this.counts = edges.slice(1).map((edge, i) => edge - edges[i]);
  }

  draw() {
    const { app, canvas } = this;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const most = Math.sqrt(Math.max(...this.counts));
    const wide = canvas.width / BINS;
    const { threshold, cold } = app.view;
    this.counts.forEach((count, bin) => {
      if (!count) return;
      const share = this.scale.forward(this.rawAt((bin + 0.5) / BINS));
      const [r, g, b] = app.colours.ofShare(app.active, share);
      const hidden = threshold > 0 && (cold ? share > threshold : share < threshold);
      // Square roots keep rare scores visible beside frequent ones.
      const high = Math.max(2, (Math.sqrt(count) / most) * (canvas.height - 6));
      context.fillStyle = `rgba(${r},${g},${b},${hidden ? 0.15 : 1})`;
      context.fillRect(bin * wide, canvas.height - high, wide - 1, high);
      context.strokeStyle = hidden ? "rgba(128,128,128,0.5)" : "rgba(90,90,90,0.35)";
      context.strokeRect(bin * wide + 0.5, canvas.height - high + 0.5, wide - 2, high - 1);
    });
  }
}
