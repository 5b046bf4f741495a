"""A client of the simulated broker on an unmodified Python library: python-socketio, or
xts-api-client on its own fork of it. It logs in, subscribes, receives, stops the market, and prints
what it then has. The test compares that with the truth.

Arguments: base URL, app key, secret key, flavour.
"""

import asyncio
import json
import sys
import time

import requests

BASE, APP_KEY, SECRET_KEY, FLAVOUR = sys.argv[1:5]
PREFIX = "/apimarketdata"
CODE = 1502
INSTRUMENTS = [
    {"exchangeSegment": 1, "exchangeInstrumentID": 2885},
    {"exchangeSegment": 1, "exchangeInstrumentID": 3045},
]
WANTED = 3
PATIENCE = 40

report = {"joined": False, "transport": None, "events": 0, "last": {}}


def call(method, path, body=None, token=None):
    headers = {"authorization": token} if token else {}
    answer = requests.request(method, BASE + path, json=body, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


def on_joined(_data):
    report["joined"] = True


def on_depth(data):
    message = json.loads(data)
    line = message["Touchline"]
    rows = {side: [[row["Price"], row["Size"]] for row in message[side]] for side in ("Bids", "Asks")}
    report["last"][f"{message['ExchangeSegment']}:{message['ExchangeInstrumentID']}"] = {
        "ltp": line["LastTradedPrice"],
        "ltq": line["LastTradedQunatity"],
        "volume": line["TotalTradedQuantity"],
        "open": line["Open"],
        "high": line["High"],
        "low": line["Low"],
        "close": line["Close"],
        "bids": rows["Bids"],
        "asks": rows["Asks"],
    }
    report["events"] += 1


def have_all():
    return report["joined"] and report["events"] >= WANTED and len(report["last"]) == len(INSTRUMENTS)


def is_true(truth):
    for wanted in INSTRUMENTS:
        have = report["last"][f"{wanted['exchangeSegment']}:{wanted['exchangeInstrumentID']}"]
        now = next(
            i
            for i in truth["instruments"]
            if i["segment"] == wanted["exchangeSegment"] and i["id"] == wanted["exchangeInstrumentID"]
        )
        if (have["volume"], have["bids"][0][1], have["asks"][0][1]) != (now["volume"], now["bid_size"], now["ask_size"]):
            return False
    return True


def stop_market():
    call("POST", "/__sim/mute", {"on": True})
    return call("GET", "/__sim/truth")


def blocking(transports):
    import socketio

    login = call("POST", PREFIX + "/auth/login", {"appKey": APP_KEY, "secretKey": SECRET_KEY})["result"]
    token = login["token"]
    call("POST", PREFIX + "/instruments/subscription", {"instruments": INSTRUMENTS, "xtsMessageCode": CODE}, token)
    client = socketio.Client(reconnection=False)
    client.on("joined", on_joined)
    client.on("1502-json-full", on_depth)
    url = f"{BASE}/?token={token}&userID={login['userID']}&publishFormat=JSON&broadcastMode=Full"
    client.connect(url, transports=transports, socketio_path=PREFIX + "/socket.io")
    end = time.monotonic() + PATIENCE
    while not have_all():
        assert time.monotonic() < end, "not enough came"
        client.sleep(0.01)
    truth = stop_market()
    end = time.monotonic() + 5
    while not is_true(truth) and time.monotonic() < end:
        client.sleep(0.01)
    report["transport"] = client.transport()
    client.disconnect()


async def with_xts_api_client():
    from xts_api_client.market_data_socket import MDSocket_io
    from xts_api_client.xts_connect import XTSConnect

    xts = XTSConnect(APP_KEY, SECRET_KEY, "WEBAPI", BASE)
    assert xts.marketdata_login()["type"] == "success"
    assert xts.send_subscription(INSTRUMENTS, CODE)["type"] == "success"

    class Handlers:
        """Every callback that the client asks for."""

        def __getattr__(self, name):
            async def ignore(*_arguments):
                return None

            return ignore

        async def on_event_market_data_full(self, data):
            on_depth(data)

    socket = MDSocket_io(xts.token, xts.userID, BASE, Handlers(), reconnection=False)

    async def joined(data):
        on_joined(data)

    socket.on("joined", joined)
    await socket.connect()
    end = time.monotonic() + PATIENCE
    while not have_all():
        assert time.monotonic() < end, "not enough came"
        await asyncio.sleep(0.01)
    truth = await asyncio.to_thread(stop_market)
    end = time.monotonic() + 5
    while not is_true(truth) and time.monotonic() < end:
        await asyncio.sleep(0.01)
    report["transport"] = socket.transport()
    await socket.disconnect()


if FLAVOUR == "xts-api-client":
    asyncio.run(with_xts_api_client())
else:
    blocking({"default": None, "polling": ["polling"], "websocket": ["websocket"]}[FLAVOUR])
print(json.dumps(report), flush=True)
