"use strict";
// Tables with class "sort" sort by their headers, those with "filter" get a search field, and a choice of values for the
// columns that data-choose names. Without scripts they are tables.
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
  // Shows the rows that hold every word of the field and the chosen value in each column of data-choose, and only those
  // that a link asked for.
  const narrow = table => {
    const { input, choices, count, only, clear } = table.controls;
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of table.tBodies) for (const row of body.rows) {
      const text = words.length ? row.textContent.toLowerCase() : "";
      row.hidden = !words.every(word => text.includes(word)) || (only && !only.has(row.id)) ||
        !choices.every(choice => !choice.value || row.cells[choice.dataset.column].textContent.trim() === choice.value);
      shown += row.hidden ? 0 : 1;
    }
    const narrowed = words.length || only || choices.some(choice => choice.value);
    clear.hidden = !narrowed;
    count.textContent = narrowed ? `${shown} shown${only ? `: ${table.controls.what}` : ""}` : "";
  };
  const showAll = (table, only = null, what = "") => {
    Object.assign(table.controls, { only, what });
    table.controls.input.value = "";
    for (const choice of table.controls.choices) choice.value = "";
    narrow(table);
  };
  for (const table of document.querySelectorAll("table.filter")) {
    const bar = document.createElement("div");
    bar.className = "filter";
    const labelled = (text, control) => {
      const label = document.createElement("label");
      label.append(`${text} `, control);
      bar.append(label);
      return control;
    };
    const input = labelled("Show rows that contain", document.createElement("input"));
    input.type = "search";
    const choices = (table.dataset.choose || "").split(" ").filter(Boolean).map(column => {
      const cells = [...table.tBodies].flatMap(body => [...body.rows].map(row => row.cells[column]));
      const values = new Set(cells.map(cell => cell.textContent.trim()));
      const choice = labelled(table.tHead.rows[0].cells[column].textContent.trim(), document.createElement("select"));
      choice.dataset.column = column;
      choice.append(...["", ...values].map(value => new Option(value || "all", value)));
      choice.addEventListener("change", () => narrow(table));
      return choice;
    });
    const clear = document.createElement("button");
    clear.type = "button";
    clear.textContent = "Show all";
    clear.hidden = true;
    const count = document.createElement("small");
    count.setAttribute("role", "status");
    bar.append(clear, count);
    table.closest(".scroll").before(bar);
    table.controls = { input, choices, count, clear, only: null, what: "" };
    input.addEventListener("input", () => narrow(table));
    clear.addEventListener("click", () => { showAll(table); input.focus(); });
  }
  // A link to the rows of a figure shows these alone. Without scripts it leads to the first of them.
  for (const link of document.querySelectorAll("a[data-rows]")) {
    link.addEventListener("click", event => {
      const ids = link.dataset.rows.split(" ");
      const row = document.getElementById(ids[0]);
      const table = row && row.closest("table.filter");
      if (!table) return;
      event.preventDefault();
      showAll(table, new Set(ids), link.dataset.what);
      history.pushState(null, "", "#rows");
      table.closest(".scroll").previousElementSibling.scrollIntoView();
      table.closest(".scroll").focus({ preventScroll: true });
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
    const table = target.closest("table.filter");
    if (table && target.hidden) showAll(table);
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
