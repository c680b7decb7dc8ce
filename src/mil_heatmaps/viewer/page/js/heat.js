/* global OpenSeadragon */
// The coloured layer of one pane: a canvas over the slide, painted from patch scores at the screen's own pixels.
//
// Painting for the screen instead of in tiles keeps every patch sharp at every zoom, and nothing is larger than the
// pane. One frame is: patches -> raster of values (when the place or the scores change) -> colours (when those change)
// -> canvas. While the view moves and a raster is expensive, the last one is moved along and painted again at rest.

import { difference, rasterise, smooth } from "./raster.js";
import { paint } from "./colours.js";

const BUDGET_MS = 14; // of a frame while the view moves
const FINEST_SMOOTH_PX = 32; // patches need no more pixels than this to look smooth

export class HeatCanvas {
  /** @param {OpenSeadragon.Viewer} viewer */
  constructor(viewer, slideSize) {
    this.viewer = viewer;
    this.slideSize = slideSize;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "heat";
    this.canvas.setAttribute("aria-hidden", "true");
    viewer.canvas.append(this.canvas);
    this.scratch = document.createElement("canvas");
    this.content = null;
    this.lookup = null;
    this.clip = null;
    this.smooth = false;
    this.cost = 0;
    viewer.addHandler("update-viewport", () => this.draw());
    viewer.addHandler("animation-finish", () => this.draw());
    viewer.addHandler("resize", () => requestAnimationFrame(() => this.draw()));
  }

  /**
   * @param {null | {patches: object, values: Int32Array}[]} content one set of patches with their values, two for their
   *   difference, null for nothing
   */
  show(content, lookup, { clip, smoothed }) {
    const same = content && this.content && content.length === this.content.length
      && content.every((part, i) => part.values === this.content[i].values);
    this.content = content;
    this.lookup = lookup;
    this.clip = clip;
    if (!same || smoothed !== this.smooth) this.raster = null;
    this.smooth = smoothed;
    this.image = null;
    this.draw();
  }

  /** Where the slide lies on a canvas of `ratio` pixels a screen pixel: pixels a level-0 pixel, centre, rotation. */
  geometry(ratio = OpenSeadragon.pixelDensityRatio) {
    const { viewport, container } = this.viewer;
    const width = Math.round(container.clientWidth * ratio);
    const height = Math.round(container.clientHeight * ratio);
    const center = viewport.getCenter(true);
    const scale = (container.clientWidth * viewport.getZoom(true) * ratio) / this.slideSize[0];
    return {
      width,
      height,
      scale,
      x: center.x * this.slideSize[0],
      y: center.y * this.slideSize[0], // one unit of the viewport is the slide's width, along both axes
      angle: (viewport.getRotation(true) * Math.PI) / 180,
      flip: viewport.getFlip(),
      middleX: (container.clientWidth * ratio) / 2,
      middleY: (container.clientHeight * ratio) / 2,
    };
  }

  draw() {
    if (!this.viewer.viewport || !this.viewer.isOpen()) return;
    const view = this.geometry();
    if (this.canvas.width !== view.width || this.canvas.height !== view.height) {
      this.canvas.width = view.width;
      this.canvas.height = view.height;
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, view.width, view.height);
    if (!this.content) return;
    const place = this.placeOf(view);
    if (!place) return;
    if (!this.fits(place) && !(this.cost > BUDGET_MS && this.raster && this.moving())) this.rasterise(place);
    if (!this.image) this.colour();
    this.put(context, view);
  }

  colour() {
    const { width, height } = this.at;
    this.scratch.width = width;
    this.scratch.height = height;
    this.image = paint(this.raster, width, height, this.lookup);
    this.scratch.getContext("2d").putImageData(this.image, 0, 0);
  }

  /** The colours for another view than the screen's, on a canvas of their own. */
  paintFor(view) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [view.width, view.height];
    const other = Object.assign(Object.create(HeatCanvas.prototype), this);
    other.scratch = document.createElement("canvas");
    other.raster = other.image = null;
    const place = this.content && other.placeOf(view);
    if (!place) return canvas;
    other.rasterise(place);
    other.colour();
    other.put(canvas.getContext("2d"), view);
    return canvas;
  }

  moving() {
    const { viewport } = this.viewer;
    const now = viewport.getBounds(true);
    const then = viewport.getBounds(false);
    return Math.abs(now.x - then.x) + Math.abs(now.y - then.y) + Math.abs(now.width - then.width) > 1e-9 * now.width;
  }

  /** The raster that covers the view: on the screen's pixel grid, cut to where the patches are; null if none is seen. */
  placeOf(view) {
    const coarse = this.coarseness(view.scale);
    const scale = view.scale / coarse;
    const patches = this.content[0].patches;
    const margin = this.smooth ? 2 * this.radius(scale) : 0;
    const cos = Math.abs(Math.cos(view.angle));
    const sin = Math.abs(Math.sin(view.angle));
    const reachX = (cos * view.width + sin * view.height) / 2 / coarse + margin;
    const reachY = (sin * view.width + cos * view.height) / 2 / coarse + margin;
    // Column k of the screen's grid begins at level-0 x = view.x + (k - middleX) / scale.
    const middleX = view.middleX / coarse;
    const middleY = view.middleY / coarse;
    const left = Math.max(Math.floor(middleX - reachX), Math.floor((patches.box[0] - view.x) * scale + middleX) - 1);
    const top = Math.max(Math.floor(middleY - reachY), Math.floor((patches.box[1] - view.y) * scale + middleY) - 1);
    const right = Math.min(Math.ceil(middleX + reachX), Math.ceil((patches.box[2] - view.x) * scale + middleX) + 1);
    const bottom = Math.min(Math.ceil(middleY + reachY), Math.ceil((patches.box[3] - view.y) * scale + middleY) + 1);
    if (right <= left || bottom <= top) return null;
    return {
      x: view.x + (left - middleX) / scale,
      y: view.y + (top - middleY) / scale,
      scale,
      width: right - left,
      height: bottom - top,
    };
  }

  /** Smoothed maps of large patches are made coarse and enlarged: they hold no detail that would need the pixels. */
  coarseness(scale) {
    if (!this.smooth) return 1;
    return Math.max(1, Math.floor((this.content[0].patches.width * scale) / FINEST_SMOOTH_PX));
  }

  radius(scale) {
    return Math.min(200, Math.round((this.content[0].patches.width * scale) / 2));
  }

  fits(place) {
    const at = this.at;
    return (
      this.raster !== null && at !== undefined && at.scale === place.scale && at.width === place.width
      && at.height === place.height && at.x === place.x && at.y === place.y
    );
  }

  rasterise(place) {
    const begin = performance.now();
    const rasters = this.content.map((part) => {
      const raster = rasterise(part.patches, part.values, place);
      return this.smooth ? smooth(raster, place.width, place.height, this.radius(place.scale)) : raster;
    });
    this.raster = rasters.length === 2 ? difference(...rasters) : rasters[0];
    this.at = place;
    this.image = null;
    this.cost = performance.now() - begin;
  }

  put(context, view) {
    const zoom = view.scale / this.at.scale;
    context.imageSmoothingEnabled = this.smooth || view.angle !== 0;
    context.translate(view.middleX, view.middleY);
    context.rotate(view.angle);
    const left = (this.at.x - view.x) * view.scale;
    const top = (this.at.y - view.y) * view.scale;
    if (view.angle === 0 && zoom === 1) {
      // The raster's grid is the screen's: undo the rounding of the middle, so that no pixel is resampled.
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.drawImage(this.scratch, Math.round(left + view.middleX), Math.round(top + view.middleY));
    } else {
      context.drawImage(this.scratch, left, top, this.at.width * zoom, this.at.height * zoom);
    }
    if (this.clip) this.keepInside(context, view);
  }

  /** Remove what lies outside the tissue. */
  keepInside(context, view) {
    placeOnSlide(context, view);
    context.globalCompositeOperation = "destination-in";
    context.fill(this.clip, "evenodd");
    context.globalCompositeOperation = "source-over";
  }

  destroy() {
    this.canvas.remove();
    this.content = null;
  }
}

/** Let the context draw in level-0 pixels. */
export function placeOnSlide(context, view) {
  context.setTransform(view.flip ? -1 : 1, 0, 0, 1, view.middleX, view.middleY);
  context.rotate(view.angle);
  context.scale(view.scale, view.scale);
  context.translate(-view.x, -view.y);
}
