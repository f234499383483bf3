package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A subject is a test that mutants are tried on.
type subject struct {
	r      *runner
	test   listedTest
	shared sharedBuild

	// What the test does without a mutant: in the shared build, and in the code as
	// it is. A test that does not pass proves nothing about a mutant.
	inShared, asIs func() outcome
}

func newSubject(ctx context.Context, r *runner, t listedTest, shared sharedBuild) *subject {
	unmutated := func(overlay string) func() outcome {
		return sync.OnceValue(func() outcome {
			return r.run(ctx, r.kept(ctx, t.pkg, overlay), t.name, 0, unmutatedTimeout)
		})
	}
	return &subject{r, t, shared, unmutated(shared.overlay), unmutated("")}
}

// try runs the test on the mutant: in the shared build if it can, and if not in
// a build of the mutant's own.
func (s *subject) try(ctx context.Context, m mutant) finding {
	f := finding{mutant: m, verdict: broken}
	if m.wrong != nil {
		f.detail = m.wrong.Error()
		return f
	}
	// A test can fail in the shared build alone, say for what is no longer inlined.
	if s.shared.held[m.number] && s.inShared().passed(s.test.name) {
		b := s.r.kept(ctx, s.test.pkg, s.shared.overlay)
		f.verdict, f.detail = s.notices(ctx, b, m.number, b, s.inShared().took)
		return f
	}

	f.alone = true
	switch o := s.asIs(); {
	case o.refused != "":
		f.detail = "without the change the tests do not build:\n" + o.refused
		return f
	case o.results[s.test.name] == "SKIP":
		f.verdict, f.detail = skipped, "the test skips itself on this machine"
		return f
	case o.results[s.test.name] == "" && !o.failed:
		f.detail = "no such test ran"
		return f
	case !o.passed(s.test.name):
		f.detail = "without the change the test fails:\n" + o.tail()
		return f
	}
	overlay, err := s.r.overlay(map[string]string{m.File: m.text})
	if err != nil {
		f.detail = err.Error()
		return f
	}
	b := s.r.build(ctx, s.test.pkg, overlay)
	defer os.RemoveAll(filepath.Dir(b.file))
	f.verdict, f.detail = s.notices(ctx, b, m.number, s.r.kept(ctx, s.test.pkg, ""), s.asIs().took)
	return f
}

// notices runs the test until it notices the mutant; without it the test is in
// the binary asIs, and took so long.
func (s *subject) notices(ctx context.Context, b binary, number int, asIs binary, took time.Duration) (verdict, string) {
	timeout := enough(took)
	for range attempts {
		switch o := s.r.run(ctx, b, s.test.name, number, timeout); {
		case o.refused != "":
			return broken, "with the change it does not build:\n" + o.refused
		case !o.started:
			return broken, "with the change the test was never started:\n" + o.tail()
		case !o.failed:
			continue
		case o.results[s.test.name] == "FAIL":
			return killed, ""
		case o.timedOut:
			// Or the machine is busy: a test that spins is a thousand times slower then.
			if s.r.run(ctx, asIs, s.test.name, 0, timeout/2).passed(s.test.name) {
				return killed, fmt.Sprintf("it hung for %.0fs", timeout.Seconds())
			}
		default:
			return killed, "the test's process died"
		}
	}
	return survived, "the test passes on broken code"
}
