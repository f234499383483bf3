/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * hvl-v2 slots in a Linux kernel: what stands between a driver that reads and writes virtio-mmio
 * registers and a slot page in shared memory. It knows neither where pages are nor how doorbells
 * are rung: that is the platform's (hvl2_platform.h). Numbers in brackets are sections of
 * docs/hvl-v2.md.
 */
#ifndef HVL2_H
#define HVL2_H

#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#define HVL2_DRIVER "virtio-mmio-hvl2"

/* Words of a slot page [4]. */
enum {
	HVL2_MAGIC		= 0x000,
	HVL2_VERSION		= 0x004,
	HVL2_DEVICE_ID		= 0x008,
	HVL2_DEVICE_FEATURES	= 0x010,
	HVL2_DEVICE_FEATURES_SEL = 0x014,
	HVL2_QUEUE_NUM		= 0x038,
	HVL2_QUEUE_READY	= 0x044,
	HVL2_QUEUE_NOTIFY	= 0x050,
	HVL2_INTERRUPT_STATUS	= 0x060,
	HVL2_INTERRUPT_ACK	= 0x064,
	HVL2_STATUS		= 0x070,
	HVL2_QUEUE_USED_HIGH	= 0x0a4,
	HVL2_CONFIG_GENERATION	= 0x0fc,
	HVL2_IDENT		= 0x800,
	HVL2_PAGE_VERSION	= 0x804,
	HVL2_TXN_ACK		= 0x808,
	HVL2_TXN_RESULT		= 0x80c,
	HVL2_BEAT		= 0x810,
	HVL2_EPOCH		= 0x814,
	HVL2_USED_EVENTS	= 0x818,
	HVL2_CONFIG_EVENTS	= 0x81c,
	HVL2_STARTS		= 0x820,
	HVL2_REQUIRED		= 0x868,
	HVL2_TXN_SEQ		= 0x880,
	HVL2_TXN_CMD		= 0x884,
	HVL2_TXN_VAL		= 0x888,
	HVL2_USED_SEEN		= 0x890,
	HVL2_CONFIG_SEEN	= 0x894,
};

#define HVL2_MAGIC_VALUE	0x74726976	/* "virt" */
#define HVL2_IDENT_VALUE	0x326c7668	/* "hvl2" */
#define HVL2_NEEDS_RESET	0x40

/* TxnResult [4.2]. */
enum { HVL2_DONE, HVL2_NO_REGISTER, HVL2_REFUSED, HVL2_RESET_FIRST, HVL2_DEVICE_BROKEN };

/* Bounds of waiting [10]. */
#define HVL2_SPIN	(100 * NSEC_PER_USEC)
#define HVL2_SILENCE	(3ull * NSEC_PER_SEC)	/* neither TxnAck nor Beat moves */
#define HVL2_PATIENCE	(60ull * NSEC_PER_SEC)
#define HVL2_FIND	msecs_to_jiffies(10)
#define HVL2_REPROBE	msecs_to_jiffies(50)

struct hvl2_slot {
	/* Set by the platform before hvl2_start. */
	void *page;			/* the slot page, mapped */
	void *line;			/* the platform's: the doorbell it is on */
	int id;				/* of the platform device */

	struct platform_device *pdev;	/* NULL until the page is a device's */
	struct delayed_work work;	/* finds the page, later probes the device again */
	wait_queue_head_t rung;
	bool settled;			/* found, or known not to be a slot */
	bool leaving;
	bool again;			/* a probe of ours failed: nobody unbound it by hand */

	struct mutex txn;		/* held over a register write, and for the next five */
	u32 epoch;			/* remembered when attaching */
	bool broken;			/* writes are dropped until the next reset */
	bool silent;			/* broken because the device did not answer in time */
	bool driven;			/* a driver wrote DRIVER since the last reset */
	bool lent;			/* a queue was made ready since the last acknowledged reset */
	u32 features_sel;		/* as last written */

	spinlock_t lock;		/* held while the handler runs, and for the next two */
	irq_handler_t handler;
	void *data;
	u32 used, config;		/* event counters as InterruptStatus was computed from them */

	/* Information. */
	u32 transactions, interrupts, slow, odd, reprobes, longest;
};

/*
 * The platform: rings the device, ordered after all stores before the call [O5]. Never sleeps,
 * never waits: a doorbell that is full is rung already. The two directions are the platform's:
 * when the device rings, it first clears the line, effectively [O6], then calls hvl2_rung for
 * every slot on that line. Called in any context.
 */
static void hvl2_ring(struct hvl2_slot *slot);

/*
 * The driver: marks the queues of what requested the interrupt with data as broken. In interrupt
 * context, and not while queues are taken away.
 */
static void hvl2_break(void *data);

/* The platform: features of the device, one word of them, that this kernel must not see. */
static u32 hvl2_hidden(u32 word);

static inline u32 hvl2_load(const struct hvl2_slot *slot, u32 off)
{
	return le32_to_cpu((__force __le32)READ_ONCE(*(u32 *)(slot->page + off)));
}

static inline void hvl2_store(struct hvl2_slot *slot, u32 off, u32 val)
{
	WRITE_ONCE(*(u32 *)(slot->page + off), (__force u32)cpu_to_le32(val));
}

#define hvl2_say(slot, fmt, ...) pr_warn(HVL2_DRIVER ".%d: " fmt "\n", (slot)->id, ##__VA_ARGS__)

/*
 * hvl2_wanted reports whether the device has to be probed again. Drivers of Linux ignore
 * NEEDS_RESET, and a probe that failed is never tried again; so it is done for them. Not for a
 * device that no driver has begun to use: whoever begins will hear of it.
 */
static bool hvl2_wanted(struct hvl2_slot *slot)
{
	if (slot->again)
		return true;
	return slot->pdev && slot->pdev->dev.driver && slot->driven &&
	       (slot->silent || (hvl2_load(slot, HVL2_STATUS) & HVL2_NEEDS_RESET) ||
		hvl2_load(slot, HVL2_EPOCH) != slot->epoch);
}

static void hvl2_check(struct hvl2_slot *slot)
{
	if (!slot->leaving && hvl2_wanted(slot))
		schedule_delayed_work(&slot->work, HVL2_REPROBE);
}

/* hvl2_await waits until the device has acknowledged transaction seq. In process context. */
static int hvl2_await(struct hvl2_slot *slot, u32 seq)
{
	u64 start = ktime_get_ns(), moved = start, now = start;
	u32 beat = hvl2_load(slot, HVL2_BEAT);

	while (hvl2_load(slot, HVL2_TXN_ACK) != seq) {
		u32 b = hvl2_load(slot, HVL2_BEAT);

		now = ktime_get_ns();
		if (b != beat) {
			beat = b;
			moved = now;
		}
		if (now - moved > HVL2_SILENCE || now - start > HVL2_PATIENCE)
			return -ETIMEDOUT;
		if (now - start < HVL2_SPIN)
			cpu_relax();
		else
			wait_event_timeout(slot->rung, hvl2_load(slot, HVL2_TXN_ACK) == seq, 1);
	}
	mb();	/* O4: what the transaction showed, and memory that it gave back */
	now = ktime_get_ns() - start;
	slot->slow += now > 100 * NSEC_PER_MSEC;
	slot->longest = max_t(u64, slot->longest, now / NSEC_PER_USEC);
	return 0;
}

/* hvl2_transact is one transaction [5]: its result, or a negative error if there is none. */
static int hvl2_transact(struct hvl2_slot *slot, u32 off, u32 val, u32 width)
{
	u32 seq = hvl2_load(slot, HVL2_TXN_SEQ);
	int err;

	if (hvl2_load(slot, HVL2_TXN_ACK) != seq)
		return -EBUSY;	/* never withdrawn, never overwritten: only a drain ends it */
	slot->transactions++;
	hvl2_store(slot, HVL2_TXN_VAL, val);
	hvl2_store(slot, HVL2_TXN_CMD, off | width << 16);
	mb();	/* O1 */
	hvl2_store(slot, HVL2_TXN_SEQ, seq + 1);
	hvl2_ring(slot);
	err = hvl2_await(slot, seq + 1);
	return err ? err : (int)hvl2_load(slot, HVL2_TXN_RESULT);
}

/* hvl2_attach is steps (a) to (f) of [8]: what a write of 0 to Status does. */
static int hvl2_attach(struct hvl2_slot *slot)
{
	u64 start;
	int err;

	hvl2_ring(slot);	/* a predecessor may have died before its ring */
	err = hvl2_await(slot, hvl2_load(slot, HVL2_TXN_SEQ));
	if (err)
		return err;
	slot->epoch = hvl2_load(slot, HVL2_EPOCH);
	err = hvl2_transact(slot, HVL2_STATUS, 0, 4);
	if (err)
		return err;
	for (start = ktime_get_ns(); hvl2_load(slot, HVL2_STATUS); msleep(1))
		if (ktime_get_ns() - start > HVL2_SILENCE)
			return -ETIMEDOUT;
	hvl2_store(slot, HVL2_USED_SEEN, hvl2_load(slot, HVL2_USED_EVENTS));
	hvl2_store(slot, HVL2_CONFIG_SEEN, hvl2_load(slot, HVL2_CONFIG_EVENTS));
	return 0;
}

/*
 * hvl2_reset cannot fail as Linux sees it, and the rings are freed after it. So while the device
 * may still have them, it does not return.
 */
static void hvl2_reset(struct hvl2_slot *slot)
{
	bool said = false;
	int err;

	for (;;) {
		err = hvl2_attach(slot);
		if (!err || !slot->lent)
			break;
		if (!said)
			hvl2_say(slot, "reset: %d; the device still has our memory, waiting for it", err);
		said = true;
		msleep(100);
	}
	if (err)
		hvl2_say(slot, "reset: %d", err);
	slot->broken = err != 0;
	slot->silent = err < 0;
	slot->driven = false;
	slot->lent = false;
}

/* hvl2_refused reports whether a write's result leaves the driver in a state it cannot know of. */
static bool hvl2_refused(u32 off, int result)
{
	switch (result) {
	case HVL2_DONE:
	case HVL2_NO_REGISTER:
		return false;
	case HVL2_REFUSED:	/* Linux does not read QueueReady back after writing 1 */
		return off >= HVL2_QUEUE_NUM && off <= HVL2_QUEUE_USED_HIGH && off != HVL2_STATUS;
	default:
		return true;
	}
}

/* hvl2_write is a driver's write of a register. All but two sleep. */
static void hvl2_write(struct hvl2_slot *slot, u32 off, u32 val, u32 width)
{
	int result;

	switch (off) {
	case HVL2_QUEUE_NOTIFY:
		hvl2_ring(slot);
		return;
	case HVL2_INTERRUPT_ACK:	/* what was read, never a later reading [6] */
		if (val & 1)
			hvl2_store(slot, HVL2_USED_SEEN, slot->used);
		if (val & 2)
			hvl2_store(slot, HVL2_CONFIG_SEEN, slot->config);
		return;
	}
	mutex_lock(&slot->txn);
	if (off == HVL2_STATUS && val == 0) {
		hvl2_reset(slot);
		goto out;
	}
	if (off == HVL2_STATUS && (val & VIRTIO_CONFIG_S_DRIVER))
		slot->driven = true;
	if (off == HVL2_DEVICE_FEATURES_SEL)
		slot->features_sel = val;
	if (slot->broken)
		goto out;
	if (off == HVL2_QUEUE_READY && val)
		slot->lent = true;
	result = hvl2_transact(slot, off, val, width);
	if (result == 0)
		goto out;
	hvl2_say(slot, "write of %#x to %#x: %d", val, off, result);
	slot->silent = result < 0;
	slot->broken = hvl2_refused(off, result);
	if (result == HVL2_RESET_FIRST)
		hvl2_check(slot);
out:
	mutex_unlock(&slot->txn);
}

/*
 * hvl2_generation waits while an update is in progress: Linux compares two readings but would
 * take an odd one. Configuration is read in process context only.
 */
static u32 hvl2_generation(struct hvl2_slot *slot)
{
	u64 start = ktime_get_ns();
	u32 gen;

	while ((gen = hvl2_load(slot, HVL2_CONFIG_GENERATION)) & 1) {
		u64 waited = ktime_get_ns() - start;

		slot->odd++;
		if (waited > HVL2_SILENCE) {
			slot->broken = true;
			slot->silent = true;
			break;
		}
		if (waited < HVL2_SPIN || in_atomic() || irqs_disabled())
			cpu_relax();
		else
			usleep_range(50, 200);
	}
	return gen;
}

/* hvl2_read is a driver's read of a 32-bit register. */
static u32 hvl2_read(struct hvl2_slot *slot, u32 off)
{
	u32 val;

	switch (off) {
	case HVL2_INTERRUPT_STATUS:
		slot->used = hvl2_load(slot, HVL2_USED_EVENTS);
		slot->config = hvl2_load(slot, HVL2_CONFIG_EVENTS);
		val = slot->used != hvl2_load(slot, HVL2_USED_SEEN);
		val |= (u32)(slot->config != hvl2_load(slot, HVL2_CONFIG_SEEN)) << 1;
		break;
	case HVL2_CONFIG_GENERATION:
		val = hvl2_generation(slot);
		break;
	case HVL2_DEVICE_FEATURES:
		val = hvl2_load(slot, off) & ~hvl2_hidden(slot->features_sel);
		break;
	case HVL2_STATUS:
		val = hvl2_load(slot, HVL2_STATUS);
		if (val && slot->broken)	/* 0 stays 0: the device was reset all the same */
			val |= HVL2_NEEDS_RESET;
		break;
	default:
		val = hvl2_load(slot, off);
	}
	rmb();	/* O4, O7, O10 */
	return val;
}

/*
 * hvl2_rung is the interrupt of one slot, to be called whenever its line was rung. Rings for
 * acknowledgements come with InterruptStatus 0, so what the handler returns is not asked.
 */
static void hvl2_rung(struct hvl2_slot *slot)
{
	unsigned long flags;

	wake_up(&slot->rung);
	spin_lock_irqsave(&slot->lock, flags);
	slot->interrupts++;
	if (slot->handler) {
		slot->handler(0, slot->data);
		/*
		 * Some drivers spin until the device has taken a buffer, or the queue is broken. A
		 * device without state takes none, and who spins cannot be unbound.
		 */
		if (hvl2_wanted(slot))
			hvl2_break(slot->data);
	}
	spin_unlock_irqrestore(&slot->lock, flags);
	hvl2_check(slot);
}

static int hvl2_request_irq(struct hvl2_slot *slot, irq_handler_t handler, void *data)
{
	unsigned long flags;

	spin_lock_irqsave(&slot->lock, flags);
	slot->data = data;
	slot->handler = handler;
	spin_unlock_irqrestore(&slot->lock, flags);
	return 0;
}

/* hvl2_synchronize_irq returns when no run of the handler is left that began before. */
static void hvl2_synchronize_irq(struct hvl2_slot *slot)
{
	unsigned long flags;

	spin_lock_irqsave(&slot->lock, flags);
	spin_unlock_irqrestore(&slot->lock, flags);
}

static void hvl2_free_irq(struct hvl2_slot *slot)
{
	hvl2_request_irq(slot, NULL, NULL);
}

/* hvl2_find looks whether the page is a device's by now [8]: -EAGAIN if it may become one. */
static int hvl2_find(struct hvl2_slot *slot)
{
	if (hvl2_load(slot, HVL2_MAGIC) != HVL2_MAGIC_VALUE)
		return -EAGAIN;
	rmb();	/* O11 */
	if (hvl2_load(slot, HVL2_IDENT) != HVL2_IDENT_VALUE ||
	    hvl2_load(slot, HVL2_PAGE_VERSION) >> 16 != 2 || hvl2_load(slot, HVL2_REQUIRED))
		return -ENODEV;
	return hvl2_load(slot, HVL2_DEVICE_ID) ? 0 : -EAGAIN;
}

/* hvl2_register makes the platform device, which is probed before this returns. */
static int hvl2_register(struct hvl2_slot *slot)
{
	int err = -ENOMEM;

	slot->pdev = platform_device_alloc(HVL2_DRIVER, slot->id);
	if (!slot->pdev)
		return err;
	err = platform_device_add_data(slot->pdev, &slot, sizeof(slot));
	if (!err)
		err = platform_device_add(slot->pdev);
	if (err) {
		platform_device_put(slot->pdev);
		slot->pdev = NULL;
	}
	return err;
}

static void hvl2_settle(struct hvl2_slot *slot)
{
	int err = hvl2_find(slot);

	if (err == -EAGAIN) {
		if (!slot->leaving)
			schedule_delayed_work(&slot->work, HVL2_FIND);
		return;
	}
	if (!err)
		err = hvl2_register(slot);
	if (err)
		hvl2_say(slot, "no device: %d", err);
	slot->settled = true;
	wake_up(&slot->rung);
}

static void hvl2_work(struct work_struct *work)
{
	struct hvl2_slot *slot = container_of(to_delayed_work(work), struct hvl2_slot, work);

	if (!slot->pdev) {
		hvl2_settle(slot);
		return;
	}
	if (!hvl2_wanted(slot))
		return;
	slot->reprobes++;
	hvl2_say(slot, "the device started afresh: probing it again");
	if (device_reprobe(&slot->pdev->dev))
		hvl2_say(slot, "probing again failed");
	slot->again = !slot->pdev->dev.driver;
}

/*
 * hvl2_new makes a slot; free it with hvl2_free once stopped. Slots are aligned to pages, so
 * that the address of a register leads to its slot: see hvl2_base.
 */
static struct hvl2_slot *hvl2_new(void *page, void *line, int id)
{
	struct hvl2_slot *slot = (void *)get_zeroed_page(GFP_KERNEL);

	BUILD_BUG_ON(sizeof(*slot) > PAGE_SIZE);
	if (!slot)
		return NULL;
	slot->page = page;
	slot->line = line;
	slot->id = id;
	INIT_DELAYED_WORK(&slot->work, hvl2_work);
	init_waitqueue_head(&slot->rung);
	mutex_init(&slot->txn);
	spin_lock_init(&slot->lock);
	return slot;
}

static void hvl2_free(struct hvl2_slot *slot)
{
	free_page((unsigned long)slot);
}

/* hvl2_start has the slot looked for, without end; from here on rings may come. */
static void hvl2_start(struct hvl2_slot *slot)
{
	schedule_delayed_work(&slot->work, 0);
}

/* hvl2_stop unbinds the driver, which resets the device. Afterwards hvl2_rung may not be called. */
static void hvl2_stop(struct hvl2_slot *slot)
{
	slot->leaving = true;
	cancel_delayed_work_sync(&slot->work);
	if (slot->pdev)
		platform_device_unregister(slot->pdev);
}

/*
 * hvl2_base is what a driver may take for the mapped registers: the slot's own address. It only
 * ever comes back to hvl2_slot_of and hvl2_offset; nothing is stored through it.
 */
static void __iomem *hvl2_base(struct platform_device *pdev)
{
	return (void __iomem *)*(struct hvl2_slot **)dev_get_platdata(&pdev->dev);
}

static struct hvl2_slot *hvl2_slot_of(const volatile void __iomem *reg)
{
	return (struct hvl2_slot *)((unsigned long)reg & ~0xffful);
}

static u32 hvl2_offset(const volatile void __iomem *reg)
{
	return (unsigned long)reg & 0xffful;
}

#endif
