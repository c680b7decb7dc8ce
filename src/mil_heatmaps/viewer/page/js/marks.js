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
    this.outline = null;
    this.evidence = null;
    this.boxes = {};
    viewer.addHandler("update-viewport", () => this.draw());
    viewer.addHandler("resize", () => requestAnimationFrame(() => this.draw()));
  }

  showOutline(path) {
    this.outline = path;
    this.draw();
  }

  /** Outline the evidence set of the map that is shown, null for none. */
  showEvidence(path) {
    this.evidence = path;
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
    placeOnSlide(context, view);
    const pixel = OpenSeadragon.pixelDensityRatio / view.scale;
    if (this.outline) {
      stroke(context, this.outline, pixel, "#ffffffcc", 3.2);
      stroke(context, this.outline, pixel, "#0b7a4b", 1.6);
    }
    if (this.evidence) {
      stroke(context, this.evidence, pixel, "#ffffffd0", 3.6);
      stroke(context, this.evidence, pixel, "#1b1f24", 1.8);
    }
    if (this.boxes.chosen) frame(context, this.boxes.chosen, pixel, "#ffd400", 2.4);
    if (this.boxes.hover) frame(context, this.boxes.hover, pixel, "#ffffff", 1.4);
  }

  destroy() {
    this.canvas.remove();
  }
}

function stroke(context, path, pixel, colour, width) {
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
