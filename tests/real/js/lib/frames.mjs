// Content-Length frames, cut and made; and a bare JSON-RPC client for what no SDK will send.
import net from "node:net";
import { within } from "./wait.mjs";

/** One frame with its header, as every SDK and the CLI write it. */
export function frame(value) {
  const body = Buffer.from(typeof value === "string" ? value : JSON.stringify(value), "utf8");
  return Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]);
}

/** Cuts a byte stream into frames; calls `each` with the parsed body. Throws on what is no frame. */
export function cutter(each) {
  let rest = Buffer.alloc(0);
  return (bytes) => {
    rest = rest.length ? Buffer.concat([rest, bytes]) : bytes;
    for (;;) {
      const head = rest.indexOf("\r\n\r\n");
      if (head < 0) return;
      const match = /^Content-Length: (\d+)$/.exec(rest.subarray(0, head).toString("latin1"));
      if (!match) throw new Error(`not a header that an SDK takes: ${rest.subarray(0, head)}`);
      const end = head + 4 + Number(match[1]);
      if (rest.length < end) return;
      each(JSON.parse(rest.subarray(head + 4, end).toString("utf8")));
      rest = rest.subarray(end);
    }
  };
}

/** The error that a JSON-RPC answer carried. */
export class RpcError extends Error {
  name = "RpcError";
  constructor(method, { code, message, data }) {
    super(`${method}: ${code} ${message}`);
    Object.assign(this, { code, data, text: message });
  }
}

/** A bare connection: `request`, `notify`, `seen` (every frame that came), `closed`. */
export class Bare {
  #pending = new Map();
  #next = 0;
  seen = [];

  static async open(address, ms = 10_000) {
    const [host, port] = address.split(":");
    const bare = new Bare();
    bare.socket = net.connect(Number(port), host);
    await within(`a connection to ${address}`, new Promise((done, fail) => {
      bare.socket.once("connect", done);
      bare.socket.once("error", fail);
    }), ms);
    bare.socket.on("error", () => {});
    bare.closed = new Promise((done) => bare.socket.once("close", done));
    bare.closed.then(() => bare.#pending.forEach(({ fail }) => fail(new Error("the connection closed"))));
    bare.socket.on("data", cutter((message) => bare.#take(message)));
    return bare;
  }

  #take(message) {
    this.seen.push(message);
    const waiting = this.#pending.get(message.id);
    if (!waiting || message.method !== undefined) return;
    this.#pending.delete(message.id);
    if (message.error) waiting.fail(new RpcError(waiting.method, message.error));
    else waiting.done(message.result);
  }

  request(method, params, { ms = 30_000, id = this.#next++ } = {}) {
    const answer = new Promise((done, fail) => this.#pending.set(id, { method, done, fail }));
    this.socket.write(frame({ jsonrpc: "2.0", id, method, params }));
    return within(`an answer to ${method}`, answer, ms);
  }

  notify(method, params) {
    this.socket.write(frame({ jsonrpc: "2.0", method, params }));
  }

  close() {
    this.socket.destroy();
  }
}
