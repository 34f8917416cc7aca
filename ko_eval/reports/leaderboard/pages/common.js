// What all pages of the site share: elements, numbers, the rows of a board, the state in the address.
// Texts of others are only ever set as text; nothing is fetched, no markup is made of data.
"use strict";
const Site = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const word = Page.word;

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
      else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
  }
  const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
  const at = (id) => document.getElementById(id);

  // --- numbers ---
  const score = (value) => (value === null || value === undefined ? "–" : value.toFixed(2).replace("-", "−"));
  const signed = (value) => (value > 0 ? "+" : "") + score(value);
  const half = (value) => (value && value.length === 3 ? `±${((value[2] - value[1]) / 2).toFixed(1)}` : "");
  const interval = (value) => (value && value.length === 3 ? `[${score(value[1])}, ${score(value[2])}]` : "–");
  function short(value) {
    if (value === null || value === undefined) return "–";
    for (const [size, sign] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]])
      if (value >= size * 0.9995) return `${+(value / size).toPrecision(3)}${sign}`;
    return `${+value.toPrecision(3)}`;
  }
  const money = (value, currency) => (value === null ? "–" : `${value >= 100 ? Math.round(value).toLocaleString("en") : +value.toPrecision(3)} ${currency}`);
  function places(row) {
    if (row.rank === null) return "–";
    return row.best === row.worst ? `${row.rank}` : `${row.rank} (${row.best}–${row.worst})`;
  }

  // --- rows ---
  function ran(board, row) {
    const [model, rank, best, worst, average, index, cells, type, size, licence, released, evaluated, written, cost, currency, reasons] = row;
    return {
      model: KO_EVAL.models[model], number: model, rank, best, worst, average, index, cells, type, size, licence, released,
      evaluated, written, cost, currency, reasons, board, standing: rank === null ? "unranked" : "ranked",
    };
  }
  function told(board, row) {
    const value = (number) => (number === null ? null : [number]);
    return {
      model: row.model, number: null, rank: null, best: null, worst: null, average: value(row.average), index: null,
      cells: row.scores.map(value), type: null, size: null, licence: null, released: null, evaluated: null, written: null,
      cost: null, currency: null, reasons: [], board, standing: "published", card: row,
    };
  }
  const rowsOf = new Map();
  /** All rows of a board, as objects; made once. */
  function rows(board) {
    if (!rowsOf.has(board)) rowsOf.set(board, [...board.rows.map((row) => ran(board, row)), ...board.published.map((row) => told(board, row))]);
    return rowsOf.get(board);
  }
  const ranked = (board) => rows(board).filter((row) => row.standing === "ranked");

  function boardName(board) {
    const parts = [board.suite ?? word("single_tasks")];
    if (board.limit !== null) parts.push(word("first_rows", { n: board.limit }));
    return parts.join(", ");
  }
  const boardLabel = (board) => el("span", { class: `label ${board.label}` }, word(board.label));
  const note = ([code, values]) => word(`note_${code}`, values);

  // --- the address ---
  const state = () => new URLSearchParams(location.hash.slice(1));
  function remember(values) {
    const kept = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) if (value !== null && value !== undefined && value !== "") kept.set(name, value);
    const text = `${kept}`;
    if (text !== location.hash.slice(1)) history.replaceState(null, "", `#${text}`);
  }
  const link = (page, values) => `${page}#${new URLSearchParams(values)}`;
  const modelLink = (row) => link("model.html", { model: row.model, board: row.board.id });
  const boardOf = (id) => KO_EVAL.boards.find((board) => board.id === id) ?? KO_EVAL.boards[0];

  // --- shards: what only one model's page needs ---
  const arrived = new Map(), asked = new Map();
  window.KO_EVAL_SHARD = (number, models) => arrived.get(number)(models);
  /** What is told of a model's runs, one per board. */
  async function details(number) {
    const shard = Math.floor(number / KO_EVAL.perShard);
    if (!asked.has(shard)) asked.set(shard, new Promise((resolve, reject) => {
      arrived.set(shard, resolve);
      document.head.append(el("script", { src: `data/${shard}.js`, on: { error: reject } }));
    }));
    return (await asked.get(shard))[number % KO_EVAL.perShard];
  }

  return { el, svg, at, score, signed, half, interval, short, money, places, rows, ranked, boardName, boardLabel, note, state, remember, link, modelLink, boardOf, details };
})();
