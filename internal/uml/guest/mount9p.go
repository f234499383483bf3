package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mount9P mounts the tree that has the tag.
func mount9P(tag, dir, options string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	options = "trans=virtio,version=9p2000.L," + options
	if err := unix.Mount(tag, dir, "9p", 0, options); err != nil {
		return fmt.Errorf("mount -t 9p -o %s %s %s: %w", options, tag, dir, err)
	}
	return nil
}

// killAll ends every process but this one. A kernel that switches itself off would wait for ever
// for those who use a 9P device.
func killAll() { _ = unix.Kill(-1, unix.SIGKILL) }

// unmountSoon unmounts what those who were killed may still hold for a moment.
func unmountSoon(dir string) error {
	for begin := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if err := unix.Unmount(dir, 0); err != unix.EBUSY || time.Since(begin) > 10*time.Second {
			return err
		}
	}
}
