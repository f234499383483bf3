package uml

import (
	"encoding/binary"
	"io"
	"os"
	"testing"

	hostvsock "github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/vsock"
	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/virtio/virtiotest"
)

// TestVsockHostRouter leads a driver's connections to sockets of the kernel that it runs under, and
// back. That has to know sockets of that family: TestQEMUVsock runs it in its machine, so that every
// part is tried once.
func TestVsockHostRouter(t *testing.T) {
	const service = 7000
	t.Run("loopback", func(t *testing.T) {
		l, err := hostvsock.ListenContextID(unix.VMADDR_CID_LOCAL, service, nil)
		if err != nil {
			t.Skipf("this kernel has no sockets that lead back to it (vsock_loopback): %v", err)
		}
		defer l.Close()
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
		d := newBareDriver(t, vsock.HostRouter(unix.VMADDR_CID_LOCAL))
		d.chat(service)

		d.say(9, service+1, opRequest, "") // nobody is there
		assert.Equal(t, d.hear(service+1, 9), packet{opReset, ""})
	})
	t.Run("forward", func(t *testing.T) {
		l, err := hostvsock.ListenContextID(unix.VMADDR_CID_LOCAL, service, nil)
		if err != nil {
			t.Skipf("this kernel has no sockets that lead back to it (vsock_loopback): %v", err)
		}
		d := newBareDriver(t, nil)
		over := make(chan error, 1)
		go func() { over <- d.device.Forward(l, 80) }()
		c, err := hostvsock.Dial(unix.VMADDR_CID_LOCAL, service, nil)
		assert.NilError(t, err)
		defer c.Close()
		port, p := d.hearAny(80)
		assert.Equal(t, p, packet{opRequest, ""})
		d.say(80, port, opResponse, "")
		d.say(80, port, opData, "welcome")
		text := make([]byte, len("welcome"))
		_, err = io.ReadFull(c, text)
		assert.NilError(t, err)
		assert.Equal(t, string(text), "welcome")
		assert.NilError(t, l.Close())
		assert.NilError(t, <-over)
	})
	t.Run("hypervisor", func(t *testing.T) {
		if !inTown() {
			t.Skip("this machine is not the guest of TestQEMUVsock")
		}
		newBareDriver(t, vsock.HostRouter(unix.VMADDR_CID_HOST)).chat(talk.PortEcho)
	})
}

// inTown tells whether this machine is a guest of the town.
func inTown() bool {
	f, err := os.Open("/dev/vsock")
	if err != nil {
		return false
	}
	defer f.Close()
	cid, err := unix.IoctlGetUint32(int(f.Fd()), unix.IOCTL_VM_SOCKETS_GET_LOCAL_CID)
	return err == nil && cid == guestCID
}

// Operations (5.10.6).
const (
	opRequest  = 1
	opResponse = 2
	opReset    = 3
	opData     = 5
	opUpdate   = 6
)

// packet is what the device says to a driver.
type packet struct {
	op   uint16
	text string
}

// bareDriver is a driver's side of a socket device in this process. One thing at a time.
type bareDriver struct {
	t      *testing.T
	device *vsock.Device
	rig    *virtiotest.Rig
}

func newBareDriver(t *testing.T, r vsock.Router) *bareDriver {
	t.Helper()
	device, err := vsock.New(vsock.Options{CID: 3, Router: r})
	assert.NilError(t, err)
	rig := virtiotest.NewRig(t, device, virtiotest.Options{Patience: patience})
	assert.NilError(t, rig.Up(virtio.FeatureSet(virtio.Version1)))
	t.Cleanup(func() { assert.Check(t, rig.Reset()) })
	return &bareDriver{t, device, rig}
}

// chat has a connection to somebody who sends back what comes.
func (d *bareDriver) chat(to uint32) {
	d.t.Helper()
	d.say(8, to, opRequest, "")
	assert.Equal(d.t, d.hear(to, 8), packet{opResponse, ""})
	for _, text := range []string{"is anybody there?", "good"} {
		d.say(8, to, opData, text)
		assert.Equal(d.t, d.hear(to, 8), packet{opData, text})
	}
	d.say(8, to, opReset, "")
}

// say sends a packet from one of the driver's ports to one of the host's.
func (d *bareDriver) say(from, to uint32, op uint16, text string) {
	d.t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint64(nil, 3)
	b = le.AppendUint64(b, hostvsock.Host)
	b = le.AppendUint32(b, from)
	b = le.AppendUint32(b, to)
	b = le.AppendUint32(b, uint32(len(text)))
	b = le.AppendUint16(b, uint16(vsock.Stream))
	b = le.AppendUint16(b, op)
	b = le.AppendUint32(b, 0)     // flags
	b = le.AppendUint32(b, 1<<16) // window
	b = le.AppendUint32(b, 0)     // consumed
	_, err := d.rig.Queue(1).Do(append(b, text...), 0)
	assert.NilError(d.t, err)
}

// hear returns the next packet from a port of the host's to one of the driver's.
func (d *bareDriver) hear(from, to uint32) packet {
	d.t.Helper()
	got, p := d.hearAny(to)
	assert.Equal(d.t, got, from)
	return p
}

func (d *bareDriver) hearAny(to uint32) (from uint32, p packet) {
	d.t.Helper()
	le := binary.LittleEndian
	for {
		b, err := d.rig.Queue(0).Do(nil, 128)
		assert.NilError(d.t, err)
		assert.Assert(d.t, len(b) >= 44)
		assert.Equal(d.t, le.Uint32(b[20:]), to)
		if p = (packet{le.Uint16(b[30:]), string(b[44:])}); p.op != opUpdate {
			return le.Uint32(b[16:]), p
		}
	}
}
