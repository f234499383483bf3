/* hvl-v2, driver side: see hvl2.h. Written from docs/hvl-v2.md alone, so that it shares no mistake with the Go code. */
#include "hvl2.h"

enum { DEVICE_FEATURES = 0x10, DEVICE_FEATURES_SEL = 0x14, DRIVER_FEATURES = 0x20, DRIVER_FEATURES_SEL = 0x24, QUEUE_SEL = 0x30,
       QUEUE_SIZE_MAX = 0x34, QUEUE_SIZE = 0x38, QUEUE_READY = 0x44, STATUS = 0x70, QUEUE_ADDR = 0x80, QUEUE_RESET = 0xc0,
       GENERATION = 0xfc, IDENT = 0x800, TXN_ACK = 0x808, TXN_RESULT = 0x80c, BEAT = 0x810, EPOCH = 0x814, USED_EVENTS = 0x818,
       CONFIG_EVENTS = 0x81c, ADDR_BASE = 0x840, MEM_OFF = 0x848, MEM_SIZE = 0x850, SLOT_OFF = 0x858, REQUIRED = 0x868,
       TXN_SEQ = 0x880, TXN_CMD = 0x884, TXN_VAL = 0x888, USED_SEEN = 0x890, CONFIG_SEEN = 0x894 };
enum { VIRT = 0x74726976, HVL2 = 0x326c7668, NEEDS_RESET = 0x40 };

static uint32_t load(volatile uint8_t *p, uint32_t off) { return *(volatile uint32_t *)(volatile void *)(p + off); }
static uint64_t load64(volatile uint8_t *p, uint32_t off) { return load(p, off) | (uint64_t)load(p, off + 4) << 32; }
static void store(volatile uint8_t *p, uint32_t off, uint32_t v) { *(volatile uint32_t *)(volatile void *)(p + off) = v; }

uint32_t hvl2_read(struct hvl2 *h, uint32_t reg) { uint32_t v = load(h->page, reg); hvl2_plat_barrier(); return v; }

/* Until everything up to seq is done; 3 s without a sign of life, or 60 s in all (10). */
static int await(struct hvl2 *h)
{
	uint32_t begun = hvl2_plat_wait(), moved = begun, now = begun, beat = load(h->page, BEAT), b;
	for (; load(h->page, TXN_ACK) != h->seq; now = hvl2_plat_wait()) {
		if ((b = load(h->page, BEAT)) != beat) beat = b, moved = now;
		if (now - moved > 3000 || now - begun > 60000) return -1;
	}
	hvl2_plat_barrier();
	return 0;
}

int hvl2_write(struct hvl2 *h, uint32_t reg, uint32_t value, uint32_t width)
{
	if (hvl2_read(h, TXN_ACK) != h->seq) return HVL2_NO_ANSWER;
	store(h->page, TXN_VAL, value);
	store(h->page, TXN_CMD, reg | width << 16);
	hvl2_plat_barrier();
	store(h->page, TXN_SEQ, ++h->seq);
	hvl2_plat_ring();
	return await(h) ? HVL2_NO_ANSWER : (int)load(h->page, TXN_RESULT);
}

int hvl2_attach(struct hvl2 *h, volatile uint8_t *page)
{
	uint32_t version = load(page, 0x04);
	if (load(page, 0x00) != VIRT || load(page, IDENT) != HVL2 || load(page, IDENT + 4) >> 16 != 2 || load(page, REQUIRED) ||
	    (version != 2 && version != 3) || !load(page, 0x08)) return -1;
	hvl2_plat_barrier();
	h->page = page;
	h->mem = page - load64(page, SLOT_OFF) + load64(page, MEM_OFF);
	h->mem_size = load64(page, MEM_SIZE), h->addr_base = load64(page, ADDR_BASE);
	hvl2_plat_ring();                       /* a predecessor may have died between its TXN_SEQ and its ring ... */
	h->seq = load(page, TXN_SEQ);
	if (await(h)) return -1;                /* ... and its transaction comes first */
	h->epoch = hvl2_read(h, EPOCH);
	if (hvl2_write(h, STATUS, 0, 4) || hvl2_read(h, STATUS)) return -1;
	store(page, USED_SEEN, h->used_seen = load(page, USED_EVENTS));
	store(page, CONFIG_SEEN, h->config_seen = load(page, CONFIG_EVENTS));
	return 0;
}

uint32_t hvl2_isr(struct hvl2 *h)
{
	uint32_t used = load(h->page, USED_EVENTS), config = load(h->page, CONFIG_EVENTS);
	uint32_t status = (used != h->used_seen ? HVL2_USED : 0) | (config != h->config_seen ? HVL2_CONFIG : 0);
	hvl2_plat_barrier();                    /* what they count is read after them */
	store(h->page, USED_SEEN, h->used_seen = used);         /* what was read, never a later reading */
	store(h->page, CONFIG_SEEN, h->config_seen = config);
	return status;
}

int hvl2_needs_reset(struct hvl2 *h) { return (load(h->page, STATUS) & NEEDS_RESET) || load(h->page, EPOCH) != h->epoch; }

int hvl2_generation(struct hvl2 *h, uint32_t *g)
{
	uint32_t begun = hvl2_plat_wait();
	hvl2_plat_barrier();                    /* of the second reading: behind the words */
	while ((*g = hvl2_read(h, GENERATION)) & 1)
		if (hvl2_plat_wait() - begun > 3000) return -1;
	return 0;
}

int hvl2_features(struct hvl2 *h, uint32_t f[4])
{
	int bad = hvl2_write(h, STATUS, 1, 4);
	if (!bad) bad = hvl2_write(h, STATUS, 3, 4);
	for (uint32_t i = 0; i < 4 && !bad; i++) bad = hvl2_write(h, DEVICE_FEATURES_SEL, i, 4), f[i] = hvl2_read(h, DEVICE_FEATURES);
	return bad;
}

int hvl2_accept(struct hvl2 *h, const uint32_t f[4])
{
	int bad = 0;
	for (uint32_t i = 0; i < 4 && !bad; i++)
		if (!(bad = hvl2_write(h, DRIVER_FEATURES_SEL, i, 4))) bad = hvl2_write(h, DRIVER_FEATURES, f[i], 4);
	if (!bad) bad = hvl2_write(h, STATUS, 11, 4);
	return bad ? bad : hvl2_read(h, STATUS) == 11 ? 0 : HVL2_REFUSED;
}

uint64_t hvl2_addr(struct hvl2 *h, volatile void *p) { return h->addr_base + (uint64_t)((volatile uint8_t *)p - h->mem); }

int hvl2_queue(struct hvl2 *h, uint32_t q, uint32_t size, volatile void *desc, volatile void *avail, volatile void *used)
{
	uint64_t a[3] = { hvl2_addr(h, desc), hvl2_addr(h, avail), hvl2_addr(h, used) };
	int bad = hvl2_write(h, QUEUE_SEL, q, 4);
	if (!bad && (hvl2_read(h, QUEUE_READY) || hvl2_read(h, QUEUE_SIZE_MAX) < size)) return HVL2_REFUSED;
	if (!bad) bad = hvl2_write(h, QUEUE_SIZE, size, 4);
	for (uint32_t i = 0; i < 6 && !bad; i++)
		bad = hvl2_write(h, QUEUE_ADDR + i / 2 * 0x10 + i % 2 * 4, (uint32_t)(a[i / 2] >> i % 2 * 32), 4);
	if (!bad) bad = hvl2_write(h, QUEUE_READY, 1, 4);
	return bad ? bad : hvl2_read(h, QUEUE_READY) == 1 ? 0 : HVL2_REFUSED;
}

int hvl2_queue_reset(struct hvl2 *h, uint32_t q)
{
	int bad = hvl2_write(h, QUEUE_SEL, q, 4);
	if (!bad) bad = hvl2_write(h, QUEUE_RESET, 1, 4);
	return bad ? bad : hvl2_read(h, QUEUE_RESET) || hvl2_read(h, QUEUE_READY) ? HVL2_REFUSED : 0;
}

uint32_t hvl2_find(volatile uint8_t *window, uint64_t size, uint32_t device_id, uint32_t n)
{
	volatile uint8_t *d = window + 0xe00;
	if (size < 0x1000 || load(d, 0x00) != HVL2) return 0;
	hvl2_plat_barrier();
	uint32_t off = load(d, 0x18), count = load(d, 0x1c), stride = load(d, 0x20);
	if (load(d, 0x04) >> 16 != 2 || load(d, 0x24) || count > 64 || stride < 32 || stride % 4 || off % 4 || off > size ||
	    (uint64_t)count * stride > size - off || load64(d, 0x10) > size) return 0;
	for (uint32_t i = 0; i < count; i++) {
		volatile uint8_t *e = window + off + i * stride;
		uint64_t slot = load(e, 0x08), mem = (uint64_t)load(e, 0x10) << 12, bytes = (uint64_t)load(e, 0x14) << 12;
		if (load(e, 0x00) != device_id || (load(e, 0x04) & 1) || load(e, 0x18) != n) continue;
		if (slot % 4096 || slot + load(e, 0x0c) > size || load(e, 0x0c) < 4096 || mem > size || bytes > size - mem) return 0;
		return (uint32_t)slot;
	}
	return 0;
}
