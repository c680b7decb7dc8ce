// Scores of one column put on the scale 0 to 1 that colours need. The same rules, and the same words, as the
// program's src/mil_heatmaps/scores/normalize.py; a test compares the two number by number.

import { grouped } from "./dom.js";

const SHARES = new Set(["attention_softmax", "attention_mean"]);
export const METHODS = [
  ["auto", "Usual for the score"],
  ["percentile", "Percentile within the slide"],
  ["percentile_ref", "Percentile among the coarse map"],
  ["minmax", "Minimum to maximum"],
  ["robust", "1st to 99th percentile"],
  ["softmax", "Share of attention (softmax)"],
  ["none", "As given, 0 to 1"],
  ["fixed", "Fixed range"],
];

/** Index of the first element of a sorted array that is not below `x`. */
export function lowerBound(sorted, x) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Index of the first element of a sorted array that is above `x`. */
export function upperBound(sorted, x) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= x) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The finite values in rising order; NaN and infinities count nowhere. */
export function sortedFinite(values) {
  let count = 0;
  const kept = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) if (Number.isFinite(values[i])) kept[count++] = values[i];
  return kept.subarray(0, count).sort(); // numeric for typed arrays
}

/** Linear interpolation between order statistics, as NumPy's quantile. */
export function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** Average rank / N * 100 among the sorted values, ties at their mean (CLAM's percentile). */
export function percentileOf(sorted, value) {
  return ((lowerBound(sorted, value) + 1 + upperBound(sorted, value)) / 2 / sorted.length) * 100;
}

/** Percentile of a value among other scores than its own: (below + not above + whether it occurs) / 2N * 100. */
export function referencePercentile(sorted, value) {
  const below = lowerBound(sorted, value);
  const notAbove = upperBound(sorted, value);
  return ((below + notAbove + (notAbove > below ? 1 : 0)) * 50) / sorted.length;
}

/**
 * The way from raw scores to [0, 1] and back.
 * @param {Float32Array} sorted finite scores, rising
 * @param {{method: string, kind: string, center: [number, string]?, low: number, high: number, reference: Float32Array?,
 *   ends: [number?, number?], fixed: [number, number]?}} choice
 *   `center`: the score in the middle and what it is called; `fixed`: what ``none`` draws between, else 0 to 1;
 *   `part`: words for the part of the slide whose scores these are, if it is a part;
 *   `reference`: finite scores of the coarse map, rising, for a fine map; `ends`: the run's own ends of the range, in the
 *   method's unit, null for the method's
 * @returns {{forward: function(number): number, inverse: function(number): number, unit: string,
 *   low: number, high: number, label: string, toUnit: function(number): number}}
 *   `low` and `high` are what 0 and 1 stand for, in `unit`; `toUnit` gives a raw score in that unit.
 */
export function makeScale(sorted, choice) {
  const scale = ofPart(usualScale(sorted, choice), choice.part);
  const [low, high] = choice.ends ?? [null, null];
  if (low === null && high === null) return scale;
  const ends = choice.center && scale.unit === "score" ? around(choice.center[0], low, high) : [low ?? scale.low, high ?? scale.high];
  return ends[0] < ends[1] ? between(scale, ...ends, choice) : scale;
}

/** Ranks and ranges that were taken within a part of the slide say so. */
function ofPart(scale, part) {
  return part ? { ...scale, label: scale.label.replace("the slide", part) } : scale;
}

/** The range of scores with a middle: one end alone gives the other. */
function around(middle, low, high) {
  if (low !== null && high !== null) return [low, high];
  const half = Math.abs((low ?? high) - middle);
  return [middle - half, middle + half];
}

const middleWords = ([value, name]) => `, centred at ${name ? `${name} (${brief(value)})` : brief(value)}`;

/** A scale with other ends, in its own unit. */
function between(scale, low, high, { method, center }) {
  if (scale.unit === "score") {
    const words = method === "none" ? "as given, clipped" : "fixed range, clipped";
    const middle = center && Math.abs(low + high - 2 * center[0]) <= 2e-9 * (high - low) ? middleWords(center) : "";
    return linear(low, high, "score", `${words}${middle}: ${brief(low)} to ${brief(high)}`);
  }
  const width = high - low;
  const whole = scale.high - scale.low;
  const inWhole = (share) => (low + share * width - scale.low) / whole;
  return {
    ...scale,
    low,
    high,
    forward: (raw) => Math.min(1, Math.max(0, (scale.toUnit(raw) - low) / width)),
    inverse: (share) => scale.inverse(Math.min(1, Math.max(0, inWhole(share)))),
    label: `${scale.label.split(":")[0]}: ${brief(low)} to ${brief(high)}`,
  };
}

function usualScale(sorted, choice) {
  const count = sorted.length;
  if (!count) return linear(0, 1, "score", "no finite score");
  const least = sorted[0];
  const most = sorted[count - 1];
  switch (choice.method) {
    case "percentile":
      return ranked(sorted, percentileOf, "percentile within the slide");
    case "percentile_ref": {
      const { reference } = choice;
      if (!reference?.length) return ranked(sorted, percentileOf, "percentile within the slide");
      // In float32 throughout, as the program stores such percentiles: a colour on the edge is then the same one.
      return {
        ...ranked(reference, referencePercentile, `percentile among the slide's ${grouped(reference.length)} coarse patches`),
        forward: (raw) => Math.fround(Math.fround(referencePercentile(reference, raw)) / 100),
      };
    }
    case "softmax":
      return softmaxScale(sorted, SHARES.has(choice.kind));
    case "none":
      return centred(...(choice.fixed ?? [0, 1]), "as given, clipped", choice.center);
    case "fixed":
      if (Number.isFinite(choice.low) && Number.isFinite(choice.high) && choice.low < choice.high) {
        return linear(choice.low, choice.high, "score", `fixed range, clipped: ${brief(choice.low)} to ${brief(choice.high)}`);
      }
      break; // half-typed numbers: the slide's own range until they make sense
    case "robust": {
      const low = quantile(sorted, 0.01);
      const high = quantile(sorted, 0.99);
      if (low < high) return centred(low, high, "1st to 99th percentile of the slide, clipped", choice.center);
      const words = "minimum to maximum of the slide (1st and 99th percentile coincide)";
      return centred(least, most, words, choice.center);
    }
  }
  return centred(least, most, "minimum to maximum of the slide", choice.center);
}

function ranked(sorted, percentile, label) {
  const { length } = sorted;
  return {
    forward: (raw) => percentile(sorted, raw) / 100,
    inverse: (share) => sorted[Math.max(0, Math.min(length - 1, Math.ceil(share * length) - 1))],
    toUnit: (raw) => percentile(sorted, raw),
    unit: "percentile",
    low: 0,
    high: 100,
    label,
  };
}

function centred(low, high, words, center) {
  if (center) {
    const [middle] = center;
    const half = Math.max(Math.abs(low - middle), Math.abs(high - middle));
    [low, high] = [middle - half, middle + half];
    words += middleWords(center);
  }
  return linear(low, high, "score", `${words}: ${brief(low)} to ${brief(high)}`);
}

function linear(low, high, unit, label) {
  const width = high - low;
  return {
    forward: width > 0 ? (raw) => Math.min(1, Math.max(0, (raw - low) / width)) : () => 0.5,
    inverse: (share) => low + share * width,
    toUnit: (raw) => raw,
    unit,
    low,
    high,
    label,
  };
}

function softmaxScale(sorted, areShares) {
  const top = sorted[sorted.length - 1];
  let sum = 0;
  if (!areShares) for (const value of sorted) sum += Math.exp(value - top);
  const toUnit = areShares ? (raw) => raw : (raw) => Math.exp(raw - top) / sum;
  const most = toUnit(top);
  // Equal shares are neither hot nor cold: they belong in the middle of the bar.
  const flat = sorted.length > 1 && sorted[0] === top;
  const high = (flat ? 2 * most : most) || 1;
  return {
    forward: (raw) => Math.min(1, Math.max(0, toUnit(raw) / high)),
    inverse: areShares ? (share) => share * high : (share) => top + Math.log(Math.max(share * high * sum, 1e-300)),
    toUnit,
    unit: "share",
    low: 0,
    high,
    label: `share of the slide's attention (softmax): 0 to ${brief(high)}`,
  };
}

/** Four significant digits, without a tail of zeros. */
export function brief(number, digits = 4) {
  if (!Number.isFinite(number)) return "–";
  if (number === 0) return "0";
  const size = Math.abs(number);
  const text = size >= 1e5 || size < 1e-4 ? number.toExponential(digits - 1) : number.toPrecision(digits);
  return text.replace(/(\.\d*?)0+(e|$)/, "$1$2").replace(/\.(e|$)/, "$1").replaceAll("-", "−");
}

/** A probability in percent; one that is nearly certain is not called certain (the figure's words). */
export function probability(share) {
  if (share >= 0.9995) return "> 99.9%";
  if (share < 0.0005) return "< 0.1%";
  return `${(100 * share).toFixed(1)}%`;
}

/** Numbers beside each other with as many digits as tell them apart: `least` of the largest, and two of the step. */
export function steps(numbers, least = 3) {
  const finite = numbers.filter(Number.isFinite);
  const gaps = finite.slice(1).map((number, i) => Math.abs(number - finite[i])).filter((gap) => gap > 0);
  const most = Math.max(...finite.map(Math.abs));
  if (!gaps.length || !(most > 0)) return numbers.map((number) => brief(number, Math.max(4, least)));
  const step = Math.min(...gaps);
  if (most >= 1e6 || most < 1e-4) {
    const digits = Math.min(12, Math.max(least, Math.ceil(Math.log10(most / step) + 1) + 1));
    return numbers.map((number) => brief(number, digits));
  }
  const decimals = Math.min(12, Math.max(0, Math.ceil(1 - Math.log10(step) - 1e-9), least - 1 - Math.floor(Math.log10(most))));
  const texts = numbers.map((number) => (Number.isFinite(number) ? number.toFixed(decimals) : "–"));
  const spare = Math.min(...texts.map((text) => (/\.(\d*?)(0*)$/.exec(text) ?? ["", "", ""])[2].length));
  return texts.map((text) => (spare ? text.slice(0, -spare).replace(/\.$/, "") : text).replace(/^-0$/, "0").replace("-", "−"));
}

/** Every value on the scale, as whole numbers 0..65535; -1 for those that are not finite. */
export function quantise(values, scale) {
  const out = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    out[i] = Number.isFinite(values[i]) ? Math.min(65535, Math.floor(scale.forward(values[i]) * 65536)) : -1;
  }
  return out;
}
