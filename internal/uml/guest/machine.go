package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hypervisorless/virtio/internal/uml/talk"
	"golang.org/x/sys/unix"
)

// kernelMounts are the kernel's own file systems.
var kernelMounts = []struct{ dir, kind string }{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}, {"/dev/pts", "devpts"}, {"/tmp", "tmpfs"}}

// mounts makes the kernel's own file systems visible.
func mounts() error {
	for _, m := range kernelMounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("none", m.dir, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	return nil
}

// openRaw opens a terminal that passes every byte on as it is.
func openRaw(name string) (*os.File, error) {
	// Not by os.OpenFile: a terminal that is non-blocking wants a poller, and a hang-up to be
	// told from nothing to read.
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s is no terminal: %w", name, err)
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag = t.Cflag&^unix.CSIZE | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, t); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// load loads a kernel module.
func load(m talk.Module) error {
	f, err := os.Open(m.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), m.Params, 0); err != nil {
		return fmt.Errorf("module %s: %w", m.Name, err)
	}
	return nil
}

const devices = "/sys/bus/virtio/devices"

// lookAround finds out what this machine is.
func lookAround() (talk.Facts, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return talk.Facts{}, err
	}
	f := talk.Facts{Kernel: unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Version[:])}
	if up, err := readTrimmed("/proc/uptime"); err == nil {
		fmt.Sscan(up, &f.Uptime)
	}
	entries, err := os.ReadDir(devices)
	if err != nil {
		return f, err
	}
	for _, e := range entries {
		d, err := lookAt(e.Name())
		if err != nil {
			return f, err
		}
		f.Devices = append(f.Devices, d)
	}
	return f, nil
}

// lookAt reads what the kernel knows of a virtio device.
func lookAt(name string) (talk.Device, error) {
	dir := filepath.Join(devices, name)
	d := talk.Device{Name: name}
	id, err := readTrimmed(filepath.Join(dir, "device")) // 0x0004
	if err != nil {
		return d, err
	}
	n, err := strconv.ParseUint(id, 0, 16)
	if err != nil {
		return d, err
	}
	d.ID = int(n)
	d.Driver = linked(filepath.Join(dir, "driver"))
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		d.Transport = linked(filepath.Join(filepath.Dir(real), "driver"))
	}
	bits, err := readTrimmed(filepath.Join(dir, "features")) // a string of 0 and 1, bit 0 first
	if err != nil {
		return d, err
	}
	for i, bit := range strings.TrimRight(bits, "0") {
		if bit == '1' && i < 64 {
			d.Features |= 1 << i
		}
	}
	return d, nil
}

// linked is the name of what a link of sysfs points to, or nothing.
func linked(link string) string {
	target, err := os.Readlink(link)
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// deviceOf returns the machine's first device with this ID.
func deviceOf(id int) (talk.Device, error) {
	f, err := lookAround()
	if err != nil {
		return talk.Device{}, err
	}
	for _, d := range f.Devices {
		if d.ID == id {
			return d, nil
		}
	}
	return talk.Device{}, fmt.Errorf("no virtio device with ID %d", id)
}
