package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/hypervisorless/virtio/driver"
)

// demo is the guided tour: two processes of this machine, one piece of memory, one socket.
type demo struct {
	*story
	self    string // this program
	dir     string // of the sockets
	plan    *plan  // what the monitor is told
	flags   []string
	monitor *process
	front   *worker
	console net.Conn // the host's end
	service *service // of the host, for the front-end to reach
	forward string   // where the monitor listens for the front-end
}

func demoCommand(args []string, stdout, stderr io.Writer) error {
	fs := newFlagSet("demo", "pmm demo: a guided tour on this machine, a monitor and a front-end as two processes")
	if help, err := parse(fs, args, stdout); help || err != nil {
		return err
	}
	// Its processes end with this thread, at the latest.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A reader who leaves (pmm demo | head) is a reason to clean up too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	d := &demo{story: &story{w: stdout, began: time.Now()}}
	err := d.prepare()
	if err == nil {
		err = d.tour(ctx)
	}
	d.leave()
	return errors.Join(err, d.story.err)
}

// The demo's window, which is what the deployed demos use.
const (
	demoAddr = 0x37000000
	demoSize = 16 << 20
)

// prepare finds a place for the window, in memory if possible, and for the sockets.
func (d *demo) prepare() (err error) {
	if d.self, err = os.Executable(); err != nil {
		return err
	}
	if d.dir, err = os.MkdirTemp("/dev/shm", "pmm-demo-"); err != nil {
		if d.dir, err = os.MkdirTemp("", "pmm-demo-"); err != nil {
			return err
		}
	}
	// A comma in a path would end it.
	path := func(name string) string { return strings.ReplaceAll(filepath.Join(d.dir, name), ",", ",,") }
	d.flags = []string{
		"-shmem", fmt.Sprintf("file:%s,size=%dM,addr=%#x", path("window"), demoSize>>20, demoAddr),
		"-layout", "table",
		"-doorbell", "unix:" + path("bell"),
		"-status", "unix:" + d.path("status"),
		"-device", "rng",
		"-device", "console,unix=" + path("console"),
		"-device", "9p,tag=share,dir=" + path("share"),
	}
	if err = d.prepareSockets(); err != nil {
		return err
	}
	if err = os.Mkdir(d.path("share"), 0o755); err != nil {
		return err
	}
	c, _, err := parseConfig("run", "", d.flags, io.Discard, nil)
	if err != nil {
		return err
	}
	d.plan, err = c.check()
	return err
}

func (d *demo) path(name string) string { return filepath.Join(d.dir, name) }

// leave ends every process and removes every file.
func (d *demo) leave() {
	if d.console != nil {
		d.console.Close()
	}
	if d.front != nil {
		d.front.kill()
	}
	if d.monitor != nil {
		d.monitor.kill()
	}
	if d.service != nil {
		d.service.Close()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

// tour is the whole story.
func (d *demo) tour(ctx context.Context) error {
	m, err := d.plan.memoryMap()
	if err != nil {
		return err
	}
	d.title("Virtio without a hypervisor: two processes, a piece of memory, and a doorbell.")
	d.print("Nothing traps. Both sides only see what the memory holds when they look; a ring says: look.\n\n")
	d.picture(m)
	d.print(fmt.Sprintf("\n  The memory is the file %s, and the doorbell a socket beside it,\n  on which every byte, either way, is one ring. The monitor's command line:\n\n  pmm run %s\n",
		d.path("window"), shellLines(d.flags)))

	d.title("Somebody has to be there first")
	if err := d.startMonitor(ctx); err != nil {
		return err
	}
	d.line(d.theMonitor(), "is ready: devices published, doorbell listening")
	for i, dialect := range []driver.Dialect{driver.Zephyr2021, driver.VirtioExp, driver.V2025} {
		d.title("Front-end %d of 3 behaves like %s", i+1, dialectStory[dialect])
		if err := d.act(ctx, dialect); err != nil {
			return fmt.Errorf("dialect %v: %w", dialect, err)
		}
	}
	return d.end(ctx)
}

var dialectStory = map[driver.Dialect]string{
	driver.Zephyr2021: "Zephyr's driver of 2021",
	driver.VirtioExp:  "OpenAMP's virtio-exp, and Zephyr on top of it",
	driver.V2025:      "OpenAMP's virtio-exp-v2025.04",
}

func (d *demo) theMonitor() string  { return fmt.Sprintf("monitor %d", d.monitor.pid()) }
func (d *demo) theFrontEnd() string { return fmt.Sprintf("front-end %d", d.front.pid()) }

// startMonitor starts pmm run and connects to its console.
func (d *demo) startMonitor(ctx context.Context) (err error) {
	if d.monitor, err = startProcess(exec.Command(d.self, append([]string{"run"}, d.flags...)...)); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if err = d.monitor.await(ctx, "msg=ready"); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	if d.console != nil {
		d.console.Close()
	}
	if d.console, err = net.Dial("unix", d.path("console")); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// startFrontEnd starts the other process and has it bring its devices up.
func (d *demo) startFrontEnd(ctx context.Context, dialect driver.Dialect) (a answer, err error) {
	d.front, err = startWorker(exec.Command(d.self, frontendName,
		"-shmem", d.flags[1], "-doorbell", d.plan.config.doorbell, "-dialect", dialect.String()))
	if err != nil {
		return a, fmt.Errorf("front-end: %w", err)
	}
	return d.order(ctx, order{Do: "boot"})
}

// order has the front-end do something.
func (d *demo) order(ctx context.Context, o order) (answer, error) {
	a, err := d.front.do(ctx, o)
	if err != nil {
		return a, fmt.Errorf("front-end, told to %s: %w", o.Do, err)
	}
	return a, nil
}

// end shows what the monitor counted and stops it.
func (d *demo) end(ctx context.Context) error {
	d.title("What the monitor counted: pmm status -status unix:%s", d.path("status"))
	r, err := askStatus(d.path("status"))
	if err != nil {
		return err
	}
	var text strings.Builder
	r.print(&text)
	d.print("  " + strings.ReplaceAll(strings.TrimSpace(text.String()), "\n", "\n  ") + "\n")
	d.title("And out")
	who := d.theMonitor()
	if err := d.monitor.stop(ctx); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	d.line(who, "is told to stop (SIGTERM), ends its devices and exits with 0")
	return nil
}

// shellLines is a command line as a person would type it, one flag a line.
func shellLines(args []string) string {
	var lines []string
	for i := 0; i < len(args); i += 2 {
		lines = append(lines, args[i]+" "+args[i+1])
	}
	return strings.Join(lines, " \\\n    ")
}
