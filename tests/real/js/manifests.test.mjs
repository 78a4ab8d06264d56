// What docker/ ships, held to the schemas of Kubernetes and to `fairlead check`; its closing line is shown.
import assert from "node:assert/strict";
import fs from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { binary } from "./lib/fairlead.mjs";
import { Child, stopAll } from "./lib/processes.mjs";
import { within } from "./lib/wait.mjs";

const REAL = path.resolve(import.meta.dirname, "..");

after(stopAll);

test("the manifests are right, and so are the configurations in them", { timeout: 120_000 }, async (t) => {
  const python = path.join(REAL, ".venv", "bin", "python");
  assert.ok(fs.existsSync(python), `no ${python}: run \`make deps\``);
  const env = { PATH: process.env.PATH, FAIRLEAD: binary(), PYTHONDONTWRITEBYTECODE: "1" };
  const argv = ["-m", "unittest", "test_manifests"];
  const child = new Child("the manifests", python, argv, { cwd: path.join(REAL, "python"), env });
  const { code } = await within("the manifests are read", child.exited, 100_000);
  assert.equal(code, 0, child.stderr);
  const closing = child.stderr.trim().split("\n").slice(-3).filter(Boolean).join(" ");
  assert.match(closing, /Ran 7 tests .* OK$/);
  t.diagnostic(closing);
});
