// The patch under the pointer: its score in every map on the screen, rank, percentile and place.

import { columnTitle, parseContent } from "./content.js";
import { byId, grouped, make } from "./dom.js";
import { brief } from "./normalize.js";
import { patchAt } from "./raster.js";

/** Where a score stands among those of the slide. */
function rankWords({ rank, count, ties, percentile, outside }) {
  if (outside) return "outside the region, not ranked";
  if (rank === null) return "";
  return `rank ${grouped(rank)} of ${grouped(count)}${ties > 1 ? ` (${grouped(ties)} alike)` : ""} · percentile ${brief(percentile)}`;
}

function chosenWords(app, score, patch) {
  const about = score.describe(patch);
  const value = Number.isFinite(about.value) ? `score ${brief(about.value, 6)}` : "no score";
  const title = columnTitle(app.layers, parseContent(app.active.content).a ?? parseContent(app.active.content));
  const rank = rankWords(about);
  return `Chosen patch ${patch}: ${value}${rank ? ` · ${rank}` : ""} · x ${grouped(about.x)}, y ${grouped(about.y)} · ${title}`;
}

export class Hover {
  constructor(app) {
    this.app = app;
    this.tip = byId("tip");
    app.onPane = (pane) => this.watch(pane);
    app.on("slide", () => {
      this.hide();
      this.tellChosen();
    });
    app.on("colours", () => this.tellChosen());
  }

  /** The chosen patch in words, as in the pointer's label: for touch, keys and screen readers. */
  tellChosen() {
    const { app } = this;
    const line = byId("chosen");
    const score = app.activeView;
    const { patch } = app.view;
    const known = score && patch !== null && patch >= 0 && patch < score.patches.count;
    // Shown as long as there are scores: a line that appears later would move the slide.
    line.hidden = !app.layers.some((about) => about.type === "scores");
    const words = known ? chosenWords(app, score, patch) : "No patch is chosen.";
    if (line.textContent !== words) line.textContent = words;
  }

  watch(pane) {
    pane.element.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" && event.buttons) return; // a finger moves the slide
      this.at = { pane, x: event.clientX, y: event.clientY };
      this.frame ??= requestAnimationFrame(() => {
        this.frame = null;
        this.update();
      });
    });
    pane.element.addEventListener("pointerleave", () => this.hide());
    pane.viewer.addHandler("canvas-click", (event) => {
      if (!event.quick || this.app.tool?.takes()) return;
      const [x, y] = pane.slidePoint(event.originalEvent.clientX, event.originalEvent.clientY);
      const patch = this.find(x, y);
      this.app.store.set({ patch: patch < 0 ? null : patch });
    });
  }

  find(x, y) {
    const { activeView } = this.app;
    return activeView ? patchAt(activeView.patches, x, y) : -1;
  }

  update() {
    if (!this.at?.pane.isOpen) return;
    const { app, at } = this;
    const onMenu = document.elementFromPoint(at.x, at.y)?.closest("select, button, .navigator");
    const [x, y] = at.pane.slidePoint(at.x, at.y);
    this.app.tool?.hover?.(x, y);
    const patch = onMenu ? -1 : this.find(x, y);
    if (patch < 0) {
      this.hide();
      return;
    }
    const { patches } = app.activeView;
    const box = [patches.xs[patch], patches.ys[patch], patches.width, patches.height];
    for (const pane of app.panes) pane.marks?.showBox("hover", box);
    this.fill(patch, x, y);
    this.place(at.x, at.y);
  }

  /** Every map on the screen that has a patch here. */
  fill(patch, x, y) {
    const { app } = this;
    const rows = [];
    const seen = new Set();
    for (const pane of app.panes) {
      const parsed = parseContent(pane.content);
      const parts = parsed.kind === "difference" ? [parsed.a, parsed.b] : [parsed];
      (pane.views ?? []).forEach((score, i) => {
        const key = `${parts[i].layer}.${parts[i].column}`;
        if (seen.has(key)) return;
        seen.add(key);
        const same = score.patches === app.activeView.patches;
        const there = same ? patch : patchAt(score.patches, x, y);
        if (there >= 0) rows.push({ title: columnTitle(app.layers, parts[i]), ...score.describe(there) });
      });
    }
    this.tip.replaceChildren(...rows.map((row) => make(
      "div", { className: "tip-row" },
      make("div", { className: "tip-title", text: row.title }),
      make("div", { className: "tip-value", text: Number.isFinite(row.value) ? brief(row.value, 6) : "no score" }),
      make("div", {
        className: "tip-rank",
        text: rankWords(row),
      }),
    )));
    const first = rows[0];
    const { patches } = app.activeView;
    this.tip.append(make("div", {
      className: "tip-place",
      text: `patch ${patch} at x ${grouped(first?.x ?? 0)}, y ${grouped(first?.y ?? 0)} · ${patches.width} × ${patches.height} px`,
    }));
    this.tip.dataset.patch = patch;
    if (first) this.tip.dataset.value = first.value;
  }

  place(x, y) {
    this.tip.hidden = false;
    const box = this.tip.getBoundingClientRect();
    const left = x + 18 + box.width > innerWidth ? x - box.width - 14 : x + 18;
    const top = Math.min(Math.max(8, y + 18), innerHeight - box.height - 8);
    this.tip.style.left = `${Math.max(8, left)}px`;
    this.tip.style.top = `${top}px`;
  }

  hide() {
    this.at = null;
    if (this.tip.hidden) return;
    this.tip.hidden = true;
    for (const pane of this.app.panes) pane.marks?.showBox("hover", null);
  }
}
