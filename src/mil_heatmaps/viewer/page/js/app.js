// The page's one coordinator: which slide, which panes, what they show. All drawing follows from the view in the
// store; controls only change the store.

import { Frame } from "./beside.js";
import { decodePalette } from "./colours.js";
import { nextContent, panesFor } from "./content.js";
import { Lockstep } from "./lockstep.js";
import { outlinePath } from "./marks.js";
import { Pane } from "./pane.js";
import { PaneColours } from "./panecolours.js";
import { pictures } from "./queue.js";
import { ScoreTable } from "./scores.js";
import { DEFAULTS, Store, parseView } from "./state.js";

const MOST_PANES = 4;
const PLACE = ["x", "y", "z", "r"];

export class App {
  constructor(data, container) {
    this.data = data;
    this.container = container;
    this.panes = [];
    this.lockstep = new Lockstep();
    this.listeners = { slide: [], content: [], colours: [], move: [], panes: [], list: [] };
    this.tables = [];
    this.outline = null;
    this.colours = new PaneColours(this);
    this.generation = 0;
    this.busy = 0; // number of panes being arranged
    this.underWay = 0; // slides, panes and scores that were requested and have not arrived
  }

  /** Count a piece of work until it ends. */
  during(work) {
    this.underWay++;
    return work.finally(() => this.underWay--);
  }

  /** @param {"slide" | "content" | "colours" | "move" | "panes" | "list"} event */
  on(event, listener) {
    this.listeners[event].push(listener);
  }

  tell(event) {
    for (const listener of this.listeners[event]) listener(this);
  }

  /** @param {function()} build called once the list of slides is known, before the first slide is opened */
  async start(build) {
    this.index = await this.data.index();
    const { beside } = this.index;
    if (beside) this.beside = { ...beside, frame: new Frame(beside.affine), ...(await this.data.describe(beside.slide)) };
    const defaults = { ...DEFAULTS, ...this.index.defaults };
    this.palettes = this.index.palettes.map(decodePalette);
    this.store = new Store(parseView(location.hash, defaults), defaults);
    this.store.onChange((view, changed) => this.changed(changed));
    window.addEventListener("hashchange", () => this.follow(parseView(location.hash, defaults)));
    this.lockstep.onMove(() => this.moved());
    build();
    const asked = this.index.slides.findIndex((slide) => slide.name === this.view.slide);
    const first = this.index.slides.findIndex((slide) => slide.canOpen && slide.layers);
    await this.showSlide(asked >= 0 ? asked : Math.max(0, first), { keepPlace: asked >= 0 || !this.view.slide });
  }

  get view() {
    return this.store.view;
  }

  get layers() {
    return this.slide.layers;
  }

  /** Show a slide by its place in the list; errors are shown as messages. */
  openSlide = (...given) => this.during(this.showSlide(...given)).catch((error) => this.fail(error));

  async showSlide(number, { keepPlace = false } = {}) {
    const generation = ++this.generation;
    this.number = number;
    pictures.hold();
    this.stop?.abort();
    this.stop = new AbortController();
    let slide;
    try {
      slide = await this.data.describe(number, this.stop.signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      throw error;
    }
    if (generation !== this.generation) return; // another slide was asked for meanwhile
    this.slide = slide;
    if (this.beside?.slide) slide.layers.beside = this.beside;
    this.tables = slide.layers.map((about, layer) =>
      about.type === "scores" ? new ScoreTable(this.data, number, layer, about) : null);
    this.outline = null;
    this.pieces = null;
    const forget = keepPlace ? {} : { x: null, y: null, z: null, r: 0, patch: null };
    this.quiet(() => this.store.set({ slide: slide.name, ...forget }));
    const { x, y, z, r } = this.view; // opening moves the view, which would overwrite them
    document.title = `${slide.name} · heatmap viewer`;
    for (const pane of this.panes) this.drop(pane);
    this.panes = [];
    this.tell("slide");
    if (!slide.slide) {
      pictures.release();
      this.tell("panes");
      this.tell("colours");
      return;
    }
    await this.arrange({ place: { x, y, z, r } });
    if (generation !== this.generation) return;
    this.letPicturesGo();
    if (slide.tissue) this.during(this.loadTissue(number, generation));
  }

  /** Thumbnails are loaded once the slide is there. */
  letPicturesGo() {
    const image = this.panes[0]?.viewer.world.getItemAt(0);
    if (!image || image.getFullyLoaded()) pictures.release();
    else image.addOnceHandler("fully-loaded-change", () => pictures.release());
  }

  async loadTissue(number, generation) {
    try {
      const pieces = await this.data.tissue(number);
      if (generation !== this.generation) return;
      this.pieces = pieces;
      this.outline = outlinePath(pieces);
    } catch (error) {
      this.slide.problems.push(error.message);
      this.tell("slide");
    }
    this.refresh();
  }

  restorePlace({ x, y, z, r }) {
    if (x === null || y === null || z === null) {
      this.lockstep.home(true);
      if (r) this.lockstep.goTo({ angle: r }, true);
      return;
    }
    this.lockstep.goTo({ x, y, scale: z, angle: r }, true);
  }

  /** The address was changed by hand or by a link. */
  async follow(view) {
    const number = this.index.slides.findIndex((slide) => slide.name === view.slide);
    const other = number >= 0 && number !== this.number;
    this.store.set({ ...view, slide: other ? this.view.slide : view.slide || this.view.slide });
    if (other) await this.openSlide(number, { keepPlace: true });
    else {
      if (this.busy) this.held = { place: view }; // where the panes move once they are arranged
      this.restorePlace(view);
    }
  }

  quiet(change) {
    this.isQuiet = true;
    change();
    this.isQuiet = false;
  }

  changed(changed) {
    if (this.isQuiet || !this.slide?.slide) return;
    if (["mode", "panes"].some((key) => changed.has(key))) this.arrange();
    else if ([...changed].some((key) => !PLACE.includes(key) && key !== "patch" && key !== "swipe")) this.refresh();
    if (changed.has("patch")) this.markChosen();
    if (changed.has("swipe")) this.placeDivider();
  }

  moved() {
    if (this.busy) return; // panes that change size have no valid place
    const place = this.lockstep.place();
    if (place) this.quiet(() => this.store.set({ x: place.x, y: place.y, z: place.scale, r: place.angle }));
    this.tell("move");
  }

  get contents() {
    return panesFor(this.view.panes, this.layers);
  }

  /** What is on the screen in the present arrangement, with the place of each among all panes. */
  get shown() {
    const all = this.contents.map((content, place) => ({ content, place }));
    const maps = all.filter(({ content }) => content !== "slide");
    if (this.view.mode === "overlay") return [maps[0] ?? all[0]];
    if (this.view.mode === "swipe") return all.length > 1 ? all.slice(0, 2) : [{ content: "slide", place: -1 }, all[0]];
    return all;
  }

  /**
   * Make the panes fit the arrangement. `busy` counts the calls in progress. The place is saved before the first
   * call and restored after the last, whatever happens between; a slide shown whole stays whole.
   * @param {{place?: object}} options the place to move to instead
   */
  arrange = (...given) => this.during(this.arrangeAt(...given));

  async arrangeAt({ place } = {}) {
    if (place) this.held = { place };
    else if (!this.busy) this.held = { whole: this.lockstep.isHome, place: this.placeNow() };
    this.busy++;
    try {
      if (!(await this.arrangePanes())) return;
      if (this.held.whole) this.lockstep.home(true);
      else this.restorePlace(this.held.place);
      this.lockstep.copy();
    } finally {
      this.busy--;
    }
    this.moved();
    await this.refresh();
    this.markChosen();
  }

  placeNow() {
    const place = this.lockstep.place();
    return place ? { x: place.x, y: place.y, z: place.scale, r: place.angle } : { x: null, y: null, z: null, r: 0 };
  }

  /** @returns {Promise<boolean>} whether nothing else was requested meanwhile */
  async arrangePanes() {
    const { shown } = this;
    const generation = this.generation;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    const isNewest = () => generation === this.generation && turn === this.turn;
    while (this.panes.length > shown.length) this.drop(this.panes.pop());
    const opened = [];
    shown.forEach((part, i) => {
      if (this.panes[i] && (this.panes[i].content === "beside") !== (part.content === "beside")) {
        for (const pane of this.panes.splice(i)) this.drop(pane);
      }
      if (!this.panes[i]) opened.push(this.addPane(part.content));
      this.panes[i].content = part.content;
      this.panes[i].place = part.place;
    });
    this.container.className = `mode-${this.view.mode} panes-${shown.length}`;
    this.placeDivider();
    this.tell("panes");
    await Promise.all(opened.map((pane) => this.openPane(pane)));
    // Panes changed size: let them measure themselves.
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    await frame();
    for (let i = 0; i < 20 && isNewest() && !this.lockstep.isMeasured; i++) await frame();
    await frame();
    return isNewest();
  }

  openPane(pane) {
    const { number, slide } = pane.content === "beside" ? { number: this.beside.index, slide: this.beside.slide } : { number: this.number, slide: this.slide.slide };
    return pane.openSlide(slide, (...at) => this.data.slideTile(number, ...at));
  }

  addPane(content) {
    const [width, height] = this.slide.slide.size;
    const options = { navigator: this.panes.length === 0, aspect: height / width, room: this.container.clientWidth };
    const pane = new Pane(this.panes.length, options);
    pane.content = content;
    pane.frame = content === "beside" ? this.beside.frame : null;
    this.container.append(pane.element);
    pane.mount();
    this.panes.push(pane);
    this.lockstep.add(pane);
    pane.menu.addEventListener("change", () => this.setContent(pane.place, pane.menu.value));
    pane.close.addEventListener("click", () => this.closePane(pane.place));
    this.onPane?.(pane);
    return pane;
  }

  drop(pane) {
    this.lockstep.remove(pane);
    pane.destroy();
  }

  setContent(place, content) {
    const contents = this.contents;
    if (place < 0) contents.unshift(content);
    else contents[place] = content;
    this.store.set({ panes: contents.slice(0, MOST_PANES).join(";") });
  }

  closePane(place) {
    const contents = this.contents;
    if (contents.length < 2) return;
    contents.splice(place, 1);
    this.store.set({ panes: contents.join(";") });
  }

  /** Add a view for comparison. */
  compare() {
    const contents = this.contents;
    if (contents.length >= MOST_PANES) return;
    this.store.set({ mode: "side", panes: [...contents, nextContent(this.layers, contents)].join(";") });
  }

  placeDivider() {
    this.container.style.setProperty("--swipe", `${this.view.swipe}%`);
  }

  // Colours ---------------------------------------------------------------------------------------------------------

  /** Bring every pane's colours up to date with the view. */
  refresh = () => this.during(this.paintAll());

  async paintAll() {
    const { generation } = this;
    try {
      await Promise.all(this.panes.map((pane) => this.colours.load(pane)));
    } catch (error) {
      if (generation !== this.generation) return;
      this.slide.problems.push(error.message);
      this.tell("slide");
      return;
    }
    if (generation !== this.generation) return;
    for (const pane of this.panes) this.colours.paint(pane);
    this.tell("content");
    this.tell("colours");
  }

  /** The pane that histogram, strip and patch keys refer to: the one last touched if it has scores. */
  get active() {
    const leader = this.lockstep.leader;
    const has = (pane) => pane?.views?.length === 1;
    return has(leader) ? leader : this.panes.find(has) ?? this.panes.find((pane) => pane.views?.length) ?? null;
  }

  get activeView() {
    return this.active?.views[0] ?? null;
  }

  /** Choose a patch and move there. */
  flyTo(patch) {
    const { activeView } = this;
    if (!activeView || !(patch >= 0 && patch < activeView.patches.count)) return;
    const { xs, ys, width, height } = activeView.patches;
    this.store.set({ patch });
    const stage = this.lockstep.main.viewer.container;
    const scale = Math.min(stage.clientWidth / width, stage.clientHeight / height) / 3;
    this.lockstep.goTo({ x: xs[patch] + width / 2, y: ys[patch] + height / 2, scale: Math.min(scale, 2) });
  }

  markChosen() {
    const { activeView, view: { patch } } = this;
    const known = activeView && patch !== null && patch >= 0 && patch < activeView.patches.count;
    const box = known
      ? [activeView.patches.xs[patch], activeView.patches.ys[patch], activeView.patches.width, activeView.patches.height]
      : null;
    for (const pane of this.panes) pane.marks?.showBox("chosen", box);
    this.tell("colours");
  }
}
