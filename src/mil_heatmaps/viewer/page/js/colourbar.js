// What the colours mean: name, kind and class of the score, how it was normalised, and its true range.

import { make } from "./dom.js";
import { brief } from "./normalize.js";
import { contentTitle } from "./content.js";

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
};

const UNITS = { percentile: "percentile", share: "share of attention", score: "score" };

/** Everything a bar says, as text and numbers; the page, the saved picture and the tests read it from here. */
export function legendOf(app, pane) {
  const { view } = app;
  const title = contentTitle(pane.content, app.layers);
  const smooth = view.smooth ? " · smoothed for display, values under the pointer are not" : "";
  if (pane.views.length === 2) {
    const [a, b] = pane.views.map((score) => score.scaled(app.colours.choice).scale);
    const percent = a.unit === "percentile";
    const note = percent ? "difference of percentiles" : "difference of places on each map's own colour scale";
    return {
      title,
      kind: "difference of two maps",
      className: null,
      normalisation: `${note}; left: ${a.label}; right: ${b.label}${smooth}`,
      range: "",
      unit: percent ? "percentile points" : "share of the scale",
      ticks: [0, 0.25, 0.5, 0.75, 1].map((at) => ({ at, text: brief((at - 0.5) * (percent ? 200 : 2), 3), raw: "" })),
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
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((at) => {
    const share = view.low + at * (view.high - view.low);
    const raw = scale.inverse(share);
    return {
      at,
      text: brief(scale.low + share * (scale.high - scale.low), 3),
      // For linear scales this is the tick itself; for percentiles and shares it is the score found there.
      // (at the ends and in the middle: small numbers are long)
      raw: scale.unit === "score" || at % 0.5 ? "" : brief(Math.min(most, Math.max(least, raw)), 3),
    };
  });
  const inBar = (share) => Math.min(1, Math.max(0, (share - view.low) / Math.max(view.high - view.low, 1e-9)));
  return {
    title,
    kind: KINDS[about.kind] ?? about.kind,
    className: about.names.length > 1 || about.names[0] !== about.score ? score.name : null,
    normalisation: scale.label + smooth,
    range: sorted.length
      ? `scores ${brief(least)} to ${brief(most)}, ${sorted.length} patches${gone ? `, ${gone} without a score` : ""}`
      : `none of ${about.count} patches has a score`,
    unit: UNITS[scale.unit],
    ticks,
    hidden: view.threshold > 0 ? (view.cold ? [inBar(view.threshold), 1] : [0, inBar(view.threshold)]) : [0, 0],
  };
}

/** Draw the bar itself; hidden parts are hatched out. */
export function drawBar(context, app, pane, x, y, width, height, hidden) {
  for (let i = 0; i < width; i++) {
    const share = pane.views.length === 2 ? i / width : app.view.low + (i / width) * (app.view.high - app.view.low);
    const [r, g, b] = app.colours.ofShare(pane, share);
    const at = i / width;
    const out = at >= hidden[0] && at < hidden[1];
    context.fillStyle = out ? `rgba(${r},${g},${b},0.12)` : `rgb(${r},${g},${b})`;
    context.fillRect(x + i, y, 1, height);
  }
}

/** The bar as an element of the panel. */
export function barElement(app, pane) {
  const legend = legendOf(app, pane);
  const canvas = make("canvas", { className: "bar", width: 512, height: 20, role: "img" });
  canvas.setAttribute("aria-label", `Colour bar: ${legend.title}, ${legend.normalisation}, ${legend.range}`);
  drawBar(canvas.getContext("2d"), app, pane, 0, 0, 512, 20, legend.hidden);
  const row = (key) => {
    const line = make("div", { className: `ticks ${key}` });
    legend.ticks.forEach((tick) => {
      const label = make("span", { text: tick[key] });
      label.style.left = `${tick.at * 100}%`;
      line.append(label);
    });
    return line;
  };
  const hasRaw = legend.ticks.some((tick) => tick.raw);
  return make(
    "figure",
    { className: "legend" },
    make("figcaption", {}, make("strong", { text: legend.title })),
    make("p", { className: "kind", text: legend.kind + (legend.className ? ` · class ${legend.className}` : "") }),
    canvas,
    row("text"),
    make("p", { className: "unit", text: legend.unit }),
    hasRaw ? row("raw") : null,
    hasRaw ? make("p", { className: "unit", text: "score" }) : null,
    make("p", { className: "note", text: legend.normalisation }),
    legend.range ? make("p", { className: "note range", text: legend.range }) : null,
  );
}
