// Package talk is what the harness and the program in the guest say to each other: one JSON
// object a line, over a serial line that nothing else uses.
package talk

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// Spec tells the guest what to do. It is the file SpecFile of the initramfs.
type Spec struct {
	Modules []Module
	Job     string
	Args    json.RawMessage
}

// SpecFile is where the guest finds its Spec.
const SpecFile = "/spec.json"

// Channel is the guest's end of the line.
const Channel = "/dev/ttyS0"

// Module is a kernel module to be loaded.
type Module struct {
	Name   string
	File   string // in the initramfs
	Params string
}

// Names of the messages that every job knows. The others belong to a job and its caller.
const (
	Ready = "ready" // guest: Facts; modules are loaded and the job begins
	Done  = "done"  // guest: string, the job's error or nothing
)

// Facts say what the guest found.
type Facts struct {
	Kernel  string // release and build: 6.1.176 #1 …
	Uptime  float64
	Devices []Device
}

// Device is a virtio device as the guest's kernel sees it.
type Device struct {
	Name      string // virtio0
	ID        int    // 4 is entropy
	Driver    string // virtio_rng, or nothing if none is bound
	Transport string // driver of the device it was found on: virtio-uml, virtio-mmio
	Features  uint64 // word 0 and 1 of what was negotiated
}

// Message is one line.
type Message struct {
	Name  string
	Value json.RawMessage `json:",omitempty"`
}

// Write says something.
func Write(w io.Writer, name string, value any) error {
	m := Message{Name: name}
	if value != nil {
		var err error
		if m.Value, err = json.Marshal(value); err != nil {
			return err
		}
	}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Read reads what the other says, until it says no more. Empty lines say nothing.
func Read(r io.Reader, got func(Message)) error {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		if err != nil {
			return err
		}
		if len(line) == 1 {
			continue
		}
		var m Message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		got(m)
	}
}
