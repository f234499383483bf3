package main

import (
	"fmt"
	"time"

	"github.com/hypervisorless/virtio/notify"
)

const doorbellKinds = "unix:PATH; poll[:INTERVAL]"

// doorbell is -doorbell, not yet opened.
type doorbell struct {
	spec     *spec
	interval time.Duration
}

const (
	pollInterval = time.Millisecond      // a polling monitor sleeps at most, unless told otherwise
	pollSpin     = 50 * time.Microsecond // it looks again without a sleep for, after it found work
)

func parseDoorbell(text string) (*doorbell, error) {
	s, err := parseSpec("doorbell", text)
	if err != nil {
		return nil, err
	}
	if err := s.accept(); err != nil {
		return nil, err
	}
	d := &doorbell{spec: s, interval: pollInterval}
	switch s.kind {
	case "unix":
		if s.addr == "" {
			return nil, s.errorf("a socket path is needed: unix:PATH")
		}
	case "poll":
		if s.addr != "" {
			if d.interval, err = time.ParseDuration(s.addr); err != nil || d.interval <= 0 {
				return nil, s.errorf("%q is no interval, as in poll:500us", s.addr)
			}
		}
	default:
		return nil, s.errorf("unknown kind %q; accepted are %s", s.kind, doorbellKinds)
	}
	return d, nil
}

func (d *doorbell) open() (line notify.Line, err error) {
	if d.spec.kind == "unix" {
		line, err = notify.ListenUnix(d.spec.addr)
	} else {
		line, err = notify.NewPoll(min(d.interval, pollSpin), d.interval, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("-doorbell %q: %w", d.spec.text, err)
	}
	return line, nil
}
