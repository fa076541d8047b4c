// Beside a talk: what is believed about the user, and the curve of how well replies suit, growing turn by turn.
const SVG = "http://www.w3.org/2000/svg";
const shape = (name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
};
const MARKS = ["M-3.6 0a3.6 3.6 0 1 0 7.2 0a3.6 3.6 0 1 0-7.2 0z", "M-3.2-3.2h6.4v6.4h-6.4z"]; // disc, square
const DASH = ["", "7 4"];

// Curves over turns: series is [{name, values: [number or null, ...]}, ...]; a missing value breaks its curve.
function curve(series, scale) {
  const turns = Math.max(5, ...series.map((s) => s.values.length));
  const [width, height, left, right, top, bottom] = [360, 210, 34, 18, 14, 34];
  const x = (turn) => left + ((turn - 1) / (turns - 1)) * (width - left - right);
  const y = (value) => top + ((scale[1] - value) / (scale[1] - scale[0])) * (height - top - bottom);
  const said = series.map((s) => `${s.name}: ${s.values.map((v) => shown(v)).join(", ")}`).join("; ");
  const svg = shape("svg", { class: "fig al", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Score by turn. ${said}` });
  const steps = scale[1] - scale[0] > 4 ? 5 : scale[1] - scale[0];
  for (let i = 0; i <= steps; i += 1) {
    const value = scale[0] + ((scale[1] - scale[0]) * i) / steps;
    svg.append(shape("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      shape("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, String(Math.round(value * 10) / 10)));
  }
  const every = Math.ceil(turns / 10);
  for (let turn = 1; turn <= turns; turn += every) svg.append(shape("text", { x: x(turn), y: height - 14, "text-anchor": "middle" }, String(turn)));
  series.forEach((s, index) => {
    const group = shape("g", { class: "s" + index, "data-points": s.values.filter((v) => v !== null).length });
    let path = "", pen = "M";
    s.values.forEach((value, i) => {
      if (value === null) { pen = "M"; return; }
      path += `${pen}${x(i + 1).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = "L";
    });
    group.append(shape("path", { class: "curve", d: path || "M0 0", "stroke-dasharray": DASH[index] }));
    s.values.forEach((value, i) => {
      if (value === null) return;
      const mark = shape("path", { class: "mark", d: MARKS[index], transform: `translate(${x(i + 1).toFixed(1)} ${y(value).toFixed(1)})` });
      mark.append(shape("title", {}, `${s.name}, turn ${i + 1}: ${shown(value)}`));
      group.append(mark);
    });
    svg.append(group);
  });
  return svg;
}

function curveBox(talk, names) {
  const series = talk.labels.map((_, i) => ({ name: names[i], values: talk.turns.map((t) => t.replies[i].score ?? null) }));
  const box = make("div", { className: "curve-box" }, make("h3", { textContent: "How well replies suit" }));
  if (!talk.persona) {
    box.append(make("p", { className: "empty small", textContent: "The judge scores a reply against a persona. Play one to see the curve." }));
    return box;
  }
  const legend = series.map((s, i) => make("span", { className: "key" }, make("span", { className: "dot dot" + i }), bdi(s.name)));
  if (series.length > 1) box.append(make("div", { className: "legend" }, ...legend));
  box.append(curve(series, talk.scale));
  const hidden = talk.comparison && talk.turns.some((t) => t.replies.some((r) => r.judged && r.score === undefined));
  box.append(make("p", { className: "small", textContent: hidden ? "The judge's scores appear when you have chosen." : "The judge's score by turn; it knows the whole persona." }));
  return box;
}

function beliefLine(belief) {
  const kind = belief.kind === "trait" ? "trait" : belief.status;
  return make("li", { className: belief.new ? "fresh" : "" },
    make("span", { className: "tags" }, tag(belief.status, belief.status), belief.kind === "trait" ? tag("trait", "trait") : null, belief.new ? tag("new", "went") : null),
    make("b", {}, bdi(belief.item)),
    make("span", { className: "why" }, belief.turn ? `turn ${belief.turn}: ` : "", "“", bdi(belief.evidence), "”"));
}

function beliefBox(talk, again) {
  const last = talk.turns[talk.turns.length - 1];
  const box = make("div", { className: "belief-box" }, make("h3", { textContent: "What is believed about the user" }));
  if (last && last.belief_error) {
    box.append(make("div", { className: "warn", role: "alert" }, make("p", {}, bdi(last.belief_error)), button("Ask again", again)));
  } else if (last && !last.believed) {
    box.append(make("p", { className: "small waiting", textContent: "The inducer is reading" }));
  }
  const facts = talk.beliefs.filter((b) => b.kind !== "trait").length, traits = talk.beliefs.length - facts;
  const count = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
  if (talk.beliefs.length) box.append(make("p", { className: "small", textContent: `${count(facts, "fact")}, ${count(traits, "trait")}, from the user's own words only.` }));
  else box.append(make("p", { className: "empty small", textContent: last && last.believed ? "Nothing yet: no evidence in the user's words." : "Nothing yet." }));
  box.append(make("ul", { className: "beliefs" }, ...[...talk.beliefs].reverse().map(beliefLine)));
  return box;
}
