// What stands below the ranking: four charts of the models that fit, and what a board's tasks are.
"use strict";
const Charts = (() => {
  const { el, at, score, short, money, boardName } = Site;
  const word = Page.word;
  let last = null;

  /** 2026, 2026-03 or 2026-03-01 as years; a year or month stands for its middle. */
  function years(text) {
    const [year, month, day] = text.split("-").map(Number);
    return year + (month === undefined ? 0.5 : (month - 1 + (day === undefined ? 0.5 : (day - 1) / 31)) / 12);
  }
  const when = (row) => row.released ?? row.evaluated;

  function draw(board, found) {
    last = [board, found];
    const list = found.filter((row) => row.standing === "ranked");
    const currency = list.map((r) => r.currency).find(Boolean);
    chart("over_time", list, { x: (r) => (when(r) ? years(when(r)) : null), xText: when, ring: (r) => !r.released, time: true, note: word("over_time_note"), xLabel: word("released") });
    chart("by_cost", list, { x: (r) => (r.currency === currency && r.cost > 0 ? r.cost : null), xText: (r) => money(r.cost, r.currency), log: true, note: currency ? word("by_cost_note", { currency }) : "", xLabel: currency ? `${word("cost")} (${currency})` : word("cost") });
    chart("by_tokens", list, { x: (r) => r.written || null, xText: (r) => short(r.written), log: true, note: word("by_tokens_note"), xLabel: word("tokens_written") });
    chart("by_size", list, { x: (r) => r.size, xText: (r) => short(r.size), log: true, note: word("by_size_note"), xLabel: word("size") });
  }

  function chart(id, list, options) {
    const figure = at(id), below = at(`${id}-below`);
    const points = list.map((row) => ({ x: options.x(row), y: row.average[0], name: row.model, ring: options.ring?.(row), link: Site.modelLink(row), xText: options.xText(row) })).filter((p) => p.x !== null);
    at(`${id}-note`).textContent = options.note;
    below.replaceChildren();
    if (!points.length) {
      figure.replaceChildren(el("p", { class: "soft empty" }, word("nothing_to_draw", { what: options.xLabel })));
      return;
    }
    const best = Plot.scatter(figure, points, { ...options, xText: short, yLabel: word("score_axis"), label: `${word(id)}. ${options.note}` });
    const missing = list.length - points.length;
    if (missing) below.append(el("p", { class: "small soft" }, word("left_out_of_chart", { n: missing })));
    below.append(el("details", { class: "no-print" }, el("summary", { class: "small" }, `${word("frontier")} (${best.length})`),
      el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, word("model")), el("th", { scope: "col", class: "number" }, options.xLabel), el("th", { scope: "col", class: "number" }, word("average")))),
        el("tbody", {}, best.map((p) => el("tr", {}, el("th", { scope: "row" }, el("a", { href: p.link }, p.name)), el("td", { class: "number" }, p.xText), el("td", { class: "number" }, score(p.y))))))));
  }

  /** What depends on the board alone. */
  function about(board) {
    const apart = board.tasks.filter((task) => task.apart).sort((a, b) => b.apart[0] - a.apart[0]);
    const verdict = (r) => word(r >= 0.8 ? "separates_well" : r >= 0.5 ? "separates_some" : "separates_hardly");
    at("separation").replaceChildren(apart.length ? el("div", { class: "scroll" }, el("table", { class: "apart" },
      el("thead", {}, el("tr", {}, ["task", "reliability", "verdict", "spread", "typical_error"].map((key, place) => el("th", { scope: "col", class: place > 2 ? "number" : null }, word(key))))),
      el("tbody", {}, apart.map((task) => el("tr", {}, el("th", { scope: "row" }, task.title), el("td", {}, meter(task.apart[0])), el("td", {}, verdict(task.apart[0])),
        el("td", { class: "number" }, score(task.apart[1])), el("td", { class: "number" }, score(task.apart[2])))))))
      : el("p", { class: "soft" }, word("too_few")));
    at("asked").replaceChildren(el("div", { class: "scroll" }, el("table", {},
      el("thead", {}, el("tr", {}, ["task", "metric", "n", "shots", "source", "protocol"].map((key) => el("th", { scope: "col", class: key === "n" || key === "shots" ? "number" : null }, word(key))))),
      el("tbody", {}, board.tasks.map((task) => el("tr", {}, el("th", { scope: "row" }, task.title, el("span", { class: "below small soft" }, task.name)), el("td", {}, task.metric), el("td", { class: "number" }, task.n.toLocaleString("en")), el("td", { class: "number" }, `${task.shots}`),
        el("td", {}, task.source, el("span", { class: "below small soft" }, `sha256 ${task.sha256}…`, task.revision ? ` @${task.revision.slice(0, 12)}` : "")),
        el("td", {}, task.facts.length ? el("details", {}, el("summary", {}, `${task.facts.length}`), el("dl", { class: "facts small" }, task.facts.map(([name, value, status]) => [el("dt", {}, name), el("dd", {}, `${value} `, el("span", { class: "label" }, word(status)))]))) : "–")))))));
    document.title = `${boardName(board)} – ${KO_EVAL.title}`;
  }
  function meter(share) {
    return [Site.svg("svg", { class: "chart meter", viewBox: "0 0 100 10", "aria-hidden": "true", preserveAspectRatio: "none" },
      Site.svg("rect", { class: "track", width: 100, height: 10 }), Site.svg("rect", { class: share >= 0.8 ? "f0" : share >= 0.5 ? "f4" : "f1", width: (share * 100).toFixed(1), height: 10 })), ` ${Math.round(share * 100)}%`];
  }

  let width = 0;
  new ResizeObserver(() => {
    const now = document.documentElement.clientWidth;
    if (now !== width && last) draw(...last);
    width = now;
  }).observe(document.documentElement);
  return { draw, about };
})();
