package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/p9"
	"github.com/hypervisorless/virtio/backend/vsock"
)

// statusReport is what pmm status asks for, as JSON on the wire.
type statusReport struct {
	Window  string         `json:"window"`
	Addr    string         `json:"addr"`
	Size    uint64         `json:"size"`
	Layout  string         `json:"layout"`
	Devices []deviceReport `json:"devices"`
}

type deviceReport struct {
	Name     string         `json:"name"`
	Type     string         `json:"type"`
	Header   string         `json:"header"`
	Status   string         `json:"status"`
	Live     bool           `json:"live"`
	Broken   string         `json:"broken,omitempty"`
	Sessions uint64         `json:"sessions"`
	Restarts uint64         `json:"restarts"`
	Faults   uint64         `json:"faults"`
	Refusals uint64         `json:"refusals"`
	Features string         `json:"features"`
	Queues   []queueReport  `json:"queues"`
	Ports    []portReport   `json:"ports,omitempty"`
	Files    *filesReport   `json:"files,omitempty"`
	Sockets  *socketsReport `json:"sockets,omitempty"`
}

type queueReport struct {
	Size     int    `json:"size"`
	Chains   uint64 `json:"chains"`
	Refused  uint64 `json:"refused"`
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
	Notified uint64 `json:"notified"`
	Waits    uint64 `json:"waits"`
}

type portReport struct {
	Name     string `json:"name"`
	Attached bool   `json:"attached"`
	Waiting  int    `json:"waiting"`
	Dropped  uint64 `json:"dropped"`
}

// filesReport is of a 9P device.
type filesReport struct {
	Held     int64  `json:"held"`
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
	Flushed  uint64 `json:"flushed"`
	Read     uint64 `json:"read"`
	Written  uint64 `json:"written"`
	Stuck    int64  `json:"stuck"`
}

// socketsReport is of a socket device.
type socketsReport struct {
	Conns    int    `json:"conns"`
	Opening  int    `json:"opening"`
	Opened   uint64 `json:"opened"`
	Refused  uint64 `json:"refused"`
	Resets   uint64 `json:"resets"`
	Dropped  uint64 `json:"dropped"`
	Violated uint64 `json:"violated"`
}

func (m *monitor) report() statusReport {
	r := statusReport{
		Window: m.memory(), Addr: fmt.Sprintf("%#x", m.plan.window.addr),
		Size: m.region.Size(), Layout: m.plan.layout.String(),
	}
	for i, s := range m.bus.Stats() {
		d := deviceReport{
			Name: s.Name, Type: s.ID.String(), Header: fmt.Sprintf("%#x", m.bus.Map().Places[i].Header),
			Status: s.Status.String(), Live: s.Live, Broken: s.Broken, Sessions: s.Sessions,
			Restarts: s.Restarts, Faults: s.Faults, Refusals: s.Refusals, Features: s.Features.String(),
		}
		for _, q := range s.Queues {
			d.Queues = append(d.Queues, queueReport(q))
		}
		if ports := m.plan.devices[i].ports; ports != nil {
			for _, p := range ports() {
				d.Ports = append(d.Ports, newPortReport(p))
			}
		}
		if files := m.plan.devices[i].files; files != nil {
			f := newFilesReport(files())
			d.Files = &f
		}
		if sockets := m.plan.devices[i].sockets; sockets != nil {
			s := newSocketsReport(sockets())
			d.Sockets = &s
		}
		r.Devices = append(r.Devices, d)
	}
	return r
}

func newPortReport(p console.PortStats) portReport {
	return portReport{Name: p.Name, Attached: p.Attached, Waiting: p.Waiting, Dropped: p.Dropped}
}

func newFilesReport(s p9.Stats) filesReport {
	return filesReport{s.Files, s.Requests, s.Errors, s.Flushed, s.Read, s.Written, s.Stuck}
}

func newSocketsReport(s vsock.Stats) socketsReport {
	return socketsReport{s.Conns, s.Opening, s.Opened, s.Refused, s.Resets, s.Dropped, s.Violated}
}

// print writes the report for a person.
func (r statusReport) print(w io.Writer) error {
	fmt.Fprintf(w, "window %s at %s, %d bytes, layout %s\n", r.Window, r.Addr, r.Size, r.Layout)
	for _, d := range r.Devices {
		fmt.Fprintf(w, "%s (%s) at %s: %s; status %s, features %s, sessions %d, restarts %d, faults %d, refusals %d\n",
			d.Name, d.Type, d.Header, d.state(), d.Status, d.Features, d.Sessions, d.Restarts, d.Faults, d.Refusals)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for i, q := range d.Queues {
			if q.Size > 0 {
				fmt.Fprintf(t, "  queue %d\tsize %d\tchains %d\trefused %d\tin %d B, out %d B\tnotified %d, waits %d\n",
					i, q.Size, q.Chains, q.Refused, q.BytesIn, q.BytesOut, q.Notified, q.Waits)
			}
		}
		for i, p := range d.Ports {
			fmt.Fprintf(t, "  port %d\t%s\tattached %t\twaiting %d B\tdropped %d B\t\n", i, p.Name, p.Attached, p.Waiting, p.Dropped)
		}
		if f := d.Files; f != nil {
			fmt.Fprintf(t, "  files\theld %d\trequests %d\terrors %d, flushed %d, stuck %d\tread %d B, written %d B\t\n",
				f.Held, f.Requests, f.Errors, f.Flushed, f.Stuck, f.Read, f.Written)
		}
		if s := d.Sockets; s != nil {
			fmt.Fprintf(t, "  sockets\t%d connections, %d half open\topened %d\trefused %d, reset %d\tdropped %d, violated %d\t\n",
				s.Conns, s.Opening, s.Opened, s.Refused, s.Resets, s.Dropped, s.Violated)
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (d deviceReport) state() string {
	switch {
	case d.Broken != "":
		return "stopped: " + d.Broken
	case d.Live:
		return "live"
	}
	return "waits for a front-end"
}
