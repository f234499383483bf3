// Command guest is the init of the kernels that package uml boots: it loads the drivers it was
// given, runs one job, says what came of it, and switches the machine off.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// jobs are what this program can do. A file that has a job adds it here.
var jobs = map[string]func(*guest) error{}

// job is called for the variable it returns, so that a job is one file.
func job(name string, run func(*guest) error) string {
	jobs[name] = run
	return name
}

// guest is one run of this program.
type guest struct {
	spec talk.Spec
	line *os.File // to the harness
	in   chan talk.Message
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == callsOf {
		_ = callsOfPerson() // who reads it knows
		return
	}
	if filepath.Base(os.Args[0]) == vsockProgram {
		if err := vsockOfPerson(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "vsock:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "guest: this is the init of a machine of its own, and switches it off")
		os.Exit(2)
	}
	if err := live(); err != nil {
		fmt.Println("guest:", err) // to the kernel's console: the harness shows that
	}
	off()
}

// live is the machine's life. What a job returns is said; its error is that nothing could be.
func live() error {
	if err := mounts(); err != nil {
		return err
	}
	g := &guest{in: make(chan talk.Message)}
	if err := g.open(); err != nil {
		return err
	}
	text := ""
	if err := g.work(); err != nil {
		text = err.Error()
	}
	if err := g.say(talk.Done, text); err != nil {
		return err
	}
	return unix.IoctlSetInt(int(g.line.Fd()), unix.TCSBRK, 1) // wait until it is on its way
}

func (g *guest) work() error {
	text, err := os.ReadFile(talk.SpecFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &g.spec); err != nil {
		return err
	}
	run, ok := jobs[g.spec.Job]
	if !ok {
		return fmt.Errorf("the guest has no job %q", g.spec.Job)
	}
	for _, m := range g.spec.Modules {
		if err := load(m); err != nil {
			return err
		}
	}
	facts, err := lookAround()
	if err != nil {
		return err
	}
	if err := g.say(talk.Ready, facts); err != nil {
		return err
	}
	return run(g)
}

// open opens the line to the harness. When the harness is gone nobody is there to be worked
// for, so the machine goes too.
func (g *guest) open() error {
	var err error
	if g.line, err = openRaw(talk.Channel); err != nil {
		return err
	}
	go func() {
		err := talk.Read(g.line, func(m talk.Message) { g.in <- m })
		if err != io.EOF {
			fmt.Println("guest: from the harness:", err)
		}
		off()
	}()
	return nil
}

// say tells the harness something.
func (g *guest) say(name string, value any) error { return talk.Write(g.line, name, value) }

// hear waits for the harness to say name, and reads what it says into value unless that is nil.
func (g *guest) hear(name string, value any) error {
	m := <-g.in
	if m.Name != name {
		return fmt.Errorf("the harness said %q where %q was expected", m.Name, name)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(m.Value, value)
}

// args reads what the job was given.
func (g *guest) args(value any) error {
	if err := json.Unmarshal(g.spec.Args, value); err != nil {
		return fmt.Errorf("job %s: %w", g.spec.Job, err)
	}
	return nil
}

// off switches the machine off.
func off() {
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // returns only if this is no machine of ours
	os.Exit(1)
}

func readTrimmed(name string) (string, error) {
	b, err := os.ReadFile(name)
	return strings.TrimSpace(string(b)), err
}
