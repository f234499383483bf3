package main

import (
	"fmt"
	"strings"

	"github.com/hypervisorless/virtio/transport/mmio"
	"github.com/hypervisorless/virtio/virtio"
)

const (
	layoutKinds = "table, dtb, v2"
	logKinds    = "text, json"
	statusKinds = "unix:PATH"
	offerKinds  = "event-idx, indirect"
)

// plan is a checked configuration: everything that can be said without opening anything.
type plan struct {
	config
	window   *window
	doorbell *doorbell // nil where none was given
	layout   mmio.Layout
	offer    virtio.Features
	devices  []*device
}

// check parses every value and sees whether they go together.
func (c config) check() (*plan, error) {
	p := &plan{config: c}
	for _, check := range []func() error{p.checkWindow, p.checkDoorbell, p.checkDevices, p.checkRest} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if p.window.size == 0 {
		return p, nil // only the kernel knows, and Bus.Add asks again
	}
	if _, err := p.memoryMap(); err != nil {
		return nil, &usageError{fmt.Sprintf("-shmem %q with -layout %s: %v", c.shmem, c.layout, err)}
	}
	return p, nil
}

// refuse is the error of a flag whose value is none of those accepted.
func refuse(flag, value, accepted string) error {
	if value == "" {
		return &usageError{fmt.Sprintf("-%s is needed: %s", flag, accepted)}
	}
	return &usageError{fmt.Sprintf("-%s %q: accepted are %s", flag, value, accepted)}
}

func (p *plan) checkWindow() (err error) {
	if p.shmem == "" {
		return refuse("shmem", "", shmemKinds)
	}
	p.window, err = parseWindow(p.shmem)
	return err
}

func (p *plan) checkDoorbell() (err error) {
	if p.config.doorbell != "" {
		p.doorbell, err = parseDoorbell(p.config.doorbell)
	}
	return err
}

func (p *plan) checkDevices() error {
	if len(p.config.devices) == 0 {
		return refuse("device", "", deviceKinds())
	}
	var stdio *device
	for _, text := range p.config.devices {
		d, err := parseDevice(text)
		if err != nil {
			return err
		}
		if d.stdio && stdio != nil {
			return d.spec.errorf("%q has the terminal already", stdio.spec.text)
		}
		if d.stdio {
			stdio = d
		}
		p.devices = append(p.devices, d)
	}
	nameDevices(p.devices)
	return nil
}

func (p *plan) checkRest() error {
	switch p.config.layout {
	case "table":
		p.layout = mmio.Table
	case "dtb":
		p.layout = mmio.Tree
	case "v2":
		p.layout = mmio.Modern
	default:
		return refuse("layout", p.config.layout, layoutKinds)
	}
	for name := range strings.SplitSeq(p.config.offer, ",") {
		switch name {
		case "":
		case "event-idx":
			p.offer = p.offer.With(virtio.FeatureSet(virtio.EventIdx))
		case "indirect":
			p.offer = p.offer.With(virtio.FeatureSet(virtio.IndirectDesc))
		default:
			return refuse("offer", name, offerKinds)
		}
	}
	if p.log != "text" && p.log != "json" {
		return refuse("log", p.log, logKinds)
	}
	if path, ok := strings.CutPrefix(p.status, "unix:"); p.status != "" && (!ok || path == "") {
		return refuse("status", p.status, statusKinds)
	}
	if p.spin < 0 {
		return refuse("spin", p.spin.String(), "a time as in 50us, and 0 for not at all")
	}
	return nil
}

// memoryMap places the devices.
func (p *plan) memoryMap() (mmio.Map, error) {
	var slots []mmio.Slot
	for _, d := range p.devices {
		slots = append(slots, mmio.Slot{Name: d.name, ID: d.id, Mem: d.mem})
	}
	return mmio.NewMap(p.layout, p.window.addr, p.window.size, slots...)
}
