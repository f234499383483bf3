package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// rebind takes a device from its driver and gives it back, again and again, and uses it each
// time.
var _ = job("rebind", func(g *guest) error {
	var args talk.RebindArgs
	if err := g.args(&args); err != nil {
		return err
	}
	d, err := deviceOf(args.ID)
	if err != nil {
		return err
	}
	if d.Driver == "" {
		return fmt.Errorf("%s has no driver", d.Name)
	}
	driver := filepath.Join("/sys/bus/virtio/drivers", d.Driver)
	for i := range args.Times {
		for _, what := range []string{"unbind", "bind"} {
			if err := os.WriteFile(filepath.Join(driver, what), []byte(d.Name), 0); err != nil {
				return fmt.Errorf("turn %d: %w", i, err)
			}
		}
		if err := use(args.ID, i); err != nil {
			return fmt.Errorf("turn %d: %w", i, err)
		}
	}
	return nil
})

// use lets the device prove that it works.
func use(id, turn int) error {
	switch id {
	case entropyID:
		if _, err := selectRNG(); err != nil {
			return err
		}
		f, err := os.Open("/dev/hwrng")
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.ReadFull(f, make([]byte, 256))
		return err
	case consoleID:
		f, err := openAnyConsole()
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := fmt.Fprintf(f, "turn %d\n", turn); err != nil {
			return err
		}
		return unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1)
	}
	return fmt.Errorf("the guest does not know how to use a device with ID %d", id)
}

const consoleID = 3

// openAnyConsole opens the console of the driver's present life. The kernel may still hold that
// of the life before, under its old name; then the new one has another.
func openAnyConsole() (*os.File, error) {
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		var last error
		for i := range 8 {
			f, err := openRaw(fmt.Sprint("/dev/hvc", i))
			if err == nil {
				return f, nil
			}
			last = errors.Join(last, err)
		}
		if time.Since(begin) > 10*time.Second {
			return nil, last
		}
	}
}
