// Transcripts made comparable: what a tap recorded, sorted into the tracks in which a CLI keeps an
// order, with what is made anew in each run replaced by placeholders. Only what the lists below name
// is replaced or set apart; everything else must be equal, byte for byte of its JSON.
//
// A CLI works on several things at once, so two runs of the same script interleave differently even
// without anything in between. What is ordered within itself, and is kept in that order:
// - the requests of one client, each with its answer (answers arrive whenever they are ready);
// - the events of one session that its turns emit, one after another (`main`);
// - the events of one session that its background work emits, per type (SIDE: each type is one task),
//   and those of its hooks, per kind of hook (the start of a session and its first prompt race);
// - what the CLI asks of the client, per method and kind of hook, each with its answer.
// Across these tracks two facts are kept: how many `session.idle` a client had seen when it asked,
// and when it was answered. An event names the event before it (`parentId`): where one of the two
// belongs to background work, which one that is depends on the race, so it is replaced.
// `session.lifecycle`, `host.event` and `session.background_tasks_changed` say "look again", as often
// and whenever the CLI likes: what is kept is which facts were told to which connection.

/** Events of background work: they race the turn and each other, also on one and the same CLI. (The end of a question
 * to the user races the message that the turn makes of the answer.) */
const SIDE = new Set([
  "user_input.completed",
  "session.managed_settings_resolved",
  "session.mcp_servers_loaded",
  "session.skills_loaded",
  "session.title_changed",
  "session.tools_updated",
]);

/** The search index starts: told at a resume as a rule, at a create too when the CLI is busy. Not compared. */
const UNRELATED = new Set(["session.indexed_search"]);

/** Of these only the last counts: a busy CLI first tells an empty list, then the full one. */
const LAST = new Set(["session.skills_loaded"]);

/** Whether its answer or the `session.idle` that it causes comes first depends on a race. */
const ENDS_TURN = new Set(["session.abort"]);

/** Numbers that measure time or count tokens (paths are part of the prompt, so these differ too). */
const MEASURED = new Set([
  "activeTimeMs",
  "completedAt",
  "context_current_tokens",
  "currentTokens",
  "dispatchDurationMs",
  "duration",
  "duration_ms",
  "durationMs",
  "elapsedMs",
  "eventsFileSizeBytes",
  "interTokenLatencyMs",
  "killAttemptsInFlight",
  "modelCallDurationMs",
  "outputTtftMs",
  "request_body_bytes",
  "request_body_wire_bytes",
  "requestBodyBytes",
  "requestBodyWireBytes",
  "sessionStartTime",
  "startedAt",
  "systemTokens",
  "timestamp",
  "timestampMs",
  "timeToFirstTokenMs",
  "totalApiDurationMs",
  "ttftMs",
]);

const UUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const TIME = /\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)/g;
const MADE = /\b(?:chatcmpl-|call_)\d+\b/g; // ids that the model server counts up

/** Gives each new value of a kind the next number, so that "the same" stays visible. */
class Placeholders {
  #known = new Map();
  #count = new Map();

  for(kind, value) {
    const key = `${kind}:${value}`;
    if (!this.#known.has(key)) {
      const next = (this.#count.get(kind) ?? 0) + 1;
      this.#count.set(kind, next);
      this.#known.set(key, `<${kind} ${next}>`);
    }
    return this.#known.get(key);
  }
}

function replacer(literals) {
  const ids = new Placeholders();
  const text = (value) =>
    literals
      .reduce((sofar, [literal, name]) => sofar.replaceAll(literal, name), value)
      .replace(UUID, (id) => ids.for("uuid", id))
      .replace(MADE, (id) => ids.for("model id", id))
      .replace(TIME, "<time>");
  const walk = (value, key) => {
    if (typeof value === "string") return text(value);
    if (typeof value === "number") return MEASURED.has(key) ? "<measured>" : value;
    if (Array.isArray(value)) return value.map((item) => walk(item));
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [text(name), walk(item, name)]));
  };
  return walk;
}

const NONE = "<no answer>";
const RACE = "<depends on a race>";
const HINT = "session.background_tasks_changed";
const answerOf = ({ jsonrpc, id, ...answer }) => answer;

/** The name of the side track of an event; undefined for the main track. */
function sideOf({ type, data }) {
  if (type === "hook.start" || type === "hook.end") return `${type} ${data?.hookType}`;
  return SIDE.has(type) ? type : undefined;
}

/** The records of one connection, taken one by one into its tracks. */
class Conn {
  #sent = new Map();
  #asked = new Map();
  #background = new Set();
  #idles = 0;
  #replace = replacer([]);
  tracks = { requests: [], notifications: [], stray: [], sessions: {}, asked: {}, facts: {}, other: [], ends: [] };

  take({ from, frame, end }) {
    if (end) this.tracks.ends = [...this.tracks.ends, from].sort();
    else if (from === "client") this.#fromClient(frame);
    else this.#fromServer(frame);
  }

  #fromClient(frame) {
    if (frame.method === undefined) return this.#answer(this.#asked, frame, {});
    if (frame.id === undefined) return this.tracks.notifications.push(frame);
    const request = { ...frame, idles: this.#idles, answer: NONE };
    this.#sent.set(frame.id, request);
    return this.tracks.requests.push(request);
  }

  #fromServer(frame) {
    if (frame.method === undefined) return this.#answer(this.#sent, frame, { idlesAtAnswer: this.#idles });
    if (frame.id !== undefined) return this.#ask(frame);
    if (frame.method === "session.event") return this.#event(frame);
    if (frame.method === "session.lifecycle") return this.#lifecycle(frame);
    if (frame.method === "host.event") return this.#host(frame);
    return this.tracks.other.push(frame);
  }

  #answer(waiting, frame, more) {
    const request = waiting.get(frame.id);
    if (!request || request.answer !== NONE) this.tracks.stray.push(frame);
    else Object.assign(request, { answer: answerOf(frame), ...(ENDS_TURN.has(request.method) ? {} : more) });
  }

  #ask({ id, ...rest }) {
    const request = { ...rest, answer: NONE };
    this.#asked.set(id, request);
    const track = [rest.method, rest.params?.hookType].filter(Boolean).join(" ");
    (this.tracks.asked[track] ??= []).push(request);
  }

  #event(frame) {
    const { event, sessionId } = frame.params;
    if (typeof event?.type !== "string") return this.tracks.other.push(frame);
    if (UNRELATED.has(event.type)) return undefined;
    if (event.type === HINT) {
      const { id, timestamp, parentId, ...kept } = event;
      return this.#fact(frame, { sessionId, event: kept });
    }
    const session = (this.tracks.sessions[sessionId] ??= { main: [], side: {} });
    const side = sideOf(event);
    if (side) this.#background.add(event.id);
    const racing = side !== undefined || this.#background.has(event.parentId);
    const kept = racing ? { ...frame, params: { ...frame.params, event: { ...event, parentId: RACE } } } : frame;
    if (event.type === "session.idle") this.#idles += 1;
    if (LAST.has(side)) session.side[side] = [];
    return (side ? (session.side[side] ??= []) : session.main).push(kept);
  }

  #lifecycle(frame) {
    this.#fact(frame, frame.params);
  }

  #host(frame) {
    const { payload } = frame.params;
    const taskJson = typeof payload?.taskJson === "string" ? JSON.parse(payload.taskJson) : payload?.taskJson;
    this.#fact(frame, { ...frame.params, payload: { ...payload, taskJson } });
  }

  /** Keeps one of each fact, told apart by what is no time in it. */
  #fact(frame, params) {
    const fact = this.#replace(sorted({ ...frame, params }));
    this.tracks.facts[JSON.stringify(fact)] = { ...frame, params };
  }
}

const sorted = (value) => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
};

/**
 * The comparable form of one scenario's records.
 * @param {Array} records what the taps recorded, in order
 * @param {Array<[string, string]>} literals addresses and folders of this run, with their names
 */
export function comparable(records, literals = []) {
  const conns = {};
  for (const record of records) (conns[record.conn] ??= new Conn()).take(record);
  const tracks = Object.entries(conns).map(([name, { tracks: { facts, ...rest } }]) => {
    const keys = Object.keys(facts).sort();
    return [name, { ...rest, facts: keys.map((key) => facts[key]) }];
  });
  return replacer(literals)(sorted(Object.fromEntries(tracks)));
}

/**
 * Where two comparable forms differ: "path: one | other", at most `limit` of them; empty when equal.
 * Strict as a deepEqual: a missing key is a difference.
 */
export function differences(one, other, limit = 12) {
  const found = [];
  const show = (value) => (value === undefined ? "(missing)" : JSON.stringify(value).slice(0, 160));
  const walk = (a, b, path) => {
    if (found.length >= limit || Object.is(a, b)) return;
    const nested = [a, b].every((value) => value !== null && typeof value === "object");
    if (!nested || Array.isArray(a) !== Array.isArray(b)) {
      found.push(`${path || "/"}: ${show(a)} | ${show(b)}`);
      return;
    }
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) walk(a[key], b[key], `${path}/${key}`);
  };
  walk(one, other, "");
  return found;
}
