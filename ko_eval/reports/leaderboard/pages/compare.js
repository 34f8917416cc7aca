// Two models of a board, task by task: differences with intervals, and verdicts in words.
"use strict";
(() => {
  const { el, svg, at, score, signed, interval, rows, boardOf } = Site;
  const word = Page.word, Z = 1.959964;
  let board;

  /** Standard error as the interval tells it; null where there is none. */
  const error = (value) => (value && value.length === 3 ? (value[2] - value[1]) / (2 * Z) : null);
  function difference(a, b) {
    if (!a || !b) return null;
    const value = a[0] - b[0], [one, other] = [error(a), error(b)];
    if (one === null || other === null) return { value, interval: [value], p: null };
    // The distances to the own limits, added in squares: stays honest near 0 and 100.
    const low = value - Math.hypot(a[0] - a[1], b[2] - b[0]), high = value + Math.hypot(a[2] - a[0], b[0] - b[1]);
    return { value, interval: [value, low, high], p: twoSided(value / Math.max(Math.hypot(one, other), 1e-12)) };
  }
  /** Two-sided p of a normal deviate (Abramowitz and Stegun 1964, 7.1.26: error below 2e-7). */
  function twoSided(z) {
    const x = Math.abs(z) / Math.SQRT2, t = 1 / (1 + 0.3275911 * x);
    return ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
  }
  /** Holm 1979: each p times the number that are not smaller, never below one before it. */
  function holm(values) {
    const order = values.map((p, place) => [p, place]).filter(([p]) => p !== null).sort(([a], [b]) => a - b);
    const found = values.map(() => null);
    let last = 0;
    order.forEach(([p, place], number) => { last = Math.max(last, Math.min(1, p * (order.length - number))); found[place] = last; });
    return found;
  }

  function row(id) {
    const name = at(id).value.trim();
    return rows(board).find((one) => one.model === name && one.standing !== "published") ?? rows(board).find((one) => one.model === name);
  }

  function draw() {
    const a = row("a"), b = row("b");
    Site.remember({ board: board.id, a: at("a").value.trim(), b: at("b").value.trim() });
    for (const id of ["a", "b"]) {
      const wrong = at(id).value.trim() !== "" && !row(id);
      at(id).setAttribute("aria-invalid", `${wrong}`);
      at(`${id}-problem`).textContent = wrong ? word("no_such_model") : "";
    }
    if (!a || !b || a === b) { at("result").replaceChildren(el("p", { class: "soft" }, word("pick_two"))); return; }
    const differences = board.tasks.map((_, place) => difference(a.cells[place], b.cells[place]));
    const adjusted = holm(differences.map((one) => one?.p ?? null));
    document.title = `${a.model} · ${b.model} – ${KO_EVAL.title}`;
    at("result").replaceChildren(overall(a, b), table(a, b, differences, adjusted), paired(a, b));
  }

  function overall(a, b) {
    const between = difference(a.average, b.average);
    if (!between) return el("p", { class: "note warning" }, word("overall_missing"));
    const [first, second] = between.value >= 0 ? [a, b] : [b, a];
    // By the interval that stands beside it, so that the two never contradict one another.
    const [, low, high] = between.interval, sure = low > 0 || high < 0;
    return el("div", { class: "card duel" },
      side(a), el("div", { class: "between" }, el("div", { class: "headline" }, signed(between.value)), el("div", { class: "soft" }, interval(between.interval))), side(b),
      el("p", { class: "wide" }, word(sure ? "overall_higher" : "overall_undecided", { a: first.model, b: second.model, points: Math.abs(between.value).toFixed(2) })));
  }
  function side(row) {
    return el("div", {}, el("a", { href: Site.modelLink(row) }, row.model), row.standing === "published" ? [" ", el("span", { class: "label published" }, word("published_badge"))] : null,
      el("div", { class: "soft number-left" }, `${score(row.average?.[0])} ${interval(row.average)}`), el("div", { class: "soft small" }, `${word("rank")} ${Site.places(row)}`));
  }

  function table(a, b, differences, adjusted) {
    // Without the owner, where that tells them apart.
    const last = (name) => name.split("/").at(-1), short = last(a.model) === last(b.model) ? (name) => name : last;
    const widest = Math.max(1, ...differences.filter(Boolean).flatMap((one) => one.interval.map(Math.abs)));
    return el("div", { class: "scroll section" }, el("table", { class: "duel-table" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, word("task")), el("th", { scope: "col", class: "number" }, short(a.model)), el("th", { scope: "col", class: "number" }, short(b.model)), el("th", { scope: "col", class: "number" }, word("difference")), el("th", { scope: "col", class: "wide-cell" }, word("interval")), el("th", { scope: "col" }, word("verdict")))),
      el("tbody", {}, board.tasks.map((task, place) => {
        const one = differences[place], sure = adjusted[place] !== null && adjusted[place] < 0.05;
        return el("tr", {}, el("th", { scope: "row" }, task.title), el("td", { class: "number" }, score(a.cells[place]?.[0])), el("td", { class: "number" }, score(b.cells[place]?.[0])),
          el("td", { class: "number" }, one ? el("strong", {}, signed(one.value)) : "–", one ? el("small", { class: "below soft" }, interval(one.interval)) : null),
          el("td", { class: "wide-cell" }, one ? around(one, widest, sure) : null),
          el("td", { class: "verdict" }, !one || one.p === null ? "–" : sure ? word("higher", { model: short(one.value > 0 ? a.model : b.model) }) : el("span", { class: "soft" }, word("undecided"))));
      }))));
  }
  function around(one, widest, sure) {
    const x = (value) => (100 + value / widest * 96).toFixed(1);
    return svg("svg", { class: "chart among", viewBox: "0 0 200 22", "aria-hidden": "true" },
      svg("rect", { class: "track", x: 0, width: 200, y: 9, height: 4, rx: 2 }), svg("line", { class: "axis", x1: 100, x2: 100, y1: 2, y2: 20 }),
      one.interval.length === 3 ? svg("line", { class: `whisker ${sure ? one.value > 0 ? "l0" : "l1" : ""}`, x1: x(one.interval[1]), x2: x(one.interval[2]), y1: 11, y2: 11 }) : null,
      svg("circle", { class: `dot ${sure ? (one.value > 0 ? "f0" : "f1") : "unsure"}`, cx: x(one.value), cy: 11, r: 4.5 }));
  }
  function paired(a, b) {
    if (a.standing === "published" || b.standing === "published") return "";
    const command = el("code", {}, "ko-eval compare …/… …/…");
    Promise.all([a, b].map((one) => Site.details(one.number))).then((found) => {
      const paths = found.map((runs) => runs.find((run) => KO_EVAL.boards[run.board] === board)?.run);
      if (paths.every(Boolean)) command.textContent = `ko-eval compare ${paths.map((path) => (/^[\w./+@-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`)).join(" ")}`;
    }, () => {});
    return el("div", { class: "note" }, word("unpaired_note"), " ", command);
  }

  function open() {
    at("board").replaceChildren(...KO_EVAL.boards.map((one) => el("option", { value: one.id }, `${word(one.label)}: ${Site.boardName(one)} (${one.rows.length})`)));
    at("board").value = board.id;
    at("board-field").hidden = KO_EVAL.boards.length < 2;
    at("models").replaceChildren(...[...new Set(rows(board).map((one) => one.model))].map((name) => el("option", { value: name })));
    draw();
  }
  function restore() {
    const state = Site.state();
    board = boardOf(state.get("board"));
    const first = Site.ranked(board);
    at("a").value = state.get("a") ?? first[0]?.model ?? "";
    at("b").value = state.get("b") ?? first[1]?.model ?? "";
    open();
  }

  if (!KO_EVAL.boards.length) return;
  at("board").addEventListener("input", () => { board = boardOf(at("board").value); open(); });
  for (const id of ["a", "b"]) at(id).addEventListener("input", draw);
  at("swap").addEventListener("click", () => { [at("a").value, at("b").value] = [at("b").value, at("a").value]; draw(); });
  window.addEventListener("hashchange", restore);
  Page.onLanguage(open);
  restore();
})();
