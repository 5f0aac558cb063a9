// Items: the 3D viewer, opened by a press on a drawing or on a point of a figure, and neighbours side by side.
(function () {
  "use strict";
  var root = document.body.dataset.root || "";
  var loaded = new Map();

  // A page opened from a file may not fetch, but may load scripts; data files are scripts that fill window.siteData.
  function loadScript(src) {
    if (!loaded.has(src)) {
      loaded.set(src, new Promise(function (done, fail) {
        var script = document.createElement("script");
        script.src = src;
        script.onload = done;
        script.onerror = function () { fail(new Error("could not load " + src)); };
        document.head.appendChild(script);
      }));
    }
    return loaded.get(src);
  }
  function loadData(key) {
    return loadScript(root + "data/" + key + ".js").then(function () { return window.siteData[key]; });
  }
  window.site = { loadScript: loadScript, loadData: loadData, show: show, showById: showById };

  // -- viewer ---------------------------------------------------------------------------------------------------

  var dialog = document.getElementById("viewer"), viewer = null;

  function xyz(item) {
    var symbols = item.z.split(" ");
    var lattice = item.c ? 'Lattice="' + item.c.map(function (one) { return one / 100; }).join(" ") + '"' : "";
    return symbols.length + "\n" + lattice + "\n" + symbols.map(function (symbol, i) {
      return symbol + " " + item.p.slice(3 * i, 3 * i + 3).map(function (one) { return one / 100; }).join(" ");
    }).join("\n") + "\n";
  }

  function pdb(item) {
    function right(text, width) { return String(text).padStart(width); }
    return item.r.map(function (residue, i) {
      var at = item.p.slice(3 * i, 3 * i + 3).map(function (one) { return right((one / 100).toFixed(3), 8); }).join("");
      return "ATOM  " + right(i + 1, 5) + "  CA  GLY A" + right(residue, 4) + "    " + at + "  1.00  0.00           C";
    }).join("\n") + "\nEND\n";
  }

  // Colour of a hue (degrees), as in the drawing of the backbone.
  function hex(hue, saturation, lightness) {
    return "#" + [0, 8, 4].map(function (n) {
      var k = (n + hue / 30) % 12, a = saturation * Math.min(lightness, 1 - lightness);
      var part = lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
      return Math.round(255 * part).toString(16).padStart(2, "0");
    }).join("");
  }

  function hasWebGL() {
    try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch (error) { return false; }
  }

  function show(dataset, index, title) {
    var canvas = document.getElementById("viewer-canvas"), note = document.getElementById("viewer-note");
    document.getElementById("viewer-title").textContent = title || "Item " + index + " of " + dataset;
    note.textContent = "Loading";
    canvas.replaceChildren();
    if (!dialog.open) dialog.showModal();
    if (!hasWebGL()) {
      note.textContent = "The 3D viewer needs WebGL, which this browser does not offer.";
      return Promise.resolve();
    }
    var chunk = "structures/" + dataset + "-" + Math.floor(index / 25);
    var script = loadScript(root + "static/vendor/3Dmol-min.js");
    return Promise.all([loadData(chunk), script]).then(function (both) {
      var item = both[0][index];
      if (!item) { note.textContent = "This item has no structure."; return; }
      var background = getComputedStyle(document.documentElement).getPropertyValue("--panel").trim();
      viewer = window.$3Dmol.createViewer(canvas, { backgroundColor: background });
      if (item.r) {
        viewer.addModel(pdb(item), "pdb");
        var first = item.r[0], length = Math.max(1, item.r[item.r.length - 1] - first);
        viewer.setStyle({}, { cartoon: { style: "trace", thickness: 0.5, colorfunc: function (atom) {
          return hex(240 * (1 - (atom.resi - first) / length), 0.75, 0.48);
        } } });
        note.textContent = "Backbone trace, first residue blue, last red. Drag to turn, scroll to zoom.";
      } else {
        var model = viewer.addModel(xyz(item), "xyz");
        viewer.setStyle({}, { stick: { radius: 0.12 }, sphere: { scale: item.c ? 0.32 : 0.25 } });
        if (item.c) viewer.addUnitCell(model, { box: { color: "#888888" } });
        note.textContent = (item.c ? "Unit cell with its lattice vectors (a red, b green, c blue). " : "") +
          item.z.split(" ").length + " atoms. Drag to turn, scroll to zoom.";
      }
      if (item.c) { viewer.rotate(-80, "x"); viewer.rotate(18, "y"); }
      viewer.zoomTo();
      viewer.render();
    }).catch(function (error) { note.textContent = "The structure can't be shown: " + error.message; });
  }

  function showById(dataset, id) {
    return loadData("ids/" + dataset).then(function (ids) {
      var index = ids.indexOf(id);
      if (index >= 0) show(dataset, index, id + " (" + dataset + ")");
    }).catch(function () { /* a data set whose items are not on this site */ });
  }

  if (dialog) {
    document.getElementById("viewer-close").addEventListener("click", function () { dialog.close(); });
    dialog.addEventListener("click", function (event) { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", function () {
      if (viewer) viewer.clear();
      document.getElementById("viewer-canvas").replaceChildren();
      viewer = null;
    });
    document.addEventListener("click", function (event) {
      var item = event.target.closest("button.item");
      if (!item) return;
      var name = item.querySelector("span").textContent;
      show(item.dataset.dataset, Number(item.dataset.index), name + ", " + item.title + " (" + item.dataset.dataset + ")");
    });
  }

  // -- neighbours -----------------------------------------------------------------------------------------------

  var section = document.getElementById("neighbours");
  if (!section) return;
  var own = section.dataset.target, form = section.querySelector("form").elements;
  var out = document.getElementById("neighbours-out"), known = {};

  function element(name, attributes, children) {
    var made = document.createElement(name);
    Object.entries(attributes || {}).forEach(function (pair) { made.setAttribute(pair[0], pair[1]); });
    made.append.apply(made, children || []);
    return made;
  }
  function options(select, pairs, chosen) {
    select.replaceChildren.apply(select, pairs.map(function (pair) {
      return element("option", pair[0] === chosen ? { value: pair[0], selected: "" } : { value: pair[0] }, [pair[1]]);
    }));
  }
  function drawing(dataset, item, shared) {
    var button = element("button", {
      type: "button", class: "item" + (shared ? " shared" : ""), title: item.id, "data-dataset": dataset, "data-index": item.index,
    });
    button.innerHTML = item.svg;
    button.append(element("span", {}, [item.label]), element("small", {}, [item.id]));
    if (shared) button.append(element("em", {}, ["both"]));
    return button;
  }
  function line(title, dataset, places, others) {
    var heading = element("h3", {}, [title]);
    if (!places.length) return [heading, element("p", {}, ["It did not embed this item."])];
    return [heading, element("div", { class: "items five" }, places.map(function (place) {
      return drawing(dataset, known.items[place], others.includes(place));
    }))];
  }
  function render() {
    var dataset = form.dataset.value, place = Number(form.query.value), other = form.other.value;
    var which = known.near.queries.indexOf(place);
    var mine = known.near.spaces[own][which], theirs = other ? known.near.spaces[other][which] : [];
    var shared = mine.filter(function (one) { return theirs.includes(one); });
    var parts = [element("h3", {}, ["The item"]), element("div", { class: "items five" }, [drawing(dataset, known.items[place])])];
    parts = parts.concat(line("Nearest in " + own, dataset, mine, theirs));
    if (other) {
      parts = parts.concat(line("Nearest in " + other, dataset, theirs, mine));
      parts.push(element("p", { class: "verdict" }, [shared.length + " of " + mine.length + " neighbours are shared."]));
    }
    out.replaceChildren.apply(out, parts);
  }
  function open() {
    var dataset = form.dataset.value;
    return Promise.all([loadData("neighbours/" + dataset), loadData("items/" + dataset)]).then(function (both) {
      known = { near: both[0], items: both[1] };
      var others = Object.keys(known.near.spaces).filter(function (name) { return name !== own; });
      var wanted = known.near.references.concat(others).find(function (name) { return others.includes(name); });
      options(form.query, known.near.queries.map(function (one) {
        return [String(one), known.items[one].label + " (" + known.items[one].id + ")"];
      }));
      options(form.other, others.map(function (name) {
        return [name, known.near.references.includes(name) ? name + " (reference)" : name];
      }), wanted);
      render();
    }).catch(function (error) { out.textContent = "Neighbours can't be shown: " + error.message; });
  }
  form.dataset.addEventListener("change", open);
  form.query.addEventListener("change", render);
  form.other.addEventListener("change", render);
  new IntersectionObserver(function (seen, observer) {
    if (seen.some(function (one) { return one.isIntersecting; })) { observer.disconnect(); open(); }
  }, { rootMargin: "300px" }).observe(section);
})();
