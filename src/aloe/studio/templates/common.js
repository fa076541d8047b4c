// What all views share: asking the server, the tabs, the state of the run.
async function ask(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  let response, found;
  try {
    response = await fetch(path, options);
    found = await response.json();
  } catch {
    throw new Error("The studio does not answer. Is it still running?");
  }
  if (!response.ok) throw new Error(found.error || `The studio answered ${response.status}`);
  return found;
}

const view = (name) => document.querySelector(`[data-view="${name}"]`);
const button = (text, onclick, className = "") => make("button", { type: "button", textContent: text, onclick, className });
const opened = {}; // what to do when a tab is opened, by its name

function showTab() {
  const wanted = location.hash.slice(1);
  if (wanted === "main") return;
  const name = view(wanted) ? wanted : "chat";
  for (const section of document.querySelectorAll(".view")) section.hidden = section.dataset.view !== name;
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === name) { link.setAttribute("aria-current", "page"); link.scrollIntoView({ block: "nearest", inline: "nearest" }); }
    else link.removeAttribute("aria-current");
  }
  document.title = `${name} · aloe studio`;
  if (opened[name]) opened[name]();
}

const state = { run: null };
const listeners = []; // called with every new state of the run

async function refreshRun() {
  try {
    state.run = await ask("api/run");
    field("lost").hidden = true;
  } catch (error) {
    field("lost").textContent = error.message;
    field("lost").hidden = false;
    return;
  }
  field("run-name").textContent = state.run.name;
  field("report-link").hidden = !state.run.report;
  for (const listener of listeners) listener(state.run);
}

const STATES = { done: "done", running: "running", failed: "failed", stopped: "stopped", "": "not begun" };
const stateTag = (name) => tag(STATES[name] || name, { done: "went", running: "good", failed: "oops", stopped: "oops" }[name]);

function showRun(run) {
  const notes = [...run.notices, ...run.problems];
  field("notices").replaceChildren(...notes.map((text) => make("p", { className: "warn" }, bdi(text))));
  field("stages").replaceChildren(...run.stages.map((s) => make("tr", {},
    make("th", { scope: "row" }, bdi(s.name)), make("td", {}, stateTag(s.state)),
    make("td", { textContent: s.seconds || "–" }), make("td", { textContent: s.finished || "–" }),
    make("td", { className: "words" }, bdi(s.summary || "")))));
  field("sources").replaceChildren(...run.sources.map((s) => make("div", {},
    make("dt", {}, bdi(s.name)), make("dd", { textContent: s.n.toLocaleString("en") + (s.growing ? ", growing" : "") }))));
  if (!run.sources.length) field("sources").replaceChildren(make("div", {}, make("dd", { textContent: "None yet." })));
  const events = [...run.events].reverse();
  field("events").replaceChildren(...events.map((e) => make("li", {}, `${e.time} `, make("strong", {}, bdi(e.stage)),
    " ", bdi(e.event.replace("stage_", "")), e.error ? make("span", { className: "bad" }, " ", bdi(e.error)) : null)));
  if (!events.length) field("events").replaceChildren(make("li", { className: "empty", textContent: "Nothing was logged yet." }));
}
listeners.push(showRun);
