// Sessions as things: listed, looked up, left, resumed, forked, deleted, cut off.
import assert from "node:assert/strict";
import { failureOf } from "../lib/wait.mjs";
import { textOf, watch } from "../lib/sdk.mjs";

export const sessions = {
  "sessions are listed and looked up": async (stage) => {
    const client = await stage.client("alice");
    const ids = ["user-alice-list1", "user-alice-list2"];
    for (const sessionId of ids) {
      const session = await client.createSession(stage.config({ sessionId }));
      await session.sendAndWait({ prompt: `I am ${sessionId}` });
    }
    const listed = (await client.listSessions()).map((session) => session.sessionId);
    for (const id of ids) assert.ok(listed.includes(id), `${id} is listed`);
    const metadata = await client.getSessionMetadata(ids[0]);
    assert.equal(metadata.sessionId, ids[0]);
    assert.equal(await client.getLastSessionId(), ids[1]);
  },

  "a session that was left is resumed with its history": async (stage) => {
    const client = await stage.client("alice");
    const sessionId = "user-alice-resume";
    const session = await client.createSession(stage.config({ sessionId }));
    await session.sendAndWait({ prompt: "remember me" });
    await session.disconnect();
    const resumed = await client.resumeSession(sessionId, stage.config());
    const answer = await resumed.sendAndWait({ prompt: "do you?" });
    assert.equal(textOf(answer), 'You said "do you?". I remember 1 earlier messages.');
    await resumed.disconnect();
  },

  "a client that left comes back": async (stage) => {
    const sessionId = "user-alice-return";
    const before = await stage.client("before");
    const session = await before.createSession(stage.config({ sessionId }));
    await session.sendAndWait({ prompt: "I shall return" });
    await before.leave();
    const after = await stage.client("after");
    const resumed = await after.resumeSession(sessionId, stage.config());
    const answer = await resumed.sendAndWait({ prompt: "I did" });
    assert.equal(textOf(answer), 'You said "I did". I remember 1 earlier messages.');
    await resumed.disconnect();
  },

  "a session is forked, and the fork goes its own way": async (stage) => {
    const client = await stage.client("alice");
    const sessionId = "user-alice-fork";
    const session = await client.createSession(stage.config({ sessionId }));
    await session.sendAndWait({ prompt: "one" });
    const { sessionId: forkId } = await client.rpc.sessions.fork({ sessionId });
    assert.notEqual(forkId, sessionId);
    const fork = await client.resumeSession(forkId, stage.config());
    assert.equal(textOf(await fork.sendAndWait({ prompt: "two" })), 'You said "two". I remember 1 earlier messages.');
    assert.equal(textOf(await session.sendAndWait({ prompt: "2" })), 'You said "2". I remember 1 earlier messages.');
    await fork.disconnect();
    await client.deleteSession(forkId);
    await session.disconnect();
  },

  "a deleted session is gone": async (stage) => {
    const client = await stage.client("alice");
    const sessionId = "user-alice-delete";
    const session = await client.createSession(stage.config({ sessionId }));
    await session.sendAndWait({ prompt: "not for long" });
    await session.disconnect();
    await client.deleteSession(sessionId);
    // What is said of it from now on is fairlead's own (-32042): fleet.test.mjs asks.
    const listed = (await client.listSessions()).map((listedSession) => listedSession.sessionId);
    assert.ok(!listed.includes(sessionId));
  },

  "two sessions of one client run at the same time": async (stage) => {
    const client = await stage.client("alice");
    const one = await client.createSession(stage.config({ sessionId: "user-alice-both1" }));
    const two = await client.createSession(stage.config({ sessionId: "user-alice-both2" }));
    const first = one.sendAndWait({ prompt: "hold both" });
    await stage.model.holding("both");
    assert.match(textOf(await two.sendAndWait({ prompt: "meanwhile" })), /^You said "meanwhile"/);
    await stage.model.release("both");
    assert.equal(textOf(await first), "holding and released both");
    await one.disconnect();
    await two.disconnect();
  },
};

export const sharing = {
  "two clients on one session see the same turn": async (stage) => {
    const sessionId = "user-alice-shared";
    const alice = await stage.client("alice");
    const bob = await stage.client("bob");
    const hers = await alice.createSession(stage.config({ sessionId }));
    await hers.sendAndWait({ prompt: "first" });
    const his = await bob.resumeSession(sessionId, stage.config());
    const seen = [watch(hers), watch(his)];
    await his.send({ prompt: "from bob" });
    await Promise.all(seen.map((events) => events.seen("session.idle")));
    const turn = ({ events }) => {
      const ids = events.map((event) => event.id);
      return ids.slice(events.findIndex((event) => event.type === "user.message"));
    };
    assert.ok(turn(seen[0]).length > 5);
    assert.deepEqual(turn(seen[0]), turn(seen[1]));
    await his.disconnect();
    assert.match(textOf(await hers.sendAndWait({ prompt: "bob left" })), /remember 2 earlier/);
    await hers.disconnect();
  },

  "a turn goes on while one of its two clients vanishes": async (stage) => {
    const sessionId = "user-alice-vanish";
    const alice = await stage.client("alice");
    const bob = await stage.client("bob");
    const hers = await alice.createSession(stage.config({ sessionId }));
    await hers.sendAndWait({ prompt: "first" });
    await hers.send({ prompt: "hold vanish" });
    await stage.model.holding("vanish");
    const before = watch(hers);
    const his = await bob.resumeSession(sessionId, stage.config());
    const seen = watch(his);
    for (const type of ["session.resume", "session.tools_updated", "session.managed_settings_resolved"]) {
      await before.seen(type);
    }
    await alice.cut();
    await stage.model.release("vanish");
    await seen.seen("session.idle");
    assert.equal(textOf(seen.of("assistant.message").at(-1)), "holding and released vanish");
    await his.disconnect();
  },
};

export const refusals = {
  "what no SDK would send is answered alike": async (stage) => {
    const bare = await stage.bare("bare");
    const { error } = await failureOf("an unknown method", () => bare.request("no.such.method", {}));
    assert.equal(error.code, -32601);
    const strict = await failureOf("a connect with an unknown field", () => bare.request("connect", { colour: "red" }));
    assert.equal(strict.error.code, -32602);
    const token = await failureOf("a token where none is set", () => bare.request("connect", { token: "secret" }));
    assert.equal(token.error.code, -32003);
    const connected = await bare.request("connect", {});
    assert.equal(connected.protocolVersion, 3);
    const missing = await failureOf("a session method without id", () => bare.request("session.mode.get", {}));
    assert.equal(missing.error.code, -32603);
    bare.notify("no.such.notification", {});
    assert.equal((await bare.request("ping", { message: "still here" })).message, "pong: still here");
    bare.close();
  },
};
