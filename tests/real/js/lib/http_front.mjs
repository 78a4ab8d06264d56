// fairlead with an HTTP listener, as its users start it, in front of HTTP servers.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { startFairlead } from "./fairlead.mjs";
import { folder } from "./processes.mjs";

/**
 * A pool of HTTP servers, none of which is asked for JSON-RPC. Each has a name: where a user belongs must not depend on chance.
 */
export const webPool = (servers, pool = {}) => ({
  name: "web",
  upstreams: servers.map(({ name, address }) => ({ name, address })),
  ...pool,
  health: { probe: "tcp", interval: "200ms", ...pool.health },
});

/** fairlead with `protocol = "http"` in front of `servers`, each with name and address. `url` is where it is asked. */
export async function startFront({ servers, pool, identity, listener }) {
  const tls = listener?.tls;
  const fairlead = await startFairlead({
    pool: webPool(servers, pool),
    identity,
    listener: { protocol: "http", ...listener },
  });
  fairlead.url = `${tls ? "https://localhost" : "http://127.0.0.1"}:${fairlead.place.port}`;
  return fairlead;
}

/** A CA of this test and a certificate of it for localhost: the paths of their files. */
export function certificates() {
  const dir = folder("tls");
  const at = (name) => path.join(dir, name);
  const openssl = (...args) => {
    const { status, stderr, error } = spawnSync("openssl", args, { encoding: "utf8" });
    if (error?.code === "ENOENT") throw new Error("openssl is missing: run `make deps`, or `apt-get install openssl`");
    if (status !== 0) throw new Error(`openssl ${args[0]}: ${stderr}`);
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl("req", "-x509", ...key, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "2", "-subj", "/CN=test CA");
  openssl("req", ...key, "-keyout", at("edge.key"), "-out", at("edge.csr"), "-subj", "/CN=localhost");
  const extensions = at("extensions");
  fs.writeFileSync(extensions, "subjectAltName = DNS:localhost, IP:127.0.0.1\n");
  openssl(
    "x509", "-req", "-in", at("edge.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "2",
    "-out", at("edge.pem"), "-extfile", extensions,
  );
  return { ca: at("ca.pem"), certificate: at("edge.pem"), key: at("edge.key") };
}
