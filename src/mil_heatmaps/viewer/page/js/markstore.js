// The marks of the slide on the screen: kept with the server where a folder was named, else only as long as the page.

import { toast } from "./dom.js";

const SAVE_MS = 600;
export const COLOURS = [["Tumour", [200, 0, 0]], ["Stroma", [150, 200, 150]], ["Necrosis", [50, 50, 50]], ["Other", [255, 200, 0]]];

export function featureOf(geometry, { name = "", kind = "", colour = [255, 200, 0] } = {}) {
  return {
    type: "Feature", id: crypto.randomUUID(), geometry,
    properties: { objectType: "annotation", name, classification: kind ? { name: kind, color: colour } : undefined },
  };
}

/** Features of a GeoJSON text, QuPath's or ours. */
export function featuresOf(text) {
  const read = JSON.parse(text);
  const features = Array.isArray(read) ? read : read.type === "FeatureCollection" ? read.features : [read];
  const known = new Set(["Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"]);
  if (!features?.length || !features.every((feature) => feature?.type === "Feature" && known.has(feature.geometry?.type))) {
    throw new Error("no GeoJSON features with points, lines or polygons");
  }
  return features.map((feature) => ({ ...feature, id: feature.id ?? crypto.randomUUID(), properties: feature.properties ?? {} }));
}

export class MarkStore {
  constructor(app, changed) {
    this.app = app;
    this.changed = changed;
    this.features = [];
    this.past = [];
    app.on("slide", () => this.load());
  }

  get canWrite() {
    return Boolean(this.app.index.canWrite);
  }

  async load() {
    const { app } = this;
    const { number, generation } = app;
    if (this.timer) await this.save(); // of the slide before
    this.features = [];
    this.past = [];
    this.number = number;
    this.changed();
    if (!this.canWrite) return;
    try {
      const { features, stamp } = await app.data.notes(`marks/${number}`);
      if (generation !== app.generation) return;
      this.features = features.map((feature) => ({ ...feature, id: feature.id ?? crypto.randomUUID(), properties: feature.properties ?? {} }));
      this.stamp = stamp;
    } catch (error) {
      this.stamp = undefined;
      toast(error.message);
    }
    this.changed();
  }

  /** Take a new list of marks; the one before can be had again. */
  set(features) {
    this.past = [...this.past.slice(-49), this.features];
    this.features = features;
    this.changed();
    this.saveSoon();
  }

  undo() {
    if (!this.past.length) return;
    this.features = this.past.pop();
    this.changed();
    this.saveSoon();
  }

  saveSoon() {
    if (!this.canWrite || this.stamp === undefined) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), SAVE_MS);
  }

  async save() {
    clearTimeout(this.timer);
    this.timer = null;
    const { number, features, stamp } = this;
    this.saving = (this.saving ?? Promise.resolve()).then(async () => {
      try {
        const saved = await this.app.data.notes(`marks/${number}`, { features, stamp: number === this.number ? this.stamp : stamp });
        if (number === this.number) this.stamp = saved.stamp;
      } catch (error) {
        toast(`Marks were not saved: ${error.message}`);
        if (error.status === 409 && number === this.number) await this.load();
      }
    });
    return this.saving;
  }
}
