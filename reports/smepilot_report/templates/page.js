"use strict";
// Tables with class "sort" sort by their headers, those with "filter" get a search field. Without scripts they are tables.
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    if (!cell) return "";
    const raw = cell.dataset.value;
    return raw === undefined ? cell.textContent.trim() : raw === "" ? -Infinity : Number(raw);
  };
  const compare = (a, b) => typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  for (const table of document.querySelectorAll("table.sort")) {
    table.tHead.querySelectorAll("th").forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...[...header.childNodes].filter(node => !(node.classList && node.classList.contains("tag"))));
      header.prepend(button);
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        for (const body of table.tBodies) {
          const rows = [...body.rows].sort((a, b) => compare(value(a, column), value(b, column)) * (down ? -1 : 1));
          body.append(...rows);
        }
      });
    });
  }
  for (const table of document.querySelectorAll("table.filter")) {
    const label = document.createElement("label");
    label.className = "filter";
    label.textContent = "Show rows that contain";
    const input = document.createElement("input");
    input.type = "search";
    const count = document.createElement("small");
    count.setAttribute("role", "status");
    label.append(input, " ", count);
    table.closest(".scroll").before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const body of table.tBodies) for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      count.textContent = words.length ? `${shown} shown` : "";
    });
  }
  // The evidence for a cell of the mode map appears below the map, for whoever points at it or moves there by keyboard.
  for (const table of document.querySelectorAll("table[data-evidence]")) {
    const place = document.getElementById(table.dataset.evidence);
    const show = event => {
      const cell = event.target.closest("td a[title]");
      if (cell) place.textContent = `${cell.closest("tr").cells[0].firstChild.textContent}: ${cell.title}`;
    };
    table.addEventListener("mouseover", show);
    table.addEventListener("focusin", show);
  }
  // A link to a row inside a closed part opens that part.
  const reveal = () => {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let parent = target.parentElement; parent; parent = parent.parentElement) if (parent.tagName === "DETAILS") parent.open = true;
    target.hidden = false;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach(part => { part.open = true; }));
  reveal();
})();
