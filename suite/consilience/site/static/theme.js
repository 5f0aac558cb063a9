// Light or dark: what the system prefers until the reader chooses, and the choice is kept.
(function () {
  "use strict";
  var root = document.documentElement;
  var prefers = window.matchMedia("(prefers-color-scheme: dark)");
  function kept() {
    try { return localStorage.getItem("theme"); } catch (error) { return null; }
  }
  function isDark() { return (root.dataset.theme || (prefers.matches ? "dark" : "light")) === "dark"; }
  if (kept()) root.dataset.theme = kept();
  function tell() {
    var button = document.getElementById("theme");
    if (button) button.textContent = isDark() ? "Light" : "Dark";
    if (button) button.setAttribute("aria-label", "Change to " + (isDark() ? "light" : "dark") + " colours");
    document.dispatchEvent(new CustomEvent("themechange"));
  }
  prefers.addEventListener("change", tell);
  document.addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("theme", root.dataset.theme); } catch (error) { /* a private window */ }
      tell();
    });
    tell();
  });
})();
