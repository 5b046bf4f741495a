"""A reader of tickgate.v1 in nothing but Python's standard library, written by the tables of
src/protocol/PROTOCOL.md. Compares, field by field, what it decodes with what a second, plain
connection is told in JSON, and prints a report.

    python3 binary_reader.py ws://127.0.0.1:8765 KEY NSE:RELIANCE …
"""

import base64
import json
import os
import socket
import struct
import sys
import threading
from collections import namedtuple
from decimal import Decimal
from urllib.parse import urlsplit

# ---- the reader: this is all that a program needs ----

HEADER = struct.Struct("<HBBIQIHxxqqq")
Header = namedtuple("Header", "len kind flags number seq epoch source ts_event ts_recv ts_sent")
DIRECTORY = struct.Struct("<qqIBxH16s")
LTP = struct.Struct("<4q")
QUOTE = struct.Struct("<13q2I3q")
DEPTH = struct.Struct("<13q2I3q2q" + "qqI4x" * 10)
UNKNOWN = -(2**63)

LTP_FIELDS = "price quantity volume trade_time".split()
QUOTE_FIELDS = LTP_FIELDS + (
    "average open high low close bid_price bid_quantity ask_price ask_quantity "
    "bid_orders ask_orders total_buy total_sell open_interest"
).split()
DEPTH_FIELDS = QUOTE_FIELDS + "upper_circuit lower_circuit".split()


def records(message, names):
    """Yields (name, kind, header, fields) of each market-data record; keeps `names` up to date."""
    at = 0
    while at < len(message):
        head = Header(*HEADER.unpack_from(message, at))
        kind, number, body = head.kind, head.number, at + HEADER.size
        if kind == 1:
            assert message[body : body + 8] == b"tickgate"
        elif kind == 2:
            *_, symbol_len, exchange = DIRECTORY.unpack_from(message, body)
            symbol = message[body + 40 : body + 40 + symbol_len].decode()
            names[number] = (exchange.rstrip(b"\0").decode(), symbol)
        elif kind == 16:
            yield names[number], 1, head, dict(zip(LTP_FIELDS, LTP.unpack_from(message, body)))
        elif kind == 17:
            yield names[number], 2, head, dict(zip(QUOTE_FIELDS, QUOTE.unpack_from(message, body)))
        elif kind == 18:
            values = DEPTH.unpack_from(message, body)
            fields = dict(zip(DEPTH_FIELDS, values))
            levels = [values[i : i + 3] for i in range(len(DEPTH_FIELDS), len(values), 3)]
            fields["bids"], fields["asks"] = levels[:5], levels[5:]
            yield names[number], 3, head, fields
        # Any other kind is passed over.
        at += head.len


# ---- a WebSocket, as far as this needs one ----


class WebSocket:
    def __init__(self, url, protocol=None):
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=60)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET / HTTP/1.1",
            f"Host: {place.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        if protocol:
            lines.append(f"Sec-WebSocket-Protocol: {protocol}")
        self.socket.sendall("\r\n".join(lines + ["", ""]).encode())
        answer = [self.stream.readline().decode().strip()]
        while answer[-1]:
            answer.append(self.stream.readline().decode().strip())
        assert answer[0].startswith("HTTP/1.1 101"), answer
        headers = dict(line.lower().split(": ", 1) for line in answer[1:-1])
        self.protocol = headers.get("sec-websocket-protocol")

    def frame(self, opcode, payload):
        length = len(payload)
        start = bytes([0x80 | opcode])
        start += bytes([0x80 | length]) if length < 126 else struct.pack(">BH", 0xFE, length)
        # A mask of zeros leaves the payload as it is.
        self.socket.sendall(start + bytes(4) + payload)

    def say(self, what):
        self.frame(1, json.dumps(what).encode())

    def messages(self):
        while True:
            first, length = self.stream.read(2)
            if length == 126:
                (length,) = struct.unpack(">H", self.stream.read(2))
            elif length == 127:
                (length,) = struct.unpack(">Q", self.stream.read(8))
            payload = self.stream.read(length)
            if first & 15 == 9:
                self.frame(10, payload)
            elif first & 15 == 8:
                raise EOFError(payload)
            else:
                yield first & 15, payload

    def subscribe(self, key, names):
        self.say({"action": "authenticate", "api_key": key})
        symbols = [{"exchange": exchange, "symbol": symbol} for exchange, symbol in names]
        for mode in (1, 2, 3):
            self.say({"action": "subscribe", "symbols": symbols, "mode": mode})


# ---- the comparison ----


def units(value):
    """A number of a JSON frame: prices in 1e-9."""
    return int(value * 10**9) if isinstance(value, Decimal) else value


def of_record(mode, head, fields):
    known = lambda name: None if fields[name] == UNKNOWN else fields[name]
    said = {
        "ltp": fields["price"],
        "timestamp": head.ts_recv // 10**6,
        "ltt": fields["trade_time"] // 10**6 or None,
        "volume": known("volume"),
    }
    if mode == 1:
        return said | {"ltq": fields["quantity"]}
    said |= {name: fields[name] for name in ("open", "high", "low", "close")}
    said |= {
        "oi": known("open_interest"),
        "total_buy_quantity": fields["total_buy"],
        "total_sell_quantity": fields["total_sell"],
    }
    if mode == 2:
        return said | {
            "ltq": fields["quantity"],
            "average_price": fields["average"],
            "bid_price": fields["bid_price"],
            "bid_size": fields["bid_quantity"],
            "ask_price": fields["ask_price"],
            "ask_size": fields["ask_quantity"],
        }
    return said | {
        "upper_circuit": known("upper_circuit") or 0,
        "lower_circuit": known("lower_circuit") or 0,
        "buy": fields["bids"],
        "sell": fields["asks"],
    }


def of_json(mode, data):
    names = ["ltp", "timestamp", "ltt", "volume"]
    if mode > 1:
        names += ["open", "high", "low", "close", "oi", "total_buy_quantity", "total_sell_quantity"]
    if mode < 3:
        names += ["ltq"]
    if mode == 2:
        names += ["average_price", "bid_price", "bid_size", "ask_price", "ask_size"]
    if mode == 3:
        names += ["upper_circuit", "lower_circuit"]
    said = {name: units(data.get(name)) for name in names}
    for side in ("buy", "sell") if mode == 3 else ():
        said[side] = [tuple(units(level[k]) for k in ("price", "quantity", "orders")) for level in data["depth"][side]]
    return said


def main(url, key, *names):
    names = [tuple(name.split(":", 1)) for name in names]
    topics = {(name, mode) for name in names for mode in (1, 2, 3)}
    binary = WebSocket(url, "tickgate.v1")
    assert binary.protocol == "tickgate.v1", binary.protocol
    binary.subscribe(key, names)
    seen, begun, ends, holes = {}, threading.Event(), {}, []

    def read_binary():
        known, sequences = {}, {}
        for opcode, payload in binary.messages():
            if opcode != 2:
                continue
            for name, mode, head, fields in records(payload, known):
                before = sequences.get((name, mode))
                if before is not None and head.seq not in (before, before + 1):
                    holes.append((name, mode, before, head.seq))
                sequences[name, mode] = head.seq
                seen.setdefault((name, mode), []).append(of_record(mode, head, fields))
            if seen.keys() == topics:
                begun.set()
            if ends and all(seen[topic][-1]["timestamp"] > end for topic, end in ends.items()):
                return

    thread = threading.Thread(target=read_binary, daemon=True)
    thread.start()
    assert begun.wait(60), "no records came"

    plain = WebSocket(url)
    assert plain.protocol is None
    plain.subscribe(key, names)
    told = {}
    for opcode, payload in plain.messages():
        frame = json.loads(payload, parse_float=Decimal)
        if frame.get("type") != "market_data":
            continue
        topic = ((frame["exchange"], frame["symbol"]), frame["mode"])
        told.setdefault(topic, []).append(of_json(frame["mode"], frame["data"]))
        if told.keys() == topics and all(len(frames) > 5 for frames in told.values()):
            break
    ends.update({topic: frames[-1]["timestamp"] for topic, frames in told.items()})
    thread.join(60)
    assert not thread.is_alive(), "the records stopped"

    different = []
    for topic, frames in told.items():
        # The first may be the last value, encoded when it was asked for.
        live, whole = frames[1:], seen[topic]
        if not any(whole[i : i + len(live)] == live for i in range(len(whole))):
            different.append({"topic": str(topic), "json": str(live), "binary": str(whole)})
    compared = sum(len(frames) - 1 for frames in told.values())
    print(json.dumps({"compared": compared, "different": different, "holes": holes}))


if __name__ == "__main__":
    main(*sys.argv[1:])
