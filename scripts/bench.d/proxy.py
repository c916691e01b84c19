#!/usr/bin/env python3
"""Measures the data plane against nginx and, if it is installed, HAProxy; standard library only.

Each round runs every proxy once, one after another, so that a slower machine slows all of them; a ratio is the median
of the rounds' ratios. The load comes from wrk, the answers from an nginx with one worker; both share the machine with
the proxies and stay on the loopback interface. CPU is user and system time of the proxy's processes.

    proxy.py --proxy-binary target/release/gapless [--out docs/bench/proxy.json] [--rounds 5] [--only cpu,memory,cutover]
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
WORKLOADS = [
    # name, connections, seconds, path, script, maximum ratio to nginx
    ("1 KiB GET, 64 connections", 64, 3, "/1k", None, 1.15),
    ("64 KiB GET, 64 connections", 64, 2, "/64k", None, 1.15),
    ("1,000 connections", 1000, 3, "/1k", None, 1.0),
    ("POST 10 KiB", 64, 2, "/post", "post.lua", 1.05),
]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_listening(port, deadline=10.0):
    """Waits for a listener on the port."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            time.sleep(0.01)
    return False


def process_tree(pid):
    """The process and all of its descendants."""
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            continue
        found.extend(int(child) for child in children)
    return found


def cpu_seconds(pid):
    ticks = 0
    for each in process_tree(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def memory_kib(pid):
    """Proportional and resident memory of the process tree."""
    pss = rss = 0
    for each in process_tree(pid):
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        pss += int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])
        rss += int(re.search(r"^Rss:\s+(\d+)", text, re.M)[1])
    return pss, rss


class Bench:
    def __init__(self, binary, folder):
        self.binary = str(Path(binary).resolve())
        self.folder = Path(folder)
        self.started = []

    def start(self, command, port):
        log = open(self.folder / "log", "ab")
        # The environment in which gapless's server starts its proxy; the other proxies ignore the variable.
        environment = {**os.environ, "MIMALLOC_ALLOW_THP": "0"}
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment)
        self.started.append(process)
        if not is_listening(port):
            raise SystemExit(f"{command[0]} does not start:\n" + (self.folder / "log").read_text())
        return process

    def stop(self, process):
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self.started.remove(process)

    def stop_all(self):
        for process in list(self.started):
            self.stop(process)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    # --- Origin ---

    def origin(self):
        """nginx with one worker, and two more ports whose answers name the port."""
        ports = [free_port() for _ in range(3)]
        (self.folder / "www").mkdir()
        (self.folder / "www" / "64k").write_bytes(b"x" * (64 << 10))
        colours = "".join(
            f"server {{ listen 127.0.0.1:{port} backlog=4096; keepalive_requests 100000000; keepalive_timeout 1h;"
            f" location / {{ return 200 {colour}; }} }}\n"
            for port, colour in zip(ports[1:], ["blue", "green"])
        )
        config = self.nginx_frame(
            "origin",
            1,
            f"""
            server {{
                listen 127.0.0.1:{ports[0]} backlog=4096;
                keepalive_requests 100000000; keepalive_timeout 1h;
                client_body_buffer_size 64k; sendfile on; root {self.folder}/www;
                location = /1k {{ return 200 {"x" * 1024}; }}
                location = /64k {{ }}
                location = /post {{ return 200 ok; }}
            }}
            {colours}""",
        )
        self.start(["nginx", "-c", config, "-p", str(self.folder)], ports[0])
        return ports

    def nginx_frame(self, name, workers, http):
        temp = "\n".join(
            f"{kind}_temp_path {self.folder}/{name}-{kind};"
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        )
        return self.write(
            f"{name}.conf",
            f"""daemon off; worker_processes {workers}; pid {self.folder}/{name}.pid; error_log stderr crit;
            events {{ worker_connections 8000; }}
            http {{ access_log off; {temp} {http} }}""",
        )

    # --- Proxies ---

    def nginx(self, origin):
        port = free_port()
        config = self.nginx_frame(
            "nginx",
            2,
            f"""
            upstream origin {{ server 127.0.0.1:{origin}; keepalive 128; keepalive_requests 100000000; }}
            server {{
                listen 127.0.0.1:{port} backlog=4096;
                keepalive_requests 100000000; keepalive_timeout 1h;
                client_body_buffer_size 64k; proxy_buffers 8 16k;
                location / {{
                    proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
                    proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
                }}
            }}""",
        )
        return self.start(["nginx", "-c", config, "-p", str(self.folder)], port), port

    def haproxy(self, origin):
        port = free_port()
        config = self.write(
            "haproxy.cfg",
            f"""global
    nbthread 2
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    http-reuse always
    option forwardfor
frontend front
    bind 127.0.0.1:{port} backlog 4096
    default_backend back
backend back
    server origin 127.0.0.1:{origin}
""",
        )
        return self.start(["haproxy", "-db", "-q", "-f", config], port), port

    def gapless(self, table):
        port = free_port()
        control = str(self.folder / f"control-{port}.sock")
        file = self.write(f"table-{port}.json", json.dumps(table))
        command = [self.binary, "proxy", "--listen", f"127.0.0.1:{port}", "--table-file", file, "--control-socket", control]
        process = self.start([*command, "--workers", "2"], port)
        # The proxy opens its control socket last.
        end = time.monotonic() + 10
        while not os.path.exists(control) and time.monotonic() < end:
            time.sleep(0.01)
        return process, port, control


FORWARD = {
    "connect_timeout": 2000,
    "first_byte_timeout": 60000,
    "idle_body_timeout": 60000,
    "trust_forwarded": False,
    "retry_after_s": 2,
}


def slot(app, colour, deployment, role, port):
    return {
        "placement": f"{app}/production/{colour}/{deployment}",
        "release": deployment,
        "role": role,
        "weight": 1 if role == "live" else 0,
        "instances": [{"replica": 1, "address": f"127.0.0.1:{port}"}],
        "drain_timeout": 1000,
    }


def group(host, slots):
    return {"routes": [{"host": host, "path": "/", "strip": False}], "slots": slots, "forward": FORWARD}


def one_application(port):
    return {"version": 1, "groups": {"bench/production": group("*", [slot("bench", "blue", 1, "live", port)])}}


# --- CPU per request ---


def load(bench, port, connections, seconds, path, script):
    """Runs wrk; returns its figures."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "5s"]
    if script:
        command += ["-s", script]
    command += ["-H", "Host: bench.local", f"http://127.0.0.1:{port}{path}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    requests = int(re.search(r"(\d+) requests in", text)[1])
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    failed = (int(errors[1]) if errors else 0) + (sum(map(int, broken.groups())) if broken else 0)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    p99_ms = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    return {"requests": requests, "failed": failed, "rate": rate, "p99_ms": p99_ms}


def measure_cpu(bench, origin, rounds, rows, peers):
    post = bench.write(
        "post.lua", f'wrk.method = "POST"\nwrk.body = string.rep("x", 10240)\nwrk.headers["Content-Type"] = "text/plain"\n'
    )
    proxies = {"nginx": bench.nginx(origin)[0:2], "gapless": bench.gapless(one_application(origin))[0:2]}
    if shutil.which("haproxy"):
        proxies["haproxy"] = bench.haproxy(origin)
    for name, connections, seconds, path, script, goal in WORKLOADS:
        script = post if script else None
        results = {proxy: [] for proxy in proxies}
        for process, port in proxies.values():
            load(bench, port, connections, 1, path, script)
        for turn in range(rounds):
            # Rotates the order of the proxies from round to round.
            order = list(proxies)
            order = order[turn % len(order):] + order[: turn % len(order)]
            for proxy in order:
                process, port = proxies[proxy]
                before = cpu_seconds(process.pid)
                result = load(bench, port, connections, seconds, path, script)
                result["cpu_us"] = (cpu_seconds(process.pid) - before) * 1e6 / result["requests"]
                results[proxy].append(result)
        median = lambda proxy, key: statistics.median(result[key] for result in results[proxy])
        for proxy in proxies:
            ratios = [mine["cpu_us"] / its["cpu_us"] for mine, its in zip(results[proxy], results["nginx"])]
            failed = sum(result["failed"] for result in results[proxy])
            row = {
                "name": name if proxy == "gapless" else f"{proxy}: {name}",
                "value": round(median(proxy, "cpu_us"), 2),
                "unit": "us of CPU per request",
                "ratio": round(statistics.median(ratios), 3),
                "against": "nginx",
                "ratio_min": round(min(ratios), 3),
                "ratio_max": round(max(ratios), 3),
                "requests_per_second": round(median(proxy, "rate")),
                "p99_ms": round(median(proxy, "p99_ms"), 2),
                "failed": failed,
            }
            if proxy == "gapless":
                row["goal_ratio"] = goal
            (rows if proxy == "gapless" else peers).append(row)
            print(
                f"  {row['name']:42} {row['value']:8.2f} us/request  x {row['ratio']:.3f} nginx"
                f" ({row['ratio_min']:.2f}-{row['ratio_max']:.2f})  {row['requests_per_second']:7} requests/s"
                f"  p99 {row['p99_ms']:.2f} ms" + (f"  FAILED {failed}" if failed else ""),
                flush=True,
            )
    for process, _ in proxies.values():
        bench.stop(process)


# --- Memory ---


def measure_memory(bench, origin, rows, connections=2000):
    process, port, _ = bench.gapless(one_application(origin))
    time.sleep(1)
    pss, rss = memory_kib(process.pid)
    rows.append({"name": "memory of an idle proxy", "value": round(rss / 1024, 2), "unit": "MiB resident", "goal": 8})
    request = b"GET /1k HTTP/1.1\r\nHost: bench.local\r\n\r\n"
    clients = []
    for _ in range(connections):
        client = socket.create_connection(("127.0.0.1", port), 5)
        client.sendall(request)
        clients.append(client)
    for client in clients:
        received = b""
        while len(received) < 1024 or not received.endswith(b"x"):
            received += client.recv(4096)
    # Long enough for the release of buffers, far less than the idle timeout.
    time.sleep(4)
    with_clients, _ = memory_kib(process.pid)
    per_client = (with_clients - pss) / connections
    rows.append(
        {"name": "memory per idle client connection", "value": round(per_client, 2), "unit": "KiB", "goal": 8}
    )
    for row in rows[-2:]:
        print(f"  {row['name']:42} {row['value']:8.2f} {row['unit']}", flush=True)
    for client in clients:
        client.close()
    bench.stop(process)


# --- Cutover ---


def keep_asking(port, stop, results, count):
    """Sends requests as fast as one connection allows; reports the times of each request and answer, and the slot."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = b"GET / HTTP/1.1\r\nHost: app-0.bench\r\n\r\n"
    log = []
    while not stop.is_set():
        sent = time.monotonic()
        client.sendall(request)
        answer = client.recv(4096)
        log.append((sent, time.monotonic(), answer.rsplit(b"\r\n\r\n", 1)[1].decode()))
        count.value += 1
    results.put(log)


class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(10)

    def patch(self, body):
        """The times at which the change was sent and acknowledged."""
        head = f"PATCH /v1/table HTTP/1.1\r\nHost: gapless\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        sent = time.monotonic()
        self.socket.sendall(head + body)
        answer = self.socket.recv(65536)
        acknowledged = time.monotonic()
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the change was refused: {answer!r}")
        return sent, acknowledged


def measure_cutover(bench, ports, routes, cutovers=100):
    apps = {
        f"app-{i}/production": group(f"app-{i}.bench", [slot(f"app-{i}", "blue", 1, "live", ports[0])])
        for i in range(routes)
    }
    process, port, control = bench.gapless({"version": 1, "groups": apps})
    control = Control(control)
    stop, results = multiprocessing.Event(), multiprocessing.Queue()
    counts = [multiprocessing.Value("Q", 0, lock=False) for _ in range(2)]
    asking = [multiprocessing.Process(target=keep_asking, args=(port, stop, results, count)) for count in counts]
    for each in asking:
        each.start()
    time.sleep(0.3)
    switches = []
    for turn in range(cutovers):
        colours = ["green", "blue"] if turn % 2 == 0 else ["blue", "green"]
        port_of = {"blue": ports[0], "green": ports[1]}
        slots = [
            slot("app-0", colours[0], turn + 2, "live", port_of[colours[0]]),
            slot("app-0", colours[1], turn + 1, "fallback", port_of[colours[1]]),
        ]
        change = {
            "base": turn + 1,
            "version": turn + 2,
            "groups": {"app-0/production": group("app-0.bench", slots)},
        }
        switches.append((*control.patch(json.dumps(change).encode()), colours[0]))
        seen = [count.value for count in counts]
        end = time.monotonic() + 2
        while any(count.value < before + 10 for count, before in zip(counts, seen)) and time.monotonic() < end:
            time.sleep(0.01)
    stop.set()
    logs = [results.get(timeout=10) for _ in asking]
    for each in asking:
        each.join(10)
    bench.stop(process)
    latencies, acknowledgements, late = [], [], 0
    for index, (sent, acknowledged, colour) in enumerate(switches):
        end = switches[index + 1][0] if index + 1 < len(switches) else float("inf")
        first = min(answered for log in logs for begun, answered, by in log if by == colour and sent < answered < end)
        latencies.append((first - sent) * 1000)
        acknowledgements.append((acknowledged - sent) * 1000)
        late += sum(by != colour for log in logs for begun, answered, by in log if acknowledged < begun and answered < end)
    requests = sum(len(log) for log in logs)
    return latencies, acknowledgements, late, requests


def measure_cutovers(bench, ports, rows):
    medians = {}
    for routes in [10, 1000]:
        latencies, acknowledgements, late, requests = measure_cutover(bench, ports, routes)
        medians[routes] = statistics.median(latencies)
        what = f"{routes:,} routes"
        rows.append(
            {
                "name": f"cutover, {what}: change sent to first answer from the new slot",
                "value": round(medians[routes], 3),
                "unit": "ms, median",
                "max": round(max(latencies), 3),
                "goal": 2,
                "cutovers": len(latencies),
                "requests": requests,
                "acknowledged_ms_median": round(statistics.median(acknowledgements), 3),
            }
        )
        if routes != 10:
            rows[-1]["ratio"] = round(medians[routes] / medians[10], 2)
            rows[-1]["against"] = "10 routes"
        rows.append(
            {
                "name": f"cutover, {what}: requests to the old slot after the acknowledgement",
                "value": late,
                "unit": f"of {requests:,}",
                "goal": 0,
            }
        )
        print(
            f"  cutover, {what:12} first answer {medians[routes]:.2f} ms (max {max(latencies):.2f}),"
            f" acknowledged {statistics.median(acknowledgements):.2f} ms, {late} of {requests:,} late",
            flush=True,
        )


def conditions(rounds):
    def version(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        except OSError:
            return None
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        return found[0] if found else None

    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpus": os.cpu_count(),
        "cpu": cpu[1].strip() if cpu else platform.machine(),
        "memory_gib": round(int(memory[1]) / 2**20),
        "kernel": platform.release(),
        "nginx": version(["nginx", "-v"]),
        "haproxy": version(["haproxy", "-v"]),
        "wrk": version(["wrk", "-v"]),
        "rounds": rounds,
        "note": "load, proxy and origin share the machine; 2 workers each; nginx with upstream keepalive 128;"
        " ratios are medians of the rounds' ratios",
    }


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--proxy-binary", required=True, help="gapless, or the example standalone")
    arguments.add_argument("--out", help="where to write the results as JSON")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--only", default="cpu,memory,cutover", help="what to measure: cpu, memory, cutover")
    options = arguments.parse_args()
    for tool in ["nginx", "wrk"]:
        if not shutil.which(tool):
            raise SystemExit(f"{tool} is not installed: apt-get install {'nginx-light' if tool == 'nginx' else tool}")
    rows, peers = [], []
    only = options.only.split(",")
    with tempfile.TemporaryDirectory(prefix="gapless-bench-") as folder:
        # The origin's worker runs as another user, and must read the folder.
        os.chmod(folder, 0o755)
        bench = Bench(options.proxy_binary, folder)
        try:
            ports = bench.origin()
            if "cpu" in only:
                measure_cpu(bench, ports[0], options.rounds, rows, peers)
            if "memory" in only:
                measure_memory(bench, ports[0], rows)
            if "cutover" in only:
                measure_cutovers(bench, ports[1:], rows)
        finally:
            bench.stop_all()
    if options.out:
        result = {"conditions": conditions(options.rounds), "rows": rows, "peers": peers}
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(json.dumps(result, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
