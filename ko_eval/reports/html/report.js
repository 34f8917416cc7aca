// The samples of the report: filtered, searched, shown. Only text is ever set, never markup.
"use strict";
(() => {
  const PAGE = 50;
  const LONG = 20000;
  const ACTING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f]/g;
  const OUTCOMES = ["ok", "no_answer", "truncated", "wrong_language", "failed"];
  const { word } = Page;
  const $ = (id) => document.getElementById(id);
  const contents = JSON.parse($("contents").textContent);
  const several = contents.runs.length > 1;
  const promises = new Map();
  const state = { task: 0, listing: null, found: [], page: 0, sample: null, asked: 0 };

  // --- making elements ---

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) element.setAttribute(key, "");
      else if (value !== false && value != null) element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child != null && child !== ""));
    return element;
  }

  const written = (acting) => [...Array(acting.length).keys()]
    .map((at) => "\\u" + acting.charCodeAt(at).toString(16).padStart(4, "0")).join("");
  const visible = (text) => String(text).replace(ACTING, written);

  /** The text as nodes: what would act is written out, what is searched for is marked. */
  function shown(text, needle) {
    const nodes = [];
    let end = 0;
    const plain = (part) => { if (part) nodes.push(...marked(part, needle)); };
    for (const match of text.matchAll(ACTING)) {
      plain(text.slice(end, match.index));
      nodes.push(make("span", { class: "acting" }, written(match[0])));
      end = match.index + match[0].length;
    }
    plain(text.slice(end));
    return nodes;
  }

  function marked(text, needle) {
    if (!needle) return [text];
    const nodes = [];
    const lower = text.toLowerCase();
    if (lower.length !== text.length) return [text];
    let end = 0;
    for (let at = lower.indexOf(needle); at >= 0 && nodes.length < 2000; at = lower.indexOf(needle, end)) {
      nodes.push(text.slice(end, at), make("mark", {}, text.slice(at, at + needle.length)));
      end = at + needle.length;
    }
    nodes.push(text.slice(end));
    return nodes.filter((node) => node !== "");
  }

  function block(text, needle = needleNow()) {
    const element = make("div", { class: "text" });
    if (text === "") element.append(make("span", { class: "soft" }, word("empty_response")));
    else if (text.length <= LONG) element.append(...shown(text, needle));
    else {
      element.append(...shown(text.slice(0, LONG), needle), make("br"));
      const more = make("button", { type: "button", class: "button quiet" }, word("more_text", { n: number(text.length) }));
      more.addEventListener("click", () => element.replaceChildren(...shown(text, needle)));
      element.append(more);
    }
    return element;
  }

  const number = (value, digits = 0) => value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const chip = (run) => {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 10 10");
    svg.setAttribute("class", "chip");
    svg.setAttribute("aria-hidden", "true");
    const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of [["class", `f${run}`], ["width", 10], ["height", 10], ["rx", 2]]) square.setAttribute(key, value);
    svg.append(square);
    return svg;
  };

  // --- data ---

  async function unpacked(id) {
    const text = $(id).textContent;
    const packed = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  /** What a data block holds; each is unpacked once. */
  function opened(id) {
    if (!promises.has(id)) promises.set(id, unpacked(id));
    return promises.get(id);
  }

  /** A sample with all its texts. */
  async function whole(sample) {
    const size = contents.tasks[state.task].block_size;
    const block = await opened(`task-${state.task}-${Math.floor(sample.at / size)}`);
    return block[sample.at % size];
  }

  /** All samples of the task shown with all their texts, in the order of the data. */
  async function allWhole() {
    const blocks = [...Array(contents.tasks[state.task].blocks).keys()];
    return (await Promise.all(blocks.map((block) => opened(`task-${state.task}-${block}`)))).flat();
  }

  const task = () => state.listing;
  const about = (run) => task().runs[run];

  /** right, wrong, or partly: by the leading metric of the run. */
  function verdict(answer, run) {
    if (answer.score == null) return null;
    const best = about(run).best;
    return answer.score >= best - 1e-9 ? "right" : answer.score <= 1e-9 ? "wrong" : "partly";
  }

  function haystack(sample) {
    if (sample.hay === undefined) {
      const parts = [sample.id, sample.group ?? ""];
      for (const asked of sample.asked) {
        parts.push(...asked.prompts.map((prompt) => prompt[2]), ...(asked.scored ?? []), ...(asked.choices ?? []), asked.target ?? "");
      }
      for (const answer of sample.runs) if (answer) parts.push(answer.text ?? "", answer.thinking ?? "", answer.extracted ?? "");
      sample.hay = parts.join("\n").normalize("NFC").toLowerCase();
    }
    return sample.hay;
  }

  const needleNow = () => $("f-text").value.trim().normalize("NFC").toLowerCase();

  function fits(sample, chosen) {
    const runs = sample.runs.map((answer, run) => [answer, run])
      .filter(([answer, run]) => answer && (chosen.run === "" || run === Number(chosen.run)));
    if (!runs.length) return false;
    if (chosen.group !== "" && (sample.group ?? "") !== chosen.group.slice(1)) return false;
    if (chosen.outcome !== "" && !runs.some(([answer]) => answer.outcome === chosen.outcome)) return false;
    if (chosen.result === "disagree") {
      const said = new Set(sample.runs.filter(Boolean).map((answer) => answer.score ?? null));
      if (said.size < 2) return false;
    } else if (chosen.result !== "" && !runs.some(([answer, run]) => verdict(answer, run) === chosen.result)) return false;
    return true;
  }

  async function search() {
    const turn = ++state.asked;
    const chosen = {
      text: needleNow(), result: $("f-result").value, outcome: $("f-outcome").value,
      group: $("f-group").value, run: $("f-run").value,
    };
    let found = task().samples.filter((sample) => fits(sample, chosen));
    if (chosen.text !== "") {
      $("found").textContent = word("loading");
      const texts = await allWhole();
      if (turn !== state.asked) return;
      found = found.filter((sample) => haystack(texts[sample.at]).includes(chosen.text));
    }
    const runs = (sample) => sample.runs.filter((answer, run) => answer && (chosen.run === "" || run === Number(chosen.run)));
    const mean = (sample) => {
      const scores = runs(sample).map((answer) => answer.score ?? 0);
      return scores.reduce((sum, score) => sum + score, 0) / scores.length;
    };
    const length = (sample) => Math.max(...runs(sample).map((answer) => answer.length));
    const order = $("f-order").value;
    if (order === "worst") found.sort((a, b) => mean(a) - mean(b));
    if (order === "best") found.sort((a, b) => mean(b) - mean(a));
    if (order === "long") found.sort((a, b) => length(b) - length(a));
    state.found = found;
    state.page = 0;
    if (!found.includes(state.sample)) state.sample = found[0] ?? null;
    drawList();
    drawSample();
  }

  // --- the list ---

  function badge(answer, run) {
    const kind = answer.outcome === "failed" ? "wrong" : verdict(answer, run) ?? "partly";
    const label = answer.outcome !== "ok" ? word(answer.outcome)
      : kind === "partly" && answer.score != null ? number(answer.score, answer.score % 1 ? 2 : 0) : word(kind);
    return make("span", { class: `verdict ${kind}` }, several ? chip(run) : "", label);
  }

  function drawList() {
    const pages = Math.max(1, Math.ceil(state.found.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    $("found").textContent = state.found.length
      ? word("found", { n: number(state.found.length), all: number(task().samples.length) }) : word("none_found");
    $("list").replaceChildren(...state.found.slice(state.page * PAGE, (state.page + 1) * PAGE).map((sample) => {
      const button = make("button", { type: "button", "aria-controls": "sample", "aria-current": sample === state.sample ? "true" : "false" },
        make("bdi", { class: "id" }, visible(sample.id)),
        make("span", { class: "verdicts" }, ...sample.runs.map((answer, run) => answer && badge(answer, run)).filter(Boolean)),
        make("span", { class: "excerpt" }, visible(sample.excerpt)));
      button.addEventListener("click", () => pick(sample, true));
      return make("li", {}, button);
    }));
    $("where").textContent = word("page_of", { page: number(state.page + 1), pages: number(pages) });
    $("earlier").disabled = state.page === 0;
    $("later").disabled = state.page >= pages - 1;
  }

  function pick(sample, look = false) {
    state.sample = sample;
    const at = state.found.indexOf(sample);
    const page = Math.floor(at / PAGE);
    if (page !== state.page) {
      state.page = page;
      drawList();
    }
    [...$("list").querySelectorAll("button")].forEach((button, place) =>
      button.setAttribute("aria-current", String(place === at - state.page * PAGE)));
    drawSample();
    if (look && matchMedia("(max-width: 820px)").matches) $("sample").scrollIntoView();
  }

  function step(by) {
    const next = state.found[state.found.indexOf(state.sample) + by];
    if (next) pick(next);
  }

  // --- one sample ---

  async function drawSample() {
    const card = $("sample");
    const listed = state.sample;
    if (!listed) {
      card.replaceChildren(make("p", { class: "soft" }, word("none_found")));
      return;
    }
    const sample = await whole(listed);
    if (state.sample !== listed) return;
    const at = state.found.indexOf(listed);
    const steps = make("span", { class: "steps" });
    for (const [sign, by, key] of [["↑", -1, "previous_sample"], ["↓", 1, "next_sample"]]) {
      const button = make("button", { type: "button", class: "button quiet", "aria-label": word(key), title: word(key) }, sign);
      button.disabled = !state.found[at + by];
      button.addEventListener("click", () => step(by));
      steps.append(button);
    }
    const head = make("div", { class: "sample-head" },
      make("h3", {}, make("bdi", {}, visible(sample.id))),
      sample.group ? make("span", { class: "label" }, visible(sample.group)) : "", steps);
    const parts = [head];
    sample.asked.forEach((asked, place) => {
      const runs = sample.runs.flatMap((answer, run) => (answer && answer.asked === place ? [run] : []));
      if (runs.length) parts.push(...promptParts(asked, runs, sample.asked.length > 1));
    });
    if (!sample.asked.length) parts.push(make("p", { class: "note" }, word("not_recorded")));
    sample.runs.forEach((answer, run) => { if (answer) parts.push(answerPart(sample, answer, run)); });
    // A keyboard stays on the button that it pressed.
    const pressed = [...card.querySelectorAll(".steps button")].indexOf(document.activeElement);
    card.replaceChildren(...parts);
    if (pressed >= 0) (steps.children[pressed].disabled ? card : steps.children[pressed]).focus({ preventScroll: true });
  }

  function promptParts(asked, runs, named) {
    const parts = [];
    const own = about(runs[0]);
    asked.prompts.forEach(([head, role, text], place) => {
      const title = make("h4", {}, asked.prompts.length > 1 ? word("prompt_choice", { n: place + 1 }) : word("prompt"));
      if (named) title.append(...runs.flatMap((run) => [" ", chip(run), visible(contents.runs[run])]));
      parts.push(title);
      const turns = head == null ? [] : own.heads[head] ?? [];
      if (turns.length) {
        const size = turns.reduce((sum, turn) => sum + turn[1].length, 0);
        const folded = make("details", { class: "head-text" }, make("summary", {}, word("examples", { n: number(size) })));
        folded.addEventListener("toggle", () => {
          if (folded.children.length === 1) folded.append(...turns.map((turn) => spoken(turn[0], turn[1])));
        });
        parts.push(folded);
      }
      parts.push(spoken(role, text));
    });
    if (asked.cut) parts.push(make("p", { class: "note warning" }, word("cut_left", { n: number(asked.cut) })));
    if (own.prefix.length) parts.push(make("p", { class: "small soft" }, word("prefixed"), " ", make("code", {}, visible(own.prefix.join(" ")))));
    const [list, add] = facts();
    if (typeof asked.target === "string") add("expected", make("div", { class: "text short" }, ...shown(asked.target, needleNow())));
    if (asked.reference) add("reference", tidy(asked.reference));
    if (list.children.length) parts.push(list);
    return parts;
  }

  function spoken(role, text) {
    const element = block(text);
    if (role) element.prepend(make("span", { class: "role" }, role));
    return element;
  }

  function answerPart(sample, answer, run) {
    const asked = sample.asked[answer.asked];
    const part = make("section", { class: "answer" });
    const head = make("div", { class: "answer-head" });
    if (several) head.append(make("h3", {}, chip(run), visible(contents.runs[run])));
    head.append(badge(answer, run));
    if (answer.score != null) head.append(make("span", { class: "small soft" }, `${visible(about(run).metric)} = ${number(answer.score, 4)}`));
    part.append(head);
    if (answer.reason != null) part.append(make("h4", {}, word("failed")), block(answer.reason));
    if (answer.text != null) {
      part.append(make("h4", {}, word("response")));
      if (answer.thinking) {
        const folded = make("details", { class: "head-text" }, make("summary", {}, word("thinking", { n: number(answer.thinking.length) })));
        folded.addEventListener("toggle", () => { if (folded.children.length === 1) folded.append(block(answer.thinking)); });
        part.append(folded);
      }
      part.append(block(answer.text));
    } else if (answer.loglikelihoods) part.append(...choiceTable(asked, answer, about(run).metric));
    else if (answer.reason == null) part.append(make("p", { class: "note" }, word("no_response")));
    part.append(factList(answer));
    return part;
  }

  function choiceTable(asked, answer, metric) {
    const chosen = answer.detail?.chosen;
    const places = typeof chosen === "number" ? [chosen] : Object.values(chosen ?? {});
    const picked = typeof chosen === "object" && chosen !== null ? chosen[metric] ?? Object.values(chosen)[0] : chosen;
    const right = typeof asked?.target === "number" ? asked.target : answer.detail?.right;
    const credits = answer.detail?.credits;
    const names = asked?.choices ?? asked?.scored ?? [];
    const tokens = answer.counts?.length ? answer.counts : null;
    const count = names.length || answer.loglikelihoods.length;
    const heading = (key, number) => make("th", { scope: "col", class: number && "number" }, word(key));
    const rows = answer.loglikelihoods.slice(0, count).map((value, place) => {
      const notes = [];
      if (place === right) notes.push(make("span", { class: "verdict right" }, word("is_right")), " ");
      if (place === picked) notes.push(make("span", { class: "verdict partly" }, word("is_chosen")), " ");
      else if (places.includes(place)) {
        const by = Object.keys(chosen).filter((other) => chosen[other] === place).join(", ");
        notes.push(make("span", { class: "verdict partly" }, `${word("is_chosen")}: ${visible(by)}`), " ");
      }
      return make("tr", { class: place === picked && "picked" },
        make("td", { class: "number soft" }, String(place + 1)),
        make("td", { class: "text-cell" }, ...notes, ...shown(names[place] ?? "", needleNow())),
        make("td", { class: "number" }, value == null ? "–" : number(value, 3)),
        tokens && make("td", { class: "number" }, value == null ? "–" : number(value / tokens[place], 3)),
        tokens && make("td", { class: "number" }, number(tokens[place])),
        credits && make("td", { class: "number" }, number(credits[place] ?? 0, 2)));
    });
    return [make("h4", {}, word("choices")),
      make("div", { class: "scroll choices", tabindex: "0", role: "region", "aria-label": word("choices") },
        make("table", {}, make("thead", {}, make("tr", {}, heading("n_short", true), heading("choice"), heading("loglikelihood", true),
          tokens && heading("per_token", true), tokens && heading("tokens", true), credits && heading("credit", true))),
        make("tbody", {}, ...rows)))];
  }

  function facts() {
    const list = make("dl", { class: "facts" });
    return [list, (key, ...values) => list.append(make("dt", {}, word(key)), make("dd", {}, ...values))];
  }

  function factList(answer) {
    const [list, add] = facts();
    add("extracted", answer.extracted == null ? "–" : make("div", { class: "text short" }, ...shown(answer.extracted, needleNow())));
    if (answer.finish) add("finish", word(`finish_${answer.finish}`), answer.tokens ? ` · ${number(answer.tokens[1])} ${word("tokens").toLowerCase()}` : "");
    if (Object.keys(answer.detail ?? {}).length) add("scorer_saw", tidy(answer.detail));
    const others = Object.entries(answer.metrics ?? {}).map(([name, value]) => `${visible(name)} ${number(value, 4)}`);
    if (others.length > 1) add("other_metrics_short", others.join(" · "));
    return list;
  }

  /** A value of the scorer as text: JSON on one line per name. */
  function tidy(value) {
    const lines = Object.entries(value).filter(([, inner]) => inner != null)
      .map(([name, inner]) => `${name}: ${typeof inner === "string" ? inner : JSON.stringify(inner)}`);
    return make("div", { class: "small" }, ...lines.map((line) => make("div", {}, ...shown(line, ""))));
  }

  // --- filters ---

  function options(select, pairs) {
    const before = select.value;
    select.replaceChildren(...pairs.map(([value, label]) => make("option", { value }, visible(label))));
    if (pairs.some(([value]) => value === before)) select.value = before;
  }

  function drawFilters() {
    options($("f-task"), contents.tasks.map((one, place) => [String(place), `${one.title} (${number(one.count)})`]));
    options($("f-result"), [["", word("any_result")], ...["right", "partly", "wrong", ...(several ? ["disagree"] : [])].map((key) => [key, word(key)])]);
    options($("f-outcome"), [["", word("any_outcome")], ...OUTCOMES.map((key) => [key, word(key)])]);
    options($("f-run"), [["", word("any_run")], ...contents.runs.map((label, run) => [String(run), label])]);
    options($("f-order"), ["data", "worst", "best", "long"].map((key) => [key, word(`order_${key}`)]));
    const groups = task() ? [...new Set(task().samples.map((sample) => sample.group ?? ""))].sort() : [""];
    $("l-group").hidden = groups.length < 2;
    options($("f-group"), [["", word("any_group")], ...groups.map((name) => [`=${name}`, name || word("no_group")])]);
  }

  async function choose(place) {
    state.task = place;
    $("found").textContent = word("loading");
    let listing;
    try {
      listing = await opened(`task-${place}`);
    } catch (error) {
      $("found").textContent = word("cannot_unpack");
      return;
    }
    if (state.task !== place) return;
    listing.samples.forEach((sample, at) => { sample.at = at; });
    state.listing = listing;
    state.sample = null;
    drawFilters();
    $("f-group").value = "";
    await search();
  }

  let waiting;
  $("f-text").addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
  $("f-text").addEventListener("focus", () => { if (task()) allWhole(); });
  for (const id of ["f-result", "f-outcome", "f-group", "f-run", "f-order"]) $(id).addEventListener("change", search);
  $("f-task").addEventListener("change", () => choose(Number($("f-task").value)));
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("earlier").addEventListener("click", () => { state.page -= 1; drawList(); });
  $("later").addEventListener("click", () => { state.page += 1; drawList(); });
  $("list").addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    step(by);
    $("list").querySelector("[aria-current=true]")?.focus();
  });
  Page.onLanguage(() => {
    drawFilters();
    if (task()) { drawList(); drawSample(); }
  });
  drawFilters();
  choose(0);
})();
