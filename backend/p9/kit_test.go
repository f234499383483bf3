package p9

import (
	"encoding/binary"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// script is a small session, with messages of every shape.
func script() []virtiotest.Request {
	say := func(room int, want uint8, fields ...any) virtiotest.Request {
		typ, rest := fields[0].(int), fields[1:]
		return virtiotest.Request{Readable: msg(uint8(typ), 1, rest...), Writable: room, Check: func(reply []byte) error {
			if len(reply) < headerSize || int(binary.LittleEndian.Uint32(reply)) != len(reply) {
				return fmt.Errorf("not an answer: % x", reply)
			}
			if reply[4] != want {
				return fmt.Errorf("answered by %d, not %d: % x", reply[4], want, reply)
			}
			return nil
		}}
	}
	ok := func(room, typ int, fields ...any) virtiotest.Request {
		return say(room, uint8(typ+1), append([]any{typ}, fields...)...)
	}
	return []virtiotest.Request{
		ok(32, msgTversion, 8192, dialect),
		ok(24, msgTattach, 0, uint32(noFID), "", "", 0),
		ok(64, msgTwalk, 0, 1, uint16(2), "dir", "file"),
		ok(160, msgTgetattr, 1, uint64(0x3fff)),
		ok(32, msgTlopen, 1, 2),
		ok(16, msgTwrite, 1, uint64(2), 5, []byte("hello")),
		ok(64, msgTread, 1, uint64(0), 40),
		say(16, msgRlerror, msgTwalk, 0, 2, uint16(1), "nothing"),
		ok(16, msgTclunk, 1),
	}
}

func TestKit(t *testing.T) {
	for _, tt := range []struct {
		name    string
		vectors bool
	}{{"locked", false}, {"vectors", true}} {
		t.Run(tt.name, func(t *testing.T) {
			virtiotest.TestBackend(t, func(t testing.TB) virtiotest.Subject {
				fs := newMemFS()
				fs.vectors = tt.vectors
				fs.put("dir/file", "0123456789")
				d, err := New(Options{Tag: "kit", Attacher: fs})
				assert.NilError(t, err)
				return virtiotest.Subject{Backend: d, Script: script()}
			})
		})
	}
}
