// The list of slides: searched, sorted by any column of the process list, drawn only where it is seen.

import { byId, make } from "./dom.js";
import { probability } from "./normalize.js";

const ROW_PX = 92;
const ORDERS = [
  ["", "in the list's order"],
  ["name", "by name"],
  ["wrong", "wrong first"],
  ["status", "by status"],
  ["label", "by label"],
  ["prediction", "by prediction"],
  ["probability", "by probability"],
];

export class Cohort {
  constructor(app) {
    this.app = app;
    this.slides = app.index.slides;
    this.box = byId("cohort");
    this.search = make("input", { type: "search", placeholder: "Search slides", "aria-label": "Search slides", oninput: () => this.arrange() });
    this.order = make("select", { "aria-label": "Sort", onchange: () => this.arrange() });
    const known = new Set(ORDERS.map(([key]) => key));
    for (const [key, text] of ORDERS) this.order.append(make("option", { value: key, text }));
    for (const column of app.index.columns) {
      if (!known.has(column)) this.order.append(make("option", { value: `cell:${column}`, text: `by ${column}` }));
    }
    this.down = make("button", {
      type: "button", className: "plain", "aria-pressed": "false", "aria-label": "Reverse the order", title: "Reverse the order", text: "⇅",
      onclick: () => {
        this.down.setAttribute("aria-pressed", String(this.down.getAttribute("aria-pressed") !== "true"));
        this.arrange();
      },
    });
    this.count = make("p", { className: "note", role: "status" });
    this.space = make("ul", { className: "slides", role: "list" });
    this.scroller = make("div", { className: "scroller", tabindex: "-1" }, this.space);
    this.scroller.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(this.scroller);
    this.box.append(
      make("div", { className: "cohort-head" }, this.search, make("div", { className: "pair" }, this.order, this.down), this.count),
      this.scroller,
    );
    this.box.hidden = byId("toggle-cohort").hidden = this.slides.length < 2;
    byId("previous").hidden = byId("next").hidden = this.slides.length < 2;
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    app.on("slide", () => this.mark());
    this.arrange();
  }

  /** Search and sort anew. */
  arrange() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.rows = this.slides.map((_, number) => number).filter((number) => {
      const text = this.textOf(number);
      return words.every((word) => text.includes(word));
    });
    const key = this.order.value;
    if (key) {
      const valueOf = (number) => this.valueOf(this.slides[number], key);
      this.rows.sort((a, b) => compare(valueOf(a), valueOf(b)) || a - b);
    }
    if (this.down.getAttribute("aria-pressed") === "true") this.rows.reverse();
    const failed = this.slides.filter((slide) => slide.status === "failed").length;
    const wrong = this.slides.filter((slide) => slide.wrong).length;
    this.count.textContent = `${this.rows.length} of ${this.slides.length} slides`
      + (failed ? ` · ${failed} failed` : "") + (wrong ? ` · ${wrong} wrong` : "");
    this.space.style.height = `${this.rows.length * ROW_PX}px`;
    this.draw();
  }

  textOf(number) {
    this.texts ??= this.slides.map((slide) =>
      [slide.name, slide.status, slide.label, slide.prediction, slide.problem, ...Object.values(slide.cells)].join(" ").toLowerCase());
    return this.texts[number];
  }

  valueOf(slide, key) {
    if (key === "wrong") return slide.wrong === null ? 2 : slide.wrong ? 0 : 1;
    if (key.startsWith("cell:")) return slide.cells[key.slice(5)] ?? "";
    if (key === "prediction" && slide.number !== null) return slide.number;
    return slide[key] ?? "";
  }

  /** Only the rows in sight are on the page. */
  draw() {
    const top = Math.max(0, Math.floor(this.scroller.scrollTop / ROW_PX) - 2);
    const seen = Math.ceil((this.scroller.clientHeight || 600) / ROW_PX) + 4;
    const rows = this.rows.slice(top, top + seen);
    const focused = document.activeElement?.dataset?.slide;
    this.space.replaceChildren(...rows.map((number, i) => this.row(number, top + i)));
    if (focused !== undefined) this.space.querySelector(`[data-slide="${focused}"]`)?.focus({ preventScroll: true });
  }

  row(number, place) {
    const slide = this.slides[number];
    const { app } = this;
    const state = slide.status === "failed" ? "failed" : slide.wrong ? "wrong" : slide.wrong === false ? "right" : "";
    const prediction = slide.prediction && slide.prediction + (slide.probability === null ? "" : ` ${probability(slide.probability)}`);
    const image = slide.canOpen
      ? make("img", { src: app.data.thumbnail(number), alt: "", loading: "lazy", width: "64", height: "64" })
      : make("span", { className: "no-picture" });
    image.addEventListener?.("error", () => image.classList.add("broken"));
    const button = make(
      "button",
      { type: "button", "data-slide": number, "aria-current": number === app.number ? "true" : null, onclick: () => this.open(number) },
      image,
      make(
        "span", { className: "slide-text" },
        make("span", { className: "slide-name", text: slide.name, title: slide.name }),
        make(
          "span", { className: "slide-line" },
          slide.status && slide.status !== "processed" ? make("span", { className: `badge ${slide.status}`, text: slide.status }) : null,
          slide.label ? make("span", { text: slide.label }) : null,
          slide.notices ? make("span", { className: "badge notice", text: "!", title: slide.notices }) : null,
          prediction ? make("span", { className: `badge ${state}`, text: `→ ${prediction}`, title: state === "wrong" ? "differs from the label" : "prediction" }) : null,
        ),
        slide.problem ? make("span", { className: "slide-problem", text: slide.problem, title: slide.problem }) : null,
      ),
    );
    const item = make("li", { "aria-setsize": this.rows.length, "aria-posinset": place + 1 }, button);
    item.style.top = `${place * ROW_PX}px`;
    return item;
  }

  open(number) {
    this.app.openSlide(number).catch((error) => this.app.fail(error));
  }

  /** The next slide in the order shown. */
  step(by) {
    if (!this.rows.length) return;
    const here = this.rows.indexOf(this.app.number);
    const next = here < 0 ? 0 : here + by;
    if (next < 0 || next >= this.rows.length) return;
    this.open(this.rows[next]);
  }

  mark() {
    const place = this.rows.indexOf(this.app.number);
    if (place >= 0) {
      const top = place * ROW_PX;
      const { scrollTop, clientHeight } = this.scroller;
      if (top < scrollTop || top + ROW_PX > scrollTop + clientHeight) this.scroller.scrollTop = top - clientHeight / 2;
    }
    this.draw();
  }
}

/** Numbers as numbers, texts as people order them, blanks last. */
function compare(a, b) {
  const blank = (value) => value === "" || value === null;
  if (blank(a) || blank(b)) return Number(blank(a)) - Number(blank(b));
  const [x, y] = [Number(a), Number(b)];
  if (Number.isFinite(x) && Number.isFinite(y)) return x - y;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
