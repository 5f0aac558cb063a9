// Tables: sorted by a press on a head, filtered by the form before them. Without scripts they are as they stand.
(function () {
  "use strict";

  function keyOf(row, column) {
    var cell = row.cells[column];
    if (!cell) return null;
    var text = "v" in cell.dataset ? cell.dataset.v : cell.textContent.trim();
    if (text === "" || text === "–") return null;
    var number = Number(text.replace("−", "-"));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sort(table, head, column) {
    var up = head.getAttribute("aria-sort") === "descending" ||
      (head.getAttribute("aria-sort") === null && !(head.classList.contains("n") && head.textContent.trim() !== "rank"));
    table.querySelectorAll("thead th").forEach(function (one) { one.removeAttribute("aria-sort"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    var body = table.tBodies[0];
    var rows = Array.from(body.rows).map(function (row, place) { return [keyOf(row, column), place, row]; });
    rows.sort(function (a, b) {
      // What has no value stays at the end either way.
      if (a[0] === null || b[0] === null) return (a[0] === null) - (b[0] === null) || a[1] - b[1];
      return (up ? 1 : -1) * compare(a[0], b[0]) || a[1] - b[1];
    });
    rows.forEach(function (one) { body.appendChild(one[2]); });
  }

  // Columns of the heads in a grid with row and column spans.
  function columnsOf(table) {
    var taken = [], found = [];
    Array.from(table.tHead.rows).forEach(function (row, line) {
      taken[line] = taken[line] || [];
      Array.from(row.cells).forEach(function (cell) {
        var column = 0;
        while (taken[line][column]) column++;
        for (var i = 0; i < cell.rowSpan; i++) {
          taken[line + i] = taken[line + i] || [];
          for (var j = 0; j < cell.colSpan; j++) taken[line + i][column + j] = true;
        }
        if (cell.colSpan === 1 && cell.tagName === "TH") found.push([cell, column]);
      });
    });
    return found;
  }

  document.querySelectorAll("table.sortable").forEach(function (table) {
    columnsOf(table).forEach(function (pair) {
      var head = pair[0], button = document.createElement("button");
      button.type = "button";
      while (head.firstChild) button.appendChild(head.firstChild);
      head.appendChild(button);
      button.addEventListener("click", function () { sort(table, head, pair[1]); });
    });
  });

  document.querySelectorAll("form.filter[data-table]").forEach(function (form) {
    var rows = Array.from(document.getElementById(form.dataset.table).tBodies[0].rows);
    var texts = new Map(rows.map(function (row) {
      return [row, (row.textContent + " " + (row.dataset.text || "")).toLowerCase()];
    }));
    var output = form.querySelector("output");
    function apply() {
      var fields = form.elements, shown = 0;
      var words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach(function (row) {
        var keep = words.every(function (word) { return texts.get(row).includes(word); }) &&
          ["family", "modality", "distribution"].every(function (name) {
            return !fields[name].value || row.dataset[name] === fields[name].value;
          }) &&
          !(fields.controls.checked && row.dataset.control) &&
          !(fields.unscored.checked && row.dataset.state !== "ok");
        row.hidden = !keep;
        shown += keep;
      });
      output.textContent = shown + " of " + rows.length + " shown";
    }
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    // At a reset the fields still hold what they held.
    form.addEventListener("reset", function () { setTimeout(apply, 0); });
    apply();
  });
})();
