// Package virtio is the root of a library for building virtio back-ends where there is no
// hypervisor: a Linux process serves virtio devices to a front-end on another core, an RTOS or a
// safety island, with which it shares memory and a doorbell and nothing else.
//
// The packages, from the ground up:
//
//   - shmem: mapped memory, driver addresses, and what the CPU allows on them
//   - vring: the device side of a split virtqueue
//   - notify: doorbells
//   - virtio: the contract between devices and transports
//   - transport/mmio: registers in shared memory, as deployed front-ends know them, and, in
//     transport/mmio/hvl2, as new ones should
//   - transport/vhostuser: the same devices on a desktop, for the Linux kernel in a virtual machine
//   - backend/...: the devices, each usable alone
//   - driver: the front-end side, for tests, tools, and Linux programs
//   - virtio/virtiotest, vring/vringtest: test kits for those who write devices;
//     transport/vhostuser/vhostusertest is a front-end for tests
//
// A monitor is assembled from them in a few dozen lines: open a shmem.Region and a notify.Line,
// make an mmio.Bus, add devices, Run. The program examples/pmm is one that is configured by
// flags. docs/architecture.md shows the house, docs/protocol.md the wire.
package virtio
