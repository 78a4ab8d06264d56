// CLIs that die or hang in mid-turn: the client hears it, typed and in time; nobody else is disturbed;
// no session is ever held by two CLIs.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { startCli } from "./lib/cli.mjs";
import { BY_USER, fixedPool, managedPool, startFairlead } from "./lib/fairlead.mjs";
import { Bare } from "./lib/frames.mjs";
import { startModel } from "./lib/model.mjs";
import { folder, stopAll } from "./lib/processes.mjs";
import { Clients, sessionConfig, textOf, watch } from "./lib/sdk.mjs";
import { assertRefused } from "./lib/session_errors.mjs";
import { failureOf, until } from "./lib/wait.mjs";

const OWN_TIMEOUT = 60_000; // what sendAndWait would wait for by itself
const SLACK = 1_500; // for fairlead on a busy machine

describe("a CLI that is lost in mid-turn", { timeout: 240_000 }, () => {
  let model;
  const clients = new Clients();

  before(async () => {
    model = await startModel();
  });
  afterEach(() => clients.vanish());
  after(stopAll);

  const config = (extra) => sessionConfig(model, extra);
  const sessionOf = (client, user) => client.createSession(config({ sessionId: `user-${user}-chat` }));

  /** Starts a turn that holds, lets `lose` happen, and returns after how many milliseconds fairlead told the client. */
  async function loseInMidTurn(session, key, lose) {
    const seen = watch(session);
    const failure = failureOf(`the turn ${key}`, () => session.sendAndWait({ prompt: `hold ${key}` }, OWN_TIMEOUT));
    failure.catch(() => {}); // where something fails earlier, that is the failure to show
    await model.holding(key);
    const asked = Date.now();
    const start = (await lose()) ?? asked;
    const { error } = await failure;
    const told = await seen.seen("session.error");
    const ms = Date.parse(told.timestamp) - start; // fairlead's own time: when the client came to read it is not its affair
    const idle = await seen.seen("session.idle");
    assert.equal(told.data.errorType, "upstream_lost");
    assert.equal(error.message, told.data.message);
    assert.equal(idle.data.aborted, true);
    assert.deepEqual([seen.of("session.error").length, seen.of("session.idle").length], [1, 1]);
    return ms;
  }

  test("killed: its turn fails at once and typed, the client's other sessions go on", async (t) => {
    const fairlead = await startFairlead({ pool: managedPool(model, { balance: "round_robin" }), identity: BY_USER });
    const client = await clients.of(fairlead);
    const sessions = [];
    for (const user of ["a", "b", "c"]) sessions.push(await sessionOf(client, user));
    for (const session of sessions) await session.sendAndWait({ prompt: "warm" });
    const [victim, ...others] = sessions;
    const { pid } = fairlead.cliOf(victim.sessionId);
    assert.equal(new Set(sessions.map(({ sessionId }) => fairlead.cliOf(sessionId).pid)).size, 3);

    const running = others.map((session, n) => session.sendAndWait({ prompt: `hold other${n}` }, OWN_TIMEOUT));
    for (const turn of running) turn.catch(() => {});
    for (const n of running.keys()) await model.holding(`other${n}`);
    const ms = await loseInMidTurn(victim, "killed", () => void process.kill(pid, "SIGKILL"));
    t.diagnostic(`the turn of a killed CLI failed after ${ms} ms`);
    assert.ok(ms < 5_000, `it took ${ms} ms`);

    for (const n of running.keys()) await model.release(`other${n}`);
    const answers = (await Promise.all(running)).map(textOf);
    assert.deepEqual(answers, ["holding and released other0", "holding and released other1"]);
    const later = await failureOf("a later send", () => victim.send({ prompt: "anybody?" }));
    assertRefused(later.error, "upstream_lost", "session_lost");

    await until("the CLI is replaced", () => {
      const pids = fairlead.clis().map((cli) => cli.pid);
      return pids.length === 3 && !pids.includes(pid);
    }, { ms: 60_000 });
    await fairlead.stop();
  });

  test("killed, on shared storage: the session goes on elsewhere with its history", async () => {
    const pool = managedPool(model, { count: 2, home: "pool", storage: "shared", balance: "round_robin" });
    const fairlead = await startFairlead({ pool, identity: BY_USER });
    const client = await clients.of(fairlead);
    const session = await sessionOf(client, "moved");
    await session.sendAndWait({ prompt: "first" });
    const seen = watch(session);
    const turn = failureOf("the turn", () => session.sendAndWait({ prompt: "hold moved" }, OWN_TIMEOUT));
    turn.catch(() => {});
    await model.holding("moved");
    const holder = holderOf(fairlead.clis(), session.sessionId);
    await written(holder.home, session.sessionId, "hold moved");
    process.kill(holder.pid, "SIGKILL");
    await turn;
    assert.equal((await seen.seen("session.error")).data.errorType, "upstream_lost");
    const resumed = await until("the session is resumed", () =>
      client.resumeSession(session.sessionId, config()), { ms: 30_000, every: 500 });
    assert.match(textOf(await resumed.sendAndWait({ prompt: "after" })), /I remember 2 earlier messages/);
    await fairlead.stop();
  });

  test("hung: its turn fails within dead_after + interval, and never do two CLIs hold the session", async (t) => {
    const home = folder("shared");
    const clis = [await startCli({ model, home }), await startCli({ model, home })];
    // A probe is failed late, so that the other CLI may be busy; when links are lost is a matter of `dead_after` alone.
    const health = { interval: "500ms", timeout: "2s", rise: 1, fall: 2, dead_after: "3s" };
    const pool = fixedPool(clis, { storage: "shared", balance: "round_robin", health });
    const fairlead = await startFairlead({ pool, identity: BY_USER });
    const client = await clients.of(fairlead);
    const session = await sessionOf(client, "hung");
    await session.sendAndWait({ prompt: "first" });
    const holder = holderOf(clis, session.sessionId);
    const other = clis.find(({ pid }) => pid !== holder.pid);

    const ms = await loseInMidTurn(session, "hung", async () => {
      await written(home, session.sessionId, "hold hung");
      const stopped = Date.now();
      holder.child.signal("SIGSTOP");
      return stopped;
    });
    t.diagnostic(`the turn of a hung CLI failed after ${ms} ms (dead_after 3000, interval 500)`);
    assert.ok(ms >= 2_000, `not before it was surely dead: ${ms} ms`);
    assert.ok(ms <= 3_500 + SLACK, `it took ${ms} ms`);

    await until("the other CLI is up", async () =>
      (await fairlead.metrics()).sum("fairlead_upstream_state", { upstream: other.address, state: "up" }) === 1);
    const resumed = await client.resumeSession(session.sessionId, config());
    assert.match(textOf(await resumed.sendAndWait({ prompt: "after" })), /^You said "after"/);
    holder.child.signal("SIGCONT");
    const late = await Bare.open(holder.address);
    await until("the woken CLI lets go of the session", () =>
      late.request("session.mode.get", { sessionId: session.sessionId }).then(() => false, () => true));
    late.close();
    const still = await Bare.open(other.address);
    await still.request("session.mode.get", { sessionId: session.sessionId });
    still.close();
    assert.match(textOf(await resumed.sendAndWait({ prompt: "and on" })), /^You said "and on"/);
    const events = fs.readFileSync(path.join(home, "session-state", session.sessionId, "events.jsonl"), "utf8");
    const said = events.trim().split("\n").map(JSON.parse).filter(({ type }) => type === "user.message");
    assert.deepEqual(said.map(({ data }) => data.content), ["first", "hold hung", "after", "and on"]);
    await fairlead.stop();
  });
});

/**
 * Waits until the prompt is on disk: a CLI writes a moment after it says, and what a killed one had not written is gone.
 * (A stopped one writes it when it wakes, behind what another CLI wrote meanwhile.)
 */
function written(home, sessionId, prompt) {
  const file = path.join(home, "session-state", sessionId, "events.jsonl");
  return until(`"${prompt}" is written`, () => fs.readFileSync(file, "utf8").includes(prompt));
}

/** The CLI that holds the session's lock; needed where several share a home. */
function holderOf(clis, sessionId) {
  const [{ home }] = clis;
  const locks = fs.readdirSync(path.join(home, "session-state", sessionId)).join(" ");
  const holders = clis.filter(({ pid }) => locks.includes(`.${pid}.`));
  if (holders.length !== 1) throw new Error(`${holders.length} CLIs hold ${sessionId}: ${locks}`);
  return holders[0];
}
