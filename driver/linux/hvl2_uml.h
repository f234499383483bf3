/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The platform is User-Mode Linux: slot pages are pages of its RAM, which is a file of the host;
 * the doorbell is a unix stream socket, on which every byte is a ring. The kernel connects, hands
 * over the file and the addresses of the pages (struct hvl2_hello), and does so again whenever
 * the socket dies: what the pages hold outlives the other side.
 *
 * UML has one CPU and no kernel preemption. That is relied upon where a doorbell is rung while
 * its socket might be exchanged.
 */
#ifndef HVL2_UML_H
#define HVL2_UML_H

#include <linux/mm.h>
#include <asm/io.h>
#include <as-layout.h>
#include <irq_kern.h>
#include <mem_user.h>
#include <os.h>

#define HVL2_LINES	8
#define HVL2_PAGES	8	/* on one line */
#define HVL2_RECONNECT	msecs_to_jiffies(10)
#define HVL2_SETTLE	(5 * HZ)	/* how long loading the module waits for devices */

/*
 * What is sent with the RAM's descriptor before the first ring. Little-endian, as UML is. The
 * file's offsets are physical addresses.
 */
struct hvl2_hello {
	u32 magic;		/* HVL2_IDENT_VALUE */
	u32 version;		/* 1 */
	u32 count;		/* of pages */
	u32 reserved;
	u64 page[HVL2_PAGES];	/* physical addresses */
};

struct hvl2_line {
	const char *path;
	int fd, irq;		/* fd is -1 while there is no connection */
	u32 connects;
	struct delayed_work connect;
	unsigned int count;
	struct hvl2_slot *slot[HVL2_PAGES];
};

static char *hvl2_sock[HVL2_LINES];
static int hvl2_nsock;
module_param_array_named(sock, hvl2_sock, charp, &hvl2_nsock, 0444);
MODULE_PARM_DESC(sock, "unix sockets of the host, one per doorbell");
static unsigned int hvl2_count[HVL2_LINES];
module_param_array_named(pages, hvl2_count, uint, NULL, 0444);
MODULE_PARM_DESC(pages, "devices on each of them (default 1)");

static struct hvl2_line hvl2_line[HVL2_LINES];

static void hvl2_lose(struct hvl2_line *line)
{
	mod_delayed_work(system_wq, &line->connect, 0);
}

static void hvl2_ring(struct hvl2_slot *slot)
{
	struct hvl2_line *line = slot->line;
	u8 ring = 1;
	int n;

	mb();	/* O5 */
	if (line->fd < 0)
		return;	/* whoever comes looks at everything */
	do
		n = os_write_file(line->fd, &ring, 1);
	while (n == -EINTR);
	if (n < 0 && n != -EAGAIN)	/* full is rung already */
		hvl2_lose(line);
}

static irqreturn_t hvl2_interrupt(int irq, void *data)
{
	struct hvl2_line *line = data;
	u8 rings[64];
	unsigned int i;
	int n;

	/*
	 * To the end: UML watches sockets edge-triggered. A last ring and the death of who rang come
	 * as one signal, and after fewer bytes than there was room for the death may still stand.
	 */
	do
		n = os_read_file(line->fd, rings, sizeof(rings));
	while (n > 0 || n == -EINTR);
	if (n == 0 || (n < 0 && n != -EAGAIN))
		hvl2_lose(line);
	mb();	/* O6; the call has cleared the line */
	for (i = 0; i < line->count; i++)
		hvl2_rung(line->slot[i]);
	return IRQ_HANDLED;
}

static int hvl2_say_hello(struct hvl2_line *line, int fd)
{
	struct hvl2_hello hello = { .magic = HVL2_IDENT_VALUE, .version = 1, .count = line->count };
	unsigned long long off;
	unsigned int i;
	int ram = -1, n;

	for (i = 0; i < line->count; i++) {
		hello.page[i] = __pa(line->slot[i]->page);
		ram = phys_mapping(hello.page[i], &off);
	}
	n = os_sendmsg_fds(fd, &hello, sizeof(hello), &ram, 1);
	return n == sizeof(hello) ? 0 : -EIO;
}

static void hvl2_disconnect(struct hvl2_line *line)
{
	int fd = line->fd;

	if (fd < 0)
		return;
	um_free_irq(line->irq, line);
	line->fd = -1;
	os_close_file(fd);
}

static int hvl2_connect(struct hvl2_line *line)
{
	unsigned long flags;
	int fd, irq;

	fd = os_connect_socket(line->path);
	if (fd < 0)
		return fd;
	/* UML reboots by exec: the next kernel has no use for this connection, the device for its end. */
	if (os_set_exec_close(fd) || hvl2_say_hello(line, fd) || os_set_fd_block(fd, 0)) {
		os_close_file(fd);
		return -EIO;
	}
	line->fd = fd;
	irq = um_request_irq(UM_IRQ_ALLOC, fd, IRQ_READ, hvl2_interrupt, 0, HVL2_DRIVER, line);
	if (irq < 0) {
		line->fd = -1;
		os_close_file(fd);
		return irq;
	}
	line->irq = irq;
	line->connects++;
	/* Rings that came before the descriptor was watched have raised no signal. */
	local_irq_save(flags);
	hvl2_interrupt(irq, line);
	local_irq_restore(flags);
	if (line->count)
		hvl2_ring(line->slot[0]);	/* rings of ours may have died with the old socket */
	return 0;
}

static void hvl2_reconnect(struct work_struct *work)
{
	struct hvl2_line *line = container_of(to_delayed_work(work), struct hvl2_line, connect);

	hvl2_disconnect(line);
	if (hvl2_connect(line))
		schedule_delayed_work(&line->connect, HVL2_RECONNECT);
}

static struct hvl2_slot *hvl2_platform_slot(int id)
{
	return hvl2_line[id / HVL2_PAGES].slot[id % HVL2_PAGES];
}

static void hvl2_platform_stop(void)
{
	struct hvl2_line *line;
	unsigned int i;

	for (line = hvl2_line; line < hvl2_line + hvl2_nsock; line++) {
		for (i = 0; i < line->count; i++)
			hvl2_stop(line->slot[i]);
		if (line->path)
			cancel_delayed_work_sync(&line->connect);
		hvl2_disconnect(line);
		for (i = 0; i < line->count; i++)
			hvl2_free(line->slot[i]);	/* its page stays: the device may still look at it */
	}
}

static int hvl2_platform_start(void)
{
	struct hvl2_line *line;
	unsigned int i, n;
	void *page;

	for (n = 0; n < hvl2_nsock; n++) {
		line = &hvl2_line[n];
		line->path = hvl2_sock[n];
		line->fd = -1;
		INIT_DELAYED_WORK(&line->connect, hvl2_reconnect);
		for (i = 0; i < clamp_t(u32, hvl2_count[n], 1, HVL2_PAGES); i++) {
			page = (void *)get_zeroed_page(GFP_KERNEL);
			line->slot[i] = page ? hvl2_new(page, line, n * HVL2_PAGES + i) : NULL;
			if (!line->slot[i]) {
				hvl2_platform_stop();
				return -ENOMEM;
			}
			line->count = i + 1;
		}
		schedule_delayed_work(&line->connect, 0);
		for (i = 0; i < line->count; i++)
			hvl2_start(line->slot[i]);
	}
	/* Devices that are there already are there when the module has been loaded. */
	for (n = 0; n < hvl2_nsock; n++)
		for (line = &hvl2_line[n], i = 0; i < line->count; i++)
			wait_event_timeout(line->slot[i]->rung, line->slot[i]->settled, HVL2_SETTLE);
	return 0;
}

/* What a test wants to know. */
static int hvl2_stats(char *buf, const struct kernel_param *kp)
{
	struct hvl2_line *line;
	struct hvl2_slot *slot;
	unsigned int i;
	int n = 0;

	for (line = hvl2_line; line < hvl2_line + hvl2_nsock; line++)
		for (i = 0; i < line->count; i++) {
			slot = line->slot[i];
			n += scnprintf(buf + n, PAGE_SIZE - n,
				       "slot=%d device=%u status=%#x epoch=%u starts=%u transactions=%u used=%u config=%u "
				       "interrupts=%u connects=%u reprobes=%u odd=%u slow=%u longest_us=%u broken=%d\n",
				       slot->id, hvl2_load(slot, HVL2_DEVICE_ID), hvl2_load(slot, HVL2_STATUS),
				       hvl2_load(slot, HVL2_EPOCH), hvl2_load(slot, HVL2_STARTS), slot->transactions,
				       hvl2_load(slot, HVL2_USED_EVENTS), hvl2_load(slot, HVL2_CONFIG_EVENTS),
				       slot->interrupts, line->connects, slot->reprobes, slot->odd, slot->slow,
				       slot->longest, slot->broken);
		}
	return n;
}
static const struct kernel_param_ops hvl2_stats_ops = { .get = hvl2_stats };
module_param_cb(stats, &hvl2_stats_ops, NULL, 0444);
MODULE_PARM_DESC(stats, "one line per device");

/*
 * ACCESS_PLATFORM would have Linux ask its DMA layer for addresses, and UML has none. The device
 * has all of the memory anyway.
 */
static u32 hvl2_hidden(u32 word)
{
	return word == 1 ? BIT(VIRTIO_F_ACCESS_PLATFORM - 32) : 0;
}

/* UML has no DMA: the addresses of its memory are what devices are told. */
#undef dma_set_mask
#undef dma_set_mask_and_coherent
#undef dma_set_coherent_mask
#define dma_set_mask(dev, mask) 0
#define dma_set_mask_and_coherent(dev, mask) 0
#define dma_set_coherent_mask(dev, mask) ((void)0)

#endif
