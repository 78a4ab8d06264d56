// The HTTP listener with real parts: curl, a WebSocket client that passes the browsers' tests, a chat service on the real SDK and CLI.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:http2";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "undici";
import { startCli } from "./lib/cli.mjs";
import { curl } from "./lib/curl.mjs";
import { certificates, startFront } from "./lib/http_front.mjs";
import { startModel } from "./lib/model.mjs";
import { Child, stopAll } from "./lib/processes.mjs";
import { until, within } from "./lib/wait.mjs";

/** A program of `http/`, and where it listens. */
async function startScript(name, args) {
  const script = path.join(import.meta.dirname, "http", `${name}.mjs`);
  const child = new Child(`${name} ${args.join(" ")}`, process.execPath, [script, ...args]);
  const [, address] = await child.says(/ on (127\.0\.0\.1:\d+)/);
  return { child, address };
}

/** What may differ between an answer of the app and the same through fairlead. */
const OF_ONE_HOP = ["connection", "keep-alive", "transfer-encoding", "content-length", "date", "via"];
const endToEnd = ({ status, fields }) => ({
  status,
  fields: fields.filter(([name]) => !OF_ONE_HOP.includes(name)).sort((a, b) => (`${a}` < `${b}` ? -1 : 1)),
});

/** What is asked with curl, in each version of HTTP: arguments, with URL for where. */
const LONG = Buffer.alloc(1_500_000, "fairlead ");
const ASKED = {
  "a page": ["URL/cookies"],
  "a query": ["URL/cookies?a=b%20c&d=%C3%A9&e[]=f", "--globoff"],
  "a long answer": ["URL/long"],
  "an answer in chunks": ["URL/chunks"],
  "a part": ["--range", "1000-1999", "URL/long"],
  "a compressed answer": ["--compressed", "URL/gzip"],
  "a compressed answer as it is": ["--header", "Accept-Encoding: gzip", "URL/gzip"],
  "a head": ["--head", "URL/long"],
  "nothing": ["URL/empty"],
  "what is not new": ["--header", 'If-None-Match: "abc"', "URL/same"],
  "a redirect": ["URL/elsewhere"],
  "what is not there": ["URL/nowhere"],
};
/** The same for what can use an HTTP/2 connection again that it knew of beforehand: curl 7.88 cannot, whoever is at its other end. */
const SEVERAL = { "three things on one connection": ["URL/cookies", "-o", "/dev/null", "URL/long", "-o", "/dev/null", "URL/gzip"] };
const UPLOADED = {
  "a small body": { args: ["--data", "hello", "URL/echo"], body: "hello" },
  "a JSON body": { args: ["--json", '{"sessionId": "s-1"}', "URL/echo"], body: '{"sessionId": "s-1"}' },
  "a body that waits for leave": { args: ["--header", "Expect: 100-continue", "URL/echo"], input: LONG, body: LONG },
  "a body without a length": { args: ["--header", "Transfer-Encoding: chunked", "--request", "POST", "URL/echo"], input: LONG, body: LONG },
  "an empty body": { args: ["--request", "POST", "--data", "", "URL/echo"], body: "" },
};

describe("curl", { timeout: 240_000 }, () => {
  let app, fairlead, secure, tls;

  before(async () => {
    app = { name: "a", ...(await startScript("app", ["--name", "a"])) };
    tls = certificates();
    fairlead = await startFront({ servers: [app] });
    secure = await startFront({ servers: [app], listener: { tls: { certificate: tls.certificate, key: tls.key } } });
  });
  after(stopAll);

  const asked = (args, where, more) => args.map((arg) => arg.replace("URL", where)).concat(more);
  const ways = () => ({
    "HTTP/1.1": { where: fairlead.url, more: ["--http1.1"], version: "1.1" },
    "HTTP/1.0": { where: fairlead.url, more: ["--http1.0"], version: "1.1" },
    "h2, known beforehand": { where: fairlead.url, more: ["--http2-prior-knowledge"], version: "2" },
    "HTTP/1.1 over TLS": { where: secure.url, more: ["--http1.1", "--cacert", tls.ca], version: "1.1" },
    "h2 over TLS": { where: secure.url, more: ["--http2", "--cacert", tls.ca], version: "2" },
  });

  for (const way of ["HTTP/1.1", "HTTP/1.0", "h2, known beforehand", "HTTP/1.1 over TLS", "h2 over TLS"]) {
    test(`${way}: answers are those of the app`, async () => {
      const { where, more, version } = ways()[way];
      const all = way === "h2, known beforehand" ? ASKED : { ...ASKED, ...SEVERAL };
      for (const [what, args] of Object.entries(all)) {
        const direct = await curl(asked(args, `http://${app.address}`, ["--http1.1"]));
        const through = await curl(asked(args, where, more));
        assert.equal(through.code, 0, `${what}: ${through.stderr}`);
        assert.deepEqual(through.heads.map(endToEnd), direct.heads.map(endToEnd), what);
        // With --head curl writes the heads there as well.
        const same = args.includes("--head") || through.body.equals(direct.body);
        assert.ok(same, `${what}: ${through.body.length} bytes, not ${direct.body.length}`);
        assert.equal(through.version, version, what);
        if (way !== "HTTP/1.0") assert.equal(through.connects.reduce((a, b) => a + b), 1, `${what}: one connection`);
      }
    });

    test(`${way}: bodies reach the app whole`, async () => {
      const { where, more } = ways()[way];
      for (const [what, { args, input, body }] of Object.entries(UPLOADED)) {
        if (way === "HTTP/1.0" && args.includes("Transfer-Encoding: chunked")) continue; // there is no such thing
        const through = await curl(asked(args, where, more), { input });
        assert.equal(through.code, 0, `${what}: ${through.stderr}`);
        const told = JSON.parse(through.body);
        const hash = createHash("sha256").update(body).digest("hex");
        assert.deepEqual([told.length, told.hash], [Buffer.byteLength(body), hash], what);
        assert.equal(told.headers["transfer-encoding"] !== undefined && told.headers["content-length"] !== undefined, false, what);
      }
    });

    test(`${way}: each event comes when it is sent`, async () => {
      const { where, more } = ways()[way];
      const key = encodeURIComponent(way);
      const args = ["--silent", "--no-buffer", "--max-time", "60", ...more, `${where}/events?key=${key}`];
      const child = new Child("curl", "curl", args);
      for (const event of ["one", "two", "three"]) {
        // The app sends the next only when it is told to: so this one has come by itself.
        await child.says(`data: ${event}\n\n`);
        if (event !== "three") await until("it goes on", async () => (await fetch(`http://${app.address}/go?key=${key}`)).ok);
      }
      assert.equal((await within("the stream ends", child.exited)).code, 0);
      await child.stop();
    });
  }

  test("h2, known beforehand: three things on one connection of Node's client", async () => {
    const session = connect(fairlead.url);
    try {
      for (const target of ["/cookies", "/long", "/gzip"]) {
        const direct = await curl([`http://${app.address}${target}`]);
        const stream = session.request({ ":path": target });
        const [head] = await within("an answer", once(stream, "response"));
        const body = Buffer.concat(await within("its body", stream.toArray()));
        assert.equal(head[":status"], direct.status, target);
        assert.ok(body.equals(direct.body), `${target}: ${body.length} bytes, not ${direct.body.length}`);
      }
    } finally {
      session.close();
    }
  });

  test("an upgrade to h2c is not taken up, and the request is answered", async () => {
    const answer = await curl(["--http2", `${fairlead.url}/cookies`]);
    assert.deepEqual([answer.code, answer.status, answer.body.toString()], [0, 200, "ok"], answer.stderr);
  });

  test("a certificate that is not of the CA is no certificate", async () => {
    assert.equal((await curl([`${secure.url}/cookies`])).code, 60);
  });
});

describe("a WebSocket client", { timeout: 120_000 }, () => {
  let app, fairlead;

  before(async () => {
    app = { name: "a", ...(await startScript("app", ["--name", "a"])) };
    fairlead = await startFront({ servers: [app] });
  });
  after(stopAll);

  const where = () => fairlead.url.replace("http", "ws");

  /** An open socket whose messages can be waited for. */
  async function open(query = "", protocols = []) {
    const socket = new WebSocket(`${where()}/${query}`, protocols);
    socket.binaryType = "arraybuffer";
    const messages = [];
    const closed = new Promise((done) => socket.addEventListener("close", done));
    socket.addEventListener("message", ({ data }) => messages.push(data));
    socket.addEventListener("error", () => {}); // the close says it
    await within("it opens", Promise.race([new Promise((done) => socket.addEventListener("open", done)), closed]));
    const next = async (n = messages.length) => await until(`message ${n}`, () => n < messages.length && { data: messages[n] });
    return { socket, messages, closed, next };
  }

  /** Sends this and returns what comes back. */
  async function echoed({ socket, messages, next }, data) {
    const n = messages.length;
    socket.send(data);
    return (await next(n)).data;
  }

  test("text and bytes come back as they were, of any length", async () => {
    const link = await open();
    for (const text of ["", "hello", "Grüße ☃ 𝄞", "x".repeat(125), "x".repeat(126), "x".repeat(65_535), "x".repeat(65_536), "y".repeat(5_000_000)]) {
      assert.equal(await echoed(link, text), text);
    }
    for (const length of [0, 1, 125, 126, 65_535, 65_536, 5_000_000]) {
      const bytes = Uint8Array.from({ length }, (_, n) => n % 251);
      assert.deepEqual(new Uint8Array(await echoed(link, bytes)), bytes);
    }
    link.socket.close(1000);
    assert.deepEqual([(await link.closed).code, (await link.closed).wasClean], [1000, true]);
  });

  test("the protocol and the greeting are those of the server", async () => {
    const link = await open("?greet=1", ["one", "two"]);
    assert.equal(link.socket.protocol, "two");
    assert.equal((await link.next(0)).data, "hello from a");
    link.socket.close();
    await link.closed;
  });

  test("a ping of the server is answered by the client", async () => {
    const link = await open("?ping=1");
    assert.equal((await link.next(0)).data, "pong are you there?");
    link.socket.close();
    await link.closed;
  });

  test("a close of either side tells the other its code and reason", async () => {
    for (const [code, reason] of [[1000, "done"], [1001, "away"], [3000, "ours"], [4999, "ünïcode"]]) {
      const link = await open();
      link.socket.send(`close ${code} ${reason}`);
      const { code: told, reason: why, wasClean } = await within("it closes", link.closed);
      assert.deepEqual([told, why, wasClean], [code, reason, true]);
    }
    const link = await open();
    link.socket.close(4001, "bye");
    await within("the server hears of it", app.child.says("closed 4001 bye"));
  });

  test("a server that drops the connection is told as such", async () => {
    const link = await open();
    link.socket.send("terminate");
    const { code, wasClean } = await within("it closes", link.closed);
    assert.deepEqual([code, wasClean], [1006, false]);
  });

  test("a hundred links at once keep their messages apart", async () => {
    const links = await Promise.all(Array.from({ length: 100 }, () => open()));
    await Promise.all(links.map(async (link, n) => {
      for (let k = 0; k < 10; k += 1) assert.equal(await echoed(link, `${n}-${k}`), `${n}-${k}`);
      link.socket.close();
      await link.closed;
    }));
  });
});

describe("two replicas of a chat service, each with a CLI", { timeout: 300_000 }, () => {
  let model, replicas;

  before(async () => {
    model = await startModel();
    const start = async (name) => {
      const cli = await startCli({ model, name });
      const app = await startScript("chat", ["--name", name, "--cli", cli.address, "--model", model.baseUrl]);
      return { name, ...app };
    };
    replicas = await Promise.all(["one", "two"].map(start));
  });
  after(stopAll);

  const asked = async (front, where, body, more = []) => {
    const answer = await curl(["--json", JSON.stringify(body), ...more, `${front.url}${where}`]);
    assert.equal(answer.code, 0, answer.stderr);
    const replica = answer.heads.at(-1).fields.find(([name]) => name === "x-replica")?.[1];
    return { status: answer.status, replica, said: answer.status === 200 ? JSON.parse(answer.body) : undefined };
  };

  test("a session in the body goes to the replica that has it: start, message, end", async () => {
    const identity = { source: "json", pointer: "/sessionId" };
    const front = await startFront({ servers: replicas, pool: { balance: "consistent", affinity: "session" }, identity });
    const used = new Set();
    for (let n = 0; n < 8; n += 1) {
      const sessionId = `chat-${n}-body`;
      const version = [n % 2 ? "--http2-prior-knowledge" : "--http1.1"];
      const { status, replica } = await asked(front, "/chat/start", { sessionId }, version);
      assert.equal(status, 200);
      used.add(replica);
      for (const remembered of [0, 1]) {
        // The field anywhere in the body, and the body of any length.
        const message = await asked(front, "/chat/message", { padding: "p".repeat(remembered * 3_000), prompt: "hello", sessionId }, version);
        assert.deepEqual(message, { status: 200, replica, said: { sessionId, answer: `You said "hello". I remember ${remembered} earlier messages.` } });
      }
      const ended = await asked(front, "/chat/end", { sessionId }, version);
      assert.deepEqual(ended, { status: 200, replica, said: { sessionId, ended: true } });
      assert.equal((await asked(front, "/chat/message", { sessionId, prompt: "?" }, version)).status, 404);
    }
    assert.deepEqual([...used].sort(), ["one", "two"], "both replicas had some");
    await front.stop();
  });

  test("users named by a header land on fixed replicas", async () => {
    const identity = { source: "header", name: "x-user-id" };
    const front = await startFront({ servers: replicas, pool: { balance: "consistent", affinity: "user" }, identity });
    const home = new Map();
    for (let round = 0; round < 3; round += 1) {
      for (let n = 0; n < 12; n += 1) {
        const sessionId = `chat-${n}-header-${round}`;
        const header = ["--header", `X-User-Id: user-${n}`];
        const { status, replica, said } = await asked(front, "/chat/start", { sessionId }, header);
        assert.deepEqual([status, said.user], [200, `user-${n}`]);
        assert.equal(home.get(n) ?? replica, replica, `user-${n} stays`);
        home.set(n, replica);
        assert.equal((await asked(front, "/chat/end", { sessionId }, header)).replica, replica);
      }
    }
    assert.equal(new Set(home.values()).size, 2, "both replicas had users");
    await front.stop();
  });

  test("the events of a turn arrive while it runs", async () => {
    const identity = { source: "json", pointer: "/sessionId" };
    const front = await startFront({ servers: replicas, pool: { balance: "consistent", affinity: "session" }, identity });
    for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
      const sessionId = `chat-stream-${version.length}`;
      await asked(front, "/chat/start", { sessionId });
      const body = JSON.stringify({ sessionId, prompt: `hold ${sessionId}` });
      const child = new Child("curl", "curl", ["--silent", "--no-buffer", version, "--json", body, `${front.url}/chat/stream`]);
      await model.holding(sessionId);
      // The model has not answered yet: what is here was streamed.
      await child.says("event: assistant.turn_start");
      assert.ok(!child.stdout.includes("session.idle"));
      await model.release(sessionId);
      await child.says("event: session.idle");
      assert.match(child.stdout, /"content":"holding and released /);
      assert.equal((await within("the stream ends", child.exited)).code, 0);
      await child.stop();
    }
    await front.stop();
  });
});
