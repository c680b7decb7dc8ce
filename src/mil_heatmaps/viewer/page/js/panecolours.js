// How panes get their colours: scores are loaded, normalised, looked up, painted.

import { colourOf, lookupTable } from "./colours.js";
import { exists, parseContent } from "./content.js";
import { outlinePath } from "./marks.js";
import { patchAt } from "./raster.js";

/** Values without the removed patches. */
function without(values, gone) {
  if (!gone) return values;
  const left = values.slice();
  for (const patch of gone) left[patch] = -1;
  return left;
}

export class PaneColours {
  constructor(app) {
    this.app = app;
    this.lookups = new Map();
  }

  /** Score views of a content: one for a score, two for a difference, none for slides and pictures. */
  async viewsOf(content) {
    const parsed = parseContent(content);
    const { tables, view } = this.app;
    if (parsed.kind === "scores") return [await tables[parsed.layer].load(parsed.column, tables, view.region)];
    if (parsed.kind !== "difference") return [];
    return Promise.all([parsed.a, parsed.b].map((at) => tables[at.layer].load(at.column, tables, view.region)));
  }

  get choice() {
    const { norm, center, fixedLow, fixedHigh } = this.app.view;
    return { method: norm, center, low: fixedLow, high: fixedHigh };
  }

  /** The chosen colormap; by default, a diverging one for maps with a middle. */
  paletteFor(pane) {
    const named = this.app.palettes.find((palette) => palette.name === this.app.view.cmap);
    const diverging = this.app.palettes.find((palette) => palette.diverging);
    if (pane.views.length === 2) return named?.diverging ? named : diverging;
    const [score] = pane.views;
    const unchosen = !named || this.app.view.cmap === this.app.store.defaults.cmap;
    if (score && unchosen && (score.table.about.cmapOfRanks || score.hasMiddle(this.app.view))) {
      const own = this.app.palettes.find((palette) => palette.name === score.table.about.cmap);
      if (own) return own;
    }
    return named ?? this.app.palettes[0];
  }

  lookupFor(pane) {
    const palette = this.paletteFor(pane);
    const { low, high, threshold, cold } = this.app.view;
    const half = pane.views.length === 2 ? this.widest(pane) / 2 : 0;
    const range = half ? { low: 0.5 - half, high: 0.5 + half, threshold: 0, cold: false } : { low, high, threshold, cold };
    const key = JSON.stringify([palette.name, range]);
    if (!this.lookups.has(key)) {
      if (this.lookups.size > 8) this.lookups.clear();
      this.lookups.set(key, lookupTable(palette, range));
    }
    return this.lookups.get(key);
  }

  /** Fetch the scores a pane needs. */
  async load(pane) {
    const { content } = pane;
    const key = `${content} ${this.app.view.region}`;
    if (pane.loaded === key && pane.views) return;
    const views = exists(content, this.app.layers) ? await this.viewsOf(content) : [];
    if (pane.content !== content) return; // changed while loading; the later call sets it
    pane.views = views;
    pane.loaded = key;
  }

  /** Bring a pane's colours, picture and outline up to date with the view. */
  paint(pane) {
    if (!pane.heat || !pane.views) return;
    const { view } = this.app;
    const parsed = parseContent(pane.content);
    const picture = parsed.kind === "picture" ? this.app.layers[parsed.layer] : null;
    const url = picture && ((...at) => this.app.data.pictureTile(this.app.number, picture, ...at));
    pane.showPicture(picture, url, view.picture);
    const gone = this.app.goneFrom?.(pane) ?? null;
    const parts = pane.views.map((score) => ({ patches: score.patches, values: without(score.scaled(this.choice).values, gone) }));
    pane.heat.show(parts.length ? parts : null, parts.length ? this.lookupFor(pane) : null, {
      clip: view.inside ? this.app.outline : null,
      smoothed: view.smooth,
    });
    pane.heat.canvas.style.opacity = view.opacity;
    const rings = parsed.kind === "scores" ? this.app.layers[parsed.layer].evidence ?? [] : [];
    pane.marks.show({
      sufficient: rings.length ? outlinePath(rings.map((outline) => ({ outline, holes: [] }))) : null,
      outline: view.tissue ? this.app.outline : null,
      region: view.region ? (pane.views[0] ?? this.app.activeView)?.table.about.region ?? null : null,
      evidence: pane.views[0] ? { patches: pane.views[0].patches, which: this.app.evidenceFrom?.(pane) ?? [] } : null,
      gone: gone && pane.views[0] ? { patches: pane.views[0].patches, which: gone } : null,
    });
  }

  /** The end of the colours of a difference, as a share of the scale: the chosen one, else the largest difference. */
  widest(pane) {
    return this.app.view.diff ?? this.largest(pane);
  }

  largest(pane) {
    const [a, b] = pane.views.map((score) => ({ patches: score.patches, values: score.scaled(this.choice).values }));
    if (pane.largestOf?.[0] === a.values && pane.largestOf[1] === b.values) return pane.largestOf[2];
    let most = 0;
    const { xs, ys, width, height, count } = a.patches;
    const same = a.patches.count === b.patches.count && a.patches.xs.every((x, i) => x === b.patches.xs[i] && ys[i] === b.patches.ys[i]);
    for (let i = 0; i < count; i++) {
      const other = same ? i : patchAt(b.patches, xs[i] + width / 2, ys[i] + height / 2);
      if (other >= 0 && a.values[i] >= 0 && b.values[other] >= 0) most = Math.max(most, Math.abs(a.values[i] - b.values[other]));
    }
    pane.largestOf = [a.values, b.values, Math.min(1, Math.max(0.01, most / 65535))];
    return pane.largestOf[2];
  }

  /** Colour of a place on the scale, 0 to 1. */
  ofShare(pane, share) {
    const { low, high } = this.app.view;
    const at = pane.views.length === 2 ? 0.5 + (share - 0.5) / this.widest(pane) : (share - low) / Math.max(high - low, 1e-9);
    return colourOf(this.paletteFor(pane), at);
  }
}
