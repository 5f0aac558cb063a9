// Figures: drawn when they come into view, in the page's colours; tabs; pictures to take away; points that open items.
(function () {
  "use strict";
  var root = document.body.dataset.root || "";
  var BUNDLES = { cartesian: "plotly-cartesian.min.js", gl2d: "plotly-gl2d.min.js", whole: "plotly.min.js" };
  var ready = {}, last = Promise.resolve(), drawn = new Set();

  // Every bundle calls itself Plotly: one is loaded after the other and remembered under its own name.
  function bundle(name) {
    if (window.sitePlotly) return Promise.resolve(window.sitePlotly);
    if (!ready[name]) {
      last = ready[name] = last.then(function () {
        return window.site.loadScript(root + "static/vendor/" + BUNDLES[name]);
      }).then(function () { return window.Plotly; });
    }
    return ready[name];
  }

  function variable(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

  // Colours of everything that is paper rather than data.
  function colours(layout) {
    var family = getComputedStyle(document.body).fontFamily;
    var ink = variable("--ink"), grid = variable("--line"), panel = variable("--panel");
    var found = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", "font.color": ink,
      "legend.bgcolor": "rgba(0,0,0,0)", "legend.font.color": ink, "hoverlabel.bgcolor": panel, "hoverlabel.font.color": ink,
      "hoverlabel.bordercolor": grid, "modebar.color": variable("--soft"), "modebar.activecolor": variable("--accent"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
    };
    if (!layout.font || !layout.font.family || layout.font.family === family) found["font.family"] = family;
    if (layout.title) found["title.font.color"] = ink;
    Object.keys(layout).forEach(function (name) {
      if (!/^[xy]axis\d*$/.test(name)) return;
      Object.assign(found, {
        [name + ".gridcolor"]: grid, [name + ".zerolinecolor"]: grid, [name + ".linecolor"]: grid,
        [name + ".tickcolor"]: grid, [name + ".tickfont.color"]: ink,
      });
    });
    (layout.updatemenus || []).forEach(function (_, i) {
      Object.assign(found, { ["updatemenus[" + i + "].bgcolor"]: panel, ["updatemenus[" + i + "].font.color"]: ink,
        ["updatemenus[" + i + "].bordercolor"]: grid });
    });
    return found;
  }

  function hasWebGL() {
    try { return Boolean(document.createElement("canvas").getContext("webgl")); } catch (error) { return false; }
  }

  // Smoothed edges of points cost a software renderer half its time, and are hardly seen.
  var context = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options) {
    var plain = String(kind).startsWith("webgl") && this.closest && this.closest(".gl-container");
    return context.call(this, kind, plain ? Object.assign({}, options, { antialias: false }) : options);
  };

  // Margins that fit the labels are measured once: measured anew at every step, they make zooming a large map stutter.
  function settled(place) {
    var full = place._fullLayout, found = {};
    Object.keys(full).forEach(function (name) {
      if (/^[xy]axis\d*$/.test(name) && full[name].automargin) found[name + ".automargin"] = false;
    });
    if (!Object.keys(found).length || !full._size) return {};
    ["l", "r", "t", "b"].forEach(function (side) { found["margin." + side] = full._size[side]; });
    return found;
  }

  // A plot is not to be squeezed into a phone until its words lie on each other: it scrolls, a map of many rows farther.
  var NARROW = 640;
  function leastWidth(plot) {
    var columns = plot.data.map(function (trace) { return trace.type === "heatmap" && trace.x ? trace.x.length || 0 : 0; });
    return Math.max(NARROW, 260 + 13 * Math.max.apply(null, columns.concat(0)));
  }

  function fitted(plot) {
    var layout = Object.assign({ xaxis: {}, yaxis: {} }, plot.layout, { autosize: true });
    // A finger that moves means to scroll the page.
    if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false;
    return layout;
  }

  function draw(canvas) {
    if (canvas.dataset.state) return;
    canvas.dataset.state = "loading";
    Promise.all([window.site.loadData(canvas.dataset.key), bundle(canvas.dataset.bundle)]).then(function (both) {
      var plot = both[0], Plotly = both[1], name = canvas.closest("figure").dataset.name;
      if (!hasWebGL()) plot.data.forEach(function (trace) { if (trace.type === "scattergl") trace.type = "scatter"; });
      var place = document.createElement("div");
      place.style.height = canvas.style.minHeight;
      if (leastWidth(plot) > canvas.clientWidth) {
        place.style.width = leastWidth(plot) + "px";
        canvas.classList.add("scrolls");
        canvas.tabIndex = 0;
      }
      canvas.replaceChildren(place);
      var config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["toImage"], plotGlPixelRatio: 1 };
      return Plotly.newPlot(place, plot.data, fitted(plot), config).then(function () {
        return Plotly.relayout(place, Object.assign(colours(place.layout), settled(place)));
      }).then(function () {
        canvas.dataset.state = "drawn";
        drawn.add({ place: place, Plotly: Plotly, name: name, canvas: canvas });
        // The first press of a double click, which resets the view, is not meant for a point.
        var pressed = 0;
        place.on("plotly_doubleclick", function () { clearTimeout(pressed); });
        place.on("plotly_click", function (event) {
          var told = event.points[0].customdata;
          if (!Array.isArray(told) || typeof told[0] !== "string" || typeof told[1] !== "string") return;
          clearTimeout(pressed);
          pressed = setTimeout(function () { window.site.showById(told[0], told[1]); }, 350);
        });
      });
    }).catch(function (error) {
      canvas.dataset.state = "failed";
      canvas.textContent = "The plot can't be drawn: " + error.message;
    });
  }

  var observer = new IntersectionObserver(function (seen) {
    seen.forEach(function (one) {
      if (one.isIntersecting) { observer.unobserve(one.target); draw(one.target); }
    });
  }, { rootMargin: "200px" });
  document.querySelectorAll(".canvas").forEach(function (canvas) { observer.observe(canvas); });

  document.addEventListener("themechange", function () {
    drawn.forEach(function (one) { one.Plotly.relayout(one.place, colours(one.place.layout)); });
  });

  // -- tabs -----------------------------------------------------------------------------------------------------

  document.querySelectorAll("[role=tablist]").forEach(function (list) {
    var tabs = Array.from(list.querySelectorAll("[role=tab]"));
    function choose(tab, focus) {
      tabs.forEach(function (one) {
        var chosen = one === tab, panel = document.getElementById(one.getAttribute("aria-controls"));
        one.setAttribute("aria-selected", String(chosen));
        one.tabIndex = chosen ? 0 : -1;
        panel.hidden = !chosen;
        // A plot drawn at another width of the window has that width still.
        if (chosen) drawn.forEach(function (plot) { if (plot.canvas === panel) plot.Plotly.Plots.resize(plot.place); });
      });
      if (focus) tab.focus();
    }
    list.addEventListener("click", function (event) {
      var tab = event.target.closest("[role=tab]");
      if (tab) choose(tab);
    });
    list.addEventListener("keydown", function (event) {
      var at = tabs.indexOf(document.activeElement), step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (at < 0 || !(step || event.key === "Home" || event.key === "End")) return;
      event.preventDefault();
      choose(tabs[event.key === "Home" ? 0 : event.key === "End" ? tabs.length - 1 : (at + step + tabs.length) % tabs.length], true);
    });
  });

  // -- pictures -------------------------------------------------------------------------------------------------

  document.addEventListener("click", function (event) {
    var button = event.target.closest("button[data-save]");
    if (!button) return;
    drawn.forEach(function (one) {
      if (one.name !== button.dataset.figure || one.canvas.hidden) return;
      // For print: black on white, whatever the page shows.
      var layout = JSON.parse(JSON.stringify(one.place.layout));
      var paper = { paper_bgcolor: "white", plot_bgcolor: "white" };
      Object.keys(colours(layout)).forEach(function (path) {
        if (/font\.color$/.test(path)) paper[path] = "#111111";
        if (/(grid|zeroline|line|tick)color$/.test(path) && /axis/.test(path)) paper[path] = "#cccccc";
      });
      Object.entries(paper).forEach(function (pair) {
        var keys = pair[0].split("."), at = layout;
        if (/\[/.test(pair[0])) return;
        keys.slice(0, -1).forEach(function (key) { at = at[key] = at[key] || {}; });
        at[keys[keys.length - 1]] = pair[1];
      });
      var size = { width: Math.max(one.place.clientWidth, 700), height: one.place.clientHeight, filename: one.name };
      one.Plotly.downloadImage({ data: one.place.data, layout: layout }, Object.assign({ format: button.dataset.save, scale: button.dataset.save === "svg" ? 1 : 2 }, size));
    });
  });
})();
