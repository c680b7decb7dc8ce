// The column of controls: what colours mean, and how they are made.

import { barElement } from "./colourbar.js";
import { choices, columnTitle, contentTitle, parseContent, sourceTitle } from "./content.js";
import { byId, grouped, make } from "./dom.js";
import { Histogram } from "./histogram.js";
import { METHODS, brief, probability, quantile, steps } from "./normalize.js";

export const COLOUR_KEYS = [
  "cmap", "norm", "fixedLow", "fixedHigh", "low", "high", "threshold", "cold", "opacity", "picture", "diff", "smooth", "inside",
  "center", "region",
];

export class Panel {
  constructor(app) {
    this.app = app;
    this.histogram = new Histogram(app);
    this.bars = make("div", { className: "bars" });
    this.scoreMenu = make("select", { id: "score-menu" });
    this.classMenu = make("select", { id: "class-menu" });
    this.facts = make("dl", { className: "facts" });
    this.notices = make("ul");
    this.noticed = make("section", { id: "notices" }, make("h2", { text: "Notices" }), this.notices);
    this.build();
    this.scoreMenu.addEventListener("change", () => this.chooseColumn(Number(this.scoreMenu.value), 0));
    this.classMenu.addEventListener("change", () => {
      this.chooseColumn(Number(this.scoreMenu.value), Number(this.classMenu.value));
    });
    app.on("slide", () => {
      this.showNotices();
      this.showFacts();
    });
    app.on("panes", () => this.fillPaneMenus());
    app.on("colours", () => this.update());
  }

  build() {
    const { app } = this;
    const set = (change) => app.store.set(change);
    this.cmap = make("select", { id: "cmap", onchange: () => set({ cmap: this.cmap.value }) });
    this.cmap.append(make("option", { value: "auto", text: "automatic" }));
    for (const palette of app.palettes) {
      this.cmap.append(make("option", { value: palette.name, text: palette.name + (palette.diverging ? " (diverging)" : "") }));
    }
    this.norm = make("select", { id: "norm", onchange: () => this.chooseMethod(this.norm.value) });
    for (const [value, text] of METHODS) this.norm.append(make("option", { value, text }));
    this.fixed = make(
      "div", { className: "pair" },
      this.number("fixedLow", "From"), this.number("fixedHigh", "to"),
      make("p", { className: "note", text: "Kept for all slides, so that colours can be compared." }),
    );
    this.controls = {
      opacity: this.slider("opacity", "Opacity", (value) => `${Math.round(value * 100)} %`),
      picture: this.slider("picture", "Opacity of the picture", (value) => `${Math.round(value * 100)} %`),
      diff: this.slider("diff", "Difference up to", (value) => `± ${brief(value * 100, 3)} %${app.view.diff === null ? " (largest)" : ""}`),
      threshold: this.slider("threshold", "Hide below", (value) => this.valueText(value)),
      low: this.slider("low", "Colours from", (value) => this.valueText(value)),
      high: this.slider("high", "Colours to", (value) => this.valueText(value)),
    };
    this.checks = {
      cold: this.check("cold", "Hide above the threshold instead"),
      center: this.check("center", "Signed scores: zero in the middle"),
      smooth: this.check("smooth", "Smooth between patches"),
      inside: this.check("inside", "Colours inside tissue only"),
      tissue: this.check("tissue", "Tissue outline"),
      region: this.check("region", "Only the region that the run draws"),
    };
    const field = (label, control) => make("label", { className: "field" }, make("span", { text: label }), control);
    const reset = make("button", {
      type: "button", className: "plain", text: "Reset colours",
      onclick: () => {
        const { defaults } = app.store;
        set(Object.fromEntries(COLOUR_KEYS.map((key) => [key, defaults[key]])));
      },
    });
    byId("panel").append(
      make("section", {}, make("h2", { text: "Meaning of the colours" }), this.bars),
      this.noticed,
      make(
        "section", { id: "score-section" }, make("h2", { text: "Scores" }),
        field("Score", this.scoreMenu), field("Class or head", this.classMenu),
        this.histogram.element, this.controls.threshold, this.checks.cold, this.controls.low, this.controls.high,
        this.checks.region,
      ),
      make(
        "section", {}, make("h2", { text: "Colours" }), this.controls.opacity, this.controls.picture, this.controls.diff,
        (this.cmapField = field("Colormap", this.cmap)), (this.normField = field("Normalisation", this.norm)), this.fixed, this.checks.center, this.checks.smooth, this.checks.inside,
        this.checks.tissue, reset,
      ),
      make("section", {}, make("h2", { text: "About" }), this.facts),
    );
  }

  slider(key, label, text) {
    const { app } = this;
    const output = make("output");
    const input = make("input", { type: "range", min: "0", max: "1", step: "0.005", id: `range-${key}`, "aria-label": label });
    input.addEventListener("input", () => {
      let value = Number(input.value);
      if (key === "low") value = Math.min(value, app.view.high - 0.01);
      if (key === "high") value = Math.max(value, app.view.low + 0.01);
      app.store.set({ [key]: Math.max(0, value) });
    });
    // The label names the slider: an <output> inside of it would be what it names.
    const element = make("div", { className: "slider" }, make("label", { for: input.id, text: label }), output, input);
    output.setAttribute("for", input.id);
    element.show = () => {
      const value = app.view[key] ?? this.largestDifference;
      input.value = value;
      output.textContent = text(value);
      input.setAttribute("aria-valuetext", output.textContent);
    };
    return element;
  }

  check(key, label) {
    const { app } = this;
    const input = make("input", { type: "checkbox", id: `check-${key}`, onchange: () => app.store.set({ [key]: input.checked }) });
    const element = make("label", { className: "check" }, input, make("span", { text: label }));
    element.show = () => {
      input.checked = app.view[key];
    };
    return element;
  }

  number(key, label) {
    const { app } = this;
    const input = make("input", { type: "number", step: "any", id: `number-${key}` });
    input.addEventListener("change", () => {
      app.store.set({ [key]: input.value === "" ? null : Number(input.value) });
    });
    const element = make("label", { className: "field" }, make("span", { text: label }), input);
    element.show = () => {
      input.value = app.view[key] ?? "";
    };
    return element;
  }

  /** A fixed range begins as the slide's own robust one. */
  chooseMethod(method) {
    const { app } = this;
    const sorted = app.activeView?.column.sorted;
    const change = { norm: method };
    if (method === "fixed" && app.view.fixedLow === null && sorted?.length) {
      const ends = [quantile(sorted, 0.01), quantile(sorted, 0.99)];
      [change.fixedLow, change.fixedHigh] = steps(ends).map((text, i) => Number(text.replace("−", "-")) || ends[i]);
    }
    app.store.set(change);
  }

  /** A share of the scale in the scale's unit. */
  valueText(share) {
    const score = this.app.activeView;
    if (!score) return `${Math.round(share * 100)} %`;
    const { scale } = score.scaled(this.app.colours.choice);
    const value = scale.low + share * (scale.high - scale.low);
    return scale.unit === "percentile" ? `percentile ${brief(value, 3)}` : steps([scale.low, value, scale.high])[1];
  }

  chooseColumn(layer, column) {
    const { app } = this;
    const pane = app.active ?? app.panes[app.panes.length - 1];
    if (pane) app.setContent(pane.place, `${layer}.${column}`);
  }

  fillPaneMenus() {
    const { app } = this;
    const base = app.contents.find((content) => parseContent(content).kind === "scores") ?? null;
    for (const pane of app.panes) {
      const known = new Set();
      pane.menu.replaceChildren(...choices(app.layers, base).flatMap(([group, items]) => {
        const options = items.map((value) => {
          known.add(value);
          return make("option", { value, text: contentTitle(value, app.layers) });
        });
        if (group) return make("optgroup", { label: group }, ...options);
        return options;
      }));
      if (!known.has(pane.content)) pane.menu.append(make("option", { value: pane.content, text: contentTitle(pane.content, app.layers) }));
      pane.menu.value = pane.content;
      pane.close.hidden = app.panes.length < 2 || app.view.mode !== "side";
    }
  }

  update() {
    const { app } = this;
    const withScores = app.panes.filter((pane) => pane.views?.length);
    const seen = new Set();
    this.bars.replaceChildren(...withScores
      .filter((pane) => !seen.has(pane.content) && seen.add(pane.content))
      .map((pane) => barElement(app, pane)));
    if (!withScores.length) {
      this.bars.append(make("p", { className: "note", text: this.withoutScores() }));
    }
    const pictures = app.panes.some((pane) => parseContent(pane.content).kind === "picture");
    const differences = app.panes.filter((pane) => pane.views?.length === 2);
    this.largestDifference = differences.length ? app.colours.largest(differences[0]) : 1;
    this.controls.opacity.hidden = this.cmapField.hidden = this.normField.hidden = this.checks.smooth.hidden = pictures && !withScores.length;
    this.controls.picture.hidden = !pictures;
    this.controls.diff.hidden = !differences.length;
    this.checks.region.hidden = !app.layers.some((about) => about.region);
    byId("score-section").hidden = !withScores.length;
    this.fillScoreMenus();
    this.histogram.update();
    for (const control of [...Object.values(this.controls), ...Object.values(this.checks)]) control.show();
    this.checks.center.hidden = !app.activeView?.hasMiddle({ ...app.view, center: true });
    for (const option of this.norm.options) {
      if (option.value === "percentile_ref") option.hidden = !app.activeView?.reference;
    }
    this.checks.inside.hidden = this.checks.tissue.hidden = !app.slide.tissue;
    this.cmap.value = app.view.cmap;
    this.norm.value = app.view.norm;
    this.fixed.hidden = app.view.norm !== "fixed" || !withScores.length;
    for (const field of this.fixed.querySelectorAll("label")) field.show();
  }

  withoutScores() {
    const { app } = this;
    if (!app.slide.slide) return "The slide cannot be shown.";
    const picture = app.panes.some((pane) => parseContent(pane.content).kind === "picture");
    if (!picture) return "No scores on the screen.";
    return "A picture is shown as it was drawn: its colours are those it was drawn with. Give its score file for live colours.";
  }

  fillScoreMenus() {
    const { app } = this;
    const content = parseContent(app.active?.content ?? "slide");
    const at = content.kind === "difference" ? content.a : content;
    if (at.layer === undefined || app.layers[at.layer]?.type !== "scores") return;
    const scores = app.layers.map((about, layer) => ({ about, layer })).filter(({ about }) => about.type === "scores");
    this.scoreMenu.replaceChildren(...scores.map(({ about, layer }) =>
      make("option", { value: layer, text: [sourceTitle(app.layers, about), about.score, app.verdictOf?.(about)].filter(Boolean).join(" · ") })));
    this.scoreMenu.value = at.layer;
    const { names } = app.layers[at.layer];
    this.classMenu.replaceChildren(...names.map((name, column) => make("option", { value: column, text: name })));
    this.classMenu.value = at.column;
    this.classMenu.parentElement.hidden = names.length < 2;
    this.scoreMenu.title = columnTitle(app.layers, at);
  }

  showNotices() {
    const notices = [...this.app.index.notes, ...this.app.slide.notices];
    this.noticed.hidden = !notices.length;
    this.notices.replaceChildren(...notices.map((text) => make("li", { text })));
  }

  showFacts() {
    const { slide } = this.app;
    const facts = [];
    if (slide.slide) {
      const { size, mpp, mppNote, objective, vendor, fileLevels, colourProfile } = slide.slide;
      facts.push(["Size", `${grouped(size[0])} × ${grouped(size[1])} px, ${fileLevels} level${fileLevels > 1 ? "s" : ""}`]);
      facts.push(["Pixel size", mpp ? `${brief(mpp)} µm${mppNote ? ` (${mppNote})` : ""}` : `unknown: ${mppNote}`]);
      if (objective) facts.push(["Objective", `${brief(objective)}×`]);
      facts.push(["Format", vendor]);
      const { label } = this.app.index.slides[this.app.number];
      if (label) facts.push(["Label", label]);
      if (colourProfile) facts.push(["Colour profile", `${colourProfile}, shown as sRGB`]);
    }
    const seen = new Set();
    for (const about of slide.layers) {
      if (about.type !== "scores" || seen.has(about.file)) continue;
      seen.add(about.file);
      facts.push([null, sourceTitle(slide.layers, about) || about.title]);
      if (about.run) facts.push(["Run", about.run]);
      for (const note of about.notes) facts.push(["Note", note]);
      if (about.model) facts.push(["Model", about.model + (about.checkpoint ? `, checkpoint ${about.checkpoint}…` : "")]);
      if (about.encoder) facts.push(["Features", about.encoder]);
      facts.push(["Patches", `${grouped(about.count)} of ${about.patch.join(" × ")} px, step ${about.step.join(" × ")}`]);
      if (about.prediction) facts.push(["Prediction", predictionText(about.prediction)]);
      if (about.prediction?.details?.length) facts.push([about.prediction.task === "survival" ? "Survival" : "Others", about.prediction.details.join(", ")]);
    }
    this.facts.replaceChildren(...facts.flatMap(([name, text]) => (name === null
      ? [make("dt", { className: "block", text: "Scores" }), make("dd", { className: "block", text })]
      : [make("dt", { text: name }), make("dd", { text })])));
  }
}

function predictionText({ classes, values, task, predicted, summary }) {
  if (task !== "classification") return summary;
  return `${classes[predicted]} (${probability(values[predicted])})`;
}
