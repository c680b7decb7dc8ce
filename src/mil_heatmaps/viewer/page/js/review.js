// A reader study: a verdict on every slide's map, by keys, in an order of the reader's own, with the time it took.

import { byId, kept, make, toast } from "./dom.js";
import { formatView, parseView } from "./state.js";

const READER_KEY = "heatmap-viewer-reader";
const STEP_MS = 400;
const KEEP_MS = 10_000;
const VERDICTS = [["a", "plausible"], ["x", "not plausible"], ["u", "unsure"]];

export class Review {
  constructor(app, cohort) {
    this.app = app;
    app.reviewing = this;
    this.cohort = cohort;
    this.rows = {};
    this.spent = new Map(); // milliseconds a slide was looked at since its last verdict
    this.reader = make("input", { type: "text", placeholder: "Reader", "aria-label": "Reader", maxlength: "40" });
    this.reader.value = kept(READER_KEY) ?? "";
    this.start = make("button", { type: "button", className: "plain", text: "Begin", onclick: () => this.begin() });
    this.buttons = VERDICTS.map(([key, verdict]) => make("button", {
      type: "button", className: "plain", text: `${verdict}  ${key.toUpperCase()}`, "aria-pressed": "false", onclick: () => this.judge(verdict),
    }));
    this.comment = make("textarea", { rows: "2", placeholder: "Comment", "aria-label": "Comment", onchange: () => this.judge(null) });
    this.progress = make("p", { className: "note", role: "status", id: "review-progress" });
    this.others = make("div", { className: "note" });
    const button = (text, act) => make("button", { type: "button", className: "plain", text, onclick: act });
    this.section = make(
      "section", { id: "review-section" }, make("h2", { text: "Review" }),
      make("div", { className: "pair" }, this.reader, this.start),
      (this.body = make("div", { className: "review-body", hidden: true }, make("div", { className: "pair" }, ...this.buttons), this.comment)),
      this.progress,
      make("div", { className: "pair" }, button("Agreement", () => this.agreement()), button("Replay", () => this.replay())), this.others,
    );
    byId("panel").prepend(this.section);
    app.on("slide", () => this.enter());
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => this.count());
  }

  /** Count the time until now to the slide on the screen; a page that nobody sees is not read. */
  count() {
    const now = performance.now();
    if (this.at !== undefined && this.since !== null) this.spent.set(this.at, (this.spent.get(this.at) ?? 0) + now - this.since);
    this.since = document.hidden ? null : now;
  }

  async begin() {
    const reader = this.reader.value.trim();
    try {
      const { rows, order } = await this.app.data.notes(`review/${encodeURIComponent(reader)}`);
      this.name = reader;
      this.rows = rows;
      kept(READER_KEY, reader);
      const places = new Map(this.app.index.slides.map((slide, i) => [slide.name, i]));
      this.order = order.map((name) => places.get(name)).filter((place) => this.app.index.slides[place]?.canOpen);
      this.cohort.only = this.order;
      this.body.hidden = false;
      this.mark();
      const next = this.order.find((place) => !this.verdictOf(place)) ?? this.order[0];
      if (next !== this.app.number) this.cohort.open(next);
      else this.enter();
    } catch (error) {
      toast(error.message);
    }
  }

  verdictOf(place) {
    return this.rows[this.app.index.slides[place].name]?.verdict ?? "";
  }

  mark() {
    this.app.index.slides.forEach((slide) => {
      slide.review = this.rows[slide.name]?.verdict || undefined;
    });
    const done = this.order.filter((place) => this.verdictOf(place)).length;
    this.progress.textContent = `${done} of ${this.order.length} slides read`;
    this.cohort.texts = null;
    this.cohort.arrange();
  }

  /** A slide was opened: the one before is left. */
  enter() {
    if (!this.name) return;
    this.leave();
    this.at = this.app.number;
    this.steps = [];
    this.entered = this.kept = performance.now();
    const row = this.rows[this.app.slide.name];
    this.comment.value = row?.comment ?? "";
    this.show(row?.verdict ?? "");
    clearInterval(this.timer);
    this.timer = setInterval(() => this.step(), STEP_MS);
  }

  show(verdict) {
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(VERDICTS[i][1] === verdict)));
  }

  /** Note where the reader looks, when that changed. */
  step() {
    if (document.hidden || this.app.underWay || this.app.number !== this.at || this.playing) return;
    const { x, y, z, r } = this.app.placeNow();
    const view = formatView({ ...this.app.view, x, y, z, r }, this.app.store.defaults);
    const now = performance.now();
    if (this.seen !== view) this.steps.push([Math.round(now - this.entered) / 1000, view]);
    this.seen = view;
    if (now - this.kept > KEEP_MS) this.keep();
  }

  leave() {
    clearInterval(this.timer);
    this.count();
    this.seen = null;
    return this.keep();
  }

  /** Send the steps since the last time; the viewer puts them after those it has. */
  async keep() {
    const { at, steps } = this;
    this.kept = performance.now();
    this.steps = [];
    if (at === undefined || !steps?.length) return;
    await this.app.data.notes(`way/${at}/${encodeURIComponent(this.name)}`, { steps }).catch((error) => toast(error.message));
  }

  /** Keep a verdict and go to the next slide that has none; without a verdict, keep the comment. */
  async judge(verdict) {
    if (!this.name) {
      toast("Give the reader's name and begin");
      return;
    }
    const { number, slide } = this.app;
    this.count();
    const seconds = (this.spent.get(number) ?? 0) / 1000;
    const chosen = verdict ?? this.rows[slide.name]?.verdict ?? "";
    try {
      const body = { slide: number, verdict: chosen, comment: this.comment.value, seconds };
      this.rows[slide.name] = await this.app.data.notes(`review/${encodeURIComponent(this.name)}`, body);
      this.spent.set(number, this.spent.get(number) - 1000 * seconds);
    } catch (error) {
      toast(`Not kept: ${error.message}`);
      return;
    }
    this.show(chosen);
    this.mark();
    if (verdict === null) return;
    const here = this.order.indexOf(number);
    const next = [...this.order.slice(here + 1), ...this.order.slice(0, here)].find((place) => !this.verdictOf(place));
    if (next === undefined) toast("All slides are reviewed");
    else this.cohort.open(next);
  }

  async agreement() {
    try {
      const told = await this.app.data.notes("agreement");
      const kappa = ({ kappa: value, interval, slides }) => (value === null ? `cannot be computed (${slides} in common)`
        : `${value.toFixed(2)}${interval ? ` (${interval.map((end) => end.toFixed(2)).join(" to ")})` : ""}, ${slides} slides`);
      this.others.replaceChildren(
        ...Object.entries(told.readers).map(([reader, count]) => make("p", { text: `${reader}: ${count} slides` })),
        ...told.pairs.map((pair) => make("p", { text: `${pair.readers.join(" and ")}: Cohen's κ ${kappa(pair)}` })),
        make("p", { text: told.resampled === "case" ? "Intervals are over cases." : "" }),
        make("p", { text: Object.keys(told.readers).length > 2 ? `all: Fleiss' κ ${kappa(told.fleiss)}` : "" }),
        ...told.disagreed.map(({ slide, verdicts }) => make("p", { text: `${slide}: ${Object.entries(verdicts).map((pair) => pair.join(" ")).join(", ")}` })),
      );
    } catch (error) {
      toast(error.message);
    }
  }

  /** Show again how a reader looked at this slide. */
  async replay() {
    const reader = this.reader.value.trim();
    const number = this.app.number;
    try {
      const { steps } = await this.app.data.notes(`way/${number}/${encodeURIComponent(reader)}`);
      if (!steps.length) toast(`No path of ${reader} is stored for this slide`);
      this.playing = true;
      let before = 0;
      for (const [seconds, view] of steps) {
        await new Promise((done) => setTimeout(done, Math.min(3000, 1000 * (seconds - before))));
        before = seconds;
        if (this.app.number !== number) break;
        await this.app.follow({ ...parseView(view, this.app.store.defaults), slide: this.app.slide.name });
      }
    } catch (error) {
      toast(error.message);
    } finally {
      this.playing = false;
    }
  }
}
