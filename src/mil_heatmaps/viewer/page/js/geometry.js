// Geometry of marks: what lies inside them, their length and area, and the scores of a map within them. Pure functions.

import { lowerBound, upperBound } from "./normalize.js";

/** Rings of a geometry, holes included; none for points and lines. */
export function ringsOf({ type, coordinates }) {
  if (type === "Polygon") return coordinates;
  return type === "MultiPolygon" ? coordinates.flat() : [];
}

/** Lines and rings as lists of points, to be drawn or measured. */
export function linesOf(geometry) {
  const { type, coordinates } = geometry;
  if (type === "Point") return [[coordinates]];
  if (type === "MultiPoint") return coordinates.map((point) => [point]);
  if (type === "LineString") return [coordinates];
  return type === "MultiLineString" ? coordinates : ringsOf(geometry);
}

/** Whether a point lies inside, by the even-odd rule. */
export function contains(rings, x, y) {
  let inside = false;
  for (const ring of rings) {
    for (let i = 0, j = ring.length - 1; i < ring.length; j = i++) {
      const [xi, yi] = ring[i];
      const [xj, yj] = ring[j];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
    }
  }
  return inside;
}

/** Area in square pixels; holes are subtracted. */
export function areaOf(geometry) {
  const ring = (points) => Math.abs(points.reduce((sum, [x, y], i) => {
    const [nextX, nextY] = points[(i + 1) % points.length];
    return sum + x * nextY - nextX * y;
  }, 0)) / 2;
  const polygons = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.type === "MultiPolygon" ? geometry.coordinates : [];
  return polygons.reduce((sum, [outer, ...holes]) => sum + ring(outer) - holes.reduce((less, hole) => less + ring(hole), 0), 0);
}

export function lengthOf(points) {
  return points.slice(1).reduce((sum, [x, y], i) => sum + Math.hypot(x - points[i][0], y - points[i][1]), 0);
}

const digits = (value) => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** A length or area in µm or mm; without a pixel size in pixels, and the text says so. */
export function lengthText(px, mpp) {
  if (!mpp) return `${digits(px)} px (pixel size unknown)`;
  const um = px * mpp;
  return um >= 1000 ? `${digits(um / 1000)} mm` : `${digits(um)} µm`;
}

export function areaText(px, mpp) {
  if (!mpp) return `${digits(px)} px² (pixel size unknown)`;
  const um = px * mpp * mpp;
  return um >= 1e5 ? `${digits(um / 1e6)} mm²` : `${digits(um)} µm²`;
}

/**
 * How a map performs within outlines: patches count as inside by their centre.
 * @returns {{inside: number, count: number, auroc: number?, enrichment: number?}} `auroc`: of the scores, for inside
 * against outside, ties half; `enrichment`: share of the highest tenth that is inside, over the share of all patches
 */
export function statistics(rings, { xs, ys, width, height }, { values, sorted }) {
  const { length } = sorted;
  const insides = [];
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i]) && contains(rings, xs[i] + width / 2, ys[i] + height / 2)) insides.push(values[i]);
  }
  const inside = insides.length;
  const out = { inside, count: length, auroc: null, enrichment: null };
  if (!inside || inside === length) return out;
  const ranks = insides.reduce((sum, value) => sum + (lowerBound(sorted, value) + 1 + upperBound(sorted, value)) / 2, 0);
  out.auroc = (ranks - (inside * (inside + 1)) / 2) / (inside * (length - inside));
  const top = Math.max(1, Math.round(length / 10));
  const limit = sorted[length - top];
  // Patches that tie with the last of the highest tenth each count for the fraction that still fits.
  const above = length - upperBound(sorted, limit);
  const alike = upperBound(sorted, limit) - lowerBound(sorted, limit);
  const part = (top - above) / alike;
  const hits = insides.reduce((sum, value) => sum + (value > limit ? 1 : value === limit ? part : 0), 0);
  out.enrichment = hits / top / (inside / length);
  return out;
}
