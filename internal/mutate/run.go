package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// parallel is how many mutants are built and run at once: few, since a test
// under mutation is often one that spins until its watchdog ends it.
const parallel = 2

// attempts is how often a mutant may pass before it has survived: what breaks a race is not lost
// every time.
const attempts = 5

const (
	mutantTimeout    = 120 * time.Second
	unmutatedTimeout = 10 * time.Minute
)

// A verdict is what became of one mutant.
type verdict int

const (
	killed   verdict = iota // the test noticed
	survived                // the test passed on broken code
	skipped                 // the test cannot run on this machine
	broken                  // the entry itself is wrong
)

func (v verdict) String() string {
	return [...]string{"killed", "SURVIVED", "skipped", "BROKEN"}[v]
}

// runMutations runs the tests once as they are, then every mutant, and prints a
// line for each.
func runMutations(ctx context.Context, root string, entries []entry) error {
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r, err := newRunner(ctx, root, work)
	if err != nil {
		return err
	}

	begin := time.Now()
	unmutated := runUnmutated(ctx, r, entries)

	var (
		counts [broken + 1]int
		mu     sync.Mutex
		wg     sync.WaitGroup
		slots  = make(chan struct{}, parallel)
	)
	for i, e := range entries {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			begin := time.Now()
			name, v, detail := runMutant(ctx, r, fmt.Sprint("mutant", i), e, unmutated[e.Package])
			if ctx.Err() != nil {
				return
			}
			if detail != "" {
				detail = ": " + detail
			}
			mu.Lock()
			defer mu.Unlock()
			counts[v]++
			fmt.Printf("%s %s by %s (%.1fs)%s\n", v, e.Test, name, time.Since(begin).Seconds(), detail)
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}

	fmt.Printf("%d mutants: %d killed, %d survived, %d skipped, %d broken (%.0fs)\n",
		len(entries), counts[killed], counts[survived], counts[skipped], counts[broken], time.Since(begin).Seconds())
	switch {
	case counts[survived] > 0 || counts[broken] > 0:
		return errors.New("not every mutant was killed")
	case counts[skipped] > 0 && os.Getenv("CI") == "true":
		return errors.New("a test that cannot run fails under CI=true")
	}
	return nil
}

// runUnmutated returns what the tests do on the code as it is, by package: a
// test that fails or does not run at all proves nothing about a mutant.
func runUnmutated(ctx context.Context, r *runner, entries []entry) map[string]outcome {
	tests := map[string][]string{}
	for _, e := range entries {
		top, _, _ := strings.Cut(e.Test, "/")
		if !slices.Contains(tests[e.Package], top) {
			tests[e.Package] = append(tests[e.Package], top)
		}
	}
	outcomes := map[string]outcome{}
	for i, pkg := range slices.Sorted(maps.Keys(tests)) {
		begin := time.Now()
		pattern := "^(" + strings.Join(tests[pkg], "|") + ")$"
		outcomes[pkg] = r.run(ctx, fmt.Sprint("unmutated", i), pkg, pattern, "", unmutatedTimeout)
		fmt.Printf("%d tests of %s as they are (%.1fs)\n", len(tests[pkg]), pkg, time.Since(begin).Seconds())
	}
	return outcomes
}

// runMutant breaks the file as e says and runs e's test alone. It returns where
// the break is, the verdict and what else there is to say.
func runMutant(ctx context.Context, r *runner, id string, e entry, unmutated outcome) (string, verdict, string) {
	name := e.File
	switch result := unmutated.results[e.Test]; {
	case unmutated.build != "":
		return name, broken, "without the change the tests do not build:\n" + unmutated.build
	case result == "SKIP":
		return name, skipped, "the test skips itself on this machine"
	case result == "" && unmutated.failed:
		return name, broken, "no such test ran, others failed:\n" + unmutated.tail()
	case result == "":
		return name, broken, "no such test ran"
	case result != "PASS":
		return name, broken, "without the change the test fails:\n" + unmutated.tail()
	}

	overlay, line, err := r.overlay(id, e)
	if err != nil {
		return name, broken, err.Error()
	}
	name = fmt.Sprintf("%s:%d", e.File, line)

	var o outcome
	for range attempts {
		if o = r.run(ctx, id, e.Package, runPattern(e.Test), overlay, mutantTimeout); o.failed || o.build != "" || !o.started {
			break
		}
	}
	switch {
	case o.build != "":
		return name, broken, "with the change it does not build:\n" + o.build
	case !o.started:
		return name, broken, "with the change the test was never started:\n" + o.tail()
	case !o.failed:
		return name, survived, e.Pos
	case o.results[e.Test] == "FAIL":
		return name, killed, ""
	case o.timedOut:
		return name, killed, "by the timeout, a watchdog in the test would be quicker"
	}
	return name, killed, "the test's process died"
}
