package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gotest.tools/v3/assert"
)

// The front-end in C, written by somebody else's hand: what it and the monitor agree on is not
// our own mistake twice.

// dialects as its command line names them.
var dialects = []string{"zephyr2021", "virtio-exp", "v2025.04"}

// Its exit statuses.
const (
	twinDone  = 0
	twinAlive = 2 // the step to die after was never reached
	twinDied  = 9 // as it was told
)

var buildTwin = sync.OnceValues(func() (string, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		if cc, err = exec.LookPath("cc"); err != nil {
			return "", errNoCompiler
		}
	}
	dir, err := os.MkdirTemp("", "pmm-twin-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "frontend")
	out, err := exec.Command(cc, "-std=c99", "-O2", "-o", path, "../../driver/c/frontend.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

var errNoCompiler = errors.New("no C compiler, so the front-end in C cannot be built")

// twinPath is the front-end in C. Without a compiler the test is left out.
func twinPath(tb testing.TB) string {
	tb.Helper()
	path, err := buildTwin()
	if errors.Is(err, errNoCompiler) && os.Getenv("CI") != "true" {
		tb.Skip(err)
	}
	assert.NilError(tb, err)
	return path
}

// removeTwin is for the end of all tests.
func removeTwin() {
	if path, err := buildTwin(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}

// twin starts the front-end in C in the room.
func (r *room) twin(dialect string, args ...string) *proc {
	r.tb.Helper()
	return r.twinAt(r.path("bell"), dialect, args...)
}

func (r *room) twinAt(bell, dialect string, args ...string) *proc {
	r.tb.Helper()
	return start(r.tb, exec.Command(twinPath(r.tb), append([]string{
		"-shm", r.shm, "-addr", fmt.Sprint(roomAddr), "-doorbell", bell,
		"-dialect", dialect, "-timeout", "20", "-step", "5",
	}, args...)...))
}

// ends sees that a process ends with a status.
func (p *proc) ends(status int) {
	p.tb.Helper()
	assert.Equal(p.tb, p.wait(), status, "%v\n%s%s", p.cmd.Args, p.out, p.log)
}

// twinSteps are all steps of a run that can be died after, in order, each once.
func (r *room) twinSteps(dialect string, args ...string) (steps []string) {
	r.tb.Helper()
	p := r.twin(dialect, append([]string{"-v"}, args...)...)
	p.ends(twinDone)
	seen := map[string]bool{}
	for line := range strings.Lines(p.log.String()) {
		step, _, ok := strings.Cut(line, " ")
		if ok && strings.Count(step, ":") == 1 && !strings.HasSuffix(step, ":") && !seen[step] {
			seen[step] = true
			steps = append(steps, step)
		}
	}
	return steps
}
