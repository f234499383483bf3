package main

import (
	"flag"
	"fmt"
	"io"
)

// usageError is a mistake on the command line: exit status 2.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func newFlagSet(name, what string) *flag.FlagSet {
	fs := flag.NewFlagSet("pmm "+name, flag.ContinueOnError)
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), what)
		fs.PrintDefaults()
	}
	return fs
}

// parse runs a flag set over args. Mistakes come back as usage errors instead of being printed;
// help is true when the user asked for it and has been answered on out.
func parse(fs *flag.FlagSet, args []string, out io.Writer) (help bool, err error) {
	usage := fs.Usage
	fs.Usage = func() {}
	fs.SetOutput(io.Discard)
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		fs.SetOutput(out)
		usage()
		return true, nil
	case err != nil:
		return false, &usageError{fmt.Sprintf("%v; %s -h lists what is accepted", err, fs.Name())}
	case fs.NArg() > 0:
		return false, &usageError{fmt.Sprintf("%q: no argument is expected after the flags", fs.Arg(0))}
	}
	return false, nil
}
