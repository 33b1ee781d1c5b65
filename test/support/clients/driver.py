"""Does what lines on standard input say with the Python client, and prints an answer to each."""

import json
import os
import sys
import threading
import time

sys.path.insert(0, os.environ["CLIENT_FOLDER"])
import sluice_client  # noqa: E402
from sluice_client import SluiceClient, SluiceError  # noqa: E402

sluice_client.SILENCE = float(os.environ.get("SILENCE", sluice_client.SILENCE))
# The failure of the client's thread is the answer to a command.
threading.excepthook = lambda _: None
active_jobs = os.environ["ACTIVE_JOBS"]


def say(value):
    # One write: the thread of the client and this one may print at the same time.
    os.write(sys.stdout.fileno(), (json.dumps(value) + "\n").encode())


def heartbeat():
    return {"activeJobs": float(active_jobs), "totalProcessed": 2, "systemStatus": "crawling"}


def on_rejected(error):
    action = os.environ.get("ON_REJECTED")
    if action == "publish":
        publish(1000)
    elif action == "close":
        client.close()
        assert "sluice" not in [thread.name for thread in threading.enumerate()]
    say({"rejected": error["code"]})


client = SluiceClient(
    os.environ["SOCKET_PATH"],
    crawler_id=os.environ["CRAWLER_ID"],
    token=os.environ.get("TOKEN"),
    heartbeat=heartbeat if active_jobs else None,
    on_rejected=on_rejected,
    max_unconfirmed=int(os.environ.get("MAX_UNCONFIRMED", 16 * 1024 * 1024)),
    max_received=int(os.environ.get("MAX_RECEIVED", 10_000)),
)


def publish(number, text=None):
    data = {"stage": "fetching", "entityType": "issue", "processed": number, "message": text}
    client.publish("job_progress", data, job_id="producer-" + os.environ["PRODUCER"])


def statistics():
    return {"rejected": client.rejected, "resent": client.resent, "connections": client.connections}


for line in sys.stdin:
    command, *args = line.split()
    try:
        if command == "publish":
            for number in range(int(args[0]), int(args[1])):
                publish(number)
            answer = "published"
        elif command == "large":
            publish(int(args[0]), "ä" * int(args[1]))
            answer = "published"
        elif command == "slowly":
            for number in range(int(args[0])):
                publish(number, "ä" * 2000)
                time.sleep(0.001)
            answer = "published"
        elif command == "invalid":
            publish(-1)
            answer = "published"
        elif command == "flush":
            client.flush(float(args[0]))
            answer = "flushed"
        elif command == "next":
            answer = client.next_message(timeout=30)["type"]
        elif command == "drain":
            while True:
                client.next_message(timeout=30)
        elif command == "statistics":
            answer = statistics()
        elif command == "cpu":
            # In milliseconds.
            answer = time.process_time() * 1000
        else:
            answer = client.close(timeout=float(args[0]) if args else 30)
    except (SluiceError, TimeoutError, ValueError) as error:
        answer = getattr(error, "code", type(error).__name__)
    say({"answer": answer})
