// The chat service of the scaling guide, as one replica: start, message, end over HTTP, with the real SDK and a CLI of its own.
// It knows nothing of other replicas: a session that it did not start is unknown here.
//
// usage: node chat.mjs --name NAME --cli HOST:PORT --model URL     prints `chat on HOST:PORT`
import http from "node:http";
import { buffer } from "node:stream/consumers";
import { parseArgs } from "node:util";
import { connect, sessionConfig } from "../lib/sdk.mjs";

const option = { type: "string" };
const { values } = parseArgs({ options: { name: option, cli: option, model: option } });
const client = await connect(values.cli);
const sessions = new Map();

const routes = {
  async "/chat/start"({ sessionId }, user) {
    const config = sessionConfig({ baseUrl: values.model }, { sessionId, streaming: true });
    sessions.set(sessionId, await client.createSession(config));
    return { sessionId, user };
  },
  async "/chat/message"({ sessionId, prompt }) {
    const session = sessions.get(sessionId);
    if (!session) return undefined;
    const answer = await session.sendAndWait({ prompt });
    return { sessionId, answer: answer?.data.content };
  },
  async "/chat/end"({ sessionId }) {
    const session = sessions.get(sessionId);
    if (!session) return undefined;
    await session.disconnect();
    await client.deleteSession(sessionId);
    sessions.delete(sessionId);
    return { sessionId, ended: true };
  },
};

/** A turn, event by event, as they come. */
async function stream({ sessionId, prompt }, answer) {
  const session = sessions.get(sessionId);
  if (!session) return void answer.writeHead(404).end();
  answer.writeHead(200, { "content-type": "text/event-stream", "x-replica": values.name });
  const over = new Promise((done) => {
    const stop = session.on((event) => {
      answer.write(`event: ${event.type}\ndata: ${JSON.stringify(event.data ?? {})}\n\n`);
      if (event.type === "session.idle") done(stop);
    });
  });
  await session.send({ prompt });
  (await over)();
  answer.end();
}

const server = http.createServer(async (request, answer) => {
  try {
    const body = JSON.parse((await buffer(request)).toString() || "{}");
    const where = request.url.split("?")[0];
    if (where === "/chat/stream") return await stream(body, answer);
    const said = await (routes[where] ?? (() => undefined))(body, request.headers["x-user-id"]);
    answer.writeHead(said ? 200 : 404, { "content-type": "application/json", "x-replica": values.name });
    answer.end(JSON.stringify(said ?? { error: "unknown here" }));
  } catch (error) {
    answer.writeHead(500).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(`chat on 127.0.0.1:${server.address().port}`));
