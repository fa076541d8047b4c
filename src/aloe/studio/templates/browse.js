// The conversations of the run: searched on the server, shown as in the report, also while they are still growing.
const browse = { found: [], total: 0, matching: 0, current: null, asked: 0, timer: 0, margins: false, source: "", scales: {} };
const FILTERS = ["q", "persona", "outcome", "sort", "margin"];

function fillSelect(id, entries) {
  const before = field(id).value;
  field(id).replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
  if (entries.some(([value]) => value === before)) field(id).value = before;
}

const sourceScale = () => browse.scales[field("source").value] || [1, 5];
const sourceKind = () => (field("source").value.startsWith("bench-") ? "bench" : "tree");

function listSources(run) {
  browse.scales = Object.fromEntries(run.sources.map((s) => [s.id, s.scale]));
  const signature = JSON.stringify(run.sources.map((s) => [s.id, s.growing]));
  if (browse.signature === signature) return;
  browse.signature = signature;
  const before = field("source").value;
  fillSelect("source", run.sources.map((s) => [s.id, s.name + (s.growing ? " (growing)" : "")]));
  if (field("source").value !== before) changeSource();
}
listeners.push(listSources);

function changeSource() {
  browse.current = null;
  const sorts = SORTS[sourceKind()].filter(([value]) => browse.margins || !value.startsWith("margin"));
  fillSelect("outcome", OUTCOMES[sourceKind()](sourceScale()));
  fillSelect("sort", sorts);
  if (!view("conversations").hidden) search();
}

function showMargins(several) {
  if (several === browse.margins && !field("margin-label").hidden === several) return;
  browse.margins = several; // plain verdicts all have margin 1: nothing to filter or sort by
  field("margin-label").hidden = !several;
  if (!several) field("margin").value = 0;
  fillSelect("sort", SORTS[sourceKind()].filter(([value]) => several || !value.startsWith("margin")));
}

async function search(offset = 0, quiet = false) {
  const number = (browse.asked += 1);
  clearTimeout(browse.timer);
  const source = field("source").value;
  if (!source) {
    field("count").textContent = "This run has no conversations yet.";
    browse.timer = setTimeout(() => search(), 2000);
    return;
  }
  const query = new URLSearchParams({ source, offset, limit: PAGE });
  for (const name of FILTERS) query.set(name, field(name).value.trim());
  let found;
  try {
    found = await ask("api/search?" + query);
  } catch (error) {
    if (number === browse.asked) field("count").replaceChildren(make("span", { className: "bad" }, bdi(error.message)));
    return;
  }
  if (number !== browse.asked) return; // a later search is under way
  showMargins(found.has_margins);
  browse.found = offset ? [...browse.found, ...found.items] : found.items;
  browse.matching = found.n_found;
  browse.total = found.n_total;
  const n = found.n_found.toLocaleString("en"), of = found.n_total.toLocaleString("en");
  const notes = [found.n_found === found.n_total ? `${of} conversations` : `${n} of ${of} conversations`];
  if (found.share_read < 1) notes.push(`${Math.floor(found.share_read * 100)}% read so far`);
  if (found.is_growing) notes.push("still growing");
  field("count").textContent = notes.join(", ");
  field("more").hidden = browse.found.length >= found.n_found;
  listItems();
  const there = browse.found.some((item) => item.i === browse.current);
  if (!offset && !quiet) {
    if (there) openItem(browse.current, false);
    else if (browse.found.length) openItem(browse.found[0].i, false);
    else field("thread").replaceChildren(make("p", { className: "empty", textContent: "Nothing matches. Fewer words or another outcome may." }));
  }
  if (found.share_read < 1 || found.is_growing) {
    browse.timer = setTimeout(() => { if (!view("conversations").hidden && browse.found.length <= PAGE) search(0, true); }, found.share_read < 1 ? 400 : 2000);
  }
}

function listItems() {
  const focused = document.activeElement && document.activeElement.item;
  field("items").replaceChildren(...browse.found.map((item) => {
    const meta = [`${item.turns} turns`];
    if (item.score !== null) meta.push(`score ${shown(item.score)}`);
    if (item.margin !== null) meta.push(`margin ${shown(item.margin)}`);
    if (sourceKind() === "tree") meta.push(`${item.shown} revealed`);
    if (item.failed) meta.push("failed");
    if (item.disagreement) meta.push("disagreement");
    const entry = make("button", { type: "button", onclick: () => openItem(item.i, true) },
      make("span", { className: "who", dir: "auto", textContent: item.who }), make("span", { className: "meta", textContent: meta.join(" · ") }));
    entry.item = item.i;
    entry.setAttribute("aria-current", String(item.i === browse.current));
    return make("li", {}, entry);
  }));
  if (focused) [...field("items").querySelectorAll("button")].find((b) => b.item === focused)?.focus();
}

async function openItem(id, focus) {
  browse.current = id;
  for (const entry of field("items").querySelectorAll("button")) entry.setAttribute("aria-current", String(entry.item === id));
  const thread = field("thread");
  try {
    const item = await ask("api/conversation?" + new URLSearchParams({ source: field("source").value, id }));
    if (browse.current !== id) return;
    renderThread(thread, item, item.persona, field("q").value.trim().toLowerCase(), new Set());
  } catch (error) {
    if (browse.current === id) thread.replaceChildren(make("p", { className: "warn", role: "alert" }, bdi(error.message)));
    return;
  }
  if (!focus) return;
  thread.focus({ preventScroll: true });
  const top = thread.getBoundingClientRect().top;
  if (top < 0 || top > innerHeight * 0.6) thread.scrollIntoView({ block: "start" });
}

let typing = 0;
for (const id of ["q", "persona", "margin"]) {
  field(id).addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(() => search(), 120); });
}
for (const id of ["outcome", "sort"]) field(id).addEventListener("change", () => search());
field("source").addEventListener("change", changeSource);
field("more").addEventListener("click", () => search(browse.found.length));
document.querySelector(".filters[role=search]").addEventListener("submit", (event) => event.preventDefault());
field("items").addEventListener("keydown", (event) => {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const next = event.target.closest("li")?.[event.key === "ArrowDown" ? "nextElementSibling" : "previousElementSibling"];
  if (next) { event.preventDefault(); next.firstElementChild.focus(); }
});

opened.conversations = async () => { await refreshRun(); if (!field("outcome").options.length) changeSource(); else search(0, Boolean(browse.current)); };
opened.run = () => refreshRun();
setInterval(() => { if (!view("run").hidden && !document.hidden) refreshRun(); }, 2000);

window.addEventListener("hashchange", showTab);
refreshRun().then(showTab);
