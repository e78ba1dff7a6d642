"use strict";
// One leaderboard at a time: the one that the address names, else the first. Without this script all are shown.
(() => {
  const suites = [...document.querySelectorAll("section.suite")];
  const links = [...document.querySelectorAll("nav.suites a")];
  let chosen = suites[0];
  const choose = () => {
    chosen = suites.find((suite) => `#${suite.id}` === location.hash) ?? chosen;
    for (const suite of suites) suite.hidden = suite !== chosen;
    for (const link of links) {
      if (link.hash === `#${chosen.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("hashchange", choose);
  choose();
})();
