package uml

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// A mourner outlives us if we die without a word, and then ends the guest: all its processes at
// once, which a signal to the first of them that our kernel could send would not do.
type mourner struct {
	cmd  *exec.Cmd
	life *os.File // as long as this is open we live
}

// Without "--", which the kill of dash takes for a number.
const mourning = `read _ || true; kill -KILL "-$1"; rm -rf "$2"`

func mourn(group int, dir string) (*mourner, error) {
	theirs, life, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	m := &mourner{exec.Command("sh", "-c", mourning, "mourner", fmt.Sprint(group), dir), life}
	m.cmd.Stdin = theirs
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // who kills our group does not mean it
	if err := m.cmd.Start(); err != nil {
		life.Close()
		return nil, err
	}
	return m, nil
}

// dismiss ends it: the guest has ended by itself.
func (m *mourner) dismiss() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait() // that it was killed
	m.life.Close()
}
