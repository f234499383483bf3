package vring_test

import (
	"testing"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func newQueue(tb testing.TB, m *vringtest.Memory, r *vringtest.Ring, c vring.Config) *vring.Queue {
	tb.Helper()
	c.Layout = r.Layout
	q, err := vring.New(m.Space, c)
	if err != nil {
		tb.Fatal(err)
	}
	return q
}
