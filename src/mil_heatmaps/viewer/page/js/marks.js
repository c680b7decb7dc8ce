/* global OpenSeadragon */
// Lines over the colours: tissue outline, the patch under the pointer, the chosen patch.

import { placeOnSlide } from "./heat.js";

export class MarksCanvas {
  constructor(viewer, heat) {
    this.heat = heat;
    this.viewer = viewer;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "marks";
    this.canvas.setAttribute("aria-hidden", "true");
    viewer.canvas.append(this.canvas);
    this.shown = {};
    this.boxes = {};
    viewer.addHandler("update-viewport", () => this.draw());
    viewer.addHandler("resize", () => requestAnimationFrame(() => this.draw()));
  }

  /**
   * @param {{outline?: Path2D, region?: object, gone?: object, evidence?: object, sufficient?: Path2D}} shown lines
   *   over the colours; `sufficient`: outline of the evidence set that the run draws, `evidence`: patches of the one
   *   chosen here
   */
  show(shown) {
    this.shown = shown;
    this.draw();
  }

  /** @param {"hover" | "chosen"} name @param {null | number[]} box x, y, width, height in level-0 pixels */
  showBox(name, box) {
    this.boxes[name] = box;
    this.draw();
  }

  draw() {
    if (!this.viewer.viewport || !this.viewer.isOpen()) return;
    const view = this.heat.geometry();
    if (this.canvas.width !== view.width || this.canvas.height !== view.height) {
      this.canvas.width = view.width;
      this.canvas.height = view.height;
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    this.paint(context, view, OpenSeadragon.pixelDensityRatio);
  }

  /** Draw on any context: the screen's, or that of a picture to save, with `ratio` of its pixels per screen pixel. */
  paint(context, view, ratio) {
    placeOnSlide(context, view);
    const pixel = ratio / view.scale / (this.frame?.scale ?? 1);
    this.frame?.apply(context);
    const { outline, region, gone, evidence, sufficient } = this.shown;
    if (gone) {
      context.fillStyle = "#8a8a8acc";
      context.fill(boxesPath(gone));
    }
    if (outline) {
      stroke(context, outline, pixel, "#ffffffcc", 3.2);
      stroke(context, outline, pixel, "#0b7a4b", 1.6);
    }
    if (evidence?.which.length) {
      const path = boxesPath(evidence);
      stroke(context, path, pixel, "#000000a0", 3);
      stroke(context, path, pixel, "#ff8c00", 1.6);
    }
    if (sufficient) {
      stroke(context, sufficient, pixel, "#ffffffd0", 3.6);
      stroke(context, sufficient, pixel, "#1b1f24", 1.8);
    }
    if (region) {
      region.path ??= outlinePath(region.rings.map((ring) => ({ outline: ring, holes: [] })));
      context.setLineDash([8 * pixel, 5 * pixel]);
      stroke(context, region.path, pixel, "#ffffff", 3.4);
      stroke(context, region.path, pixel, "#111111", 1.8);
      context.setLineDash([]);
    }
    this.features?.paint(context, pixel, view);
    if (this.boxes.chosen) frame(context, this.boxes.chosen, pixel, "#ffd400", 2.4);
    if (this.boxes.hover) frame(context, this.boxes.hover, pixel, "#ffffff", 1.4);
  }

  destroy() {
    this.canvas.remove();
  }
}

function boxesPath({ patches, which }) {
  const path = new Path2D();
  for (const patch of which) path.rect(patches.xs[patch], patches.ys[patch], patches.width, patches.height);
  return path;
}

export function stroke(context, path, pixel, colour, width) {
  context.lineWidth = width * pixel;
  context.lineJoin = "round";
  context.strokeStyle = colour;
  context.stroke(path);
}

function frame(context, [x, y, width, height], pixel, colour, thick) {
  const path = new Path2D();
  path.rect(x, y, width, height);
  stroke(context, path, pixel, "#000000b0", thick + 1.8);
  stroke(context, path, pixel, colour, thick);
}

/** Outlines as one path, holes included. */
export function outlinePath(pieces) {
  const path = new Path2D();
  const ring = (points) => {
    for (let i = 0; i < points.length; i += 2) path[i ? "lineTo" : "moveTo"](points[i], points[i + 1]);
    path.closePath();
  };
  for (const { outline, holes } of pieces) [outline, ...holes].forEach(ring);
  return path;
}
