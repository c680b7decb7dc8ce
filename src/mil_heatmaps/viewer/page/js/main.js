// Start: read the list of slides, build the page around it, open the first slide.

import { App } from "./app.js";
import { CaseBoard } from "./caseboard.js";
import { Cohort } from "./cohort.js";
import { openData } from "./data.js";
import { byId, grouped, kept, make, share } from "./dom.js";
import { Hover } from "./hover.js";
import { bindKeys } from "./keys.js";
import { Like } from "./like.js";
import { Live } from "./live.js";
import { MODES } from "./state.js";
import { Panel } from "./panel.js";
import { Presets } from "./presets.js";
import { Ruler } from "./ruler.js";
import { Strip } from "./strip.js";
import { bindSwipe } from "./swipe.js";

const THEME_KEY = "heatmap-viewer-theme";

function toggleTheme() {
  const dark = getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
  setTheme(dark ? "light" : "dark");
  kept(THEME_KEY, document.documentElement.dataset.theme);
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
}

function showSlide(app) {
  byId("slide-name").textContent = app.slide.name;
  byId("slide-name").title = app.slide.name;
  const { slide } = app.slide;
  byId("slide-facts").textContent = slide ? `${grouped(slide.size[0])} × ${grouped(slide.size[1])} px` : "";
  const box = byId("problems");
  byId("no-slide").hidden = slide !== null;
  byId("no-slide").textContent = `${app.slide.name} cannot be shown: ${app.slide.problems.join("; ")}`;
  box.hidden = !app.slide.problems.length || slide === null;
  box.replaceChildren(...app.slide.problems.map((problem) => make("p", { text: problem })));
}

function showModes(app) {
  for (const button of document.querySelectorAll("#modes button")) {
    const chosen = button.dataset.mode === app.view.mode;
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  byId("compare").disabled = app.contents.length >= 4;
}

function bindTop(app) {
  const modes = byId("modes");
  modes.addEventListener("click", (event) => {
    const { mode } = event.target.dataset;
    if (mode) app.store.set({ mode });
  });
  modes.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const mode = MODES[(MODES.indexOf(app.view.mode) + by + MODES.length) % MODES.length];
    app.store.set({ mode });
    modes.querySelector(`[data-mode=${mode}]`).focus();
  });
  byId("compare").addEventListener("click", () => app.compare());
  byId("save-png").addEventListener("click", () => share("savePng", app));
  byId("picture").addEventListener("click", () => share("pictureDialog", app));
  byId("copy-geojson").addEventListener("click", () => share("copyRegion", app));
  byId("copy-link").addEventListener("click", () => share("copyLink", app));
  byId("theme").addEventListener("click", toggleTheme);
  byId("help-button").addEventListener("click", () => byId("help").showModal());
  for (const name of ["cohort", "panel"]) {
    const button = byId(`toggle-${name}`);
    button.addEventListener("click", () => {
      const open = byId("body").classList.toggle(`no-${name}`);
      button.setAttribute("aria-expanded", String(!open));
    });
  }
}

/** The explanation of a map is fetched where something was measured, or patches are removed. */
function explainWhenNeeded(app) {
  let asked;
  const look = () => {
    if (asked || !(Object.keys(app.slide.faithfulness).length || app.view.gone)) return;
    asked = app.during(import("./explain.js").then(({ Explain }) => {
      new Explain(app);
      return app.refresh();
    }));
  };
  app.on("slide", look);
  app.on("content", look);
}

/** Marks and review: fetched at first use, or at once where a folder for marks was named. */
function later(app, cohort) {
  let marking;
  let reviewing;
  const button = make("button", { type: "button", className: "plain", text: "Marks and measures…", onclick: () => marks() });
  const section = make("section", {}, button);
  byId("panel").append(section);
  const marks = () => (marking ??= import("./annotate.js").then(({ Annotate }) => {
    section.remove();
    return new Annotate(app);
  }));
  const review = app.index.canWrite
    ? () => (reviewing ??= import("./review.js").then(({ Review }) => new Review(app, cohort)))
    : null;
  return { marks, review };
}

async function begin() {
  setTheme(kept(THEME_KEY));
  const app = new App(openData(), byId("panes"));
  window.heatmapViewer = app; // for the console, and for the tests
  app.fail = (error) => {
    byId("problems").hidden = false;
    byId("problems").replaceChildren(make("p", { text: error.message }));
  };
  new Hover(app);
  new Ruler(app);
  const strip = new Strip(app);
  app.on("slide", showSlide);
  app.on("panes", showModes);
  app.ready = app.start(() => {
    new Panel(app);
    explainWhenNeeded(app);
    if (!app.data.exported) {
      new Like(app);
      app.board = new CaseBoard(app);
    }
    const presets = new Presets(app);
    const cohort = new Cohort(app);
    // Parts that not everybody needs are fetched on demand.
    const { marks, review } = later(app, cohort);
    bindTop(app);
    bindSwipe(app, byId("panes"));
    if (app.index.lists && !app.data.exported) import("./lists.js").then(({ Lists }) => new Lists(app).load()).catch(app.fail);
    if (app.index.canWrite) app.early = () => Promise.all([marks(), review()]);
    bindKeys(app, { strip, cohort, marks, presets, review, theme: toggleTheme });
  });
  try {
    await app.ready;
    await app.early?.();
    document.documentElement.dataset.ready = "true";
    if (!app.data.exported) new Live(app);
  } catch (error) {
    app.fail(error);
    throw error;
  }
}

begin();
