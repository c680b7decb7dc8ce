// Taking a view elsewhere: as a picture, as a region for QuPath, as a link.

/* global OpenSeadragon */

import { byId, make, toast } from "./dom.js";

const MOST_PX = 16000; // of a side: beyond it browsers give blank canvases

export function fileName(app, ending) {
  return `${app.slide.name.replace(/[^\w.-]+/g, "_")}${ending}`;
}

/** Offer a text or blob as a file. */
export function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function pngOf(app, width) {
  const { compose, toCanvas, toSvg } = await import("./picture.js");
  const screen = OpenSeadragon.pixelDensityRatio;
  const across = app.panes.length > 3 ? 2 : app.view.mode === "swipe" ? 1 : app.panes.length;
  const onScreen = app.panes[0].viewer.container.clientWidth * across + 8 * (across + 1);
  const ratio = width ? width / onScreen : screen;
  const shapes = await compose(app, { ratio });
  if (Math.max(shapes.width, shapes.height) * ratio > MOST_PX) throw new Error(`a side would have more than ${MOST_PX} pixels; choose a smaller width`);
  return { svg: () => toSvg(shapes), blob: () => new Promise((done) => toCanvas(shapes, ratio).toBlob(done, "image/png")) };
}

/** @param {{width?: number, format?: "png" | "svg" | "copy"}} options `width` in pixels; without it, as on the screen */
export async function savePng(app, { width, format = "png" } = {}) {
  if (!app.panes.length) return;
  try {
    const { svg, blob } = await pngOf(app, width);
    if (format === "svg") download(new Blob([svg()], { type: "image/svg+xml" }), fileName(app, "_view.svg"));
    else if (format === "copy") await navigator.clipboard.write([new ClipboardItem({ "image/png": blob() })]);
    else download(await blob(), fileName(app, "_view.png"));
    toast(format === "copy" ? "Copied the view" : `Saved the view as ${format.toUpperCase()}`);
  } catch (error) {
    toast(`The picture could not be made: ${error.message}`);
  }
}

/** Ask for width and format. */
export function pictureDialog(app) {
  const dialog = byId("picture-dialog");
  const onScreen = app.panes[0]?.viewer.container.clientWidth * Math.min(app.panes.length, 3);
  const width = make("input", { type: "number", min: "200", max: String(MOST_PX), step: "1", id: "picture-width" });
  width.value = Math.round(2 * onScreen) || 2000;
  const act = (format) => () => {
    dialog.close();
    savePng(app, { width: Math.min(MOST_PX, Math.max(200, Number(width.value) || 2000)), format });
  };
  const button = (text, format) => make("button", { type: "button", className: "plain", text, onclick: act(format) });
  dialog.replaceChildren(
    make("h2", { id: "picture-title", text: "Save this view" }),
    make("label", { className: "field" }, make("span", { text: "Width in pixels" }), width),
    make("p", { className: "note", text: "The slide is read again at this size; bars and words are as on the screen." }),
    make("div", { className: "pair" }, button("PNG", "png"), button("SVG", "svg"), button("Copy", "copy")),
    make("form", { method: "dialog" }, make("button", { className: "plain", text: "Close" })),
  );
  dialog.showModal();
}

/** The view's rectangle in level-0 pixels as QuPath reads it: turned with the view, cut to the slide when it is not. */
export function regionGeoJson(app) {
  const place = app.lockstep.place();
  const leader = app.lockstep.main;
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
