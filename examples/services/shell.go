package main

import (
	"bufio"
	"fmt"
	"net"
	"strings"
)

const shellHelp = `help          this
time          what Linux says the time is
uptime        since the board was started
led [on|off]  the light, or its state
exit          leave
`

// shell serves one person.
func shell(c net.Conn, b *board) {
	defer c.Close()
	fmt.Fprintf(c, "session %d from %v, help says what there is\n> ", b.shells.Add(1), c.RemoteAddr())
	for lines := bufio.NewScanner(c); lines.Scan(); fmt.Fprint(c, "> ") {
		words := append(strings.Fields(lines.Text()), "", "")
		switch words[0] {
		case "":
		case "help":
			fmt.Fprint(c, shellHelp)
		case "time":
			if now, err := b.time(); err != nil {
				fmt.Fprintln(c, err)
			} else {
				fmt.Fprintln(c, now)
			}
		case "uptime":
			fmt.Fprintln(c, b.uptime())
		case "led":
			if words[1] != "" {
				b.led.Store(words[1] == "on")
			}
			fmt.Fprintln(c, "the led is", b.ledState())
		case "exit":
			return
		default:
			fmt.Fprintf(c, "%q: no such command\n", words[0])
		}
	}
}
