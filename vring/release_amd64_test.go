package vring_test

import (
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/vring"
)

// releaseIdx publishes an available index. Every store of amd64 releases, as in ringtest.
func releaseIdx(avail shmem.Span, idx uint16) {
	avail.Store32Plain(0, vring.AvailNoInterrupt|uint32(idx)<<16)
}
