// A recording tap: passes every byte on unchanged and notes each frame, with who sent it.
// Never delays, merges or answers.
import net from "node:net";
import { cutter } from "./frames.mjs";
import { until } from "./wait.mjs";

/**
 * Listens on a free port and connects each connection to `target` ("host:port").
 * `record(entry)` gets {conn, link, from: "client"|"server", frame} and {conn, link, from, end: true};
 * `link` counts the connections that came through this tap.
 */
export async function startTap(target, conn, record) {
  const [host, port] = target.split(":");
  const sockets = new Set();
  let failure;
  let links = 0;
  const server = net.createServer((client) => {
    const link = ++links;
    const upstream = net.connect(Number(port), host);
    const pass = (source, sink, from) => {
      sockets.add(source);
      const cut = cutter((frame) => record({ conn, link, from, frame }));
      source.on("data", (bytes) => {
        try {
          cut(bytes);
        } catch (error) {
          failure ??= error;
          sockets.forEach((socket) => socket.destroy());
          return;
        }
        if (!sink.write(bytes)) source.pause();
      });
      sink.on("drain", () => source.resume());
      source.once("end", () => {
        record({ conn, link, from, end: true });
        sink.end();
      });
      source.once("error", () => sink.destroy());
      source.once("close", () => sockets.delete(source));
    };
    pass(client, upstream, "client");
    pass(upstream, client, "server");
  });
  await new Promise((done, fail) => {
    server.once("error", fail);
    server.listen(0, "127.0.0.1", done);
  });
  return {
    address: `127.0.0.1:${server.address().port}`,
    /** Cuts every connection without a goodbye (RST), as a vanished client does. */
    cut: () => sockets.forEach((socket) => socket.resetAndDestroy()),
    /** Waits until both sides have said goodbye (at most 5 s), then ends what is left. */
    close: async () => {
      await until("both sides ended", () => sockets.size === 0, { ms: 5_000, every: 5 }).catch(() => {});
      sockets.forEach((socket) => socket.destroy());
      await new Promise((done) => server.close(done));
      if (failure) throw failure;
    },
  };
}
