// Keys for the whole page, and the dialog that lists them.

import { byId, make, share } from "./dom.js";

export function bindKeys(app, { strip, cohort, marks, presets, review, theme }) {
  const set = (change) => app.store.set(change);
  const { lockstep } = app;
  const move = (dx, dy) => {
    const place = lockstep.place();
    if (!place) return;
    const stage = lockstep.main.viewer.container;
    const turn = (-place.angle * Math.PI) / 180;
    const [x, y] = [(dx * stage.clientWidth) / place.scale, (dy * stage.clientHeight) / place.scale];
    lockstep.goTo({
      x: place.x + x * Math.cos(turn) - y * Math.sin(turn),
      y: place.y + x * Math.sin(turn) + y * Math.cos(turn),
    });
  };
  const zoom = (factor) => {
    const place = lockstep.place();
    if (place) lockstep.goTo({ scale: place.scale * factor });
  };
  const rotate = (by) => {
    const place = lockstep.place();
    if (place) lockstep.goTo({ angle: (((place.angle + by) % 360) + 360) % 360 });
  };
  let opacity = 0.6;
  const toggleHeat = () => {
    if (app.view.opacity > 0) opacity = app.view.opacity;
    set({ opacity: app.view.opacity > 0 ? 0 : opacity });
  };
  const actions = [
    ["Place", [
      [["ArrowLeft"], "left", () => move(-0.15, 0)],
      [["ArrowRight"], "right", () => move(0.15, 0)],
      [["ArrowUp"], "up", () => move(0, -0.15)],
      [["ArrowDown"], "down", () => move(0, 0.15)],
      [["+", "="], "nearer", () => zoom(1.5)],
      [["-", "_"], "farther", () => zoom(1 / 1.5)],
      [["0"], "whole slide", () => lockstep.home()],
      [["r"], "turn by 90°", () => rotate(90)],
      [["R"], "turn back", () => rotate(-90)],
    ]],
    ["Patches and slides", [
      [["j", "."], "next patch by rank", () => strip.step(1)],
      [["k", ","], "previous patch by rank", () => strip.step(-1)],
      [["]", "n"], "next slide", () => cohort.step(1)],
      [["[", "p"], "previous slide", () => cohort.step(-1)],
      [["/"], "search slides", () => cohort.search.focus()],
    ]],
    ["View", [
      [["1"], "side by side", () => set({ mode: "side" })],
      [["2"], "overlay", () => set({ mode: "overlay" })],
      [["3"], "swipe", () => set({ mode: "swipe" })],
      [["c"], "add a view to compare", () => app.compare()],
      [["h"], "colours on or off", toggleHeat],
      [["o"], "tissue outline on or off", () => set({ tissue: !app.view.tissue })],
      [["m"], "smoothing on or off", () => set({ smooth: !app.view.smooth })],
      [["d"], "light or dark", theme],
      [["e"], "the run's own colours", () => presets.own()],
      [["v"], "marks on or off", () => {
        set({ marks: !app.view.marks });
        app.tool?.attach();
      }],
    ]],
    ["Marks", [
      [["P"], "point", () => marks().then((one) => one.choose("point"))],
      [["B"], "box", () => marks().then((one) => one.choose("box"))],
      [["F"], "freehand", () => marks().then((one) => one.choose("freehand"))],
      [["M"], "distance", () => marks().then((one) => one.choose("distance"))],
      [["Enter"], "close the outline", () => app.tool?.finish()],
      [["Escape"], "no tool", () => app.tool?.choose(null)],
    ]],
    ...(review ? [["Review", [["a", "plausible"], ["x", "not plausible"], ["u", "unsure"]].map(([key, verdict]) => [[key], verdict, () => review().then((one) => one.judge(verdict))])]] : []),
    ["Take along", [
      [["s"], "save PNG", () => share("savePng", app)],
      [["S"], "save PNG or SVG at a width of your own", () => share("pictureDialog", app)],
      [["g"], "copy region as GeoJSON", () => share("copyRegion", app)],
      [["l"], "copy link", () => share("copyLink", app)],
      [["?"], "this list", () => byId("help").showModal()],
    ]],
  ];
  const byKey = new Map(actions.flatMap(([, rows]) => rows.flatMap(([keys, , act]) => keys.map((key) => [key, act]))));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target } = event;
    if (target.closest("input:not([type=range]):not([type=checkbox]), select, textarea, dialog")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const arrows = event.key.startsWith("Arrow");
    // Arrow keys belong to focused sliders and radio groups, and scroll lists.
    if (arrows && target.closest("input, [role=slider], [role=radio], #cohort, #panel, #strip")) return;
    const act = byKey.get(event.key);
    if (!act || (event.key === "Enter" && target.closest("button, a, summary, [role=slider]"))) return;
    event.preventDefault();
    act();
  });
  const names = { ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓" };
  byId("help").append(
    make("h2", { id: "help-title", text: "Keys" }),
    make("div", { className: "help-columns" }, ...actions.map(([title, rows]) => make(
      "section", {}, make("h3", { text: title }),
      make("dl", {}, ...rows.flatMap(([keys, words]) => [
        make("dt", {}, ...keys.map((key) => make("kbd", { text: names[key] ?? key }))),
        make("dd", { text: words }),
      ])),
    ))),
    make("p", { className: "note", text: "Drag moves, the wheel zooms, a click on a patch chooses it. All views move together." }),
    make("form", { method: "dialog" }, make("button", { className: "plain", text: "Close" })),
  );
}
