// Three managed CLIs behind one address: who gets which session, what is refused, what is measured.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { startCli } from "./lib/cli.mjs";
import { BY_USER, fixedPool, managedPool, startFairlead } from "./lib/fairlead.mjs";
import { Bare } from "./lib/frames.mjs";
import { startModel } from "./lib/model.mjs";
import { stopAll } from "./lib/processes.mjs";
import { connect, sessionConfig, stopClient, textOf } from "./lib/sdk.mjs";
import { assertRefused } from "./lib/session_errors.mjs";
import { failureOf, until } from "./lib/wait.mjs";

/** Users, as session ids name them. */
const NINE = Array.from({ length: 9 }, (_, n) => `u${n}`);

describe("three managed CLIs behind one address", { timeout: 240_000 }, () => {
  let model, fairlead, client;

  before(async () => {
    model = await startModel();
    fairlead = await startFairlead({ pool: managedPool(model, { balance: "round_robin" }), identity: BY_USER });
    client = await connect(fairlead.address);
  });
  after(async () => {
    await client?.forceStop();
    await stopAll();
  });

  const create = (sessionId) => client.createSession(sessionConfig(model, { sessionId }));
  const turnOf = async (sessionId, prompt) => textOf(await (await create(sessionId)).sendAndWait({ prompt }));

  test("sessions of one connection go to the CLIs in turn: of each nine, three to each", async () => {
    for (const purpose of ["first", "second"]) {
      const ids = NINE.map((user) => `user-${user}-${purpose}`);
      for (const sessionId of ids) await turnOf(sessionId, purpose);
      const pids = ids.map((sessionId) => fairlead.cliOf(sessionId).pid);
      assert.deepEqual(fairlead.clis().map(({ pid }) => pids.filter((own) => own === pid).length), [3, 3, 3]);
    }
  });

  test("a list shows the sessions of all CLIs, each once", async () => {
    const ids = (await client.listSessions()).map(({ sessionId }) => sessionId);
    assert.equal(new Set(ids).size, ids.length);
    for (let n = 0; n < 9; n += 1) assert.ok(ids.includes(`user-u${n}-first`), `user-u${n}-first is listed`);
  });

  test("create of an existing id resumes it, with its history, where it was", async () => {
    const sessionId = "user-again-chat";
    const session = await create(sessionId);
    await session.sendAndWait({ prompt: "remember" });
    const { pid, home } = fairlead.cliOf(sessionId);
    await session.disconnect();
    assert.equal(await turnOf(sessionId, "do you?"), 'You said "do you?". I remember 1 earlier messages.');
    assert.equal(fairlead.cliOf(sessionId).pid, pid);
    const events = fs.readFileSync(path.join(home, "session-state", sessionId, "events.jsonl"), "utf8");
    assert.equal(events.split('"type":"session.start"').length - 1, 1, "it was started once");
  });

  test("an unknown session is answered -32042, whatever is asked of it", async () => {
    const nobody = "user-nobody-chat";
    const resumed = await failureOf("resume", () => client.resumeSession(nobody, sessionConfig(model)));
    assertRefused(resumed.error, "access_denied");
    const bare = await Bare.open(fairlead.address);
    const quiet = ["session.getMetadata", "session.detach", "session.destroy", "session.delete"]; // a CLI says no error
    for (const method of ["session.send", "session.mode.get", "session.getMessages", "session.abort", ...quiet]) {
      const { error } = await failureOf(method, () => bare.request(method, { sessionId: nobody, prompt: "hello" }));
      assertRefused(error, "access_denied");
    }
    bare.close();
  });

  test("a prefix of a UUID neither resumes nor deletes", async () => {
    const sessionId = randomUUID();
    const session = await create(sessionId);
    await session.sendAndWait({ prompt: "mine" });
    const bare = await Bare.open(fairlead.address);
    for (const length of [7, 8, 12, 13, 35]) {
      const prefix = sessionId.slice(0, length);
      const params = { ...sessionConfig(model), sessionId: prefix, onPermissionRequest: undefined };
      const resumed = await failureOf(`resume of ${prefix}`, () => bare.request("session.resume", params));
      assertRefused(resumed.error, "access_denied");
      // The CLI itself answers the deletion of an unknown id with success: false.
      const deleted = await bare.request("session.delete", { sessionId: prefix }).catch((error) => ({ error }));
      if (deleted.error) assertRefused(deleted.error, "access_denied");
      else assert.equal(deleted.success, false);
    }
    bare.close();
    assert.equal(textOf(await session.sendAndWait({ prompt: "still" })), 'You said "still". I remember 1 earlier messages.');
  });

  test("methods that concern everybody are refused", async () => {
    const bare = await Bare.open(fairlead.address);
    const denied = ["runtime.shutdown", "sessions.pruneOld", "llmInference.setProvider", "sessions.open"];
    for (const method of denied) {
      const { error } = await failureOf(method, () => bare.request(method, {}));
      assertRefused(error, "method_denied");
    }
    bare.close();
    assert.equal(fairlead.clis().length, 3);
  });

  test("a method that no CLI knows is answered as a CLI answers it: newer SDKs ask and fall back", async () => {
    const bare = await Bare.open(fairlead.address);
    for (const method of ["session.sendAndWait", "no.such.method"]) {
      const { error } = await failureOf(method, () => bare.request(method, { sessionId: "user-u0-first" }));
      assert.equal(error.code, -32601);
      assert.match(error.text, new RegExp(`^Unhandled method ${method}`));
    }
    bare.close();
  });

  test("the metrics agree, and promtool finds nothing to say about them", async () => {
    const metrics = await fairlead.metrics();
    assert.equal(metrics.sum("fairlead_upstream_state", { pool: "copilots", state: "up" }), 3);
    assert.ok(metrics.sum("fairlead_session_placements_total") >= 18);
    assert.ok(metrics.sum("fairlead_sessions", { state: "live" }) >= 18);
    assert.ok(metrics.sum("fairlead_upstream_links") >= 3);
    const exposition = await fairlead.exposition();
    assert.ok(!/user-u\d|u\d"/.test(exposition), "no session or user in a label");
    const checked = spawnSync("promtool", ["check", "metrics"], { input: exposition, encoding: "utf8" });
    assert.equal(checked.error, undefined, "promtool is missing: apt-get install -y prometheus");
    assert.equal(checked.status, 0, `${checked.stdout}${checked.stderr}`);
    assert.equal(`${checked.stdout}${checked.stderr}`.trim(), "");
  });

  test("links go away with their clients", async () => {
    const before = (await fairlead.metrics()).sum("fairlead_upstream_links");
    const other = await connect(fairlead.address);
    const session = await other.createSession(sessionConfig(model, { sessionId: "user-guest-chat" }));
    await session.sendAndWait({ prompt: "hello" });
    assert.equal((await fairlead.metrics()).sum("fairlead_upstream_links"), before + 1);
    await stopClient(other);
    await until("the guest's link is closed", async () =>
      (await fairlead.metrics()).sum("fairlead_upstream_links") === before);
  });
});

describe("three managed CLIs whose users stick", { timeout: 120_000 }, () => {
  after(stopAll);

  test("each user's sessions go to one CLI, in whatever order they come, also over a new connection", async () => {
    const model = await startModel();
    // The bound on load would move a user's session where one CLI has most users; here it allows everything.
    const pool = managedPool(model, { balance: "consistent", affinity: "user", balance_factor: 100 });
    const fairlead = await startFairlead({ pool, identity: BY_USER });
    const pidsOf = async (client, purpose, users) => {
      for (const user of users) {
        const session = await client.createSession(sessionConfig(model, { sessionId: `user-${user}-${purpose}` }));
        await session.sendAndWait({ prompt: purpose });
      }
      return NINE.map((user) => fairlead.cliOf(`user-${user}-${purpose}`).pid);
    };
    const client = await connect(fairlead.address);
    const homes = await pidsOf(client, "first", NINE);
    assert.equal(new Set(homes).size, 3, "the users are spread over all CLIs");
    // In turn, these orders would put most of them elsewhere.
    assert.deepEqual(await pidsOf(client, "second", NINE.toReversed()), homes);
    await stopClient(client);
    const returned = await connect(fairlead.address);
    assert.deepEqual(await pidsOf(returned, "third", [...NINE.slice(4), ...NINE.slice(0, 4)]), homes);
    await stopClient(returned);
    assert.equal((await fairlead.metrics()).sum("fairlead_session_placements_total", { reason: "sticky" }), 27);
    await fairlead.stop();
  });
});

describe("a CLI behind a token", { timeout: 120_000 }, () => {
  after(stopAll);

  test("is opened by the pool's token, and its clients need none", async () => {
    const model = await startModel();
    const token = randomUUID();
    const cli = await startCli({ model, token });
    const pool = fixedPool([cli], { token: { env: "POOL_TOKEN" } });
    const fairlead = await startFairlead({ pool, env: { POOL_TOKEN: token } });
    const client = await connect(fairlead.address);
    const session = await client.createSession(sessionConfig(model, { sessionId: "user-alice-token" }));
    assert.match(textOf(await session.sendAndWait({ prompt: "open" })), /^You said "open"/);
    await stopClient(client);
    await fairlead.stop();
    assert.ok(!`${fairlead.child.stdout}${fairlead.child.stderr}`.includes(token), "the token is in no log");
  });

  test("takes nothing without it, and the client is told so", async () => {
    const model = await startModel();
    const cli = await startCli({ model, token: randomUUID() });
    const fairlead = await startFairlead({ pool: fixedPool([cli]), ready: false });
    const { error, ms } = await failureOf("connect", () => connect(fairlead.address));
    assert.match(String(error.message), /-32041|no .*CLI|upstream|copilot/i);
    assert.ok(ms < 15_000, `it was told after ${ms} ms`);
  });
});
