package uml

import (
	"context"
	"testing"
	"time"

	"gotest.tools/v3/assert"
)

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A kernel without a device boots, talks and switches itself off.
func TestUMLBoot(t *testing.T) {
	r, ctx := prepare(t), within(t, time.Minute)
	begin := time.Now()
	g, err := r.Boot(ctx, Config{Job: "hello"})
	need(t, err)
	defer g.Kill()
	t.Logf("Linux %s, job begun after %v", g.Facts.Kernel, time.Since(begin))
	assert.NilError(t, g.Say("hello", "is anybody there?"))
	var text string
	assert.NilError(t, g.Await(ctx, "hello", &text))
	assert.Equal(t, text, "is anybody there?")
	assert.NilError(t, g.Wait(ctx))
	t.Logf("from start to end %v", time.Since(begin))
}
