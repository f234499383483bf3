package driver_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// files is a 9P device that answers each message with itself, its type one higher.
type files struct {
	tag    string
	answer func(t []byte) []byte // nil: that
}

func (f *files) Info() virtio.Info {
	return virtio.Info{ID: virtio.ID9P, Features: virtio.FeatureSet(0), Queues: []uint16{0}, ConfigLen: 2 + len(f.tag)}
}

func (f *files) ReadConfig(p []byte, off int) {
	copy(p, (string([]byte{byte(len(f.tag)), 0}) + f.tag)[off:])
}

func (f *files) Serve(ctx context.Context, s *virtio.Session) error {
	return s.Queue(0).HandleParallel(ctx, func(c *vring.Chain) error {
		b := make([]byte, c.Readable())
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		b[4]++
		if f.answer != nil {
			b = f.answer(b)
		}
		_, err := c.Write(b)
		return err
	})
}

// message is a T-message with some bytes of text.
func message(tag uint16, text string) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(7+len(text)))
	b = append(b, 100)
	b = binary.LittleEndian.AppendUint16(b, tag)
	return append(b, text...)
}

// reply reads one R-message.
func reply(p *driver.P9) (tag uint16, text string, err error) {
	head := make([]byte, 7)
	if _, err := io.ReadFull(p, head); err != nil {
		return 0, "", err
	}
	b := make([]byte, binary.LittleEndian.Uint32(head)-7)
	_, err = io.ReadFull(p, b)
	return binary.LittleEndian.Uint16(head[5:]), string(b), err
}

func startP9(t *testing.T, f *files, layout mmio.Layout) *driver.P9 {
	region, err := shmem.NewMemfd("window", winSize) // both sides are in this process
	assert.NilError(t, err)
	t.Cleanup(func() { region.Close() })
	host, guest := notify.NewPair()
	serve(t, mmio.Options{Region: region, Line: host, Layout: layout}, device{"9p", f, 0})
	w := open(t, driver.Options{Region: region, Line: guest})
	d, err := w.Find(bounded(t), virtio.ID9P, 0)
	assert.NilError(t, err)
	p, err := driver.StartP9(bounded(t), d)
	assert.NilError(t, err)
	return p
}

// However messages are cut when written and read, and whatever room the window has, each gets
// its answer.
func TestP9(t *testing.T) {
	for _, layout := range []mmio.Layout{mmio.Table, mmio.Tree, mmio.Modern} {
		t.Run(layout.String(), func(t *testing.T) {
			p := startP9(t, &files{tag: "share"}, layout)
			assert.Equal(t, p.Tag(), "share")
			assert.Assert(t, p.MaxMessage() >= 4096 && p.MaxMessage() <= 128<<10, "%d", p.MaxMessage())
			const messages = 500
			sent := map[uint16]string{}
			var stream []byte
			for tag := range uint16(messages) {
				sent[tag] = strings.Repeat("x", rand.IntN(p.MaxMessage()-7+1))
				if tag%3 == 0 {
					sent[tag] = ""
				}
				stream = append(stream, message(tag, sent[tag])...)
			}
			written := make(chan error, 1)
			go func() {
				for len(stream) > 0 {
					n, err := p.Write(stream[:min(len(stream), 1+rand.IntN(20000))])
					if stream = stream[n:]; err != nil {
						written <- err
						return
					}
				}
				written <- nil
			}()
			for range messages {
				tag, text, err := reply(p)
				assert.NilError(t, err)
				want, ok := sent[tag]
				assert.Assert(t, ok && text == want, "answer to %d", tag)
				delete(sent, tag)
			}
			assert.NilError(t, recv(t, written))
			assert.NilError(t, p.Close())
			_, err := p.Read(make([]byte, 1))
			assert.Equal(t, err, io.EOF)
			_, err = p.Write(message(1, ""))
			assert.Equal(t, err, io.EOF)
		})
	}
}

// A message that was called off has no answer, and its room is free again.
func TestP9_NoAnswer(t *testing.T) {
	p := startP9(t, &files{answer: func(b []byte) []byte {
		if binary.LittleEndian.Uint16(b[5:]) != 9999 {
			return nil
		}
		return b
	}}, mmio.Table)
	for tag := range uint16(100) {
		_, err := p.Write(message(tag, "gone"))
		assert.NilError(t, err)
	}
	_, err := p.Write(message(9999, "here"))
	assert.NilError(t, err)
	tag, text, err := reply(p)
	assert.NilError(t, err)
	assert.Equal(t, fmt.Sprint(tag, " ", text), "9999 here")
}

// Lengths that lie end the connection, whoever tells them.
func TestP9_Lies(t *testing.T) {
	for name, answer := range map[string]func(b []byte) []byte{
		"too long":  func(b []byte) []byte { b[0]++; return b },
		"too short": func(b []byte) []byte { b[0]--; return b },
		"no header": func(b []byte) []byte { return b[:6] },
	} {
		t.Run(name, func(t *testing.T) {
			p := startP9(t, &files{answer: answer}, mmio.Table)
			_, err := p.Write(message(1, "text"))
			assert.NilError(t, err)
			_, _, err = reply(p)
			assert.Check(t, is.ErrorContains(err, "length"))
			_, err = p.Write(message(2, "text"))
			for err == nil { // until the end has come round
				_, err = p.Write(message(2, "text"))
			}
			assert.Check(t, is.ErrorContains(err, "length"))
		})
	}
	for _, size := range []uint32{0, 6, 1 << 20, 1<<32 - 1} {
		p := startP9(t, &files{}, mmio.Table)
		_, err := p.Write(binary.LittleEndian.AppendUint32(nil, size))
		assert.NilError(t, err)
		_, err = p.Write([]byte{100, 0, 0})
		assert.Check(t, is.ErrorContains(err, fmt.Sprintf("a message of %d bytes", size)))
		_, err = p.Read(make([]byte, 1))
		assert.Check(t, is.ErrorContains(err, "a message of"))
	}
}
