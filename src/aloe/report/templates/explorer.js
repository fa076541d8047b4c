// Search, filter and sort the conversations of one source at a time; each source is parsed when first looked at.
const PAGE = 60;
// The ends of a scale are those of 1 to 5, stretched: below 2 is low, 4.5 or more is high.
const onScale = ([min, max], share) => min + share * (max - min);
const low = (scale) => onScale(scale, 0.25), high = (scale) => onScale(scale, 0.875);
const brief = (value) => String(Number(value.toFixed(2)));
const OUTCOMES = {
  tree: () => [["", "any"], ["disagreement", "judge disagrees with itself"], ["tie", "tie"], ["unparsed", "judge's answer unreadable"],
    ["generic", "generic reply preferred"], ["failed", "with a failure"]],
  bench: (scale) => [["", "any"], ["low", `a reply scored below ${brief(low(scale))}`], ["high", `a reply scored ${brief(high(scale))} or more`], ["falls", "ends below its first score"],
    ["unscored", "a reply unscored"], ["failed", "with a failure"]],
};
const SORTS = {
  tree: [["", "order in the run"], ["margin-", "largest mean margin"], ["margin", "smallest mean margin"], ["shown-", "most revealed"]],
  bench: [["", "order in the run"], ["score-", "best mean score"], ["score", "worst mean score"], ["rise-", "largest rise"], ["rise", "largest fall"]],
};
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);
const field = (id) => document.getElementById(id);

function describe(item, personas) {
  const persona = personas[item.p];
  const labels = item.l || [];
  const scores = (item.s || []).filter((s) => s[1] !== null).sort((a, b) => item.n[a[0]][TURN] - item.n[b[0]][TURN]).map((s) => s[1]);
  item.persona = persona;
  item.who = persona ? persona[0] || persona[1] : item.p;
  item.turns = item.n.reduce((most, node) => Math.max(most, node[TURN]), 0);
  item.margin = mean(labels.map((l) => l[3]).filter((m) => m !== null));
  item.score = mean(scores);
  item.rise = scores.length > 1 ? scores[scores.length - 1] - scores[0] : null;
  item.shown = (item.d || []).length;
  const flags = new Set(labels.map((l) => l[2]));
  if (labels.some((l) => l[1] >= 0 && KINDS[item.n[l[1]][KIND]] === "generic")) flags.add("generic");
  if (item.e.length) flags.add("failed");
  if (scores.some((s) => s < low(item.scale))) flags.add("low");
  if (scores.some((s) => s >= high(item.scale))) flags.add("high");
  if (item.rise !== null && item.rise < 0) flags.add("falls");
  if ((item.s || []).some((s) => s[1] === null)) flags.add("unscored");
  item.flags = flags;
  item.about = [item.i, item.p, ...(persona || [])].join("\n").toLowerCase();
  const words = [item.about, ...item.n.map((n) => n[TEXT]), ...labels.flatMap((l) => l[5].map((j) => j[3])),
    ...(item.d || []).map((d) => d[1]), ...(item.s || []).map((s) => s[3])];
  item.words = words.join("\n").toLowerCase();
}

function startExplorer(root) {
  const personas = read("personas") || {}, scales = read("scales") || {};
  const scale = () => scales[field("source").value] || [1, 5];
  const parsed = new Map();
  let found = [], limit = PAGE, current = null;
  const kind = () => (field("source").value.startsWith("bench-") ? "bench" : "tree");
  const items = () => {
    const id = field("source").value;
    if (!parsed.has(id)) {
      const list = read("source-" + id) || [];
      list.forEach((item, index) => { item.index = index; item.source = id; item.scale = scale(); describe(item, personas); });
      parsed.set(id, list);
      list.margins = new Set(list.flatMap((item) => (item.l || []).map((label) => label[3])).filter((m) => m !== null)).size > 1;
    }
    return parsed.get(id);
  };
  const options = () => {
    const fill = (select, entries) => select.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
    fill(field("outcome"), OUTCOMES[kind()](scale()));
    fill(field("sort"), SORTS[kind()]);
    field("margin-label").hidden = kind() !== "tree" || !items().margins; // plain verdicts all have margin 1
    field("margin").value = 0;
  };
  const open = (item, focus) => {
    current = item;
    renderThread(field("thread"), item, item.persona, field("q").value.trim().toLowerCase(), new Set());
    for (const button of field("items").querySelectorAll("button")) button.setAttribute("aria-current", String(button.item === item));
    if (focus) {
      history.replaceState(null, "", addressOf(item, 0));
      field("thread").focus({ preventScroll: true });
      const top = field("thread").getBoundingClientRect().top;
      if (top < 0 || top > innerHeight * 0.6) field("thread").scrollIntoView({ block: "start" });
    }
  };
  const line = (item) => {
    const meta = [`${item.turns} turns`];
    if (item.score !== null) meta.push(`score ${shown(item.score)}`);
    if (item.margin !== null && items().margins) meta.push(`margin ${shown(item.margin)}`);
    if (item.e.length) meta.push("failed");
    if (item.flags.has("disagreement")) meta.push("disagreement");
    const button = make("button", { type: "button", onclick: () => open(item, true) },
      make("span", { className: "who", dir: "auto" }, hits(item.who.slice(0, 160), field("q").value.trim().toLowerCase())), make("span", { className: "meta", textContent: meta.join(" · ") }));
    button.item = item;
    button.setAttribute("aria-current", String(item === current));
    return make("li", {}, button);
  };
  const list = () => {
    field("items").replaceChildren(...found.slice(0, limit).map(line));
    field("more").hidden = found.length <= limit;
    const all = items().length;
    const n = found.length.toLocaleString("en"), of = all.toLocaleString("en");
    field("count").textContent = found.length === all ? `${of} conversations` : `${n} of ${of} conversations`;
  };
  const search = () => {
    const query = field("q").value.trim().toLowerCase(), who = field("persona").value.trim().toLowerCase();
    const outcome = field("outcome").value, sort = field("sort").value;
    const margin = kind() === "tree" ? Number(field("margin").value) || 0 : 0;
    found = items().filter((item) =>
      (!query || item.words.includes(query)) && (!who || item.about.includes(who)) && (!outcome || item.flags.has(outcome)) &&
      (margin <= 0 || (item.margin !== null && item.margin >= margin)));
    if (sort) {
      const key = sort.replace("-", ""), sign = sort.endsWith("-") ? -1 : 1;
      const value = (item) => (item[key] === null ? Infinity : sign * item[key]);
      found.sort((a, b) => value(a) - value(b) || a.index - b.index);
    }
    limit = PAGE;
    list();
    if (current && found.includes(current)) open(current, false);
    else if (found.length) open(found[0], false);
    else field("thread").replaceChildren(make("p", { className: "empty", textContent: "Nothing matches. Try fewer words or another outcome." }));
  };
  field("source").addEventListener("change", () => { current = null; options(); search(); });
  for (const id of ["q", "persona", "margin"]) field(id).addEventListener("input", search);
  for (const id of ["outcome", "sort"]) field(id).addEventListener("change", search);
  field("more").addEventListener("click", () => { limit += PAGE; list(); });
  root.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
  field("items").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const next = event.target.closest("li")?.[event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling"];
    if (next) { event.preventDefault(); next.firstElementChild.focus(); }
  });
  root.hidden = false;
  options();
  search();
  // What an address names: a source, a conversation of it, perhaps one of its turns.
  return (source, id, turn) => {
    if (![...field("source").options].some((option) => option.value === source)) return;
    field("source").value = source;
    for (const name of ["q", "persona"]) field(name).value = "";
    options();
    search();
    const item = items().find((one) => one.i === id);
    if (!item) return;
    open(item, false);
    const place = [...field("thread").querySelectorAll(".turn")].find((box) => box.querySelector("h4").textContent === `Turn ${turn}`);
    (place || field("thread")).scrollIntoView({ block: "start" });
  };
}

const explorer = document.getElementById("explorer");
const openTalk = explorer ? startExplorer(explorer) : null;
