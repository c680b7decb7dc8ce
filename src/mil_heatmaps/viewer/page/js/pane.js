// One pane: the slide in OpenSeadragon, colours and lines over it, and a menu that says what it shows.

/* global OpenSeadragon */

import { HeatCanvas } from "./heat.js";
import { MarksCanvas } from "./marks.js";
import { tileSource } from "./tilesource.js";

// OpenSeadragon adds an inline style sheet unless it finds its marker, and the page's policy refuses inline styles. An
// element of no namespace carries the marker.
const mark = document.createElementNS("", "style");
mark.setAttribute("data-openseadragon-mobile-css", "true");
document.head.append(mark);

const NAVIGATOR_PX = 128; // longer side of the overview, which has the slide's shape

export class Pane {
  /** @param {{navigator: boolean, aspect: number}} options `aspect`: height of the slide over its width; `room`: width for all panes */
  constructor(number, { navigator, aspect, room }) {
    this.number = number;
    this.element = document.createElement("section");
    this.element.className = "pane";
    this.element.setAttribute("aria-label", `View ${number + 1}`);
    this.menu = document.createElement("select");
    this.menu.className = "pane-menu";
    this.menu.setAttribute("aria-label", `What view ${number + 1} shows`);
    this.close = document.createElement("button");
    this.close.type = "button";
    this.close.className = "pane-close";
    this.close.textContent = "×";
    this.close.setAttribute("aria-label", `Close view ${number + 1}`);
    this.stage = document.createElement("div");
    this.stage.className = "stage";
    this.element.append(this.stage, this.menu, this.close);
    this.navigator = navigator;
    const longer = Math.min(NAVIGATOR_PX, room / 4);
    this.overview = [longer / Math.max(1, aspect), longer * Math.min(1, aspect)].map((px) => `${Math.round(Math.max(24, px))}px`);
    this.slideSize = [1, 1];
    this.content = "slide";
    this.picture = null;
    this.frame = null; // maps places of the first slide to this pane's slide, when that is another one
  }

  /** OpenSeadragon measures its element, so the pane must be on the page before. */
  mount() {
    this.viewer = OpenSeadragon({
      element: this.stage,
      drawer: "canvas", // far faster than WebGL without a graphics card, and not slower with one
      showNavigationControl: false,
      showNavigator: this.navigator,
      navigatorPosition: "BOTTOM_RIGHT",
      navigatorWidth: this.overview[0],
      navigatorHeight: this.overview[1],
      navigatorAutoFade: false,
      navigatorOpacity: 1,
      navigatorRotate: true,
      navigatorBorderColor: "#8a93a0",
      navigatorDisplayRegionColor: "#0a66c2",
      preserveImageSizeOnResize: true, // the scale stays when a pane gets narrower
      animationTime: 0.4,
      springStiffness: 8,
      blendTime: 0,
      immediateRender: false,
      minZoomImageRatio: 0.5,
      maxZoomPixelRatio: 16,
      visibilityRatio: 0.2,
      zoomPerScroll: 1.25,
      imageLoaderLimit: 6,
      maxImageCacheCount: 400,
      timeout: 120000,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { pinchRotate: false },
    });
    // Keys are handled for the whole page, in keys.js.
    this.viewer.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
      event.preventVerticalPan = true;
      event.preventHorizontalPan = true;
    });
    this.viewer.canvas.setAttribute("aria-label", `Slide, view ${this.number + 1}. Arrow keys move, plus and minus zoom.`);
    this.viewer.canvas.setAttribute("role", "application");
  }

  /** The size as the viewport has it: the element may already be wider. */
  get width() {
    return this.viewer.viewport?.getContainerSize().x || this.viewer.container.clientWidth;
  }

  get isOpen() {
    return Boolean(this.viewer?.viewport && this.viewer.world.getItemCount());
  }

  /** Show a slide; resolves when its first level is known. */
  openSlide(slide, urlOf) {
    this.slideSize = slide.size;
    this.picture = null;
    this.heat?.destroy();
    this.marks?.destroy();
    return new Promise((resolve, reject) => {
      this.giveUp = resolve; // a pane may be removed before its slide has arrived
      this.viewer.addOnceHandler("open", () => {
        this.viewer.world.getItemAt(0).setClip(new OpenSeadragon.Rect(0, 0, ...slide.size));
        resolve();
      });
      this.viewer.addOnceHandler("open-failed", (event) => reject(new Error(event.message)));
      this.viewer.open(tileSource(slide, slide.size, urlOf));
      this.heat = new HeatCanvas(this.viewer, slide.size);
      this.marks = new MarksCanvas(this.viewer, this.heat);
      this.marks.frame = this.frame;
    });
  }

  /** Lay a picture over the slide, stretched to it; null removes the picture. */
  showPicture(layer, urlOf, opacity) {
    if (this.picture && this.picture.layer === layer) {
      this.picture.item?.setOpacity(opacity);
      this.picture.opacity = opacity;
      return;
    }
    if (this.picture) {
      if (this.picture.item) this.viewer.world.removeItem(this.picture.item);
      this.picture.dropped = true;
      this.picture = null;
    }
    if (!layer) return;
    const picture = { layer, opacity, item: null };
    this.picture = picture;
    this.viewer.addTiledImage({
      tileSource: tileSource(layer, this.slideSize, urlOf),
      width: 1,
      opacity,
      success: ({ item }) => {
        if (picture.dropped) this.viewer.world.removeItem(item);
        else {
          picture.item = item;
          item.setOpacity(picture.opacity);
          item.setClip(new OpenSeadragon.Rect(0, 0, ...this.slideSize));
        }
      },
    });
  }

  /** Level-0 point of the first slide under a place on the screen. */
  slidePoint(clientX, clientY) {
    const box = this.viewer.container.getBoundingClientRect();
    const point = this.viewer.viewport.pointFromPixel(
      new OpenSeadragon.Point(clientX - box.left, clientY - box.top), true,
    );
    const [x, y] = [point.x * this.slideSize[0], point.y * this.slideSize[0]];
    return this.frame ? this.frame.inverse(x, y) : [x, y];
  }

  destroy() {
    this.giveUp?.();
    this.heat?.destroy();
    this.marks?.destroy();
    this.viewer.destroy();
    this.element.remove();
  }
}
