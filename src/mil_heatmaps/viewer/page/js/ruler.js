// Scale bar and magnification of the place on the screen.

import { byId } from "./dom.js";
import { brief } from "./normalize.js";

const LONGEST_PX = 160;
const UM_AT_1X = 10; // by the usual convention a 40x scan has 0.25 µm per pixel

/** A round length that fits: {px, text}. Without a pixel size the bar counts level-0 pixels. */
export function scaleBar(scale, mpp, longest = LONGEST_PX) {
  const perPixel = (mpp ?? 1) / scale;
  const most = longest * perPixel;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((step) => step * power).find((step) => step <= most) ?? power;
  const text = mpp === null ? `${brief(length)} px` : length >= 1000 ? `${brief(length / 1000)} mm` : `${brief(length)} µm`;
  return { px: length / perPixel, text };
}

/** The magnification in microscope terms; without a pixel size, in screen pixels per slide pixel. */
export function magnification(scale, mpp) {
  return mpp === null ? `${brief(scale * 100, 3)} %` : `${brief((UM_AT_1X * scale) / mpp, 3)}×`;
}

export class Ruler {
  constructor(app) {
    this.app = app;
    app.on("move", () => this.update());
    app.on("slide", () => this.update());
    app.on("panes", () => this.update());
  }

  update() {
    const { app } = this;
    const place = app.slide.slide && app.lockstep.place(true);
    byId("ruler").hidden = !place;
    if (!place) return;
    const { mpp } = app.slide.slide;
    const bar = scaleBar(place.scale, mpp);
    byId("scale-bar").style.width = `${bar.px}px`;
    byId("scale-text").textContent = bar.text;
    byId("magnification").textContent = magnification(place.scale, mpp);
    byId("magnification").title = mpp === null
      ? "screen pixels a slide pixel; the slide does not say its pixel size"
      : "as through a microscope (10 µm a pixel at 1×)";
  }
}
