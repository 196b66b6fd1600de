"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const light = {
    ink: "#1d2126", soft: "#5b6470", grid: "#e9ebee", shade: "rgba(200,84,10,.13)", bad: "#b3261e",
    lines: ["#0b6bb5", "#c8540a", "#0a8a6a", "#9c4f96", "#7a6a00", "#5b6470"],
  };
  const dark = {
    ink: "#e6e8eb", soft: "#9aa4b0", grid: "#2a3037", shade: "rgba(242,147,90,.17)", bad: "#ff8a80",
    lines: ["#5aaef0", "#f2935a", "#4cc9a4", "#d396cd", "#cdbb4b", "#9aa4b0"],
  };
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  let theme = scheme.matches ? dark : light;
  const colour = (i) => theme.lines[i % theme.lines.length];
  const dashes = [[], [2, 3], [8, 3, 2, 3]];
  const font = "11.5px system-ui, sans-serif";
  let paper = false;
  const charts = []; // {element, draw, plot}

  const short = (v) => {
    if (v == null) return "–";
    if (!v) return "0";
    const exponent = +v.toExponential(2).split("e")[1];
    const digits = Math.max(0, exponent >= -1 ? 2 - exponent : 1 - exponent);
    return v.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  };
  const tick = (v) => (v == null ? "" : v >= 10000 ? v / 1000 + "k" : String(+v.toPrecision(6)));
  const ticks = (_, splits) => splits.map(tick);
  // uPlot labels powers of ten only; an axis of one decade needs more
  const logSplits = (u, i, low, high) => {
    const found = [];
    const leads = high / low > 2000 ? [1] : high / low > 30 ? [1, 2, 5] : [1, 1.5, 2, 3, 5, 7];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++) {
      leads.forEach((lead) => {
        const v = +(lead * 10 ** power).toPrecision(3);
        if (v >= low && v <= high) found.push(v);
      });
    }
    return found;
  };
  const log = { splits: logSplits, filter: (_, splits) => splits, values: ticks };
  const axis = (options) => ({
    stroke: theme.soft, font, labelFont: font, labelSize: 18, labelGap: 0, gap: 4,
    grid: { stroke: theme.grid, width: 1 }, ticks: { show: false }, ...options,
  });
  const below = (text, options) => axis({ size: 26, label: text, ...options });
  const left = (options) => axis({ size: 46, values: ticks, ...options });
  const fromZero = (_, low, high) => [0, high > 0 ? high * 1.06 : 1];

  function readout(element) {
    const line = document.createElement("span");
    line.className = "readout";
    element.previousElementSibling.append(line); // the caption
    return line;
  }

  function add(element, draw) {
    const chart = { element, plot: null, line: readout(element) };
    chart.draw = () => {
      if (chart.plot) chart.plot.destroy();
      chart.plot = null;
      if (element.closest("details:not([open])") || !element.clientWidth) return;
      // before printing the layout is still the screen's: these widths fit A4 and letter
      const width = paper ? (element.closest(".panels") ? 310 : 650) : element.clientWidth;
      chart.plot = draw(element, chart.line, Math.floor(width));
    };
    charts.push(chart);
  }

  const say = (line, text) => ({
    setCursor: [(u) => { line.textContent = u.cursor.idx == null ? "" : text(u, u.cursor.idx); }],
  });
  const cursor = { y: false, points: { size: 5 }, drag: { setScale: false, x: false, y: false } };

  function byLevel(panel) {
    const { x, ticks: names, unit } = data.by_level;
    return (element, line, width) => {
      const whiskers = (u) => {
        const c = u.ctx;
        c.save();
        c.lineWidth = devicePixelRatio;
        panel.lines.forEach((l) => l.ci.forEach((ci, i) => {
          if (!ci || ci[0] <= 0) return;
          const px = Math.round(u.valToPos(x[i], "x", true));
          c.strokeStyle = colour(l.colour);
          c.beginPath();
          c.moveTo(px, u.valToPos(ci[0], "y", true));
          c.lineTo(px, u.valToPos(ci[1], "y", true));
          c.stroke();
        }));
        c.restore();
      };
      const ends = panel.lines.flatMap((l) => l.ci.filter((ci) => ci)).flat();
      const y = panel.log ? {
        distr: 3,
        range: (_, low, high) => uPlot.rangeLog(
          Math.min(low, ...ends.filter((v) => v > 0)), Math.max(high, ...ends), 10, false),
      } : { range: (u, low, high) => fromZero(u, low, Math.max(high, ...ends)) };
      return new uPlot({
        width, height: 230, cursor,
        scales: { x: { time: false, range: (_, a, b) => [a - 0.25, b + 0.25] }, y },
        axes: [
          below(unit, { splits: () => x, values: () => names }),
          left(panel.log ? log : {}),
        ],
        series: [{}, ...panel.lines.map((l) => ({
          stroke: colour(l.colour), width: 1.75, dash: l.q === "p95" ? [5, 4] : [],
          points: { show: true, size: 5, fill: colour(l.colour) }, spanGaps: true,
        }))],
        hooks: {
          draw: [whiskers],
          ...say(line, (u, i) => names[i] + " " + unit + ":  " + panel.lines
            .filter((l) => l.q !== "p95")
            .map((l) => data.builds[l.colour] + " " + short(l.y[i])).join(" · ") +
            (panel.unit === "ms" ? " ms (p50)" : " tok/s")),
        },
      }, [x, ...panel.lines.map((l) => l.y)], element);
    };
  }

  function cdf(panel, unit) {
    return (element, line, width) => new uPlot({
      width, height: 220, cursor,
      scales: {
        x: { time: false, distr: 3, range: () => [panel.x[0], panel.x[panel.x.length - 1]] },
        y: { range: [0, 100] },
      },
      axes: [below(unit + ", log scale", log), left({ label: "% of values" })],
      series: [{}, ...panel.lines.map((l, i) => ({
        stroke: colour(l.colour), width: 1.75, points: { show: false },
        dash: dashes[Math.floor(l.colour / theme.lines.length) % dashes.length],
      }))],
      hooks: say(line, (u, i) => "≤ " + short(panel.x[i]) + " " + unit + ":  " + panel.lines
        .map((l) => l.name + " " + l.y[i].toFixed(1) + " %").join(" · ")),
    }, [panel.x, ...panel.lines.map((l) => l.y)], element);
  }

  function shading(cell) {
    return (u) => {
      const c = u.ctx, { left: x0, top, width, height } = u.bbox;
      const place = (t) => Math.max(x0, Math.min(x0 + width, u.valToPos(t, "x", true)));
      c.save();
      c.fillStyle = theme.shade;
      cell.bursts.forEach(([a, b]) => c.fillRect(place(a), top, place(b) - place(a), height));
      const end = place(cell.window_s);
      c.strokeStyle = theme.soft;
      c.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      c.beginPath();
      c.moveTo(end, top);
      c.lineTo(end, top + height);
      c.stroke();
      c.restore();
    };
  }

  function timeline(id, cell) {
    const end = cell.t[cell.t.length - 1] + cell.bin_s;
    const common = (width, height, y, last) => ({
      width, height,
      cursor: { ...cursor, sync: { key: id, scales: ["x", null] } },
      scales: { x: { time: false, range: [0, end] }, y },
      axes: [below(last ? "seconds from the start of the window" : null, {}), left({})],
    });
    const edge = [...cell.t, end]; // the last bin needs its right edge
    const closed = (ys) => [...ys, ys[ys.length - 1]];
    const steps = uPlot.paths.stepped({ align: 1 });
    const binned = (ys, index, text, extra) => (element, line, width) => new uPlot({
      ...common(width, 118, { range: fromZero }, false),
      series: [{}, {
        stroke: colour(index), fill: colour(index) + "2b", width: 1.25, paths: steps,
        points: { show: false },
      }, ...(extra ? [{ stroke: theme.ink, width: 1, paths: steps, points: { show: false } }] : [])],
      hooks: {
        drawClear: [shading(cell)],
        ...say(line, (u, i) => short(edge[i]) + " s:  " + text(i)),
      },
    }, [edge, closed(ys), ...(extra ? [closed(extra)] : [])], element);
    const points = (element, line, width) => {
      const lowest = Math.min(...cell.ttft_ms); // a log axis has no place for zeros
      const wide = lowest > 0 && Math.max(...cell.ttft_ms) / lowest > 20;
      const lost = (u) => {
        const c = u.ctx, top = u.bbox.top;
        c.save();
        c.fillStyle = theme.bad;
        cell.failed_t.forEach((t) => {
          if (t <= end) c.fillRect(u.valToPos(t, "x", true), top, 1.5 * devicePixelRatio, 8 * devicePixelRatio);
        });
        c.restore();
      };
      return new uPlot({
        ...common(width, 178, wide ? { distr: 3 } : { range: fromZero }, true),
        axes: [
          below("seconds from the start of the window", {}),
          left(wide ? log : {}),
        ],
        series: [{}, {
          stroke: colour(0), paths: () => null,
          points: { show: true, size: 4, width: 0, fill: colour(0) + "b0" },
        }],
        hooks: {
          drawClear: [shading(cell)], draw: [lost],
          ...say(line, (u, i) => short(cell.ttft_t[i]) + " s:  " + short(cell.ttft_ms[i]) + " ms"),
        },
      }, cell.ttft_t.length ? [cell.ttft_t, cell.ttft_ms] : [[0], [null]], element);
    };
    return {
      arrivals: binned(cell.arrivals, 5, (i) => short(cell.arrivals[i]) + " requests/s" +
        (cell.planned ? ", planned " + short(cell.planned[i]) : ""), cell.planned),
      in_flight: binned(cell.in_flight, 2, (i) => short(cell.in_flight[i]) + " in flight"),
      tokens: binned(cell.tokens, 3, (i) => short(cell.tokens[i]) + " tok/s"),
      ttft: points,
    };
  }

  document.querySelectorAll("[data-level]").forEach((element) =>
    add(element, byLevel(data.by_level.panels[+element.dataset.level])));
  document.querySelectorAll("[data-cdf]").forEach((element) => {
    const [group, panel] = element.dataset.cdf.split(",").map(Number);
    add(element, cdf(data.distributions[group].panels[panel], data.distributions[group].unit));
  });
  const lines = {};
  document.querySelectorAll("[data-time]").forEach((element) => {
    const id = element.dataset.cell;
    lines[id] = lines[id] || timeline(id, data.over_time[id]);
    add(element, (...all) => timeline(id, data.over_time[id])[element.dataset.time](...all));
  });

  const redraw = () => charts.forEach((chart) => chart.draw());
  redraw();
  document.querySelectorAll("details").forEach((d) => d.addEventListener("toggle", () => {
    charts.filter((chart) => d.contains(chart.element) && !chart.plot).forEach((c) => c.draw());
  }));
  scheme.addEventListener("change", () => { theme = scheme.matches ? dark : light; redraw(); });
  let waiting = 0;
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redraw, 120);
  });
  addEventListener("beforeprint", () => {
    theme = light;
    paper = true;
    redraw();
  });
  addEventListener("afterprint", () => {
    theme = scheme.matches ? dark : light;
    paper = false;
    redraw();
  });
})();
