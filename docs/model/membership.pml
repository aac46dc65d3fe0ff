/*
 * Changes of the membership of a sequenced log, one store at a time, across failovers.
 * README.md says what is modelled and how to run it; failover.pml explains logs, epochs and the
 * network, which are the same here. What an entry says of the members stands in members[], by its
 * position, since (epoch, seq) names one entry.
 *
 * A store that is not (or no longer) a member records and promises like any other. A store that was
 * wiped comes back as another store: its old id falls silent, which any store here may do at any
 * time, and its new id is one that is not a member yet. So there is no step for it.
 */
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef LENGTH
#define LENGTH 4 /* of a history, epoch records and changes included */
#endif
#if EPOCHS < 2 || EPOCHS > 3 || LENGTH < 3 || LENGTH > 5
#error "2..3 epochs and 3..5 entries"
#endif
#define STORES 4
#define FOUNDERS 7 /* a set of stores, a bit each */

#define NONE (-1)
#define AT(s, e) ((s) * EPOCHS + (e) - 1)
#define ENTRY(log, seq) (((log) >> (3 * ((seq) - 1))) & 7)
#define FIRST(log, n) ((log) & ((1 << (3 * (n))) - 1))
#define LEN(log) (((log) > 0) + ((log) > 7) + ((log) > 63) + ((log) > 511) + ((log) > 4095))
#define TAIL(log) ((log) == 0 -> 0 : ENTRY(log, LEN(log)))
#define RANK(log) (TAIL(log) * 8 + LEN(log)) /* position_compare() */
#define APPEND(log, e) ((log) | ((e) << (3 * LEN(log))))
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define BEGINS_WITH(log, other) (FIRST(log, LEN(other)) == (other))
#define END(log, e) (ENTRY(log, 5) == (e) -> 5 : (ENTRY(log, 4) == (e) -> 4 : \
                    (ENTRY(log, 3) == (e) -> 3 : (ENTRY(log, 2) == (e) -> 2 : \
                    (ENTRY(log, 1) == (e) -> 1 : 0)))))

#define IN(set, s) (((set) >> (s)) & 1)
#define COUNT(set) (IN(set, 0) + IN(set, 1) + IN(set, 2) + IN(set, 3))
#define MAJORITY(set) (COUNT(set) / 2 + 1)
/* proto: membership_stable_quorum(), membership_seal_quorum(). */
#ifdef SMALL_QUORUM_CHANGE
#define STABLE_QUORUM(set) MIN(2, COUNT(set))
#define SEAL_QUORUM(set) \
    (COUNT(set) - STABLE_QUORUM(set) + 1 > MAJORITY(set) -> COUNT(set) - STABLE_QUORUM(set) + 1 \
                                                         : MAJORITY(set))
#else
#define STABLE_QUORUM(set) MAJORITY(set)
#define SEAL_QUORUM(set) MAJORITY(set)
#endif

byte number[EPOCHS + 1];
short history[EPOCHS + 1];
byte adopted[EPOCHS + 1];
byte stable[EPOCHS + 1];
short declared;
byte members[EPOCHS * LENGTH]; /* what the entry says they are from then on; 0: it says nothing */
byte promised[STORES];
short log[STORES];
short promise[STORES * EPOCHS];
byte acked[STORES * EPOCHS];

hidden byte i, j, common, same, best, now_members;
hidden short had, hears, swap;

/* The newest membership in a log. proto: apply_member(), catalog_members(); journal_members(). */
#define SAYS(l, seq) (ENTRY(l, seq) == 0 -> 0 : members[(ENTRY(l, seq) - 1) * LENGTH + (seq) - 1])
inline find_members(l)
{
    i = LEN(l);
    do
    :: i > 0 && SAYS(l, i) == 0 -> i--
    :: else -> break
    od;
    now_members = (i == 0 -> FOUNDERS : SAYS(l, i))
}

/* ---- what must hold ------------------------------------------------------------------------- */

/* Spin prints the expression that was violated, and so the name of what must hold. */
#define HOLD(name, condition) assert(name || (condition))
hidden byte common_end_is_exact, one_leader_a_number, stable_is_adopted, one_stable_history; /* 0 */
hidden byte adopted_is_kept, lives_again, stable_survives;

inline find_common_end(a, b)
{
    i = EPOCHS;
    do
    :: i > 0 && (END(a, i) == 0 || END(b, i) == 0) -> i--
    :: else -> break
    od;
    common = (i == 0 -> 0 : MIN(END(a, i), END(b, i)))
}

inline check_end()
{
    same = 0;
    do
    :: same < LENGTH && ENTRY(had, same + 1) != 0 &&
       ENTRY(had, same + 1) == ENTRY(hears, same + 1) -> same++
    :: else -> break
    od;
    HOLD(common_end_is_exact, common == same)
}

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

inline note_declared(e)
{
    had = FIRST(history[e], stable[e]);
    if
    :: LEN(had) > LEN(declared) -> HOLD(one_stable_history, BEGINS_WITH(had, declared)); declared = had
    :: else -> HOLD(one_stable_history, BEGINS_WITH(declared, had))
    fi
}

inline check_kept()
{
    i = 1;
    do
    :: i <= EPOCHS ->
        if
        :: history[i] != 0 && promised[0] <= i && promised[1] <= i && promised[2] <= i && promised[3] <= i ->
            had = FIRST(history[i], adopted[i]);
            HOLD(adopted_is_kept, BEGINS_WITH(log[0], had) || BEGINS_WITH(log[1], had) ||
                   BEGINS_WITH(log[2], had) || BEGINS_WITH(log[3], had))
        :: else
        fi;
        i++
    :: else -> break
    od
}

/* ---- symmetry ------------------------------------------------------------------------------- */

/* A founder's number means nothing, so the three are kept in ascending order of what they hold, and
 * renamed in the sets wherever they change places. */
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
    i = 0;
    do
    :: same && i < EPOCHS * LENGTH ->
        common = IN(members[i], a) > IN(members[i], b);
        same = IN(members[i], a) == IN(members[i], b);
        i++
    :: else -> break
    od;
    if
    :: common ->
        EXCHANGE(promised, a, b);
        EXCHANGE(log, a, b);
        i = 1;
        do
        :: i <= EPOCHS ->
            EXCHANGE(promise, AT(a, i), AT(b, i));
            EXCHANGE(acked, AT(a, i), AT(b, i));
            i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < EPOCHS * LENGTH ->
            members[i] = members[i] ^
                (IN(members[i], a) != IN(members[i], b) -> (1 << a) | (1 << b) : 0);
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

/* retransmitter: promise_on_seal(), promise_step(), record_admit(). */
#define ADMITS(s, e) (number[e] > number[promised[s]] || (e) == promised[s])
#ifdef EQUAL_NUMBER
#define TAKES(s, e) (history[e] != 0 && number[e] >= number[promised[s]])
#else
#define TAKES(s, e) (history[e] != 0 && ADMITS(s, e))
#endif
#define SEAL(s, e) \
    :: d_step { \
        ADMITS(s, e) && (promised[s] != (e) || (promise[AT(s, e)] == NONE && history[e] == 0)) -> \
        promised[s] = e; \
        if \
        :: history[e] == 0 -> promise[AT(s, e)] = log[s] \
        :: else \
        fi \
    }

/* retransmitter: record_forked(), record_cut(); journal_cut(). */
#define CUT(s, e) \
    :: d_step { \
        TAKES(s, e) && !BEGINS_WITH(history[e], log[s]) && \
        !BEGINS_WITH(log[s], history[e]) -> \
        promised[s] = e; \
        had = log[s]; \
        hears = history[e]; \
        find_common_end(had, hears); \
        check_end(); \
        log[s] = FIRST(log[s], common) \
    }

/* retransmitter: record_deliver(), record_ack(); sequencer: ack_on(). */
#define RECORD(s, e, n) \
    :: d_step { \
        TAKES(s, e) && LEN(history[e]) >= (n) && \
        BEGINS_WITH(history[e], log[s]) && LEN(log[s]) < (n) -> \
        promised[s] = e; \
        log[s] = FIRST(history[e], n); \
        if \
        :: ENTRY(log[s], n) == (e) && (n) > stable[e] -> acked[AT(s, e)] = n \
        :: else \
        fi \
    }

/* The same store with nothing on its disk, under the id that it had. */
#ifdef WIPED_VOTES
#define WIPE(s) :: d_step { log[s] != 0 -> log[s] = 0; promised[s] = 0 }
#else
#define WIPE(s)
#endif

/* ---- the sequencer -------------------------------------------------------------------------- */

/* The best of the tails that a set of stores reported names the members that count.
 * sequencer: judge(). */
#define RANK_OF(set, s, tail) (IN(set, s) -> RANK(tail) : 0)
#define FIND_BEST(set, t0, t1, t2, t3) \
    had = 0; \
    had = (IN(set, 0) && RANK(t0) > RANK(had) -> t0 : had); \
    had = (IN(set, 1) && RANK(t1) > RANK(had) -> t1 : had); \
    had = (IN(set, 2) && RANK(t2) > RANK(had) -> t2 : had); \
    had = (IN(set, 3) && RANK(t3) > RANK(had) -> t3 : had)
#ifdef STATIC_MEMBERSHIP
#define JUDGE now_members = FOUNDERS
#else
#define JUDGE find_members(had)
#endif
#define ENOUGH(set) (COUNT((set) & now_members) >= SEAL_QUORUM(now_members))

/* sequencer: seal_on_promise(), adopt(), begin_adopted(), begin(), emit_epoch_record(). */
#define REPORTED(set, s, e) (!IN(set, s) || promise[AT(s, e)] != NONE)
#define BEGIN(e, set) \
    :: d_step { \
        history[e] == 0 && REPORTED(set, 0, e) && REPORTED(set, 1, e) && REPORTED(set, 2, e) && \
        REPORTED(set, 3, e) -> \
        FIND_BEST(set, promise[AT(0, e)], promise[AT(1, e)], promise[AT(2, e)], promise[AT(3, e)]); \
        JUDGE; \
        if \
        :: ENOUGH(set) && LEN(had) < LENGTH -> \
            adopted[e] = LEN(had); \
            history[e] = APPEND(had, e); \
            promise[AT(0, e)] = NONE; \
            promise[AT(1, e)] = NONE; \
            promise[AT(2, e)] = NONE; \
            promise[AT(3, e)] = NONE \
        :: else \
        fi \
    }

/* sequencer: emit_record(), emit_close(). */
#define EMIT(e) \
    :: d_step { history[e] != 0 && LEN(history[e]) < LENGTH -> history[e] = APPEND(history[e], e) }

/* A change is appended only when the last one, and an entry of the leader's own epoch, are on a
 * majority; it counts from its append. sequencer: member_change(), settled(), emit_member_record();
 * proto: apply_member(). Where W is below a majority nothing may change: fixed(). */
#define ON_MAJORITY(e, n) \
    ((IN(now_members, 0) && acked[AT(0, e)] >= (n)) + (IN(now_members, 1) && acked[AT(1, e)] >= (n)) + \
     (IN(now_members, 2) && acked[AT(2, e)] >= (n)) + (IN(now_members, 3) && acked[AT(3, e)] >= (n)) \
     >= MAJORITY(now_members))
#if defined(UNGUARDED_MEMBERSHIP)
#define SETTLED(e, n) true
#elif defined(SMALL_QUORUM_CHANGE)
#define SETTLED(e, n) ON_MAJORITY(e, n)
#else
#define SETTLED(e, n) (stable[e] >= (n)) /* W is the majority */
#endif
#define CHANGE(e, delta) \
    :: d_step { \
        history[e] != 0 && LEN(history[e]) < LENGTH -> \
        find_members(history[e]); \
        i = (i > adopted[e] -> i : adopted[e] + 1); \
        if \
        :: SETTLED(e, i) && now_members != (delta) && MAY(delta) -> \
            history[e] = APPEND(history[e], e); \
            members[(e - 1) * LENGTH + LEN(history[e]) - 1] = now_members ^ (delta) \
        :: else \
        fi \
    }
#ifdef REPLACE_MEMBERS
#define MAY(delta) (COUNT(delta) == 1 || COUNT(now_members & (delta)) == 1)
#else
#define MAY(delta) true
#endif

/* sequencer: ack_judge(), stable_raise(). */
#define HOLDS(e, s, n) (IN(now_members, s) && acked[AT(s, e)] >= (n))
#ifdef SMALL_QUORUM_CHANGE
#define FORGET(s, e, n) skip
#else
#define FORGET(s, e, n) acked[AT(s, e)] = (acked[AT(s, e)] <= (n) -> 0 : acked[AT(s, e)])
#endif
#define DECLARE(x, e, n) \
    :: d_step { \
        history[e] != 0 && stable[e] < (n) && adopted[e] < (n) && LEN(history[e]) >= (n) && \
        (acked[AT(0, e)] >= (n) || acked[AT(1, e)] >= (n) || acked[AT(2, e)] >= (n) || \
         acked[AT(3, e)] >= (n)) -> \
        find_members(history[e]); \
        if \
        :: HOLDS(e, 0, n) + HOLDS(e, 1, n) + HOLDS(e, 2, n) + HOLDS(e, 3, n) >= STABLE_QUORUM(now_members) -> \
            stable[e] = n; \
            FORGET(0, e, n); \
            FORGET(1, e, n); \
            FORGET(2, e, n); \
            FORGET(3, e, n); \
            note_declared(e) \
        :: else \
        fi \
    }

/* ---- whoever tries next --------------------------------------------------------------------- */

/* From wherever we are, a fresh candidate that hears from a set of stores either may not begin, or
 * adopts all that was declared stable. Of all four it may begin. It changes nothing. */
#define TRY(set) \
    :: d_step { \
        FIND_BEST(set, log[0], log[1], log[2], log[3]); \
        JUDGE; \
        HOLD(stable_survives, !ENOUGH(set) || BEGINS_WITH(had, declared)); \
        HOLD(lives_again, (set) != 15 || ENOUGH(set)) \
    }

/* ---- every step of every kind --------------------------------------------------------------- */

#if LENGTH == 3
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3)
#elif LENGTH == 4
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3) A(x, y, 4)
#else
#define EACH_SEQ(A, x, y) A(x, y, 1) A(x, y, 2) A(x, y, 3) A(x, y, 4) A(x, y, 5)
#endif
#if EPOCHS == 2
#define EACH_EPOCH(A) A(1) A(2)
#define EACH_EPOCH_OF(A, x) A(x, 1) A(x, 2)
#else
#define EACH_EPOCH(A) A(1) A(2) A(3)
#define EACH_EPOCH_OF(A, x) A(x, 1) A(x, 2) A(x, 3)
#endif
#define EACH_SET_OF(A, e) \
    A(e, 1) A(e, 2) A(e, 3) A(e, 4) A(e, 5) A(e, 6) A(e, 7) A(e, 8) A(e, 9) A(e, 10) A(e, 11) \
    A(e, 12) A(e, 13) A(e, 14) A(e, 15)
#define EACH_SET(A) \
    A(1) A(2) A(3) A(4) A(5) A(6) A(7) A(8) A(9) A(10) A(11) A(12) A(13) A(14) A(15)

#define RECORD_OF(s, e) EACH_SEQ(RECORD, s, e)
#define STORE(s) EACH_EPOCH_OF(SEAL, s) EACH_EPOCH_OF(CUT, s) EACH_EPOCH_OF(RECORD_OF, s) WIPE(s)
#ifdef REPLACE_MEMBERS
#define REPLACE(e) CHANGE(e, 9) CHANGE(e, 10) CHANGE(e, 12)
#else
#define REPLACE(e)
#endif
#define LEADER(e) \
    EACH_SET_OF(BEGIN, e) EMIT(e) CHANGE(e, 1) CHANGE(e, 2) CHANGE(e, 4) CHANGE(e, 8) REPLACE(e) \
    EACH_SEQ(DECLARE, x, e)

init {
    byte e = 2;
    d_step {
        number[1] = 1;
        i = 0;
        do
        :: i < STORES * EPOCHS -> promise[i] = NONE; i++
        :: else -> break
        od;
        skip
    }
    do
    :: atomic { e <= EPOCHS -> number[e] = number[e - 1]; e++ }
    :: atomic { e <= EPOCHS -> number[e] = number[e - 1] + 1; e++ }
    :: atomic { e > EPOCHS -> e = 0; break }
    od;
end:
    do
    :: atomic {
        if
        STORE(0)
        STORE(1)
        STORE(2)
        STORE(3)
        EACH_EPOCH(LEADER)
        fi;
        d_step { check_fenced(); check_kept(); order() }
    }
    EACH_SET(TRY)
    od
}
