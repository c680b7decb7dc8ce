// How panes come by their colours: scores loaded, normalised, looked up, painted.

import { colourOf, lookupTable } from "./colours.js";
import { exists, parseContent } from "./content.js";
import { outlinePath } from "./marks.js";

export class PaneColours {
  constructor(app) {
    this.app = app;
    this.lookups = new Map();
  }

  /** Score views of a content: one, two for a difference, none for slides and pictures. */
  async viewsOf(content) {
    const parsed = parseContent(content);
    const { tables } = this.app;
    if (parsed.kind === "scores") return [await tables[parsed.layer].load(parsed.column, tables)];
    if (parsed.kind !== "difference") return [];
    return Promise.all([parsed.a, parsed.b].map((at) => tables[at.layer].load(at.column, tables)));
  }

  get choice() {
    const { norm, center, fixedLow, fixedHigh } = this.app.view;
    return { method: norm, center, low: fixedLow, high: fixedHigh };
  }

  /** The chosen colormap; by itself, one with a middle for maps that have one. */
  paletteFor(pane) {
    const named = this.app.palettes.find((palette) => palette.name === this.app.view.cmap);
    const diverging = this.app.palettes.find((palette) => palette.diverging);
    if (pane.views.length === 2) return named?.diverging ? named : diverging;
    if (named) return named;
    return pane.views[0]?.hasMiddle(this.app.view) ? diverging : this.app.palettes[0];
  }

  lookupFor(pane) {
    const palette = this.paletteFor(pane);
    const { low, high, threshold, cold } = this.app.view;
    const range = pane.views.length === 2 ? { low: 0, high: 1, threshold: 0, cold: false } : { low, high, threshold, cold };
    const key = JSON.stringify([palette.name, range]);
    if (!this.lookups.has(key)) {
      if (this.lookups.size > 8) this.lookups.clear();
      this.lookups.set(key, lookupTable(palette, range));
    }
    return this.lookups.get(key);
  }

  /** Fetch the scores a pane needs. */
  async load(pane) {
    if (pane.loaded === pane.content && pane.views) return;
    const { content } = pane;
    const views = exists(content, this.app.layers) ? await this.viewsOf(content) : [];
    if (pane.content !== content) return; // changed while loading; the later call sets it
    pane.views = views;
    pane.loaded = content;
  }

  /** Bring a pane's colours, picture and outline up to date with the view. */
  paint(pane) {
    if (!pane.heat || !pane.views) return;
    const { view } = this.app;
    const parsed = parseContent(pane.content);
    const picture = parsed.kind === "picture" ? this.app.layers[parsed.layer] : null;
    const url = picture && ((...at) => this.app.data.pictureTile(this.app.number, picture.picture, ...at));
    pane.showPicture(picture, url, view.opacity);
    const parts = pane.views.map((score) => ({ patches: score.patches, values: score.scaled(this.choice).values }));
    pane.heat.show(parts.length ? parts : null, parts.length ? this.lookupFor(pane) : null, {
      clip: view.inside ? this.app.outline : null,
      smoothed: view.smooth,
    });
    pane.heat.canvas.style.opacity = view.opacity;
    pane.marks.showOutline(view.tissue ? this.app.outline : null);
    const rings = parsed.kind === "scores" ? this.app.layers[parsed.layer].evidence ?? [] : [];
    pane.marks.showEvidence(rings.length ? outlinePath(rings.map((outline) => ({ outline, holes: [] }))) : null);
  }

  /** Colour of a place on the scale, 0 to 1. */
  ofShare(pane, share) {
    const { low, high } = this.app.view;
    const at = pane.views.length === 2 ? share : (share - low) / Math.max(high - low, 1e-9);
    return colourOf(this.paletteFor(pane), at);
  }
}
