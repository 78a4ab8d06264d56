// Somebody who has an address and nothing else to do with the victim: raw frames, any bytes, and a record of all
// that came back. It judges nothing; `leaks` only tells where a marker stands.
import { randomUUID } from "node:crypto";
import net from "node:net";
import { frame } from "../lib/frames.mjs";
import { sessionConfig } from "../lib/sdk.mjs";
import { within } from "../lib/wait.mjs";

/** Every string that stands in a text of JSON, decoded; also where the text as a whole is none. */
export function stringsIn(text) {
  return [...text.matchAll(/"(?:[^"\\]|\\.)*"/g)].flatMap(([quoted]) => {
    try {
      return [JSON.parse(quoted)];
    } catch {
      return [];
    }
  });
}

// A marker is hex, so JSON never escapes it; base64 writes it in one of three ways.
const spellings = (marker) => [
  marker,
  ...[0, 1, 2].map((shift) =>
    Buffer.from("\0".repeat(shift) + marker).toString("base64").slice(shift && shift + 1, -4)),
];

/** True where `text` tells `marker`, once what the asker itself had said is taken away. */
export function tells(text, marker, said = []) {
  const heard = said
    .filter((word) => word.length > 3)
    .sort((a, b) => b.length - a.length)
    .reduce((rest, word) => rest.replaceAll(JSON.stringify(word).slice(1, -1), ""), text);
  return spellings(marker).some((spelling) => heard.includes(spelling));
}

/** One connection of a stranger. Nothing here throws on what comes back: silence is an answer too. */
export class Stranger {
  #next = 1;
  #waiting = new Map();
  #rest = Buffer.alloc(0);
  /** All frames: {text, frame, said}; `said` holds the strings of the request that it answers. */
  heard = [];
  /** All requests, in order: {method, said, answer}. */
  asked = [];
  over = false;

  /** Connects and says `connect`, with the token if there is one. */
  static async open({ address, token }, model, connect = {}) {
    const stranger = new Stranger();
    const [host, port] = address.split(":");
    const socket = net.connect(Number(port), host);
    Object.assign(stranger, { socket, model });
    await within("the stranger's connection", new Promise((done, fail) => {
      socket.once("connect", done);
      socket.once("error", fail);
    }), 10_000);
    socket.on("error", () => {});
    socket.on("data", (bytes) => stranger.#take(bytes));
    socket.once("close", () => {
      stranger.over = true;
      stranger.#waiting.forEach(({ done }) => done({ closed: true }));
    });
    stranger.hello = await stranger.ask("connect", { ...(token === undefined ? {} : { token }), ...connect });
    stranger.asked.length = 0;
    return stranger;
  }

  #take(bytes) {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (;;) {
      const head = this.#rest.indexOf("\r\n\r\n");
      const length = /Content-Length: *(\d+)/i.exec(this.#rest.subarray(0, Math.max(head, 0)).toString("latin1"));
      if (!length) return;
      const end = head + 4 + Number(length[1]);
      if (this.#rest.length < end) return;
      this.#hear(this.#rest.subarray(head + 4, end).toString("utf8"));
      this.#rest = this.#rest.subarray(end);
    }
  }

  #hear(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      message = undefined; // kept as text
    }
    const waiting = message?.method === undefined ? this.#waiting.get(message?.id) : undefined;
    this.heard.push({ text: message === undefined ? text : JSON.stringify(message), message, said: waiting?.said ?? [] });
    if (!waiting) return;
    this.#waiting.delete(message.id);
    waiting.done("error" in message ? { error: message.error } : { result: message.result });
  }

  /** Sends `text` as the body of a frame; `id` is the request in it whose answer is waited for. */
  async say(text, { id, ms = 15_000, method = "raw", head } = {}) {
    const said = stringsIn(text);
    const asked = { method, said, answer: { silent: true } };
    this.asked.push(asked);
    const answer = new Promise((done) => this.#waiting.set(id, { done, said }));
    if (this.over) return (asked.answer = { closed: true });
    this.socket.write(head === undefined ? frame(text) : Buffer.concat([Buffer.from(head), Buffer.from(text)]));
    asked.answer = await within(method, answer, ms).catch(() => ({ silent: true }));
    return asked.answer;
  }

  /** A request: {result}, {error}, {closed: true} or, after `ms` milliseconds, {silent: true}. */
  ask(method, params, { ms } = {}) {
    const id = this.nextId();
    return this.say(JSON.stringify({ jsonrpc: "2.0", id, method, params }), { id, ms, method });
  }

  /** A notification, or an answer to a question that nobody asked it. */
  tell(message) {
    if (!this.over) this.socket.write(frame({ jsonrpc: "2.0", ...message }));
  }

  nextId() {
    return this.#next++ + 1_000; // far from the ids of server requests, which it forges elsewhere
  }

  /** What create and resume take, on the wire. */
  config(sessionId) {
    return { ...sessionConfig(this.model), onPermissionRequest: undefined, requestPermission: true, sessionId };
  }

  /** A session of its own, made once. */
  async own() {
    if (this.ownId === undefined) {
      this.ownId = randomUUID();
      await this.ask("session.create", this.config(this.ownId));
      this.asked.pop();
    }
    return this.ownId;
  }

  /** Whatever tells the marker: excerpts. Bytes that make no frame count as well. */
  leaks(marker) {
    const rest = { text: this.#rest.toString("utf8"), said: [] };
    return [...this.heard, rest].filter(({ text, said }) => tells(text, marker, said)).map(({ text }) => excerpt(text, marker));
  }

  /** True when a frame came of its own accord (no answer to this stranger) that holds `word`. */
  overheard(word) {
    return this.heard.some(({ message, text }) => message?.method !== undefined && text.includes(word));
  }

  close() {
    this.socket.destroy();
  }
}

const excerpt = (text, marker) => {
  const at = Math.max(text.indexOf(marker), 0);
  return `${text.slice(0, 120)} … ${text.slice(Math.max(at - 80, 0), at + 60)}`;
};
