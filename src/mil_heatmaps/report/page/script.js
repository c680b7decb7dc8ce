"use strict";
(() => {
  const table = document.getElementById("slides");
  if (table) {
    const body = table.tBodies[0], rows = [...body.rows], shown = document.getElementById("shown");
    const value = (row, column) => row.cells[column].dataset.sort ?? "";
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      const x = Number(a), y = Number(b);
      return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
    };
    for (const button of table.tHead.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        const column = Number(button.dataset.column), head = button.closest("th");
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        rows.sort((a, b) => {
          const x = value(a, column), y = value(b, column), order = compare(x, y);
          return x === "" || y === "" || up ? order : -order;  // what is not known comes last either way
        });
        body.append(...rows);
      });
    }
    const search = document.getElementById("search");
    search.addEventListener("input", () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        count += !row.hidden;
      }
      shown.textContent = words.length ? `${count} of ${rows.length} shown` : "";
    });
  }
  for (const slider of document.querySelectorAll("input.opacity")) {
    const section = slider.closest(".slide"), shown = section.querySelectorAll(".map, .shades");
    const output = section.querySelector("output");
    const follow = () => {
      for (const part of shown) part.setAttribute("opacity", slider.value / 100);  // the bar as the map shows it
      output.textContent = `${slider.value} %`;
    };
    slider.addEventListener("input", follow);
    follow();  // a browser that goes back has the slider where it was
  }
  const mark = (layer, place, name) => {
    const box = layer.ownerSVGElement.viewBox.baseVal, [left, top, width, height] = place;
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", name);
    rect.setAttribute("x", left / 100 * box.width);
    rect.setAttribute("y", top / 100 * box.height);
    rect.setAttribute("width", width / 100 * box.width);
    rect.setAttribute("height", height / 100 * box.height);
    layer.append(rect);
  };
  for (const button of document.querySelectorAll("button.patch")) {
    button.addEventListener("click", () => {
      const section = button.closest(".slide"), chosen = button.getAttribute("aria-pressed") !== "true";
      for (const other of section.querySelectorAll("button.patch")) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(chosen));
      for (const layer of section.querySelectorAll(".marks")) {
        layer.replaceChildren();
        if (!chosen) continue;
        const place = button.dataset.place.split(" ").map(Number);
        mark(layer, place, "mark under");
        mark(layer, place, "mark");
      }
    });
  }
})();
