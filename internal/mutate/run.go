package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// parallel is how many tests run at once: few, since a test under mutation is
// often one that spins, but one more than a small machine has cores, since as
// often it is one that waits in vain.
const parallel = 3

// attempts is how often a mutant may pass before it has survived: what breaks a
// race is not lost every time, the less on a busy machine.
const attempts = 20

// unmutatedTimeout ends a test that hangs on the code as it is.
const unmutatedTimeout = 5 * time.Minute

// enough is the time for a test that took so long on the code as it is. One that
// takes longer hangs, which counts as noticed.
func enough(took time.Duration) time.Duration { return 2*time.Second + 4*took }

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

// A finding is what is to say about one mutant.
type finding struct {
	mutant
	verdict
	detail string
	alone  bool // it needed a build of its own
	took   time.Duration
}

func (f finding) String() string {
	text := fmt.Sprintf("%s %s by %s", f.verdict, f.Test, f.File)
	if f.line > 0 {
		text += fmt.Sprint(":", f.line)
	}
	if f.alone {
		text += ", alone"
	}
	text += fmt.Sprintf(" (%.1fs)", f.took.Seconds())
	if f.detail != "" {
		text += ": " + f.detail
	}
	return text
}

// runMutations runs every mutant and prints a line for each.
func runMutations(ctx context.Context, root string, entries []entry) error {
	begin := time.Now()
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	r, err := newRunner(ctx, root, work)
	if err != nil {
		return err
	}
	findings, err := findAll(ctx, r, mutantsOf(root, entries))
	if err != nil {
		return err
	}

	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(b.took, a.took) })
	fmt.Println("the slowest:")
	for _, f := range findings[:min(10, len(findings))] {
		fmt.Println("  ", f)
	}
	var (
		counts [broken + 1]int
		alone  int
	)
	for _, f := range findings {
		counts[f.verdict]++
		if f.alone {
			alone++
		}
	}
	fmt.Printf("%d mutants: %d killed, %d survived, %d skipped, %d broken; %d in builds of their own (%.0fs)\n",
		len(findings), counts[killed], counts[survived], counts[skipped], counts[broken], alone, time.Since(begin).Seconds())
	switch {
	case counts[survived] > 0 || counts[broken] > 0:
		return errors.New("not every mutant was killed")
	case counts[skipped] > 0 && os.Getenv("CI") == "true":
		return errors.New("a test that cannot run fails under CI=true")
	}
	return nil
}

// findAll runs the mutants, a test's one after the other, and prints what it
// finds as it goes.
func findAll(ctx context.Context, r *runner, mutants []mutant) ([]finding, error) {
	begin := time.Now()
	shared, err := r.share(ctx, mutants)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%d of %d mutants share a build (%.1fs)\n", len(shared.held), len(mutants), time.Since(begin).Seconds())

	var (
		tests    []listedTest
		byTest   = map[listedTest][]mutant{}
		findings []finding
		mu       sync.Mutex
		wg       sync.WaitGroup
		slots    = make(chan struct{}, parallel)
	)
	for _, m := range mutants {
		t := listedTest{m.Package, m.Test}
		if byTest[t] == nil {
			tests = append(tests, t)
		}
		byTest[t] = append(byTest[t], m)
	}
	for _, t := range tests {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s := newSubject(ctx, r, t, shared)
			for _, m := range byTest[t] {
				begin := time.Now()
				f := s.try(ctx, m)
				f.took = time.Since(begin)
				if ctx.Err() != nil {
					return
				}
				mu.Lock()
				fmt.Println(f)
				findings = append(findings, f)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return findings, ctx.Err()
}
