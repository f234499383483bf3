package rng

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
)

var errDry = errors.New("noise diode unplugged")

// What the source gave before it failed is delivered; without a byte there is no answer that
// would be legal, so the device stops and says why. A reset tries the source again.
func TestSourceError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := io.MultiReader(strings.NewReader("abcd"), iotest.ErrReader(errDry))
		d := New(Options{Source: source})
		l := newLink(t, d, 1<<20)
		addr := l.writable(16)
		assert.Equal(t, l.used().Len, uint32(4))
		assert.Equal(t, string(l.mem.Read(addr, 4)), "abcd")

		l.writable(16)
		l.until("the device to stop", func() bool { return l.dev.Broken() != nil })
		assert.Check(t, is.ErrorIs(l.dev.Broken(), errDry))
		assert.Check(t, is.ErrorContains(l.dev.Broken(), "entropy source"))
		assert.Check(t, l.dev.Status()&virtio.NeedsReset != 0)

		l.stop()
		d.source.r = &counter{}
		l.start()
		l.writable(16)
		assert.Equal(t, l.used().Len, uint32(16))
	})
}

// An error in the middle of a large request costs nothing of what came before it.
func TestSourceErrorLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := io.MultiReader(io.LimitReader(&counter{}, 2*chunk), iotest.ErrReader(errDry))
		l := newLink(t, New(Options{Source: source}), 1<<20)
		l.writable(4 * chunk)
		assert.Equal(t, l.used().Len, uint32(2*chunk))
	})
}

func TestSourcePanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLink(t, New(Options{Source: readFunc(func([]byte) (int, error) { panic("out of tune") })}), 1<<20)
		l.writable(16)
		l.until("the device to stop", func() bool { return l.dev.Broken() != nil })
		assert.Check(t, is.ErrorContains(l.dev.Broken(), "out of tune"))
	})
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// A reset does not wait for a source that blocks, the source is not read twice at the same
// time, and what it gives in the end goes to the next driver: as much as that one asks for.
func TestResetWhileSourceBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		give := make(chan byte)
		var reads atomic.Int32
		l := newLink(t, New(Options{Source: readFunc(func(p []byte) (int, error) {
			reads.Add(1)
			for i := range p {
				p[i] = <-give
			}
			return len(p), nil
		})}), 1<<20)
		l.writable(8)
		synctest.Wait()
		for range 3 {
			l.stop()
			l.start()
			l.writable(4)
			synctest.Wait()
		}
		for i := range byte(8) {
			give <- i
		}
		assert.Equal(t, l.used().Len, uint32(4))
		assert.Equal(t, reads.Load(), int32(1))
	})
}

// Completions do not wait for a source that blocks.
func TestFlushBeforeSourceBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		source := io.MultiReader(strings.NewReader("x"), readFunc(func([]byte) (int, error) { <-wait; return 0, io.EOF }))
		l := newLink(t, New(Options{Source: source}), 1<<20)
		head := l.head
		l.writable(1)
		l.writable(1)
		assert.Equal(t, l.used().ID, uint32(head))
		close(wait)
	})
}

// No byte that a driver got can be found in the device afterwards.
func TestNothingIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Options{})
		l := newLink(t, d, 1<<20)
		l.writable(3 * chunk)
		l.used()
		synctest.Wait()
		assert.Check(t, bytes.Equal(d.source.buf[:], make([]byte, chunk)))
	})
}
