package uml

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// Config says what to boot and what it is to do.
type Config struct {
	Attachments []Attachment
	Modules     []Module // drivers, loaded in this order after those of the attachments
	Job         string   // of the guest's program
	Args        any      // of the job; becomes JSON
	KernelArgs  []string
	Memory      string            // of the machine, as 128M; if empty, little
	Files       map[string]string // further files: name in the guest, file here
}

// Guest is a kernel that was booted. Its methods are safe for concurrent use, Await and Say
// excepted, which are for one caller at a time.
type Guest struct {
	Facts talk.Facts // what the guest found when its drivers were loaded

	dir     string
	cmd     *exec.Cmd
	mourner *mourner
	line    *os.File
	log     kernelLog
	in      chan talk.Message // closed when the guest says no more

	stop  sync.Once
	ended chan struct{} // closed when no process of it is left
	err   error         // why it ended, before ended; nil if it switched itself off
}

// Boot boots a kernel and returns when its drivers are loaded and its job begins. When ctx
// ends, so does the guest, at once. The caller has to call Wait, or Kill.
func (r *Rig) Boot(ctx context.Context, c Config) (*Guest, error) {
	dir, err := os.MkdirTemp("", "uml-")
	if err != nil {
		return nil, err
	}
	g := &Guest{dir: dir, in: make(chan talk.Message, 64), ended: make(chan struct{})}
	if err := g.start(ctx, r, c); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := g.Await(ctx, talk.Ready, &g.Facts); err != nil {
		g.Kill()
		return nil, fmt.Errorf("boot: %w", err)
	}
	return g, nil
}

func (g *Guest) start(ctx context.Context, r *Rig, c Config) error {
	initramfs, err := r.initramfs(ctx, g.dir, c)
	if err != nil {
		return err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	g.line = ours

	program, args := r.machine(r, g.dir, initramfs, c)
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+memoryDir(g.dir))
	cmd.Stdout, cmd.Stderr = &g.log, &g.log
	cmd.ExtraFiles = []*os.File{theirs}
	// The kernel makes a process for each of its own: they are one group, and go as one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	if err := cmd.Start(); err != nil {
		ours.Close()
		return err
	}
	g.cmd = cmd
	if g.mourner, err = mourn(cmd.Process.Pid, g.dir); err != nil {
		_ = killGroup(cmd.Process.Pid)
		_ = cmd.Wait()
		ours.Close()
		return err
	}
	go g.listen()
	go g.wait()
	return nil
}

// kernelArgs are the arguments that the caller wants.
func (c Config) kernelArgs() []string {
	args := slices.Clone(c.KernelArgs)
	for _, a := range c.Attachments {
		args = append(args, a.KernelArgs...)
	}
	return args
}

// umlCommand starts a kernel that is a program.
func umlCommand(r *Rig, dir, initramfs string, c Config) (program string, args []string) {
	return r.kernel, append([]string{
		"mem=" + cmp.Or(c.Memory, "64M"), "initrd=" + initramfs, "umid=guest", "uml_dir=" + dir,
		// Its console is our log, and one serial line is ours to talk over. All else leads nowhere.
		"con=null", "con0=null,fd:1", "ssl=null", "ssl0=fd:3",
	}, c.kernelArgs()...)
}

// memoryDir is where the kernel keeps the file that is its memory: in memory, if possible.
func memoryDir(otherwise string) string {
	const shm = "/dev/shm"
	if unix.Access(shm, unix.W_OK) == nil {
		return shm
	}
	return otherwise
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil { // Close ends a Read
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "line"), os.NewFile(uintptr(fds[1]), "their line"), nil
}

func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// listen passes on what the guest says.
func (g *Guest) listen() {
	defer close(g.in)
	_ = talk.Read(g.line, func(m talk.Message) { // how it ended says wait
		g.in <- m
	})
}

// wait sees the guest to its end.
func (g *Guest) wait() {
	g.err = g.cmd.Wait()
	_ = killGroup(g.cmd.Process.Pid) // what it may have left
	g.mourner.dismiss()
	g.line.Close()
	if err := os.RemoveAll(g.dir); g.err == nil {
		g.err = err
	}
	close(g.ended)
}

// Dir is a folder of the guest's own, which goes when the guest has ended.
func (g *Guest) Dir() string { return filepath.Clean(g.dir) }

// Ended is closed when the guest has ended.
func (g *Guest) Ended() <-chan struct{} { return g.ended }

// Log is what the kernel has printed until now.
func (g *Guest) Log() string { return g.log.String() }

// Kill ends the guest at once, and returns when no process of it is left.
func (g *Guest) Kill() {
	g.stop.Do(func() { _ = killGroup(g.cmd.Process.Pid) })
	for range g.in { // or listen would wait for somebody
	}
	<-g.ended
}
