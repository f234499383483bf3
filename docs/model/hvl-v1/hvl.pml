/*
 * hvl-v1: the control protocol of hypervisor-less virtio as deployed, one device.
 *
 * Registers are words of plain shared RAM; each side has one payload-free,
 * merging doorbell.  Every access to a shared word is one step (sequentially
 * consistent); tso.pml treats store buffers.  Processes:
 *
 *   FE     the driver's main thread, in one of three dialects
 *   ISR    its interrupt handler; it pre-empts FE, never the reverse
 *   Crash  kills FE and ISR at any point; FE then boots again over stale registers
 *   BE     the back-end's scanner: wakes on the doorbell, acks queues, finds restarts
 *   WK     the back-end's worker: completes requests, concurrently with BE
 *
 * A hang (lost kick, lost interrupt, missing ack, missed or false restart) is an
 * invalid end state, because nothing polls.  Wrong values, stale processing and
 * double configuration are assertions.  Line comments name the rule of README.md.
 */
#ifndef DIALECT
#define DIALECT 1      /* 0 zephyr2021, 1 virtio-exp, 2 v2025 */
#endif
#ifndef NQ
#define NQ 2
#endif
#ifndef NREQ
#define NREQ 1         /* requests a queue and session */
#endif
#ifndef CRASHES
#define CRASHES 1      /* front-end crashes allowed */
#endif
#ifndef RULES
#define RULES 1        /* 0 = R1..R7 as first written, 1 = R1'..R7' */
#endif
#ifndef CAS
#define CAS 1          /* 1: ack by compare-and-swap; 0: load, check, store */
#endif
#ifndef INTR
#define INTR 1         /* 0 R5 as first written, 1 sticky, 2 two acks, InterruptACK=0 at publish;
                          3 ACKS acks counted under a lock, 4 the same without a lock: INTERRUPTS.md */
#endif
#ifndef ACKS
#define ACKS 4         /* acks since the last publish that clear the bit (INTR 3, 4) */
#endif
#ifndef LAZY
#define LAZY 1         /* INTR 3: the first ack after a publish is only marked, InterruptACK is not stored */
#endif
#ifndef NOISE
#define NOISE 0        /* 1: other devices ring the front-end, at any time and any number of times */
#endif
#ifndef ENDCOUNT
#define ENDCOUNT 1     /* 0: the end of a session clears InterruptStatus and forgets the count */
#endif
#ifndef RINGZERO
#define RINGZERO 1     /* 1: front-end zeroes its rings at boot, 0: it does not (NOLOAD) */
#endif
#ifndef BEZERO
#define BEZERO 1       /* back-end zeroes avail.idx and used.idx before the ack */
#endif
#ifndef IMAGE
#define IMAGE 0        /* 0 same image at each boot, 1 other ring pages, 2 swapped pages */
#endif
#ifndef SEMWAIT
#define SEMWAIT 0      /* 1: virtio-exp/v2025 wait for the ack's interrupt, 0: they poll */
#endif
#ifndef P5STRONG
#define P5STRONG 0
#endif
#ifndef FIX_ORDER
#define FIX_ORDER 1    /* read PFN before the canary */
#endif
#ifndef REACK
#define REACK 1        /* re-ack what looks like a rewrite, without an interrupt */
#endif
#ifndef POST
#define POST 1         /* look at the canary again after the ack */
#endif
#ifndef SEED_KICK
#define SEED_KICK 0    /* seeded fault: return early after an ack, as the reference PMM does */
#endif
#ifndef USE_STATUS
#define USE_STATUS 1   /* a drop of Status also ends the session */
#endif
#ifndef USE_ALIGN
#define USE_ALIGN 1    /* the old session's value counts as a request only with a fresh QueueAlign */
#endif

#define ACKW 1                     /* the ack word in QueuePFN */
#if IMAGE == 0
#define PAGE(q,s) (q)
#define NPAGE 2
#elif IMAGE == 1
#define PAGE(q,s) ((q) + 2*((s)%2))
#define NPAGE 4
#else
#define PAGE(q,s) (((q)+(s))%NQ)
#define NPAGE 2
#endif
#define P(q) (2+PAGE(q,fe_sess))   /* QueuePFN value */
#if IMAGE == 0
#define NUM(q) (1+(q))
#else
#define NUM(q) (1+(q)+2*(fe_sess%2))
#endif
#define LIVE(s) (((s)&4) != 0)

/* ---- shared memory ---- */
byte Status, Sel, Num, PFN;
bit GPS, Align;                    /* 1: written by the front-end, 0: the back-end's sentinel */
bit IS, ACK;
byte RA[NPAGE], RU[NPAGE];         /* avail.idx, used.idx */
bit db_be, db_fe;                  /* doorbells: level, merging */

/* ---- front-end, private ---- */
byte fe_sess;
byte seen[NQ], sub[NQ];
bit acked[NQ], anyack, inited, in_isr, crash, sem, fe_done;
byte crashes;

/* ---- back-end, private ---- */
bit cfg[NQ]; byte cpfn[NQ], cnum[NQ], last[NQ];
bit wk[NQ];                        /* scanner -> worker */
bit busy;                          /* worker inside a request (private lock) */
bit be_live;

/* every front-end step; not while its interrupt handler runs */
#define F(x) atomic { !in_isr -> x }

inline setstatus(v) {
#if DIALECT == 2
  F(t = Status);
  F(Status = t | v);
#else
  F(Status = v);
#endif
  F(db_be = 1)
}

inline boot() {
    d_step { fe_sess++; t = 0; q = 0; n = 0; anyack = 0; inited = 0; sem = 0; fe_done = 0; in_isr = 0; crash = 0;
      seen[0]=0; sub[0]=0; acked[0]=0;
#if NQ > 1
      seen[1]=0; sub[1]=0; acked[1]=0;
#endif
    }
}

active proctype FE() {
  byte t, q, n;

  boot();
  do
  :: {
#if RINGZERO
    F(RA[PAGE(0,fe_sess)] = 0; RU[PAGE(0,fe_sess)] = 0);
#if NQ > 1
    F(RA[PAGE(1,fe_sess)] = 0; RU[PAGE(1,fe_sess)] = 0);
#endif
#endif
    inited = 1;
    setstatus(1);
    F(GPS = 1);
    setstatus(2);
    q = 0;
    do
    :: q < NQ ->
       F(Sel = q);
       F(Num = NUM(q));
#if DIALECT == 0
       F(db_be = 1);
#endif
       F(Align = 1);
       F(PFN = P(q));
       F(db_be = 1);
#if SEMWAIT && DIALECT != 0
       if
       :: F(PFN == ACKW)
       :: F(PFN != ACKW) -> F(sem -> sem = 0); F(assert(PFN == ACKW))
       fi;
#else
       F(PFN == ACKW);
#endif
       F(acked[q] = 1; anyack = 1);
#if DIALECT != 0
       F(PFN = P(q));
#endif
       q++
    :: else -> break
    od;
    setstatus(4);
    n = 0;
    do
    :: n < NREQ ->
       q = 0;
       do
       :: q < NQ ->
          F(RA[PAGE(q,fe_sess)]++; sub[q]++);
          F(db_be = 1);
          if                      /* wait for everything so far, or go on */
          :: F(seen[q] == sub[q])
          :: skip
          fi;
          q++
       :: else -> break
       od;
       n++
    :: else -> break
    od;
    /* sleep until the interrupt handler has seen it all */
    F(seen[0] == sub[0]);
#if NQ > 1
    F(seen[1] == sub[1]);
#endif
    fe_done = 1;
end1: false
   } unless { atomic { crash && !in_isr -> boot() } }
  od
}

active proctype ISR() {
  bit r; byte q;
end2:
  do
  :: { atomic { db_fe && !crash -> db_fe = 0; in_isr = 1 };
       r = IS;
       if :: PFN == ACKW -> sem = 1 :: else fi;
       if
       :: r ->
          if :: acked[0] -> seen[0] = RU[PAGE(0,fe_sess)]; assert(seen[0] <= sub[0]) :: else fi;
#if NQ > 1
          if :: acked[1] -> seen[1] = RU[PAGE(1,fe_sess)]; assert(seen[1] <= sub[1]) :: else fi;
#endif
       :: else
       fi;
       ACK = r;
       if :: r -> db_be = 1 :: else fi;
       atomic { in_isr = 0; r = 0 }
     } unless { atomic { crash && in_isr -> in_isr = 0; r = 0; q = 0 } }
  od
}

active proctype Crash() {
end4:
  do :: atomic { crashes < CRASHES && !crash -> crashes++; crash = 1 } od
}

#if NOISE
active proctype Noise() { fe_sess > 0; do :: atomic { !db_fe -> db_fe = 1 } :: break od }
#endif

/* ---------------- back-end ---------------- */
byte pub, rec; byte nack; bit il;
bit isset;                         /* INTR 3: InterruptStatus as last stored */
byte nacks;                          /* INTR 4: 0 clear; i+1: set and i acks counted since the last publish */

inline publish() {                 /* worker, after used.idx */
#if INTR == 0
  atomic { pub = (pub+1)%8; if :: !IS -> rec = pub; IS = 1 :: else fi };
#elif INTR == 1
  IS = 1;
#elif INTR == 2
  atomic { !il -> il = 1 };        /* private lock with the scanner */
  ACK = 0;
  IS = 1;
  atomic { nack = 0; il = 0 };
#elif INTR == 3
  atomic { !il -> il = 1; nack = 0 };
  if :: !isset -> IS = 1; isset = 1 :: else fi;
  il = 0;
#else
  atomic { old = nacks; nacks = 1 };   /* swap */
  if :: old == 0 -> IS = 1 :: else fi;
  old = 0;
#endif
  db_fe = 1
}

inline intack() {                  /* scanner */
#if INTR == 0
  atomic { a = ACK; ACK = 0 };
  if :: a -> atomic { IS = 0; if :: pub != rec -> rec = pub; IS = 1; db_fe = 1 :: else fi } :: else fi
#elif INTR == 2
  atomic { !il -> il = 1 };
  a = ACK;
  if :: a -> ACK = 0; nack++; if :: nack >= 2 -> nack = 2; IS = 0 :: else fi :: else fi;
  il = 0
#elif INTR == 3
  a = ACK;
  if
  :: a ->
     atomic { !il -> il = 1 };
     if
     :: isset && nack < ACKS-1 -> nack++
     :: isset && nack >= ACKS-1 -> IS = 0; isset = 0; nack = 0
     :: else
     fi;
     if                            /* inside the lock: an ack in hand across a publish would be one more stale one */
     :: LAZY && isset && nack == 1 -> skip
     :: else -> ACK = 0
     fi;
     il = 0
  :: else
  fi
#elif INTR == 4
  a = ACK;
  if
  :: a ->
     n = nacks;
     if
     :: n > 0 && n < ACKS -> atomic { if :: nacks == n -> nacks = n+1 :: else fi }     /* compare and swap */
     :: n >= ACKS ->
        IS = 0;
        atomic { if :: nacks == n -> nacks = 0; a = 0 :: else fi };
        if :: a -> IS = 1; db_fe = 1 :: else fi                                    /* a publish came between */
     :: else
     fi;
     ACK = 0;                      /* after counting, for the same reason */
     n = 0
  :: else
  fi
#else
  skip
#endif
}

/* the end of a session; every worker has stopped */
inline isclear() {
  IS = 0;
#if INTR >= 3 && ENDCOUNT
  d_step { isset = 0; nacks = 0; nack = 0 };
#endif
}

active proctype WK() {
  byte q, av, old;
endw:
  do
  :: atomic { wk[0] && !busy -> wk[0] = 0; busy = 1; q = 0 }; goto work
#if NQ > 1
  :: atomic { wk[1] && !busy -> wk[1] = 0; busy = 1; q = 1 }; goto work
#endif
  od;
work:
  do
  :: d_step { cfg[q] && be_live -> av = RA[cpfn[q]-2] };
     if
     :: av > last[q] ->              /* a delta beyond the ring (here: below) suspends the queue */
        atomic {
          last[q]++;
          /* P2, P5': after the new session has seen an ack, only its own requests */
          assert(!anyack || (acked[q] && cpfn[q] == P(q) && last[q] <= sub[q]));
#if P5STRONG
          assert(!inited || (acked[q] && cpfn[q] == P(q) && last[q] <= sub[q]));
#endif
          /* P3: the right values */
          assert(!anyack || cnum[q] == NUM(q));
          RU[cpfn[q]-2] = last[q]
        };
        publish()
     :: else -> break
     fi
  :: else -> break
  od;
  atomic { busy = 0; av = 0; q = 0 };
  goto endw
}

inline quiesce() { atomic { !busy -> cfg[0] = 0; last[0] = 0; wk[0] = 0; cpfn[0] = 0; cnum[0] = 0;
#if NQ > 1
   cfg[1] = 0; last[1] = 0; wk[1] = 0; cpfn[1] = 0; cnum[1] = 0;
#endif
   be_live = 0 } }

/* configure queue sel; the front-end is blocked, or dead */
inline configure() {
  atomic { !busy ->
    assert(!(acked[sel] && sub[sel] > 0));   /* P3: never again under a live session */
    cfg[sel] = 0; wk[sel] = 0 };
#if BEZERO
  RA[p-2] = 0;
  RU[p-2] = 0;
#endif
  d_step { cfg[sel] = 1; cpfn[sel] = p; cnum[sel] = num; last[sel] = 0 }
}

inline kickall() {
  if :: cfg[0] && be_live -> wk[0] = 1 :: else fi;
#if NQ > 1
  if :: cfg[1] && be_live -> wk[1] = 1 :: else fi
#endif
}

#if RULES == 0
active proctype BE() {
  byte s, p, sel, num, ls, lp, shad, n; bit a, x, seenok, reb;
  byte st;                         /* 0 idle 1 acked 2 rewritten */
endb:
  do
  :: atomic { db_be -> db_be = 0 };
     intack();
     s = Status;
     if
     :: (be_live && !LIVE(s)) || (s == 0 && shad != 0) || (s == 1 && shad > 1) -> quiesce(); seenok = 0; st = 0
     :: else
     fi;
     shad = s;
     if
     :: LIVE(s) && !seenok -> atomic { seenok = 1; be_live = 1; PFN = 0; st = 0 }   /* exchange with 0 */
     :: LIVE(s) && seenok ->
        p = PFN;
        if
        :: p > 1 ->
           sel = Sel; num = Num;
           if
           :: st != 0 && p == lp && sel == ls -> st = 2
           :: st != 0 && ((NQ > 1 && cfg[0] && cpfn[0] == p && sel != 0) || (NQ > 1 && cfg[NQ-1] && cpfn[NQ-1] == p && sel != NQ-1)) -> skip
           :: else ->
              if :: st == 0 -> quiesce() :: else fi;
              configure(); be_live = 1;
              ls = sel; lp = p; st = 1;
              atomic { if :: PFN == p -> PFN = ACKW :: else fi };
              db_fe = 1
           fi
        :: else
        fi
     :: else ->
        p = PFN;
        if
        :: p > 1 ->
           sel = Sel; num = Num;
           if
           :: (NQ > 1 && cfg[0] && cpfn[0] == p && sel != 0) || (NQ > 1 && cfg[NQ-1] && cpfn[NQ-1] == p && sel != NQ-1) -> skip
           :: else ->
              if :: cfg[sel] && cpfn[sel] == p :: else -> configure() fi;
              atomic { if :: PFN == p -> PFN = ACKW :: else fi };
              db_fe = 1
           fi
        :: else
        fi
     fi;
     kickall();
     d_step { s = 0; p = 0; sel = 0; num = 0; a = 0 }
  od
}
#else
active proctype BE() {
  byte s, p, sel, num, n;
  byte lp, ls, ln;                 /* last pair acked: QueuePFN, QueueSel, QueueNum */
  bit a, g, al, ok, virgin, again;
  bit sess;                        /* a session is open: the canary is armed */
endb:
  do
  :: atomic { db_be -> db_be = 0 };
#if SEED_KICK
     if :: ACK -> ACK = 0; IS = 0; goto endb :: else fi;
#endif
     intack();
scan:
#if FIX_ORDER                      /* R2' step 1: the request first, then the canary */
     p = PFN;
     g = GPS;
#else
     g = GPS;
     p = PFN;
#endif
     s = Status;
     if
     :: sess && (g || s == 0
#if USE_STATUS
        || (be_live && !LIVE(s))
#endif
        ) ->
        /* R1': the driver booted again, or took DRIVER_OK back */
        quiesce(); sess = 0; isclear()
     :: else
     fi;
     if
     :: p > 1 ->
        al = Align; sel = Sel; num = Num;
        /* nothing was ever offered on the queue acked last */
        d_step { virgin = cfg[ls] && cpfn[ls] == p && last[ls] == 0 && RA[p-2] == 0 };
        if
        :: p == lp && sess &&        /* a rewrite, or a new session's request that looks like one */
           !(REACK && virgin && sel == ls && (CAS || al)) -> ok = 0
        :: USE_ALIGN && p == lp && !sess && (!al || sel != ls || num != ln) -> ok = 0                /* the old session's rewrite */
        :: else -> ok = 1
        fi;
        if
        :: ok ->
           if
           :: sess && p == lp && sel == ls ->    /* only ack again: worker stopped, ring still untouched */
              atomic { !busy -> busy = 1; again = 1 };
              if :: last[sel] == 0 && RA[p-2] == 0 :: else -> goto rel fi
           :: else ->
              again = 0;
              if :: !sess -> GPS = 0; sess = 1 :: else fi;     /* arm the canary */
              configure();
              Align = 0;
              lp = p; ls = sel; ln = num
           fi;
#if CAS
           atomic { if :: PFN == p -> PFN = ACKW; ok = 1 :: else -> ok = 0 fi };
#else
           if :: PFN == p -> PFN = ACKW; ok = 1 :: else -> ok = 0 fi;
#endif
           if
           :: ok ->
              if :: !again || al -> db_fe = 1 :: else fi;
#if POST
              if
              :: GPS ->             /* rebooted meanwhile: the ack may be the new session's */
                 GPS = 0;
                 atomic { (again || !busy) -> be_live = 0;
#if NQ > 1
                   cfg[1-sel] = 0; last[1-sel] = 0; wk[1-sel] = 0; cpfn[1-sel] = 0; cnum[1-sel] = 0;
#endif
                   skip };
                 isclear();
                 s = Status
              :: else
              fi
#endif
           :: else -> if :: again -> atomic { busy = 0; again = 0 } :: else -> atomic { !busy -> cfg[sel] = 0; wk[sel] = 0; lp = 0 } fi; goto scan
           fi;
rel:       if :: again -> busy = 0 :: else fi
        :: else
        fi
     :: else
     fi;
     if :: LIVE(s) && sess -> be_live = 1 :: else fi;
     kickall();
     d_step { s = 0; p = 0; sel = 0; num = 0; a = 0; g = 0; al = 0; ok = 0; virgin = 0; again = 0 }
  od
}
#endif

/* P1, P4 as liveness, under weak fairness: in the end the last session has all its answers */
ltl p1 { <> [] (fe_done || crash) }
