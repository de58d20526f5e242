"""Asks a server: `health` one that runs, `all` one that is started here, both endpoints."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

ADDRESS = f"http://127.0.0.1:{os.environ['PORT']}"


def ask(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(ADDRESS + path, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def wait(server):
    end = time.monotonic() + 60
    while True:
        try:
            return ask("/health")
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > end:
                sys.exit(f"the server does not answer (exit status {server.poll()})")
            time.sleep(0.2)


def main():
    if sys.argv[1:] == ["health"]:
        print(ask("/health")["status"])
        return
    server = subprocess.Popen([sys.executable, "-m", "serving"])
    try:
        print("health", wait(server)["status"])
        answer = ask("/v1/completions", {"prompt": "the clay", "max_tokens": 8, "seed": 1})
        text = answer["choices"][0]["text"]
        if not text:
            sys.exit("the completion is empty")
        print("completion", text)
    finally:
        server.terminate()
        server.wait()


main()
