// Ids and frames made to be read in two ways: whoever checks one id and forwards another has lost. The form of a probe
// is told in probe.mjs. Written as text, because no serialiser writes them.
import { asks, told } from "./probe.mjs";

const METHOD = "session.getMessages";
const json = JSON.stringify;
const escaped = (text) => [...text].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");

// fairlead answers all of them, or closes. What a CLI alone does not answer is marked `silent`: that is not waited for long.
const limit = (silent, { gate }) => (silent && gate.open ? 1_500 : undefined);

/** A frame whose body is written by hand. `body(id, own, n)`: the victim's session, one's own, the request's id. */
const written = (name, body, rest = {}) => ({
  name: `${METHOD}: ${name}`,
  target: "live",
  bites: told,
  ...rest,
  run: async (stranger, { id }, site) => {
    const n = stranger.nextId();
    const own = await stranger.own();
    await stranger.say(body(id, own, n), { id: n, method: METHOD, ms: limit(rest.silent, site) });
  },
});

const request = (params, n, method = METHOD) => `{"jsonrpc":"2.0","id":${n},"method":"${method}","params":${params}}`;
const holds = { bare: "holds" };
const silent = { ...holds, silent: true };
const ownHistory = { ...holds, twin: "one's own history is told" };

const twice = [
  written("one's own id, then the victim's", (id, own, n) => request(`{"sessionId":${json(own)},"sessionId":${json(id)}}`, n)),
  written("the victim's id, then one's own", (id, own, n) => request(`{"sessionId":${json(id)},"sessionId":${json(own)}}`, n), ownHistory),
  written("own params, then the victim's", (id, own, n) =>
    `{"jsonrpc":"2.0","params":{"sessionId":${json(own)}},"id":${n},"method":"${METHOD}","params":{"sessionId":${json(id)}}}`),
  written("a harmless method, then another", (id, own, n) =>
    `{"jsonrpc":"2.0","method":"ping","id":${n},"method":"${METHOD}","params":{"sessionId":${json(id)}}}`),
  written("an escaped key, then a plain one", (id, own, n) => request(`{"session\\u0049d":${json(own)},"sessionId":${json(id)}}`, n)),
  written("a plain key, then an escaped one", (id, own, n) => request(`{"sessionId":${json(own)},"session\\u0049d":${json(id)}}`, n)),
  written("an escaped key alone", (id, own, n) => request(`{"session\\u0049d":${json(id)}}`, n)),
  written("an escaped id", (id, own, n) => request(`{"sessionId":"${escaped(id)}"}`, n)),
  written("an escaped method", (id, own, n) =>
    `{"jsonrpc":"2.0","id":${n},"m\\u0065thod":"${METHOD}","params":{"sessionId":${json(id)}}}`),
  written("a request that is also an answer", (id, own, n) =>
    `{"jsonrpc":"2.0","id":${n},"method":"${METHOD}","params":{"sessionId":${json(id)}},"result":{}}`),
  written("the victim's id beside params", (id, own, n) =>
    `{"jsonrpc":"2.0","id":${n},"method":"${METHOD}","sessionId":${json(id)},"params":{"sessionId":${json(own)}}}`, ownHistory),
  written("the victim's id one level deeper", (id, own, n) =>
    request(`{"sessionId":${json(own)},"params":{"sessionId":${json(id)}}}`, n), ownHistory),
  written("a batch", (id, own, n) => `[${request(`{"sessionId":${json(id)}}`, n)}]`, silent),
  written("deep nesting before the id", (id, own, n) =>
    request(`{"x":${"[".repeat(90)}${"]".repeat(90)},"sessionId":${json(id)}}`, n)),
  written("an array of params", (id, own, n) => request(`[{"sessionId":${json(id)}}]`, n), { bare: "any" }),
];

/** Two lengths in one header: who believes the other one sees another frame. */
const framed = [
  ["two lengths, the second is right", (n) => `Content-Length: 2\r\nContent-Length: ${n}\r\n\r\n`, {}],
  ["two lengths, the first is right", (n) => `Content-Length: ${n}\r\nContent-Length: 2\r\n\r\n`, silent],
  ["a length with a comma", (n) => `Content-Length: ${n}, 2\r\n\r\n`, {}],
  ["a length with leading zeros", (n) => `Content-Length: 000${n}\r\n\r\n`, {}],
  ["a length in hexadecimal", (n) => `Content-Length: 0x${n.toString(16)}\r\n\r\n`, silent],
].map(([name, head, rest]) => ({
  ...written(name, () => "", rest),
  run: async (stranger, { id }, site) => {
    const n = stranger.nextId();
    const body = request(`{"sessionId":${json(id)}}`, n);
    await stranger.say(body, { id: n, method: METHOD, head: head(Buffer.byteLength(body)), ms: limit(rest.silent, site) });
  },
}));

const CONFUSED = ["session.getMessages", "session.resume", "session.delete", "session.mode.get"];
const lookalikes = {
  "a Cyrillic letter": (id) => id.replace("h", "\u04bb"),
  "a fullwidth digit": (id) => id.replace(/\d/, (d) => String.fromCharCode(0xff10 + Number(d))),
  "a zero-width joiner": (id) => `${id.slice(0, 4)}\u200d${id.slice(4)}`,
  "a NUL": (id) => `${id}\u0000`,
  "a trailing space": (id) => `${id} `,
  "a leading dot and slash": (id) => `./${id}`,
  "a way up and down again": (id) => `x/../${id}`,
  "upper case": (id) => id.toUpperCase(),
  "all but the last character": (id) => id.slice(0, -1),
  "one character more": (id) => `${id}0`,
  "a longer id with a dash": (id) => `${id}-b`,
  "the part before the last dash": (id) => id.slice(0, id.lastIndexOf("-")),
  "a wildcard": (id) => `${id.slice(0, 6)}*`,
  "300 characters": (id) => id.padEnd(300, "a"),
};
const wrongTypes = {
  "an array": (id) => [id],
  "an object": (id) => ({ sessionId: id }),
  "nothing": () => "",
  "null": () => null,
  "a number": () => 0,
  "true": () => true,
};

const confused = Object.entries({ ...lookalikes, ...wrongTypes }).map(([name, of]) => ({
  name: `an id that is ${name}`,
  target: "live",
  run: async (stranger, { id }) => {
    for (const method of CONFUSED) await stranger.ask(method, { ...stranger.config(of(id)), sessionId: of(id) });
  },
  bites: ({ stranger, target }) => stranger.asked.some(({ answer }) => told({ answer, stranger, target })),
  bare: "holds",
}));

const neighbours = asks("the session `a` does not open `a-b`", "session.resume", {
  target: "stored",
  params: ({ id }) => ({ sessionId: id.slice(0, id.lastIndexOf("-")) }),
  bare: "holds",
});

export const confusing = [...twice, ...framed, ...confused, neighbours];
