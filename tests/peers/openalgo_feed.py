"""Drives the unmodified OpenAlgo client against a running server and prints what it saw as JSON.

Usage: openalgo_feed.py WS_URL KEY EXCHANGE:SYMBOL...
"""

import json
import sys
import threading
import time

from openalgo import api


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def main():
    ws_url, key, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    instruments = [dict(zip(("exchange", "symbol"), name.split(":", 1))) for name in names]
    seen = {"ltp": {}, "quote": {}, "depth": {}}
    lock = threading.Lock()

    def recorder(mode):
        def record(frame):
            with lock:
                entry = seen[mode].setdefault(frame["exchange"] + ":" + frame["symbol"], {"count": 0})
                entry["count"] += 1
                entry["last"] = frame
        return record

    wrong = api(api_key="not-a-key", host="http://127.0.0.1:5000", ws_url=ws_url)
    wrong_started = time.monotonic()
    wrong_connected = wrong.connect()
    wrong_seconds = time.monotonic() - wrong_started
    wrong.disconnect()

    client = api(api_key=key, host="http://127.0.0.1:5000", ws_url=ws_url)
    started = time.monotonic()
    connected = client.connect()
    connect_seconds = time.monotonic() - started

    subscribed = started = time.monotonic()
    results = [
        client.subscribe_ltp(instruments, on_data_received=recorder("ltp")),
        client.subscribe_quote(instruments, on_data_received=recorder("quote")),
        client.subscribe_depth(instruments, on_data_received=recorder("depth")),
    ]

    def everything_twice():
        with lock:
            return all(
                seen[mode].get(name, {"count": 0})["count"] >= 2 for mode in seen for name in names
            )

    complete = wait_for(everything_twice)
    getters = {
        "ltp": client.get_ltp(),
        "quotes": client.get_quotes(),
        "depth": client.get_depth(),
    }

    # After unsubscribing, the callbacks must stop. Frames already on the way may still come.
    client.unsubscribe_ltp(instruments)
    client.unsubscribe_quote(instruments)
    client.unsubscribe_depth(instruments)
    time.sleep(1.0)
    with lock:
        before = {mode: sum(e["count"] for e in seen[mode].values()) for mode in seen}
    time.sleep(2.0)
    with lock:
        after = {mode: sum(e["count"] for e in seen[mode].values()) for mode in seen}
    client.disconnect()

    json.dump(
        {
            "wrong_key": {"connected": wrong_connected, "seconds": wrong_seconds},
            "connected": connected,
            "connect_seconds": connect_seconds,
            "subscribe_results": results,
            "complete": complete,
            "seen": seen,
            "getters": getters,
            "after_unsubscribe": {"before": before, "after": after},
        },
        sys.stdout,
    )


main()
