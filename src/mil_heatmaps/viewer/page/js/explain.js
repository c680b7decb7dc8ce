// How faithful the map on the screen is: verdict, deletion and insertion curve, and the prediction without top patches.

import { byId, make } from "./dom.js";
import { probability } from "./normalize.js";
import { parseContent } from "./content.js";

const SIZE = [500, 220];

export class Explain {
  constructor(app) {
    this.app = app;
    this.words = make("p", { className: "note" });
    this.canvas = make("canvas", { className: "curves", width: SIZE[0], height: SIZE[1], role: "img" });
    this.left = make("p", { role: "status", id: "gone-words" });
    this.slider = make("input", { type: "range", min: "0", max: "1", step: "0.01", id: "range-gone", "aria-label": "Remove the top of the patches" });
    this.slider.addEventListener("input", () => app.store.set({ gone: Number(this.slider.value) }));
    this.output = make("output", { for: "range-gone" });
    this.evidence = make("select", { "aria-label": "Evidence set", onchange: () => app.refresh() });
    this.section = make(
      "section", { id: "explain-section" }, make("h2", { text: "Faithfulness of this map" }), this.words, this.canvas, this.evidence,
      make("div", { className: "slider" }, make("label", { for: "range-gone", text: "Remove the top" }), this.output, this.slider), this.left,
    );
    byId("score-section").after(this.section);
    app.verdictOf = (about) => this.measuredOf(about)?.[1].verdict ?? "";
    app.goneFrom = (pane) => this.goneFrom(pane);
    app.evidenceFrom = (pane) => this.evidenceFrom(pane);
    app.on("colours", () => this.update());
  }

  /** The measurements of a layer: [of the slide, of the map]. */
  measuredOf(about) {
    const all = this.app.slide.faithfulness?.[about.file];
    const map = about.type === "scores" && all?.maps[about.score];
    return map ? [ladderOf(all, map), map] : null;
  }

  /** The active map's measurement, where its column was measured. */
  get shown() {
    const score = this.app.activeView;
    const measured = score && this.measuredOf(score.table.about);
    if (!measured) return null;
    const target = measured[0].target?.name;
    const { names } = score.table.about;
    return names.length > 1 && target && names.includes(target) && score.name !== target ? [...measured, target] : [...measured, null];
  }

  /** The patches removed from a pane: the highest of its map, as in the measurement. */
  goneFrom(pane) {
    const { gone } = this.app.view;
    if (!gone || pane?.views?.length !== 1 || parseContent(pane.content).kind !== "scores") return null;
    const { ranking } = pane.views[0].column;
    const measured = this.measuredOf(pane.views[0].table.about);
    return ranking.subarray(0, removedAt(measured?.[0], gone, ranking.length));
  }

  /** The patches of the chosen evidence set: the most relevant ones that suffice. */
  evidenceFrom(pane) {
    const measured = pane?.views?.length === 1 && this.measuredOf(pane.views[0].table.about);
    const set = measured && measured[1].evidence?.[this.evidence.value];
    return set ? pane.views[0].column.ranking.subarray(0, set.patches) : null;
  }

  fillEvidence(all, map) {
    const name = all.target?.name ?? "";
    const kinds = { class: `${name} stays the answer`, p90: `p(${name}) ≥ 0.9`, p90_of_full: `p(${name}) ≥ 0.9 of the whole` };
    const sets = Object.entries(kinds).filter(([key]) => map?.evidence?.[key]?.patches);
    const chosen = this.evidence.value;
    this.evidence.hidden = !sets.length;
    this.evidence.replaceChildren(make("option", { value: "", text: "Evidence set: none shown" }), ...sets.map(([value, words]) => {
      const { patches, mm2 } = map.evidence[value];
      return make("option", { value, text: `${patches} patches${typeof mm2 === "number" ? ` (${mm2.toFixed(2)} mm²)` : ""} suffice: ${words}` });
    }));
    this.evidence.value = sets.some(([key]) => key === chosen) ? chosen : "";
  }

  update() {
    const { app } = this;
    const { shown } = this;
    this.fillEvidence(shown?.[0] ?? {}, shown?.[2] ? null : shown?.[1]);
    this.section.hidden = !shown && !app.view.gone;
    this.slider.value = app.view.gone;
    this.output.textContent = `${Math.round(100 * app.view.gone)} %`;
    this.canvas.hidden = !shown || !shown[1].morf;
    if (!shown) {
      this.words.textContent = this.left.textContent = "";
      return;
    }
    const [all, map, other] = shown;
    const chance = all.random?.srg?.length ? `, random ${Math.min(...signed(all.random.srg)).toFixed(2)} to ${Math.max(...signed(all.random.srg)).toFixed(2)}` : "";
    this.words.textContent = [
      map.verdict ?? map.status, typeof map.srg === "number" ? `SRG ${map.srg.toFixed(2)}${chance} (${String(all.output).replace("_", "-")})`.replaceAll(" -", " −") : "",
      typeof map.p_value === "number" ? `p = ${map.p_value.toPrecision(2)}` : "", map.error ?? "",
      other ? `measured for ${other}: choose that class` : "", map.drawn && all.foot ? all.foot : "",
    ].filter(Boolean).join(" · ");
    this.tellLeft(all, map, other);
    if (map.morf) this.draw(all, map);
  }

  tellLeft(all, map, other) {
    const { gone } = this.app.view;
    if (!gone || !map.morf || other) {
      this.left.textContent = "";
      return;
    }
    const key = map.morf.probability ? "probability" : Object.keys(map.morf)[0];
    const steps = all.fractions.length;
    const at = nearestStep(all.fractions, gone);
    const say = (value) => (key === "probability" ? probability(value) : value.toFixed(3));
    const what = key === "probability" ? `p(${all.target?.name})` : `${all.target?.name ?? ""} ${key}`;
    const random = all.random?.[key]?.mean?.[at];
    this.left.textContent = `Without the top ${all.removed[at]} of ${all.num_patches} patches (${(100 * all.fractions[at]).toFixed(0)} %) ${what} is ${say(map.morf[key][at])}`
      + `, with all ${say(map.morf[key][0])}${random === undefined ? "" : `; random ${say(random)}`}.${steps && at === steps - 1 && gone > all.fractions[at] + 0.01 ? " (No more was removed.)" : ""}`;
  }

  draw(all, map) {
    const context = this.canvas.getContext("2d");
    const [width, height] = SIZE;
    const key = map.morf.probability ? "probability" : Object.keys(map.morf)[0];
    const random = all.random?.[key];
    const values = [map.morf[key], map.lerf?.[key] ?? [], random?.low ?? [], random?.high ?? []].flat();
    const [low, high] = key === "probability" ? [0, 1] : [Math.min(...values), Math.max(...values)];
    const x = (share) => 8 + share * (width - 16);
    const y = (value) => height - 26 - ((value - low) / (high - low || 1)) * (height - 40);
    const style = getComputedStyle(document.documentElement);
    const [ink, soft] = ["--text", "--soft"].map((name) => style.getPropertyValue(name));
    context.clearRect(0, 0, width, height);
    const line = (points, colour, dash = []) => {
      context.beginPath();
      points.forEach(([share, value], i) => context[i ? "lineTo" : "moveTo"](x(share), y(value)));
      context.setLineDash(dash);
      context.strokeStyle = colour;
      context.lineWidth = 3;
      context.stroke();
      context.setLineDash([]);
    };
    const along = (list, turned) => list.map((value, i) => [turned ? 1 - all.fractions[i] : all.fractions[i], value]);
    if (random?.low) {
      context.fillStyle = "rgb(128 128 128 / 25%)";
      context.beginPath();
      [...along(random.low), ...along(random.high).reverse()].forEach(([share, value], i) => context[i ? "lineTo" : "moveTo"](x(share), y(value)));
      context.fill();
    }
    line(along(map.morf[key]), ink);
    if (map.lerf?.[key]) line(along(map.lerf[key], true), soft, [8, 6]);
    if (this.app.view.gone) line([[this.app.view.gone, low], [this.app.view.gone, high]], "#0a5cad", [3, 3]);
    context.fillStyle = soft;
    context.font = "18px system-ui, sans-serif";
    context.fillText("— deletion   - - insertion   grey: random", 8, height - 6);
    this.canvas.setAttribute("aria-label", `Deletion curve of ${key}: from ${map.morf[key][0].toPrecision(3)} with all patches to ${map.morf[key].at(-1).toPrecision(3)} with ${Math.round(100 * (1 - all.fractions.at(-1)))} % of them`);
  }
}

const signed = (values) => values.flatMap((value) => [value, -value]);

/** The slide's measurement, with the map's own points and random orders where it scores other patches. */
function ladderOf(all, map) {
  return map.removed ? { ...all, removed: map.removed, fractions: map.fractions, random: map.random } : all;
}

function nearestStep(fractions, share) {
  return fractions.reduce((best, value, i) => (Math.abs(value - share) < Math.abs(fractions[best] - share) ? i : best), 0);
}

/** How many patches are removed: those of the nearest measured step, else the share itself. */
export function removedAt(all, share, count) {
  return all?.removed?.length ? all.removed[nearestStep(all.fractions, share)] : Math.floor(share * count + 0.5);
}
