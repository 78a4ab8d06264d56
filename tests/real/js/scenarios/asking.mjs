// What the CLI asks of its client in mid-turn: tools, permissions, hooks, user input, prompt parts.
import assert from "node:assert/strict";
import { textOf, watch } from "../lib/sdk.mjs";

const parameters = {
  type: "object",
  properties: { a: { type: "number" }, b: { type: "number" } },
  required: ["a", "b"],
};
const addTool = (handler) => ({ name: "add", description: "Adds two numbers", parameters, handler, skipPermission: true });
const shell = (command) => `tool bash ${JSON.stringify({ command, description: "a test" })}`;

export const asking = {
  "a client tool is called and answers": async (stage) => {
    const client = await stage.client("alice");
    const calls = [];
    const add = addTool((args) => {
      calls.push(args);
      return String(args.a + args.b);
    });
    const session = await client.createSession(stage.config({ sessionId: "user-alice-tool", tools: [add] }));
    const answer = await session.sendAndWait({ prompt: 'tool add {"a":2,"b":40}' });
    assert.deepEqual(calls, [{ a: 2, b: 40 }]);
    assert.match(textOf(answer), /^The tool said: 42/);
    await session.disconnect();
  },

  "a client tool that fails tells the model": async (stage) => {
    const client = await stage.client("alice");
    const add = addTool(() => {
      throw new Error("no numbers today");
    });
    const session = await client.createSession(stage.config({ sessionId: "user-alice-toolfail", tools: [add] }));
    const answer = await session.sendAndWait({ prompt: 'tool add {"a":1,"b":1}' });
    assert.match(textOf(answer), /^The tool said: /);
    await session.disconnect();
  },

  "a permission is asked for, granted and refused": async (stage) => {
    const client = await stage.client("alice");
    const asked = [];
    const verdicts = [{ kind: "approve-once" }, { kind: "reject", feedback: "not today" }];
    const onPermissionRequest = (request) => {
      asked.push(request.kind);
      return verdicts[asked.length - 1];
    };
    const session = await client.createSession(stage.config({ sessionId: "user-alice-permit", onPermissionRequest }));
    const yes = await session.sendAndWait({ prompt: shell("mkdir granted") });
    assert.match(textOf(yes), /^The tool said: /);
    const no = await session.sendAndWait({ prompt: shell("mkdir refused") });
    assert.deepEqual(asked, ["shell", "shell"]);
    assert.notEqual(textOf(no), textOf(yes));
    await session.disconnect();
  },

  "hooks are asked before and after": async (stage) => {
    const client = await stage.client("alice");
    const calls = [];
    const note = (name, answer) => (input) => {
      calls.push([name, input.toolName ?? input.prompt]);
      return answer;
    };
    const hooks = {
      onUserPromptSubmitted: note("prompt", {}),
      onPreToolUse: note("before", { permissionDecision: "allow" }),
      onPostToolUse: note("after", {}),
    };
    const add = addTool((args) => String(args.a + args.b));
    const session = await client.createSession(stage.config({ sessionId: "user-alice-hook", tools: [add], hooks }));
    const prompt = 'tool add {"a":1,"b":2}';
    await session.sendAndWait({ prompt });
    assert.deepEqual(calls, [["prompt", prompt], ["before", "add"], ["after", "add"]]);
    await session.disconnect();
  },

  "the user is asked a question": async (stage) => {
    const client = await stage.client("alice");
    const asked = [];
    const onUserInputRequest = (request) => {
      asked.push(request.question);
      return { answer: "blue", wasFreeform: true };
    };
    const session = await client.createSession(stage.config({ sessionId: "user-alice-ask", onUserInputRequest }));
    const question = { question: "Which colour?", choices: ["blue", "red"] };
    const answer = await session.sendAndWait({ prompt: `tool ask_user ${JSON.stringify(question)}` });
    assert.deepEqual(asked, ["Which colour?"]);
    assert.match(textOf(answer), /blue/);
    await session.disconnect();
  },

  "a part of the system message is transformed by the client": async (stage) => {
    const client = await stage.client("alice");
    let asked = 0;
    const tone = {
      action: (content) => {
        asked += 1;
        return `${content}\nBe brief.`;
      },
    };
    const systemMessage = { mode: "customize", sections: { tone } };
    const session = await client.createSession(stage.config({ sessionId: "user-alice-system", systemMessage }));
    const seen = watch(session);
    await session.sendAndWait({ prompt: "hello" });
    assert.ok(asked >= 1);
    assert.match(seen.of("system.message")[0].data.content, /Be brief\./);
    await session.disconnect();
  },
};
