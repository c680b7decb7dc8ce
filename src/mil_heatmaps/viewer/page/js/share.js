// Taking a view elsewhere: as a picture, as a region for QuPath, as a link.

/* global OpenSeadragon */

import { drawBar, legendOf } from "./colourbar.js";
import { contentTitle } from "./content.js";
import { toast } from "./dom.js";
import { magnification, scaleBar } from "./ruler.js";

/** What is on the screen as one canvas, with scale bar, and a colour bar below every map. */
export function picture(app) {
  const ratio = OpenSeadragon.pixelDensityRatio;
  const unit = (px) => Math.round(px * ratio);
  const swipe = app.view.mode === "swipe";
  const panes = app.panes;
  const first = panes[0].heat.geometry();
  const columns = swipe ? 1 : panes.length > 3 ? 2 : panes.length;
  const rows = swipe ? 1 : Math.ceil(panes.length / columns);
  const gap = unit(8);
  const title = unit(30);
  const below = unit(112);
  const canvas = document.createElement("canvas");
  canvas.width = columns * first.width + (columns + 1) * gap;
  canvas.height = title + rows * (first.height + below) + (rows + 1) * gap;
  const context = canvas.getContext("2d");
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const text = (words, x, y, { size = 13, weight = 400, colour = "#20242a", align = "left", width = undefined } = {}) => {
    context.font = `${weight} ${unit(size)}px system-ui, sans-serif`;
    context.fillStyle = colour;
    context.textAlign = align;
    context.fillText(words, x, y, width);
  };
  text(app.slide.name, gap, gap + unit(18), { size: 16, weight: 600, width: canvas.width - 2 * gap });
  panes.forEach((pane, i) => {
    const column = swipe ? 0 : i % columns;
    const row = swipe ? 0 : Math.floor(i / columns);
    const x = gap + column * (first.width + gap);
    const y = title + gap + row * (first.height + below + gap);
    const from = swipe && i > 0 ? Math.round((first.width * app.view.swipe) / 100) : 0;
    context.save();
    context.beginPath();
    context.rect(x + from, y, first.width - from, first.height);
    context.clip();
    context.drawImage(pane.viewer.drawer.canvas, x, y, first.width, first.height);
    context.globalAlpha = app.view.opacity;
    context.drawImage(pane.heat.canvas, x, y);
    context.globalAlpha = 1;
    context.drawImage(pane.marks.canvas, x, y);
    context.restore();
    context.strokeStyle = "#b8bec7";
    context.strokeRect(x + 0.5, y + 0.5, first.width - 1, first.height - 1);
    if (i === 0) drawScale(context, app, x, y, first.height, unit, text);
    if (!swipe || i === panes.length - 1 || !pane.views?.length) drawLegend(context, app, pane, x, y + first.height, first.width, unit, text, swipe && i === 0);
  });
  return canvas;
}

function drawScale(context, app, x, y, height, unit, text) {
  const place = app.lockstep.place(true);
  const bar = scaleBar(place.scale, app.slide.slide.mpp);
  const long = unit(bar.px);
  const words = `${bar.text}   ${magnification(place.scale, app.slide.slide.mpp)}`;
  context.fillStyle = "rgba(255,255,255,0.85)";
  context.fillRect(x + unit(10), y + height - unit(42), Math.max(long, unit(110)) + unit(20), unit(32));
  context.fillStyle = "#20242a";
  context.fillRect(x + unit(20), y + height - unit(20), long, unit(4));
  text(words, x + unit(20), y + height - unit(26), { size: 12 });
}

function drawLegend(context, app, pane, x, y, width, unit, text, skip) {
  if (skip) return;
  const most = Math.min(width - unit(20), unit(420));
  if (!pane.views?.length) {
    text(contentTitle(pane.content, app.layers), x + unit(4), y + unit(20), { weight: 600, width: width - unit(8) });
    return;
  }
  const legend = legendOf(app, pane);
  text(legend.title, x + unit(10), y + unit(18), { weight: 600, width: width - unit(20) });
  const kind = legend.kind + (legend.className ? ` · class ${legend.className}` : "");
  text(kind, x + unit(10), y + unit(33), { size: 11, colour: "#555d68", width: width - unit(20) });
  drawBar(context, app, pane, x + unit(10), y + unit(40), most, unit(12), legend.hidden);
  legend.ticks.forEach((tick) => {
    const at = x + unit(10) + tick.at * most;
    const align = tick.at === 0 ? "left" : tick.at === 1 ? "right" : "center";
    text(tick.raw ? `${tick.text} (${tick.raw})` : tick.text, at, y + unit(66), { size: 11, align });
  });
  const unitText = `${legend.unit}${legend.ticks.some((tick) => tick.raw) ? " (score)" : ""} · ${legend.normalisation}`;
  text(unitText, x + unit(10), y + unit(84), { size: 11, colour: "#555d68", width: width - unit(20) });
  text(legend.range, x + unit(10), y + unit(100), { size: 11, colour: "#555d68", width: width - unit(20) });
}

export function savePng(app) {
  picture(app).toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${app.slide.name.replace(/[^\w.-]+/g, "_")}_view.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    toast("Saved the view as PNG");
  });
}

/** The view's rectangle in level-0 pixels as QuPath reads it: turned with the view, cut to the slide when it is not. */
export function regionGeoJson(app) {
  const place = app.lockstep.place();
  const { leader } = app.lockstep;
  const [width, height] = app.slide.slide.size;
  const halfX = leader.viewer.container.clientWidth / place.scale / 2;
  const halfY = leader.viewer.container.clientHeight / place.scale / 2;
  const turn = (-place.angle * Math.PI) / 180;
  const ring = [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]].map(([sx, sy]) => {
    const dx = sx * halfX;
    const dy = sy * halfY;
    let x = place.x + dx * Math.cos(turn) - dy * Math.sin(turn);
    let y = place.y + dx * Math.sin(turn) + dy * Math.cos(turn);
    if (place.angle % 360 === 0) {
      x = Math.min(width, Math.max(0, x));
      y = Math.min(height, Math.max(0, y));
    }
    return [Math.round(x), Math.round(y)];
  });
  const score = app.activeView;
  return {
    type: "FeatureCollection",
    features: [{
      type: "Feature",
      id: crypto.randomUUID(),
      geometry: { type: "Polygon", coordinates: [ring] },
      properties: {
        objectType: "annotation",
        name: `${app.slide.name} view`,
        slide: app.slide.name,
        score: score ? `${score.table.about.score} · ${score.name}` : null,
        kind: score?.table.about.kind ?? null,
      },
    }],
  };
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    toast(said);
  } catch {
    // Some browsers refuse the clipboard; a dialog lets a person copy by hand.
    window.prompt("Copy this:", text);
  }
}

export function copyRegion(app) {
  return copy(JSON.stringify(regionGeoJson(app), null, 1), "Copied the region as GeoJSON");
}

export async function copyLink(app) {
  app.store.writeNow();
  return copy(await app.data.link(), "Copied a link to this view; it lets whoever has it on this machine in");
}
