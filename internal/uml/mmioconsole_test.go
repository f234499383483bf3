package uml

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
)

// terminals are the host's ends of a console that one process after the other serves: each
// process has one.
type terminals struct {
	current *os.File
	texts   []chan []byte // what each process brought to its end
}

// next is for the process that is started now.
func (c *terminals) next(t testing.TB) *os.File {
	t.Helper()
	ours, theirs, err := socketPair()
	assert.NilError(t, err)
	text := make(chan []byte, 1)
	c.current, c.texts = ours, append(c.texts, text)
	go func() {
		defer ours.Close()
		b, _ := io.ReadAll(ours) // the text shows what is missing
		text <- b
	}()
	return theirs
}

// hvcBuffer is the most that Linux puts into one transmit buffer of a console, half a page.
const hvcBuffer = 2048

// stitch puts together what the processes brought, and returns how often one repeated the end of
// what its predecessor had brought: the one buffer which that had not returned yet.
func stitch(whole []byte, texts [][]byte) (repeats int, err error) {
	at := 0
	for i, text := range texts {
		again := 0
		for !bytes.HasPrefix(whole[at-again:], text) {
			if again++; again > min(at, hvcBuffer) {
				return repeats, fmt.Errorf("process %d of %d brought %d bytes which are not those from %d on: %.32x", i, len(texts), len(text), at, text)
			}
		}
		if again > 0 {
			repeats++
		}
		at = max(at, at-again+len(text))
	}
	if at != len(whole) {
		return repeats, fmt.Errorf("%d of %d bytes came", at, len(whole))
	}
	return repeats, nil
}

// A monitor is killed again and again while Linux writes to a console. What was returned to the
// driver has arrived; what was not may arrive twice.
func TestUMLRestartConsoleOutput(t *testing.T) {
	const kills, size = 50, 1 << 20
	ctx := within(t, 2*patience)
	var ends terminals
	g, m := bootMonitored(ctx, t, virtio.IDConsole, consoleDriver, ends.next, "write", talk.ConsoleArgs{Bytes: size})
	assert.NilError(t, g.Await(ctx, "writing", nil))
	var written int
	m.harass(ctx, t, kills, 60*time.Millisecond, func() { assert.NilError(t, g.Say("enough", nil)) },
		func() error { return g.Await(ctx, "written", &written) })
	c := counts(ctx, t, g)

	var texts [][]byte
	for _, text := range ends.texts {
		select {
		case b := <-text:
			texts = append(texts, b)
		case <-ctx.Done():
			t.Fatal("a terminal does not end")
		}
	}
	whole, err := io.ReadAll(io.LimitReader(talk.Random('g'), int64(written)))
	assert.NilError(t, err)
	repeats, err := stitch(whole, texts)
	assert.NilError(t, err)
	t.Logf("%d bytes under %d kills, %d times the buffer in flight was repeated: %v", written, m.lives-1, repeats, c)
	undisturbed(t, c, m)
}

// A monitor is killed again and again while somebody types. Who gets no answer types the line
// again; what arrives is whole lines, and at most one torn line a kill.
func TestUMLRestartConsoleInput(t *testing.T) {
	const lines = 400
	ctx := within(t, 2*patience)
	var ends terminals
	g, m := bootMonitored(ctx, t, virtio.IDConsole, consoleDriver, ends.next, "lines", talk.LinesArgs{Lines: lines})
	assert.NilError(t, g.Await(ctx, "reading", nil))

	answers := make(chan int)
	done := make(chan error, 1)
	go func() {
		defer close(answers)
		for next := 0; next < lines; {
			var n int
			if err := g.Await(ctx, "line", &n); err != nil {
				done <- err
				return
			}
			if n == next {
				next++
				answers <- n
			}
		}
		done <- nil
	}()
	for n := 0; n < lines; {
		kill := n%4 == 0 && len(ends.texts) == 1+n/4 // once, while this line is on its way
		_, err := fmt.Fprintf(ends.current, "\n%s\n", talk.Line(n))
		assert.NilError(t, err)
		if kill {
			time.Sleep(randomPart(2 * time.Millisecond))
			m.kill(t)
			m.start(t)
			continue // and type it again
		}
		select {
		case _, ok := <-answers:
			if !ok {
				assert.NilError(t, <-done)
			}
			n++
		case <-ctx.Done():
			t.Fatalf("line %d is not answered\n%s", n, g.Log())
		}
	}
	assert.NilError(t, <-done)
	var bad int
	assert.NilError(t, g.Await(ctx, "bad lines", &bad))
	c := counts(ctx, t, g)
	t.Logf("%d lines under %d kills, %d of them torn: %v", lines, m.lives-1, bad, c)
	assert.Assert(t, bad < m.lives)
	undisturbed(t, c, m)
}
