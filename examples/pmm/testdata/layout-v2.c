/* Written by pmm layout -format c. Addresses are the driver's, sizes are in bytes. */
#ifndef VIRTIO_HVL_H
#define VIRTIO_HVL_H

#define VIRTIO_HVL_WINDOW_ADDR                   0x37000000u
#define VIRTIO_HVL_WINDOW_SIZE                   0x1000000u        /* 16 MiB */
#define VIRTIO_HVL_DIRECTORY                     0xe00             /* from the window's start; says all of the below, too */
#define VIRTIO_HVL_PAGE_SIZE                     0x1000            /* of a slot page */
#define VIRTIO_HVL_MAGIC_VALUE                   0x74726976u
#define VIRTIO_HVL_IDENT_VALUE                   0x326c7668u       /* also the directory's first word */

/* Words of a slot page: 32 bits, little-endian. The driver loads all, and stores its own alone. */
#define VIRTIO_HVL_REG_MAGIC                     0x000             /* VIRTIO_HVL_MAGIC_VALUE once the page can be used */
#define VIRTIO_HVL_REG_VERSION                   0x004             /* 2 or 3 */
#define VIRTIO_HVL_REG_DEVICE_ID                 0x008             /* 0: no device */
#define VIRTIO_HVL_REG_VENDOR_ID                 0x00c
#define VIRTIO_HVL_REG_DEVICE_FEATURES           0x010             /* of the word selected */
#define VIRTIO_HVL_REG_DEVICE_FEATURES_SEL       0x014             /* transaction */
#define VIRTIO_HVL_REG_DRIVER_FEATURES           0x020             /* transaction */
#define VIRTIO_HVL_REG_DRIVER_FEATURES_SEL       0x024             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_SEL                 0x030             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_SIZE_MAX            0x034             /* of the queue selected; 0: none such */
#define VIRTIO_HVL_REG_QUEUE_SIZE                0x038             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_READY               0x044             /* transaction, and reads back */
#define VIRTIO_HVL_REG_STATUS                    0x070             /* transaction, and reads back */
#define VIRTIO_HVL_REG_QUEUE_DESC_LOW            0x080             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_DESC_HIGH           0x084             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_DRIVER_LOW          0x090             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_DRIVER_HIGH         0x094             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_DEVICE_LOW          0x0a0             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_DEVICE_HIGH         0x0a4             /* transaction */
#define VIRTIO_HVL_REG_QUEUE_RESET               0x0c0             /* transaction */
#define VIRTIO_HVL_REG_CONFIG_GENERATION         0x0fc             /* odd while the configuration changes */
#define VIRTIO_HVL_REG_CONFIG                    0x100             /* the device's configuration */
#define VIRTIO_HVL_IDENT                         0x800             /* VIRTIO_HVL_IDENT_VALUE */
#define VIRTIO_HVL_PAGE_VERSION                  0x804             /* major in the upper half: 2 */
#define VIRTIO_HVL_TXN_ACK                       0x808             /* the last transaction that is complete */
#define VIRTIO_HVL_TXN_RESULT                    0x80c             /* of that: 0 done, 3 reset first */
#define VIRTIO_HVL_BEAT                          0x810             /* moves while a transaction takes its time */
#define VIRTIO_HVL_EPOCH                         0x814             /* another one: attach again */
#define VIRTIO_HVL_USED_EVENTS                   0x818             /* interrupt while not USED_SEEN */
#define VIRTIO_HVL_CONFIG_EVENTS                 0x81c             /* interrupt while not CONFIG_SEEN */
#define VIRTIO_HVL_ADDR_BASE                     0x840             /* 64 bits: address of the device's memory */
#define VIRTIO_HVL_MEM_OFF                       0x848             /* 64 bits, from the window's start */
#define VIRTIO_HVL_MEM_SIZE                      0x850             /* 64 bits */
#define VIRTIO_HVL_TXN_SEQ                       0x880             /* driver stores last, then rings */
#define VIRTIO_HVL_TXN_CMD                       0x884             /* driver stores register | width << 16 */
#define VIRTIO_HVL_TXN_VAL                       0x888             /* driver stores */
#define VIRTIO_HVL_USED_SEEN                     0x890             /* driver stores USED_EVENTS as it read it */
#define VIRTIO_HVL_CONFIG_SEEN                   0x894             /* driver stores CONFIG_EVENTS as it read it */

/* The devices, in the order of their pages. */
#define VIRTIO_HVL_DEVICES                       2
#define VIRTIO_HVL_RNG_SLOT                      0
#define VIRTIO_HVL_RNG_TYPE                      4                 /* what DEVICE_ID reads */
#define VIRTIO_HVL_RNG_PAGE                      0x37002000u
#define VIRTIO_HVL_RNG_MEM_ADDR                  0x37010000u       /* its rings and buffers go here */
#define VIRTIO_HVL_RNG_MEM_SIZE                  0x10000u          /* 64 KiB */
#define VIRTIO_HVL_CONSOLE_SLOT                  1
#define VIRTIO_HVL_CONSOLE_TYPE                  3                 /* what DEVICE_ID reads */
#define VIRTIO_HVL_CONSOLE_PAGE                  0x37004000u
#define VIRTIO_HVL_CONSOLE_MEM_ADDR              0x37020000u       /* its rings and buffers go here */
#define VIRTIO_HVL_CONSOLE_MEM_SIZE              0xfe0000u         /* 16256 KiB */

#endif
