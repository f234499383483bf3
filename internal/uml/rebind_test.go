package uml

import (
	"bufio"
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

const rebinds = 50

// A device goes from its driver and back to it, and works every time.
func TestUMLRebindRNG(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx := within(t, patience)
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{l.attach(t, l.rig, rng.New(rng.Options{}))}, Modules: []Module{{Name: "virtio_rng"}},
			Job: "rebind", Args: talk.RebindArgs{ID: int(virtio.IDEntropy), Times: rebinds},
		})
		assert.NilError(t, g.Wait(ctx))
	})
}

func TestUMLRebindConsole(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx := within(t, patience)
		d, ends := newConsole(t, "")
		g := l.boot(ctx, t, Config{
			Attachments: []Attachment{l.attach(t, l.rig, d)}, Modules: consoleDriver,
			Job: "rebind", Args: talk.RebindArgs{ID: int(virtio.IDConsole), Times: rebinds},
		})
		defer attend(ctx, g, ends[0])()
		heard := make(chan string)
		go func() {
			defer close(heard)
			for s := bufio.NewScanner(ends[0]); s.Scan(); {
				heard <- s.Text()
			}
		}()
		for i := range rebinds {
			text, ok := <-heard
			if !ok {
				t.Fatalf("turn %d was not heard: %v", i, g.Wait(ctx))
			}
			assert.Equal(t, text, fmt.Sprint("turn ", i))
		}
		assert.NilError(t, g.Wait(ctx))
	})
}
