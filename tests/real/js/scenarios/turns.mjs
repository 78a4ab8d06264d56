// Turns: send, wait, stream, queue, steer, abort. Each asserts what a user would see.
import assert from "node:assert/strict";
import { textOf, watch } from "../lib/sdk.mjs";

export const turns = {
  "a turn is created, sent and answered": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config({ sessionId: "user-alice-first" }));
    const answer = await session.sendAndWait({ prompt: "hello" });
    assert.equal(textOf(answer), 'You said "hello". I remember 0 earlier messages.');
    const again = await session.sendAndWait({ prompt: "still there?" });
    assert.equal(textOf(again), 'You said "still there?". I remember 1 earlier messages.');
    const history = await session.getEvents();
    assert.equal(history.filter((event) => event.type === "assistant.message").length, 2);
    await session.disconnect();
  },

  "a session without a chosen id gets one": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config());
    assert.match(session.sessionId, /^[0-9a-f-]{36}$/);
    const answer = await session.sendAndWait({ prompt: "who am I?" });
    assert.equal(textOf(answer), 'You said "who am I?". I remember 0 earlier messages.');
    await session.disconnect();
  },

  "an answer streams in order": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config({ sessionId: "user-alice-stream", streaming: true }));
    const seen = watch(session);
    const answer = await session.sendAndWait({ prompt: "stream 8 20" });
    const deltas = seen.of("assistant.message_delta").map((event) => event.data.deltaContent);
    assert.ok(deltas.length >= 2, `it came in ${deltas.length} parts`);
    assert.equal(deltas.join("").trim(), "word1 word2 word3 word4 word5 word6 word7 word8");
    assert.equal(textOf(answer).trim(), deltas.join("").trim());
    await session.disconnect();
  },

  "two queued sends wait for the running turn": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config({ sessionId: "user-alice-queue" }));
    const seen = watch(session);
    await session.send({ prompt: "hold queue" });
    await stage.model.holding("queue");
    await session.send({ prompt: "second" });
    await session.send({ prompt: "third" });
    await stage.model.release("queue");
    await seen.seen("session.idle");
    assert.deepEqual(
      seen.of("assistant.message").map(textOf),
      [
        "holding and released queue",
        'You said "second". I remember 1 earlier messages.',
        'You said "third". I remember 2 earlier messages.',
      ],
    );
    assert.equal(seen.of("session.idle").length, 1);
    await session.disconnect();
  },

  "a steering message joins the running turn": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config({ sessionId: "user-alice-steer" }));
    const seen = watch(session);
    await session.send({ prompt: "hold steer" });
    await stage.model.holding("steer");
    await session.send({ prompt: "turn left", mode: "immediate" });
    await stage.model.release("steer");
    await seen.seen("session.idle");
    assert.equal(textOf(seen.of("assistant.message").at(-1)), 'You said "turn left". I remember 1 earlier messages.');
    await session.disconnect();
  },

  "an aborted turn ends and the next one works": async (stage) => {
    const client = await stage.client("alice");
    const session = await client.createSession(stage.config({ sessionId: "user-alice-abort" }));
    const seen = watch(session);
    await session.send({ prompt: "hold abort" });
    await stage.model.holding("abort");
    await session.abort();
    const idle = await seen.seen("session.idle");
    assert.equal(idle.data.aborted, true);
    const answer = await session.sendAndWait({ prompt: "and now?" });
    assert.match(textOf(answer), /^You said "and now\?"/);
    await session.disconnect();
  },
};
