"""Submits a job and follows its intent to the end: python3 client.py URL BODY [cancel]"""
import http.client
import json
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import Request, urlopen

ENDS = {"COMPLETED", "FAILED", "CANCELED", "TIMED_OUT"}


def submit(url, body):
    """Starts a job and returns the URL of its intent's stream."""
    with urlopen(Request(url, body.encode(), {"Content-Type": "application/json"})) as answer:
        return urljoin(url, json.load(answer)["observe_url"])


def observe(stream):
    """Yields all events in order, none twice, however often the stream is cut."""
    position, retry = None, 2
    while True:
        headers = {"Accept": "text/event-stream"}
        if position:
            headers["Last-Event-ID"] = position
        try:
            # A sign of life comes every few seconds: silence is a dead connection.
            with urlopen(Request(stream, headers=headers), timeout=15) as answer:
                if answer.status == 204:  # the end was seen already
                    return
                for event_id, name, value in fields(answer):
                    if name == "retry":
                        retry = int(value) / 1000
                    elif name == "data":
                        position = event_id
                        yield json.loads(value)
        except HTTPError as problem:
            if problem.code < 500 and problem.code != 429:
                raise
            retry = int(problem.headers.get("Retry-After", retry))
        except (OSError, http.client.HTTPException):
            pass  # cut, or nobody there: come back
        time.sleep(retry)


def fields(lines):
    """Yields retry at once, and data when a blank line says that its frame is whole."""
    frame = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "retry":
            yield None, name, value
        elif name:
            frame[name] = value
        elif "data" in frame:
            yield frame.pop("id", None), "data", frame.pop("data")


def main(url, body, cancel=None):
    stream = submit(url, body)
    for event in observe(stream):
        print(event["seq"], event["status"], flush=True)
        if event["status"] in ENDS:
            return event["status"] != "COMPLETED"
        if cancel and event["status"] == "IN_PROGRESS":
            cancel = urlopen(Request(stream.split("/events/stream")[0], method="DELETE")).close()


sys.exit(main(*sys.argv[1:]))
