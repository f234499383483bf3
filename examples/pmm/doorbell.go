package main

import (
	"time"

	"github.com/hypervisorless/virtio/notify"
)

const doorbellKinds = "unix:PATH; poll[:INTERVAL]"

// doorbell is -doorbell, not yet opened.
type doorbell struct {
	spec     *spec
	interval time.Duration
}

// pollInterval is how long a polling monitor sleeps at most.
const pollInterval = time.Millisecond

func parseDoorbell(text string) (*doorbell, error) {
	s, err := parseSpec("doorbell", text)
	if err != nil {
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
	return d, s.done()
}

func (d *doorbell) open() (notify.Line, error) {
	if d.spec.kind == "unix" {
		return notify.ListenUnix(d.spec.addr)
	}
	return notify.NewPoll(min(d.interval, 50*time.Microsecond), d.interval, nil)
}
