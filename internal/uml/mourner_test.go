package uml

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"
	"gotest.tools/v3/poll"
)

// When we die without a word, all processes of a guest do, too, and its folder goes.
func TestMourner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "guest")
	assert.NilError(t, os.Mkdir(dir, 0o700))
	guest := exec.Command("sh", "-c", "sleep 1000 & sleep 1000 & wait")
	guest.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	assert.NilError(t, guest.Start())
	defer killGroup(guest.Process.Pid)
	m, err := mourn(guest.Process.Pid, dir)
	assert.NilError(t, err)
	m.life.Close() // as our death would
	assert.NilError(t, m.cmd.Wait())
	assert.ErrorContains(t, guest.Wait(), "killed")
	poll.WaitOn(t, func(poll.LogT) poll.Result {
		if left := members(t, guest.Process.Pid); len(left) > 0 {
			return poll.Continue("left over: %v", left)
		}
		return poll.Success()
	}, poll.WithTimeout(30*time.Second))
	_, err = os.Stat(dir)
	assert.ErrorIs(t, err, os.ErrNotExist)
}
