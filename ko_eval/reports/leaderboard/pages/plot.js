// Charts as SVG: points with a frontier, whose best are named; text stays text.
"use strict";
const Plot = (() => {
  const { el, svg, score } = Site;
  const HEIGHT = 320, LEFT = 46, RIGHT = 20, TOP = 16, BOTTOM = 42, NAMES = 7, LETTERS = 26;

  /** Round values between two, about so many. */
  function ticks(low, high, count) {
    const rough = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
    const found = [];
    for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-9; value += step) found.push(+value.toFixed(10));
    return found;
  }
  function logTicks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const factor of high / low < 300 ? [1, 2, 5] : [1]) {
        const value = factor * 10 ** power;
        if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
      }
    return found.length > 1 ? found : [low, high];
  }
  function yearTicks(low, high) {
    const months = (high - low) * 12;
    const step = months <= 8 ? 1 : months <= 18 ? 3 : months <= 42 ? 6 : 12;
    const found = [];
    for (let month = Math.ceil(low * 12 / step - 1e-6) * step; month / 12 <= high + 1e-6; month += step) found.push(month / 12);
    return found;
  }
  const yearText = (value) => {
    const month = Math.round(value * 12);
    return `${Math.floor(month / 12)}-${String(month % 12 + 1).padStart(2, "0")}`;
  };

  /** The points that nothing beats: no other is as good for as little. Sorted by x. */
  function frontier(points) {
    const best = [];
    for (const point of [...points].sort((a, b) => a.x - b.x || b.y - a.y))
      if (!best.length || point.y > best.at(-1).y) best.push(point);
    return best;
  }

  function scales(points, options, width) {
    const xs = points.map((p) => p.x), ys = points.map((p) => p.y);
    let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const forward = options.log ? Math.log10 : (value) => value;
    const backward = options.log ? (value) => 10 ** value : (value) => value;
    const spare = (forward(x1) - forward(x0)) * 0.05 || (options.time ? 0.15 : 0.5);
    [x0, x1] = [forward(x0) - spare, forward(x1) + spare];
    const room = (y1 - y0) * 0.12 || 2;
    [y0, y1] = [y0 - room, y1 + room];
    return {
      x: (value) => LEFT + (forward(value) - x0) / (x1 - x0) * (width - LEFT - RIGHT),
      y: (value) => HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP),
      xTicks: options.log ? logTicks(backward(x0), backward(x1)) : options.time ? yearTicks(x0, x1) : ticks(x0, x1, 5),
      yTicks: ticks(y0, y1, 5),
    };
  }

  const dots = (points, scale, width, kind) =>
    points.length ? svg("path", { class: `dots ${kind}`, "stroke-width": width, d: points.map((p) => `M${scale.x(p.x).toFixed(1)} ${scale.y(p.y).toFixed(1)}h0`).join("") }) : null;

  function named(best, scale, width) {
    const boxes = [], labels = [];
    for (const point of [...best].sort((a, b) => b.y - a.y)) {
      if (labels.length >= NAMES) break;
      const own = point.name.split("/").at(-1);
      const text = own.length > LETTERS ? `${own.slice(0, LETTERS - 1)}…` : own;
      const wide = text.length * 6.6, x = scale.x(point.x), y = scale.y(point.y);
      const spots = [[x + 8, y - 8], [x - wide - 8, y - 8], [x + 8, y + 16], [x - wide - 8, y + 16]];
      const spot = spots.find(([left, base]) => left >= 2 && left + wide <= width - 2 && base > 12 && base < HEIGHT - BOTTOM - 2
        && !boxes.some((box) => left < box.right && left + wide > box.left && base - 12 < box.base + 3 && base + 3 > box.base - 12));
      if (!spot) continue;
      boxes.push({ left: spot[0], right: spot[0] + wide, base: spot[1] });
      labels.push(svg("text", { x: spot[0].toFixed(1), y: spot[1].toFixed(1), class: "name" }, text));
    }
    return labels;
  }

  /**
   * Draws points into a figure.
   * options: label (for who cannot see it), xLabel, yLabel, xText(value), log, time; points have
   * x, y, name, ring (hollow), link.
   */
  function scatter(figure, points, options) {
    const width = Math.max(figure.clientWidth, 280), scale = scales(points, options, width);
    const best = frontier(points);
    const line = best.map((p, i) => `${i ? `H${scale.x(p.x).toFixed(1)}V` : `M${scale.x(p.x).toFixed(1)} `}${scale.y(p.y).toFixed(1)}`).join("") + `H${width - RIGHT}`;
    const low = HEIGHT - BOTTOM, text = options.time ? yearText : options.xText;
    const onTop = new Set(best), rest = points.filter((p) => !onTop.has(p));
    const focus = svg("circle", { class: "focus", r: 7, visibility: "hidden" });
    const drawing = svg("svg", { class: "chart scatter", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": options.label },
      scale.yTicks.map((tick) => [svg("line", { class: "rule", x1: LEFT, x2: width - RIGHT, y1: scale.y(tick), y2: scale.y(tick) }),
        svg("text", { class: "soft", x: LEFT - 8, y: scale.y(tick) + 4, "text-anchor": "end" }, `${tick}`)]),
      spaced(scale.xTicks, scale).map((tick) => svg("text", { class: "soft", x: scale.x(tick), y: low + 18, "text-anchor": "middle" }, text(tick))),
      svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: low, y2: low }),
      svg("text", { class: "soft", x: width - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, options.xLabel),
      svg("text", { class: "soft", x: 4, y: 11 }, options.yLabel),
      dots(rest.filter((p) => !p.ring), scale, rest.length > 400 ? 5 : 8, "plain"),
      dots(rest.filter((p) => p.ring), scale, 9, "plain"), dots(rest.filter((p) => p.ring), scale, 5.5, "hole"),
      svg("path", { class: "frontier", d: line }),
      dots(best, scale, 12, "rim"), dots(best, scale, 9, "best"), dots(best.filter((p) => p.ring), scale, 5, "hole"),
      focus, named(best, scale, width));
    const tip = el("div", { class: "tip", hidden: true });
    pointed(drawing, points, scale, width, (point) => {
      tip.hidden = !point;
      focus.setAttribute("visibility", point ? "visible" : "hidden");
      drawing.style.cursor = point ? "pointer" : "";
      if (!point) return;
      focus.setAttribute("cx", scale.x(point.x));
      focus.setAttribute("cy", scale.y(point.y));
      tip.replaceChildren(el("strong", {}, point.name), el("br"), `${options.yLabel} ${score(point.y)} · ${options.xLabel} ${point.xText ?? text(point.x)}`);
      tip.style.left = `${Math.min(scale.x(point.x) / width * 100, 62)}%`;
      tip.style.top = `${scale.y(point.y) + 12}px`;
    });
    figure.replaceChildren(drawing, tip);
    return best;
  }

  /** Ticks that are far enough apart for their texts. */
  function spaced(ticksOf, scale) {
    let last = -Infinity;
    return ticksOf.filter((tick) => scale.x(tick) - last >= 54 && ((last = scale.x(tick)), true));
  }

  function pointed(drawing, points, scale, width, tell) {
    let near = null;
    const look = (event) => {
      const box = drawing.getBoundingClientRect(), factor = width / box.width;
      const x = (event.clientX - box.left) * factor, y = (event.clientY - box.top) * factor;
      near = null;
      let least = 20 ** 2;
      for (const point of points) {
        const distance = (scale.x(point.x) - x) ** 2 + (scale.y(point.y) - y) ** 2;
        if (distance < least) [near, least] = [point, distance];
      }
      tell(near);
    };
    drawing.addEventListener("pointermove", look);
    drawing.addEventListener("pointerleave", () => tell(null));
    drawing.addEventListener("click", () => { if (near?.link) location.href = near.link; });
  }

  /** A small interval on a track from low to high. */
  function bar(value, low, high) {
    const x = (v) => (2 + (v - low) / (high - low || 1) * 96).toFixed(1);
    return svg("svg", { class: "chart mini", viewBox: "0 0 100 10", "aria-hidden": "true" },
      svg("line", { class: "rule", x1: 0, x2: 100, y1: 5, y2: 5 }),
      value.length === 3 ? svg("line", { class: "whisker l0", x1: x(value[1]), x2: x(value[2]), y1: 5, y2: 5 }) : null,
      svg("circle", { class: "f0", cx: x(value[0]), cy: 5, r: 3.2 }));
  }

  return { scatter, bar, yearText };
})();
