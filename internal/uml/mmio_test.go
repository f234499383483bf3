package uml

import (
	"bufio"
	"encoding/binary"
	"slices"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// Devices on one doorbell and on several, each on a slot page of its own.
func TestUMLSeveral(t *testing.T) {
	r, ctx := prepare(t), within(t, patience)
	numbered := func(n uint32) *rng.Device { return rng.New(rng.Options{Source: &talk.NumberedEntropy{Next: n << 20}}) }
	d, ends := newConsole(t, "")
	a, err := r.MMIO(ctx, serveMMIO(t, numbered(1), d), serveMMIO(t, numbered(2)))
	need(t, err)
	g := lane{"mmio", r, nil}.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: append(rngDriver, consoleDriver...),
		Job: "counted", Args: counted(t, "several", nil),
	})
	assert.Equal(t, len(g.Facts.Devices), 3)
	heard := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(ends[0]).ReadString('\n')
		heard <- text
	}()
	var words [][]byte
	assert.NilError(t, g.Await(ctx, "words", &words))
	var sources []uint32
	for _, w := range words {
		sources = append(sources, binary.LittleEndian.Uint32(w)>>20)
	}
	slices.Sort(sources)
	assert.DeepEqual(t, sources, []uint32{1, 2})
	select {
	case text := <-heard:
		assert.Equal(t, text, "turn 0\n")
	case <-ctx.Done():
		t.Fatal("the console is silent")
	}
	var all []talk.Counts
	assert.NilError(t, g.Await(ctx, "counts", &all))
	assert.NilError(t, g.Wait(ctx))
	t.Log(all)
	assert.Equal(t, len(all), 3)
	for _, c := range all {
		assert.Equal(t, c["status"], uint32(0xf))
		assert.Equal(t, c["connects"], uint32(1))
	}
}
