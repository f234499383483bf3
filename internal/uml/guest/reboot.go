package main

import "golang.org/x/sys/unix"

// reboot uses the source of entropy and reboots the machine.
var _ = job("reboot", func(*guest) error {
	if err := use(entropyID, 0); err != nil {
		return err
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
})
