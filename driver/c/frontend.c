/*
 * A virtio front-end (driver side) for hypervisor-less virtio in plain C99: version 1 ("legacy") headers in a table,
 * entropy and console, in the three dialects found in the field. It shares no line with the Go code, so no mistake.
 * Part 1 is the driver proper: it needs <stdint.h>, the window and the plat_ functions. A firmware keeps it and
 * replaces part 2, the host process (shared file, socket doorbell, command line). README.md has the usage.
 * A little-endian processor is assumed, as registers and rings are little-endian.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64;
/* ------------------------------------------------ part 1: virtio ------------------------------------------------ */

enum { MAGIC = 0x00, VERSION = 0x04, DEVICE_ID = 0x08, DEVICE_FEATURES = 0x10, DEVICE_FEATURES_SEL = 0x14,
       DRIVER_FEATURES = 0x20, GUEST_PAGE_SIZE = 0x28, QUEUE_SEL = 0x30, QUEUE_NUM_MAX = 0x34, QUEUE_NUM = 0x38,
       QUEUE_ALIGN = 0x3c, QUEUE_PFN = 0x40, QUEUE_NOTIFY = 0x50, INTERRUPT_STATUS = 0x60, INTERRUPT_ACK = 0x64,
       STATUS = 0x70, SHM_LEN = 0xb0, SHM_BASE = 0xb8, CONFIG = 0x100 };
enum { PAGE = 4096, SLOT_SIZE = 0x200, SLOTS = 8, ID_CONSOLE = 3, ID_RNG = 4, MAX_NUM = 1024, BUF = 64 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4, NO_NOTIFY = 1 };      /* descriptor flags; used ring flag */
enum { E_HOST = 1, E_USAGE, E_BRINGUP, E_GONE, E_CHECK, E_TIMEOUT, E_DIED = 9 };        /* exit statuses */
static const u32 magic_value = 0x74726976, pfn_ack = 0xAABBAABB;

struct vq {
	struct dev *dev;
	unsigned index, num, in_flight, live;   /* live: acknowledged, so the interrupt handler may look at it */
	u32 ring, bufs;                 /* window offsets: the ring; one buffer of BUF bytes for each descriptor */
	volatile struct desc { u64 addr; u32 len; u16 flags, next; } *desc;
	volatile u16 *avail, *used;     /* [0] flags, [1] index; avail[2...] heads */
	volatile struct elem { u32 id, len; } *elem;
	u16 used_seen;
	u64 posted[MAX_NUM];            /* by head: writable bytes offered plus 1, or 0 when not in flight */
};
struct dev {
	const char *name;
	u32 id, nvq, header, listening; /* header: window offset; listening: the interrupt handler visits it */
	struct vq vq[2];
};

static volatile uint8_t *win;                   /* the shared window, and the address the devices know it by */
static u64 win_phys, win_size;
static void plat_doorbell(void);                /* ring the other side */
static int plat_wait(u64 ms);                   /* until a doorbell came and isr() ran (1), or ms passed (0) */
static u64 plat_ms(void);                       /* monotonic clock */
static void plat_step(struct dev *d, const char *step, int queue, u32 value, int rung); /* tracing, crash tests */
static void plat_fail(int code, const char *who, const char *format, u64 value);        /* does not return */

static enum { ZEPHYR2021, VIRTIO_EXP, V2025_04 } dialect;
static u64 zephyr_step_ms, timeout_ms;
static struct dev devs[SLOTS];
static unsigned ndevs, masked, pending;         /* masked: interrupts are off; pending: one came meanwhile */
static uint8_t rx_bytes[1 << 16];               /* what the console received */
static u32 rx_len;

static void fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static void must(int ok, int code, struct dev *d, const char *f, u64 v) { if (!ok) plat_fail(code, d->name, f, v); }
static volatile u32 *at(struct dev *d, u32 reg) { return (volatile u32 *)(volatile void *)(win + d->header + reg); }
static u32 load(struct dev *d, u32 reg) { u32 v = *at(d, reg); fence(); return v; }

/* One register store: the unit of the dialects, of tracing and of crashing. */
static void store(struct dev *d, u32 reg, u32 v, const char *step, int queue, int rings)
{
	fence();
	*at(d, reg) = v;
	fence();
	plat_step(d, step, queue, v, 0);
	if (!rings) return;
	plat_doorbell();
	plat_step(d, step, queue, v, 1);
}

/* The legacy ring: descriptors and available ring, then the used ring on a page of its own. */
static u32 page_up(u32 n) { return (n + PAGE - 1) & ~(u32)(PAGE - 1); }
static u32 ring_bytes(u32 n) { return page_up(18 * n + 6) + page_up(8 * n + 6); }

static u32 vq_place(struct vq *q, u32 ring)
{
	q->ring = ring, q->bufs = ring + ring_bytes(q->num);
	q->desc = (volatile struct desc *)(volatile void *)(win + ring);
	q->avail = (volatile u16 *)(volatile void *)(win + ring + 16 * q->num);
	q->used = (volatile u16 *)(volatile void *)(win + ring + page_up(18 * q->num + 6));
	q->elem = (volatile struct elem *)(volatile void *)(q->used + 2);
	return page_up(q->bufs + q->num * BUF);
}

static void fill(volatile struct desc *d, u64 addr, u32 len, unsigned flags, unsigned next)
{
	d->addr = addr, d->len = len, d->flags = (u16)flags, d->next = (u16)next;
}

/* The available index lives in the ring only, as in the deployed drivers: what the ack left there is what counts. */
static void vq_add(struct vq *q, unsigned i, u64 addr, u32 len, unsigned flags)
{
	u16 idx = q->avail[1];
	fill(&q->desc[i], addr, len, flags, 0);
	q->posted[i] = 1 + (u64)(flags & WRITE ? len : 0);
	q->in_flight++;
	q->avail[2 + idx % q->num] = (u16)i;
	fence();
	q->avail[1] = (u16)(idx + 1);
}

static int vq_free(struct vq *q)
{
	unsigned i = 0;
	while (i < q->num && q->posted[i]) i++;
	return i < q->num ? (int)i : -1;
}

/* Steps: added, the buffers are in the ring; then the name given, for QueueNotify, unless the device wants no kick. */
static void vq_kick(struct vq *q, const char *step, int queue)
{
	fence();                        /* our index before their flag */
	plat_step(q->dev, "added", queue, q->avail[1], 0);
	if (!(q->used[0] & NO_NOTIFY)) store(q->dev, QUEUE_NOTIFY, q->index, step, queue, 1);
}

/* Takes one used buffer: its head, or -1. Believes nothing. */
static int vq_get(struct vq *q, u32 *len)
{
	u16 idx = q->used[1];
	fence();
	if (idx == q->used_seen) return -1;
	must((u16)(idx - q->used_seen) <= q->in_flight, E_CHECK, q->dev, "used.idx %llu is ahead of what is in flight", idx);
	u32 head = q->elem[q->used_seen % q->num].id;
	*len = q->elem[q->used_seen++ % q->num].len;
	must(head < q->num && q->posted[head], E_CHECK, q->dev, "the used ring has head %llu, which is not in flight", head);
	must(*len < q->posted[head], E_CHECK, q->dev, "used length %llu exceeds the writable bytes offered", *len);
	q->posted[head] = 0;
	q->in_flight--;
	return (int)head;
}

/* A queue's interrupt. Entropy waits itself; console queue 0 receives, and keeps its buffers while rx_bytes is full. */
static void callback(struct vq *q)
{
	int rx = q->index == 0, added = 0;
	u32 len;
	if (q->dev->id != ID_CONSOLE) return;
	for (int h; (!rx || sizeof rx_bytes - rx_len >= BUF) && (h = vq_get(q, &len)) >= 0; added = rx) {
		u32 buf = q->bufs + (u32)h * BUF;
		for (u32 i = 0; i < len; i++) rx_bytes[rx_len++] = win[buf + i];
		if (rx) vq_add(q, (unsigned)h, win_phys + buf, BUF, WRITE);
	}
	if (added) vq_kick(q, "refill", -1);
}

static void isr(void)
{
	if ((pending = masked)) return;
	for (struct dev *d = devs; d < devs + ndevs; d++) {
		if (!d->listening) continue;
		u32 s = load(d, INTERRUPT_STATUS);
		for (struct vq *q = d->vq; (s & 1) && q < d->vq + d->nvq; q++)
			if (q->live) callback(q);
		store(d, INTERRUPT_ACK, s, "israck", -1, s != 0);
	}
}

static u64 left(u64 end) { u64 now = plat_ms(); return now < end ? end - now : 0; }
/* One wait for an interrupt that is due; since is when there was progress last. */
static void await(struct vq *q, u64 since)
{
	u64 ms = left(since + timeout_ms);
	if (ms && (plat_wait(ms) || left(since + timeout_ms))) return;
	must(0, E_TIMEOUT, q->dev, q->used[1] == q->used_seen ? "no answer in time; InterruptStatus is %#llx" :
		"used.idx moved, but no doorbell came; InterruptStatus is %#llx", load(q->dev, INTERRUPT_STATUS));
}

/* Zephyr 2021 looks once a second for ever (here: until the timeout), the others wait once and for at most 4 s. */
static void await_ack(struct dev *d)
{
	u64 ms, next, end = plat_ms() + (dialect == ZEPHYR2021 ? timeout_ms : 4000);
	for (u32 pfn; (pfn = load(d, QUEUE_PFN)) != pfn_ack;) {
		must(left(end) > 0, E_BRINGUP, d, "QueuePFN was not acknowledged in time; it still reads %#llx", pfn);
		next = dialect == ZEPHYR2021 ? plat_ms() + zephyr_step_ms : end;
		while ((ms = left(next)) && (dialect == ZEPHYR2021 || load(d, QUEUE_PFN) != pfn_ack)) plat_wait(ms);
	}
}

static void bring_up(struct dev *d)
{
	u32 keep = dialect == V2025_04 ? UINT32_MAX : 0;                /* v2025.04 ORs into the status it finds */
	must(load(d, VERSION) == 1, E_BRINGUP, d, "only version 1 is spoken here, the header has %llu", load(d, VERSION));
	must((load(d, SHM_LEN) | load(d, SHM_LEN + 4)) && (load(d, SHM_BASE) | load(d, SHM_BASE + 4)), E_BRINGUP, d,
		"SHMLen or SHMBase is zero: not a hypervisor-less header", 0);
	d->listening = 1;
	store(d, STATUS, (load(d, STATUS) & keep) | 1, "status1", -1, 1);
	store(d, GUEST_PAGE_SIZE, PAGE, "gps", -1, 0);
	store(d, STATUS, (load(d, STATUS) & keep) | 2, "status2", -1, 1);
	store(d, DEVICE_FEATURES_SEL, 0, "fsel", -1, 0);
	store(d, DRIVER_FEATURES, load(d, DEVICE_FEATURES) & 0, "features", -1, 1);     /* neither driver wants any */
	for (struct vq *q = d->vq; q < d->vq + d->nvq; q++) {
		u32 pfn = (u32)((win_phys + q->ring) / PAGE);
		store(d, QUEUE_SEL, q->index, "sel", (int)q->index, 0);
		store(d, QUEUE_SEL, q->index, "resel", (int)q->index, 0);
		must(q->num <= load(d, QUEUE_NUM_MAX), E_BRINGUP, d, "a ring of %llu is larger than QueueNumMax", q->num);
		store(d, QUEUE_NUM, q->num, "num", (int)q->index, dialect == ZEPHYR2021);
		store(d, QUEUE_ALIGN, PAGE, "align", (int)q->index, 0);
		store(d, QUEUE_PFN, pfn, "pfn", (int)q->index, 1);
		await_ack(d);
		plat_step(d, "ack", (int)q->index, pfn_ack, 0);
		if (dialect != ZEPHYR2021) store(d, QUEUE_PFN, pfn, "repfn", (int)q->index, 0);
		must(!q->avail[1] && !q->used[1], E_CHECK, d, "after the ack the ring indices are not zero: %#llx (avail, used)",
			(u32)q->avail[1] << 16 | q->used[1]);
		q->avail[0] = 0, q->live = 1;
	}
	store(d, STATUS, (load(d, STATUS) & keep) | 4, "status4", -1, 1);
	for (unsigned i = 0; d->id == ID_CONSOLE && i < d->vq[0].num; i++)
		vq_add(&d->vq[0], i, win_phys + d->vq[0].bufs + i * BUF, BUF, WRITE);
	for (struct vq *q = d->vq; q < d->vq + d->nvq; q++) vq_kick(q, "kick", (int)q->index);
	plat_step(d, "config", -1, win[d->header + CONFIG] | (u32)win[d->header + CONFIG + 1] << 8, 0);
}

/* Entropy: guard bytes, blank bytes to be filled (a true source leaves one in 256 as it was), guard bytes, at every
 * alignment in turn. The deployed driver waits with interrupts off, so the ACK comes after the answers were seen. */
static unsigned long long rng_run(struct vq *q, u32 area, u32 len, u32 count, unsigned depth)
{
	enum { GUARD = 16, CANARY = 0xC5, BLANK = 0x3A };
	u64 hash = 14695981039346656037u, total = 0, changed = 0;
	u32 all = len + 2 * GUARD, posted = 0, got, i;
	must(len > 0 && area + ((u64)len + 2 * GUARD) * depth + 8 <= win_size, E_USAGE, q->dev, "%llu bytes do not fit", len);
	for (u32 done = 0, before; done < count;) {
		u32 base = area + (depth == 1 ? done % 8 : 0);
		int h;
		masked = 1;
		for (before = posted; posted < count && q->in_flight < depth; posted++) {
			h = vq_free(q);
			for (i = 0; i < all; i++) win[base + (u32)h * all + i] = i - GUARD < len ? BLANK : CANARY;
			vq_add(q, (unsigned)h, win_phys + base + (u32)h * all + GUARD, len, WRITE);
		}
		if (posted != before) vq_kick(q, "request", -1);
		for (u64 since = plat_ms(); (h = vq_get(q, &got)) < 0;) await(q, since);
		for (; h >= 0; h = vq_get(q, &got), done++, total += got) {
			volatile uint8_t *p = win + base + (u32)h * all;
			must(got > 0, E_CHECK, q->dev, "an entropy request came back with no bytes", 0);
			for (i = 0; i < all; i++)
				must(i - GUARD < len || p[i] == CANARY, E_CHECK, q->dev, "byte %llu is beside the buffer but changed", i);
			for (i = GUARD; i < GUARD + got; changed += p[i++] != BLANK) hash = (hash ^ p[i]) * 1099511628211u;
		}
		masked = 0;
		plat_wait(0);           /* what rang meanwhile interrupts now */
		if (pending) isr();
	}
	must(total < 16 || changed >= total / 2, E_CHECK, q->dev, "the buffers were not filled, %llu bytes changed", changed);
	return hash;
}

static int console_send(struct vq *q, const uint8_t *p, u32 n)
{
	int i = vq_free(q);
	for (u32 k = 0; i >= 0 && k < n; k++) win[q->bufs + (u32)i * BUF + k] = p[k];
	if (i < 0) return 0;
	vq_add(q, (unsigned)i, win_phys + q->bufs + (u32)i * BUF, n, 0);
	vq_kick(q, "request", -1);
	return 1;
}

static void console_take(struct vq *rx, u32 n)
{
	rx_len -= n;
	for (u32 i = 0; i < rx_len; i++) rx_bytes[i] = rx_bytes[i + n];
	callback(rx);
}

/* --------------------------------- part 2: the host: shared file, socket, commands ------------------------------ */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static u32 heap;                                /* first free byte of the window */
static int bell, verbose;
static const char *die_after;
static unsigned long rings_out, rings_in;

static int is(const char *a, const char *b) { return !strcmp(a, b); }
static void plat_fail(int code, const char *who, const char *format, u64 value)
{
	fprintf(stderr, "frontend: %s: ", who);
	fprintf(stderr, format, (unsigned long long)value);
	fputs("\n", stderr);
	exit(code);
}

static u64 plat_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / 1000000;
}

static void plat_step(struct dev *d, const char *step, int queue, u32 value, int rung)
{
	char q[12] = "", s[64];
	if (!verbose && !die_after) return;
	if (queue >= 0) snprintf(q, sizeof q, "%d", queue);
	snprintf(s, sizeof s, "%s:%s%s%s", d->name, step, q, rung ? "+" : "");
	if (verbose) fprintf(stderr, "%s %#x\n", s, value);
	if (die_after && (is(die_after, s) || is(die_after, s + strlen(d->name) + 1))) _exit(E_DIED);
}

/* A full socket already holds rings the monitor has yet to read, so one more would say nothing new. */
static void plat_doorbell(void)
{
	rings_out++;
	if (send(bell, "", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN) plat_fail(E_GONE, "the doorbell", strerror(errno), 0);
}

static int plat_wait(u64 ms)
{
	char bytes[256];
	struct pollfd p = { bell, POLLIN, 0 };
	ssize_t got;
	int any = 0;
	if (poll(&p, 1, ms < 1000000 ? (int)ms : 1000000) <= 0) return 0;
	for (; (got = recv(bell, bytes, sizeof bytes, 0)) > 0; any = 1) rings_in += (unsigned long)got;
	if (got == 0 || errno != EAGAIN) plat_fail(E_GONE, "the doorbell", got ? strerror(errno) : "closed by the monitor", 0);
	if (any) isr();
	return any;
}

static uint8_t pattern(u32 i) { return (uint8_t)((i + 1) * 2654435761u >> 19); }

/* Sends n bytes, those of text or else a pattern which must come back, and waits until every buffer was taken. */
static void cmd_send(struct dev *d, const char *text, u32 n)
{
	u32 sent = 0, back = 0, len, progress;
	uint8_t b[BUF];
	for (u64 since = plat_ms(); sent < n || d->vq[1].in_flight || (!text && back < n);) {
		for (progress = 0; sent < n; sent += len, progress = 1) {
			len = 1 + sent % 48 < n - sent ? 1 + sent % 48 : n - sent;
			for (u32 i = 0; i < len; i++) b[i] = text ? (uint8_t)text[sent + i] : pattern(sent + i);
			if (!console_send(&d->vq[1], b, len)) break;
		}
		for (u32 i = 0; !text && i < rx_len; i++, back++, progress = 1)
			must(back < sent && rx_bytes[i] == pattern(back), E_CHECK, d, "echo: byte %llu came back wrong", back);
		if (!text) console_take(&d->vq[0], rx_len);
		if (progress) since = plat_ms();
		else await(&d->vq[text || back == n], since);
	}
}

static void cmd_expect(struct dev *d, const char *text)
{
	u32 n = (u32)strlen(text), found = 0;
	for (u64 since = plat_ms(); !found;) {
		u32 at = 0;
		while (at + n <= rx_len && !(found = !memcmp(rx_bytes + at, text, n))) at++;
		console_take(&d->vq[0], found ? at + n : at);
		if (!found && rx_len < n) await(&d->vq[0], since);
	}
}

enum { HEAP, OUTSIDE, BELOW, STRADDLE, WRAP, RING };            /* where an attack's descriptors point */
static const struct attack { const char *name; unsigned where, head, next, flags, len, ahead; } attacks[] = {
	{ "badhead", HEAP, 5000, 0, 0, 32, 1 }, { "badnext", HEAP, 0, 5000, NEXT, 32, 1 }, { "loop", HEAP, 0, 0, NEXT, 32, 1 },
	{ "repeat", HEAP, 0, 0, 0, 32, 2 }, { "jump", HEAP, 0, 0, 0, 32, 1000 }, { "back", HEAP, 0, 0, 0, 32, 0xffff },
	{ "outside", OUTSIDE, 0, 0, 0, 32, 1 }, { "below", BELOW, 0, 0, 0, 32, 1 }, { "straddle", STRADDLE, 0, 0, 0, 32, 1 },
	{ "wrap", WRAP, 0, 0, 0, 32, 1 }, { "hugelen", HEAP, 0, 0, 0, ~0u, 1 }, { "zerolen", HEAP, 0, 0, 0, 0, 1 },
	{ "indirect", HEAP, 0, 0, INDIRECT, 32, 1 }, { "direction", HEAP, 0, 0, WRITE, 32, 1 },
	{ "ownring", RING, 0, 0, 0, 8192, 1 }, { "regs", HEAP, 0, 0, 0, 32, 1 }, { "garbage", HEAP, 0, 0, 0, 32, 0 } };

/* Attacks the device's last queue. A next of 0 stands for the descriptor after, which with flag NEXT makes a loop. */
static void cmd_hostile(struct dev *d, const char *name)
{
	const struct attack *a = attacks;
	while (!is(a->name, name))
		if (++a == attacks + sizeof attacks / sizeof *attacks) plat_fail(E_USAGE, name, "no such hostile case", 0);
	struct vq *q = &d->vq[d->nvq - 1];
	u64 p = win_phys, e = p + win_size, where[] = { p + heap, e, p - PAGE, e - 8, UINT64_MAX - 15, p + q->ring };
	for (unsigned i = 0; i < q->num; i++)
		fill(&q->desc[i], where[a->where], a->len, a->flags ^ (d->id == ID_RNG ? WRITE : 0),
			a->next ? a->next : (i + 1) % q->num);
	for (u32 i = 0; is(a->name, "garbage") && i < ring_bytes(q->num); i++) win[q->ring + i] = pattern(i);
	for (u32 r = DEVICE_FEATURES_SEL; is(a->name, "regs") && r <= STATUS; r += 4)
		if (r != QUEUE_NUM_MAX) store(d, r, pattern(r) * 0x01010101u, "attack", -1, r == STATUS);
	for (unsigned i = 0; i < 2 && a->ahead; i++) q->avail[2 + (q->avail[1] + i) % q->num] = (u16)a->head;
	fence();
	q->avail[1] = (u16)(q->avail[1] + a->ahead), q->live = 0;       /* the answers, if any, are not looked at */
	store(d, QUEUE_NOTIFY, q->index, "notify", (int)q->index, 1);
}

static u64 number(const char *what, const char *s)
{
	char *end;
	u64 v = strtoull(s, &end, 0);
	if (*s < '0' || *s > '9' || *end) plat_fail(E_USAGE, what, "a number is wanted", 0);
	return v;
}

static unsigned find(const char *s, const char *const *names, const char *sentence)
{
	for (unsigned i = 0; names[i]; i++)
		if (is(s, names[i])) return i;
	plat_fail(E_USAGE, s, sentence, 0);
	return 0;
}

/* Runs the command at v or, when need is given, only checks it and adds the device it uses; returns what follows it. */
static char **command(char **v, unsigned *need)
{
	enum { RNG, FLOOD, HOSTILE, ECHO, PRINT, EXPECT, IDLE };
	static const char *const names[] = { "rng", "flood", "hostile", "echo", "print", "expect", "idle", 0 };
	unsigned c = find(v[0], names, "no such command"), id = c < ECHO ? ID_RNG : ID_CONSOLE;
	struct dev *d = devs;
	if (!v[1] || (c == RNG && !v[2])) plat_fail(E_USAGE, v[0], "an argument is missing", 0);
	if (c == HOSTILE && !strncmp(v[1], "console:", 8)) id = ID_CONSOLE;
	u64 n = c == HOSTILE || c == PRINT || c == EXPECT ? strlen(v[1]) : number(v[0], v[1]);
	u64 count = c == RNG ? number(v[0], v[2]) : 0, end = plat_ms() + n, ms;
	if (need && c != IDLE) *need |= 1u << id;
	if (need) return v + 2 + (c == RNG);
	while (c != IDLE && d->id != id) d++;
	if (c == RNG) printf("rng ok %s %s %016llx\n", v[1], v[2], rng_run(d->vq, heap, (u32)n, (u32)count, 1));
	else if (c == FLOOD) rng_run(d->vq, heap, 48, (u32)n, d->vq->num);
	else if (c == HOSTILE) cmd_hostile(d, id == ID_RNG ? v[1] : v[1] + 8);
	else if (c == EXPECT) cmd_expect(d, v[1]);
	else if (c != IDLE) cmd_send(d, c == PRINT ? v[1] : 0, (u32)n);
	else while ((ms = left(end))) plat_wait(ms);
	if (c != RNG) printf(c == HOSTILE ? "hostile %s sent\n" : "%s ok\n", v[c == HOSTILE]);
	return v + 2 + (c == RNG);
}

/* The monitor starts first; only its listening socket is waited for. */
static void connect_host(const char *socket_path, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	if (snprintf(sa.sun_path, sizeof sa.sun_path, "%s", socket_path) >= (int)sizeof sa.sun_path)
		plat_fail(E_USAGE, socket_path, "too long for a socket path", 0);
	bell = socket(AF_UNIX, SOCK_STREAM, 0);
	for (u64 end = plat_ms() + timeout_ms; connect(bell, (struct sockaddr *)&sa, sizeof sa) < 0; poll(0, 0, 10))
		if (!left(end)) plat_fail(E_HOST, socket_path, strerror(errno), 0);
	int fd = fcntl(bell, F_SETFL, O_NONBLOCK) < 0 ? -1 : open(path, O_RDWR);
	off_t size = lseek(fd, 0, SEEK_END);
	void *p = size <= 0 ? MAP_FAILED : mmap(0, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) plat_fail(E_HOST, path, strerror(errno), 0);
	win = p, win_size = (u64)size;
}

/* Finds the devices by their headers and gives every one its rings and buffers, whether it will be used or not: as
 * with a linked firmware, their places do not depend on what is run. Returns a bit for each DeviceID found. */
static unsigned probe(u32 num, int noload)
{
	unsigned have = 0;
	heap = PAGE;
	if (win_size < PAGE) plat_fail(E_HOST, "the window", "%llu bytes hold no headers", win_size);
	for (u32 h = 0; h < SLOTS * SLOT_SIZE; h += SLOT_SIZE) {
		struct dev *d = &devs[ndevs];
		d->name = "slot 0", d->header = h;
		u32 magic = load(d, MAGIC), id = load(d, DEVICE_ID);
		must(h > 0 || magic == magic_value, E_BRINGUP, d, "there is no magic value in the header, but %#llx", magic);
		if (magic != magic_value || (id != ID_RNG && id != ID_CONSOLE)) continue;
		d->id = id, d->name = id == ID_RNG ? "rng" : "console", d->nvq = id == ID_RNG ? 1 : 2, ndevs++, have |= 1u << id;
		for (struct vq *q = d->vq; q < d->vq + d->nvq; q++) {
			q->dev = d, q->index = (unsigned)(q - d->vq), q->num = num ? num : id == ID_RNG ? 2 : 4;
			heap = vq_place(q, heap);
			must(heap <= win_size, E_USAGE, d, "rings of %llu do not fit the window", q->num);
			for (u32 i = q->ring; !noload && i < q->bufs; i++) win[i] = 0;
		}
	}
	return have;
}

int main(int argc, char **argv)
{
	enum { SHM, ADDR, BELL, DIALECT, NUM, TIMEOUT, STEP, DIE_AFTER, NOLOAD, VERBOSE, OPTIONS };
	static const char *const options[] = { "-shm", "-addr", "-doorbell", "-dialect", "-num", "-timeout", "-step",
		"-die-after", "-noload", "-v", 0 }, *const dialects[] = { "zephyr2021", "virtio-exp", "v2025.04", 0 };
	const char *o[OPTIONS] = { [NUM] = "0", [TIMEOUT] = "10", [STEP] = "1000" };
	char **v = argv + (argc > 0), **c;
	unsigned need = 0;
	for (; *v && **v == '-'; v++) {
		unsigned i = find(*v, options, "no such option");
		o[i] = i >= NOLOAD ? "" : *++v;
		if (!o[i]) plat_fail(E_USAGE, options[i], "a value is missing", 0);
	}
	if (!o[SHM] || !o[ADDR] || !o[BELL] || !o[DIALECT] || !*v)
		plat_fail(E_USAGE, "-shm, -addr, -doorbell, -dialect and a command", "all are needed, see README.md", 0);
	dialect = find(o[DIALECT], dialects, "the dialects are zephyr2021, virtio-exp and v2025.04");
	win_phys = number("-addr", o[ADDR]);
	u64 num = number("-num", o[NUM]);
	if (num > MAX_NUM || (num & (num - 1))) plat_fail(E_USAGE, "-num", "a power of two up to 1024 is wanted", 0);
	timeout_ms = 1000 * number("-timeout", o[TIMEOUT]), zephyr_step_ms = number("-step", o[STEP]);
	die_after = o[DIE_AFTER], verbose = o[VERBOSE] != 0;
	setvbuf(stdout, 0, _IOLBF, 0);
	for (c = v; *c;) c = command(c, &need);
	connect_host(o[BELL], o[SHM]);
	if (need & ~probe((u32)num, !!o[NOLOAD])) plat_fail(E_BRINGUP, "header table", "a needed device is not there", 0);
	for (struct dev *d = devs; d < devs + ndevs; d++)
		if (!need || need >> d->id & 1) bring_up(d);
	for (c = v; *c;) c = command(c, 0);
	if (die_after) plat_fail(E_USAGE, die_after, "this step was never reached", 0);
	if (verbose) fprintf(stderr, "doorbells: %lu out, %lu in\n", rings_out, rings_in);
	return 0;
}
