// Lists of patches over the cohort, as a study of the run wrote them: phenotypes, and similar patches on other slides.

import { byId, make, toast } from "./dom.js";
import { pictures } from "./queue.js";

export class Lists {
  constructor(app) {
    this.app = app;
    this.menu = make("select", { "aria-label": "List of patches", onchange: () => this.show() });
    this.words = make("p", { className: "note" });
    this.box = make("div", { className: "patch-list", role: "group", "aria-label": "Patches of the list" });
    const title = make("h2", { text: "Lists of patches" });
    this.section = make("section", { id: "lists-section" }, title, make("div", { className: "pair" }, this.menu), this.words, this.box);
    byId("panel").append(this.section);
    this.sight = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        if (!isIntersecting || target.hasAttribute("src")) continue;
        this.sight.unobserve(target);
        pictures.load(target, target.dataset.url, { held: false });
      }
    });
    app.on("panes", () => this.mark());
  }

  async load() {
    this.lists = await this.app.data.lists();
    this.menu.replaceChildren(...this.lists.map(({ title }, i) => make("option", { value: i, text: title })));
    this.section.hidden = !this.lists.length;
    if (this.lists.length) this.show();
  }

  show() {
    const { words, colour, patches } = this.lists[Number(this.menu.value)];
    this.sight.disconnect();
    this.box.querySelectorAll("img").forEach((image) => pictures.drop(image));
    this.words.textContent = words;
    this.box.style.setProperty("--heat", colour ? `rgb(${colour})` : "var(--line)");
    this.box.replaceChildren(...patches.map((patch) => this.card(patch)));
    if (!patches.length) this.box.append(make("p", { className: "note", text: "None of its slides is shown here." }));
  }

  card(patch) {
    const { app } = this;
    const image = make("img", { alt: "", width: "64", height: "64" });
    image.dataset.url = app.data.box(patch.slide, patch.box);
    this.sight.observe(image);
    const text = `${patch.name}: ${patch.words}`;
    return make(
      "button", { type: "button", "aria-label": text, title: text, onclick: () => this.fly(patch) },
      image, make("span", { className: "value", text: patch.words }),
    );
  }

  /** Open the patch's slide and move there. */
  async fly(patch) {
    const { app } = this;
    const [x, y, width, height] = patch.box;
    const { clientWidth, clientHeight } = app.panes[0]?.viewer.container ?? app.container;
    const z = Math.min(2, Math.min(clientWidth / width, clientHeight / height) / 3);
    this.chosen = patch;
    try {
      await app.follow({ ...app.view, slide: patch.name, x: x + width / 2, y: y + height / 2, z, r: 0, patch: null });
    } catch (error) {
      toast(error.message);
    }
    this.mark();
  }

  mark() {
    const { app, chosen } = this;
    if (!chosen || chosen.slide !== app.number) return;
    for (const pane of app.panes) pane.marks?.showBox("chosen", chosen.box);
  }
}
