// What the colours mean: name, kind and class of the score, how it was normalised, and its true range.

import { make } from "./dom.js";
import { brief, steps } from "./normalize.js";
import { contentTitle, parseContent } from "./content.js";

const KINDS = {
  attention_logit: "attention before the softmax",
  attention_softmax: "attention weight (sums to 1)",
  attention_gate: "gate (signed, no share)",
  attention_mean: "mean attention of heads",
  attention_rollout: "attention rollout",
  nystrom_attention: "Nyström attention (approximate)",
  class_contribution: "contribution to the class logit",
  instance_logit: "patch classifier, logit",
  instance_probability: "patch classifier, probability",
  similarity: "similarity (not used as a weight)",
  external: "from another program",
  cluster: "a name, not an amount",
};

const UNITS = { percentile: "percentile", share: "share of attention", score: "score" };

const AT = [0, 0.25, 0.5, 0.75, 1];

/** Reasons why the scores of a pane may not belong to the slide. */
function notesOf(app, pane) {
  const parsed = parseContent(pane.content);
  const at = parsed.kind === "difference" ? [parsed.a, parsed.b] : [parsed];
  return [...new Set(at.flatMap(({ layer }) => app.layers[layer]?.notes ?? []))];
}

/** Ticks that do not touch: all, else the ends and the middle, else the ends. `widthOf` measures a text. */
export function fitting(ticks, key, width, widthOf) {
  const fits = (some) => some.every((tick, i) => {
    const next = some[i + 1];
    if (!next) return true;
    const end = (t) => t.at * width + (t.at === 0 ? widthOf(t[key]) : t.at === 1 ? 0 : widthOf(t[key]) / 2);
    const begin = (t) => t.at * width - (t.at === 0 ? 0 : t.at === 1 ? widthOf(t[key]) : widthOf(t[key]) / 2);
    return end(tick) + 6 <= begin(next);
  });
  const shown = ticks.filter((tick) => tick[key]);
  const choices = [shown, shown.filter((tick) => tick.at % 0.5 === 0), shown.filter((tick) => tick.at % 1 === 0)];
  return choices.find(fits) ?? shown.slice(0, 1);
}

/** Everything a bar says, as text and numbers; the page, the saved picture and the tests use it. */
export function legendOf(app, pane) {
  const { view } = app;
  const title = contentTitle(pane.content, app.layers);
  const smooth = view.smooth ? " · smoothed for display, values under the pointer are not" : "";
  const notes = notesOf(app, pane);
  if (pane.views.length === 2) {
    const [a, b] = pane.views.map((score) => score.scaled(app.colours.choice).scale);
    const percent = a.unit === "percentile" && b.unit === "percentile";
    const note = percent ? "difference of percentiles" : "difference of places on each map's own colour scale";
    const widest = app.colours.widest(pane);
    const numbers = AT.map((at) => (2 * at - 1) * widest * (percent ? 100 : 1));
    const texts = steps(numbers);
    return {
      title,
      notes,
      kind: "difference of two maps",
      className: null,
      normalisation: `${note}; left: ${a.label}; right: ${b.label}${smooth}`,
      range: view.diff === null ? "the ends are the largest difference on this slide" : "the ends were chosen, the same on all slides",
      unit: percent ? "percentile points" : "share of the scale",
      ticks: AT.map((at, i) => ({ at, text: texts[i], raw: "" })),
      hidden: [0, 0],
    };
  }
  const score = pane.views[0];
  const { about } = score.table;
  const { scale } = score.scaled(app.colours.choice);
  const { sorted } = score.column;
  const least = sorted.length ? sorted[0] : NaN;
  const most = sorted.length ? sorted[sorted.length - 1] : NaN;
  const gone = about.count - sorted.length;
  const shares = AT.map((at) => view.low + at * (view.high - view.low));
  const texts = steps(shares.map((share) => scale.low + share * (scale.high - scale.low)));
  // For linear scales the tick itself is the score; for percentiles and shares it is the score found there.
  // (at the ends and in the middle: small numbers are long)
  const raws = steps(shares.map((share) => Math.min(most, Math.max(least, scale.inverse(share)))).filter((_, i) => i % 2 === 0));
  const ticks = AT.map((at, i) => ({ at, text: texts[i], raw: scale.unit === "score" || i % 2 ? "" : raws[i / 2] }));
  const [lowest, highest] = steps([least, most], 4);
  const hints = [];
  const middle = score.hasMiddle(view);
  const palette = app.colours.paletteFor(pane);
  const one = middle && score.middle[0] === 0 && about.signed && sorted.length && (least > 0 || most < 0);
  if (one) notes.push(`all scores ${least > 0 ? "speak for" : "speak against"} ${score.name}: none lies on the other side of 0`);
  if (middle && about.meanings[score.index]) hints.push(about.meanings[score.index].replace("{down}", palette.ends[0]).replace("{up}", palette.ends[1]));
  if (middle && !palette.diverging) hints.push(`this colour map has no middle: ${brief(score.middle[0])} looks like any other score; a diverging one shows it`);
  const spread = about.spread[score.index];
  if (spread) hints.push(spread.even ? `≈ NEARLY EVEN: ${spread.words}` : spread.words);
  const inBar = (share) => Math.min(1, Math.max(0, (share - view.low) / Math.max(view.high - view.low, 1e-9)));
  // Clusters are named by their numbers: one square for each cluster on the slide.
  const named = about.kind === "cluster" && scale.unit === "score";
  const swatches = named ? [...new Set(sorted)].map((value) => {
    const share = (value - scale.low) / (scale.high - scale.low);
    return { text: String(value), at: inBar(share), colour: `rgb(${app.colours.ofShare(pane, share)})` };
  }) : null;
  if (named) ticks.splice(0, ticks.length, ...swatches.map(({ text, at }) => ({ text, at, raw: "" })));
  return {
    swatches,
    title,
    notes,
    kind: KINDS[about.kind] ?? about.kind,
    noun: about.kind === "similarity" || about.score.startsWith("concept_") ? "concept" : "class",
    className: about.names.length > 1 || about.names[0] !== about.score ? score.name : null,
    normalisation: named ? "a colour a cluster" : scale.label + smooth,
    range: sorted.length
      ? `scores ${lowest} to ${highest}, ${sorted.length} patches${gone ? `, ${gone} ${score.part ? "outside the region or " : ""}without a score` : ""}`
      : `none of ${about.count} patches has a score`,
    hint: hints.join(" · "),
    unit: named ? "number of the cluster" : UNITS[scale.unit],
    ticks,
    hidden: view.threshold > 0 ? (view.cold ? [inBar(view.threshold), 1] : [0, inBar(view.threshold)]) : [0, 0],
  };
}

/** Draw the bar itself; hidden parts are hatched out. */
export function drawBar(context, app, pane, x, y, width, height, hidden) {
  for (let i = 0; i < width; i++) {
    const share = pane.views.length === 2 ? 0.5 + (i / width - 0.5) * app.colours.widest(pane) : app.view.low + (i / width) * (app.view.high - app.view.low);
    const [r, g, b] = app.colours.ofShare(pane, share);
    const at = i / width;
    const out = at >= hidden[0] && at < hidden[1];
    context.fillStyle = out ? `rgba(${r},${g},${b},0.12)` : `rgb(${r},${g},${b})`;
    context.fillRect(x + i, y, 1, height);
  }
}

const PANEL_PX = 236; // smallest width of the bar
let measuring;

function textWidth(text) {
  measuring ??= document.createElement("canvas").getContext("2d");
  measuring.font = "12px system-ui, sans-serif";
  return measuring.measureText(text).width;
}

/** The bar as an element of the panel. */
export function barElement(app, pane) {
  const legend = legendOf(app, pane);
  const canvas = make("canvas", { className: "bar", width: 512, height: 20, role: "img" });
  canvas.setAttribute("aria-label", `Colour bar: ${legend.title}, ${legend.normalisation}, ${legend.range}`);
  drawBar(canvas.getContext("2d"), app, pane, 0, 0, 512, 20, legend.hidden);
  const row = (key) => {
    const line = make("div", { className: `ticks ${key}` });
    for (const tick of fitting(legend.ticks, key, PANEL_PX, textWidth)) {
      const label = make("span", { text: tick[key] });
      label.style.left = `${tick.at * 100}%`;
      if (tick.at === 0 || tick.at === 1) label.className = tick.at ? "last" : "first";
      line.append(label);
    }
    return line;
  };
  const bar = legend.swatches ? [make("div", { className: "swatches" }, ...legend.swatches.map(({ text, colour }) => {
    const square = make("span", { text });
    square.style.setProperty("--heat", colour);
    return square;
  }))] : [canvas, row("text"), make("p", { className: "unit", text: legend.unit })];
  const hasRaw = legend.ticks.some((tick) => tick.raw);
  return make(
    "figure",
    { className: "legend" },
    make("figcaption", {}, make("strong", { text: legend.title })),
    make("p", { className: "kind", text: legend.kind + (legend.className ? ` · ${legend.noun} ${legend.className}` : "") }),
    ...bar,
    hasRaw ? row("raw") : null,
    hasRaw ? make("p", { className: "unit", text: "score" }) : null,
    make("p", { className: "note", text: legend.normalisation }),
    legend.range ? make("p", { className: "note range", text: legend.range }) : null,
    legend.hint ? make("p", { className: "note", text: legend.hint }) : null,
    ...legend.notes.map((text) => make("p", { className: "note warning", text })),
  );
}
