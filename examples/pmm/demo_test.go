package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/internal/emulator"
)

// tourist starts the demo and returns what it leaves behind: processes and files.
func tourist(t *testing.T, cmd *exec.Cmd) (p *proc, left func() []string) {
	t.Helper()
	if emulator.Here() {
		t.Skip("the demo starts processes of this machine, which the emulator does not run for it")
	}
	p = start(t, cmd)
	return p, func() (left []string) {
		for _, pid := range regexp.MustCompile(`(?:monitor|front-end) (\d+) `).FindAllStringSubmatch(p.out.String(), -1) {
			if n, _ := strconv.Atoi(pid[1]); unix.Kill(n, 0) == nil {
				left = append(left, pid[0])
			}
		}
		for _, path := range regexp.MustCompile(`\S+/pmm-demo-\d+`).FindAllString(p.out.String(), -1) {
			path = path[len(regexp.MustCompile(`^[a-z]*:`).FindString(path)):]
			if _, err := os.Stat(path); err == nil {
				left = append(left, path)
			}
		}
		return left
	}
}

// As somebody does who has Go and nothing else.
func TestDemo(t *testing.T) {
	pmm := filepath.Join(t.TempDir(), "pmm")
	out, err := exec.Command("go", "build", "-o", pmm, ".").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	p, left := tourist(t, exec.Command(pmm, "demo"))
	p.ends(0)
	for _, want := range []string{
		"0x37000000", "pmm run -shmem file:", "Zephyr's driver of 2021", "virtio-exp,", "virtio-exp-v2025.04",
		"asks for entropy and gets", "is anybody there?", "somebody types", "mounts the host's directory", "finds from-the-front-end.txt",
		"dials port 80 of the host and hears: a service", "and reads: process", "opened 2", "requests/s", "kills front-end", "kills monitor",
		"takes the sessions over", "queue 0", "exits with 0",
	} {
		assert.Check(t, is.Contains(p.out.String(), want))
	}
	assert.Equal(t, p.log.String(), "")
	assert.DeepEqual(t, left(), []string(nil))
}

func TestDemoIsInterrupted(t *testing.T) {
	for i, signal := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP} {
		t.Run(fmt.Sprint(signal), func(t *testing.T) {
			p, left := tourist(t, child("pmm", "demo"))
			p.out.await(t, "asks for entropy", i+1)
			p.signal(signal)
			p.ends(1)
			assert.Check(t, is.Contains(p.log.String(), "signal"))
			assert.DeepEqual(t, left(), []string(nil))
		})
	}
}

// A demo that fails says so in a sentence.
func TestDemoFails(t *testing.T) {
	p, left := tourist(t, child("pmm", "demo"))
	line := p.out.await(t, "asks for entropy", 1)
	pid, err := strconv.Atoi(regexp.MustCompile(`front-end (\d+) `).FindStringSubmatch(line)[1])
	assert.NilError(t, err)
	assert.NilError(t, unix.Kill(pid, unix.SIGKILL))
	p.ends(1)
	assert.Check(t, is.Contains(p.log.String(), "front-end"))
	assert.Check(t, is.Contains(p.log.String(), "killed"))
	assert.DeepEqual(t, left(), []string(nil))
}
