#!/usr/bin/env python3
"""Runs fairlead, HAProxy (mode tcp) and no proxy at all in turn, under the same load, and compares them.

Needs Linux, two cores, the release build (`--build` makes it) and haproxy; `--core` needs valgrind.
It ends only what it started. What the numbers mean: README.md beside this file.
"""

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["direct", "haproxy", "fairlead"]
PROXY_CORE, LOAD_CORE = 0, 1

HAPROXY = """
global
    maxconn 8000
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen fleet
    bind 127.0.0.1:{port}
    server cli 127.0.0.1:{cli}
"""

FAIRLEAD = """
runtime.workers = 1
metrics.bind = "127.0.0.1:{metrics}"
log = {{ format = "json", level = "warn" }}
limits.max_conns = 8000

[[listener]]
name = "bench"
bind = "127.0.0.1:{port}"
protocol = "jsonrpc"
pool = "cli"

[[pool]]
name = "cli"
upstreams = ["127.0.0.1:{cli}"]
"""


def scenarios(quick, seconds):
    """name -> (what the load generator is told, what the fake CLI is told)."""
    span = ["--seconds", str(seconds), "--warm-up", str(min(0.5, seconds))]
    answer = ["--events", "0", "--answer-bytes", "360"]
    found = {}
    for conns in (50, 200):
        for flight in (1, 16):
            name = f"rpc closed, {conns} conns x {flight}"
            load = ["--conns", str(conns), "rpc", "--in-flight", str(flight), *span]
            found[name] = (load, answer)
    for conns, rate in ((50, 2000), (200, 10000)):
        name = f"rpc paced, {conns} conns, {rate}/s"
        found[name] = (["--conns", str(conns), "rpc", "--rate", str(rate), *span], answer)
    # One event at a time, as a model speaks: 200 a second of each session.
    events = int(200 * seconds)
    load = ["--conns", "50", "events", "--events", str(events)]
    found["events paced, 50 conns, 10000/s"] = (load, ["--events", str(events), "--rate", "200"])
    events = 2000 if quick else 20000
    load = ["--conns", "50", "events", "--events", str(events)]
    found["events at once, 50 conns"] = (load, ["--events", str(events)])
    conns, settle = (100, "0.3") if quick else (2000, "5")
    found[f"idle, {conns} conns"] = (["--conns", str(conns), "idle", "--settle", settle], answer)
    return found


class Failed(Exception):
    """A run that did not come to its end."""


class Process:
    """A child pinned to a core; ended, and waited for, at the end of its block."""

    def __init__(self, core, argv, **how):
        self.argv = ["taskset", "-c", str(core), *map(str, argv)]
        self.how = how

    def __enter__(self):
        self.child = subprocess.Popen(self.argv, **self.how)
        return self.child

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        for pipe in (self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port, child):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise Failed(f"a process ended with {child.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"nobody listens on port {port}")


def binary(where, name):
    path = Path(where) / name
    if not path.exists():
        sys.exit(f"{path} is missing: run with --build, or see README.md")
    return path


class Bench:
    def __init__(self, bin_dir, haproxy, scratch):
        self.fairlead = binary(bin_dir, "fairlead")
        self.fake = binary(bin_dir, "fake-cli")
        self.load = binary(bin_dir, "bench-load")
        self.haproxy = haproxy
        self.scratch = Path(scratch)

    def run(self, target, load, fake):
        """One scenario on one target: what the load generator says."""
        argv = [self.fake, *fake]
        with Process(LOAD_CORE, argv, stdout=subprocess.PIPE, text=True) as cli:
            line = cli.stdout.readline()
            port = int(re.search(r"port (\d+)", line).group(1))
            watch = ["--watch", f"cli={cli.pid}"]
            if target == "direct":
                return self.measure(port, watch, load)
            with self.proxy(target, port) as (proxy, front):
                return self.measure(front, [*watch, "--watch", f"proxy={proxy.pid}"], load)

    def proxy(self, target, cli):
        return Proxy(self, target, cli)

    def measure(self, port, watch, load):
        argv = [self.load, "--addr", f"127.0.0.1:{port}", *watch, *load]
        argv = ["taskset", "-c", str(LOAD_CORE), *map(str, argv)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)


class Proxy:
    """A proxy that listens, for the time of a block."""

    def __init__(self, bench, target, cli):
        self.port, metrics = free_ports(2)
        text = {"haproxy": HAPROXY, "fairlead": FAIRLEAD}[target]
        config = bench.scratch / f"{target}.conf"
        config.write_text(text.format(port=self.port, cli=cli, metrics=metrics))
        argv = {
            "haproxy": [bench.haproxy, "-q", "-db", "-f", config],
            "fairlead": [bench.fairlead, "run", "--config", config],
        }
        self.process = Process(PROXY_CORE, argv[target])

    def __enter__(self):
        child = self.process.__enter__()
        try:
            wait_for(self.port, child)
        except Failed:
            self.process.__exit__()
            raise
        return child, self.port

    def __exit__(self, *what):
        self.process.__exit__(*what)


def numbers(result, name):
    """What of a run goes into the tables."""
    if name.startswith("idle"):
        kib = lambda key: result[key] / 1024
        return {
            "KiB per idle conn": kib("idle_per_conn"),
            "KiB per conn after a peak": kib("after_peak_per_conn"),
            "KiB per conn after closing": kib("after_close_per_conn"),
        }
    per = 1e5 / result["messages"]
    cpu = {who: used * per for who, used in result["cpu_seconds"].items()}
    found = {
        "messages/s": result["per_second"],
        "p50 us": result["p50_us"],
        "p99 us": result["p99_us"],
        "proxy CPU s/100k": cpu.get("proxy", 0.0),
        "CLI CPU s/100k": cpu["cli"],
        "load CPU s/100k": cpu["load"],
    }
    return found


def middle(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(rounds):
    """rounds: target -> values of each round -> for each value its middle, and the ratios within a round."""
    out = {"values": {}, "ratios": {}}
    for target, results in rounds.items():
        keys = results[0].keys()
        out["values"][target] = {key: middle([r[key] for r in results]) for key in keys}
    if "haproxy" in rounds and "fairlead" in rounds:
        pairs = list(zip(rounds["fairlead"], rounds["haproxy"]))
        for key in pairs[0][0]:
            if not key.startswith(("CLI", "load")) and all(b[key] for _, b in pairs):
                out["ratios"][key] = middle([a[key] / b[key] for a, b in pairs])
        if "direct" in rounds and "p50 us" in pairs[0][0]:
            direct = [r["p50 us"] for r in rounds["direct"]]
            for who in ("fairlead", "haproxy"):
                added = [r["p50 us"] - d for r, d in zip(rounds[who], direct)]
                out["values"][who]["added p50 us"] = middle(added)
    return out


def shown(value):
    digits = 0 if abs(value["median"]) >= 100 else 2 if abs(value["median"]) >= 1 else 3
    return "{median:,.{d}f} ({min:,.{d}f}..{max:,.{d}f})".format(d=digits, **value)


def table(name, result):
    """A scenario as Markdown: median (least..most) of all rounds."""
    targets = list(result["values"])
    keys = list(dict.fromkeys(key for t in targets for key in result["values"][t]))
    lines = [f"### {name}", "", "| | " + " | ".join(targets) + " | fairlead / haproxy |"]
    lines.append("|---" * (len(targets) + 2) + "|")
    for key in keys:
        cells = [result["values"][t].get(key) for t in targets]
        cells = ["" if cell is None or (t == "direct" and key.startswith("proxy")) else shown(cell)
                 for t, cell in zip(targets, cells)]
        ratio = result["ratios"].get(key)
        cells.append(shown(ratio) if ratio else "")
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def machine(haproxy):
    def out(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
        return done.stdout.strip().split("\n")[0]

    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "commit": out("git", "rev-parse", "--short=12", "HEAD") + (
            " and uncommitted changes" if out("git", "status", "--porcelain", "src", "Cargo.lock") else ""),
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "haproxy": out(haproxy, "-v") if haproxy else "none",
        "load average at the start": os.getloadavg()[0],
    }


def compare(args, haproxy):
    chosen = {name: what for name, what in scenarios(args.quick, args.seconds).items()
              if not args.only or re.search(args.only, name)}
    targets = [t for t in TARGETS if t != "haproxy" or haproxy]
    raw = {name: {t: [] for t in targets} for name in chosen}
    about = machine(haproxy)
    about["build"] = str(Path(args.bin_dir).name)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(args.bin_dir, haproxy, scratch)
        for number in range(args.rounds):
            # Another order in each round, so that none always follows the same neighbour.
            order = targets[number % len(targets):] + targets[:number % len(targets)]
            for name, (load, fake) in chosen.items():
                for target in order:
                    if target == "direct" and name.startswith("idle"):
                        continue
                    print(f"round {number + 1}/{args.rounds}: {name}: {target}", file=sys.stderr)
                    result = bench.run(target, load, fake)
                    raw[name][target].append(numbers(result, name))
    raw = {name: {t: r for t, r in rounds.items() if r} for name, rounds in raw.items()}
    return about, {name: {**summary(rounds), "rounds": rounds} for name, rounds in raw.items()}


def core(bin_dir):
    """Instructions of one message inside the multiplexer, by the difference of two runs."""
    program = binary(bin_dir, "bench-core")
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        for work in ("rpc", "event"):
            for batch in (1, 16):
                counts = [count_instructions(program, work, messages, batch, scratch) for messages in (4096, 36864)]
                found[f"{work}, {batch} in a read"] = (counts[1] - counts[0]) / (36864 - 4096)
    return found


def count_instructions(program, work, messages, batch, scratch):
    out = Path(scratch) / "callgrind.out"
    argv = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, work, str(messages),
            "--batch", str(batch)]
    subprocess.run(argv, check=True, capture_output=True)
    return int(re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.M).group(1))


def arguments():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin-dir", default=Path(target) / "release", help="where the built programs are")
    parser.add_argument("--build", action="store_true", help="make the release build first")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measured run")
    parser.add_argument("--only", metavar="REGEX", help="only scenarios whose name matches")
    parser.add_argument("--core", action="store_true", help="also count instructions of the multiplexer")
    parser.add_argument("--quick", action="store_true", help="one short round: does everything work?")
    parser.add_argument("--out", default=ROOT / "benches" / "results", help="where the results go")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 0.3
    return args


def main():
    args = arguments()
    if args.build:
        names = ["fairlead", "fake-cli", "bench-load", "bench-core"]
        bins = [word for name in names for word in ("--bin", name)]
        subprocess.run(["cargo", "build", "--release", "--features", "testing", *bins], check=True, cwd=ROOT)
    haproxy = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    if not haproxy and not args.quick:
        sys.exit("haproxy is missing: apt-get install haproxy")
    try:
        about, results = compare(args, haproxy)
    except Failed as error:
        sys.exit(f"failed: {error}")
    text = ["# " + ", ".join(f"{key}: {value}" for key, value in about.items()), ""]
    text += [table(name, result) for name, result in results.items()]
    instructions = core(args.bin_dir) if args.core else {}
    if instructions:
        text.append("### instructions of a message in the multiplexer\n")
        text += [f"- {what}: {count:,.0f}" for what, count in instructions.items()]
    print("\n".join(text))
    if not args.quick:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        everything = {"about": about, "scenarios": results, "instructions": instructions}
        (Path(args.out) / "latest.json").write_text(json.dumps(everything, indent=1) + "\n")
        (Path(args.out) / "latest.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
