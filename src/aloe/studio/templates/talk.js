// A talk with one model (chat) or with two side by side, blind (compare). The server holds it; this shows it.
const AS_MYSELF = "";

class TalkView {
  constructor(root, comparison) {
    this.root = root;
    this.comparison = comparison;
    this.key = "talk-" + (comparison ? "compare" : "chat");
    this.talk = null;
    this.busy = "";
    this.error = "";
    this.draft = "";
    this.simulated = "";
    this.stars = [null, null];
    this.persona = null;
    this.asMyself = false; // chosen by whoever sits here; until then the first held-out persona is
    this.picked = [];
  }

  async open() {
    if (this.talk || !state.run) return;
    const id = sessionStorage.getItem(this.key);
    if (id) {
      try {
        this.talk = await ask(`api/talks/${encodeURIComponent(id)}`);
        return this.render();
      } catch {
        sessionStorage.removeItem(this.key);
      }
    }
    if (!this.root.children.length) this.render();
  }

  // One thing at a time: while it runs the buttons wait, what goes wrong is said, and the talk goes on.
  async act(what, work) {
    if (this.busy) return;
    this.busy = what;
    this.error = "";
    this.render();
    try {
      await work();
    } catch (error) {
      this.error = error.message;
    }
    this.busy = "";
    this.render();
  }

  post(name, body = {}) {
    return ask(`api/talks/${encodeURIComponent(this.talk.id)}/${name}`, body);
  }

  begin() {
    const models = [...this.root.querySelectorAll("select")].map((select) => select.value);
    return this.act("Beginning", async () => {
      this.talk = await ask("api/talks", { models, persona: this.persona ? this.persona.id : null });
      sessionStorage.setItem(this.key, this.talk.id);
      this.draft = this.simulated = "";
    }).then(() => this.talk && this.root.querySelector("textarea").focus());
  }

  end() {
    this.picked = this.talk.names || this.picked;
    this.talk = null;
    this.error = "";
    sessionStorage.removeItem(this.key);
    this.render();
    this.root.querySelector("select").focus();
  }

  async say() {
    const text = this.draft.trim();
    if (!text || this.busy) return;
    await this.act("Waiting for the reply", async () => {
      this.pending = text;
      this.draft = "";
      this.render();
      try {
        this.talk = await this.post("say", { text, simulated: text === this.simulated });
        this.stars = [null, null];
      } catch (error) {
        this.draft = text;
        throw error;
      } finally {
        this.pending = "";
      }
    });
    await this.observe();
    this.root.querySelector("textarea")?.focus();
  }

  answer() {
    return this.act("Asking again", async () => { this.talk = await this.post("answer"); }).then(() => this.observe());
  }

  observe() {
    if (!this.talk || !this.talk.turns.length || this.error) return undefined;
    return this.act("Reading and judging", async () => { this.talk = await this.post("observe"); });
  }

  propose() {
    return this.act("The simulator is writing", async () => {
      this.draft = this.simulated = (await this.post("propose")).text;
    }).then(() => this.root.querySelector("textarea").focus());
  }

  back() {
    return this.act("Taking back", async () => {
      const found = await this.post("back");
      this.talk = found.talk;
      this.draft = found.text;
    });
  }

  rate(choice) {
    return this.act("Storing the choice", async () => { this.talk = await this.post("rate", { choice, stars: this.stars }); });
  }

  reveal() {
    return this.act("Naming the models", async () => { this.talk = await this.post("reveal"); });
  }

  render() {
    const typed = this.root.querySelector("textarea");
    const focused = typed && document.activeElement === typed ? [typed.selectionStart, typed.selectionEnd] : null;
    this.root.replaceChildren(...(this.talk ? this.renderTalk() : this.renderSetup()));
    const area = this.root.querySelector("textarea");
    if (area && focused) { area.focus(); area.setSelectionRange(...focused); }
    const log = this.root.querySelector(".log");
    if (log) log.scrollTop = log.scrollHeight;
  }

  errorLine() {
    return this.error ? make("p", { className: "warn", role: "alert" }, bdi(this.error)) : null;
  }

  // Before a talk: which models, and who speaks.
  renderSetup() {
    const selects = (this.comparison ? ["First model", "Second model"] : ["Model"]).map((name, i) => this.modelSelect(name, i));
    const words = this.comparison
      ? ["Compare two models", "Both answer the same messages. You see A and B, never which is which, and choose the better reply; the talk goes on from it. Choices are stored in the run, for “aloe judge calibrate”."]
      : ["Chat with a model", "Talk with any model of this run, as yourself or as one of its personas. Beside the talk you see what the inducer believes about the user, and, for a persona, the judge's score of every reply."];
    const start = button("Begin", () => this.begin(), "primary");
    start.disabled = Boolean(this.busy) || !state.run || !state.run.models.length;
    return [make("h1", { textContent: words[0] }), make("p", { textContent: words[1] }),
      make("div", { className: "filters setup" }, ...selects), this.limits(), this.personaPicker(), this.errorLine(), make("p", {}, start)].filter(Boolean);
  }

  modelSelect(name, index) {
    const select = make("select", {});
    const groups = new Map();
    for (const model of state.run ? state.run.models : []) {
      if (!groups.has(model.group)) groups.set(model.group, make("optgroup", { label: model.group }));
      groups.get(model.group).append(make("option", { value: model.name, textContent: model.name + (model.host ? " at " + model.host : "") + (model.needs_persona ? " (needs a persona)" : ""), title: model.uri }));
    }
    select.append(...groups.values());
    const best = state.run && state.run.best;
    if (this.picked[index]) select.value = this.picked[index];
    else if (!index && best) select.value = best;
    else if (index && select.options.length > 1) select.selectedIndex = select.options[0].value === best ? 1 : 0;
    select.addEventListener("change", () => { this.picked[index] = select.value; this.render(); });
    this.picked[index] = select.value;
    return make("label", {}, name + " ", select);
  }

  // What the chosen models can talk about, where that is little.
  limits() {
    const models = state.run ? state.run.models.filter((model) => this.picked.includes(model.name) && model.limits) : [];
    return models.length ? make("p", { className: "small limits" }, bdi(models[0].limits)) : null;
  }

  personaPicker() {
    const box = make("fieldset", { className: "picker" }, make("legend", { textContent: "Who speaks" }));
    if (this.persona) {
      box.append(make("p", {}, "As persona ", make("strong", {}, bdi(this.persona.id)), ". You type, or the user simulator writes and you send. "),
        personaCard(this.persona.card), button("Speak as myself instead", () => { this.persona = null; this.asMyself = true; this.render(); }));
    }
    const list = make("ul", { className: "people" });
    const count = make("p", { className: "small", role: "status" });
    const input = make("input", { type: "search", autocomplete: "off", spellcheck: false, placeholder: "a word of the profile or personality" });
    let asked = 0;
    const search = async () => {
      const number = (asked += 1);
      try {
        const found = await ask(`api/personas?q=${encodeURIComponent(input.value)}`);
        if (number !== asked) return;
        if (!this.persona && !this.asMyself && !this.talk && found.items.length) {
          [this.persona] = found.items;
          if (!this.busy) this.render();
          return;
        }
        count.textContent = `${found.n.toLocaleString("en")} personas${found.n > found.items.length ? `, the first ${found.items.length} shown` : ""}`;
        list.replaceChildren(...found.items.map((p) => make("li", {}, make("button", { type: "button", onclick: () => { this.persona = p; this.render(); } },
          make("span", { className: "tags" }, tag(p.split === "bench" ? "held out" : "training")), bdi(p.card[0]), " ", make("span", { className: "soft" }, bdi(p.card[1]))))));
      } catch (error) {
        count.textContent = error.message;
      }
    };
    input.addEventListener("input", search);
    box.append(make("p", { textContent: this.persona ? "Or as another one:" : "As yourself, or choose a persona to play:" }), make("label", {}, make("span", { className: "sr", textContent: "Search personas" }), input), count, list);
    search();
    return box;
  }

  // During a talk.
  renderTalk() {
    const talk = this.talk;
    const names = talk.labels.map((label, i) => (talk.comparison && talk.names ? `${label}: ${talk.names[i]}` : label));
    const title = talk.comparison ? (talk.names ? names.join(", ") : "A and B, unnamed") : talk.labels[0];
    const head = make("div", { className: "talk-head" }, make("h1", {}, bdi(title)), button("New talk", () => this.end()));
    if (talk.comparison && !talk.names) head.append(button("Name the models", () => this.reveal()));
    const who = talk.persona
      ? make("details", { className: "numbers" }, make("summary", {}, "You play persona ", bdi(talk.persona.id)), personaCard(talk.persona.card))
      : make("p", { className: "small", textContent: "You speak as yourself." });
    const log = make("div", { className: "log", role: "log", tabIndex: 0, ariaLabel: "The talk" }, ...talk.turns.map((turn, i) => this.renderTurn(turn, i, names)));
    if (this.pending) log.append(make("div", { className: "turn" }, make("div", { className: "user-says" }, make("p", { className: "said", dir: "auto", textContent: this.pending }))));
    if (!talk.turns.length && !this.pending) log.append(make("p", { className: "empty", textContent: talk.persona ? "Say something, or let the simulator write the first message." : "Say something." }));
    const left = make("div", { className: "talk-main" }, who, log, this.composer());
    const right = make("aside", { className: "talk-side", ariaLabel: "Live panel" }, curveBox(talk, names), beliefBox(talk, () => this.observe()));
    return [head, make("div", { className: "talk" }, left, right)];
  }

  renderTurn(turn, index, names) {
    const isLast = index === this.talk.turns.length - 1;
    const spans = [];
    for (const belief of this.talk.beliefs) {
      const place = belief.turn === index + 1 ? locate(turn.user, belief.evidence) : null;
      if (place) spans.push([...place, belief.kind === "trait" ? "trait" : belief.status, `${belief.kind} ${belief.status}: ${belief.item}`]);
    }
    const box = make("div", { className: "turn" }, make("h2", { className: "turn-no", textContent: `Turn ${index + 1}${turn.simulated ? ", written by the simulator" : ""}` }),
      make("div", { className: "user-says" }, marked(turn.user, spans)));
    box.append(make("div", { className: "replies" }, ...turn.replies.map((reply, i) => this.replyBox(turn, reply, i, names[i]))));
    if (isLast && turn.replies.some((r) => r.text === null)) {
      box.append(make("p", { className: "steps" }, button("Try again", () => this.answer()), button("Take the message back", () => this.back())));
    } else if (isLast && this.comparison) box.append(this.ratingBar(turn));
    return box;
  }

  replyBox(turn, reply, index, name) {
    const best = turn.choice === (index ? "second" : "first");
    const tags = make("div", { className: "tags" }, this.comparison ? tag(name) : null, best ? tag("preferred", "good") : null,
      turn.choice === "tie" ? tag("tie") : null, this.comparison && turn.kept === index ? tag("continued", "went") : null);
    const box = make("div", { className: "reply" + (best ? " chosen" : "") }, tags.children.length ? tags : null);
    if (reply.text !== null) box.append(make("p", { className: "said", dir: "auto", textContent: reply.text }));
    else if (reply.error) box.append(make("p", { className: "bad", role: "alert" }, bdi(reply.error)));
    else box.append(make("p", { className: "waiting small", textContent: "No reply yet" }));
    if (reply.score !== undefined) box.append(this.scoreBox(reply));
    if (reply.judge_error) box.append(make("p", { className: "bad small" }, bdi(reply.judge_error)));
    return box;
  }

  scoreBox(reply) {
    const [low, high] = this.talk.scale;
    const line = make("div", { className: "score" });
    if (reply.score === null) line.append(tag("unscored", "oops"));
    else line.append(make("meter", { min: low, max: high, value: reply.score, ariaLabel: "score" }), make("b", { textContent: shown(reply.score) }));
    for (const [name, value] of Object.entries(reply.parts)) line.append(make("span", {}, bdi(name), " " + shown(value, 1)));
    if (reply.reason) line.append(make("span", {}, "“", bdi(reply.reason), "”"));
    return line;
  }

  ratingBar(turn) {
    if (turn.choice) return make("p", { className: "small", role: "status", textContent: "Stored. Go on from here, or name the models." });
    const stars = (index) => {
      const select = make("select", { ariaLabel: `Rate ${this.talk.labels[index]} from 1 to 5` });
      select.append(make("option", { value: "", textContent: "–" }), ...[1, 2, 3, 4, 5].map((n) => make("option", { value: n, textContent: n })));
      select.value = this.stars[index] ?? "";
      select.addEventListener("change", () => { this.stars[index] = Number(select.value) || null; });
      return make("label", {}, `${this.talk.labels[index]} `, select);
    };
    return make("div", { className: "rating", role: "group", ariaLabel: "Which reply is better?" },
      make("span", { className: "small", textContent: "Which is better?" }),
      button("A is better", () => this.rate("A")), button("Tie", () => this.rate("tie")), button("B is better", () => this.rate("B")),
      make("span", { className: "stars small" }, "1–5, if you like: ", stars(0), " ", stars(1)));
  }

  composer() {
    const area = make("textarea", { rows: 3, placeholder: "Your message (Enter sends, Shift+Enter breaks the line)", ariaLabel: "Your message", dir: "auto" });
    area.value = this.draft;
    area.addEventListener("input", () => { this.draft = area.value; });
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.say(); }
    });
    const send = button("Send", () => this.say(), "primary");
    const turns = this.talk.turns, last = turns[turns.length - 1];
    const back = last && !last.choice ? button("Take back", () => this.back()) : null;
    const simulate = this.talk.persona ? button("Let the simulator write", () => this.propose()) : null;
    for (const one of [send, simulate, back]) if (one) one.disabled = Boolean(this.busy);
    const busy = make("span", { className: "small waiting", role: "status", textContent: this.busy });
    busy.hidden = !this.busy;
    return make("div", { className: "composer" }, this.errorLine(), area, make("div", { className: "steps" }, send, simulate, back, busy));
  }
}

const talks = { chat: new TalkView(view("chat"), false), compare: new TalkView(view("compare"), true) };
for (const [name, talkView] of Object.entries(talks)) {
  opened[name] = () => talkView.open();
  listeners.push(() => { if (!view(name).hidden && !talkView.root.children.length) talkView.open(); });
}
