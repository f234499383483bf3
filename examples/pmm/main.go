// Command pmm is the general Physical Machine Monitor: it serves virtio devices to a front-end
// that shares memory and a doorbell with it, and nothing else.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

type command struct {
	name, what string
	run        func(args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"run", "serve devices to the front-end in a window of shared memory", runCommand},
	{"demo", "a guided tour on this machine: a monitor and a front-end, two processes", demoCommand},
	{"layout", "print what the other side needs to know, from the flags of run", layoutCommand},
	{"status", "ask a running monitor what it is doing", statusCommand},
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings named; the result is the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		usage(stderr)
		return 2
	}
	for _, c := range commands {
		if c.name == args[0] {
			return report(c.name, c.run(args[1:], stdout, stderr), stderr)
		}
	}
	switch args[0] {
	case frontendName: // the demo's other process, of no use by itself
		return report(frontendName, frontendCommand(args[1:], stdout, stderr), stderr)
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return 0
	}
	fmt.Fprintf(stderr, "pmm: unknown command %q\n", args[0])
	usage(stderr)
	return 2
}

// report says what went wrong, if anything, and is the exit status.
func report(name string, err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "pmm %s: %v\n", name, err)
	if bad := (*usageError)(nil); errors.As(err, &bad) {
		return 2
	}
	return 1
}

func usage(w io.Writer) {
	fmt.Fprintln(w, "pmm serves virtio devices over shared memory and a doorbell, without a hypervisor.")
	for _, c := range commands {
		fmt.Fprintf(w, "  pmm %-8s %s\n", c.name, c.what)
	}
	fmt.Fprintln(w, "pmm COMMAND -h lists the flags of a command.")
}
