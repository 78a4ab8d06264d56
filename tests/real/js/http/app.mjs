// A small HTTP server for curl and WebSocket clients, and nothing more: what it answers is what it was asked.
//
// usage: node app.mjs --name NAME     prints `app on HOST:PORT`
import { createHash } from "node:crypto";
import http from "node:http";
import { buffer } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { WebSocketServer } from "ws";

const { values } = parseArgs({ options: { name: { type: "string", default: "app" } } });
const LONG = Buffer.alloc(3_000_000, "0123456789abcdef");
const waiting = new Map(); // event streams that wait to go on

const routes = {
  /** What was asked. */
  async "/echo"(request, answer) {
    const body = await buffer(request);
    const hash = createHash("sha256").update(body).digest("hex");
    const told = { app: values.name, method: request.method, url: request.url, headers: request.headers, length: body.length, hash };
    answer.setHeader("content-type", "application/json");
    answer.setHeader("x-app", values.name);
    answer.end(JSON.stringify(told));
  },
  "/long"(request, answer) {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    if (!range) return answer.end(LONG);
    const [from, to] = range.slice(1).map(Number);
    answer.writeHead(206, { "content-range": `bytes ${from}-${to}/${LONG.length}`, "content-length": to - from + 1 });
    return answer.end(LONG.subarray(from, to + 1));
  },
  async "/chunks"(_, answer) {
    for (let n = 0; n < 300; n += 1) answer.write(LONG.subarray(0, n * 37));
    answer.end();
  },
  "/gzip"(_, answer) {
    answer.writeHead(200, { "content-encoding": "gzip", "content-type": "text/plain" });
    answer.end(gzipSync(LONG.subarray(0, 100_000)));
  },
  "/cookies"(_, answer) {
    answer.writeHead(200, { "set-cookie": ["a=1; Path=/", "b=2; HttpOnly"] });
    answer.end("ok");
  },
  "/empty"(_, answer) {
    answer.writeHead(204).end();
  },
  "/same"(request, answer) {
    const etag = '"abc"';
    answer.writeHead(request.headers["if-none-match"] === etag ? 304 : 200, { etag });
    answer.end(request.headers["if-none-match"] === etag ? undefined : "new");
  },
  "/elsewhere"(_, answer) {
    answer.writeHead(302, { location: "/echo" }).end();
  },
  /** Three events; each of the last two is sent when /go/KEY is asked for. */
  async "/events"(request, answer) {
    const key = new URL(request.url, "http://x").searchParams.get("key");
    answer.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of ["one", "two", "three"]) {
      answer.write(`data: ${event}\n\n`);
      if (event !== "three") await new Promise((go) => waiting.set(key, go));
    }
    answer.end();
  },
  "/go"(request, answer) {
    const key = new URL(request.url, "http://x").searchParams.get("key");
    const go = waiting.get(key);
    waiting.delete(key);
    go?.();
    answer.writeHead(go ? 200 : 404).end();
  },
};

const server = http.createServer((request, answer) => {
  const route = routes[request.url.split("?")[0]];
  if (route) return void route(request, answer);
  answer.writeHead(404).end("no such route");
});

const sockets = new WebSocketServer({ server, handleProtocols: (wanted) => [...wanted].at(-1), maxPayload: 64 << 20 });
sockets.on("connection", (socket, request) => {
  const { searchParams } = new URL(request.url, "http://x");
  if (searchParams.has("greet")) socket.send(`hello from ${values.name}`);
  if (searchParams.has("ping")) socket.ping("are you there?");
  socket.on("pong", (data) => socket.send(`pong ${data}`));
  socket.on("message", (data, isBinary) => {
    const text = isBinary ? "" : data.toString();
    const close = /^close (\d+) (.*)$/.exec(text);
    if (close) return socket.close(Number(close[1]), close[2]);
    if (text === "terminate") return socket.terminate();
    if (text === "who") return socket.send(JSON.stringify(request.headers));
    return socket.send(data, { binary: isBinary });
  });
  socket.on("close", (code, reason) => console.log(`closed ${code} ${reason}`));
  socket.on("error", () => {}); // the close says it
});

server.listen(0, "127.0.0.1", () => console.log(`app on 127.0.0.1:${server.address().port}`));
