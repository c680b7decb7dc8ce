// The marks of the slide on the screen: stored by the server where a folder was named, else only as long as the page.

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

/** The marks of one slide: `saved` as the file has them, under `stamp`; `trouble`: why others are not saved. */
class Sheet {
  constructor(number) {
    Object.assign(this, { number, features: [], past: [], stamp: undefined, trouble: "" });
    this.saved = this.features;
  }
}

export class MarkStore {
  constructor(app, changed) {
    this.app = app;
    this.changed = changed;
    this.sheet = new Sheet(app.number);
    this.saving = Promise.resolve();
    app.on("slide", () => this.load());
    addEventListener("beforeunload", (event) => this.canWrite && this.features !== this.sheet.saved && event.preventDefault());
  }

  get canWrite() {
    return Boolean(this.app.index.canWrite);
  }

  get features() {
    return this.sheet.features;
  }

  get trouble() {
    return this.sheet.trouble;
  }

  load() {
    const sheet = new Sheet(this.app.number);
    if (this.timer) this.save(); // the marks of the previous slide
    this.sheet = sheet;
    this.changed();
    if (this.canWrite) this.inTurn(sheet, () => this.open(sheet));
  }

  /** Reads and writes run one after the other. */
  inTurn(sheet, work) {
    this.saving = this.saving.then(work).then(() => {
      sheet.trouble = "";
    }, (error) => {
      sheet.trouble = error.message;
      toast(error.message);
    }).then(() => {
      if (sheet === this.sheet) this.changed();
    });
    return this.saving;
  }

  async open(sheet) {
    const { features, stamp } = await this.read(sheet);
    const drawn = sheet.features; // marks drawn meanwhile
    sheet.saved = features;
    sheet.features = drawn.length ? [...features, ...drawn] : features;
    sheet.stamp = stamp;
  }

  async read({ number }) {
    const { features, stamp } = await this.app.data.notes(`marks/${number}`);
    return { stamp, features: features.map((feature) => ({ ...feature, id: feature.id ?? crypto.randomUUID(), properties: feature.properties ?? {} })) };
  }

  /** Replace the marks; undo brings the previous ones back. */
  set(features) {
    const { sheet } = this;
    sheet.past = [...sheet.past.slice(-49), sheet.features];
    this.show(features);
  }

  undo() {
    const { past } = this.sheet;
    if (past.length) this.show(past.pop());
  }

  show(features) {
    this.sheet.features = features;
    this.changed();
    if (!this.canWrite) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.save(), SAVE_MS);
  }

  /** Write the marks on the screen, after any write in progress. */
  save() {
    clearTimeout(this.timer);
    this.timer = null;
    const { sheet } = this;
    return this.inTurn(sheet, () => this.write(sheet));
  }

  /** Write marks over those with their stamp; marks that somebody else wrote meanwhile stay. */
  async write(sheet) {
    const { features, stamp } = sheet;
    try {
      sheet.stamp = (await this.app.data.notes(`marks/${sheet.number}`, { features, stamp: stamp ?? "unread" })).stamp;
      sheet.saved = features;
    } catch (error) {
      if (error.status !== 409) throw error;
      const theirs = await this.read(sheet);
      sheet.features = merged(sheet.saved, theirs.features, sheet.features);
      [sheet.saved, sheet.stamp] = [theirs.features, theirs.stamp];
      toast("Marks were changed elsewhere: theirs and yours are kept");
      await this.write(sheet);
    }
  }
}

/** Merge marks of two readers who began from the same: what either added or changed, without what either removed. */
function merged(before, theirs, mine) {
  const by = (features) => new Map(features.map((feature) => [feature.id, feature]));
  const [old, their, own] = [by(before), by(theirs), by(mine)];
  const touched = (feature) => JSON.stringify(feature) !== JSON.stringify(old.get(feature.id));
  return [
    ...theirs.filter(({ id }) => own.has(id) || !old.has(id)).map((feature) => (own.has(feature.id) && touched(own.get(feature.id)) ? own.get(feature.id) : feature)),
    ...mine.filter((feature) => !their.has(feature.id) && touched(feature)),
  ];
}
