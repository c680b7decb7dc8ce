// The divider of the swipe arrangement: left of it the first view, right of it the second.

import { make } from "./dom.js";

export function bindSwipe(app, container) {
  const divider = make("div", {
    className: "divider", role: "slider", tabindex: "0", "aria-label": "Divider between the views",
    "aria-valuemin": "0", "aria-valuemax": "100", "aria-orientation": "horizontal",
  });
  container.append(divider);
  const show = () => divider.setAttribute("aria-valuenow", String(Math.round(app.view.swipe)));
  const move = (percent) => {
    app.store.set({ swipe: Math.min(100, Math.max(0, percent)) });
    show();
  };
  divider.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    divider.focus();
    divider.setPointerCapture(event.pointerId);
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = container.getBoundingClientRect();
    move(((event.clientX - box.left) / box.width) * 100);
  });
  divider.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -2, ArrowRight: 2, PageDown: -10, PageUp: 10 }[event.key];
    const end = { Home: 0, End: 100 }[event.key];
    if (by === undefined && end === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(end ?? app.view.swipe + by);
  });
  app.on("panes", show);
}
