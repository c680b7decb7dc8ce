// The patch under the pointer: its score in every map on the screen, rank, percentile and place.

import { columnTitle, parseContent } from "./content.js";
import { byId, grouped, make } from "./dom.js";
import { brief } from "./normalize.js";
import { patchAt } from "./raster.js";

export class Hover {
  constructor(app) {
    this.app = app;
    this.tip = byId("tip");
    app.onPane = (pane) => this.watch(pane);
    app.on("slide", () => this.hide());
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
      if (!event.quick) return;
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
        text: row.rank === null ? "" : `rank ${grouped(row.rank)} of ${grouped(row.count)}`
          + `${row.ties > 1 ? ` (${grouped(row.ties)} alike)` : ""} · ${brief(row.percentile)}th percentile`,
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
