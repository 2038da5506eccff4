"""Submits a job and follows its intent to the end: python3 client.py URL BODY [cancel]"""
import http.client
import json
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen


def submit(url, body):
    """Starts a job and returns the URL of its intent's stream."""
    with urlopen(Request(url, body.encode(), {"Content-Type": "application/json"})) as answer:
        return urljoin(url, json.load(answer)["observe_url"])


def observe(stream):
    """Yields all events in order, none twice, however often the stream is cut."""
    position, retry = "", 2
    while True:
        ask = Request(stream, headers={"Accept": "text/event-stream", "Last-Event-ID": position})
        try:
            # A sign of life comes every few seconds: silence is a dead connection.
            with urlopen(ask, timeout=15) as lines:
                frame = {}
                for line in lines:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    frame[name] = value
                    if name == "retry":
                        retry = int(value) / 1000
                    elif not name and "data" in frame:  # the frame is whole
                        position = frame["id"]
                        yield json.loads(frame["data"])
                        frame = {}
        except HTTPError as problem:
            if problem.code < 500 and problem.code != 429:
                raise
            retry = int(problem.headers.get("Retry-After", retry))
        except (OSError, http.client.HTTPException):
            pass  # cut, or nobody there: come back
        time.sleep(min(retry, 60))


def main(url, body, cancel=None):
    stream = submit(url, body)
    for event in observe(stream):
        print(event["seq"], event["status"], flush=True)
        if event["status"] == "COMPLETED":
            return 0
        if event["status"] in ("FAILED", "CANCELED", "TIMED_OUT"):
            return 1
        if cancel and event["status"] == "IN_PROGRESS":
            cancel = urlopen(Request(stream.split("/events/stream")[0], method="DELETE")).close()


sys.exit(main(*sys.argv[1:]))
