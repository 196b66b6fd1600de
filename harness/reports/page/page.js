"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const el = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text != null) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  // --- read-outs: what the lines say where the pointer is, read off the drawing itself
  const short = (v) => {
    if (!v) return "0";
    const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(v))));
    return v.toLocaleString("en-US", { maximumFractionDigits: Math.min(6, digits) });
  };
  const scale = (told) => {
    const [kind, low, high] = told.split(" ");
    const [a, b] = [+low, +high];
    return kind === "log" ? (p) => a * (b / a) ** p : (p) => a + (b - a) * p;
  };
  const corners = (path) => {
    const found = [];
    let x = 0, y = 0;
    for (const [, command, first, second] of path.getAttribute("d").matchAll(/([MLHV]?)\s*(-?\d+)(?:\s+(-?\d+))?/g)) {
      if (command === "H") x = +first;
      else if (command === "V") y = +first;
      else { x = +first; y = +second; }
      found.push([x, y]);
    }
    return found;
  };
  const height = (points, x) => {
    const after = points.findIndex((point) => point[0] > x);
    if (after < 1) return null;
    const [a, b] = [points[after - 1], points[after]];
    return a[1] + (b[1] - a[1]) * (x - a[0]) / (b[0] - a[0]);
  };
  for (const chart of document.querySelectorAll("svg.chart[data-x]")) {
    const line = chart.closest("figure").querySelector(".readout");
    const [xUnit, yUnit] = chart.dataset.units.split("|");
    const [toX, toY] = [scale(chart.dataset.x), scale(chart.dataset.y)];
    let lines, cursor;
    const leave = () => { line.textContent = ""; cursor?.remove(); cursor = null; };
    chart.addEventListener("pointerleave", leave);
    chart.addEventListener("pointermove", (event) => {
      const box = chart.querySelector(".grid").getBoundingClientRect();
      const at = (event.clientX - box.left) / box.width;
      if (!(at >= 0 && at <= 1)) return leave();
      lines ??= [...chart.querySelectorAll("path[data-name]")].map((p) => [p.dataset.name, corners(p)]);
      const parts = lines.map(([name, points]) => [name, height(points, at * 1000)])
        .filter(([, y]) => y != null)
        .map(([name, y]) => (name === yUnit ? "" : name + " ") + short(toY(1 - y / 1000)) + " " + yUnit);
      line.textContent = short(toX(at)) + " " + xUnit + ": " + parts.join(" · ");
      if (!cursor) {
        cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
        cursor.setAttribute("class", "cursor");
        cursor.setAttribute("y2", "100%");
        chart.append(cursor);
      }
      for (const name of ["x1", "x2"]) cursor.setAttribute(name, at * 100 + "%");
    });
  }

  // --- the command
  if (navigator.clipboard && $("copy")) {
    $("copy").hidden = false;
    $("copy").addEventListener("click", async () => {
      await navigator.clipboard.writeText($("command").textContent);
      $("copy").textContent = "Copied";
    });
  }

  // --- changed answers; all that is foreign is text content, never markup
  const form = $("filters");
  if (!form || !$("data")) return;
  const data = JSON.parse($("data").textContent);
  const PAGE = 25;
  let limit = PAGE, found = [];
  const fill = (name, values) => {
    for (const value of values) {
      const option = el("option", value);
      option.value = value;
      form.elements[name].append(option);
    }
    form.elements[name].closest("label").hidden = values.length < 2;
  };
  fill("build", data.builds);
  fill("suite", data.suites);
  fill("category", data.categories);
  const names = ["build", "suite", "category", "flip", "tie", "text"].filter((name) => form.elements[name]);
  const text = data.flips.map(([item, , , , ours]) => {
    const [, , name, prompt, expected, theirs] = data.items[item];
    return [name, prompt, expected, theirs, ours].join("\n").toLowerCase();
  });

  const block = (title, words) => {
    const box = el("div");
    box.append(el("span", title, "hint"), el("pre", words));
    return box;
  };
  const card = ([item, build, lost, tie, ours, outcome]) => {
    const [suite, category, name, prompt, expected, theirs, baseline] = data.items[item];
    const box = el("li", null, "flip");
    const head = el("p");
    head.append(el("b", lost ? "right → wrong" : "wrong → right", lost ? "bad" : "good"),
      " " + data.builds[build] + " ", el("span", [data.suites[suite], data.categories[category], name].join(" · "), "hint"));
    if (tie >= 0) head.append(el("span", tie ? "near tie" : "confident", "tag"));
    if (outcome) head.append(el("span", outcome, "tag"));
    box.append(head);
    if (data.starts[suite]) {
      const start = el("details");
      start.append(el("summary", "What all prompts of " + data.suites[suite] + " begin with"), el("pre", data.starts[suite]));
      box.append(start);
    }
    box.append(el("pre", prompt));
    const answers = el("div", null, "answers");
    answers.append(block("Expected", expected), block(data.baselines[baseline], theirs), block(data.builds[build], ours));
    box.append(answers);
    return box;
  };

  const show = () => {
    $("list").replaceChildren(...found.slice(0, limit).map((i) => card(data.flips[i])));
    $("more").hidden = found.length <= limit;
    $("matches").textContent = found.length.toLocaleString("en-US") + " of " + data.flips.length.toLocaleString("en-US") +
      " match" + (found.length > limit ? "; the first " + limit + " are shown" : "") + ".";
  };
  const filter = () => {
    const asked = Object.fromEntries(names.map((name) => [name, form.elements[name].value]));
    const words = (asked.text || "").toLowerCase();
    found = [...data.flips.keys()].filter((i) => {
      const [item, build, lost, tie] = data.flips[i];
      const [suite, category] = data.items[item];
      return (!asked.build || data.builds[build] === asked.build) &&
        (!asked.suite || data.suites[suite] === asked.suite) &&
        (!asked.category || data.categories[category] === asked.category) &&
        (!asked.flip || (asked.flip === "lost") === !!lost) &&
        (!asked.tie || tie === (asked.tie === "near" ? 1 : 0)) &&
        (!words || text[i].includes(words));
    });
    limit = PAGE;
    show();
  };
  const keep = () => { // the address, so that what is seen can be sent to another
    const asked = new URLSearchParams();
    for (const name of names) if (form.elements[name].value) asked.set(name, form.elements[name].value);
    history.replaceState(null, "", "#" + (asked.toString() || "flips"));
  };
  const recall = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!names.some((name) => asked.has(name))) return false;
    for (const name of names) form.elements[name].value = asked.get(name) || "";
    return true;
  };
  form.hidden = false;
  form.addEventListener("input", () => { filter(); keep(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); keep(); }));
  addEventListener("hashchange", () => { if (recall()) filter(); });
  $("more").addEventListener("click", () => {
    const first = limit;
    limit += PAGE;
    show();
    const next = $("list").children[first];
    next.tabIndex = -1;
    next.focus();
  });
  if (recall()) $("flips").scrollIntoView();
  filter();
})();
