// The ranking: one board at a time, filtered, sorted and paged; the state stands in the address.
"use strict";
(() => {
  const { el, at, score, half, short, money, places, rows, ranked, note, boardOf } = Site;
  const word = Page.word, PAGE = 50;
  const SIZES = [["3", 0, 3e9], ["9", 3e9, 9e9], ["20", 9e9, 20e9], ["80", 20e9, 80e9], ["more", 80e9, Infinity]];
  const SIZE_WORDS = { 3: "≤ 3B", 9: "3B – 9B", 20: "9B – 20B", 80: "20B – 80B", more: "> 80B" };
  const controls = ["q", "type", "size", "licence", "since"];
  let board, chosen = [], page = 1, all = false, sort = "rank", descending = false, timer;

  // --- columns ---
  const text = (value) => value ?? "–";
  function columns() {
    const list = [
      { key: "rank", word: word("rank"), hint: word("rank_hint"), of: (r) => r.rank, up: true, cell: rankCell },
      { key: "model", word: word("model"), of: (r) => r.model, up: true, cell: modelCell },
      { key: "average", word: word("average"), of: (r) => r.average?.[0], cell: averageCell },
    ];
    if (board.index) list.push({ key: "index", word: word("index"), hint: word("index_hint", { name: board.index }), of: (r) => r.index?.[0], cell: (r) => valueCell(r.index, board.heat.index) });
    board.tasks.forEach((task, place) => list.push({
      key: `task.${task.name}`, word: task.title, hint: `${task.name}, ${task.metric}, n = ${task.n}`, of: (r) => r.cells[place]?.[0],
      cell: (r) => valueCell(r.cells[place], board.heat.cells[place], r.card?.inferred[place]),
    }));
    const plain = (key, name, of, show, up = false) => {
      if (rows(board).some((row) => of(row) !== null && of(row) !== undefined)) list.push({ key, word: word(name), of, up, cell: (r) => el("td", { class: "number soft" }, show(r)) });
    };
    plain("size", "size", (r) => r.size, (r) => short(r.size));
    plain("type", "type", (r) => r.type, (r) => text(r.type), true);
    plain("licence", "licence", (r) => r.licence, (r) => text(r.licence), true);
    plain("released", "released", (r) => r.released, (r) => text(r.released));
    plain("evaluated", "evaluated", (r) => r.evaluated, (r) => text(r.evaluated));
    plain("written", "tokens_written", (r) => r.written, (r) => short(r.written));
    plain("cost", "cost", (r) => r.cost, (r) => money(r.cost, r.currency));
    return list;
  }

  function rankCell(row) {
    if (row.rank === null) return el("td", { class: "rank soft" }, "–");
    const first = row.best === 1 && row.rank > 1;
    return el("td", { class: "rank" }, el("strong", {}, `${row.rank}`),
      el("small", { class: "soft" }, row.best === row.worst ? "" : `${row.best}–${row.worst}`),
      first ? el("span", { class: "maybe", title: word("tied_first") }, el("span", { class: "sr" }, word("tied_first"))) : null);
  }
  function modelCell(row) {
    const cut = row.model.lastIndexOf("/") + 1, parts = [el("span", { class: "owner" }, row.model.slice(0, cut)), row.model.slice(cut)];
    const name = row.standing === "published"
      ? row.card.url ? el("a", { href: row.card.url, rel: "noopener noreferrer" }, parts) : parts
      : el("a", { href: Site.modelLink(row) }, parts);
    const below = row.standing === "published"
      ? [el("span", { class: "label published" }, word("published_badge")), " ", el("small", { class: "soft" }, `${row.card.source}, ${row.card.date}`)]
      : row.reasons.length ? [el("span", { class: "label unranked" }, word("unranked_badge")), " ", el("small", { class: "soft" }, row.reasons.map(note).join("; "))] : [];
    const box = row.standing === "published" ? null : el("input", {
      type: "checkbox", class: "no-print", "aria-label": word("choose_model", { model: row.model }),
      on: { change: (event) => choose(row.model, event.target.checked) },
    });
    if (box) box.checked = chosen.includes(row.model);
    return el("th", { scope: "row", class: "model" }, el("span", { class: "pick" }, box, el("span", {}, name, below.length ? el("span", { class: "below" }, below) : null)));
  }
  function averageCell(row) {
    if (!row.average) return el("td", { class: "number average" }, "–");
    return el("td", { class: "number average" }, el("strong", {}, score(row.average[0])), row.standing === "published" ? null : el("small", { class: "soft" }, half(row.average)),
      row.standing === "published" ? null : Plot.bar(row.average, board.low, board.high));
  }
  function valueCell(value, column, inferred) {
    if (!value) return el("td", { class: "number soft" }, "–");
    const cell = el("td", { class: "number heat" }, inferred ? el("span", { title: word("inferred") }, `(${score(value[0])})`) : score(value[0]), el("small", { class: "soft" }, half(value)));
    if (column.length > 1) cell.style.setProperty("--heat", share(column, value[0]).toFixed(3));
    return cell;
  }
  /** Share of a sorted column that is below a value. */
  function share(column, value) {
    let low = 0, high = column.length;
    while (low < high) { const middle = (low + high) >> 1; if (column[middle] < value) low = middle + 1; else high = middle; }
    return low / (column.length - 1);
  }
  function prepare() {
    const list = ranked(board), sorted = (of) => list.map(of).filter((v) => v !== undefined).sort((a, b) => a - b);
    board.heat ??= { index: sorted((r) => r.index?.[0]), cells: board.tasks.map((_, place) => sorted((r) => r.cells[place]?.[0])) };
    const averages = rows(board).filter((r) => r.average).flatMap((r) => r.average);
    board.low = Math.min(...averages);
    board.high = Math.max(...averages);
  }

  // --- filters ---
  const value = (id) => at(id).value.trim();
  function fits() {
    const wanted = value("q").toLowerCase().split(/\s+/).filter(Boolean);
    const type = value("type"), licence = value("licence"), since = value("since"), size = value("size");
    const range = SIZES.find(([name]) => name === size);
    const published = at("published").checked, unranked = at("unranked").checked;
    return rows(board).filter((row) => {
      if (row.standing === "published" ? !published : row.standing === "unranked" && !unranked) return false;
      if (wanted.length && !wanted.every((part) => row.model.toLowerCase().includes(part))) return false;
      if (type && (row.type ?? "?") !== type) return false;
      if (licence && (row.licence ?? "?") !== licence) return false;
      if (since && !((row.evaluated ?? "") >= since)) return false;
      if (size === "?") return row.size === null;
      return !range || (row.size !== null && row.size > range[1] && row.size <= range[2]);
    });
  }
  function inOrder(list) {
    const column = columns().find((one) => one.key === sort) ?? columns()[0];
    const sign = descending ? -1 : 1;
    // Rows without a place stand among the others by their average; unknown values come last.
    const of = column.key === "rank" ? (row) => (row.average ? -row.average[0] : null) : column.of;
    return list.map((row) => [of(row), row]).sort(([a, one], [b, other]) => {
      const none = (v) => v === null || v === undefined;
      if (none(a) || none(b)) return none(a) - none(b) || one.model.localeCompare(other.model);
      const order = typeof a === "string" ? a.localeCompare(b) : a - b;
      return sign * order || (one.rank ?? Infinity) - (other.rank ?? Infinity) || one.model.localeCompare(other.model);
    }).map(([, row]) => row);
  }

  // --- drawing ---
  function header(list) {
    return el("thead", {}, el("tr", {}, list.map((column) => {
      const active = column.key === sort;
      const direction = active ? (descending ? "descending" : "ascending") : null;
      const button = el("button", { type: "button", class: "sort", title: column.hint ?? null, "data-key": column.key, on: { click: () => sortBy(column) } },
        column.word, el("span", { class: "arrow", "aria-hidden": "true" }, active ? (descending ? "↓" : "↑") : ""));
      return el("th", { scope: "col", class: column.key === "model" ? "model" : column.key === "rank" ? "rank" : "number", "aria-sort": direction }, button);
    })));
  }
  function draw() {
    const list = columns(), found = inOrder(fits()), pages = all ? 1 : Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(page, 1), pages);
    const shown = all ? found : found.slice((page - 1) * PAGE, page * PAGE);
    const body = el("tbody", {}, shown.map((row) => el("tr", { class: row.standing }, list.map((column) => column.cell(row)))));
    if (!shown.length) body.append(el("tr", {}, el("td", { colspan: list.length, class: "soft" }, word("no_match"))));
    const focused = document.activeElement?.dataset?.key;
    at("table").replaceChildren(el("table", { class: "ranking" }, el("caption", { class: "sr" }, Site.boardName(board)), header(list), body));
    if (focused) at("table").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    at("count").textContent = word("matching", { n: found.length, total: rows(board).length });
    at("pages").hidden = found.length <= PAGE;
    at("page").textContent = all ? "" : word("page_of", { page, pages });
    at("previous").disabled = all || page === 1;
    at("next").disabled = all || page === pages;
    at("all").textContent = word(all ? "show_pages" : "show_all");
    keep();
    clearTimeout(timer);
    timer = setTimeout(() => Charts.draw(board, found), 120);
  }
  function keep() {
    const state = { board: board === KO_EVAL.boards[0] ? "" : board.id };
    for (const id of controls) state[id] = value(id);
    if (sort !== "rank" || descending) state.sort = (descending ? "-" : "") + sort;
    if (!at("published").checked) state.published = "0";
    if (!at("unranked").checked) state.unranked = "0";
    if (page > 1) state.page = page;
    if (all) state.all = "1";
    Site.remember(state);
  }
  function sortBy(column) {
    if (sort === column.key) descending = !descending;
    else [sort, descending] = [column.key, !column.up];
    page = 1;
    draw();
  }
  function choose(model, on) {
    chosen = on ? [...chosen.filter((one) => one !== model), model].slice(-2) : chosen.filter((one) => one !== model);
    for (const box of at("table").querySelectorAll("input[type=checkbox]")) {
      box.checked = chosen.some((one) => word("choose_model", { model: one }) === box.getAttribute("aria-label"));
    }
    pair();
  }
  function pair() {
    at("pair").hidden = !chosen.length;
    at("pair-names").textContent = chosen.length === 2 ? chosen.join(" · ") : `${chosen[0] ?? ""} · ${word("choose_two")}`;
    at("pair-link").hidden = chosen.length < 2;
    if (chosen.length === 2) at("pair-link").setAttribute("href", Site.link("compare.html", { board: board.id, a: chosen[0], b: chosen[1] }));
  }

  // --- boards ---
  function options(id, values, show = (v) => v) {
    const before = value(id);
    at(id).replaceChildren(el("option", { value: "" }, word("any")), ...values.map((one) => el("option", { value: one }, one === "?" ? word("unknown") : show(one))));
    at(id).value = values.includes(before) ? before : "";
  }
  function known(of) {
    const values = [...new Set(ranked(board).concat(rows(board).filter((r) => r.standing === "unranked")).map((row) => of(row) ?? "?"))];
    return values.filter((v) => v !== "?").sort((a, b) => a.localeCompare(b)).concat(values.includes("?") ? ["?"] : []);
  }
  function open() {
    prepare();
    at("boards").hidden = KO_EVAL.boards.length < 2;
    at("boards").replaceChildren(...KO_EVAL.boards.map((one) => el("button", { type: "button", class: "board", "aria-pressed": `${one === board}`, on: { click: () => { board = one; page = 1; chosen = []; open(); } } },
      Site.boardLabel(one), el("span", {}, Site.boardName(one)), el("small", { class: "soft" }, word("models_count", { n: ranked(one).length }), " · ", word("tasks_count", { n: one.tasks.length })))));
    at("about-board").replaceChildren(
      el("p", { class: "headline-row" }, Site.boardLabel(board), el("strong", {}, Site.boardName(board)),
        el("span", { class: "soft" }, word("models_count", { n: ranked(board).length }), " · ", word("tasks_count", { n: board.tasks.length }), " · ", word("samples_count", { n: board.tasks.reduce((sum, t) => sum + t.n, 0).toLocaleString("en") }))),
      el("p", { class: "note" }, word(`${board.label}_note`)),
      board.differs.length ? el("div", { class: "note warning" }, word("differs_from"), el("ul", {}, board.differs.map((one) => el("li", {}, note(one))))) : "");
    options("type", known((r) => r.type));
    options("licence", known((r) => r.licence));
    options("size", [...SIZES.map(([name]) => name), ...(rows(board).some((r) => r.size === null && r.standing !== "published") ? ["?"] : [])], (name) => SIZE_WORDS[name]);
    at("published-field").hidden = !board.published.length;
    at("unranked-field").hidden = !rows(board).some((r) => r.standing === "unranked");
    Charts.about(board);
    pair();
    draw();
  }
  function restore() {
    const state = Site.state();
    board = boardOf(state.get("board"));
    prepare();
    setControls(state);
    open();
  }
  /** Sets the controls as the address says; their options must be there first. */
  function setControls(state) {
    for (const id of controls) {
      const wanted = state.get(id) ?? "";
      if (at(id).tagName === "SELECT") at(id).replaceChildren(el("option", { value: wanted }, wanted));
      at(id).value = wanted;
    }
    at("published").checked = state.get("published") !== "0";
    at("unranked").checked = state.get("unranked") !== "0";
    const wanted = state.get("sort") ?? "rank";
    [sort, descending] = [wanted.replace(/^-/, ""), wanted.startsWith("-")];
    page = Number.parseInt(state.get("page") ?? "1", 10) || 1;
    all = state.get("all") === "1";
  }

  if (!KO_EVAL.boards.length) return;
  for (const id of [...controls, "published", "unranked"]) at(id).addEventListener("input", () => { page = 1; draw(); });
  at("reset").addEventListener("click", () => { setControls(new URLSearchParams()); open(); });
  at("previous").addEventListener("click", () => { page -= 1; draw(); });
  at("next").addEventListener("click", () => { page += 1; draw(); });
  at("all").addEventListener("click", () => { all = !all; draw(); });
  window.addEventListener("hashchange", restore);
  Page.onLanguage(open);
  restore();
})();
