package uml

import (
	"bytes"
	"context"
	"crypto/rand"
	"sync"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
)

// given remembers what a source of entropy gave.
type given struct {
	mu    sync.Mutex
	bytes []byte
}

func (g *given) Read(p []byte) (int, error) {
	n, err := rand.Read(p)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bytes = append(g.bytes, p[:n]...)
	return n, err
}

func (g *given) contains(p []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Contains(g.bytes, p)
}

// Linux's driver of entropy devices reads a mebibyte from ours.
func TestUMLRNG(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx := within(t, patience)
		var source given
		attachment := l.attach(t, l.rig, rng.New(rng.Options{Source: &source}))
		judgeRNG(t, readRNG(ctx, t, l, attachment, 1<<20), &source)
	})
}

// judgeRNG says whether the bytes are those of the source, and look like it.
func judgeRNG(t testing.TB, result talk.RNGResult, source *given) {
	t.Helper()
	// A driver that has something left of an earlier request starts anywhere, but takes what
	// it takes as it is.
	const piece = 32
	for at := 0; at < len(result.First); at += piece {
		assert.Assert(t, source.contains(result.First[at:at+piece]), "byte %d and on are not ours", at)
	}
	assert.Assert(t, chiSquare(result.Histogram) < 400, "%v", result.Histogram)
}

// A second kernel boots against the process that served the first.
func TestUMLReboot(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		ctx := within(t, patience)
		attachment := l.attach(t, l.rig, rng.New(rng.Options{}))
		first := readRNG(ctx, t, l, attachment, 4096)
		second := readRNG(ctx, t, l, attachment, 4096)
		assert.Assert(t, !bytes.Equal(first.First, second.First))
	})
}

// readRNG boots a kernel which reads n bytes.
func readRNG(ctx context.Context, t testing.TB, l lane, a Attachment, n int) talk.RNGResult {
	t.Helper()
	g := l.boot(ctx, t, Config{
		Attachments: []Attachment{a}, Modules: []Module{{Name: "virtio_rng"}},
		Job: "rng", Args: talk.RNGArgs{Bytes: n},
	})
	var result talk.RNGResult
	assert.NilError(t, g.Await(ctx, "rng", &result))
	assert.NilError(t, g.Wait(ctx))
	t.Logf("%d bytes from %s in %.2f s: %.2f MB/s", n, result.Source, result.Seconds, float64(n)/1e6/result.Seconds)
	return result
}

// chiSquare says how far the counts are from each being as likely: near 255 for random bytes,
// and beyond 400 once in some hundred million times.
func chiSquare(counts [256]int) (sum float64) {
	total := 0
	for _, n := range counts {
		total += n
	}
	expected := float64(total) / 256
	for _, n := range counts {
		d := float64(n) - expected
		sum += d * d / expected
	}
	return sum
}
