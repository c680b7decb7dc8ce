/* global OpenSeadragon */
// What is on the screen as a picture of any width: slide and colours drawn again at that size, bars and words as shapes.

import { fitting, legendOf } from "./colourbar.js";
import { contentTitle, parseContent, sourceTitle } from "./content.js";
import { colourOf } from "./colours.js";
import { placeOnSlide } from "./heat.js";
import { probability } from "./normalize.js";
import { magnification, scaleBar } from "./ruler.js";

const GAP = 8;
const FONT = "system-ui, sans-serif";
const SOFT = "#555d68";
const MOST_TILES = 4000;
const AT_ONCE = 4;

let measuring;

export function textWidth(words, size, weight = 400) {
  measuring ??= document.createElement("canvas").getContext("2d");
  measuring.font = `${weight} ${size}px ${FONT}`;
  return measuring.measureText(words).width;
}

/** Words in lines that fit; a word that is too long is cut. */
export function wrap(words, size, width, weight = 400) {
  const lines = [""];
  for (const word of words.split(" ")) {
    const longer = lines[lines.length - 1] ? `${lines[lines.length - 1]} ${word}` : word;
    if (textWidth(longer, size, weight) <= width) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  const cut = (line) => {
    while (line.length > 1 && textWidth(line, size, weight) > width) line = `${line.slice(0, -2)}…`;
    return line;
  };
  return lines.filter(Boolean).map(cut);
}

async function drawTiles(context, view, pyramid, stretch, urlOf) {
  const [width, height] = stretch;
  const perPixel = 1 / view.scale;
  const along = pyramid.levels.map((level) => (level.downsample[0] / pyramid.size[0]) * width);
  let chosen = along.findIndex((step) => step <= perPixel * 1.001);
  if (chosen < 0) chosen = pyramid.levels.length - 1;
  const { tile, tiles, size, downsample } = pyramid.levels[chosen];
  const [stepX, stepY] = [along[chosen], (downsample[1] / pyramid.size[1]) * height];
  const reach = Math.hypot(view.width, view.height) / 2 / view.scale;
  const range = (middle, step, side, count) => [
    Math.max(0, Math.floor((middle - reach) / step / side)), Math.min(count - 1, Math.floor((middle + reach) / step / side)),
  ];
  const [left, right] = range(view.x, stepX, tile[0], tiles[0]);
  const [top, bottom] = range(view.y, stepY, tile[1], tiles[1]);
  if ((right - left + 1) * (bottom - top + 1) > MOST_TILES) throw new Error("the picture would need too many tiles; choose a smaller width");
  const places = [];
  for (let row = top; row <= bottom; row++) for (let column = left; column <= right; column++) places.push([column, row]);
  const overlap = 0.4 / view.scale; // no seams between tiles at odd scales
  const work = async () => {
    for (let next = places.pop(); next; next = places.pop()) {
      const [column, row] = next;
      const image = new Image();
      image.src = urlOf(chosen, column, row);
      await image.decode();
      const wide = Math.min(tile[0], size[0] - column * tile[0]) * stepX;
      const high = Math.min(tile[1], size[1] - row * tile[1]) * stepY;
      placeOnSlide(context, view);
      context.beginPath();
      context.rect(0, 0, width, height);
      context.save();
      context.clip();
      context.drawImage(image, column * tile[0] * stepX, row * tile[1] * stepY, wide + overlap, high + overlap);
      context.restore();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** One pane as a canvas, `ratio` pixels a screen pixel. */
async function paneCanvas(app, pane, ratio) {
  const view = pane.heat.geometry(ratio);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [view.width, view.height];
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const beside = pane.frame !== null;
  const slide = beside ? app.beside.slide : app.slide.slide;
  const number = beside ? app.beside.index : app.number;
  await drawTiles(context, view, slide, slide.size, (...at) => app.data.slideTile(number, ...at));
  const parsed = parseContent(pane.content);
  if (parsed.kind === "picture") {
    const layer = app.layers[parsed.layer];
    context.globalAlpha = app.view.picture;
    await drawTiles(context, view, layer, slide.size, (...at) => app.data.pictureTile(app.number, layer, ...at));
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = app.view.opacity;
  context.drawImage(pane.heat.paintFor(view), 0, 0);
  context.globalAlpha = 1;
  pane.marks.paint(context, view, ratio);
  return canvas;
}

/**
 * Everything of the picture as shapes in screen pixels.
 * @param {{ratio?: number}} options `ratio` pixels of the picture a screen pixel
 * @returns {Promise<{width: number, height: number, items: object[]}>}
 */
export async function compose(app, { ratio = OpenSeadragon.pixelDensityRatio } = {}) {
  const { panes } = app;
  const swipe = app.view.mode === "swipe" && panes.length > 1;
  const canvases = await Promise.all(panes.map((pane) => paneCanvas(app, pane, ratio)));
  const items = [];
  const text = (words, x, y, options = {}) => items.push({ kind: "text", words, x, y, size: 13, weight: 400, colour: "#20242a", align: "left", ...options });
  const rect = (x, y, width, height, options) => items.push({ kind: "rect", x, y, width, height, ...options });
  const wide = panes[0].viewer.container.clientWidth;
  const high = panes[0].viewer.container.clientHeight;
  const columns = swipe ? 1 : panes.length > 3 ? 2 : panes.length;
  const rows = swipe ? 1 : Math.ceil(panes.length / columns);
  const width = columns * wide + (columns + 1) * GAP;
  let y = GAP;
  for (const line of wrap(app.slide.name, 16, width - 2 * GAP, 600)) text(line, GAP, (y += 20) - 4, { size: 16, weight: 600 });
  for (const words of provenance(app)) for (const line of wrap(words, 11, width - 2 * GAP)) text(line, GAP, (y += 15) - 3, { size: 11, colour: SOFT });
  y += 6;
  for (let row = 0; row < rows; row++) {
    let below = 0;
    for (let column = 0; column < columns; column++) {
      const i = row * columns + column;
      if (!panes[i]) break;
      const x = GAP + column * (wide + GAP);
      if (swipe) {
        const cut = (wide * app.view.swipe) / 100;
        items.push({ kind: "image", canvas: canvases[0], x, y, width: wide, height: high, from: 0, to: cut });
        items.push({ kind: "image", canvas: canvases[1], x, y, width: wide, height: high, from: cut, to: wide });
        rect(x + cut - 2, y, 4, high, { fill: "#20242a" });
        rect(x + cut - 1, y, 2, high, { fill: "#ffffff" });
        const half = (wide - GAP) / 2;
        below = Math.max(
          legend(app, panes[0], { x, y: y + high, width: half, side: "left: " }, text, rect),
          legend(app, panes[1], { x: x + half + GAP, y: y + high, width: half, side: "right: " }, text, rect),
        );
      } else {
        items.push({ kind: "image", canvas: canvases[i], x, y, width: wide, height: high, from: 0, to: wide });
        below = Math.max(below, legend(app, panes[i], { x, y: y + high, width: wide, side: "" }, text, rect));
      }
      rect(x + 0.5, y + 0.5, wide - 1, high - 1, { stroke: "#b8bec7" });
      if (i === 0) drawScale(app, x, y + high, text, rect);
    }
    y += high + below + GAP;
  }
  return { width, height: Math.ceil(y), items };
}

/** Run, model, label and whatever speaks against the scores: a picture must say what it is of. */
function provenance(app) {
  const { layers } = app;
  const used = new Set(app.panes.flatMap((pane) => {
    const parsed = parseContent(pane.content);
    return parsed.kind === "difference" ? [parsed.a.layer, parsed.b.layer] : [parsed.layer];
  }));
  const lines = [];
  const seen = new Set();
  layers.forEach((about, i) => {
    if (about.type !== "scores" || seen.has(about.file) || (!used.has(i) && [...used].some((layer) => layers[layer]?.type === "scores"))) return;
    seen.add(about.file);
    lines.push([
      sourceTitle(layers, about), about.run && `run ${about.run}`, about.model && `model ${about.model}`,
      about.checkpoint && `checkpoint ${about.checkpoint.slice(0, 8)}`, about.encoder && `features ${about.encoder}`,
      about.prediction?.task === "classification" && `prediction ${about.prediction.classes[about.prediction.predicted]} (${probability(about.prediction.values[about.prediction.predicted])})`,
    ].filter(Boolean).join(" · "));
  });
  const { label } = app.index.slides[app.number];
  if (label) lines.push(`label ${label}`);
  for (const layer of used) for (const note of layers[layer]?.notes ?? []) lines.push(`! ${note}`);
  return [...new Set(lines)].filter(Boolean);
}

function drawScale(app, x, bottom, text, rect) {
  const place = app.lockstep.place(true);
  const bar = scaleBar(place.scale, app.slide.slide.mpp);
  const words = `${bar.text}   ${magnification(place.scale, app.slide.slide.mpp)}`;
  rect(x + 10, bottom - 42, Math.max(bar.px, textWidth(words, 12)) + 20, 32, { fill: "#ffffffd9" });
  rect(x + 20, bottom - 20, bar.px, 4, { fill: "#20242a" });
  text(words, x + 20, bottom - 26, { size: 12 });
}

/** The words and the bar below a pane; returns how high they are. */
function legend(app, pane, { x, y, width, side }, text, rect) {
  const left = x + 10;
  const room = width - 20;
  let down = 4;
  const lines = (words, options) => {
    for (const line of wrap(words, options.size, room, options.weight)) text(line, left, y + (down += options.size + 3), options);
  };
  if (!pane.views?.length) {
    lines(side + contentTitle(pane.content, app.layers), { size: 13, weight: 600 });
    return down + 6;
  }
  const about = legendOf(app, pane);
  lines(side + about.title, { size: 13, weight: 600 });
  lines(about.kind + (about.className ? ` · class ${about.className}` : ""), { size: 11, colour: SOFT });
  const hasRaw = about.ticks.some((tick) => tick.raw);
  if (about.swatches) {
    down += 5;
    about.swatches.forEach(({ text: words, colour }, i) => {
      rect(left + 44 * i, y + down, 12, 12, { fill: colour });
      text(words, left + 44 * i + 17, y + down + 10, { size: 11, align: "left", colour: "#20242a" });
    });
    down += 14;
  } else {
    const bar = Math.min(room, 420);
    down += 5;
    const stops = 128;
    for (let i = 0; i < stops; i++) {
      const [r, g, b, out] = barColour(app, pane, about, (i + 0.5) / stops);
      // Each reaches below the next, so that no seam shows; what lets through may not lie twice.
      const wide = out ? bar / stops : Math.min(bar / stops + 1, bar - (i * bar) / stops);
      rect(left + (i * bar) / stops, y + down, wide, 12, { fill: `rgb(${r},${g},${b})`, opacity: out ? 0.12 : 1 });
    }
    rect(left, y + down, bar, 12, { stroke: "#8a93a0" });
    down += 12;
    for (const key of hasRaw ? ["text", "raw"] : ["text"]) {
      down += 14;
      for (const tick of fitting(about.ticks, key, bar, (words) => textWidth(words, 11))) {
        const align = tick.at === 0 ? "left" : tick.at === 1 ? "right" : "center";
        text(tick[key], left + tick.at * bar, y + down, { size: 11, align, colour: key === "raw" ? SOFT : "#20242a" });
      }
      if (bar < room - 60) text(key === "raw" ? "score" : about.unit, left + bar + 8, y + down, { size: 11, colour: SOFT });
    }
  }
  lines(`${about.unit}${hasRaw ? ", score below" : ""} · ${about.normalisation}`, { size: 11, colour: SOFT });
  lines(about.range, { size: 11, colour: SOFT });
  if (about.hint) lines(about.hint, { size: 11, colour: SOFT });
  for (const note of about.notes) lines(`! ${note}`, { size: 11, colour: "#a8261c" });
  return down + 6;
}

function barColour(app, pane, about, at) {
  const range = pane.views.length === 2 ? null : app.view;
  const share = range ? range.low + at * (range.high - range.low) : 0.5 + (at - 0.5) * app.colours.widest(pane);
  return [...(range ? app.colours.ofShare(pane, share) : colourOf(app.colours.paletteFor(pane), at)), at >= about.hidden[0] && at < about.hidden[1]];
}

/** The picture as pixels, `ratio` a screen pixel. */
export function toCanvas({ width, height, items }, ratio) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(ratio, ratio);
  for (const item of items) {
    context.globalAlpha = item.opacity ?? 1;
    if (item.kind === "text") {
      context.font = `${item.weight} ${item.size}px ${FONT}`;
      context.fillStyle = item.colour;
      context.textAlign = item.align;
      context.fillText(item.words, item.x, item.y);
    } else if (item.kind === "rect") {
      if (item.fill) context.fillStyle = item.fill;
      if (item.fill) context.fillRect(item.x, item.y, item.width, item.height);
      if (item.stroke) context.strokeStyle = item.stroke;
      if (item.stroke) context.strokeRect(item.x, item.y, item.width, item.height);
    } else {
      context.save();
      context.beginPath();
      context.rect(item.x + item.from, item.y, item.to - item.from, item.height);
      context.clip();
      context.drawImage(item.canvas, item.x, item.y, item.width, item.height);
      context.restore();
    }
  }
  return canvas;
}

const escaped = (words) => String(words).replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

/** The picture with its words and bars as shapes; only slide and colours are pixels inside. */
export function toSvg({ width, height, items }) {
  const anchors = { left: "start", center: "middle", right: "end" };
  const parts = items.map((item, i) => {
    const box = `x="${item.x.toFixed(2)}" y="${item.y.toFixed(2)}"`;
    if (item.kind === "text") {
      return `<text ${box} font-size="${item.size}" font-weight="${item.weight}" fill="${item.colour}" text-anchor="${anchors[item.align]}">${escaped(item.words)}</text>`;
    }
    const size = `width="${item.width.toFixed(2)}" height="${item.height.toFixed(2)}"`;
    if (item.kind === "rect") {
      return `<rect ${box} ${size} fill="${item.fill ?? "none"}"${item.stroke ? ` stroke="${item.stroke}"` : ""} opacity="${item.opacity ?? 1}"/>`;
    }
    return `<clipPath id="c${i}"><rect x="${(item.x + item.from).toFixed(2)}" y="${item.y.toFixed(2)}" width="${(item.to - item.from).toFixed(2)}" height="${item.height.toFixed(2)}"/></clipPath>`
      + `<image ${box} ${size} preserveAspectRatio="none" clip-path="url(#c${i})" href="${item.canvas.toDataURL("image/png")}"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${FONT}">`
    + `<rect width="100%" height="100%" fill="#fff"/>${parts.join("")}</svg>`;
}
