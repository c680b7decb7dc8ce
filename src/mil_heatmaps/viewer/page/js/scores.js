// The scores of one file's layer, and what is derived once per column: order, ranks, scale.

import { lowerBound, makeScale, percentileOf, quantise, sortedFinite, upperBound } from "./normalize.js";
import { orderByTop } from "./raster.js";

/** Patches and columns of one layer, fetched when first needed. */
export class ScoreTable {
  constructor(data, slide, number, about) {
    this.data = data;
    this.slide = slide;
    this.number = number;
    this.about = about;
    this.columns = new Map();
    this.patches = null;
  }

  /** @param {ScoreTable[]} tables all tables of the slide, to find what a fine map is ranked among */
  async load(column, tables, region = false) {
    const within = region && this.about.region ? await this.inside() : null;
    if (!this.patches) {
      this.coordsPromise ??= this.data.coords(this.slide, this.number, this.about.stamp);
      this.patches = patchesOf(await this.coordsPromise, this.about.patch);
    }
    const reference = await tables[this.about.reference]?.column(column);
    return new ScoreView(this, column, await this.column(column, within), reference?.sorted, within && "the region");
  }

  /** Which patches the run's picture of its region shows. */
  inside() {
    return (this.insidePromise ??= this.data.inside(this.slide, this.number, this.about.stamp));
  }

  column(column, within = null) {
    const key = `${column}${within ? " within" : ""}`;
    if (!this.columns.has(key)) {
      const { slide, number, about } = this;
      this.raw ??= new Map();
      if (!this.raw.has(column)) this.raw.set(column, this.data.column(slide, number, column, about.stamp));
      this.columns.set(key, this.raw.get(column).then((values) => new Column(values, within)));
    }
    return this.columns.get(key);
  }
}

function patchesOf(coords, [width, height]) {
  const count = coords.length / 2;
  const xs = new Int32Array(count);
  const ys = new Int32Array(count);
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    const x = (xs[i] = coords[2 * i]);
    const y = (ys[i] = coords[2 * i + 1]);
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x + width > box[2]) box[2] = x + width;
    if (y + height > box[3]) box[3] = y + height;
  }
  return { count, xs, ys, width, height, byTop: orderByTop(ys), box: count ? box : [0, 0, 0, 0] };
}

/** One score per patch; with a region, patches outside it are left out, and `all` still has them. */
export class Column {
  constructor(values, within) {
    this.all = values;
    this.values = within ? values.map((value, patch) => (within[patch] ? value : NaN)) : values;
    values = this.values;
    this.sorted = sortedFinite(values);
    this.quantised = new Map();
  }

  /** Patch indices from the highest score down; ties keep the order of the patches. */
  get ranking() {
    if (!this._ranking) {
      const finite = [];
      for (let i = 0; i < this.values.length; i++) if (Number.isFinite(this.values[i])) finite.push(i);
      this._ranking = Uint32Array.from(finite).sort((a, b) => this.values[b] - this.values[a] || a - b);
    }
    return this._ranking;
  }
}

/** A column with its layer: what a pane shows. */
export class ScoreView {
  constructor(table, index, column, reference = null, part = null) {
    this.part = part;
    this.table = table;
    this.index = index;
    this.column = column;
    this.reference = reference;
  }

  /** The normalisation that `norm` means for this score. */
  method(norm) {
    return norm === "auto" ? this.table.about.usual : norm;
  }

  /** Whether the score's middle, usually zero, has the middle colour. */
  hasMiddle({ norm, center }) {
    return this.middle !== null && center && ["minmax", "robust", "none"].includes(this.method(norm));
  }

  /** The middle score of a map for and against, and its name: [value, name]; null for other scores. */
  get middle() {
    return this.table.about.centers[this.index];
  }

  get patches() {
    return this.table.patches;
  }

  get name() {
    return this.table.about.names[this.index];
  }

  /** Scale and quantised values for a choice of normalisation; the most recent choices are cached. */
  scaled(choice) {
    const signed = this.middle !== null && choice.center;
    const method = this.method(choice.method);
    const ends = (choice.method === "auto" && this.table.about.ends) || [null, null];
    const key = JSON.stringify([method, signed, choice.low, choice.high, ends]);
    const cache = this.column.quantised;
    if (!cache.has(key)) {
      if (cache.size > 6) cache.delete(cache.keys().next().value);
      const { reference, table } = this;
      const scale = makeScale(this.column.sorted, { ...choice, method, ends, reference, part: this.part, center: signed ? this.middle : null, fixed: table.about.fixed, kind: table.about.kind });
      cache.set(key, { scale, values: quantise(this.column.values, scale) });
    }
    return cache.get(key);
  }

  /** What the pointer's label says about a patch. */
  describe(patch) {
    const { values, sorted, all } = this.column;
    const value = values[patch];
    const finite = Number.isFinite(value);
    return {
      patch,
      value: all[patch],
      outside: !finite && Number.isFinite(all[patch]),
      x: this.patches.xs[patch],
      y: this.patches.ys[patch],
      rank: finite ? sorted.length - upperBound(sorted, value) + 1 : null,
      ties: finite ? upperBound(sorted, value) - lowerBound(sorted, value) : 0,
      count: sorted.length,
      percentile: finite ? percentileOf(sorted, value) : null,
    };
  }
}
