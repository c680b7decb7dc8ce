// Marks and measures: drawn on any pane, shown on all of them.

import { byId, make, toast } from "./dom.js";
import { areaOf, areaText, contains, lengthOf, lengthText, linesOf, ringsOf, statistics } from "./geometry.js";
import { stroke } from "./marks.js";
import { COLOURS, MarkStore, featureOf, featuresOf } from "./markstore.js";
import { download, fileName } from "./share.js";

const TOOLS = [
  ["point", "Point"], ["box", "Box"], ["polygon", "Polygon"], ["freehand", "Freehand"],
  ["distance", "Distance"], ["area", "Area"],
];
const MEASURES = new Set(["distance", "area"]);
const NEAR_PX = 9; // of the screen: so near is on a point

export class Annotate {
  constructor(app) {
    this.app = app;
    this.tool = null;
    this.draft = [];
    this.measure = null;
    this.chosen = null;
    this.store = new MarkStore(app, () => this.update());
    app.tool = this;
    const watch = app.onPane;
    app.onPane = (pane) => {
      watch?.(pane);
      this.watch(pane);
    };
    this.build();
    for (const pane of app.panes) this.watch(pane);
    app.on("slide", () => {
      this.chosen = this.measure = null;
      this.draft = [];
    });
    app.on("content", () => this.attach());
    app.on("colours", () => this.tell());
    if (app.slide) this.store.load();
  }

  /** Whether a click is the tool's, and chooses no patch. */
  takes() {
    return this.tool !== null;
  }

  build() {
    this.buttons = TOOLS.map(([key, text]) => make("button", {
      type: "button", className: "plain", text, "aria-pressed": "false", "data-tool": key, onclick: () => this.choose(this.tool === key ? null : key),
    }));
    this.kind = make("input", { list: "mark-kinds", placeholder: "Class", "aria-label": "Class of new marks" });
    this.colour = make("input", { type: "color", value: "#ffc800", "aria-label": "Colour of new marks" });
    this.kind.addEventListener("change", () => {
      const known = COLOURS.find(([name]) => name === this.kind.value);
      if (known) this.colour.value = `#${known[1].map((part) => part.toString(16).padStart(2, "0")).join("")}`;
      this.change({ classification: this.classification });
    });
    this.colour.addEventListener("change", () => this.change({ classification: this.classification }));
    this.name = make("input", { type: "text", placeholder: "Note", "aria-label": "Note of the chosen mark", onchange: () => this.change({ name: this.name.value }) });
    this.list = make("select", { size: "4", "aria-label": "Marks", onchange: () => this.pick(this.list.value) });
    this.words = make("p", { className: "note", role: "status", id: "mark-words" });
    const file = make("input", { type: "file", accept: ".geojson,.json", hidden: true, onchange: () => this.import(file) });
    const button = (text, act) => make("button", { type: "button", className: "plain", text, onclick: act });
    this.carry = button("For the slide beside", () => this.export(true));
    this.section = make(
      "section", { id: "marks-section" }, make("h2", { text: "Marks and measures" }),
      make("div", { className: "pair", role: "group", "aria-label": "Tools" }, ...this.buttons),
      make("div", { className: "pair" }, this.kind, this.colour),
      make("datalist", { id: "mark-kinds" }, ...COLOURS.map(([name]) => make("option", { value: name }))),
      this.list, this.name, this.words,
      make("div", { className: "pair" }, button("Undo", () => this.store.undo()), button("Delete", () => this.remove()),
        button("Import…", () => file.click()), button("GeoJSON", () => this.export(false)), this.carry, file),
      (this.keeping = make("p", { className: "note" })),
    );
    byId("panel").append(this.section);
  }

  get classification() {
    if (!this.kind.value) return undefined;
    const parts = [1, 3, 5].map((at) => parseInt(this.colour.value.slice(at, at + 2), 16));
    return { name: this.kind.value, color: parts };
  }

  choose(tool) {
    this.tool = tool;
    this.draft = [];
    this.measure = null;
    this.app.container.classList.toggle("marking", tool !== null);
    this.update();
  }

  watch(pane) {
    const { element } = pane;
    const onStage = (event) => this.tool && event.button <= 0 && !event.target.closest("select, button, .navigator, .divider");
    const stop = (event) => {
      event.stopPropagation();
      event.preventDefault();
    };
    element.addEventListener("pointerdown", (event) => {
      if (!onStage(event)) return;
      stop(event);
      this.app.container.focus({ preventScroll: true }); // Enter closes the outline, and presses no button
      this.down(pane.slidePoint(event.clientX, event.clientY));
    }, { capture: true });
    element.addEventListener("pointermove", (event) => {
      if (!this.tool || !this.draft.length) return;
      if (event.buttons) stop(event);
      this.move(pane.slidePoint(event.clientX, event.clientY), event.buttons > 0);
    }, { capture: true });
    element.addEventListener("pointerup", (event) => {
      if (!onStage(event) || !this.draft.length) return;
      stop(event);
      this.up(pane.slidePoint(event.clientX, event.clientY));
    }, { capture: true });
    element.addEventListener("click", (event) => this.tool && onStage(event) && stop(event), { capture: true });
    element.addEventListener("dblclick", (event) => {
      if (!onStage(event)) return;
      stop(event);
      this.finish();
    }, { capture: true });
  }

  get pixel() {
    return 1 / (this.app.lockstep.place(true)?.scale ?? 1);
  }

  down(point) {
    const { draft } = this;
    if (this.tool === "point") this.add({ type: "Point", coordinates: point });
    else if (["polygon", "area"].includes(this.tool)) {
      if (draft.length > 2 && this.isNear(draft[0], point)) this.finish();
      else if (!draft.length || !this.isNear(draft[draft.length - 1], point)) draft.push(point);
    } else this.draft = [point];
    this.attach();
  }

  isNear([x, y], [u, v]) {
    return Math.hypot(x - u, y - v) < NEAR_PX * this.pixel;
  }

  move(point, pressed) {
    this.ahead = point;
    if (pressed && this.tool === "freehand" && !(Math.hypot(point[0] - this.draft.at(-1)[0], point[1] - this.draft.at(-1)[1]) < 2 * this.pixel)) this.draft.push(point);
    this.attach();
  }

  up(point) {
    const [first] = this.draft;
    if (["box", "distance"].includes(this.tool) && this.isNear(first, point)) return; // a second click gives the other end
    if (this.tool === "box") {
      const [[a, b], [c, d]] = [first, point];
      this.add({ type: "Polygon", coordinates: [[[a, b], [c, b], [c, d], [a, d], [a, b]]] });
    } else if (this.tool === "distance") {
      this.measure = { type: "LineString", coordinates: [first, point] };
      this.draft = [];
      this.update();
    } else if (this.tool === "freehand") this.finish();
  }

  /** Close what is being drawn. */
  finish() {
    const { draft } = this;
    if (draft.length < 3) {
      this.draft = [];
      this.attach();
      return;
    }
    const geometry = { type: "Polygon", coordinates: [[...draft, draft[0]]] };
    if (MEASURES.has(this.tool)) {
      this.measure = geometry;
      this.draft = [];
      this.update();
    } else this.add(geometry);
  }

  add(geometry) {
    const round = (part) => (typeof part === "number" ? Math.round(part * 100) / 100 : part.map(round));
    const feature = featureOf({ ...geometry, coordinates: round(geometry.coordinates) });
    feature.properties.classification = this.classification;
    this.draft = [];
    this.chosen = feature.id;
    this.store.set([...this.store.features, feature]);
  }

  change(properties) {
    if (!this.chosen) return;
    this.store.set(this.store.features.map((feature) => (feature.id === this.chosen ? { ...feature, properties: { ...feature.properties, ...properties } } : feature)));
  }

  remove() {
    const id = this.chosen;
    this.chosen = this.measure = null;
    this.store.set(this.store.features.filter((feature) => feature.id !== id));
  }

  /** Choose a mark and go there. */
  pick(id) {
    this.chosen = id;
    const feature = this.feature;
    if (!feature) return;
    const points = linesOf(feature.geometry).flat();
    const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
    this.app.lockstep.goTo({ x: (Math.min(...xs) + Math.max(...xs)) / 2, y: (Math.min(...ys) + Math.max(...ys)) / 2 });
    this.name.value = feature.properties.name ?? "";
    this.update();
  }

  get feature() {
    return this.store.features.find((feature) => feature.id === this.chosen) ?? null;
  }

  async import(file) {
    try {
      const features = featuresOf(await file.files[0].text());
      this.store.set([...this.store.features, ...features]);
      toast(`${features.length} marks imported`);
    } catch (error) {
      toast(`The file was not imported: ${error.message}`);
    }
    file.value = "";
  }

  /** The marks as QuPath reads them; for the slide beside, carried over with tissue, region and evidence. */
  export(beside) {
    let { features } = this.store;
    if (beside) {
      const outline = (rings, name) => featureOf({ type: "Polygon", coordinates: rings }, { name });
      const closed = (flat) => {
        const ring = [];
        for (let i = 0; i < flat.length; i += 2) ring.push([flat[i], flat[i + 1]]);
        return [...ring, ring[0]];
      };
      const more = (this.app.pieces ?? []).map((piece) => outline([closed(piece.outline), ...piece.holes.map(closed)], "tissue"));
      const gone = this.app.evidenceFrom?.(this.app.active) ?? this.app.goneFrom?.(this.app.active);
      const { patches } = this.app.activeView ?? {};
      const boxes = [...(gone ?? [])].map((patch) => {
        const [x, y, u, v] = [patches.xs[patch], patches.ys[patch], patches.xs[patch] + patches.width, patches.ys[patch] + patches.height];
        return [[[x, y], [u, y], [u, v], [x, v], [x, y]]];
      });
      if (boxes.length) more.push(featureOf({ type: "MultiPolygon", coordinates: boxes }, { name: `evidence: ${boxes.length} patches` }));
      features = this.app.beside.frame.carry([...features, ...more]);
    }
    const text = JSON.stringify({ type: "FeatureCollection", features }, null, 1);
    download(new Blob([text], { type: "application/geo+json" }), beside ? `${this.app.beside.name}_marks.geojson` : fileName(this.app, "_marks.geojson"));
  }

  update() {
    const { features } = this.store;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.tool === this.tool));
    this.list.replaceChildren(...features.slice(0, 500).map((feature, i) => make("option", {
      value: feature.id, text: `${i + 1} ${feature.properties.classification?.name ?? ""} ${feature.properties.name ?? ""} (${feature.geometry.type})`,
    })));
    this.list.hidden = this.name.hidden = !features.length;
    if (this.chosen) this.list.value = this.chosen;
    this.carry.hidden = !this.app.beside;
    const { trouble } = this.store;
    this.keeping.classList.toggle("warning", Boolean(trouble));
    if (trouble) this.keeping.textContent = `Not kept: ${trouble}`;
    else this.keeping.textContent = this.store.canWrite
      ? "Kept as GeoJSON in the folder of marks; QuPath opens it." : "Kept until the page is closed: start the viewer with --marks DIR to keep them.";
    this.tell();
    this.attach();
  }

  /** Measure and agreement with the map of what is chosen. */
  tell() {
    const { mpp } = this.app.slide?.slide ?? {};
    const geometry = this.measure ?? this.feature?.geometry;
    const words = [];
    if (geometry) {
      const rings = ringsOf(geometry);
      if (rings.length) words.push(`Area ${areaText(areaOf(geometry), mpp)}`, `outline ${lengthText(linesOf(geometry).reduce((sum, line) => sum + lengthOf(line), 0), mpp)}`);
      else if (geometry.type === "LineString") words.push(`Distance ${lengthText(lengthOf(geometry.coordinates), mpp)}`);
      const score = this.app.activeView;
      if (rings.length && score) {
        const { inside, count, auroc, enrichment } = statistics(rings, score.patches, score.column);
        words.push(`${inside} of ${count} patches`);
        if (auroc !== null) words.push(`AUROC of ${score.table.about.score} ${auroc.toFixed(3)}`, `highest tenth ${enrichment.toFixed(2)} times as often inside`);
      }
    }
    const text = words.join(" · ");
    if (this.words.textContent !== text) this.words.textContent = text;
  }

  /** Let every pane draw the marks. */
  attach() {
    for (const pane of this.app.panes) {
      if (!pane.marks) continue;
      pane.marks.features = this.app.view.marks ? this : null;
      pane.marks.draw();
    }
  }

  paint(context, pixel) {
    for (const feature of this.store.features) {
      const colour = feature.properties.classification?.color ?? feature.properties.color ?? [255, 200, 0];
      this.line(context, feature.geometry, pixel, `rgb(${colour.join(",")})`, feature.id === this.chosen ? 3.4 : 2);
    }
    if (this.measure) this.line(context, this.measure, pixel, "#00e5ff", 2);
    if (!this.draft.length) return;
    const ahead = this.ahead ?? this.draft[0];
    const [[a, b], [c, d]] = [this.draft[0], ahead];
    const points = this.tool === "box" ? [[a, b], [c, b], [c, d], [a, d], [a, b]] : [...this.draft, ahead];
    this.line(context, { type: "LineString", coordinates: points }, pixel, "#00e5ff", 2);
  }

  line(context, geometry, pixel, colour, width) {
    const path = new Path2D();
    for (const line of linesOf(geometry)) {
      if (line.length === 1) path.arc(line[0][0], line[0][1], 5 * pixel, 0, 2 * Math.PI);
      else line.forEach(([x, y], i) => path[i ? "lineTo" : "moveTo"](x, y));
    }
    stroke(context, path, pixel, "#000000a0", width + 1.6);
    stroke(context, path, pixel, colour, width);
  }

  /** The chosen mark at a point, if any: what a click without a tool finds. */
  at(x, y) {
    return this.store.features.find((feature) => contains(ringsOf(feature.geometry), x, y)) ?? null;
  }
}
