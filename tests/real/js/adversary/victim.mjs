// Somebody with something to lose: a real SDK client whose sessions carry one marker in everything that is its own
// (session ids, prompts, the provider's key, a file, the path of its workspace).
import { randomBytes, randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { folder } from "../lib/processes.mjs";
import { connect, sessionConfig, textOf, watch } from "../lib/sdk.mjs";
import { until, within } from "../lib/wait.mjs";

const later = () => {
  let done;
  const promise = new Promise((resolve) => (done = resolve));
  return { promise, done };
};

// A UUID whose last group is `tail`, so that only who knows the whole id knows the marker.
const uuidEnding = (tail) => `${randomUUID().slice(0, 24)}${tail}`;

// The name of something that never was, of the same form: other digits, and a UUID keeps its version.
const neverWas = (word) =>
  word.replace(/[0-9a-f]/g, (digit, at) =>
    word.length === 36 && (at === 14 || at === 19) ? digit : ((parseInt(digit, 16) + 5) % 16).toString(16));

export class Victim {
  #serial = 0;
  targets = [];

  /** `patience`: milliseconds after which what should work counts as broken. */
  static async open({ address, token }, model, patience = 4_000) {
    const victim = new Victim();
    victim.patience = patience;
    victim.marker = randomBytes(6).toString("hex");
    victim.cwd = folder(`path-${victim.marker}`);
    victim.model = model;
    fs.writeFileSync(path.join(victim.cwd, "notes.txt"), `file-${victim.marker}\n`);
    victim.client = await connect(address, { token });
    return victim;
  }

  config(extra) {
    const config = sessionConfig(this.model, { workingDirectory: this.cwd, ...extra });
    config.provider.apiKey = `key-${this.marker}`;
    return config;
  }

  /** A new session in the state that `kind` names (the keys of `kinds`). */
  async target(kind) {
    const serial = ++this.#serial;
    const sessionId = kind.startsWith("uuid") ? uuidEnding(this.marker) : `chat-${serial}-${this.marker}`;
    const target = new Target(this, kind, sessionId);
    await kinds[kind](target);
    this.targets.push(target);
    return target;
  }

  /** Something that never was. */
  nobody() {
    return new Target(this, "nobody", randomUUID());
  }

  async close() {
    await within("the victim leaves", this.client.forceStop(), 10_000).catch(() => {});
  }
}

const shell = (command) => `tool bash ${JSON.stringify({ command, description: "a test" })}`;

/** The states in which a session can be attacked. Each leaves `target.proof`: what has to work afterwards. */
const kinds = {
  /** Live, idle, with a turn of history. */
  async live(target) {
    await target.create();
    target.proof = () => target.remembers();
  },
  /** As `live`; the model has read a file of the workspace. */
  async reader(target) {
    await target.create({}, shell(`cat notes.txt # prompt-${target.marker}`));
    target.proof = () => target.remembers();
  },
  async uuid(target) {
    await kinds.live(target);
  },
  /** Live, and nothing was ever sent: it is on no disk. */
  async empty(target) {
    await target.create({}, null);
    target.proof = () => target.remembers(0);
  },
  /** On disk only. */
  async stored(target) {
    await target.create();
    await target.session.disconnect();
    target.proof = async () => {
      target.session = await target.victim.client.resumeSession(target.id, target.victim.config());
      await target.remembers();
    };
  },
  async "uuid stored"(target) {
    await kinds.stored(target);
  },
  /** In a turn of the model. */
  async busy(target) {
    await target.create();
    const key = `hold-${randomBytes(4).toString("hex")}`;
    target.begin(`hold ${key} prompt-${target.victim.marker}`);
    await target.victim.model.holding(key);
    target.proof = async () => {
      await target.victim.model.release(key);
      await target.ends(/released/);
    };
    target.clean = () => target.victim.model.release(key);
  },
  /** In a turn, with an open permission request. */
  async permission(target) {
    const verdict = later();
    target.verdicts = 0;
    await target.create({ onPermissionRequest: () => verdict.promise }, null);
    target.begin(shell(`cat notes.txt > taken-${target.victim.marker}`));
    await target.learn("permission.requested");
    target.proof = async () => {
      if (target.seen.of("permission.completed").length) throw new Error("somebody else decided");
      verdict.done({ kind: "approve-once" });
      await target.ends(/The tool said/);
    };
    target.clean = () => verdict.done({ kind: "reject" });
  },
  /** In a turn, with an open call of a client tool. */
  async tool(target) {
    const answer = later();
    const tool = {
      name: "vault",
      description: "Opens the vault",
      parameters: { type: "object", properties: { what: { type: "string" } } },
      skipPermission: true,
      handler: () => answer.promise,
    };
    await target.create({ tools: [tool] }, null);
    target.begin(`tool vault {"what":"prompt-${target.victim.marker}"}`);
    await target.learn("external_tool.requested");
    target.proof = async () => {
      answer.done("the owner's answer");
      await target.ends(/the owner's answer/);
    };
    target.clean = () => answer.done("");
  },
  /** In a turn, with an open question to the user. */
  async input(target) {
    const answer = later();
    await target.create({ onUserInputRequest: () => answer.promise }, null);
    target.begin(`tool ask_user ${JSON.stringify({ question: `prompt-${target.victim.marker}?`, choices: ["a", "b"] })}`);
    await target.learn("user_input.requested");
    target.proof = async () => {
      answer.done({ answer: "the owner's word", wasFreeform: true });
      await target.ends(/the owner's word/);
    };
    target.clean = () => answer.done({ answer: "", wasFreeform: true });
  },
};

/** One session of the victim. */
class Target {
  requestId = randomUUID();
  eventId = randomUUID();
  toolCallId = "call_1";
  turns = 0;

  constructor(victim, kind, id) {
    Object.assign(this, { victim, kind, id, marker: victim.marker });
  }

  async create(extra = {}, prompt = `prompt-${this.marker}`) {
    this.session = await within("create", this.victim.client.createSession(this.victim.config({ sessionId: this.id, ...extra })));
    this.seen = watch(this.session);
    if (prompt === null) return;
    await within("the first turn", this.session.sendAndWait({ prompt }, 30_000), 40_000);
    this.turns = 1;
    this.eventId = this.seen.of("user.message")[0].id;
  }

  /** A turn; it may fail unheard. */
  say(prompt) {
    const turn = this.session.sendAndWait({ prompt }, 60_000);
    turn.catch(() => {});
    return turn;
  }

  begin(prompt) {
    this.turn = this.say(prompt);
  }

  /** Waits for the event, and takes the ids of what is open from it. */
  async learn(type) {
    const { id, data } = await this.seen.seen(type);
    Object.assign(this, { eventId: id, requestId: data.requestId, toolCallId: data.toolCallId ?? this.toolCallId });
  }

  async ends(wanted) {
    const text = textOf(await within("the turn ends", this.turn, this.victim.patience));
    if (!wanted.test(text)) throw new Error(`the turn said ${JSON.stringify(text)}`);
  }

  /** A turn works, and the model sees the history as the victim left it. */
  async remembers(earlier = this.turns) {
    const text = textOf(await within("a turn", this.say("still there?"), this.victim.patience));
    if (text !== `You said "still there?". I remember ${earlier} earlier messages.`) throw new Error(`it said ${text}`);
  }

  /** Takes it off the CLI, whatever is left of it. */
  async remove() {
    await this.clean?.();
    await within("its end", this.victim.client.deleteSession(this.id), 5_000).catch(() => {});
  }

  /** Nothing, or what no longer works. To be asked once. */
  async harm() {
    return await this.proof().then(() => undefined, (error) => error.message);
  }

  /** Waits until an event of the victim's session fulfils `test`; false after `ms` milliseconds. */
  witnesses(type, ms, test = () => true) {
    return until(type, () => this.seen.of(type).some(test), { ms }).then(() => true, () => false);
  }

  /** The ids of something of the same form that does not exist. */
  twin() {
    const { id, requestId, eventId, toolCallId, kind, marker } = this;
    const names = Object.entries({ id, requestId, eventId, toolCallId }).map(([name, word]) => [name, neverWas(word)]);
    return { ...Object.fromEntries(names), kind, marker, victim: this.victim };
  }
}
