// Named sets of colours and layout: the user's own in the browser, those of the marks' folder, and the run's defaults.

import { byId, kept, make, toast } from "./dom.js";
import { COLOUR_KEYS } from "./panel.js";

const KEY = "heatmap-viewer-presets";
const KEYS = [...COLOUR_KEYS, "mode", "panes", "tissue", "marks"];

export class Presets {
  constructor(app) {
    this.app = app;
    this.shared = {};
    this.menu = make("select", { "aria-label": "Presets", onchange: () => this.apply(this.menu.value) });
    this.name = make("input", { type: "text", placeholder: "Name", "aria-label": "Name of the preset" });
    const button = (text, act) => make("button", { type: "button", className: "plain", text, onclick: act });
    byId("panel").append(make(
      "section", { id: "presets-section" }, make("h2", { text: "Presets" }), this.menu,
      make("div", { className: "pair" }, this.name, button("Keep", () => this.keep()), button("Forget", () => this.forget())),
      button("The run's own colours  E", () => this.own()),
    ));
    this.load();
  }

  get mine() {
    return JSON.parse(kept(KEY) ?? "{}");
  }

  get run() {
    return this.app.index.title;
  }

  /** Runs that share a folder do not overwrite each other's presets. */
  keyOf(name) {
    return `${this.run}: ${name}`;
  }

  async load() {
    if (this.app.index.canWrite) this.shared = await this.app.data.notes("presets").catch(() => ({}));
    this.fill();
  }

  fill() {
    const group = (label, presets, prefix) => make("optgroup", { label }, ...Object.keys(presets).map((name) => make("option", { value: prefix + name, text: presets[name].name ?? name })));
    const of = (here) => Object.fromEntries(Object.entries(this.shared).filter(([, view]) => (view.run === this.run) === here));
    this.menu.replaceChildren(
      make("option", { value: "", text: "choose…" }), group("Mine", this.mine, "m:"),
      group("Of this run", of(true), "s:"), group("Of this folder", of(false), "s:"),
    );
  }

  apply(choice) {
    const view = (choice.startsWith("s:") ? this.shared : this.mine)[choice.slice(2)];
    if (!view) return;
    this.name.value = view.name ?? choice.slice(2);
    const { defaults } = this.app.store;
    this.app.store.set(Object.fromEntries(KEYS.filter((key) => key in view && key in defaults).map((key) => [key, view[key]])));
  }

  async keep() {
    const name = this.name.value.trim();
    if (!name) {
      toast("Give the preset a name");
      return;
    }
    const view = Object.fromEntries(KEYS.map((key) => [key, this.app.view[key]]));
    await this.write({ ...this.mine, [name]: view }, { ...this.shared, [this.keyOf(name)]: { ...view, name, run: this.run } });
    toast(`Kept ${name}`);
  }

  async forget() {
    const name = this.name.value.trim();
    const drop = (presets, key) => Object.fromEntries(Object.entries(presets).filter(([other]) => other !== key));
    const key = this.keyOf(name);
    await this.write(drop(this.mine, name), drop(this.shared, key in this.shared ? key : name));
  }

  async write(mine, shared) {
    kept(KEY, JSON.stringify(mine));
    if (this.app.index.canWrite) {
      try {
        this.shared = await this.app.data.notes("presets", shared);
      } catch (error) {
        toast(error.message);
      }
    }
    this.fill();
  }

  /** Colours as in the run's own pictures. */
  own() {
    const { defaults } = this.app.store;
    this.app.store.set(Object.fromEntries(COLOUR_KEYS.map((key) => [key, defaults[key]])));
    this.menu.value = "";
  }
}
