package vring_test

import (
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

func TestChain_OutOfFlight(t *testing.T) {
	e := simple(t, size(8))
	var c vring.Chain
	_, err := c.Read(make([]byte, 1))
	assert.Equal(t, err, vring.ErrDone)
	_, err = c.Write(make([]byte, 1))
	assert.Equal(t, err, vring.ErrDone)
	e.q.Push(&c)
	e.q.Refuse(&c)
	assert.Equal(t, e.q.Pending(), 0)

	out := e.Alloc(4, 1)
	e.r.Put(1, vringtest.Writable(out, 4))
	e.r.Offer(1)
	e.pop(t, &c)
	other := simple(t, size(8))
	other.q.Push(&c) // of another queue
	other.q.Refuse(&c)
	assert.Equal(t, other.q.Pending(), 0)
	_, err = c.Write([]byte("ab"))
	assert.NilError(t, err)
	e.q.Push(&c)
	_, err = c.Write([]byte("c"))
	assert.Equal(t, err, vring.ErrDone)
	e.q.Refuse(&c)
	e.publish(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: 1, Len: 2})
	_, more := e.r.Used()
	assert.Assert(t, !more)
}

func TestChain_RefuseReturnsNothing(t *testing.T) {
	e := simple(t, size(8))
	e.r.Put(1, vringtest.Writable(e.Alloc(4, 1), 4))
	e.r.Offer(1)
	var c vring.Chain
	e.pop(t, &c)
	_, err := c.Write([]byte("half"))
	assert.NilError(t, err)
	e.q.Refuse(&c)
	e.publish(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: 1})
}

// A Chain that is popped into again before it was pushed does not lose its head.
func TestChain_PoppedOver(t *testing.T) {
	e := simple(t, size(8))
	e.r.Put(1, vringtest.Writable(e.Alloc(4, 1), 4))
	e.r.Put(2, vringtest.Desc{})
	e.r.Offer(1, 2)
	var c vring.Chain
	e.pop(t, &c)
	_, err := c.Write([]byte("lost"))
	assert.NilError(t, err)
	e.pop(t, &c)
	assert.Equal(t, c.Head(), uint16(2))
	ok, err := e.q.Pop(&c) // nothing there: the chain stays
	assert.NilError(t, err)
	assert.Assert(t, !ok)
	e.q.Push(&c)
	e.publish(t)
	assert.Equal(t, e.used(t), vringtest.Elem{ID: 1})
	assert.Equal(t, e.used(t), vringtest.Elem{ID: 2})
}

func TestQueue_Untouched(t *testing.T) {
	c := size(8)
	c.Start = 7
	e := simple(t, c)
	assert.Assert(t, e.q.Untouched())
	e.good(t, 0)
	assert.Assert(t, !e.q.Untouched())
}

// What a log shows of a hostile driver: queue, chain and reason.
func TestErrors(t *testing.T) {
	c := size(8)
	c.Index = 4
	e := simple(t, c)
	e.r.Put(1, vringtest.Readable(0x1234, 5))
	e.r.Put(2, vringtest.Desc{Flags: vring.DescNext, Next: 8})
	e.r.Offer(1, 2)
	var chain vring.Chain
	_, err := e.q.Pop(&chain)
	assert.Error(t, err, "queue 4: chain 1 refused: address is outside the shared memory: 5 bytes at 0x1234 are outside the shared windows")
	_, err = e.q.Pop(&chain)
	assert.Error(t, err, "queue 4: ring broken at chain 2: next 8 of 8: next field points beyond the descriptor table")
	e.reset(t)
	e.r.SetAvailIdx(77)
	_, err = e.q.Pop(&chain)
	assert.Error(t, err, "queue 4: ring broken: from 1 to 77: available index moved by more than the queue size")
}
