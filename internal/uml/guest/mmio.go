package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// mmioStats is what the glue counted, a line for each device.
const mmioStats = "/sys/module/virtio_mmio_hvl2/parameters/stats"

// counted runs another job and then says what the glue counted.
var _ = job("counted", func(g *guest) error {
	var args talk.CountedArgs
	if err := g.args(&args); err != nil {
		return err
	}
	run, ok := jobs[args.Job]
	if !ok {
		return fmt.Errorf("the guest has no job %q", args.Job)
	}
	g.spec.Job, g.spec.Args = args.Job, args.Args
	if err := run(g); err != nil {
		return err
	}
	counts, err := mmioCounts()
	if err != nil {
		return err
	}
	return g.say("counts", counts)
})

func mmioCounts() ([]talk.Counts, error) {
	text, err := readTrimmed(mmioStats)
	if err != nil {
		return nil, err
	}
	var all []talk.Counts
	for line := range strings.Lines(text) {
		counts := talk.Counts{}
		for field := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(field, "=")
			n, err := strconv.ParseUint(value, 0, 32)
			if err != nil {
				return nil, fmt.Errorf("%s: %q: %w", mmioStats, field, err)
			}
			counts[name] = uint32(n)
		}
		all = append(all, counts)
	}
	return all, nil
}

// draw reads entropy while the harness does what it likes to the device.
var _ = job("draw", func(g *guest) error {
	var args talk.DrawArgs
	if err := g.args(&args); err != nil {
		return err
	}
	f, err := openRNG()
	if err != nil {
		return err
	}
	defer f.Close()
	enough := make(chan error, 1)
	go func() { enough <- g.hear("enough", nil) }()
	if err := g.say("drawing", nil); err != nil {
		return err
	}
	var source talk.NumberedEntropy
	b := make([]byte, 4096)
	n, told := 0, false
	for n < args.Bytes || !told {
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
		if err := source.Check(b); err != nil {
			return fmt.Errorf("after %d bytes: %w", n, err)
		}
		n += len(b)
		select {
		case err := <-enough:
			if err != nil {
				return err
			}
			told = true
		default:
		}
	}
	return g.say("drawn", n)
})

func openRNG() (*os.File, error) {
	if _, err := selectRNG(); err != nil {
		return nil, err
	}
	return os.Open("/dev/hwrng")
}

// fresh uses an entropy device which again and again knows nothing of its driver any more.
var _ = job("fresh", func(g *guest) error {
	var args talk.FreshArgs
	if err := g.args(&args); err != nil {
		return err
	}
	for range args.Times {
		if err := g.hear("fresh", nil); err != nil {
			return err
		}
		failures := 0
		for readSome() != nil { // for as long as the harness is patient
			failures++
			time.Sleep(10 * time.Millisecond)
		}
		if err := g.say("read", failures); err != nil {
			return err
		}
	}
	return nil
})

// readSome draws from the virtio device, and from no other that the kernel may have turned to.
func readSome() error {
	f, err := openRNG()
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 256)
	if _, err := io.ReadFull(f, b); err != nil {
		return err
	}
	var source talk.NumberedEntropy
	if source.Check(b) != nil {
		return errors.New("not of the virtio device")
	}
	return nil
}

// write writes to the console while the harness does what it likes to the device: so many bytes,
// and until it is told "enough".
var _ = job("write", func(g *guest) error {
	var args talk.ConsoleArgs
	if err := g.args(&args); err != nil {
		return err
	}
	f, err := openRaw(consoleFile)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := g.say("writing", nil); err != nil {
		return err
	}
	enough := make(chan error, 1)
	go func() { enough <- g.hear("enough", nil) }()
	source, n, told := talk.Random('g'), 0, false
	for n < args.Bytes || !told {
		wrote, err := io.CopyN(f, source, 4096)
		if err != nil {
			return err
		}
		n += int(wrote)
		select {
		case err := <-enough:
			if err != nil {
				return err
			}
			told = true
		default:
		}
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1); err != nil { // all of it is on its way
		return os.NewSyscallError("tcdrain", err)
	}
	return g.say("written", n)
})

// lines reads numbered lines from the console, and says "line" for each, however often it comes.
var _ = job("lines", func(g *guest) error {
	var args talk.LinesArgs
	if err := g.args(&args); err != nil {
		return err
	}
	f, err := openRaw(consoleFile)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := g.say("reading", nil); err != nil {
		return err
	}
	bad, next := 0, 0
	for s := bufio.NewScanner(f); next < args.Lines && s.Scan(); {
		n, ok := talk.LineNumber(s.Text())
		switch {
		case s.Text() == "":
		case !ok:
			bad++
		case n > next:
			return fmt.Errorf("line %d, and %d was next", n, next)
		default:
			next = n + 1
			if err := g.say("line", n); err != nil {
				return err
			}
		}
	}
	return g.say("bad lines", bad)
})

// several uses a console and all sources of entropy there are, and says "words" with one word of
// each of these.
var _ = job("several", func(g *guest) error {
	if err := use(consoleID, 0); err != nil {
		return err
	}
	const class = "/sys/class/misc/hw_random/"
	all, err := readTrimmed(class + "rng_available")
	if err != nil {
		return err
	}
	f, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer f.Close()
	var words [][]byte
	for name := range strings.FieldsSeq(all) {
		if !strings.HasPrefix(name, "virtio_rng") {
			continue
		}
		if err := os.WriteFile(class+"rng_current", []byte(name), 0); err != nil {
			return err
		}
		b := make([]byte, 4096)
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		words = append(words, b[len(b)-8:])
	}
	return g.say("words", words)
})

// bind does what it hears, several things at once: it takes a device from its driver or gives it
// back, uses it, looks at it, until "enough". What came of it is said, as a string.
var _ = job("bind", func(g *guest) error {
	var args talk.BindArgs
	if err := g.args(&args); err != nil {
		return err
	}
	d, err := deviceOf(args.ID)
	if err != nil {
		return err
	}
	for m := <-g.in; m.Name != "enough"; m = <-g.in {
		go func() {
			text, err := bindWord(d, m.Name)
			if err != nil {
				text = "error: " + err.Error()
			}
			if err := g.say(m.Name, text); err != nil {
				fmt.Println("guest:", err)
			}
		}()
	}
	return nil
})

func bindWord(d talk.Device, word string) (string, error) {
	switch word {
	case "unbind", "bind":
		return "", os.WriteFile(filepath.Join("/sys/bus/virtio/drivers", d.Driver, word), []byte(d.Name), 0)
	case "use": // for as long as the harness is patient
		for use(d.ID, 0) != nil {
			time.Sleep(10 * time.Millisecond)
		}
		return "", nil
	case "odd":
		all, err := mmioCounts()
		if err != nil {
			return "", err
		}
		return fmt.Sprint(all[0]["odd"]), nil
	case "up":
		return "", up(d)
	case "address":
		found, err := filepath.Glob(filepath.Join(devices, d.Name, "net/*/address"))
		if err != nil || len(found) != 1 {
			return "", fmt.Errorf("%v has the addresses %v", d, found)
		}
		return readTrimmed(found[0])
	}
	return "", fmt.Errorf("what is %q", word)
}

// up switches a network device's interface on.
func up(d talk.Device) error {
	found, err := filepath.Glob(filepath.Join(devices, d.Name, "net/*/flags"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%v has the interfaces %v", d, found)
	}
	return os.WriteFile(found[0], []byte("0x1003"), 0) // as it is, and IFF_UP
}
