// One conversation, turn by turn. A node is [parent, turn, kind, continued, text, model]; kind 0 is the user.
const KINDS = ["user", "tailored", "generic", "responder"];
const PARENT = 0, TURN = 1, KIND = 2, CONTINUED = 3, TEXT = 4, MODEL = 5;
const tag = (text, kind) => make("span", { className: "tag " + (kind || ""), textContent: text });

// Where evidence stands in a text: exact, then ignoring case. Returns [start, end] or null.
function locate(text, evidence) {
  const words = evidence.trim();
  if (words.length < 2) return null;
  let start = text.indexOf(words);
  if (start < 0) {
    const lower = text.toLowerCase();
    if (lower.length !== text.length) return null; // a letter that changes length: places would be wrong
    start = lower.indexOf(words.toLowerCase());
  }
  return start < 0 ? null : [start, start + words.length];
}

// Text with marked spans [start, end, class, title]; overlapping spans are cut, the earlier one wins.
function marked(text, spans) {
  const parts = [];
  let at = 0;
  for (const [start, end, kind, title] of spans.sort((a, b) => a[0] - b[0] || b[1] - a[1])) {
    const from = Math.max(start, at);
    if (from >= end) continue;
    parts.push(text.slice(at, from), make("mark", { className: kind, title, textContent: text.slice(from, end) }));
    at = end;
  }
  parts.push(text.slice(at));
  return make("p", { className: "said", dir: "auto" }, ...parts);
}

function wordSpans(text, query) {
  const spans = [];
  const lower = text.toLowerCase();
  if (query.length < 2 || lower.length !== text.length) return spans;
  for (let at = lower.indexOf(query); at >= 0 && spans.length < 200; at = lower.indexOf(query, at + query.length)) {
    spans.push([at, at + query.length, "found", "found"]);
  }
  return spans;
}

// Text with the words that were searched for marked.
function hits(text, query) {
  const parts = [];
  let at = 0;
  for (const [start, end, kind] of query ? wordSpans(text, query) : []) {
    parts.push(text.slice(at, start), make("mark", { className: kind, textContent: text.slice(start, end) }));
    at = end;
  }
  return make("bdi", {}, ...parts, text.slice(at));
}

// The address of a conversation, or of one of its turns, within the page.
function addressOf(item, turn) {
  return "#" + ["talk", item.source, item.i, ...(turn ? [String(turn)] : [])].map(encodeURIComponent).join("/");
}
// In the studio, where views have the addresses, a heading is a heading.
const here = (item, turn, text) => (item.source ? make("a", { className: "here", href: addressOf(item, turn) }, text) : text);

function personaCard(persona, query) {
  if (!persona) return null;
  const lines = [["Profile", persona[0]], ["Personality", persona[1]]].filter((line) => line[1]);
  return make("div", { className: "who-is" }, ...lines.map(([name, text]) =>
    make("p", { dir: "auto" }, make("strong", { textContent: name + ". " }), hits(text, query))));
}

// What of a persona changes in the conversation, or in one of its turns: [turn, kind, how, was, now, until, context].
function changeText([, , how, was, now, until, context]) {
  const until_ = how === "gradual" && until ? ` until turn ${until}` : "", where = context ? ` where it is about ${context}` : "";
  return [tag(how, "change"), until_ + where + " ", was ? make(how === "contextual" ? "span" : "s", {}, bdi(was)) : "begins:", " ", now ? make("b", {}, bdi(now)) : "(over)"];
}

function timelineOf(item) {
  if (!item.c || !item.c.length) return null;
  return make("ol", { className: "timeline", ariaLabel: "What changes" }, ...item.c.map((change) =>
    make("li", {}, here(item, change[0], `Turn ${change[0]}`), " ", ...changeText(change))));
}

function userMessage(item, index, query) {
  const text = item.n[index][TEXT];
  const spans = wordSpans(text, query);
  const list = make("ul", { className: "shown" });
  for (const [node, what, kind, status, evidence, nodes] of item.d || []) {
    const here = node === index, elsewhere = nodes.includes(index);
    if (!here && !elsewhere) continue;
    const style = kind === "trait" ? "trait" : status;
    const place = locate(text, evidence);
    if (place) spans.push([...place, style, `${kind} ${status}: ${what}`]);
    if (here) {
      list.append(make("li", {}, tag(kind === "trait" ? "trait" : status, style), " ",
        make("b", {}, bdi(what)), evidence && !place ? make("span", {}, " from “", bdi(evidence), "”") : null));
    }
  }
  const box = make("div", {}, make("div", { className: "user-says" }, marked(text, spans)));
  if (list.children.length) box.append(list);
  return box;
}

function scoreLine(entry, [min, max], query) {
  if (!entry) return null;
  const [, score, parts, reason] = entry;
  const line = make("div", { className: "score" });
  if (score === null) line.append(tag("unscored", "oops"));
  else line.append(make("meter", { min, max, value: score, ariaLabel: "score" }), make("b", { textContent: shown(score) }));
  for (const [name, value] of Object.entries(parts)) line.append(make("span", {}, bdi(name), " " + shown(value, 1)));
  if (reason) line.append(make("span", {}, "“", hits(reason, query), "”"));
  return line;
}

function replyCard(item, index, state) {
  const node = item.n[index];
  const chosen = (item.l || []).some((label) => label[1] === index);
  const rejected = (item.l || []).some((label) => label[1] >= 0 && label[1] !== index && label[0].includes(index));
  const tags = make("div", { className: "tags" });
  if (node[KIND] && KINDS[node[KIND]] !== "responder") tags.append(tag(KINDS[node[KIND]]));
  if (chosen) tags.append(tag("preferred", "good"));
  if (rejected) tags.append(tag("not preferred"));
  if (node[CONTINUED] && item.children[index].length && state.siblings > 1) tags.append(tag("continued", "went"));
  if (state.siblings > 1 && node[MODEL] && node[MODEL] !== "world:" + KINDS[node[KIND]]) tags.append(make("span", { className: "tag", title: node[MODEL] }, bdi(node[MODEL].split("?")[0])));
  const spans = wordSpans(node[TEXT], state.query);
  for (const [at, what, , words] of item.x || []) {
    if (at !== index) continue;
    tags.append(make("span", { className: "tag oops", title: `no longer holds: ${what}` }, "stale: ", bdi(what)));
    const place = words ? locate(node[TEXT], words) : null;
    if (place) spans.push([...place, "stale", `no longer holds: ${what}`]);
  }
  const card = make("div", { className: "reply" + (chosen ? " chosen" : "") },
    tags.children.length ? tags : null,
    marked(node[TEXT], spans),
    scoreLine((item.s || []).find((score) => score[0] === index), item.scale || [1, 5], state.query));
  if (state.siblings > 1 && item.children[index].length && state.onPath !== index && state.branches > 1) {
    card.append(make("button", { type: "button", className: "branch", textContent: "Follow this branch", onclick: () => state.follow(index) }));
  }
  return card;
}

function reasonList(item, replies, query) {
  const list = make("ul", { className: "reasons" });
  const name = (index) => (index < 0 ? "?" : KINDS[item.n[index][KIND]]);
  for (const [nodes, , outcome, margin, labeler, judgements] of item.l || []) {
    if (!nodes.some((node) => replies.includes(node))) continue;
    if (outcome !== "preferred") list.append(make("li", {}, tag(outcome, "oops")));
    for (const [order, verdict, score, reason] of judgements) {
      const pick = verdict === "first" ? name(order[0]) : verdict === "second" ? name(order[1]) : "";
      const said = score !== null ? `scores ${shown(score)}` : pick ? `prefers ${pick}` : verdict ? `says ${verdict}` : "gave no readable verdict";
      list.append(make("li", {}, `Shown ${order.map(name).join(", then ")}, the judge `, make("b", { textContent: said }),
        reason ? make("span", {}, ": “", hits(reason, query), "”") : "."));
    }
    const by = [labeler ? "Label by " + labeler : "", margin === null ? "" : "margin " + shown(margin)].filter(Boolean).join(", ");
    if (by) list.append(make("li", {}, bdi(by)));
  }
  return list.children.length ? list : null;
}

function childrenOf(item) {
  const children = item.n.map(() => []);
  item.n.forEach((node, index) => { if (node[PARENT] >= 0) children[node[PARENT]].push(index); });
  return children;
}

// The reply whose children are shown: the chosen branch if the reader took one, else the one that was continued.
function nextReply(item, replies, picks) {
  const open = replies.filter((reply) => item.children[reply].length);
  return open.find((reply) => picks.has(reply)) ?? open.find((reply) => item.n[reply][CONTINUED]) ?? open[0];
}

function renderThread(target, item, persona, query, picks) {
  item.children ??= childrenOf(item);
  const again = (reply, siblings) => {
    siblings.forEach((sibling) => picks.delete(sibling));
    picks.add(reply);
    renderThread(target, item, persona, query, picks);
  };
  const parts = [make("h3", {}, here(item, 0, bdi(item.i || "conversation"))), personaCard(persona, query) || make("p", { className: "small" }, "Persona ", bdi(item.p || "unknown"))];
  parts.push(...[timelineOf(item)].filter(Boolean));
  let user = item.n.findIndex((node) => node[PARENT] < 0);
  const seen = new Set();
  while (user !== undefined && user >= 0 && !seen.has(user)) {
    seen.add(user);
    const turn = item.n[user][TURN];
    if (item.h && turn > 1 && (turn - 1) % item.h === 0) parts.push(make("h3", { className: "session", textContent: `Session ${(turn - 1) / item.h + 1}` }));
    const box = make("div", { className: "turn" }, make("h4", {}, here(item, turn, `Turn ${turn}`)), userMessage(item, user, query));
    for (const change of (item.c || []).filter((c) => c[0] === turn)) box.append(make("p", { className: "changes" }, ...changeText(change)));
    const replies = [...item.children[user]].sort((a, b) => item.n[a][KIND] - item.n[b][KIND]);
    const onPath = nextReply(item, replies, picks);
    const branches = replies.filter((reply) => item.children[reply].length).length;
    const cards = replies.map((reply) => replyCard(item, reply,
      { query, siblings: replies.length, onPath, branches, follow: (index) => again(index, replies) }));
    if (cards.length) box.append(make("div", { className: "replies" }, ...cards));
    box.append(...[reasonList(item, replies, query)].filter(Boolean));
    for (const [at, role, error] of item.e || []) {
      if (at === turn) box.append(make("p", { className: "warn" }, `The ${role || "call"} failed here: `, bdi(error)));
    }
    parts.push(box);
    user = onPath === undefined ? undefined : item.children[onPath][0];
  }
  const last = Math.max(0, ...[...seen].map((index) => item.n[index][TURN]));
  for (const [at, role, error] of item.e || []) {
    if (at > last || at < 1) parts.push(make("p", { className: "warn" }, `Turn ${at}: the ${role || "call"} failed: `, bdi(error)));
  }
  if (!item.n.length) parts.push(make("p", { className: "empty", textContent: "No message was written." }));
  target.replaceChildren(...parts);
}
