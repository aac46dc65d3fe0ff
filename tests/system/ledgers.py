"""The rules of the payments ledger once more, independently of the example's C code: what the messages of a
stream must come to."""

PERIODS_MAX = 64
HOLD_STATES = ("held", "captured", "released", "expired")


class Ledger:
    def __init__(self):
        self.balance, self.overdraft, self.held = {}, {}, {}
        self.known = {}      # reference -> [words, state, from, to, amount]
        self.open = {}       # reference of an open hold -> when it expires
        self.counts = {}
        self.payments = self.volume = 0
        self.period_ns = self.next_ns = 0
        self.due = []        # (payments, volume) at the end of each period
        self.announced, self.disputed, self.closed = 0, 0, False

    def pay(self, source, target, amount):
        self.balance[source] -= amount
        self.balance[target] += amount
        self.payments += 1
        self.volume += amount

    def end(self, reference, state):
        entry = self.known[reference]
        _, _, source, target, amount = entry
        del self.open[reference]
        entry[1] = state
        self.held[source] -= amount
        if state == "captured":
            self.pay(source, target, amount)

    def settle(self):
        if len(self.due) - self.announced == PERIODS_MAX:
            self.due.pop()
        self.due.append((self.payments, self.volume))

    def advance(self, now_ns):
        """What falls due before a message stamped so."""
        while True:
            first = min(((due, r) for r, due in self.open.items() if due <= now_ns), default=None)
            if self.next_ns and self.next_ns <= now_ns and (first is None or self.next_ns < first[0]):
                self.settle()
                self.next_ns += self.period_ns
            elif first is not None:
                self.end(first[1], "expired")
                self.counts["expired"] = self.counts.get("expired", 0) + 1
            else:
                return

    def apply(self, m):
        now_ns = m["timestamp_ns"]
        self.advance(now_ns)
        if m["topic"] == "/ledger/settlements":
            words = m["payload"].split()
            mine = len(self.due) > self.announced and ["settlement", str(self.announced + 1), "payments", str(
                self.due[self.announced][0]), "volume", str(self.due[self.announced][1]), "balances"]
            if words[:-1] == mine:
                self.announced += 1
            else:
                self.disputed += 1
        elif m["topic"] == "/ledger/instructions":
            outcome = self.instruct(m["payload"], now_ns)
            self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def instruct(self, text, now_ns):
        verb, *words = text.split(" ")
        if verb == "open":
            if words[0] in self.balance:
                return "account exists"
            self.balance[words[0]] = self.held[words[0]] = 0
            self.overdraft[words[0]] = int(words[1])
        elif verb == "every":
            self.period_ns, self.closed = int(words[0]) * 10**6, False
            self.next_ns = now_ns + self.period_ns
        elif verb == "close":
            if not self.closed:
                self.settle()
            self.closed, self.next_ns = True, 0
        elif verb in ("capture", "release"):
            return self.end_hold(int(words[0]), verb + "d" if verb[-1] == "e" else verb + "ed")
        else:
            return self.move(verb, text, words, now_ns)
        return "done"

    def end_hold(self, reference, state):
        was = self.known.get(reference, [None, None])[1]
        if was not in HOLD_STATES:
            return "no such hold"
        if was != "held":
            return "repeated" if was == state else "hold is over"
        self.end(reference, state)
        return state

    def move(self, verb, text, words, now_ns):
        reference, (source, target), amount = int(words[0]), words[1:3], int(words[3])
        if reference in self.known:
            return "repeated" if self.known[reference][0] == text else "reference used"
        state = "paid" if verb == "transfer" else "held"
        if source not in self.balance or target not in self.balance:
            state = "no such account"
        elif self.balance[source] + self.overdraft[source] - self.held[source] < amount:
            state = "insufficient funds"
        elif verb == "transfer":
            self.pay(source, target, amount)
        else:
            self.held[source] += amount
            self.open[reference] = now_ns + int(words[4]) * 10**6
        self.known[reference] = [text, state, source, target, amount]
        return state

    def line(self):
        """The fields of the example's JSON line that follow from the messages."""
        return {"accounts": len(self.balance), "payments": self.payments, "volume": self.volume,
                "sum": sum(self.balance.values()), "held": sum(self.held.values()),
                "outcomes": {k: n for k, n in self.counts.items() if n}, "settlements": self.announced,
                "disputed": self.disputed}


def of(messages, through_ns):
    ledger = Ledger()
    for m in messages:
        ledger.apply(m)
    ledger.advance(through_ns)
    return ledger.line()


def comparable(line):
    """A line of the program, without what the model does not say."""
    return {**{k: line[k] for k in ("accounts", "payments", "volume", "sum", "held", "settlements", "disputed")},
            "outcomes": {k: n for k, n in line["outcomes"].items() if n}}
