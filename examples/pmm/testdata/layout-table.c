/* Written by pmm layout -format c. Addresses are the driver's, sizes are in bytes. */
#ifndef VIRTIO_HVL_H
#define VIRTIO_HVL_H

#define VIRTIO_HVL_WINDOW_ADDR                   0x37000000u
#define VIRTIO_HVL_WINDOW_SIZE                   0x1000000u        /* 16 MiB */
#define VIRTIO_HVL_POOL_ADDR                     0x37001000u       /* rings and buffers of all devices go here */
#define VIRTIO_HVL_POOL_SIZE                     0xfff000u         /* 16380 KiB */
#define VIRTIO_HVL_PAGE_SIZE                     4096              /* also the alignment of the used ring */
#define VIRTIO_HVL_HEADER_SIZE                   0x200             /* registers and configuration */
#define VIRTIO_HVL_MAGIC_VALUE                   0x74726976u
#define VIRTIO_HVL_QUEUE_ACK                     0xAABBAABBu       /* in QUEUE_PFN: the queue is configured */

/* Registers: 32-bit little-endian words at these offsets from a header. */
#define VIRTIO_HVL_REG_MAGIC                     0x000             /* VIRTIO_HVL_MAGIC_VALUE once the monitor is ready */
#define VIRTIO_HVL_REG_VERSION                   0x004             /* 1 */
#define VIRTIO_HVL_REG_DEVICE_ID                 0x008             /* 0: no device */
#define VIRTIO_HVL_REG_VENDOR_ID                 0x00c
#define VIRTIO_HVL_REG_DEVICE_FEATURES           0x010             /* bits 0 to 31 */
#define VIRTIO_HVL_REG_DEVICE_FEATURES_SEL       0x014             /* write 0 */
#define VIRTIO_HVL_REG_DRIVER_FEATURES           0x020             /* driver writes, then rings */
#define VIRTIO_HVL_REG_DRIVER_FEATURES_SEL       0x024             /* write 0 */
#define VIRTIO_HVL_REG_GUEST_PAGE_SIZE           0x028             /* driver writes VIRTIO_HVL_PAGE_SIZE at every boot */
#define VIRTIO_HVL_REG_QUEUE_SEL                 0x030             /* driver writes */
#define VIRTIO_HVL_REG_QUEUE_NUM_MAX             0x034             /* largest ring of every queue */
#define VIRTIO_HVL_REG_QUEUE_NUM                 0x038             /* driver writes */
#define VIRTIO_HVL_REG_QUEUE_ALIGN               0x03c             /* driver writes VIRTIO_HVL_PAGE_SIZE, just before QUEUE_PFN */
#define VIRTIO_HVL_REG_QUEUE_PFN                 0x040             /* driver writes, rings, and waits for VIRTIO_HVL_QUEUE_ACK */
#define VIRTIO_HVL_REG_QUEUE_NOTIFY              0x050             /* driver writes, then rings */
#define VIRTIO_HVL_REG_INTERRUPT_STATUS          0x060             /* bit 0: buffers were used */
#define VIRTIO_HVL_REG_INTERRUPT_ACK             0x064             /* driver writes what it saw, then rings */
#define VIRTIO_HVL_REG_STATUS                    0x070             /* driver writes, then rings */
#define VIRTIO_HVL_REG_SHM_LEN_LOW               0x0b0
#define VIRTIO_HVL_REG_SHM_LEN_HIGH              0x0b4
#define VIRTIO_HVL_REG_SHM_BASE_LOW              0x0b8
#define VIRTIO_HVL_REG_SHM_BASE_HIGH             0x0bc
#define VIRTIO_HVL_REG_CONFIG_GENERATION         0x0fc             /* odd while the configuration changes */
#define VIRTIO_HVL_REG_CONFIG                    0x100             /* the device's configuration */

/* The devices, in the order of their headers. */
#define VIRTIO_HVL_DEVICES                       2
#define VIRTIO_HVL_RNG_SLOT                      0
#define VIRTIO_HVL_RNG_TYPE                      4                 /* what DEVICE_ID reads */
#define VIRTIO_HVL_RNG_HEADER                    0x37000000u
#define VIRTIO_HVL_RNG_SHM_ADDR                  0x37001000u       /* memory published as the device's */
#define VIRTIO_HVL_RNG_SHM_SIZE                  0xfff000u         /* 16380 KiB */
#define VIRTIO_HVL_CONSOLE_SLOT                  1
#define VIRTIO_HVL_CONSOLE_TYPE                  3                 /* what DEVICE_ID reads */
#define VIRTIO_HVL_CONSOLE_HEADER                0x37000200u
#define VIRTIO_HVL_CONSOLE_SHM_ADDR              0x37001000u       /* memory published as the device's */
#define VIRTIO_HVL_CONSOLE_SHM_SIZE              0xfff000u         /* 16380 KiB */

#endif
