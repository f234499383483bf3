// Package hvl2 is the modern register transport of hypervisor-less virtio: the register map of
// virtio-mmio version 2 in plain shared memory, one page a device.
package hvl2
