/*
 * Failover of a sequenced log: seal, adopt, begin; record, acknowledge, stable; follow with FORKED.
 * README.md says what is modelled and how to run it.
 *
 * A log is a number, three bits an entry, seq 1 lowest: the epoch of each entry. That is all of it,
 * since an epoch has one leader, and so (epoch, seq) names one message and one history below it.
 * Epochs are numbered by their order, which is that of (number, candidate); number[] says which of
 * them share a number.
 *
 * The network is what has been sent and may be received at any later step, any number of times or
 * never: promise[] holds the tails that were reported, acked[] what was acknowledged, and what a
 * leader has emitted is its history. Nothing is taken out by being received.
 *
 * A store's number means nothing, so the three are kept in ascending order of all that they hold.
 */
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef LENGTH
#define LENGTH 4 /* of a history, epoch records included */
#endif
#ifdef WEAK_QUORUM
#define W 1
#define SEALS 2
#endif
#ifdef MINORITY_SEAL
#define SEALS 1
#endif
#ifndef W
#define W 2 /* stores that make stable */
#endif
#ifndef SEALS
#define SEALS (W == 1 -> 3 : 2) /* max(majority, n - W + 1): membership_seal_quorum() */
#endif
#if EPOCHS < 2 || EPOCHS > 4 || LENGTH < 2 || LENGTH > 5
#error "2..4 epochs and 2..5 entries"
#endif

#define NONE (-1)
#define HEALER (EPOCHS + 1)

#define ENTRY(log, seq) (((log) >> (3 * ((seq) - 1))) & 7)
#define FIRST(log, n) ((log) & ((1 << (3 * (n))) - 1))
#define LEN(log) (((log) > 0) + ((log) > 7) + ((log) > 63) + ((log) > 511) + \
                  ((log) > 4095) + ((log) > 32767))
#define TAIL(log) ((log) == 0 -> 0 : ENTRY(log, LEN(log)))
#define APPEND(log, e) ((log) | ((e) << (3 * LEN(log))))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define BEGINS_WITH(log, other) (FIRST(log, LEN(other)) == (other))
/* The last seq of an epoch's part of a log, by which an epoch table says where it ends. */
#define END(log, e) (ENTRY(log, 6) == (e) -> 6 : (ENTRY(log, 5) == (e) -> 5 : \
                    (ENTRY(log, 4) == (e) -> 4 : (ENTRY(log, 3) == (e) -> 3 : \
                    (ENTRY(log, 2) == (e) -> 2 : (ENTRY(log, 1) == (e) -> 1 : 0))))))

byte number[EPOCHS + 2];      /* of an epoch; candidates know by hearsay, so several may pick the same */
short history[EPOCHS + 1];    /* of the leader of an epoch; 0: has not begun */
byte adopted[EPOCHS + 1];     /* how much of it the leader found */
byte stable[EPOCHS + 1];      /* how much of it the leader has declared stable */
short declared;               /* the longest history ever declared stable, by anyone */

#ifndef NO_STORES
#define AT(s, e) ((s) * EPOCHS + (e) - 1)
byte promised[3];             /* durable */
short log[3];                 /* durable */
short promise[3 * EPOCHS];    /* sent: the tail that was reported */
byte acked[3 * EPOCHS];       /* sent: the furthest, as far as it can make anything stable yet */
#ifdef CUT_TO_STABLE
byte known[3];
#endif
#ifdef CUT_AFTER_PROMISE
byte pending[3];              /* a cut that is decided and not yet made: what stays, and 1 */
#endif
#endif

#ifdef LEVEL                  /* a follower, at: */
#define SEQUENCED 1
#define STABLE 2
byte heard;                   /* the newest epoch that it heard of */
byte goal;                    /* how much of that epoch's history it has heard of */
byte watermark;
short chain;
byte vouched;                 /* how much of chain is on the heard epoch's history */
byte delivered;               /* how much of chain has been delivered */
hidden byte compares;
hidden byte came;
#endif

hidden byte i, j, common, same, best, count;
hidden int had, hears, swap;

/* ---- what must hold ------------------------------------------------------------------------- */

/* Spin prints the expression that was violated, and so the name of what must hold. */
#define HOLD(name, condition) assert(name || (condition))
hidden byte common_end_is_exact, one_leader_a_number, stable_is_adopted, one_stable_history; /* 0 */
hidden byte adopted_is_kept, lives_again, stable_survives;
#ifdef LEVEL
hidden byte delivered_as_heard, delivered_was_stable, stable_never_forks;
#endif

/* follow: epoch_table_common_end(): the smaller end of the greatest epoch that both hold. */
inline find_common_end(a, b)
{
    i = HEALER;
    do
    :: i > 0 && (END(a, i) == 0 || END(b, i) == 0) -> i--
    :: else -> break
    od;
    if
    :: i == 0 -> common = 0
    :: else -> common = MIN(END(a, i), END(b, i))
    fi
}

/* What was found from the epoch tables is where the two histories part. */
inline check_end()
{
    same = 0;
    do
    :: same < 6 && ENTRY(had, same + 1) != 0 && ENTRY(had, same + 1) == ENTRY(hears, same + 1) -> same++
    :: else -> break
    od;
    HOLD(common_end_is_exact, common == same)
}

/* At most one epoch of a number begins; what an epoch declares stable is adopted by every later one. */
inline check_fenced()
{
    i = 1;
    do
    :: i < EPOCHS ->
        j = i + 1;
        do
        :: j <= EPOCHS ->
            if
            :: history[i] != 0 && history[j] != 0 ->
                HOLD(one_leader_a_number, number[i] != number[j]);
                HOLD(stable_is_adopted, stable[i] <= adopted[j]);
                HOLD(stable_is_adopted, FIRST(history[i], stable[i]) == FIRST(history[j], stable[i]))
            :: else
            fi;
            j++
        :: else -> break
        od;
        i++
    :: else -> break
    od
}

/* All that was ever declared stable is one history. */
inline note_declared(e)
{
    had = FIRST(history[e], stable[e]);
    if
    :: LEN(had) > LEN(declared) -> HOLD(one_stable_history, BEGINS_WITH(had, declared)); declared = had
    :: else -> HOLD(one_stable_history, BEGINS_WITH(declared, had))
    fi
}

#ifndef NO_STORES

#ifdef EPOCH_NUMBER_ONLY
#define ADMITS(s, e) (number[e] >= number[promised[s]])
#else
/* retransmitter: promise_on_seal(), record_admit(). */
#define ADMITS(s, e) (number[e] > number[promised[s]] || (e) == promised[s])
#endif

/* What a leader adopted can be had from a store while none has promised a later epoch. */
inline check_kept()
{
    i = 1;
    do
    :: i <= EPOCHS ->
        if
        :: history[i] != 0 && promised[0] <= i && promised[1] <= i && promised[2] <= i ->
            had = FIRST(history[i], adopted[i]);
            HOLD(adopted_is_kept,
                 BEGINS_WITH(log[0], had) || BEGINS_WITH(log[1], had) || BEGINS_WITH(log[2], had))
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* ---- symmetry ------------------------------------------------------------------------------- */

#define EXCHANGE(x, a, b) swap = x[a]; x[a] = x[b]; x[b] = swap

inline order_two(a, b)
{
    common = (promised[a] + 8 * log[a] > promised[b] + 8 * log[b]);
    same = (promised[a] == promised[b] && log[a] == log[b]);
    i = 1;
    do
    :: same && i <= EPOCHS ->
        common = promise[AT(a, i)] > promise[AT(b, i)] ||
              (promise[AT(a, i)] == promise[AT(b, i)] && acked[AT(a, i)] > acked[AT(b, i)]);
        same = promise[AT(a, i)] == promise[AT(b, i)] && acked[AT(a, i)] == acked[AT(b, i)];
        i++
    :: else -> break
    od;
    if
    :: common ->
        EXCHANGE(promised, a, b);
        EXCHANGE(log, a, b);
#ifdef CUT_TO_STABLE
        EXCHANGE(known, a, b);
#endif
#ifdef CUT_AFTER_PROMISE
        EXCHANGE(pending, a, b);
#endif
        i = 1;
        do
        :: i <= EPOCHS ->
            EXCHANGE(promise, AT(a, i), AT(b, i));
            EXCHANGE(acked, AT(a, i), AT(b, i));
            i++
        :: else -> break
        od
    :: else
    fi
}

inline order()
{
#ifndef UNORDERED /* a trace is read more easily */
    order_two(0, 1);
    order_two(1, 2);
    order_two(0, 1);
#endif
    skip
}

/* ---- stores --------------------------------------------------------------------------------- */

/* Also what a store acknowledges again, and after a restart: retransmitter: record_ack().
 * sequencer: ack_on(): it counts only if the acknowledged tail is of the leader's own epoch. */
#if defined(ACK_ANY_EPOCH)
#define COUNTS(s, e) (MIN(LEN(log[s]), LEN(history[e])))
#elif defined(STABLE_ON_ADOPT)
#define COUNTS(s, e) (TAIL(log[s]) == (e) -> LEN(log[s]) : \
    (TAIL(log[s]) == TAIL(FIRST(history[e], adopted[e])) -> MIN(LEN(log[s]), adopted[e]) : 0))
#else
#define COUNTS(s, e) (TAIL(log[s]) == (e) -> LEN(log[s]) : 0)
#endif
#define ACKNOWLEDGE(s, e) \
    if \
    :: COUNTS(s, e) > stable[e] && COUNTS(s, e) > acked[AT(s, e)] -> acked[AT(s, e)] = COUNTS(s, e) \
    :: else \
    fi

/* A promise is durable before it is answered, and answered again to the same candidate only. That
 * the seal was sent is not written down: a candidate may try at any time. Once the epoch has begun
 * its answer means nothing any more, but what is promised does.
 * retransmitter: promise_on_seal(), promise_raise(), promise_step(); sequencer: send_seal(). */
#define SEAL(s, e) \
    :: d_step { \
        ADMITS(s, e) && (promised[s] != (e) || (promise[AT(s, e)] == NONE && history[e] == 0)) -> \
        promised[s] = e; \
        if \
        :: history[e] == 0 -> promise[AT(s, e)] = log[s] \
        :: else \
        fi \
    }

/* A store that differs from the history that it hears cuts at the common end.
 * retransmitter: record_admit(), record_forked(), record_cut(); journal_cut(). */
#if defined(RECORD_STALE)
#define TAKES(s, e) (history[e] != 0)
#define RAISE(s, e) promised[s] = (ADMITS(s, e) -> (e) : promised[s])
#elif defined(EQUAL_NUMBER) /* what the sequencer could do instead of sealing above itself */
#define TAKES(s, e) (history[e] != 0 && number[e] >= number[promised[s]])
#define RAISE(s, e) promised[s] = e
#else
#define TAKES(s, e) (history[e] != 0 && ADMITS(s, e))
#define RAISE(s, e) promised[s] = e
#endif
#define DIFFERS(s, e) (!BEGINS_WITH(history[e], log[s]) && !BEGINS_WITH(log[s], history[e]))
#ifdef CUT_AFTER_PROMISE
#define WHOLE(s) (pending[s] == 0)
#else
#define WHOLE(s) true
#endif
#define CUT(s, e) \
    :: d_step { \
        TAKES(s, e) && DIFFERS(s, e) && WHOLE(s) -> \
        had = log[s]; \
        hears = history[e]; \
        find_common_end(had, hears); \
        check_end(); \
        RAISE(s, e); \
        MAKE_CUT(s) \
    }
#if defined(CUT_TO_STABLE)
#define MAKE_CUT(s) common = MIN(common, known[s]); log[s] = FIRST(log[s], common)
#elif defined(CUT_AFTER_PROMISE)
#define MAKE_CUT(s) pending[s] = common + 1
#else
#define MAKE_CUT(s) log[s] = FIRST(log[s], common)
#endif
#define CUT_LATE(s) \
    :: d_step { \
        !WHOLE(s) -> \
        log[s] = FIRST(log[s], pending[s] - 1); \
        pending[s] = 0 \
    }

/* It fills in what is missing, from the leader and from its peers, to anywhere: to where it has
 * come, or to where it crashed. What became durable is acknowledged.
 * retransmitter: record_deliver(), record_ack(), fill_on_request(); journal_append(),
 * journal_commit(). */
#ifdef NO_DIGEST_CHECK
#define LINKS(s, e, n) (LEN(log[s]) >= (n) - 1 && FIRST(log[s], n) != FIRST(history[e], n))
#define FILLED(s, e, n) (FIRST(log[s], (n) - 1) | (ENTRY(history[e], n) << (3 * ((n) - 1))))
#else
#define LINKS(s, e, n) (BEGINS_WITH(history[e], log[s]) && LEN(log[s]) < (n))
#define FILLED(s, e, n) FIRST(history[e], n)
#endif
#ifdef CUT_TO_STABLE
#define LEARN(s, e) known[s] = MAX(known[s], MIN(stable[e], LEN(log[s])))
#else
#define LEARN(s, e) skip
#endif
#define RECORD(s, e, n) \
    :: d_step { \
        TAKES(s, e) && WHOLE(s) && LEN(history[e]) >= (n) && LINKS(s, e, n) -> \
        RAISE(s, e); \
        log[s] = FILLED(s, e, n); \
        LEARN(s, e); \
        ACKNOWLEDGE(s, e) \
    }

/* A crash. What is recorded and what is promised is durable; the model needs no step for a restart
 * that changes nothing, and each step above is one sync, between any two of which it may crash.
 * retransmitter: retransmitter_create(). */
#if defined(VOLATILE_PROMISE)
#define RESTART(s) \
    :: d_step { promised[s] != TAIL(log[s]) -> promised[s] = TAIL(log[s]) }
#elif defined(CUT_AFTER_PROMISE)
#define RESTART(s) :: d_step { pending[s] != 0 -> pending[s] = 0 }
#elif defined(CUT_TO_STABLE)
#define RESTART(s) \
    :: d_step { history[promised[s]] != 0 && BEGINS_WITH(history[promised[s]], log[s]) -> \
        LEARN(s, promised[s]) }
#else
#define RESTART(s)
#endif

/* ---- the sequencer -------------------------------------------------------------------------- */

/* On the promises of a quorum, whichever it is, it takes the highest (epoch of the last entry,
 * length), and emits its epoch record at once. Fetching what is missing of it is no step of its
 * own: what is fetched is known by its digest, or the candidate tries again as another one.
 * sequencer: seal_on_promise(), judge(), adopt(), adopt_step(), begin_adopted(), begin(),
 * emit_epoch_record(). */
#ifdef ADOPT_LONGEST
#define RANK(log) (LEN(log) * 8 + TAIL(log))
#else
#define RANK(log) (TAIL(log) * 8 + LEN(log)) /* position_compare() */
#endif
#define REPORTED(s, e) (promise[AT(s, e)] != NONE)
#define BETTER(a, b, e) (RANK(promise[AT(a, e)]) >= RANK(promise[AT(b, e)]) -> (a) : (b))
#define BEGIN(e, quorum, a, b, c) \
    :: d_step { \
        history[e] == 0 && SEALS <= quorum && REPORTED(a, e) && REPORTED(b, e) && REPORTED(c, e) && \
        LEN(promise[AT(a, e)]) < LENGTH && LEN(promise[AT(b, e)]) < LENGTH && \
        LEN(promise[AT(c, e)]) < LENGTH -> \
        best = BETTER(a, b, e); \
        best = BETTER(best, c, e); \
        had = promise[AT(best, e)]; \
        adopted[e] = LEN(had); \
        history[e] = APPEND(had, e); \
        promise[AT(0, e)] = NONE; \
        promise[AT(1, e)] = NONE; \
        promise[AT(2, e)] = NONE \
    }

/* The leader's next message. sequencer: emit_record(), emit_close(). */
#define EMIT(e) \
    :: d_step { history[e] != 0 && LEN(history[e]) < LENGTH -> history[e] = APPEND(history[e], e) }

/* sequencer: ack_judge(), stable_raise(). */
#define HOLDS(s, e, n) (acked[AT(s, e)] >= (n))
#define DECLARE(e, n) \
    :: d_step { \
        history[e] != 0 && stable[e] < (n) && HOLDS(0, e, n) + HOLDS(1, e, n) + HOLDS(2, e, n) >= W -> \
        stable[e] = n; \
        acked[AT(0, e)] = (acked[AT(0, e)] <= (n) -> 0 : acked[AT(0, e)]); \
        acked[AT(1, e)] = (acked[AT(1, e)] <= (n) -> 0 : acked[AT(1, e)]); \
        acked[AT(2, e)] = (acked[AT(2, e)] <= (n) -> 0 : acked[AT(2, e)]); \
        note_declared(e) \
    }

/* ---- live again ----------------------------------------------------------------------------- */

/* From wherever we are the network heals and a fresh candidate tries, on the first two stores that
 * answer: every store ends on its history, which holds all that was declared stable. It changes
 * nothing, so it is no state of its own. */
#define SETTLE(s) \
    had = log[s]; \
    find_common_end(had, hears); \
    check_end(); \
    had = FIRST(had, common); \
    HOLD(lives_again, BEGINS_WITH(hears, had))
#ifdef BEGIN_AFTER_RERECORD
/* It says nothing before the quorum has what it adopted, so nobody learns what to record. */
#define CAN_SPEAK(l) ((LEN(log[0]) >= LEN(l)) + (LEN(log[1]) >= LEN(l)) + (LEN(log[2]) >= LEN(l)) >= W)
#else
#define CAN_SPEAK(l) true
#endif
#define HEAL(a, b, c) \
    :: d_step { \
        best = (RANK(log[a]) >= RANK(log[b]) -> (a) : (b)); \
        best = (SEALS == 3 && RANK(log[c]) > RANK(log[best]) -> (c) : best); \
        hears = log[best]; \
        HOLD(lives_again, CAN_SPEAK(hears)); \
        hears = APPEND(hears, HEALER); \
        SETTLE(0); \
        SETTLE(1); \
        SETTLE(2); \
        HOLD(stable_survives, BEGINS_WITH(hears, declared)) \
    }

#else /* NO_STORES */

/* What the stores let happen, as far as the checks above hold for them: a leader adopts any beginning
 * of anything that any other has emitted, and declares stable what it likes, as long as the epochs
 * are fenced and one history is stable. The follower is checked against all of that. */
#define FENCES(f, e, l) \
    (history[f] == 0 || (number[f] != number[e] && ((f) > (e) || \
     (stable[f] < LEN(l) && FIRST(l, stable[f]) == FIRST(history[f], stable[f])))))
#define FENCED_1(e, l) FENCES(1, e, l)
#define FENCED_2(e, l) FENCED_1(e, l) && FENCES(2, e, l)
#define FENCED_3(e, l) FENCED_2(e, l) && FENCES(3, e, l)
#define FENCED_4(e, l) FENCED_3(e, l) && FENCES(4, e, l)
#define BEGIN_ON(e, f, n) \
    :: d_step { \
        history[e] == 0 && (n) < LENGTH && LEN(history[f]) >= (n) && \
        ENTRY(history[f], n) < (e) && FENCED(e, APPEND(FIRST(history[f], n), e)) -> \
        history[e] = APPEND(FIRST(history[f], n), e); \
        adopted[e] = n \
    }
#define LATER_HOLDS(e, f, n) \
    ((f) <= (e) || history[f] == 0 || \
     ((n) <= adopted[f] && FIRST(history[f], n) == FIRST(history[e], n)))
#define DECLARE_ANY(e, n) \
    :: d_step { \
        (n) > adopted[e] && (n) > stable[e] && (n) <= LEN(history[e]) && ALL_LATER_HOLD(e, n) && \
        FIRST(FIRST(history[e], n), MIN(n, LEN(declared))) == FIRST(declared, MIN(n, LEN(declared))) -> \
        stable[e] = n; \
        note_declared(e) \
    }
#define EMIT(e) \
    :: d_step { history[e] != 0 && LEN(history[e]) < LENGTH -> history[e] = APPEND(history[e], e) }
#endif

/* ---- a follower ----------------------------------------------------------------------------- */

#ifdef LEVEL

/* What was delivered is on the history of the epoch that it has heard, and at stable it was declared. */
inline check_delivered()
{
    had = FIRST(chain, delivered);
    HOLD(delivered_as_heard, LEN(chain) >= delivered);
    HOLD(delivered_as_heard, heard == 0 || had == FIRST(history[heard], delivered));
    HOLD(delivered_was_stable, LEVEL == SEQUENCED || had == FIRST(declared, delivered))
}

/* follow: follower_reconcile(), follower_cut(). */
#ifdef FORKED_BY_SEQ
#define FIND_AGREED common = MIN(LEN(chain), goal)
#define CHECK_FORK skip
#else
#define FIND_AGREED find_common_end(chain, hears)
#define CHECK_FORK had = FIRST(chain, delivered); check_end()
#endif
inline compare_with_goal()
{
    hears = FIRST(history[heard], goal);
    FIND_AGREED;
    vouched = common;
    if
    :: common < LEN(chain) && common < goal ->
        if
        :: common < delivered -> /* FORKED, at common + 1 */
            HOLD(stable_never_forks, LEVEL == SEQUENCED);
            CHECK_FORK;
            delivered = common
        :: else
        fi;
        chain = FIRST(chain, common)
    :: else
    fi
}

/* follow: deliver_linked(), deliverable(). */
inline deliver()
{
    common = (LEVEL == SEQUENCED -> vouched : MIN(watermark, vouched));
    delivered = MAX(delivered, common)
}

/* A batch, or a heartbeat, of the heard epoch or a later one: what it says of the history and of
 * stable, which may be what was so when it was sent. A batch is also its last entry.
 * follow: follower_place(), learn(), follower_heartbeat(), compare(), follower_enter_epoch(). */
#ifdef BLIND_WATERMARK
#define IS_BLIND(carries) (LEVEL == STABLE && !carries)
#else
#define IS_BLIND(carries) false
#endif
#define HEAR(e, n, s, carries) \
    :: d_step { \
        heard <= (e) && history[e] != 0 && adopted[e] < (n) && LEN(history[e]) >= (n) && \
        stable[e] >= (s) && (s) <= (n) -> \
        if \
        :: heard < (e) -> goal = 0; watermark = 0; vouched = 0; heard = e \
        :: else \
        fi; \
        watermark = MAX(watermark, s); \
        if \
        :: IS_BLIND(carries) -> delivered = MAX(delivered, MIN(watermark, LEN(chain))) \
        :: else -> goal = MAX(goal, n); compares = true; came = (carries -> n : 0) \
        fi \
    }
/* follow: link_batch(), follower_advance(). */
inline advance()
{
    if
    :: compares -> compare_with_goal()
    :: else
    fi;
    if
    :: came != 0 && LEN(chain) == came - 1 ->
        chain = chain | (ENTRY(history[heard], came) << (3 * (came - 1)));
        compare_with_goal()
    :: else
    fi;
    compares = false;
    came = 0;
    deliver();
    check_delivered()
}

/* A piece of some store's log, which is a beginning of some leader's history, dead or not; it links
 * to the end of the chain, and may end anywhere.
 * follow: follower_gaps_step(), follower_place(), extend_chain(); retransmitter: fill_on_request(). */
#ifdef DELIVER_UNVOUCHED
#define DELIVER_FILL delivered = (LEVEL == SEQUENCED -> LEN(chain) : delivered)
#else
#define DELIVER_FILL skip
#endif
#define FILL(e, n) \
    :: d_step { \
        LEN(history[e]) >= (n) && LEN(chain) < (n) && BEGINS_WITH(history[e], chain) -> \
        chain = FIRST(history[e], n); \
        DELIVER_FILL; \
        compares = LEN(chain) >= goal && goal > 0 \
    }
#endif

/* ---- every step of every kind --------------------------------------------------------------- */

#if LENGTH == 2
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2)
#elif LENGTH == 3
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3)
#elif LENGTH == 4
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3) A(x, y, 4)
#else
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3) A(x, y, 4) A(x, y, 5)
#endif
#if EPOCHS == 2
#define EACH_EPOCH(A) A(1) A(2)
#define EACH_EPOCH_OF(A, x) A(x, 1) A(x, 2)
#define FENCED FENCED_2
#define ALL_LATER_HOLD(e, n) LATER_HOLDS(e, 2, n)
#elif EPOCHS == 3
#define EACH_EPOCH(A) A(1) A(2) A(3)
#define EACH_EPOCH_OF(A, x) A(x, 1) A(x, 2) A(x, 3)
#define FENCED FENCED_3
#define ALL_LATER_HOLD(e, n) LATER_HOLDS(e, 2, n) && LATER_HOLDS(e, 3, n)
#else
#define EACH_EPOCH(A) A(1) A(2) A(3) A(4)
#define EACH_EPOCH_OF(A, x) A(x, 1) A(x, 2) A(x, 3) A(x, 4)
#define FENCED FENCED_4
#define ALL_LATER_HOLD(e, n) LATER_HOLDS(e, 2, n) && LATER_HOLDS(e, 3, n) && LATER_HOLDS(e, 4, n)
#endif

#define RECORD_OF(s, e) EACH_SEQ(RECORD, s, e)
#if defined(ACK_ANY_EPOCH) || defined(STABLE_ON_ADOPT)
#define ACK_OF(s, e) \
    :: d_step { promised[s] == (e) && history[e] != 0 && COUNTS(s, e) > acked[AT(s, e)] && \
        COUNTS(s, e) > stable[e] -> ACKNOWLEDGE(s, e) }
#else
#define ACK_OF(s, e)
#endif
#ifdef CUT_AFTER_PROMISE
#define LATE_OF(s) CUT_LATE(s)
#else
#define LATE_OF(s)
#endif
#define STORE(s) \
    EACH_EPOCH_OF(SEAL, s) EACH_EPOCH_OF(CUT, s) EACH_EPOCH_OF(RECORD_OF, s) EACH_EPOCH_OF(ACK_OF, s) \
    RESTART(s) LATE_OF(s)
#define DECLARE_OF(x, e, n) DECLARE(e, n)
#define LEADER(e) \
    BEGIN(e, 1, 0, 0, 0) BEGIN(e, 1, 1, 1, 1) BEGIN(e, 1, 2, 2, 2) \
    BEGIN(e, 2, 0, 1, 1) BEGIN(e, 2, 0, 2, 2) BEGIN(e, 2, 1, 2, 2) BEGIN(e, 3, 0, 1, 2) \
    EMIT(e) EACH_SEQ(DECLARE_OF, x, e)
#define DECLARE_ANY_OF(x, e, n) DECLARE_ANY(e, n)
#define BEGIN_ON_NOTHING(e) \
    :: d_step { history[e] == 0 && FENCED(e, e) -> history[e] = e }
#define BEGIN_OF(e, f) EACH_SEQ(BEGIN_ON, e, f)
#define ANY_LEADER(e) \
    BEGIN_ON_NOTHING(e) EACH_EPOCH_OF(BEGIN_OF, e) EMIT(e) EACH_SEQ(DECLARE_ANY_OF, x, e)
#define HEAR_OF(s, e, n) HEAR(e, n, s, false) HEAR(e, n, s, true)
#define FILL_OF(x, e, n) FILL(e, n)
#define FOLLOW(e) \
    EACH_SEQ(HEAR_OF, 0, e) EACH_SEQ(HEAR_OF, 1, e) EACH_SEQ(HEAR_OF, 2, e) EACH_SEQ(HEAR_OF, 3, e) \
    EACH_SEQ(HEAR_OF, 4, e) EACH_SEQ(FILL_OF, x, e)

init {
    d_step {
        number[1] = 1;
        number[HEALER] = HEALER;
#ifndef NO_STORES
        i = 0;
        do
        :: i < 3 * EPOCHS -> promise[i] = NONE; i++
        :: else -> break
        od
#endif
    }
    byte e = 2;
    do
    :: atomic { e <= EPOCHS -> number[e] = number[e - 1]; e++ }
    :: atomic { e <= EPOCHS -> number[e] = number[e - 1] + 1; e++ }
    :: atomic { e > EPOCHS -> e = 0; break }
    od;
end:
    do
#ifndef NO_STORES
    :: atomic {
        if
        STORE(0)
        STORE(1)
        STORE(2)
        EACH_EPOCH(LEADER)
        fi;
        d_step { check_fenced(); check_kept(); order() }
    }
    HEAL(0, 1, 2)
    HEAL(0, 2, 1)
    HEAL(1, 2, 0)
#else
    :: atomic {
        if
        EACH_EPOCH(ANY_LEADER)
        fi;
        d_step { check_fenced(); skip }
    }
#endif
#ifdef LEVEL
    :: atomic {
        if
        EACH_EPOCH(FOLLOW)
        fi;
        d_step { advance() }
    }
#endif
    od
}
