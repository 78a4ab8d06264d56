// Leaving and coming back: drain, the process tree, a killed fairlead, a restart.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { startCli } from "./lib/cli.mjs";
import { BY_USER, fixedPool, managedPool, startFairlead } from "./lib/fairlead.mjs";
import { startModel } from "./lib/model.mjs";
import { processesMarked, stopAll } from "./lib/processes.mjs";
import { Clients, connect, sessionConfig, textOf } from "./lib/sdk.mjs";
import { assertRefused } from "./lib/session_errors.mjs";
import { failureOf, until, within } from "./lib/wait.mjs";

describe("fairlead leaves and comes back", { timeout: 300_000 }, () => {
  let model;
  const clients = new Clients();

  before(async () => {
    model = await startModel();
  });
  afterEach(() => clients.vanish());
  after(stopAll);

  const config = (extra) => sessionConfig(model, extra);
  const gone = (fairlead) =>
    until("nothing of it runs any more", () => processesMarked(fairlead.mark).length === 0, { ms: 30_000 });

  test("TERM: not ready at once, while whoever comes is still taken", async () => {
    const drain = { shutdown_delay: "60s" }; // it need not pass: a second TERM ends it
    const fairlead = await startFairlead({ pool: managedPool(model, { count: 1 }), identity: BY_USER, drain });
    fairlead.signal("SIGTERM");
    await until("/readyz says 503", () => fairlead.status("/readyz").then((status) => status === 503));
    assert.equal(await fairlead.status("/livez"), 200);
    const client = await clients.of(fairlead);
    const session = await client.createSession(config({ sessionId: "user-alice-delay" }));
    assert.match(textOf(await session.sendAndWait({ prompt: "still" })), /^You said "still"/);
    fairlead.signal("SIGTERM");
    const end = await within("fairlead leaves", fairlead.child.exited, 40_000);
    assert.deepEqual([end.code, end.signal], [0, null]);
    await gone(fairlead);
  });

  test("TERM in mid-turn: not ready, the turn completes, exit 0, nothing is left", async () => {
    const drain = { drain_timeout: "60s", shutdown_delay: "1s" };
    const fairlead = await startFairlead({ pool: managedPool(model, { count: 2 }), identity: BY_USER, drain });
    const client = await clients.of(fairlead);
    const session = await client.createSession(config({ sessionId: "user-alice-drain" }));
    const turn = session.sendAndWait({ prompt: "hold drain" }, 60_000);
    turn.catch(() => {}); // where the test fails earlier, that is the failure to show
    await model.holding("drain");

    fairlead.signal("SIGTERM");
    await until("/readyz says 503", () => fairlead.status("/readyz").then((status) => status === 503));
    assert.equal(await fairlead.status("/livez"), 200);
    const refused = await until("new sessions are refused", async () => {
      const outcome = await client.createSession(config({ sessionId: "user-alice-late" })).catch((error) => error);
      return outcome instanceof Error && outcome;
    });
    assertRefused(refused, "draining");
    await failureOf("a new connection", () => connect(fairlead.address), 15_000);
    assert.ok(fairlead.child.running, "it waits for the turn");

    await model.release("drain");
    assert.equal(textOf(await within("the turn", turn)), "holding and released drain");
    const end = await within("fairlead leaves", fairlead.child.exited, 40_000);
    assert.deepEqual([end.code, end.signal], [0, null]);
    await gone(fairlead);
  });

  test("a second TERM ends it now, and cleanly", async () => {
    const fairlead = await startFairlead({ pool: managedPool(model, { count: 1 }), identity: BY_USER });
    const client = await clients.of(fairlead);
    const session = await client.createSession(config({ sessionId: "user-alice-now" }));
    const turn = failureOf("the turn", () => session.sendAndWait({ prompt: "hold now" }, 60_000));
    turn.catch(() => {});
    await model.holding("now");
    fairlead.signal("SIGTERM");
    await until("/readyz says 503", () => fairlead.status("/readyz").then((status) => status === 503));
    assert.ok(fairlead.child.running);
    const start = Date.now();
    fairlead.signal("SIGTERM");
    await turn;
    await within("fairlead leaves", fairlead.child.exited, 20_000);
    assert.ok(Date.now() - start < 20_000);
    await gone(fairlead);
  });

  test("a drain that takes too long tells the client and leaves", async () => {
    const drain = { drain_timeout: "2s" };
    const cli = await startCli({ model });
    const fairlead = await startFairlead({ pool: fixedPool([cli]), identity: BY_USER, drain });
    const client = await clients.of(fairlead);
    const session = await client.createSession(config({ sessionId: "user-alice-long" }));
    const errors = [];
    session.on("session.error", (event) => errors.push(event.data.errorType));
    const turn = failureOf("the turn", () => session.sendAndWait({ prompt: "hold long" }, 60_000));
    turn.catch(() => {});
    await model.holding("long");
    fairlead.signal("SIGTERM");
    const { ms } = await turn;
    assert.ok(ms >= 1_500 && ms < 10_000, `the client was told after ${ms} ms`);
    assert.deepEqual(errors, ["draining"]);
    assert.equal((await within("fairlead leaves", fairlead.child.exited, 20_000)).code, 0);
    await cli.stop();
  });

  test("killed: its CLIs end with it or at its next start, and the next start serves", async () => {
    const first = await startFairlead({ pool: managedPool(model, { count: 2 }), identity: BY_USER });
    const before = first.clis().map(({ pid }) => pid);
    assert.equal(before.length, 2);
    first.signal("SIGKILL");
    await within("it is dead", first.child.exited, 5_000);
    const second = await startFairlead({ again: first.place });
    const now = second.clis().map(({ pid }) => pid);
    assert.deepEqual(now.filter((pid) => before.includes(pid)), [], "none of the old CLIs runs");
    assert.equal(now.length, 2);
    const client = await clients.of(second);
    const session = await client.createSession(config({ sessionId: "user-alice-second" }));
    assert.match(textOf(await session.sendAndWait({ prompt: "back" })), /^You said "back"/);
    await second.stop();
    await gone(second);
  });

  test("restarted in front of the same CLIs, it finds a session by asking them", async () => {
    const clis = await Promise.all([startCli({ model }), startCli({ model }), startCli({ model })]);
    const pool = fixedPool(clis, { balance: "round_robin" });
    const first = await startFairlead({ pool, identity: BY_USER });
    const client = await clients.of(first);
    const ids = ["user-a-kept", "user-b-kept", "user-c-kept"];
    for (const sessionId of ids) {
      const session = await client.createSession(config({ sessionId }));
      await session.sendAndWait({ prompt: "keep this" });
      await session.disconnect();
    }
    await first.stop();
    const second = await startFairlead({ again: first.place });
    const returned = await clients.of(second);
    for (const sessionId of ids) {
      const session = await returned.resumeSession(sessionId, config());
      const answer = textOf(await session.sendAndWait({ prompt: "have you?" }));
      assert.equal(answer, 'You said "have you?". I remember 1 earlier messages.');
    }
    const missing = await failureOf("resume", () => returned.resumeSession("user-a-never", config()));
    assertRefused(missing.error, "access_denied");
    await second.stop();
    for (const cli of clis) await cli.stop();
  });
});
