/*
 * hvl-v2, driver side, in plain C99 for firmware: one struct a slot. Copy hvl2.h and hvl2.c, and write the three
 * hvl2_plat_ functions. The specification is docs/hvl-v2.md; numbers in comments are its sections.
 */
#ifndef HVL2_H
#define HVL2_H
#include <stdint.h>

struct hvl2 {
	volatile uint8_t *page, *mem;           /* the slot page; the device's memory, mem_size bytes of it */
	uint64_t mem_size, addr_base;           /* the device knows mem as addr_base (4.5) */
	uint32_t seq, epoch;                    /* of the last transaction; of the device when attached */
	uint32_t used_seen, config_seen;
};
enum { HVL2_USED = 1, HVL2_CONFIG = 2 };        /* what hvl2_isr returns */
enum { HVL2_DONE, HVL2_NO_REGISTER, HVL2_REFUSED, HVL2_RESET_FIRST, HVL2_BROKEN, HVL2_NO_ANSWER = -1 };

/* The platform's. hvl2_plat_ring raises the doorbell, every store before it visible first (DMB OSHST; a system call is
 * enough inside one OS). hvl2_plat_barrier is a full barrier for all observers of the window (DMB SY where the device
 * is of another shareability domain). hvl2_plat_wait lets a while pass and returns the milliseconds of a clock. */
void hvl2_plat_ring(void);
void hvl2_plat_barrier(void);
uint32_t hvl2_plat_wait(void);

/* The page of the n-th device of a type in the directory of a window (3), as an offset; 0: not there (yet). */
uint32_t hvl2_find(volatile uint8_t *window, uint64_t size, uint32_t device_id, uint32_t n);
/* Takes the slot over from whoever had it, whatever state it is in (8): 0, or -1 and the memory is not ours. */
int hvl2_attach(struct hvl2 *, volatile uint8_t *page);
/* One register: the write returns when its effect is complete. Not reentrant, not from an interrupt handler. Below 0
 * it is still outstanding: nothing may be written, and no memory reused, before an attach succeeds. */
int hvl2_write(struct hvl2 *, uint32_t reg, uint32_t value, uint32_t width);
uint32_t hvl2_read(struct hvl2 *, uint32_t reg);
/* In the doorbell's interrupt, after the line was cleared and that has taken effect (6). */
uint32_t hvl2_isr(struct hvl2 *);
int hvl2_needs_reset(struct hvl2 *);            /* after HVL2_CONFIG, and when a wait is long: attach again */
int hvl2_generation(struct hvl2 *, uint32_t *); /* of the configuration space (7): even, 0; or odd for too long, -1 */
/* Bring-up after attach (8), each 0 or the result that went wrong: Status 1, 3 and the features offered; a subset of
 * them and FEATURES_OK; each queue, its cleared parts in mem. The driver then writes 15 to Status, and rings after it
 * has made buffers available. After hvl2_queue_reset, where RING_RESET was accepted, the queue is set up anew. */
int hvl2_features(struct hvl2 *, uint32_t f[4]);
int hvl2_accept(struct hvl2 *, const uint32_t f[4]);
int hvl2_queue(struct hvl2 *, uint32_t q, uint32_t size, volatile void *desc, volatile void *avail, volatile void *used);
int hvl2_queue_reset(struct hvl2 *, uint32_t q);
uint64_t hvl2_addr(struct hvl2 *, volatile void *);
#endif
