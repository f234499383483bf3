// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Linux's own virtio_mmio.c over hvl-v2 slots. The file is taken as it is: it is included here,
 * between the definition of what its register accesses become and the one of where the devices
 * are (HVL2_PLATFORM). Under another driver name it lives beside a virtio_mmio that the kernel has.
 */

/* All that virtio_mmio.c includes, before names of it are given another meaning. */
#include <linux/acpi.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <uapi/linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "hvl2.h"
#include HVL2_PLATFORM

/* --- what virtio_mmio.c calls --- */

#undef readl
#undef readw
#undef readb
#undef writel
#undef writew
#undef writeb
#undef ioread32
#define readl(a) hvl2_read(hvl2_slot_of(a), hvl2_offset(a))
#define ioread32(a) readl(a)	/* the upper half of a 64-bit field */
#define readw(a) hvl2_readw(a)
#define readb(a) hvl2_readb(a)
#define writel(v, a) hvl2_write(hvl2_slot_of(a), hvl2_offset(a), (v), 4)
#define writew(v, a) hvl2_write(hvl2_slot_of(a), hvl2_offset(a), (v), 2)
#define writeb(v, a) hvl2_write(hvl2_slot_of(a), hvl2_offset(a), (v), 1)

static u16 hvl2_readw(const volatile void __iomem *a)
{
	u16 v = le16_to_cpu((__force __le16)READ_ONCE(*(u16 *)(hvl2_slot_of(a)->page + hvl2_offset(a))));

	rmb();
	return v;
}

static u8 hvl2_readb(const volatile void __iomem *a)
{
	u8 v = READ_ONCE(*(u8 *)(hvl2_slot_of(a)->page + hvl2_offset(a)));

	rmb();
	return v;
}

/*
 * The line is the platform's, from before the first register write: acknowledgements ring it
 * long before the driver asks for its interrupt. The driver names it by the number that it got
 * from platform_get_irq and, when requesting it, by its own data, which is a device with base.
 */
static int hvl2_irq(struct platform_device *pdev);
static struct hvl2_slot *hvl2_irq_slot(int irq);
#undef devm_platform_ioremap_resource
#undef platform_get_irq
#undef request_irq
#undef free_irq
#undef synchronize_irq
#define devm_platform_ioremap_resource(pdev, i) hvl2_base(pdev)
#define platform_get_irq(pdev, i) hvl2_irq(pdev)
#define request_irq(irq, handler, flags, name, data) hvl2_request_irq(hvl2_irq_slot(irq), handler, data)
#define free_irq(irq, data) hvl2_free_irq(hvl2_irq_slot(irq))
#define synchronize_irq(irq) hvl2_synchronize_irq(hvl2_irq_slot(irq))

/* Its entry points become functions that ours call. */
#pragma push_macro("module_init")
#pragma push_macro("module_exit")
#undef module_init
#undef module_exit
#define module_init(fn)
#define module_exit(fn)
#undef pr_fmt

#include "virtio_mmio.c"

#pragma pop_macro("module_init")
#pragma pop_macro("module_exit")

static void hvl2_break(void *data)
{
	struct virtio_device *vdev = &((struct virtio_mmio_device *)data)->vdev;
	struct virtqueue *vq;

	virtio_device_for_each_vq(vdev, vq)
		__virtqueue_break(vq);
}

static int hvl2_irq(struct platform_device *pdev)
{
	return pdev->id;
}

static struct hvl2_slot *hvl2_irq_slot(int irq)
{
	return hvl2_platform_slot(irq);
}

static int __init hvl2_init(void)
{
	int err;

	virtio_mmio_driver.driver.name = HVL2_DRIVER;
	virtio_mmio_driver.driver.of_match_table = NULL;	/* only what we register */
	virtio_mmio_driver.driver.acpi_match_table = NULL;
	err = virtio_mmio_init();
	if (err)
		return err;
	err = hvl2_platform_start();
	if (err)
		virtio_mmio_exit();
	return err;
}

static void __exit hvl2_exit(void)
{
	hvl2_platform_stop();
	virtio_mmio_exit();
}

module_init(hvl2_init);
module_exit(hvl2_exit);
