// Sessions that live as long as their client, and sessions that outlive everything: on the disks of real CLIs.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { sessionsOnDisk, startCli } from "./lib/cli.mjs";
import { fixedPool, managedPool, startFairlead } from "./lib/fairlead.mjs";
import { startModel } from "./lib/model.mjs";
import { Child, folder, stopAll } from "./lib/processes.mjs";
import { connect, sessionConfig, textOf } from "./lib/sdk.mjs";
import { assertRefused } from "./lib/session_errors.mjs";
import { failureOf, until, within } from "./lib/wait.mjs";

const GRACE = 2_000;
/** What a CLI and this machine may need for one deletion. */
const MARGIN = 8_000;

/** Alice and Bob, by tokens `alice-token` and `bob-token`. */
function byToken() {
  const file = path.join(folder("tokens"), "tokens.toml");
  const entry = (user) => {
    const sha256 = createHash("sha256").update(`${user}-token`).digest("hex");
    return `[[token]]\nuser = "${user}"\nsha256 = "${sha256}"\n`;
  };
  fs.writeFileSync(file, ["alice", "bob"].map(entry).join("\n"));
  return { source: "token", tokens: { file } };
}

describe("ephemeral and persistent sessions", { timeout: 300_000 }, () => {
  let model;
  const clients = [];

  before(async () => {
    model = await startModel();
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) await client.forceStop();
  });
  after(stopAll);

  const open = async (fairlead, token) => {
    const client = await connect(fairlead.address, { token });
    clients.push(client);
    return client;
  };
  const config = (extra) => sessionConfig(model, extra);
  const killable = async (fairlead, token, ...sessions) => {
    const script = path.join(import.meta.dirname, "lib", "client_process.mjs");
    const args = [script, fairlead.address, token, model.baseUrl, ...sessions];
    const child = new Child("client", process.execPath, args);
    await child.says("all there");
    return child;
  };

  test("kill -9 of a client: its ephemeral sessions are gone from the disk within the grace, its others stay", async () => {
    const cli = await startCli({ model });
    const pool = fixedPool([cli], { ephemeral_grace: `${GRACE}ms` });
    const fairlead = await startFairlead({ pool, identity: byToken(), listener: { ephemeral_pattern: "tmp-.*" } });
    const sessions = ["hello=tmp-idle", "hold kill=tmp-busy", "tmp-unsent", "hello=kept"];
    const client = await killable(fairlead, "alice-token", ...sessions);
    await model.holding("kill");
    const there = () => sessionsOnDisk(cli.home).filter((name) => /^(tmp-|kept)/.test(name)).sort();
    assert.deepEqual(there(), ["kept", "tmp-busy", "tmp-idle", "tmp-unsent"]);

    const alice = await open(fairlead, "alice-token");
    const deleted = new Set();
    alice.onLifecycle("session.deleted", ({ sessionId }) => deleted.add(sessionId));
    const start = Date.now();
    client.signalGroup("SIGKILL");
    await within("the client is dead", client.exited, 5_000);
    await until("three are gone", () => there().length === 1, { ms: GRACE + MARGIN });
    assert.ok(Date.now() - start >= GRACE - 100, "not before the grace is over");
    assert.deepEqual(there(), ["kept"]);
    await until("their owner hears of it", () => deleted.size === 3);
    const gone = await failureOf("resume", () => alice.resumeSession("tmp-idle", config()));
    assertRefused(gone.error, "access_denied");
    const kept = await alice.resumeSession("kept", config());
    assert.match(textOf(await kept.sendAndWait({ prompt: "still?" })), /I remember 1 earlier messages/);
    await model.release("kill");
    assert.equal((await fairlead.metrics()).sum("fairlead_sessions_evicted_total", { reason: "ephemeral" }), 3);
    await fairlead.stop();
    await cli.stop();
  });

  test("a client that is back within the grace goes on", async () => {
    const cli = await startCli({ model });
    const pool = fixedPool([cli], { ephemeral_grace: "5s" });
    const fairlead = await startFairlead({ pool, listener: { sessions: "ephemeral" } });
    const client = await killable(fairlead, "", "hello=back");
    client.signalGroup("SIGKILL");
    await within("the client is dead", client.exited, 5_000);
    const again = await open(fairlead);
    const session = await again.resumeSession("back", config());
    assert.match(textOf(await session.sendAndWait({ prompt: "here" })), /I remember 1 earlier messages/);
    await again.forceStop();
    await until("it is gone", () => !sessionsOnDisk(cli.home).includes("back"), { ms: 5_000 + MARGIN });
    await fairlead.stop();
    await cli.stop();
  });

  test("a persistent session is resumed after a restart of fairlead and of its CLIs, by its owner alone", async () => {
    const listener = { sessions: "persistent", ephemeral_pattern: "tmp-.*" };
    const pool = managedPool(model, { count: 2, ephemeral_grace: "1s" });
    const first = await startFairlead({ pool, identity: byToken(), listener });
    const client = await open(first, "alice-token");
    for (const sessionId of ["hers", "tmp-hers"]) {
      const session = await client.createSession(config({ sessionId }));
      await session.sendAndWait({ prompt: "keep this" });
    }
    const homes = first.clis().map(({ home }) => home);
    const has = (id) => homes.some((home) => sessionsOnDisk(home).includes(id));
    const pids = first.clis().map(({ pid }) => pid);
    await first.stop();
    assert.ok(has("tmp-hers"), "nothing is begun while it leaves");

    const second = await startFairlead({ again: first.place });
    assert.ok(second.clis().every(({ pid }) => !pids.includes(pid)), "its CLIs are new");
    const [alice, bob] = [await open(second, "alice-token"), await open(second, "bob-token")];
    const refused = await failureOf("resume", () => bob.resumeSession("hers", config()));
    assertRefused(refused.error, "access_denied");
    assert.deepEqual((await bob.listSessions()).map(({ sessionId }) => sessionId), []);
    const session = await alice.resumeSession("hers", config());
    const answer = textOf(await session.sendAndWait({ prompt: "have you?" }));
    assert.equal(answer, 'You said "have you?". I remember 1 earlier messages.');
    await until("what the first one left is deleted", () => !has("tmp-hers"), { ms: 1_000 + MARGIN });
    assert.ok(has("hers"));
    await second.stop();
  });
});
