// The slides of a case side by side, coloured on one scale: ranks and ranges are computed over all of them.

import { barElement } from "./colourbar.js";
import { columnTitle, parseContent } from "./content.js";
import { byId, make } from "./dom.js";
import { outlinePath } from "./marks.js";
import { quantise } from "./normalize.js";
import { Pane } from "./pane.js";
import { Column, ScoreTable, ScoreView } from "./scores.js";

const COLUMNS = ["case_id", "patient_id", "patient"];
const MOST = 12;

const caseOf = (slide) => COLUMNS.map((name) => slide.cells[name]).find(Boolean) ?? "";

export class CaseBoard {
  constructor(app) {
    this.app = app;
    this.button = make("button", {
      type: "button", id: "case", className: "plain", text: "Case", "aria-pressed": "false", hidden: true,
      title: "The slides of this case side by side, on one scale", onclick: () => (this.box ? this.close() : this.open()),
    });
    byId("compare").after(this.button);
    app.on("slide", () => {
      this.close();
      this.button.hidden = this.members.length < 2;
    });
    app.on("colours", () => this.paint());
  }

  /** The slides of the same case as the slide on the screen, by their places in the list. */
  get members() {
    const { slides } = this.app.index;
    const name = slides[this.app.number] ? caseOf(slides[this.app.number]) : "";
    if (!name) return [];
    return slides.map((_, number) => number).filter((number) => slides[number].canOpen && caseOf(slides[number]) === name);
  }

  close() {
    for (const { pane } of this.cells ?? []) pane.destroy();
    this.box?.remove();
    this.box = this.cells = null;
    this.button.setAttribute("aria-pressed", "false");
  }

  async open() {
    const { app } = this;
    const [first] = app.activeView ? [app.activeView] : [];
    if (!first) return;
    const about = { ...first.table.about, name: first.name };
    this.grid = make("div", { className: "case-grid" });
    this.bar = make("div", { className: "case-bar" });
    const box = make("section", { id: "case-board", "aria-label": "Slides of the case" }, this.grid, this.bar);
    this.box = box;
    this.button.setAttribute("aria-pressed", "true");
    byId("stagebox").append(box);
    try {
      const found = await Promise.all(this.members.slice(0, MOST).map((number) => this.load(number, about)));
      if (this.box !== box) return;
      this.cells = found;
      for (const [i, cell] of found.entries()) this.place(cell, i);
      await Promise.all(found.map(({ pane, slide, number }) => pane.openSlide(slide.slide, (...at) => app.data.slideTile(number, ...at))));
      if (this.box === box) this.paint();
    } catch (error) {
      if (this.box === box) this.bar.replaceChildren(make("p", { text: error.message }));
    }
  }

  /** A slide with the column of the score on the screen, if it has that score. */
  async load(number, { score, title, bag, name }) {
    const slide = await this.app.data.describe(number);
    const layer = slide.layers.findIndex((other) => other.type === "scores" && other.score === score && other.title === title && other.bag === bag);
    const cell = { number, slide, view: null };
    if (layer < 0) return cell;
    const about = slide.layers[layer];
    if (slide.tissue) cell.outline = outlinePath(await this.app.data.tissue(number));
    const named = about.names.indexOf(name);
    const tables = slide.layers.map((other, i) => (other.type === "scores" ? new ScoreTable(this.app.data, number, i, other) : null));
    cell.view = await tables[layer].load(named >= 0 ? named : 0, tables);
    return cell;
  }

  place(cell, i) {
    const { slide } = cell;
    const [width, height] = slide.slide.size;
    cell.pane = new Pane(i, { navigator: false, aspect: height / width, room: 400 });
    cell.pane.menu.remove();
    cell.pane.close.remove();
    const name = make("button", {
      type: "button", className: "plain", text: slide.name, title: "Open this slide",
      onclick: () => (cell.number === this.app.number ? this.close() : this.app.openSlide(cell.number).catch((error) => this.app.fail(error))),
    });
    const lacks = make("span", { className: "note", text: cell.view ? "" : "has no such map" });
    this.grid.append(make("div", { className: "case-cell" }, make("div", { className: "case-head" }, name, lacks), cell.pane.element));
    cell.pane.mount();
  }

  /** Colour all slides as chosen for the view, on one scale for all of them. */
  paint() {
    const { app } = this;
    const cells = (this.cells ?? []).filter(({ view, pane }) => view && pane?.isOpen);
    if (!cells.length) return;
    const all = new Float32Array(cells.reduce((sum, { view }) => sum + view.column.values.length, 0));
    let at = 0;
    for (const { view } of cells) {
      all.set(view.column.values, at);
      at += view.column.values.length;
    }
    const { table, index } = cells[0].view;
    if (this.pooled?.cells !== this.cells) {
      const about = { ...table.about, count: all.length, spread: [] }; // evenness of attention was measured per slide
      this.pooled = { cells: this.cells, view: new ScoreView({ about, patches: table.patches }, index, new Column(all), null, "the case") };
    }
    const pane = { views: [this.pooled.view], content: app.active.content };
    const { scale } = this.pooled.view.scaled(app.colours.choice);
    const lookup = app.colours.lookupFor(pane);
    for (const cell of cells) {
      const { heat } = cell.pane;
      heat.show([{ patches: cell.view.patches, values: quantise(cell.view.column.values, scale) }], lookup, { clip: app.view.inside ? cell.outline ?? null : null, smoothed: app.view.smooth });
      heat.canvas.style.opacity = app.view.opacity;
    }
    this.bar.replaceChildren(make("p", { className: "note", text: `${cells.length} slides of the case on one scale: ${columnTitle(app.layers, parseContent(pane.content))}` }), barElement(app, pane));
  }
}
