package console

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// together runs the workers of one session until ctx ends or the first of them returns, calls
// interrupt, and returns when all of them have. The result is why it was over.
func together(ctx context.Context, workers []func(context.Context) error, interrupt func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, work := range workers {
		running.Go(func() { cancel(guarded(ctx, work)) })
	}
	<-ctx.Done()
	interrupt()
	running.Wait()
	return context.Cause(ctx)
}

// guarded turns a panic into an error: on a goroutine of ours it would cost the whole process,
// not just this device.
func guarded(ctx context.Context, work func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return work(ctx)
}
