package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// config is what the flags say, not yet checked against each other or opened.
type config struct {
	shmem     string
	layout    string
	doorbell  string
	devices   []string
	status    string
	log       string
	verbose   bool
	wipe      bool
	plain     bool
	offer     string
	spin      time.Duration
	isolate   bool
	clearIdle bool
}

// parseConfig reads the flags that describe a monitor. run and layout share them, so that the
// other side's half of the agreement comes from the same words. more declares flags of the one
// command only. help is true when the user asked for it and has been answered.
func parseConfig(name, what string, args []string, out io.Writer, more func(*flag.FlagSet)) (c config, help bool, err error) {
	read := func() (file string, err error) {
		fs := newFlagSet(name, what)
		c.flags(fs)
		fs.StringVar(&file, "config", "", "JSON file with these flags' names as keys, device a list; flags win over it")
		if more != nil {
			more(fs)
		}
		help, err = parse(fs, args, out)
		return file, err
	}
	c = config{layout: "table", log: "text"}
	file, err := read()
	if help || err != nil || file == "" {
		return c, help, err
	}
	// Once more, with what the file says in place of the defaults.
	c = config{layout: "table", log: "text"}
	if err := c.read(file); err != nil {
		return c, false, &usageError{fmt.Sprintf("-config %q: %v", file, err)}
	}
	_, err = read()
	return c, help, err
}

// flags declares the flags. What c holds already is their default.
func (c *config) flags(fs *flag.FlagSet) {
	fs.StringVar(&c.shmem, "shmem", c.shmem, "shared memory: "+shmemKinds)
	fs.StringVar(&c.layout, "layout", c.layout, "where the registers lie: "+layoutKinds)
	fs.StringVar(&c.doorbell, "doorbell", c.doorbell, "doorbell: "+doorbellKinds)
	fs.Func("device", "a device, repeatable, in the order of the slots: "+deviceKinds(), func(v string) error {
		c.devices = append(c.devices, v)
		return nil
	})
	fs.StringVar(&c.status, "status", c.status, "serve pmm status on this socket: "+statusKinds)
	fs.StringVar(&c.log, "log", c.log, "log format: "+logKinds)
	fs.BoolVar(&c.verbose, "v", c.verbose, "log more")
	fs.BoolVar(&c.wipe, "wipe", c.wipe, "clear the window at start, even under a live front-end")
	fs.BoolVar(&c.plain, "plain-store", c.plain, "never use compare-and-swap on the window")
	fs.StringVar(&c.offer, "offer", c.offer, "ring features for front-ends that want them, with commas between: "+offerKinds)
	fs.BoolVar(&c.isolate, "isolate", c.isolate, "a restart seen on one device leaves the others alone: several front-ends share the window")
	fs.BoolVar(&c.clearIdle, "clear-idle", c.clearIdle, "clear the interrupt bit of devices without news, so that they cost the front-end nothing")
	fs.DurationVar(&c.spin, "spin", c.spin, "watch a queue this long for more before sleeping")
}

// read takes a JSON configuration.
func (c *config) read(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	file := struct {
		Shmem, Layout, Doorbell *string
		Device                  *[]string
		Status, Log             *string
		V, Wipe                 *bool
		PlainStore              *bool `json:"plain-store"`
		Offer                   *string
		Spin                    *duration
		Isolate                 *bool
		ClearIdle               *bool `json:"clear-idle"`
	}{
		&c.shmem, &c.layout, &c.doorbell, &c.devices, &c.status, &c.log,
		&c.verbose, &c.wipe, &c.plain, &c.offer, (*duration)(&c.spin),
		&c.isolate, &c.clearIdle,
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err = dec.Decode(&file)
	if bad := (*json.UnmarshalTypeError)(nil); errors.As(err, &bad) {
		return fmt.Errorf("%s: a JSON %s is not accepted there", strings.ToLower(bad.Field), bad.Value)
	} else if err != nil {
		return fmt.Errorf("%w; accepted is an object with the flags' names as keys", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("something follows the object")
	}
	return nil
}

// duration reads as the flag does: "50us".
type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}
