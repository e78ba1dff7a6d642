"use strict";
// Tables of a page: sorted by a click on a heading, filtered by words, and what a number rests on shown beside it.
// Without this script the page has the same tables, and what a number rests on as its title.
(() => {
  const LONG = 8; // rows beyond which a table is filtered
  const make = (tag, properties, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  // Numbers stand before words, and what is absent stands last in either direction.
  const kind = (value) => (value === "" ? 2 : Number.isNaN(Number(value)) ? 1 : 0);
  const order = (a, b) => {
    if (kind(a) !== kind(b)) return kind(a) - kind(b);
    return kind(a) === 0 ? a - b : a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (head) => {
    const body = head.closest("table").tBodies[0];
    const descending = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const value = (row) => row.cells[head.cellIndex].dataset.v;
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b);
      return x === "" || y === "" || !descending ? order(x, y) : order(y, x);
    });
    body.append(...rows);
  };

  const filter = (table) => {
    const rows = [...table.tBodies[0].rows];
    const found = make("output", {});
    const input = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    const label = make("label", { className: "filter" }, "Filter rows", input, found);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const said = [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase();
        row.hidden = !words.every((word) => said.includes(word));
      }
      const shown = rows.filter((row) => !row.hidden).length;
      found.textContent = words.length ? `${shown} of ${rows.length}` : "";
      oneStop(table);
    });
    table.closest(".wide").before(label);
  };

  for (const table of document.querySelectorAll("table.data")) {
    for (const head of table.tHead.rows[0].cells) {
      const button = make("button", { type: "button" }, ...head.childNodes);
      button.addEventListener("click", () => sort(head));
      head.append(button);
    }
    if (table.tBodies[0].rows.length > LONG) filter(table);
  }

  // Notes. The titles become notes that a keyboard and a finger reach too: one stop of Tab a table or figure, arrows within.
  for (const cell of document.querySelectorAll("td[title]")) {
    cell.dataset.note = cell.title;
    cell.removeAttribute("title");
  }
  for (const title of document.querySelectorAll("svg .noted > title")) {
    const mark = title.parentElement;
    mark.dataset.note = title.textContent;
    mark.setAttribute("role", "img");
    mark.setAttribute("aria-label", title.textContent);
    title.remove();
  }
  const stops = (group) => [...group.querySelectorAll("[data-note]")].filter((one) => !one.closest("tr[hidden]"));
  const oneStop = (group, chosen = stops(group)[0]) => {
    for (const one of group.querySelectorAll("[data-note]")) one.tabIndex = one === chosen ? 0 : -1;
  };
  const groupOf = (one) => one.closest("table, svg");
  for (const group of document.querySelectorAll("table.data, svg")) oneStop(group);

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const next = (one, [across, down]) => {
    const all = stops(groupOf(one));
    if (one instanceof SVGElement) return all[all.indexOf(one) + across + down];
    const line = all.filter((other) => (across ? other.parentElement === one.parentElement : other.cellIndex === one.cellIndex));
    return line[line.indexOf(one) + across + down];
  };

  const tip = make("div", { id: "note", hidden: true });
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  let shown = null;
  const hide = () => {
    shown?.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };
  const show = (one) => {
    if (one === shown) return;
    hide();
    shown = one;
    tip.textContent = one.dataset.note;
    tip.hidden = false;
    if (!(one instanceof SVGElement)) one.setAttribute("aria-describedby", tip.id); // a mark is called by its note
    const at = one.getBoundingClientRect();
    const left = Math.min(at.left, innerWidth - tip.offsetWidth - 8);
    const below = at.bottom + tip.offsetHeight + 8 < innerHeight;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${below ? at.bottom : Math.max(0, at.top - tip.offsetHeight)}px`;
  };
  const noted = (event) => event.target.closest?.("[data-note]");
  document.addEventListener("pointerover", (event) => {
    const one = noted(event);
    if (one) show(one);
    else if (shown && !tip.contains(event.target)) document.activeElement === shown || hide();
  });
  document.addEventListener("focusin", (event) => (noted(event) ? show(noted(event)) : hide()));
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const one = noted(event);
    const to = one && STEPS[event.key] && next(one, STEPS[event.key]);
    if (!to) return;
    event.preventDefault();
    oneStop(groupOf(to), to);
    to.focus();
  });
  for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
})();
