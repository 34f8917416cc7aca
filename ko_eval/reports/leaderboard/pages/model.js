// One model: its places, its scores among the others, how it was run, what others published of it.
"use strict";
(() => {
  const { el, svg, at, score, signed, interval, short, money, rows, ranked, note } = Site;
  const word = Page.word;

  function show() {
    const state = Site.state(), name = state.get("model");
    const boards = KO_EVAL.boards.map((board) => [board, rows(board).filter((row) => row.model === name)]).filter(([, list]) => list.length);
    if (!boards.length) {
      at("model").replaceChildren(el("h1", {}, word("model")), el("p", {}, el("a", { href: "index.html" }, word("choose_a_model"))));
      return;
    }
    // The board that the reader came from stands first.
    boards.sort(([a], [b]) => (b.id === state.get("board")) - (a.id === state.get("board")));
    document.title = `${name} – ${KO_EVAL.title}`;
    const own = boards.flatMap(([, list]) => list).find((row) => row.number !== null);
    at("model").replaceChildren(title(name, own), ...boards.map(([board, list]) => section(board, list)));
    if (own) Site.details(own.number).then((runs) => runs.forEach(describe), () => {});
  }

  function title(name, row) {
    const facts = row ? [[word("type"), row.type], [word("size"), row.size === null ? null : short(row.size)], [word("licence"), row.licence], [word("released"), row.released]] : [];
    return el("header", { class: "title" }, el("h1", {}, name),
      el("ul", { class: "chips" }, facts.map(([label, value]) => el("li", {}, el("span", { class: "soft" }, `${label} `), value ?? word("unknown")))));
  }

  function section(board, list) {
    const row = list.find((one) => one.standing !== "published"), cards = list.filter((one) => one.standing === "published");
    return el("section", { class: "section" },
      el("h2", {}, Site.boardLabel(board), " ", el("a", { href: Site.link("index.html", { board: board.id }) }, Site.boardName(board))),
      row ? [summary(board, row), scores(board, row), el("div", { class: "section", id: `run-${board.id}` }, el("p", { class: "soft" }, word("loading")))] : null,
      cards.map((card) => published(board, card, row)));
  }

  function summary(board, row) {
    const of = ranked(board), place = of.indexOf(row);
    const near = [of[place - 1], of[place + 1]].filter((one) => one && row.rank !== null);
    return el("div", { class: "card summary" },
      el("div", {}, el("div", { class: "soft" }, word("average")), el("div", { class: "headline" }, score(row.average?.[0])), el("div", { class: "soft number-left" }, row.average ? interval(row.average) : "")),
      row.index ? el("div", {}, el("div", { class: "soft" }, `${word("index")} (${board.index})`), el("div", { class: "headline" }, score(row.index[0])), el("div", { class: "soft number-left" }, interval(row.index))) : null,
      el("div", {}, el("div", { class: "soft" }, word("rank")), el("div", { class: "headline" }, row.rank ?? "–"),
        el("div", { class: "soft" }, row.rank === null ? el("span", { class: "label unranked" }, word("unranked_badge")) : [word("place_of", { rank: row.rank, n: of.length }), el("br"), word("places_95", { best: row.best, worst: row.worst })])),
      el("div", { class: "near no-print" }, near.map((one) => el("a", { class: "button", href: Site.link("compare.html", { board: board.id, a: row.model, b: one.model }) }, word("with_next", { model: one.model })))),
      row.reasons.length ? el("div", { class: "note warning wide" }, row.reasons.map((one) => el("div", {}, note(one)))) : null);
  }

  const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];

  function scores(board, row) {
    const others = ranked(board);
    const lines = board.tasks.map((task, place) => {
      const value = row.cells[place], column = others.map((one) => one.cells[place]?.[0]).filter((v) => v !== undefined).sort((a, b) => a - b);
      const at = value && row.rank !== null ? 1 + column.filter((v) => v > value[0]).length : null;
      return el("tr", {}, el("th", { scope: "row" }, task.title, el("span", { class: "below small soft" }, board.tasks[place].metric)),
        el("td", { class: "number" }, el("strong", {}, score(value?.[0])), el("small", { class: "below soft" }, interval(value))),
        el("td", { class: "wide-cell" }, value ? among(value, column) : null),
        el("td", { class: "number" }, at === null ? "–" : `${at} / ${column.length}`),
        el("td", { class: "number", "data-n": place }, task.n.toLocaleString("en")),
        el("td", { class: "outcomes small", "data-outcomes": place }), el("td", { class: "number", "data-loss": place }, "–"));
    });
    return el("div", { class: "section" }, el("h3", {}, word("scores_here")), el("p", { class: "soft small" }, word("scores_note")),
      el("div", { class: "scroll" }, el("table", { id: `scores-${board.id}`, class: "scores" }, el("thead", {}, el("tr", {}, ["task", "score", "interval", "place_in_task", "n", "outcomes", "format_loss"].map((key) => el("th", { scope: "col", class: ["task", "interval", "outcomes"].includes(key) ? null : "number" }, word(key))))),
        el("tbody", {}, lines))));
  }

  /** The value with its interval on 0 to 100, among the other models. */
  function among(value, column) {
    const low = Math.min(0, value[1] ?? value[0], column[0] ?? 0), x = (v) => (2 + (v - low) / (100 - low) * 196).toFixed(1);
    const band = column.length > 3 ? [quantile(column, 0.25), quantile(column, 0.75), quantile(column, 0.5)] : null;
    return svg("svg", { class: "chart among", viewBox: "0 0 200 22", "aria-hidden": "true" },
      svg("rect", { class: "track", x: 0, width: 200, y: 9, height: 4, rx: 2 }),
      band ? [svg("rect", { class: "band", x: x(band[0]), width: Math.max(0.5, x(band[1]) - x(band[0])), y: 5, height: 12, rx: 2 }), svg("line", { class: "axis", x1: x(band[2]), x2: x(band[2]), y1: 3, y2: 19 })] : null,
      value.length === 3 ? svg("line", { class: "whisker l0", x1: x(value[1]), x2: x(value[2]), y1: 11, y2: 11 }) : null,
      svg("circle", { class: "f0 dot", cx: x(value[0]), cy: 11, r: 4 }));
  }

  /** Fills in what only the shard knows of one run. */
  function describe(run) {
    const board = KO_EVAL.boards[run.board], place = at(`run-${board.id}`), table = at(`scores-${board.id}`);
    if (!place) return;
    run.tasks.forEach((task, number) => {
      if (!task) return;
      const [n, outcomes, loss] = task, cell = (name) => table.querySelector(`[data-${name}="${number}"]`);
      cell("n").textContent = n.toLocaleString("en");
      cell("outcomes").replaceChildren(el("span", {}, Object.entries(outcomes).map(([name, count]) => `${word(name)} ${count.toLocaleString("en")}`).join(", ")));
      if (loss) cell("loss").replaceChildren(signed(loss[0]), el("small", { class: "below soft" }, interval(loss)));
    });
    const row = rows(board).find((one) => one.number !== null && one.model === Site.state().get("model"));
    const facts = [
      ["evaluated", run.created?.slice(0, 10)], ["run_path", run.run], ["fingerprint", run.fingerprint], ["architecture", run.kind], ["parameters", row?.size ? short(row.size) : null],
      ["revision", run.revision], ["window", run.window || null], ["engine", Object.entries(run.conditions).map(([name, value]) => `${name} ${value}`).join(", ")], ["seed", run.seed],
      ["tokens_read", run.read.toLocaleString("en")], ["tokens_written", `${row?.written?.toLocaleString("en") ?? "–"}${run.thinking ? ` (${word("thinking")} ${run.thinking.toLocaleString("en")})` : ""}`],
      ["seconds", `${run.seconds.toLocaleString("en")} s`], ["cost", row?.cost === null || row?.cost === undefined ? null : `${money(row.cost, row.currency)}${run.costFrom === "models" ? ` (${word("cost_by_models")})` : ""}`],
    ];
    place.replaceChildren(...[el("h3", {}, word("run_facts")),
      el("dl", { class: "facts card" }, facts.map(([key, value]) => [el("dt", {}, word(key)), el("dd", {}, value === null || value === undefined || value === "" ? word("unknown") : `${value}`)]),
        run.link ? [el("dt", {}, word("link")), el("dd", {}, el("a", { href: run.link, rel: "noopener noreferrer" }, run.link))] : null,
        el("dt", {}, "ko-eval"), el("dd", {}, run.version)),
      run.replaced ? el("p", { class: "soft" }, el("a", { href: "notes.html" }, word("replaced_runs", { n: run.replaced }))) : null,
      run.warnings.length ? el("div", { class: "note warning" }, el("strong", {}, word("warnings")), el("ul", {}, run.warnings.map((text) => el("li", {}, text)), run.moreWarnings ? el("li", {}, word("more_warnings", { n: run.moreWarnings })) : null)) : null].filter(Boolean));
  }

  function published(board, card, row) {
    return el("div", { class: "section published-block" }, el("h3", {}, word("published_scores"), " ", el("span", { class: "label published" }, word("published_badge"))),
      el("p", { class: "soft small" }, `${card.card.source}, ${card.card.date}`),
      el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, word("task")), el("th", { scope: "col", class: "number" }, word("published_value")), row ? el("th", { scope: "col", class: "number" }, word("ours")) : null)),
        el("tbody", {}, board.tasks.map((task, place) => el("tr", { class: "published" }, el("th", { scope: "row" }, task.title), el("td", { class: "number" }, score(card.cells[place]?.[0])), row ? el("td", { class: "number" }, score(row.cells[place]?.[0])) : null)),
          el("tr", { class: "published total" }, el("th", { scope: "row" }, word("average")), el("td", { class: "number" }, score(card.average?.[0])), row ? el("td", { class: "number" }, score(row.average?.[0])) : null)))));
  }

  window.addEventListener("hashchange", show);
  Page.onLanguage(show);
  show();
})();
