// A small OpenAI-compatible model server for tests and the quickstart: no model, just rules.
//
// POST /v1/chat/completions answers from the last user message:
//   tool NAME {JSON}   calls that tool once, then says what the tool answered
//   hold KEY           says "holding", then waits for POST /release/KEY (at most 120 s)
//   stream N MS        says N words, MS milliseconds apart
//   anything else      `You said "...". I remember N earlier messages.`
// GET  /v1/models      one model, "fake"
// GET  /held           the keys that wait now
// GET  /requests       how many completions were asked for, and cancelled
//
// usage: node model_server.mjs [--port N] [--host 127.0.0.1]     prints `model server on http://HOST:PORT/v1`
import http from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    host: { type: "string", default: "127.0.0.1" },
  },
});

const HOLD_LIMIT_MS = 120_000;
const held = new Map(); // key -> Set of release callbacks
const released = new Set(); // keys released before anybody held them
const count = { completions: 0, cancelled: 0 };

const textOf = (content) =>
  typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join("");

// The CLI wraps what the user typed in context blocks; the directive is what is left.
const promptOf = (message) =>
  textOf(message.content)
    .replace(/<(current_datetime|reminder|system_reminder|system_notification)>[\s\S]*?<\/\1>/g, "")
    .trim();

function plan(messages) {
  const users = messages.filter((m) => m.role === "user");
  const last = messages.at(-1) ?? {};
  const prompt = users.length ? promptOf(users.at(-1)) : "";
  if (last.role === "tool") return { say: `The tool said: ${textOf(last.content)}` };
  const tool = /^tool (\S+) (\{[\s\S]*\})$/.exec(prompt);
  if (tool) return { tool: { name: tool[1], args: tool[2] } };
  const hold = /^hold (\S+)/.exec(prompt);
  if (hold) return { hold: hold[1] };
  const stream = /^stream (\d+) (\d+)/.exec(prompt);
  if (stream) return { stream: { words: Number(stream[1]), ms: Number(stream[2]) } };
  return { say: `You said "${prompt}". I remember ${users.length - 1} earlier messages.` };
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function hold(key, res) {
  if (released.delete(key)) return Promise.resolve();
  return new Promise((done) => {
    const set = held.get(key) ?? held.set(key, new Set()).get(key);
    const finish = () => {
      clearTimeout(timer);
      set.delete(finish);
      if (set.size === 0) held.delete(key);
      done();
    };
    const timer = setTimeout(finish, HOLD_LIMIT_MS);
    set.add(finish);
    res.once("close", finish);
  });
}

// The parts of an answer as they become known: { content } or { tool_calls }.
async function* partsOf(step, call, res) {
  if (step.tool) {
    yield { tool_calls: [call] };
  } else if (step.hold) {
    yield { content: "holding " };
    await hold(step.hold, res);
    yield { content: `and released ${step.hold}` };
  } else if (step.stream) {
    for (let n = 1; n <= step.stream.words && !res.destroyed; n += 1) {
      yield { content: `word${n} ` };
      await sleep(step.stream.ms);
    }
  } else {
    for (const word of step.say.match(/\S+\s*/g) ?? []) yield { content: word };
  }
}

let serial = 0;
async function complete(body, res) {
  count.completions += 1;
  const nth = ++serial;
  res.once("close", () => {
    if (!res.writableFinished) count.cancelled += 1;
  });
  const step = plan(body.messages ?? []);
  const call = step.tool && {
    index: 0,
    id: `call_${nth}`,
    type: "function",
    function: { name: step.tool.name, arguments: step.tool.args },
  };
  const finish_reason = step.tool ? "tool_calls" : "stop";
  const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
  const answer = (kind, choice, extra) => ({
    id: `chatcmpl-${nth}`,
    object: kind,
    created: 1_700_000_000,
    model: body.model ?? "fake",
    choices: [{ index: 0, ...choice }],
    ...extra,
  });
  const parts = partsOf(step, call, res);
  if (body.stream) await stream(parts, finish_reason, usage, answer, res);
  else await whole(parts, finish_reason, usage, answer, res);
}

async function whole(parts, finish_reason, usage, answer, res) {
  const message = { role: "assistant", content: "" };
  for await (const part of parts) {
    if (part.tool_calls) Object.assign(message, { content: null, tool_calls: part.tool_calls });
    else message.content += part.content;
  }
  json(res, answer("chat.completion", { message, finish_reason }, { usage }));
}

async function stream(parts, finish_reason, usage, answer, res) {
  res.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  const send = (delta, reason = null, extra = {}) => {
    const chunk = answer("chat.completion.chunk", { delta, finish_reason: reason }, extra);
    res.write(`data: ${JSON.stringify(chunk)}\n\n`);
  };
  send({ role: "assistant", content: "" });
  for await (const part of parts) send(part);
  send({}, finish_reason, { usage });
  res.end("data: [DONE]\n\n");
}

const json = (res, value, status = 200) => {
  res.writeHead(status, { "content-type": "application/json" });
  res.end(JSON.stringify(value));
};

const server = http.createServer((req, res) => {
  const path = new URL(req.url, "http://localhost").pathname;
  const release = /^\/release\/(.+)$/.exec(path);
  if (req.method === "GET" && path === "/v1/models") {
    return json(res, { object: "list", data: [{ id: "fake", object: "model" }] });
  }
  if (req.method === "GET" && path === "/held") return json(res, [...held.keys()]);
  if (req.method === "GET" && path === "/requests") return json(res, count);
  if (req.method === "POST" && release) {
    const waiting = [...(held.get(release[1]) ?? [])];
    if (waiting.length === 0) released.add(release[1]);
    waiting.forEach((finish) => finish());
    return json(res, { released: waiting.length });
  }
  if (req.method === "POST" && path.endsWith("/chat/completions")) {
    const parts = [];
    req.on("data", (part) => parts.push(part));
    req.on("end", () => {
      let body;
      try {
        body = JSON.parse(Buffer.concat(parts).toString("utf8"));
      } catch {
        return json(res, { error: { message: "the body is not JSON" } }, 400);
      }
      complete(body, res).catch((error) => res.destroy(error));
    });
    return undefined;
  }
  return json(res, { error: { message: `no such path: ${req.method} ${path}` } }, 404);
});

server.listen(Number(values.port), values.host, () => {
  console.log(`model server on http://${values.host}:${server.address().port}/v1`);
});
