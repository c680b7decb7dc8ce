// A run that goes on: asks now and then whether there is more, and offers it. Nothing changes under the reader's hand.

import { byId, make } from "./dom.js";

const EVERY_MS = 5000;

export class Live {
  constructor(app) {
    this.app = app;
    this.box = byId("news");
    this.version = app.index.version;
    this.later();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.look();
    });
  }

  later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(), EVERY_MS);
  }

  async look() {
    const { app } = this;
    if (!document.hidden && app.slide) {
      try {
        const number = app.number;
        const { version, stamp } = await app.data.changes(number);
        if (this.silent) this.tell([]);
        this.silent = false;
        const offers = [];
        if (version !== this.version) offers.push(await this.newList());
        if (number === app.number && number === app.slide.index && stamp !== app.slide.stamp) {
          offers.push(["The scores of this slide were written again.", "Show them", () => app.openSlide(app.number, { keepPlace: true })]);
        }
        if (offers.length || this.offered) this.tell(offers.filter(Boolean));
        this.offered = offers.length > 0;
      } catch (error) {
        this.silent = true;
        this.tell([[error.message]]);
      }
    }
    this.later();
  }

  /** What the list has that the page does not show yet. */
  async newList() {
    const { app } = this;
    const index = await app.data.index();
    const now = app.index.slides;
    const more = index.slides.length - now.length;
    const done = index.slides.filter((slide, i) => now[i] && slide.layers > now[i].layers).length;
    const words = more + done
      ? `The run has progressed: ${more + done} more slide${more + done > 1 ? "s" : ""}.`
      : "The run has progressed: its list has changed.";
    return [words, "Show", () => {
      for (const slide of index.slides) slide.review = now.find((other) => other.name === slide.name)?.review;
      app.index.slides = index.slides;
      app.index.columns = index.columns;
      this.version = index.version;
      app.tell("list");
      if (app.slide.stamp !== undefined && index.slides[app.number]?.layers > app.layers.length) app.openSlide(app.number, { keepPlace: true });
    }];
  }

  tell(offers) {
    const words = JSON.stringify(offers.map(([text]) => text));
    if (words === this.told) return;
    this.told = words;
    this.box.hidden = !offers.length;
    this.box.replaceChildren(...offers.map(([text, action, act]) => make(
      "p", {}, make("span", { text: `${text} ` }),
      action ? make("button", {
        type: "button", className: "plain", text: action,
        onclick: () => {
          this.tell([]);
          act();
        },
      }) : null,
    )));
  }
}
