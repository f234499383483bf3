package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hypervisorless/virtio/shmem"
)

// bare is one side of the baseline: a word for the request, a word for the answer, the payload
// written by one side and read by the other, and a byte on the socket each way. Blocking system
// calls on one thread, no scheduler, no ring.
type bare struct {
	Serve        bool
	Bytes        int
	Spin         bool
	Window, Bell string
	N            int
}

const (
	bareRequest = 0   // how many requests were made
	bareAnswer  = 64  // how many were answered
	barePayload = 128 // the answer
)

func bareChild(args []string) {
	runtime.LockOSThread()
	var b bare
	must(json.Unmarshal([]byte(args[0]), &b))
	region, err := shmem.OpenFile(b.Window, roomSize)
	must(err)
	memory, err := region.Span(0, roomSize)
	must(err)
	socket := b.connect()
	if b.Serve {
		b.serve(memory, socket)
		return
	}
	samples := make([]time.Duration, warmUp+b.N)
	payload := make([]byte, b.Bytes)
	var began time.Time
	last := time.Now()
	for i := range samples {
		if i == warmUp {
			began = last
		}
		memory.Store32(bareRequest, uint32(i+1))
		b.ring(socket)
		for memory.Load32(bareAnswer) != uint32(i+1) {
			must(b.wait(socket))
		}
		memory.ReadAt(payload, barePayload)
		now := time.Now()
		samples[i] = now.Sub(last)
		last = now
	}
	f := newFigures(last.Sub(began), samples[warmUp:])
	if !b.Spin {
		f.Out, f.In = 1, 1
	}
	must(json.NewEncoder(os.Stdout).Encode(f))
}

func (b *bare) serve(memory shmem.Span, socket int) {
	payload := make([]byte, b.Bytes)
	for i := range uint32(warmUp + b.N) {
		for memory.Load32(bareRequest) != i+1 {
			must(b.wait(socket))
		}
		memory.WriteAt(payload, barePayload)
		memory.Store32(bareAnswer, i+1)
		b.ring(socket)
	}
}

// connect is the socket of a new connection, blocking.
func (b *bare) connect() int {
	var conn net.Conn
	if b.Serve {
		l, err := net.Listen("unix", b.Bell)
		must(err)
		fmt.Fprintln(os.Stderr, "ready")
		conn, err = l.Accept()
		must(err)
	} else {
		var err error
		conn, err = net.Dial("unix", b.Bell)
		must(err)
	}
	f, err := conn.(*net.UnixConn).File()
	must(err)
	return int(f.Fd())
}

func (b *bare) ring(socket int) {
	if !b.Spin {
		_, err := unix.Write(socket, []byte{1})
		if !errors.Is(err, unix.EPIPE) { // the client leaves after the last answer
			must(err)
		}
	}
}

func (b *bare) wait(socket int) error {
	if b.Spin {
		return nil
	}
	var bytes [64]byte
	for {
		n, err := unix.Read(socket, bytes[:])
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != unix.EINTR {
			return err
		}
	}
}
