package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// reboot uses the source of entropy, says "used", and hears whether to boot the machine again or
// that it is "enough".
var _ = job("reboot", func(g *guest) error {
	if err := use(entropyID, 0); err != nil {
		return err
	}
	if err := g.say("used", nil); err != nil {
		return err
	}
	switch m := <-g.in; m.Name {
	case "enough":
		return nil
	case "again":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	default:
		return fmt.Errorf("what is %q", m.Name)
	}
})
