/*
 * The driver of hvl2.c as a process against a monitor: an entropy or a console device of a window in a file, the
 * doorbell a stream socket. README.md has the usage.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "hvl2.h"

enum { N = 8, BUF = 512, GUARD = 16, CANARY = 0xC5, STATUS = 0x70, LONG = 10000, ID_CONSOLE = 3, ID_RNG = 4 };
/* A queue as it lies in the device's memory: what the device writes has lines of its own. */
struct ring {
	struct { uint64_t addr; uint32_t len; uint16_t flags, next; } desc[N];
	uint16_t avail_flags, avail_idx, avail[N], used_event, pad1[85];
	uint16_t used_flags, used_idx; struct { uint32_t id, len; } used[N]; uint16_t avail_event, pad2[29];
	uint8_t buf[N][GUARD + BUF + GUARD];
};
static volatile struct ring *rings;
static uint16_t seen[2];
static volatile uint8_t *window;
static uint64_t size;
static const char *bell_path;
static int bell = -1;
static unsigned long restarts;
static struct hvl2 h;

static void die(int code, const char *format, ...)
{
	va_list a;
	va_start(a, format);
	vfprintf(stderr, format, a);
	fputc('\n', stderr);
	exit(code);
}

static uint32_t ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint32_t)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

/* The monitor may come and go: it looks at everything when somebody dials. */
static void dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	uint32_t begun = ms();
	struct timespec pause = { 0, 5000000 };
	strncpy(a.sun_path, bell_path, sizeof a.sun_path - 1);
	for (;;) {
		if (bell >= 0) close(bell);
		bell = socket(AF_UNIX, SOCK_STREAM, 0);
		if (!connect(bell, (struct sockaddr *)&a, sizeof a)) break;
		if (ms() - begun > LONG) die(4, "nobody listens at %s: %s", bell_path, strerror(errno));
		nanosleep(&pause, 0);
	}
	fcntl(bell, F_SETFL, O_NONBLOCK);
}

void hvl2_plat_barrier(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void hvl2_plat_ring(void)
{
	if (send(bell, "", 1, MSG_NOSIGNAL) < 0 && errno != EAGAIN) dial();
}

/* Until a ring, 20 ms at most; the ring is consumed, the line cleared. */
uint32_t hvl2_plat_wait(void)
{
	struct pollfd p = { .fd = bell, .events = POLLIN };
	char b[64];
	ssize_t n;
	if (poll(&p, 1, 20) > 0) {
		while ((n = read(bell, b, sizeof b)) > 0) ;
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) dial();
	}
	return ms();
}

static void bring_up(uint32_t id, uint32_t queues)
{
	uint32_t begun = ms(), off, f[4];
	int bad = -1;
	for (;; hvl2_plat_wait()) {
		if ((off = hvl2_find(window, size, id, 0)) && !hvl2_attach(&h, window + off)) {
			if (h.mem < window || h.mem + h.mem_size > window + size || h.mem_size < queues * sizeof *rings)
				die(3, "the device's memory is not in the window");
			rings = (volatile struct ring *)(volatile void *)h.mem;
			for (uint64_t i = 0; i < queues * sizeof *rings; i++) h.mem[i] = 0;
			seen[0] = seen[1] = 0;
			bad = hvl2_features(&h, f);
			f[0] = 0, f[1] &= 0x113, f[2] = f[3] = 0;       /* VERSION_1, ACCESS_ and ORDER_PLATFORM, RING_RESET */
			if (!bad) bad = hvl2_accept(&h, f);
			for (uint32_t q = 0; q < queues && !bad; q++)
				bad = hvl2_queue(&h, q, N, rings[q].desc, &rings[q].avail_flags, &rings[q].used_flags);
			if (!bad) bad = hvl2_write(&h, STATUS, 15, 4);
			if (!bad && hvl2_read(&h, STATUS) == 15) return;
			if (bad == HVL2_NO_REGISTER || bad == HVL2_REFUSED) die(3, "bring-up refused: %d", bad);
		}
		if (ms() - begun > LONG) die(3, "no device %u was brought up: %d", id, bad);
	}
}

/* Makes buffer i of a queue available: n bytes for the device to read, or to write. */
static void post(int q, uint16_t i, uint32_t n, int writes)
{
	volatile struct ring *r = &rings[q];
	for (uint32_t k = 0; k < sizeof r->buf[i]; k++)
		if (writes || k < GUARD || k >= GUARD + n) r->buf[i][k] = CANARY;
	r->desc[i].addr = hvl2_addr(&h, &r->buf[i][GUARD]), r->desc[i].len = n, r->desc[i].flags = writes ? 2 : 0;
	r->avail[r->avail_idx % N] = i;
	hvl2_plat_barrier();
	r->avail_idx = (uint16_t)(r->avail_idx + 1);
	hvl2_plat_ring();
}

/* A used buffer, or -1 when there is none, or -2 when the device needs a reset; waits only for an interrupt. */
static int take(int q, uint32_t *n, int waits)
{
	volatile struct ring *r = &rings[q];
	for (uint32_t begun = ms(); r->used_idx == seen[q];) {
		if (!waits) return -1;
		if (ms() - begun > LONG) die(6, "no answer; used index %u, available %u", r->used_idx, r->avail_idx);
		hvl2_plat_wait();
		if ((hvl2_isr(&h) & HVL2_CONFIG) && hvl2_needs_reset(&h)) return -2;
	}
	hvl2_plat_barrier();
	uint32_t id = r->used[seen[q] % N].id;
	*n = r->used[seen[q]++ % N].len;
	if (id >= N || *n > BUF) die(5, "the used ring names buffer %u, %u bytes", id, *n);
	for (uint32_t k = 0; k < GUARD; k++)
		if (r->buf[id][k] != CANARY || r->buf[id][sizeof r->buf[id] - 1 - k] != CANARY) die(5, "bytes beside buffer %u were written", id);
	return (int)id;
}

static void again(uint32_t id, uint32_t queues) { restarts++; bring_up(id, queues); }

static void rng(uint32_t n, uint32_t count)
{
	uint32_t got, total = 0, same = 0;
	for (uint32_t done = 0; done < count;) {
		if (done % 100 == 99) {                 /* a queue reset now and then, a request in flight */
			post(0, 0, n, 1);
			if (hvl2_queue_reset(&h, 0)) { again(ID_RNG, 1); continue; }
			for (uint64_t i = 0; i < sizeof *rings; i++) h.mem[i] = 0;
			seen[0] = 0;
			if (hvl2_queue(&h, 0, N, rings->desc, &rings->avail_flags, &rings->used_flags)) { again(ID_RNG, 1); continue; }
		}
		post(0, (uint16_t)(done % N), n, 1);
		int i = take(0, &got, 1);
		if (i < 0) { again(ID_RNG, 1); continue; }
		if (!got || got > n) die(5, "%u bytes of %u", got, n);
		for (uint32_t k = 0; k < got; k++) same += rings->buf[i][GUARD + k] == CANARY;
		total += got, done++;
	}
	if (same > total / 16 + 8) die(5, "%u of %u bytes are as they were", same, total);
	printf("rng ok %u %u\n", n, count);
}

/* Bytes go out and are to come back, in order. */
static void echo(uint32_t bytes)
{
	uint32_t sent = 0, back = 0, n, busy = 0;
	for (uint16_t i = 0; i < N; i++) post(0, i, BUF, 1);
	while (back < bytes) {
		if (!busy && sent < bytes && sent - back < 256) {
			n = sent % 48 + 1;
			if (n > bytes - sent) n = bytes - sent;
			for (uint32_t k = 0; k < n; k++) rings[1].buf[0][GUARD + k] = (uint8_t)((sent + k) * 7 >> 3);
			post(1, 0, n, 0);
			sent += n, busy = 1;
		}
		if (busy && take(1, &n, 0) >= 0) { busy = 0; continue; }
		int i = take(0, &n, 0);
		if (i < 0) {
			hvl2_plat_wait();
			if ((hvl2_isr(&h) & HVL2_CONFIG) && hvl2_needs_reset(&h)) die(7, "the device lost its state");
			continue;
		}
		for (uint32_t k = 0; k < n; k++, back++)
			if (rings[0].buf[i][GUARD + k] != (uint8_t)(back * 7 >> 3)) die(5, "byte %u came back wrong", back);
		post(0, (uint16_t)i, BUF, 1);
	}
	printf("echo ok %u\n", bytes);
}

int main(int argc, char **argv)
{
	struct stat st;
	if (argc < 5) die(2, "usage: hvl2 WINDOW DOORBELL rng BYTES COUNT | echo BYTES");
	int fd = open(argv[1], O_RDWR);
	if (fd < 0 || fstat(fd, &st)) die(1, "%s: %s", argv[1], strerror(errno));
	size = (uint64_t)st.st_size;
	window = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (window == MAP_FAILED) die(1, "%s: %s", argv[1], strerror(errno));
	bell_path = argv[2];
	dial();
	if (!strcmp(argv[3], "rng") && argc == 6) {
		bring_up(ID_RNG, 1);
		rng((uint32_t)atoi(argv[4]), (uint32_t)atoi(argv[5]));
	} else if (!strcmp(argv[3], "echo")) {
		bring_up(ID_CONSOLE, 2);
		echo((uint32_t)atoi(argv[4]));
	} else {
		die(2, "no such command: %s", argv[3]);
	}
	printf("restarts %lu\n", restarts);
	return 0;
}
