/* When may the back-end clear bit 0 of InterruptStatus?  The interrupt words alone, without an end:
 * any number of completions, of merged or spurious interrupts and of scans; one or two devices on one
 * doorbell; the front-end's stores through a store buffer.  See INTERRUPTS.md.
 *
 *   WK     a worker of the back-end: completes and publishes, for ever, or stops at any time
 *   Noise  anything else that rings the front-end, for ever, or stops at any time
 *   ISR    the front-end: InterruptStatus, callbacks, InterruptACK, doorbell if not 0; for each device
 *   Drain  the front-end's store buffer reaches memory
 *   BE     the back-end's scanner
 *
 * news[d]: a completion its callback has not seen.  A lost interrupt: nothing can move and news is set. */
#ifndef ND
#define ND 1           /* devices */
#endif
#ifndef NW
#define NW 1           /* workers a device (one a queue) */
#endif
#ifndef NOISE
#define NOISE 1
#endif
#ifndef RULE
#define RULE 3         /* 1 sticky; 2 store InterruptACK=0 at publish; 3 count acks under a lock; 4 count acks without a lock */
#endif
#ifndef K
#define K 3            /* acks since the last publish that clear the bit */
#endif
#ifndef CLR
#define CLR 1          /* the scanner's InterruptACK=0: 0 before it counts, 1 with it (RULE 4: after), 2 after */
#endif
#ifndef LOCK
#define LOCK 1         /* 0: RULE 3 without its lock */
#endif
#ifndef RESTORE
#define RESTORE 1      /* 0: RULE 4 does not set the bit again when a publish came between */
#endif
#ifndef SPACED
#define SPACED 0       /* 1: the second ack counts only when what the front-end had stored at the first is visible */
#endif
#ifndef EARLY
#define EARLY 0        /* 1: SPACED takes its time before it has counted (RULE 4) */
#endif
#ifndef LAZY
#define LAZY 0         /* 1: the first ack after a publish is only marked, InterruptACK is not stored */
#endif
#ifndef BUF
#define BUF 0          /* entries of the front-end's store buffer, 0: none */
#endif
#ifndef FENCE
#define FENCE 0        /* 1: a full fence between the store of InterruptACK and the next load of InterruptStatus */
#endif
#ifndef NEVER
#define NEVER 0        /* 1: asserts that the bit is never cleared (must fail: the rule is of use) */
#endif
#ifndef ACKFIRST
#define ACKFIRST 0     /* 1: the front-end acks before its callbacks (Linux), 0: after (OpenAMP, Zephyr) */
#endif

bit IS[ND], ACK[ND], news[ND];
bit db_be, db_fe;
byte n[ND];            /* RULE 2, 3: acks counted; RULE 4: 0 clear, i+1: set and i acks counted */
bit set[ND], lk[ND];
byte age[ND];          /* SPACED: entries of the store buffer still as old as the first counted ack */

#if BUF
chan fb = [BUF] of { byte, bit };  /* device or RING, value */
#define RING ND
#endif

inline fe_store(d,v) {
#if BUF
  fb!d,v
#else
  ACK[d] = v
#endif
}
inline fe_fence() {
#if BUF && FENCE
  empty(fb);
#else
  skip;
#endif
}
inline fe_ring() {
#if BUF
  fb!RING,1
#else
  db_be = 1
#endif
}

#if BUF
active proctype Drain() {
  byte d; bit v;
endd:
  do
  :: d_step { fb?d,v ->
       if :: d == RING -> db_be = 1 :: else -> ACK[d] = v fi;
       if :: age[0] > 0 -> age[0]-- :: else fi;
#if ND > 1
       if :: age[1] > 0 -> age[1]-- :: else fi;
#endif
       d = 0; v = 0 }
  od
}
#define STAMP(d) age[d] = len(fb)
#else
#define STAMP(d) skip
#endif

inline isr(d) {
  r = IS[d];
#if ACKFIRST
  fe_store(d,r);
  if :: r -> fe_fence(); fe_ring(); news[d] = 0 :: else fi;
#else
  if :: r -> news[d] = 0 :: else fi;
  fe_store(d,r);
  if :: r -> fe_fence(); fe_ring() :: else fi;
#endif
}

active proctype ISR() {
  bit r;
end1:
  do
  :: atomic { db_fe -> db_fe = 0 };
     isr(0);
#if ND > 1
     isr(1);
#endif
     r = 0
  od
}

#if NOISE
active proctype Noise() { do :: atomic { !db_fe -> db_fe = 1 } :: break od }
#endif

#if LOCK
#define ACQ(d) atomic { !lk[d] -> lk[d] = 1 }
#define REL(d) lk[d] = 0
#else
#define ACQ(d) skip
#define REL(d) skip
#endif

inline publish(d) {
#if RULE == 1
  IS[d] = 1;
#elif RULE == 2
  ACQ(d); ACK[d] = 0; IS[d] = 1; n[d] = 0; REL(d);
#elif RULE == 3
  ACQ(d);
  n[d] = 0;
  if :: !set[d] -> IS[d] = 1; set[d] = 1 :: else fi;
  REL(d);
#else
  atomic { old = n[d]; n[d] = 1 };               /* swap */
  if :: old == 0 -> IS[d] = 1 :: else fi;
  old = 0;
#endif
  db_fe = 1
}

#if SPACED
#define MAYCOUNT(d,x) (n[d] != x || age[d] == 0)
#else
#define MAYCOUNT(d,x) true
#endif

inline take(d) {
#if RULE == 2
  ACQ(d);
  if :: ACK[d] -> ACK[d] = 0; n[d]++; if :: n[d] >= K -> n[d] = 0; IS[d] = 0 :: else fi :: else fi;
  REL(d)
#elif RULE == 3
  if
  :: ACK[d] ->
#if CLR == 0
     ACK[d] = 0;
#endif
     ACQ(d);
     if
     :: set[d] && MAYCOUNT(d,1) ->
        if
        :: n[d] < K-1 ->
#if LOCK
           n[d]++;
#else
           t = n[d]; n[d] = t+1; t = 0;
#endif
           if :: n[d] == 1 -> STAMP(d) :: else fi
        :: else -> IS[d] = 0; set[d] = 0; n[d] = 0; assert(!NEVER)
        fi
     :: else
     fi;
#if LAZY
     if :: set[d] && n[d] == 1 -> skip :: else -> ACK[d] = 0 fi;
#elif CLR == 1
     ACK[d] = 0;
#endif
     REL(d);
#if CLR == 2
     ACK[d] = 0
#endif
  :: else
  fi
#elif RULE == 4
  if
  :: ACK[d] ->
#if CLR == 0
     ACK[d] = 0;
#endif
     t = n[d];
     if
     :: t > 0 && t < K && MAYCOUNT(d,2) ->
#if EARLY
        if :: t == 1 -> STAMP(d) :: else fi;
#endif
        atomic { if :: n[d] == t -> n[d] = t+1 :: else fi };     /* compare and swap */
#if !EARLY
        if :: t == 1 -> STAMP(d) :: else fi
#endif
     :: t == K ->
        IS[d] = 0;
        atomic { if :: n[d] == K -> n[d] = 0; t = 0; assert(!NEVER) :: else fi };
#if RESTORE
        if :: t -> IS[d] = 1; db_fe = 1 :: else fi               /* a publish came between */
#endif
     :: else
     fi;
     t = 0;
#if CLR != 0
     ACK[d] = 0
#endif
  :: else
  fi
#else
  skip
#endif
}

active [NW] proctype WK0() { byte old; do :: news[0] = 1; publish(0) :: break od }
#if ND > 1
active [NW] proctype WK1() { byte old; do :: news[1] = 1; publish(1) :: break od }
#endif

active proctype BE() {
  byte t;
end2:
  do
  :: atomic { db_be -> db_be = 0 };
     take(0);
#if ND > 1
     take(1)
#endif
  od
}

active proctype Check() {
  timeout -> assert(!news[0]
#if ND > 1
    && !news[1]
#endif
  )
}
