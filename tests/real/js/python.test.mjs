// The real Python SDK through fairlead: its own suite, run as a child; its closing line is shown.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, describe, test } from "node:test";
import { managedPool, BY_USER, startFairlead } from "./lib/fairlead.mjs";
import { startCli } from "./lib/cli.mjs";
import { startModel } from "./lib/model.mjs";
import { Child, stopAll } from "./lib/processes.mjs";
import { within } from "./lib/wait.mjs";

const REAL = path.resolve(import.meta.dirname, "..");

async function runSuite(address, model) {
  const python = path.join(REAL, ".venv", "bin", "python");
  assert.ok(fs.existsSync(python), `no ${python}: run \`make deps\``);
  const env = { PATH: process.env.PATH, ADDRESS: address, MODEL_URL: model.baseUrl, PYTHONDONTWRITEBYTECODE: "1" };
  const child = new Child("the Python suite", python, ["-m", "unittest", "test_main_path"], {
    cwd: path.join(REAL, "python"),
    env,
  });
  const { code } = await within("the Python suite ends", child.exited, 120_000);
  const closing = child.stderr.trim().split("\n").slice(-3).filter(Boolean).join(" ");
  assert.equal(code, 0, child.stderr);
  assert.match(closing, /Ran 5 tests .* OK$/);
  return closing;
}

describe("the Python SDK", { timeout: 240_000 }, () => {
  after(stopAll);

  test("does its main path at a CLI", async (t) => {
    const model = await startModel();
    const cli = await startCli({ model });
    t.diagnostic(await runSuite(cli.address, model));
    await cli.stop();
  });

  test("does its main path through fairlead and two managed CLIs", async (t) => {
    const model = await startModel();
    const fairlead = await startFairlead({ pool: managedPool(model, { count: 2 }), identity: BY_USER });
    t.diagnostic(await runSuite(fairlead.address, model));
    await fairlead.stop();
  });
});
