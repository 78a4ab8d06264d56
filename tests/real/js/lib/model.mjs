// The model server as a child, and its controls. No model: rules (see model_server.mjs).
import path from "node:path";
import { Child } from "./processes.mjs";
import { until } from "./wait.mjs";

/** Starts a model server on a free port. `baseUrl` is what a provider needs. */
export async function startModel({ port = 0 } = {}) {
  const script = path.join(import.meta.dirname, "..", "model_server.mjs");
  const child = new Child("model server", process.execPath, [script, "--port", String(port)]);
  const [, origin] = await child.says(/model server on (http:\S+)\/v1/);
  const ask = async (method, where) => {
    const answer = await fetch(`${origin}${where}`, { method, signal: AbortSignal.timeout(10_000) });
    if (!answer.ok) throw new Error(`model server: ${method} ${where}: ${answer.status}`);
    return await answer.json();
  };
  return {
    child,
    baseUrl: `${origin}/v1`,
    /** The keys of the turns that wait now. */
    held: () => ask("GET", "/held"),
    requests: () => ask("GET", "/requests"),
    /** Waits until a turn holds `key`. */
    holding: (key) =>
      until(`a turn holds ${key}`, async () => (await ask("GET", "/held")).includes(key)),
    release: (key) => ask("POST", `/release/${key}`),
    stop: () => child.stop(),
  };
}
