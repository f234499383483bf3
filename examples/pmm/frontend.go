package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/hypervisorless/virtio/driver"
	"github.com/hypervisorless/virtio/notify"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/virtio"
)

// frontendName is a command for the demo alone: the other process. It is told what to do in
// JSON on its standard input and answers on its standard output.
const frontendName = "frontend"

// order is one thing to do.
type order struct {
	Do   string        // boot, entropy, say, hear, files, dial or ask
	N    int           `json:",omitempty"` // bytes of entropy
	Text string        `json:",omitempty"` // to say, or to write into a file
	For  time.Duration `json:",omitempty"` // to ask for entropy
}

// answer is what came of it.
type answer struct {
	Err      string        `json:",omitempty"`
	Text     string        `json:",omitempty"`
	Names    []string      `json:",omitempty"` // of files
	Requests int           `json:",omitempty"`
	Took     time.Duration `json:",omitempty"`
	Slowest  time.Duration `json:",omitempty"` // of the requests
	Rings    int64         `json:",omitempty"` // of our doorbell
	Woken    int64         `json:",omitempty"` // by the other
}

// frontend is the driver side at work.
type frontend struct {
	window  *driver.Window
	bell    *counter
	rng     *driver.RNG
	console *driver.Console
	files   *driver.P9
	sockets *driver.Vsock
}

func frontendCommand(args []string, stdout, _ io.Writer) error {
	fs := newFlagSet(frontendName, "pmm frontend: the demo's other process")
	memory := fs.String("shmem", "", "as the monitor's, of kind file")
	bell := fs.String("doorbell", "", "as the monitor's, of kind unix")
	name := fs.String("dialect", "", "which deployed front-end to be")
	if help, err := parse(fs, args, stdout); help || err != nil {
		return err
	}
	dialect, err := driver.ParseDialect(*name)
	if err != nil {
		return &usageError{err.Error()}
	}
	w, err := parseWindow(*memory)
	if err != nil {
		return err
	}
	d, err := parseDoorbell(*bell)
	if err != nil {
		return err
	}
	region, err := shmem.OpenFile(w.spec.addr, int64(w.size))
	if err != nil {
		return err
	}
	defer region.Close()
	line, err := newRedial(d.spec.addr)
	if err != nil {
		return err
	}
	defer line.Close()
	f := &frontend{bell: &counter{Line: line}}
	f.window, err = driver.Open(driver.Options{Region: region, Addr: w.addr, Line: f.bell, Dialect: dialect})
	if err != nil {
		return err
	}
	defer f.window.Close()
	return f.serve(os.Stdin, stdout)
}

// serve does what it is told until there is nothing more.
func (f *frontend) serve(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	orders, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		a, err := f.do(ctx, o)
		if err != nil {
			a.Err = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			return err
		}
	}
}

func (f *frontend) do(ctx context.Context, o order) (a answer, err error) {
	switch o.Do {
	case "boot":
		return f.boot(ctx)
	case "entropy":
		b := make([]byte, o.N)
		_, err = io.ReadFull(f.rng, b)
		return answer{Text: hex.EncodeToString(b)}, err
	case "say":
		_, err = f.console.Write([]byte(o.Text))
		return answer{}, err
	case "hear":
		a.Text, err = f.hear()
		return a, err
	case "files":
		a.Names, a.Text, err = shared(f.files, hostFile, frontFile, o.Text)
		return a, err
	case "dial":
		a.Text, err = f.dial(ctx)
		return a, err
	case "ask":
		return f.ask(o.For)
	}
	return a, fmt.Errorf("%q: no such order", o.Do)
}

// Files of the shared directory: one that the host has written, and one that the front-end does.
const (
	hostFile  = "from-the-host.txt"
	frontFile = "from-the-front-end.txt"
)

// boot brings the devices up, as a firmware does.
func (f *frontend) boot(ctx context.Context) (a answer, err error) {
	began := time.Now()
	entropy, err := f.window.Find(ctx, virtio.IDEntropy, 0)
	if err != nil {
		return a, err
	}
	if f.rng, err = driver.StartRNG(ctx, entropy); err != nil {
		return a, err
	}
	console, err := f.window.Find(ctx, virtio.IDConsole, 0)
	if err != nil {
		return a, err
	}
	if f.console, err = driver.StartConsole(ctx, console); err != nil {
		return a, err
	}
	files, err := f.window.Find(ctx, virtio.ID9P, 0)
	if err != nil {
		return a, err
	}
	if f.files, err = driver.StartP9(ctx, files); err != nil {
		return a, err
	}
	sockets, err := f.window.Find(ctx, virtio.IDSocket, 0)
	if err != nil {
		return a, err
	}
	if f.sockets, err = driver.StartVsock(ctx, sockets); err != nil { // which serves the doorbell for all
		return a, err
	}
	if err := f.greet(); err != nil {
		return a, err
	}
	return answer{Took: time.Since(began), Rings: f.bell.rings.Load(), Woken: f.bell.woken.Load()}, nil
}

// hear reads one line of console input.
func (f *frontend) hear() (string, error) {
	var line []byte
	for b := []byte{0}; b[0] != '\n'; line = append(line, b[0]) {
		if _, err := f.console.Read(b); err != nil {
			return "", err
		}
	}
	return string(line[:len(line)-1]), nil
}

// ask requests entropy, nine bytes after nine bytes, for a time.
func (f *frontend) ask(d time.Duration) (a answer, err error) {
	rings, woken := f.bell.rings.Load(), f.bell.woken.Load()
	began := time.Now()
	for last := began; a.Took < d; a.Requests++ {
		var b [9]byte
		if _, err := io.ReadFull(f.rng, b[:]); err != nil {
			return a, err
		}
		now := time.Now()
		a.Slowest = max(a.Slowest, now.Sub(last))
		a.Took, last = now.Sub(began), now
	}
	a.Rings, a.Woken = f.bell.rings.Load()-rings, f.bell.woken.Load()-woken
	return a, nil
}

// counter counts the rings that pass a doorbell.
type counter struct {
	notify.Line
	rings, woken atomic.Int64
}

func (c *counter) Raise() error {
	c.rings.Add(1)
	return c.Line.Raise()
}

func (c *counter) Wait() error {
	err := c.Line.Wait()
	c.woken.Add(1)
	return err
}

// greet serves a web page that says who we are.
func (f *frontend) greet() error {
	l, err := f.sockets.Listen(greetPort)
	if err != nil {
		return err
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, greeting(os.Getpid())) })
	go http.Serve(l, page) // until the window is closed
	return nil
}

// dial hears what the host's service says.
func (f *frontend) dial(ctx context.Context) (string, error) {
	c, err := f.sockets.Dial(ctx, serviceName)
	if err != nil {
		return "", err
	}
	defer c.Close()
	heard, err := io.ReadAll(c)
	return string(heard), err
}
