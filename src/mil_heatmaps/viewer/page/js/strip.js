// The patches that matter most and least: pictures in a row, a click flies there.

import { byId, grouped, make, toast } from "./dom.js";
import { brief } from "./normalize.js";

export const EACH = 12;

export class Strip {
  constructor(app) {
    this.app = app;
    this.box = byId("strip");
    app.on("slide", () => this.clear());
    app.on("colours", () => this.update());
  }

  clear() {
    this.shown = null;
    // Shown before there is anything in it: a place that appears later would move the slide.
    this.box.hidden = !this.app.layers.some((about) => about.type === "scores");
    this.box.replaceChildren();
  }

  update() {
    const { app } = this;
    const score = app.activeView;
    if (!score) return;
    if (this.shown !== score.column) this.fill(score);
    for (const button of this.box.querySelectorAll("button")) {
      const patch = Number(button.dataset.patch);
      button.setAttribute("aria-pressed", String(patch === app.view.patch));
      const value = score.scaled(app.colours.choice).values[patch];
      const [r, g, b] = app.colours.ofShare(app.active, value / 65536);
      button.style.setProperty("--heat", `rgb(${r},${g},${b})`);
    }
  }

  fill(score) {
    this.shown = score.column;
    const { ranking } = score.column;
    const each = Math.min(EACH, Math.ceil(ranking.length / 2));
    const top = [...ranking.subarray(0, each)];
    const bottom = [...ranking.subarray(Math.max(each, ranking.length - each))].reverse();
    this.box.replaceChildren(this.row("Highest", top, 1), this.row("Lowest", bottom, ranking.length));
  }

  row(title, patches, firstRank) {
    const step = firstRank === 1 ? 1 : -1;
    return make(
      "div", { className: "strip-row" }, make("h3", { text: title }),
      make("div", { className: "strip-patches" }, ...patches.map((patch, i) => this.card(patch, firstRank + step * i))),
    );
  }

  card(patch, rank) {
    const { app } = this;
    const score = app.activeView;
    const value = score.column.values[patch];
    const text = `Rank ${rank}, score ${brief(value)}, patch ${patch}`;
    const url = app.data.patch(app.number, score.table.number, patch);
    const image = url ? make("img", { src: url, alt: "", loading: "lazy", width: "64", height: "64" }) : make("span", { className: "no-picture" });
    return make(
      "button", { type: "button", "data-patch": patch, "aria-label": text, title: text, onclick: () => app.flyTo(patch) },
      image, make("span", { className: "value", text: brief(value) }),
    );
  }

  /** Go to the next patch by rank; from none, to the first. */
  step(by) {
    const { app } = this;
    const ranking = app.activeView?.column.ranking;
    if (!ranking?.length) return;
    const here = app.view.patch === null ? -1 : ranking.indexOf(app.view.patch);
    const next = here < 0 ? (by > 0 ? 0 : ranking.length - 1) : Math.min(ranking.length - 1, Math.max(0, here + by));
    app.flyTo(ranking[next]);
    toast(`Rank ${grouped(next + 1)} of ${grouped(ranking.length)}: ${brief(app.activeView.column.values[ranking[next]])}`);
  }
}
