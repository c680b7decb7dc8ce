// More like this: the chosen patch becomes a concept, and every patch is coloured by its similarity, on this slide and
// on slides opened later.

import { byId, make, toast } from "./dom.js";
import { ScoreTable } from "./scores.js";

class LikeTable extends ScoreTable {
  constructor(app, layer, about, like) {
    super(app.data, app.number, layer, about);
    this.like = like;
  }

  column() {
    if (!this.columns.has("0")) {
      this.raw = new Map([[0, this.data.like(this.slide, this.number, this.like)]]);
    }
    return super.column(0);
  }
}

export class Like {
  constructor(app) {
    this.app = app;
    this.like = null;
    this.button = make("button", {
      type: "button", id: "like", className: "plain", text: "More like this", hidden: true,
      title: "Colour every patch by how alike it is to the chosen one, here and on the slides opened next", onclick: () => this.choose(),
    });
    byId("chosen").after(this.button);
    app.on("slide", () => this.wanted());
    app.on("colours", () => this.offer());
  }

  /** The layer of scores on the screen whose patches have features. */
  get base() {
    const { app } = this;
    const layer = app.activeView?.table.number;
    return layer !== undefined && app.layers[layer]?.hasFeatures ? layer : -1;
  }

  offer() {
    const { activeView, view } = this.app;
    const known = activeView && view.patch !== null && view.patch >= 0 && view.patch < activeView.patches.count;
    this.button.hidden = !known || this.base < 0;
  }

  choose() {
    const { app, base } = this;
    this.like = { slide: app.number, layer: base, patch: app.view.patch };
    this.add(base, true);
  }

  /** On another slide the concept stays. */
  wanted() {
    if (!this.like || this.like.slide === this.app.number) return;
    const base = this.app.layers.findIndex((about) => about.type === "scores" && about.hasFeatures);
    if (base >= 0) this.add(base, false);
  }

  /** Add the map to the slide's layers, in place of an earlier one; `shown`: put it on the screen. */
  async add(base, shown) {
    const { app, like } = this;
    const { generation } = app;
    try {
      const about = await app.data.aboutLike(app.number, base, like);
      if (generation !== app.generation) return;
      const old = app.tables.findIndex((table) => table instanceof LikeTable);
      const layer = old >= 0 ? old : app.layers.length;
      const of = app.layers[base];
      app.layers[layer] = { ...of, ...about, hasFeatures: false, title: of.title, notes: of.notes ?? [], evidence: [] };
      app.tables[layer] = new LikeTable(app, base, app.layers[layer], like);
      const panes = app.contents.filter((content) => content !== `${layer}.0`);
      for (const pane of app.panes) if (pane.content === `${layer}.0`) pane.loaded = null;
      if (shown) app.store.set({ panes: [...panes.slice(0, 2), `${layer}.0`].join(";") });
      app.tell("panes");
      await app.refresh();
    } catch (error) {
      toast(error.message);
    }
  }
}
