#!/usr/bin/env python3
"""Executable specification of failover in a sequenced log (seal, adopt, begin), searched for violations.

Names.    An epoch is (number, candidate), a position (epoch, seq), a log what a process holds of the history.
Seal.     A candidate asks the stores to promise its epoch. A promise is durable before it is answered, is given to one
          candidate of a number, is answered again to that one only, and ends recording for anything older.
Adopt.    Of all tails reported it takes the highest (epoch of the last entry, length). It needs the seal quorum of the
          newest membership in the best tail so far, judged anew with every tail that arrives.
Begin.    It emits its epoch record at once; at most one leader begins per number.
Record.   A store takes batches of the epoch it promised, or of a higher number. Where its log differs from the history
          that the batch vouches for, it cuts exactly at the common end (read off the two epoch tables), durably, and
          then fills, perhaps only partly before it crashes. It acknowledges (promise, length, epoch of its tail).
Stable.   W members hold it under a tail of the leader's own epoch, so an adopted tail is stable only together with an
          entry of the new epoch. W is a majority unless configured; sealing needs max(majority, n - W + 1).
Members.  The newest membership in the log counts, from its append. A change adds or removes one store, and waits until
          the previous change and an entry of the leader's own epoch are on a majority (if it waited for a W above
          that, a lost member could never be removed). A W below a majority fixes the membership, because it does not
          meet the seals of a membership one larger or smaller. A wiped store comes back as another store.
Follow.   A batch carries an entry, a heartbeat none; both vouch for a history and carry (epoch, stable). A follower
          ignores epochs older than the newest it heard, cuts at the common end, and reports FORKED at the first
          position that no longer holds. Gaps are filled from any store, even from a dead tail, but delivered only once
          the chain closes onto a batch or heartbeat of the current epoch; watermarks count for such history only.
Locked.   A store may have promised the number of an epoch that has begun to a rival. --locked says what becomes of it:
          nothing (stuck), its leader seals a higher number (self-seal), or it records the begun epoch all the same
          (equal-number): of one number only one begins, so the rival cannot any more, and a seal of it is refused.
Restored. A store may be put back to what it was. Each start of one that its leader has accepted is a run, and what it
          says names the run and what that began with. Leaders remember the most that each store said to them, and
          put it into the stream. Who began with less than it is known to have said in another run does not count,
          and is told: it comes back as another store. That happens only where every store but it holds a stable
          record that says so, and no older leader or candidate is still at it: else nobody who is asked may know.
Propose.  A proposal names the position its author had applied; a leader whose history lacks that position drops it.

The network loses, duplicates, delays and reorders: what was sent may be received at any later step, any number of
times, or never. A crashed process takes no step; only what was durable before a reply survives. A tuple of entries
stands for a history, its digest and its epoch table. Each walk ends with the network healed and a fresh candidate,
which must get an entry stable and bring every follower up to it, unless too many members were wiped to seal. With
--stay it ends otherwise: no candidate comes any more, no more stores are up than are needed, the locked ones first,
and whoever leads must get an entry stable by itself.
"""
import argparse
import random
import sys
import time
from typing import NamedTuple

FOUNDERS, GENESIS = frozenset({0, 1, 2}), (0, '')
SABOTAGES = {
    'ack-any-epoch': 'a leader counts an acknowledgement whatever the epoch of the acknowledged tail',
    'stable-on-adopt': 'a leader counts the adopted tail without an entry of its own epoch above it',
    'adopt-longest': 'a candidate adopts the longest tail instead of the highest (epoch, length)',
    'volatile-promise': 'a retransmitter forgets its promise when it restarts',
    'record-stale': 'a retransmitter records and acknowledges batches older than its promise',
    'no-digest-check': 'a retransmitter appends at the right seq without comparing the history below it',
    'minority-seal': 'a candidate begins on one promise',
    'blind-watermark': 'a follower believes a watermark without a history vouched for in its epoch',
    'epoch-number-only': 'a promise is for the number, whoever the candidate',
    'weak-quorum': 'one store makes stable while a majority seals',
    'replace-members': 'one record swaps a member for another store',
    'unguarded-membership': 'a change waits neither for the previous one nor for an entry of its own epoch',
    'static-membership': 'a candidate seals a majority of the members it was configured with',
    'small-quorum-change': 'the membership changes although W is below a majority',
    'wiped-votes': 'a wiped store comes back under its old id and votes',
    'restored-votes': 'a store is believed, whatever it is known to have said in another run',
    'cut-to-stable': 'a retransmitter that differs cuts to what it knows is stable',
    'forked-by-seq': 'a follower compares positions by seq alone',
    'deliver-unvouched': 'a follower at sequenced delivers a gap fill before the chain closes',
    'foreign-basis': 'a leader does not check the position that a proposal names',
    'begin-after-rerecord': 'a leader emits its epoch record only when the adopted tail is on the quorum',
}
LOCKED = {
    'stuck': 'a store that promised the number to a rival records nothing of the epoch',
    'self-seal': 'its leader seals a higher number itself',
    'equal-number': 'it records an epoch of that number that has begun',
}
# What the adversary does how often. A mood leans towards the situation in which one mistake shows; a search without
# sabotage draws a mood for every walk, so it is at least as hostile as each of the searches that must find something.
USUAL = dict(candidate=4, emit=8, change=2, propose=3, heartbeat=4, restart=3, wipe=.4, fill=4, deliver=70)
RESTORES = dict(candidate=2, emit=4, change=0, propose=0, heartbeat=2, restart=1, wipe=0, fill=0, deliver=80, keep=8,
                words=4, restore=20)
CHANGES = dict(USUAL, candidate=6, change=8, propose=0, wipe=0, fill=0)
FOLLOWS = dict(USUAL, candidate=5, heartbeat=8, fill=10)
FIGURE8 = dict(candidate=6, emit=4, change=0, propose=0, heartbeat=2, restart=12, wipe=0, fill=0, deliver=76)
MOODS = {
    'ack-any-epoch': FIGURE8, 'stable-on-adopt': FIGURE8,
    'replace-members': CHANGES, 'unguarded-membership': CHANGES, 'static-membership': CHANGES,
    'small-quorum-change': CHANGES, 'wiped-votes': dict(USUAL, wipe=2), 'restored-votes': RESTORES, 'blind-watermark': FOLLOWS,
    'forked-by-seq': FOLLOWS, 'deliver-unvouched': FOLLOWS, 'foreign-basis': dict(FOLLOWS, propose=10),
}
EVERY_MOOD = [USUAL, *MOODS.values()]


class Violation(Exception):
    pass


class Entry(NamedTuple):
    epoch: tuple
    value: int                  # unique, so that two entries are equal only if they are the same one
    members: frozenset | None   # a membership change
    words: tuple                # (store, run, word) of each store that was heard
    basis: tuple                # the history its author had applied; on the wire only the position of its end


def majority(n):
    return n // 2 + 1


def tail_epoch(log):
    return log[-1].epoch if log else GENESIS


def rank(tail):
    return tail_epoch(tail), len(tail)


def members_of(log):
    return next((e.members for e in reversed(log) if e.members), FOUNDERS)


def words_of(log):
    """What the newest record says: {store: (run, word)}"""
    return next(({s: (run, word) for s, run, word in e.words} for e in reversed(log) if e.words), {})


def forgets(said, now):
    """Words are (promise, tail). A promise only rises; what is of the promised epoch is cut for a later one only."""
    (promised, tail), (promised_now, tail_now) = said, now
    if promised_now[0] != promised[0]:
        return promised_now[0] < promised[0]
    return promised_now != promised or tail[0] == promised and tail_now < tail


def on_history(position, log):
    epoch, seq = position
    return seq == 0 or seq <= len(log) and log[seq - 1].epoch == epoch


def common_end(a, b):
    """The last seq to which two logs agree, by their epoch tables alone: an epoch has one leader, so two logs that
    both hold some of it agree up to where the shorter one leaves it, and in the newest such epoch they part."""
    ends_a, ends_b = ({e.epoch: seq for seq, e in enumerate(log, 1)} for log in (a, b))
    shared = ends_a.keys() & ends_b.keys()
    newest = max(shared, default=None)
    return min(ends_a[newest], ends_b[newest]) if shared else 0


def show(x):
    if isinstance(x, tuple) and (not x or isinstance(x[0], Entry)):
        return '[' + ' '.join(show(e.epoch) + f'.{seq}' + (str(set(e.members)) if e.members else '')
                              for seq, e in enumerate(x, 1)) + ']'
    return f'{x[0]}{x[1]}' if isinstance(x, tuple) else str(x)


class Retransmitter:
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.promised, self.log, self.known_stable = GENESIS, (), 0     # all of it durable
        self.settled, self.kept = GENESIS, None
        self.begin_run()

    def word(self):
        return self.promised, rank(self.log)

    def begin_run(self):
        self.world.runs += 1
        self.run = self.world.runs, self.word()     # its id, and what it began with; durable

    def keep(self):
        if self.settled == self.promised == tail_epoch(self.log) != GENESIS:
            self.kept = self.promised, self.log, self.settled

    def restore(self):
        self.promised, self.log, self.settled = self.kept
        self.known_stable = 0
        self.begin_run()
        self.world.say('store', self.name, 'is RESTORED to', self.log, 'promised', self.promised)

    def on_recall(self, epoch, run, said):
        if run != self.run[0] and forgets(said, self.run[1]):
            self.world.replace(self)
        elif run == self.run[0] and epoch == self.promised == tail_epoch(self.log):
            self.settled = epoch

    def admits(self, epoch):
        return (epoch[0] > self.promised[0] or epoch == self.promised
                or epoch[0] == self.promised[0] and self.world.bad == 'epoch-number-only')

    def on_seal(self, epoch):
        if self.admits(epoch):
            self.promised = epoch
            self.world.say('store', self.name, 'promises', epoch, 'with', self.log)
            self.world.send('promise', epoch, self.name, self.log, self.run)

    def is_locked(self, epoch):
        return self.promised[0] == epoch[0] and self.promised != epoch

    def on_history(self, epoch, history, stable, carries):
        """A batch, or a heartbeat, whose digest vouches for as much: only an epoch that has begun says anything."""
        bad = self.world.bad
        if self.admits(epoch) or self.is_locked(epoch) and self.world.locked == 'equal-number':
            self.promised = epoch
        elif bad != 'record-stale':
            return
        before = self.log
        if before[:len(history)] != history:
            if bad == 'no-digest-check':
                unchecked = before[:len(history) - 1]
                self.log = unchecked + history[len(unchecked):]
            else:
                keep = common_end(before, history)
                self.world.check_end('store', self.name, keep, before, history)
                if keep < len(before) and bad == 'cut-to-stable':
                    keep = min(keep, self.known_stable)
                self.log = history[:self.world.crash_between(keep, len(history))]
            self.world.say('store', self.name, 'had', before, 'records', self.log, 'for', epoch)
        self.known_stable = max(self.known_stable, min(stable, len(self.log)))
        self.acknowledge(epoch)

    def acknowledge(self, epoch):
        if self.log:
            self.world.send('ack', epoch, self.name, len(self.log), tail_epoch(self.log), self.promised, self.run,
                            self.settled == self.promised)

    def restart(self):
        if self.world.bad == 'volatile-promise':
            self.promised = tail_epoch(self.log)
            self.world.say('store', self.name, 'restarts and believes it promised', self.promised)
        if self.settled == self.promised == tail_epoch(self.log):
            self.settled = GENESIS
            self.begin_run()
        self.acknowledge(self.promised)


class Sequencer:
    """A candidate, and once log is set the leader of its epoch."""

    def __init__(self, world, epoch):
        self.world, self.epoch = world, epoch
        self.tails, self.acks, self.said = {}, {}, {}
        self.log, self.adopted, self.stable = None, 0, 0
        self.runs = {}                              # of who promised
        self.over = False
        self.secure = 0                             # on a majority, so that every seal meets it
        world.send('seal', None, epoch)

    def believes(self, store, run, now, log):
        """Not if it began with less than it has said in another run, here or as the history says."""
        if self.world.bad in ('restored-votes', 'wiped-votes', 'volatile-promise'):
            return True
        for other, said in filter(None, (self.said.get(store), words_of(log).get(store))):
            if forgets(said, now if other == run[0] else run[1]):
                self.world.send('recall', store, GENESIS, other, said)
                return False
        return True

    def on_promise(self, store, tail, run):
        if self.log is not None:
            return
        bad = self.world.bad
        self.tails[store] = tail
        self.runs[store] = run
        while True:
            best = max(self.tails.values(), key=len if bad == 'adopt-longest' else rank)
            wrong = [s for s, t in self.tails.items()
                     if not self.believes(s, self.runs[s], (self.epoch, rank(t)), best)]
            if not wrong:
                break
            for s in wrong:
                del self.tails[s]
            if not self.tails:
                return
        best = max(self.tails.values(), key=len if bad == 'adopt-longest' else rank)
        members = FOUNDERS if bad == 'static-membership' else members_of(best)
        if sum(s in members for s in self.tails) < self.world.seal_quorum(len(members)):
            return
        self.log, self.adopted = best, len(best)
        self.said = {s: (self.runs[s][0], (self.epoch, rank(t))) for s, t in self.tails.items()}
        self.world.say('BEGIN', self.epoch, 'by stores', sorted(self.tails), 'adopts', best)
        self.world.check_begin(self)
        # At once: stores record older entries only below an entry of an epoch they promised, so a leader that first
        # wanted the adopted tail on the quorum would wait for ever.
        if not best or bad != 'begin-after-rerecord':
            self.emit()

    def leads(self):
        return self.log is not None and tail_epoch(self.log) == self.epoch

    def words(self):
        known = words_of(self.log)
        for store, (run, word) in self.said.items():
            if store not in known or not forgets(known[store][1], word):
                known[store] = run, word
        self.emit(words=tuple((s, run, word) for s, (run, word) in sorted(known.items())))

    def emit(self, members=None, basis=(), words=()):
        self.world.values += 1
        self.log += (Entry(self.epoch, self.world.values, members, words, basis),)
        self.world.say(self.epoch, 'emits', self.log)
        self.world.send('history', None, self.epoch, self.log, self.stable, True)

    def heartbeat(self):
        self.world.send('history', None, self.epoch, self.log, self.stable, False)

    def on_proposal(self, basis):
        if on_history((tail_epoch(basis), len(basis)), self.log) or self.world.bad == 'foreign-basis':
            self.emit(basis=basis)

    def change(self, store):
        """Add a store that is no member, or remove one that is."""
        members, bad = members_of(self.log), self.world.bad
        last = max((seq for seq, e in enumerate(self.log, 1) if e.members), default=0)
        settled = self.secure >= last and self.secure > self.adopted or bad == 'unguarded-membership'
        if not settled or self.world.membership_fixed or members == {store}:
            return
        changed = members ^ {store}
        if bad == 'replace-members' and len(changed) > len(members):
            changed -= {self.world.rng.choice(sorted(members))}
        self.emit(members=changed)

    def on_ack(self, store, length, epoch, promised, run, settled):
        if self.log is None or length > len(self.log):
            return
        bad, now = self.world.bad, (promised, (epoch, length))
        if not self.believes(store, run, now, self.log):
            return
        self.said[store] = run[0], now
        if epoch == self.epoch and not settled:
            self.world.send('recall', store, self.epoch, run[0], now)
        if epoch != self.epoch and bad != 'ack-any-epoch':
            if bad == 'stable-on-adopt' and epoch == tail_epoch(self.log[:self.adopted]):
                length = min(length, self.adopted)
            elif bad != 'begin-after-rerecord' or self.leads():
                return
        self.acks[store] = max(length, self.acks.get(store, 0))
        members = members_of(self.log)
        held = sorted((self.acks.get(m, 0) for m in members), reverse=True)
        durable = held[self.world.stable_quorum(len(members)) - 1]
        self.secure = max(self.secure, held[majority(len(members)) - 1])
        if not self.leads() and bad == 'begin-after-rerecord':
            if durable >= self.adopted:
                self.acks.clear()
                self.emit()
        elif durable > self.stable:
            self.stable = durable
            self.world.say(self.epoch, 'declares STABLE', self.log[:durable])
            self.world.check_stable(self)


class Follower:
    def __init__(self, world, level):
        self.world, self.level = world, level
        self.epoch, self.goal, self.stable = GENESIS, (), 0     # newest epoch heard; its longest history; its watermark
        self.log, self.vouched, self.delivered = (), 0, ()      # log[:vouched] is on the history of self.epoch

    def agreed(self, history):
        if self.world.bad == 'forked-by-seq':
            return min(len(self.log), len(history))
        return common_end(self.log, history)

    def on_history(self, epoch, history, stable, carries):
        if epoch < self.epoch:
            return
        if epoch > self.epoch:
            self.epoch, self.goal, self.stable, self.vouched = epoch, (), 0, 0
        self.stable = max(self.stable, stable)
        if self.world.bad == 'blind-watermark' and self.level == 'stable' and not carries:
            return self.deliver(min(self.stable, len(self.log)))
        if len(history) > len(self.goal):
            self.goal = history
        self.cut()
        if carries and len(self.log) == len(history) - 1:
            self.log += history[-1:]
            self.vouched = self.agreed(self.goal)
        self.deliver()

    def cut(self):
        end = self.agreed(self.goal)
        if end < min(len(self.log), len(self.goal)):
            self.log = self.log[:end]
            if end < len(self.delivered):
                self.world.say(self.level, 'follower FORKED at', end + 1, 'had', self.delivered, 'hears', self.goal)
                if self.level == 'stable':
                    self.world.fail('delivered at stable', self.delivered, 'then changed to', self.goal)
                self.world.check_end('follower', self.level, end, self.delivered, self.goal)
                self.delivered = self.delivered[:end]
        self.vouched = end

    def on_fill(self, tail):
        """A piece of some store's log that links to the end of ours, which says nothing about whether it is dead."""
        have = len(self.log)
        if len(tail) > have and on_history((tail_epoch(self.log), have), tail):
            self.log = tail[:self.world.rng.randint(have + 1, len(tail))]
            self.world.say(self.level, 'follower fills', self.log)
            if self.world.bad == 'deliver-unvouched' and self.level == 'sequenced':
                self.deliver(len(self.log))
            if len(self.log) >= len(self.goal):
                self.cut()
            self.deliver()

    def deliver(self, upto=None):
        if upto is None:
            upto = self.vouched if self.level == 'sequenced' else min(self.stable, self.vouched)
        if upto > len(self.delivered):
            self.delivered = self.log[:upto]
            self.world.say(self.level, 'follower, at epoch', self.epoch, 'delivers', self.delivered)
        self.world.check_delivered(self)


class World:
    def __init__(self, rng, bad='', tracing=False, locked='self-seal', stay=False):
        self.rng, self.bad, self.tracing, self.locked, self.stays = rng, bad, tracing, locked, stay
        self.was_locked = False
        self.mood = MOODS.get(bad, USUAL) if bad else rng.choice(EVERY_MOOD)
        self.net, self.trace, self.values, self.healed, self.runs = [], [], 0, False, 0
        self.stores = [Retransmitter(self, name) for name in range(5 if self.mood['change'] else 3)]
        self.names = len(self.stores)
        self.sequencers = {}                        # by epoch
        self.followers = [Follower(self, 'sequenced'), Follower(self, 'stable')]
        self.stable = ()                            # the longest history ever declared stable
        self.configured = {'weak-quorum': 1, 'small-quorum-change': 2}.get(bad, rng.choice((0, 0, 0, 1, 3)))
        self.membership_fixed = self.configured == 1

    # -- configuration -------------------------------------------------------------------------------------------
    def stable_quorum(self, n):
        if self.membership_fixed or self.bad == 'small-quorum-change':
            return min(n, self.configured)
        return min(n, max(self.configured, majority(n)))

    def seal_quorum(self, n):
        if self.bad == 'minority-seal':
            return 1
        if self.bad == 'weak-quorum':
            return majority(n)
        return max(majority(n), n - self.stable_quorum(n) + 1)

    # -- what must hold ------------------------------------------------------------------------------------------
    def fail(self, *words):
        raise Violation(' '.join(map(show, words)))

    def check_end(self, kind, name, end, had, hears):
        shorter = min(len(had), len(hears))
        if had[:end] != hears[:end] or end < shorter and had[end] == hears[end]:
            self.fail(kind, name, 'had', had, 'hears', hears, 'and finds the common end at', end)

    def check_fenced(self, old, new):
        if old.stable > new.adopted or new.log[:old.stable] != old.log[:old.stable]:
            self.fail(old.epoch, 'declares stable', old.log[:old.stable],
                      'but', new.epoch, 'begins with', new.log[:new.adopted])

    def check_begin(self, new):
        for old in self.sequencers.values():
            if old is not new and old.log is not None:
                if old.epoch[0] == new.epoch[0]:
                    self.fail(old.epoch, 'and', new.epoch, 'both begin')
                self.check_fenced(*sorted((old, new), key=lambda s: s.epoch))

    def check_stable(self, leader):
        history = leader.log[:leader.stable]
        shorter = min(len(history), len(self.stable))
        if history[:shorter] != self.stable[:shorter]:
            self.fail('two histories are stable:', self.stable, 'and', history)
        self.stable = max(self.stable, history, key=len)
        for new in self.sequencers.values():
            if new.log is not None and new.epoch > leader.epoch:
                self.check_fenced(leader, new)
        for seq, entry in enumerate(history, 1):
            if history[:len(entry.basis)] != entry.basis:
                self.fail('stable', history, 'holds at', seq, 'what was proposed on the basis of', entry.basis)

    def check_delivered(self, follower):
        got, leader = follower.delivered, self.sequencers.get(follower.epoch)
        if leader and got != leader.log[:len(got)]:
            self.fail('a follower at', follower.level, 'has heard', leader.epoch, 'and stands at', got,
                      'off its history', leader.log)
        if follower.level == 'stable' and got != self.stable[:len(got)]:
            self.fail('delivered at stable', got, 'but declared stable is', self.stable)

    # -- the adversary -------------------------------------------------------------------------------------------
    def say(self, *words):
        if self.tracing:
            self.trace.append(' '.join(map(show, words)))

    def send(self, *message):
        self.net.append(message)

    def crash_between(self, keep, whole):
        """How far a store fills: all the way, or to where it crashes."""
        return whole if self.healed or self.rng.random() < .6 else self.rng.randint(keep, whole)

    def leaders(self):
        return [s for s in self.sequencers.values() if s.leads() and len(s.log) < 10 and not s.over]

    def receivers(self, kind, to, *_):
        if kind in ('promise', 'ack'):
            return [self.sequencers[to]] if to in self.sequencers and not self.sequencers[to].over else []
        if kind == 'recall':
            return [s for s in self.stores if s.name == to]
        return {'seal': self.stores, 'history': self.stores + self.followers}.get(kind) or self.leaders()

    def deliver(self, message, receiver):
        kind, _, *content = message
        getattr(receiver, 'on_' + kind)(*content)

    def candidate(self, *raises):
        """Candidates know what numbers were used only by hearsay, so several may pick the same."""
        top = max((e[0] for e in self.sequencers), default=0)
        epoch = (max(1, top + self.rng.choice(raises)), 'abcdefgh'[len(self.sequencers)])
        self.sequencers[epoch] = Sequencer(self, epoch)
        return self.sequencers[epoch]

    def step(self, action):
        rng = self.rng
        if action == 'deliver' and self.net:
            # recent messages are likelier, old ones stay possible
            back = int(rng.expovariate(.12)) if rng.random() < .8 else rng.randrange(len(self.net))
            message = self.net[-1 - min(back, len(self.net) - 1)]
            if receivers := self.receivers(*message):
                self.deliver(message, rng.choice(receivers))
        elif action == 'candidate' and len(self.sequencers) < 5:
            self.candidate(0, 1, 1)
        elif action == 'restart':
            rng.choice(self.stores).restart()
        elif action == 'wipe':
            self.replace(rng.choice(self.stores))
        elif action == 'keep':
            if stores := [s for s in self.stores if s.kept is None]:
                rng.choice(stores).keep()
        elif action == 'restore':
            if stores := [s for s in self.stores if s.kept is not None and self.will_be_noticed(s)]:
                newest = max(s.epoch for s in self.sequencers.values() if s.log is not None)
                for sequencer in self.sequencers.values():
                    sequencer.over = sequencer.over or sequencer.epoch < newest
                rng.choice(stores).restore()
        elif action == 'propose':
            self.send('proposal', None, rng.choice(self.followers).delivered)
        elif action == 'fill':
            rng.choice(self.followers).on_fill(rng.choice(self.stores).log)
        elif action in ('emit', 'heartbeat', 'change', 'words') and (leaders := self.leaders()):
            leader = rng.choice(leaders)
            if action == 'change':
                leader.change(rng.choice(sorted({s.name for s in self.stores} | members_of(leader.log))))
            else:
                getattr(leader, action)()

    def replace(self, store):
        name = old = store.name
        if self.bad != 'wiped-votes':
            name, self.names = self.names, self.names + 1
        self.say('store', old, 'is WIPED and comes back as', name)
        self.stores[self.stores.index(store)] = Retransmitter(self, name)

    def will_be_noticed(self, store):
        """It counts as a lost one, the only one; and all others hold a stable record of what it is to forget."""
        promised, log, _ = store.kept
        if self.membership_fixed or FOUNDERS != {s.name for s in self.stores}:
            return False
        stable = (words_of(self.stable[:seq]) for seq in range(1, len(self.stable) + 1))
        seq = next((seq for seq, known in enumerate(stable, 1) if store.name in known
                    and forgets(known[store.name][1], (promised, rank(log)))), None)
        return seq is not None and all(s is store or s.log[:seq] == self.stable[:seq] for s in self.stores)

    def settle(self, start):
        while start < len(self.net):
            for receiver in self.receivers(*self.net[start]):
                self.deliver(self.net[start], receiver)
            start += 1

    def heal(self):
        """The network is whole, all stores are up, and one fresh candidate tries."""
        self.healed, start = True, len(self.net)
        leader = self.candidate(1)
        self.say('the network heals,', leader.epoch, 'tries')
        self.settle(start)
        names = {s.name for s in self.stores}
        if leader.log is None:
            members = members_of(max((s.log for s in self.stores), key=rank))
            if len(members & names) < self.seal_quorum(len(members)):
                return                              # too many were wiped
        else:
            for lost in sorted(members_of(leader.log) - names):
                start = len(self.net)
                leader.change(lost)
                self.settle(start)
        start = len(self.net)
        for store in self.stores:
            store.restart()
        self.settle(start)
        if leader.stable <= leader.adopted:
            self.fail('healed, but', leader.epoch, 'gets nothing stable, its log is', leader.log)
        for turn in range(2 * len(leader.log)):     # pieces, and dead pieces, until each has it all
            leader.heartbeat()
            self.settle(len(self.net) - 1)
            for follower in self.followers:
                follower.on_fill(self.stores[turn % len(self.stores)].log)
        for follower in self.followers:
            if follower.delivered != leader.log[:leader.stable]:
                self.fail('healed, but the follower at', follower.level, 'stays at', follower.delivered)

    def stay(self):
        """The network is whole, but nobody else wants to lead, and stores enough are up, but no more."""
        begun = [s for s in self.sequencers.values() if s.log is not None]
        leader = max(begun, key=lambda s: s.epoch, default=None)
        if leader is None or any(s.promised[0] > leader.epoch[0] for s in self.stores):
            return                                  # somebody else is at it
        members = members_of(leader.log)
        needed = max(self.seal_quorum(len(members)), self.stable_quorum(len(members)))
        up = [s for s in self.stores if s.name in members]
        self.rng.shuffle(up)
        up.sort(key=lambda s: not s.is_locked(leader.epoch))
        if len(up) < needed:
            return
        self.healed, self.stores = True, up[:needed]
        self.was_locked = self.stores[0].is_locked(leader.epoch)
        self.say('the network heals,', leader.epoch, 'leads, up are', sorted(s.name for s in self.stores))
        start = len(self.net)
        leader.emit()
        self.settle(start)
        if self.locked == 'self-seal' and any(s.is_locked(leader.epoch) for s in self.stores):
            start = len(self.net)
            leader = self.candidate(1)
            self.settle(start)
        if leader.log is None or leader.stable <= leader.adopted:
            self.fail('nobody else leads, but', leader.epoch, 'gets nothing stable, its log is', leader.log or ())

    def walk(self, depth):
        try:
            if 'restore' in self.mood:
                depth *= 2                          # it takes a record that is stable, and then something more
            for action in self.rng.choices(list(self.mood), self.mood.values(), k=depth):
                self.step(action)
            self.stay() if self.stays else self.heal()
        except Violation as violation:
            self.say('VIOLATION', violation)
            return violation


def main():
    p = argparse.ArgumentParser(description='search the failover protocol for violations by seeded random walks')
    p.add_argument('--sabotage', default='', choices=SABOTAGES, metavar='NAME')
    p.add_argument('--list', action='store_true', help='name the sabotages')
    p.add_argument('--locked', default='self-seal', choices=LOCKED)
    p.add_argument('--stay', action='store_true', help='no fresh candidate at the end of a walk')
    for name, default in ('--walks', 60000), ('--depth', 160), ('--seed', 1):
        p.add_argument(name, type=int, default=default)
    p.add_argument('--trace', action='store_true', help='print the shortest of the first 30 violating traces')
    o = p.parse_args()
    if o.list:
        print(*(f'{name:22} {what}' for name, what in SABOTAGES.items()), sep='\n')
        return 0
    began, traces, epochs, stable, locked = time.monotonic(), [], 0, 0, 0
    for walk in range(o.walks):
        seed = o.seed * 1_000_003 + walk
        world = World(random.Random(seed), o.sabotage, locked=o.locked, stay=o.stay)
        if violation := world.walk(o.depth):
            if not traces:
                print(f'VIOLATION seed {o.seed} walk {walk} ({time.monotonic() - began:.1f} s): {violation}')
            if not o.trace:
                return 1
            world = World(random.Random(seed), o.sabotage, True, o.locked, o.stay)
            world.walk(o.depth)
            traces.append((len(world.trace), walk, world.trace))
            if len(traces) == 30:
                break
        epochs += sum(s.log is not None for s in world.sequencers.values())
        stable += len(world.stable)
        locked += world.was_locked
    if traces:
        _, walk, trace = min(traces)
        print(f'the shortest of {len(traces)} traces, walk {walk}:', *trace, sep='\n  ')
        return 1
    print(f'clean: {o.walks} walks of {o.depth} steps, {epochs} epochs begun, {stable} entries declared stable'
          + f', {locked} ended with a locked store' * o.stay)
    return 0


if __name__ == '__main__':
    sys.exit(main())
