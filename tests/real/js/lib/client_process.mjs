// A client in a process of its own, so that it can be killed: makes sessions, has a turn in some of them, says so, and stays.
//
// usage: node client_process.mjs ADDRESS TOKEN MODEL_URL [PROMPT=]SESSION...
// A prompt `hold KEY` is not waited for; a session without one is never sent anything.
import { connect, sessionConfig } from "./sdk.mjs";

const [address, token, baseUrl, ...sessions] = process.argv.slice(2);
const client = await connect(address, { token: token || undefined });
for (const named of sessions) {
  const [sessionId, prompt] = named.split("=").reverse();
  const session = await client.createSession(sessionConfig({ baseUrl }, { sessionId }));
  if (prompt?.startsWith("hold ")) await session.send({ prompt });
  else if (prompt) await session.sendAndWait({ prompt });
}
console.log("all there");
setInterval(() => {}, 60_000);
