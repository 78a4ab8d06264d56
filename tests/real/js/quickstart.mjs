// What `make run` does: a model server when no provider is set, then fairlead with the native CLI in
// its PATH. Ctrl-C ends both, at once and cleanly; on TERM fairlead drains first, and the model server
// lives until then.
//
// usage: FAIRLEAD_BIN=... node quickstart.mjs conf/quickstart.toml
import { spawn } from "node:child_process";
import path from "node:path";
import { cliFolder } from "./lib/cli.mjs";
import { binary } from "./lib/fairlead.mjs";
import { startModel } from "./lib/model.mjs";
import { stopAll } from "./lib/processes.mjs";

/** Fixed, so that the script in the README can be pasted. */
const MODEL_PORT = 4319;

const config = process.argv[2] ?? "conf/quickstart.toml";
const env = { ...process.env, PATH: `${cliFolder()}${path.delimiter}${process.env.PATH}` };

if (!env.COPILOT_PROVIDER_BASE_URL) {
  const model = await startModel({ port: MODEL_PORT });
  Object.assign(env, { COPILOT_OFFLINE: "true", COPILOT_PROVIDER_BASE_URL: model.baseUrl });
  env.COPILOT_MODEL ??= "fake";
  console.log(`model server (no model: rules) on ${model.baseUrl}`);
} else if (!env.COPILOT_MODEL) {
  console.error("COPILOT_PROVIDER_BASE_URL is set, but not COPILOT_MODEL: which of its models? See the README.");
  process.exit(2);
}

// In a group of its own: Ctrl-C reaches it through us, once.
console.log(`fairlead run --config ${config}    (Ctrl-C ends it)`);
const fairlead = spawn(binary(), ["run", "--config", config], { env, stdio: "inherit", detached: true });
const ended = new Promise((done) => {
  fairlead.once("error", (error) => done({ error }));
  fairlead.once("exit", (code, signal) => done({ code, signal }));
});
for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.removeAllListeners(name);
  process.on(name, () => fairlead.kill(name === "SIGINT" ? "SIGINT" : "SIGTERM"));
}
const { code, signal, error } = await ended;
await stopAll();
if (error) console.error(error.message);
process.exitCode = code ?? (signal === "SIGINT" || signal === "SIGTERM" ? 0 : 1);
