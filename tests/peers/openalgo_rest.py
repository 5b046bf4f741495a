"""Drives every REST call of the unmodified OpenAlgo client that the server offers, and prints what
the client returned as one line of JSON. What is right is judged by whoever started it.

Usage: openalgo_rest.py HTTP_URL WS_URL KEY data|orders, and on standard input a JSON object with `exchange`,
`symbol`, `low` and `high` (prices at which nothing trades), `intervals` (interval: [start, end]).
"""

import json
import sys
import threading
import time

import pandas as pd
from openalgo import api

STRATEGY = "peers"


def plain(result):
    """What the client returned, as JSON can hold it."""
    if isinstance(result, pd.DataFrame):
        rows = [
            [str(index)] + [row[name].item() for name in ("open", "high", "low", "close", "volume")]
            for index, row in result.iterrows()
        ] if result.index.name == "timestamp" else result.to_dict("records")
        return {"index": str(result.index.dtype), "count": len(result), "rows": rows}
    return result


class Asker(dict):
    """What was asked, and what the client returned."""

    def __call__(self, name, call, **kwargs):
        self[name] = plain(call(**kwargs))
        return self[name]


def data(client, wanted, host, ws_url):
    ask = said = Asker()
    symbol = wanted["symbol"]
    one = {"exchange": wanted["exchange"], "symbol": symbol}
    ask("quotes", client.quotes, **one)
    ask("multiquotes", client.multiquotes, symbols=[one, {"exchange": "NSE", "symbol": "NOPE"}])
    ask("depth", client.depth, **one)
    ask("intervals", client.intervals)
    for interval, (start, end) in wanted["intervals"].items():
        ask("history " + interval, client.history, interval=interval, start_date=start, end_date=end, **one)
    ask("symbol", client.symbol, **one)
    ask("search", client.search, query="NIFTY FUT", exchange="NFO")
    ask("expiry", client.expiry, symbol="NIFTY", exchange="NFO", instrumenttype="options")
    expiries = said["expiry"].get("data") or [""]
    ask("optionsymbol", client.optionsymbol, underlying="NIFTY", exchange="NSE_INDEX", offset="ATM",
        option_type="CE", expiry_date=expiries[0].replace("-", ""))
    ask("instruments", client.instruments, exchange="NSE")
    said["instruments"] = {"count": said["instruments"]["count"],
                           "row": [r for r in said["instruments"]["rows"] if r["symbol"] == symbol]}
    ask("analyzerstatus", client.analyzerstatus)
    ask("holidays", client.holidays, year=2026)
    ask("timings on a holiday", client.timings, date="2026-01-26")
    ask("timings", client.timings, date="2026-01-27")

    return said, []


def orders(client, wanted, host, ws_url):
    ask = said = Asker()
    one = {"exchange": wanted["exchange"], "symbol": wanted["symbol"]}
    low, high = wanted["low"], wanted["high"]
    updates = []
    lock = threading.Lock()

    def record(frame):
        with lock:
            updates.append(frame)

    def settled(order_id):
        """The order's state once nothing happens to it any more."""
        deadline = time.monotonic() + 60
        while True:
            answer = client.orderstatus(order_id=order_id, strategy=STRATEGY)
            status = answer.get("data", {}).get("order_status")
            if status in ("complete", "cancelled", "rejected") or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    follows = hasattr(client, "subscribe_orders")
    if follows:
        assert client.connect()
        assert client.subscribe_orders(on_order_update=record)

    # An order that stands, is changed, and is taken back.
    order = dict(one, strategy=STRATEGY, product="MIS")
    placed = ask("placeorder", client.placeorder, action="BUY", price_type="LIMIT", quantity=3, price=low, **order)
    number = placed.get("orderid")
    ask("orderstatus placed", client.orderstatus, order_id=number, strategy=STRATEGY)
    ask("modifyorder", client.modifyorder, order_id=number, action="BUY", price_type="LIMIT", quantity=7,
        price=low, **order)
    ask("orderstatus modified", client.orderstatus, order_id=number, strategy=STRATEGY)
    ask("cancelorder", client.cancelorder, order_id=number, strategy=STRATEGY)
    said["orderstatus cancelled"] = settled(number)

    # One that is done, and a position that is brought back to nothing.
    ask("openposition before", client.openposition, **order)
    bought = ask("placeorder market", client.placeorder, action="BUY", quantity=5, **order)
    said["orderstatus complete"] = settled(bought.get("orderid"))
    ask("openposition bought", client.openposition, **order)
    size = said["openposition before"].get("quantity", 0)
    sold = ask("placesmartorder", client.placesmartorder, action="SELL", quantity=0, position_size=size, **order)
    said["orderstatus smart"] = settled(sold.get("orderid"))
    ask("openposition after", client.openposition, **order)
    ask("placesmartorder matched", client.placesmartorder, action="SELL", quantity=0, position_size=size, **order)

    legs = [dict(one, action="SELL", quantity=2, pricetype="LIMIT", product="MIS", price=high),
            dict(one, action="BUY", quantity=1, pricetype="LIMIT", product="MIS", price=low)]
    ask("basketorder", client.basketorder, strategy=STRATEGY, orders=legs)
    ask("splitorder", client.splitorder, action="BUY", quantity=10, splitsize=4, price_type="LIMIT", price=low, **order)
    ask("cancelallorder", client.cancelallorder, strategy=STRATEGY)
    for cancelled in said["cancelallorder"].get("canceled_orders", []):
        settled(cancelled)
    ask("closeposition", client.closeposition, strategy=STRATEGY)
    time.sleep(2)

    for name in ("funds", "orderbook", "tradebook", "positionbook", "holdings"):
        ask(name, getattr(client, name))

    # What is not right, and what is not there.
    ask("wrong: unknown order", client.orderstatus, order_id="1", strategy=STRATEGY)
    ask("wrong: unknown symbol", client.quotes, symbol="NOPE", exchange="NSE")
    ask("wrong: interval", client.history, interval="1d", start_date="2026-01-01", end_date="2026-01-02", **one)
    ask("wrong: quantity", client.placeorder, action="BUY", quantity=0, **order)
    ask("missing: margin", client.margin, positions=[dict(one, action="BUY", product="MIS", pricetype="MARKET", quantity=1)])
    ask("missing: optionchain", client.optionchain, underlying="NIFTY", exchange="NSE_INDEX")
    ask("missing: syntheticfuture", client.syntheticfuture, underlying="NIFTY", exchange="NSE_INDEX",
        expiry_date="28OCT25")
    ask("missing: optiongreeks", client.optiongreeks, symbol="NIFTY28OCT2525000CE", exchange="NFO")
    stranger = api(api_key="not-a-key", host=host, ws_url=ws_url)
    ask("stranger: quotes", stranger.quotes, **one)
    ask("stranger: funds", stranger.funds)
    ask("stranger: placeorder", stranger.placeorder, action="BUY", quantity=1, **order)

    if follows:
        client.disconnect()
    with lock:
        return said, updates


def main():
    host, ws_url, key, part = sys.argv[1:5]
    client = api(api_key=key, host=host, ws_url=ws_url)
    said, updates = {"data": data, "orders": orders}[part](client, json.load(sys.stdin), host, ws_url)
    report = {"said": said, "updates": updates, "follows": hasattr(client, "subscribe_orders")}
    # The client prints progress of its own; the report is the last line.
    print()
    print(json.dumps(report, allow_nan=False))


main()
