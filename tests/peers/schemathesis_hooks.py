"""Lets most requests of Schemathesis carry a key that is good, so that they get past the door.

`TICKGATE_TEST_KEY` holds it. One request in eight keeps whatever was made up for it.
"""

import os
import zlib

import schemathesis

KEY = os.environ["TICKGATE_TEST_KEY"]
# Where an order is worth something, so that some requests reach the broker.
NAME = {"symbol": "INFY", "exchange": "NSE", "underlying": "NIFTY"}


@schemathesis.hook
def before_call(context, case, **kwargs):
    chance = zlib.crc32(repr((case.body, case.query)).encode("utf-8", "surrogatepass"))
    if chance % 8 == 0:
        return
    if isinstance(case.body, dict) and "apikey" in case.body:
        case.body["apikey"] = KEY
        if chance % 8 > 3:
            case.body.update((name, value) for name, value in NAME.items() if name in case.body)
    if case.query and "apikey" in case.query:
        case.query["apikey"] = KEY
