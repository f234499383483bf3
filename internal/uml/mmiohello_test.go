package uml

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/notify"
)

// hello is a kernel's greeting: some words, and the address of each page.
func hello(words [4]uint32, pages ...uint64) []byte {
	b := make([]byte, helloSize)
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
	for i, p := range pages {
		binary.LittleEndian.PutUint64(b[16+8*i:], p)
	}
	return b
}

// A greeting is believed only if it is whole, and one of ours.
func TestMMIOHello(t *testing.T) {
	for _, tt := range []struct {
		name  string
		text  []byte
		files int
		want  string // an error; none: it is taken
	}{
		{"two pages", hello([4]uint32{helloMagic, 1, 2}, 0x5000, 0x123456789000), 1, ""},
		{"rings behind it", append(hello([4]uint32{helloMagic, 1, 2}, 0x5000, 0x123456789000), 1, 1), 1, ""},
		{"no file", hello([4]uint32{helloMagic, 1, 1}, 0x5000), 0, "no file"},
		{"other magic", hello([4]uint32{helloMagic + 1, 1, 1}, 0x5000), 1, "magic"},
		{"other version", hello([4]uint32{helloMagic, 2, 1}, 0x5000), 1, "version 2"},
		{"no page", hello([4]uint32{helloMagic, 1, 0}), 1, "0 slot pages"},
		{"too many pages", hello([4]uint32{helloMagic, 1, helloPages + 1}), 1, "9 slot pages"},
		{"torn", hello([4]uint32{helloMagic, 1, 1}, 0x5000)[:helloSize-1], 1, io.EOF.Error()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ListenMMIO(filepath.Join(shortDir(t), "s"))
			assert.NilError(t, err)
			defer l.Close()
			kernel, err := net.DialUnix("unix", nil, l.Addr().(*net.UnixAddr))
			assert.NilError(t, err)
			var rights []byte
			if tt.files > 0 {
				rights = unix.UnixRights(int(os.Stdin.Fd()))
			}
			_, _, err = kernel.WriteMsgUnix(tt.text, rights, nil)
			assert.NilError(t, err)
			assert.NilError(t, kernel.CloseWrite())
			h, err := AcceptMMIO(l)
			if tt.want != "" {
				assert.ErrorContains(t, err, tt.want)
				return
			}
			assert.NilError(t, err)
			defer h.Close()
			assert.DeepEqual(t, h.Pages, []uint64{0x5000, 0x123456789000})
			rest, err := io.ReadAll(h.Bell)
			assert.NilError(t, err)
			assert.Equal(t, len(rest), len(tt.text)-helloSize, "rings are left in the socket")
		})
	}
}

// A bell is a doorbell as package notify has them.
func TestMMIOBell(t *testing.T) {
	ours, theirs, err := socketPair()
	assert.NilError(t, err)
	b, err := newBell(theirs)
	assert.NilError(t, err)
	defer b.Close()
	assert.NilError(t, theirs.Close(), "it has a file of its own")

	ringing := make([]byte, 1)
	assert.NilError(t, b.Raise())
	_, err = io.ReadFull(ours, ringing)
	assert.NilError(t, err)

	_, err = ours.Write(ringing)
	assert.NilError(t, err)
	assert.NilError(t, b.Wait(), "rung")
	b.Wake()
	b.Wake()
	assert.NilError(t, b.Wait(), "woken")

	for range 1 << 14 { // far more than the socket takes
		assert.NilError(t, b.Raise())
	}
	assert.NilError(t, ours.Close())
	assert.ErrorIs(t, b.Wait(), notify.ErrPeerGone)
	assert.NilError(t, b.Raise(), "nobody is there to hear it")

	assert.NilError(t, b.Close())
	assert.NilError(t, b.Close())
	assert.ErrorIs(t, b.Wait(), notify.ErrClosed)
	err = b.Raise()
	assert.Assert(t, errors.Is(err, notify.ErrClosed), "%v", err)
}
