"""The day of limit-order events, read and followed independently of the example's C code: what the example
must come to."""

import base64
import csv
import lzma
import os
import struct

from cantus_test import SOURCE

FILE = os.path.join(SOURCE, "examples", "orderbook", "data", "orders.csv.xz")
ACTIONS = {"created": 1, "changed": 2, "deleted": 3}
SIDES = {"bid": 1, "ask": 2}


def cents(text):
    whole, _, part = text.partition(".")
    return int(whole) * 100 + int((part + "00")[:2])


def rows():
    with lzma.open(FILE, "rt", newline="") as f:
        return list(csv.DictReader(f))


def payloads(events):
    """What the injector publishes, one payload an event, as `sub --json` prints it."""
    return [base64.b64encode(struct.pack("<QQQIBB", int(e["id"]), int(e["timestamp"]), int(e["volume"]),
                                         cents(e["price"]), ACTIONS[e["action"]],
                                         SIDES[e["direction"]])).decode() for e in events]


def book(events):
    """The fields of the example's JSON line that follow from the events alone."""
    live, unknown = {}, 0
    for e in events:
        order = int(e["id"])
        if e["action"] == "created":
            live[order] = (e["direction"], cents(e["price"]), int(e["volume"]))
        elif order not in live:
            unknown += 1
        elif e["action"] == "changed":
            live[order] = (e["direction"], cents(e["price"]), int(e["volume"]))
        else:
            del live[order]
    bids = [o for o in live.values() if o[0] == "bid"]
    asks = [o for o in live.values() if o[0] == "ask"]
    return {
        "events": len(events),
        "unknown": unknown,
        "live_orders": len(live),
        "best_bid": max((o[1] for o in bids), default=0),
        "best_ask": min((o[1] for o in asks), default=0),
        "bid_levels": len({o[1] for o in bids}),
        "ask_levels": len({o[1] for o in asks}),
        "bid_volume": sum(o[2] for o in bids),
        "ask_volume": sum(o[2] for o in asks),
    }
