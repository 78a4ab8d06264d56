// The real Node SDK, pointed at an address; and watching what a session says.
// Never reaches into the SDK's private parts.
import { CopilotClient, RuntimeConnection, approveAll } from "@github/copilot-sdk";
import { until, within } from "./wait.mjs";

/** A started client of `address` ("host:port"). */
export async function connect(address, { token, ...options } = {}) {
  const connection = RuntimeConnection.forUri(address, token === undefined ? {} : { connectionToken: token });
  const client = new CopilotClient({ connection, ...options });
  await within(`a client starts at ${address}`, client.start());
  return client;
}

/** The clients that a suite opens; `vanish` is for its afterEach. */
export class Clients {
  #open = [];

  /** A started client of a fairlead. */
  async of({ address }) {
    const client = await connect(address);
    this.#open.push(client);
    return client;
  }

  /** All of them go, without a word. */
  async vanish() {
    for (const client of this.#open.splice(0)) await client.forceStop();
  }
}

/** What each create and resume needs to run without GitHub. */
export function sessionConfig(model, extra = {}) {
  return {
    model: "fake",
    provider: { type: "openai", baseUrl: model.baseUrl, apiKey: "test-key", wireApi: "completions" },
    onPermissionRequest: approveAll,
    ...extra,
  };
}

/** Collects a session's events from now on. */
export function watch(session) {
  const events = [];
  session.on((event) => events.push(event));
  return {
    events,
    of: (type) => events.filter((event) => event.type === type),
    /** Waits until `n` events of `type` were seen, and returns the last of them. */
    seen: (type, n = 1, ms = 30_000) =>
      until(`${n} x ${type} in ${session.sessionId}`, () => events.filter((e) => e.type === type)[n - 1], { ms }),
  };
}

/** The text of the last answer of a turn. */
export const textOf = (message) => message?.data?.content;

/** Stops a client and fails on what it could not clean up. */
export async function stopClient(client, ms = 15_000) {
  const errors = await within("the client stops", client.stop(), ms);
  if (errors.length) throw new AggregateError(errors, "the client could not stop cleanly");
}
