// The list of slides: a work list. Searched, sorted by any column of the process list, drawn only where it is seen.

import { byId, kept, make } from "./dom.js";
import { isWrong, parseFilter } from "./filter.js";
import { probability } from "./normalize.js";
import { pictures } from "./queue.js";

const ROW_PX = 92;
const LINE_PX = 18;
const MOST_COLUMNS = 4;
const COLUMNS_KEY = "heatmap-viewer-columns";
const TOLD = new Set(["label", "status", "Pred_0", "p_0", "prediction", "probabilities", "probability", "notes", "process", "slide_id", "name"]);
const ORDERS = [
  ["", "in the list's order"],
  ["name", "by name"],
  ["wrong", "wrong first"],
  ["disagree", "disagreeing first"],
  ["status", "by status"],
  ["label", "by label"],
  ["prediction", "by prediction"],
  ["probability", "by probability"],
  ["verdict", "by faithfulness"],
];
const CLASS_TAIL = 4; // classes differ at their beginnings as well
const TAIL = 12; // letters at the end of a name that are always shown: the slides of a case differ there

export class Cohort {
  constructor(app) {
    this.app = app;
    app.cohort = this;
    this.box = byId("cohort");
    this.pool = [];
    this.search = make("input", {
      type: "search", placeholder: "Search: tumour pred:… p>0.9 wrong", "aria-label": "Search slides",
      title: "Words, fields (pred:lesion label:normal p>0.9 status:failed and every column), wrong, right, failed, notice, disagree; a minus in front turns a condition round",
      oninput: () => this.arrange(),
    });
    this.order = make("select", { "aria-label": "Sort", onchange: () => this.arrange() });
    this.down = make("button", {
      type: "button", className: "plain", "aria-pressed": "false", "aria-label": "Reverse the order", title: "Reverse the order", text: "⇅",
      onclick: () => {
        this.down.setAttribute("aria-pressed", String(this.down.getAttribute("aria-pressed") !== "true"));
        this.arrange();
      },
    });
    this.columnsBox = make("details", { className: "columns" });
    this.count = make("p", { className: "note", role: "status" });
    this.space = make("ul", { className: "slides", role: "list" });
    this.scroller = make("div", { className: "scroller", tabindex: "-1" }, this.space);
    this.scroller.addEventListener("scroll", () => this.drawSoon(), { passive: true });
    new ResizeObserver(() => this.drawSoon()).observe(this.scroller);
    this.box.append(
      make("div", { className: "cohort-head" }, this.search, make("div", { className: "pair" }, this.order, this.down), this.columnsBox, this.count),
      this.scroller,
    );
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    app.on("slide", () => this.mark());
    app.on("list", () => this.begin());
    this.begin();
  }

  /** Take the list over from the index: at the start, and when a run has gone on. */
  begin() {
    const { index } = this.app;
    this.slides = index.slides;
    this.texts = null;
    this.box.hidden = byId("toggle-cohort").hidden = this.slides.length < 2;
    byId("previous").hidden = byId("next").hidden = this.slides.length < 2;
    const has = { disagree: this.slides.some((slide) => slide.answers), verdict: this.slides.some((slide) => slide.verdict) };
    const chosen = this.order.value;
    this.order.replaceChildren(
      ...ORDERS.filter(([key]) => has[key] !== false).map(([value, text]) => make("option", { value, text })),
      ...this.ownColumns.map((column) => make("option", { value: `cell:${column}`, text: `by ${column}` })),
    );
    this.order.value = chosen;
    if (this.order.value !== chosen) this.order.value = "";
    this.fillColumns();
    this.arrange();
  }

  /** Columns of the process list that the page does not show under a name of its own. */
  get ownColumns() {
    return this.app.index.columns.filter((column) => !TOLD.has(column) && !/^(Pred|p)_\d+$/.test(column));
  }

  fillColumns() {
    const chosen = JSON.parse(kept(COLUMNS_KEY) ?? "[]");
    this.columns = this.ownColumns.filter((column) => chosen.includes(column)).slice(0, MOST_COLUMNS);
    this.columnsBox.hidden = !this.ownColumns.length;
    this.columnsBox.replaceChildren(make("summary", { text: "Columns" }), ...this.ownColumns.map((column) => {
      const input = make("input", { type: "checkbox", onchange: () => this.chooseColumn(column, input.checked) });
      input.checked = this.columns.includes(column);
      return make("label", { className: "check" }, input, make("span", { text: column }));
    }));
  }

  chooseColumn(column, shown) {
    this.columns = this.ownColumns.filter((other) => (other === column ? shown : this.columns.includes(other))).slice(0, MOST_COLUMNS);
    kept(COLUMNS_KEY, JSON.stringify(this.columns));
    this.arrange();
  }

  get rowPx() {
    return ROW_PX + LINE_PX * this.columns.length + (this.app.index.slides[0]?.answers ? 2 * LINE_PX : 0);
  }

  /** Search and sort again; the slide on the screen stays in sight. */
  arrange() {
    const matches = parseFilter(this.search.value, this.app.index.columns);
    this.rows = this.slides.map((_, number) => number).filter((number) => matches(this.slides[number], this.textOf(number)));
    if (this.only) this.rows = this.only.filter((number) => this.rows.includes(number));
    const key = this.order.value;
    if (key && !this.only) {
      const values = this.slides.map((slide) => this.valueOf(slide, key));
      this.rows.sort((a, b) => compare(values[a], values[b]) || a - b);
    }
    if (this.down.getAttribute("aria-pressed") === "true") this.rows.reverse();
    const failed = this.slides.filter((slide) => slide.status === "failed").length;
    const wrong = this.slides.filter(isWrong).length;
    const disagree = this.slides.filter((slide) => slide.disagree).length;
    this.count.textContent = `${this.rows.length} of ${this.slides.length} slides`
      + (failed ? ` · ${failed} failed` : "") + (wrong ? ` · ${wrong} wrong` : "") + (disagree ? ` · ${disagree} disagree` : "");
    this.space.style.height = `${this.rows.length * this.rowPx}px`;
    this.mark();
  }

  textOf(number) {
    this.texts ??= this.slides.map((slide) =>
      [slide.name, slide.status, slide.label, slide.prediction, slide.problem, ...Object.values(slide.cells)].join(" ").toLowerCase());
    return this.texts[number];
  }

  valueOf(slide, key) {
    if (key === "wrong") return isWrong(slide) ? 0 : slide.wrong === null ? 2 : 1;
    if (key === "disagree") return slide.disagree ? 0 : 1;
    if (key.startsWith("cell:")) return slide.cells[key.slice(5)] ?? "";
    if (key === "prediction" && slide.number !== null) return slide.number;
    return slide[key] ?? "";
  }

  drawSoon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Only the rows in sight are on the page; rows that leave it are used for those that come. */
  draw() {
    if (this.box.hidden) return;
    const { rowPx } = this;
    const top = Math.max(0, Math.floor(this.scroller.scrollTop / rowPx) - 2);
    const seen = Math.ceil((this.scroller.clientHeight || 600) / rowPx) + 4;
    const wanted = new Map(this.rows.slice(top, top + seen).map((number, i) => [number, top + i]));
    const spare = [];
    for (const row of this.pool) {
      if (row.number !== null && wanted.has(row.number)) continue;
      row.number = null;
      spare.push(row);
    }
    const here = new Map(this.pool.filter((row) => row.number !== null).map((row) => [row.number, row]));
    for (const [number, place] of wanted) {
      let row = here.get(number);
      if (!row) {
        row = spare.pop() ?? this.newRow();
        row.number = number;
      }
      this.fill(row, place, rowPx);
    }
    for (const row of spare) {
      if (row.item.contains(document.activeElement)) this.scroller.focus({ preventScroll: true });
      pictures.drop(row.image);
      row.drawn = null;
      row.item.remove();
    }
    this.pool = this.pool.filter((row) => row.number !== null);
    // In the order of the list, for keys and screen readers; only what is out of place is moved.
    this.pool.sort((a, b) => a.place - b.place).forEach((row, i) => {
      if (this.space.children[i] !== row.item) this.space.insertBefore(row.item, this.space.children[i] ?? null);
    });
  }

  newRow() {
    const image = make("img", { alt: "", width: "64", height: "64" });
    const text = make("span", { className: "slide-text" });
    const button = make("button", { type: "button" }, image, text);
    const row = { image, text, button, item: make("li", {}, button), number: null, drawn: null };
    button.addEventListener("click", () => this.open(row.number));
    this.pool.push(row);
    return row;
  }

  fill(row, place, rowPx) {
    const slide = this.slides[row.number];
    const { button, item, image } = row;
    row.place = place;
    item.style.top = `${place * rowPx}px`;
    item.style.height = `${rowPx}px`;
    item.setAttribute("aria-setsize", this.rows.length);
    item.setAttribute("aria-posinset", place + 1);
    button.dataset.slide = row.number;
    if (row.number === this.app.number) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const drawn = JSON.stringify([slide, this.columns]);
    if (row.drawn === drawn) return;
    row.drawn = drawn;
    row.text.replaceChildren(...linesOf(slide, this.columns));
    if (row.pictured !== row.number || !image.src) {
      row.pictured = row.number;
      image.classList.toggle("no-picture", !slide.canOpen);
      if (slide.canOpen) pictures.load(image, this.app.data.thumbnail(row.number));
      else pictures.drop(image);
    }
  }

  open(number) {
    this.app.openSlide(number);
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
      const { rowPx } = this;
      const top = place * rowPx;
      const { scrollTop, clientHeight } = this.scroller;
      if (top < scrollTop || top + rowPx > scrollTop + clientHeight) this.scroller.scrollTop = top - clientHeight / 2;
    }
    this.draw();
  }
}

/** A text whose end is always shown: its middle gives way. */
function cut(text, className, most = TAIL) {
  if (text.length <= 6) return make("span", { className, title: text, text });
  const tail = Math.min(most, Math.floor(text.length / 2));
  const head = text.slice(0, text.length - tail);
  return make("span", { className: `cut ${className}`, title: text }, make("span", { text: head }), make("span", { text: text.slice(head.length) }));
}

const certainty = ({ probability: share }) => (share === null ? "" : ` ${probability(share)}`);

function answerLine({ prediction, probability: share, wrong }, run) {
  const state = wrong ? "wrong" : wrong === false ? "right" : "";
  const sign = { wrong: "✗ ", right: "✓ ", "": "→ " }[state];
  return make(
    "span", { className: `slide-line badge ${state}` },
    make("span", { text: sign, "aria-hidden": "true" }), cut(run ? `${run}: ${prediction}` : prediction, "", CLASS_TAIL),
    make("span", { className: "certain", text: certainty({ probability: share }) }),
    state ? make("span", { className: "state", text: state }) : null,
  );
}

function linesOf(slide, columns) {
  const status = slide.status && slide.status !== "processed";
  const faithful = { "better than random": "✓ faithful", "no better than random": "≈ not faithful", "worse than random": "✗ misleading" }[slide.verdict];
  const few = [
    status ? make("span", { className: `badge ${slide.status}`, text: slide.status === "tbp" ? "waiting" : slide.status }) : null,
    slide.disagree ? make("span", { className: "badge wrong", text: "≠ disagree" }) : null,
    slide.notices ? make("span", { className: "badge notice", text: "! notice", title: slide.notices }) : null,
    faithful ? make("span", { className: "badge", text: faithful, title: `the drawn map is ${slide.verdict}` }) : null,
    slide.review ? make("span", { className: "badge", text: `read: ${slide.review}` }) : null,
  ].filter(Boolean);
  const answers = slide.answers?.filter(({ prediction }) => prediction) ?? [];
  return [
    cut(slide.name, "slide-name"),
    slide.label ? make("span", { className: "slide-line" }, cut(slide.label, "slide-label")) : null,
    ...(answers.length ? answers.slice(0, 3).map((answer) => answerLine(answer, answer.run)) : slide.prediction ? [answerLine(slide)] : []),
    ...columns.map((column) => make("span", { className: "slide-line badge", text: `${column}: ${slide.cells[column] ?? ""}` })),
    few.length ? make("span", { className: "slide-line" }, ...few) : null,
    slide.problem ? make("span", { className: "slide-problem", text: slide.problem, title: slide.problem }) : null,
  ].filter(Boolean);
}

/** Numbers as numbers, texts as people order them, blanks last. */
function compare(a, b) {
  const blank = (value) => value === "" || value === null;
  if (blank(a) || blank(b)) return Number(blank(a)) - Number(blank(b));
  const [x, y] = [Number(a), Number(b)];
  if (Number.isFinite(x) && Number.isFinite(y)) return x - y;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}
