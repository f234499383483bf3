package vring_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/vring"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// A diary is a Journal that writes down what it is told, and what the ring showed then.
type diary struct {
	e     *env
	lines []string
}

func (d *diary) note(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...)+fmt.Sprintf(", used index %d", d.e.r.UsedIdx()))
}

func (d *diary) Take(head, pos uint16)   { d.note("take %d from %d", head, pos) }
func (d *diary) Return(head, pos uint16) { d.note("return %d to %d", head, pos) }
func (d *diary) Publish(used uint16)     { d.note("publish up to %d", used) }

// withDiary is an env whose queue keeps a journal.
func withDiary(t *testing.T, c vring.Config) (*env, *diary) {
	t.Helper()
	e, d := simple(t, c), &diary{}
	e.c.Journal, d.e = d, e
	e.q = newQueue(t, e.Memory, e.r, e.c)
	return e, d
}

func expect(t *testing.T, d *diary, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.lines); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	d.lines = nil
}

func TestJournal(t *testing.T) {
	e, d := withDiary(t, size(4))
	for head := range uint16(3) {
		e.r.Put(head, vringtest.Writable(e.Alloc(4, 4), 4))
		e.r.Offer(head)
	}
	e.r.Put(3, vringtest.Readable(0, 4)) // outside the memory
	e.r.Offer(3)

	var a, b vring.Chain
	pop(t, e, &a)
	pop(t, e, &b)
	expect(t, d, "take 0 from 0, used index 0", "take 1 from 1, used index 0")
	e.q.Push(&b)
	expect(t, d)
	_, err := e.q.Publish()
	assert.NilError(t, err)
	expect(t, d, "return 1 to 0, used index 0", "publish up to 1, used index 1")
	pop(t, e, &b)
	e.q.Push(&b)
	e.q.Push(&a)
	assert.NilError(t, e.q.Show())
	expect(t, d, "take 2 from 2, used index 1",
		"return 2 to 1, used index 1", "return 0 to 2, used index 1", "publish up to 3, used index 3")

	// What is refused was taken, too.
	_, err = e.q.Pop(&a)
	assert.ErrorIs(t, err, vring.ErrAddress)
	_, err = e.q.Publish()
	assert.NilError(t, err)
	expect(t, d, "take 3 from 3, used index 3", "return 3 to 3, used index 3", "publish up to 4, used index 4")
}

func pop(t *testing.T, e *env, c *vring.Chain) {
	t.Helper()
	ok, err := e.q.Pop(c)
	assert.NilError(t, err)
	assert.Assert(t, ok)
}

func TestRedo(t *testing.T) {
	// The predecessor took entries 7 to 9, heads 1, 2 and 0, and returned one of them: the used
	// index is 8, and head 3 has been made available since.
	c := size(4)
	c.Start = 7
	e, d := withDiary(t, c)
	for _, head := range []uint16{1, 2, 0, 3} {
		e.r.Put(head, vringtest.Writable(e.Alloc(4, 4), 4))
		e.r.Offer(head)
	}
	c = e.c
	c.Start, c.Redo = 8, []uint16{0, 1}
	e.q = newQueue(t, e.Memory, e.r, c)
	assert.Assert(t, e.q.Untouched())
	assert.Equal(t, e.q.Position(), uint16(10))

	var heads []uint16
	var chain vring.Chain
	for range 3 {
		pop(t, e, &chain)
		heads = append(heads, chain.Head())
		assert.Assert(t, !e.q.Untouched())
		e.q.Push(&chain)
	}
	assert.DeepEqual(t, heads, []uint16{0, 1, 3})
	ok, err := e.q.Pop(&chain)
	assert.NilError(t, err)
	assert.Assert(t, !ok)
	_, err = e.q.Publish()
	assert.NilError(t, err)
	assert.Equal(t, e.r.UsedIdx(), uint16(11))
	assert.Equal(t, e.q.Published(), uint16(11))
	expect(t, d, "take 3 from 10, used index 7", "return 0 to 8, used index 7", "return 1 to 9, used index 7",
		"return 3 to 10, used index 7", "publish up to 11, used index 11")
}

func TestRedoOfNoHead(t *testing.T) {
	e := simple(t, size(4))
	for _, redo := range [][]uint16{{4}, {0, 1, 2, 3, 0}} {
		c := e.c
		c.Redo = redo
		_, err := vring.New(e.Space, c)
		assert.ErrorIs(t, err, vring.ErrHead)
	}
}
