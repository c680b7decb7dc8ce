// The patches that matter most and least: pictures in a row; a click moves there.

import { byId, grouped, make, toast } from "./dom.js";
import { brief, steps } from "./normalize.js";
import { pictures } from "./queue.js";

export const EACH = 12;

/** Scores in four digits, or as many as tell neighbours apart, if there is room. */
function apart(values) {
  const plain = values.map((value) => brief(value));
  const same = values.some((value, i) => i && value !== values[i - 1] && plain[i] === plain[i - 1]);
  const precise = same ? steps(values) : plain;
  return precise.every((text) => text.length <= 9) ? precise : plain;
}

export class Strip {
  constructor(app) {
    this.app = app;
    this.box = byId("strip");
    this.sight = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of [...seen].reverse()) {
        if (!isIntersecting || target.hasAttribute("src")) continue;
        this.sight.unobserve(target);
        pictures.load(target, target.dataset.url, { held: false });
      }
    });
    app.on("slide", () => this.clear());
    app.on("colours", () => this.update());
  }

  forget() {
    this.sight.disconnect();
    this.box.querySelectorAll("img").forEach((image) => pictures.drop(image));
  }

  clear() {
    this.shown = null;
    this.forget();
    // Shown while still empty: a strip that appears later would move the slide.
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
    this.forget();
    const { ranking } = score.column;
    const each = Math.min(EACH, Math.ceil(ranking.length / 2));
    const top = [...ranking.subarray(0, each)];
    const bottom = [...ranking.subarray(Math.max(each, ranking.length - each))].reverse();
    this.box.replaceChildren(this.row("Highest", top, 1), this.row("Lowest", bottom, ranking.length));
  }

  row(title, patches, firstRank) {
    const step = firstRank === 1 ? 1 : -1;
    const { values } = this.app.activeView.column;
    const texts = apart(patches.map((patch) => values[patch]));
    return make(
      "div", { className: "strip-row" }, make("p", { className: "strip-title", text: title }),
      make("div", { className: "strip-patches" }, ...patches.map((patch, i) => this.card(patch, firstRank + step * i, texts[i]))),
    );
  }

  card(patch, rank, words) {
    const { app } = this;
    const score = app.activeView;
    const text = `Rank ${rank}, score ${words}, patch ${patch}`; // includes the visible text
    const url = app.data.patch(app.number, score.table.number, patch);
    const image = url ? make("img", { alt: "", width: "64", height: "64" }) : make("span", { className: "no-picture" });
    if (url) {
      image.dataset.url = url;
      this.sight.observe(image);
    }
    return make(
      "button", { type: "button", "data-patch": patch, "aria-label": text, title: text, onclick: () => app.flyTo(patch) },
      image, make("span", { className: "value", text: words }),
    );
  }

  /** Move to the next patch by rank; to the first if none is chosen. */
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
