package console

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"

	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring/vringtest"
)

// one is a device with a single console, and the host's end of it in the test's hand.
func one() (Options, net.Conn) {
	ours, host := net.Pipe()
	return Options{Ports: []Port{{Endpoint: ours}}}, host
}

func TestCON_01_EmergencyWriteBeforeSetUp(t *testing.T) {
	var out bytes.Buffer
	o, _ := one()
	o.Emergency = &out
	l := newIdleLink(t, o)
	assert.Check(t, l.dev.Offered().Has(FeatureEmergencyWrite))
	assert.Equal(t, l.dev.Status(), virtio.Status(0))
	l.dev.WriteConfig([]byte{'!', 0, 0, 0}, 8)
	assert.Equal(t, out.String(), "!")
}

func TestCON_02_EmergencyWriteEmitsLowByte(t *testing.T) {
	var out bytes.Buffer
	o, _ := one()
	o.Emergency = &out
	l := newLink(t, o)
	l.dev.WriteConfig(binary.LittleEndian.AppendUint32(nil, 0x41424378), 8)
	l.dev.WriteConfig([]byte{'y'}, 8)
	assert.Equal(t, out.String(), "xy")
	assert.Equal(t, l.dev.Stats().Faults, uint64(0))

	// Nothing else of the configuration space is the driver's to write, nor is this when it was
	// not offered.
	l.dev.WriteConfig([]byte{'z'}, 9)
	l.dev.WriteConfig(make([]byte, 12), 0)
	assert.Equal(t, out.String(), "xy")
	assert.Equal(t, l.dev.Stats().Faults, uint64(2))
	o, _ = one()
	l = newIdleLink(t, o)
	assert.Check(t, !l.dev.Offered().Has(FeatureEmergencyWrite))
	l.dev.WriteConfig([]byte{'z'}, 8)
	assert.Equal(t, l.dev.Stats().Faults, uint64(1))
}

func TestCON_03_OtherPortsNeedMultiport(t *testing.T) {
	o, _ := one()
	single := newIdleLink(t, o)
	assert.Check(t, single.dev.MaxSize(1) > 0)
	assert.Check(t, is.Equal(single.dev.MaxSize(2), uint16(0)))
	assert.Check(t, !single.dev.Offered().Has(FeatureMultiport))

	bubble(t, func(t *testing.T) {
		o, host := two()
		l := newLink(t, o) // without MULTIPORT
		assert.Check(t, l.dev.MaxSize(5) > 0)
		assert.Check(t, is.Equal(l.dev.MaxSize(6), uint16(0)))
		l.send(5, "for port 1", 64)
		l.send(queueControlTransmit, string(control(0, driverReady, 1)), 64)
		l.receive(queueControlReceive, 64)
		synctest.Wait()
		assert.Check(t, l.idle(5) && l.idle(queueControlTransmit) && l.idle(queueControlReceive))

		// Port 0 works all the same.
		go io.WriteString(host[0], "in")
		addr := l.receive(0, 64)
		assert.Equal(t, l.received(0, addr), "in")
		l.send(1, "out", 64)
		assert.Equal(t, readN(t, host[0], 3), "out")
		l.used(1)
	})
}

// readN reads exactly n bytes.
func readN(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	assert.NilError(t, err)
	return string(b)
}

func TestCON_08_WholeChainInOrder(t *testing.T) {
	text := "one two three "
	for name, cut := range map[string]uint32{"one descriptor": 64, "three": 5, "a byte each": 1} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o, host := one()
				l := newLink(t, o)
				for range 3 {
					l.send(1, text, cut)
					assert.Equal(t, readN(t, host, len(text)), text)
					assert.Equal(t, l.used(1).Len, uint32(0))
				}
			})
		})
	}
	t.Run("long", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			o, host := one()
			l := newLink(t, o)
			long := strings.Repeat("0123456789abcde", 4000)
			l.send(1, long, 1000)
			l.send(1, "end", 64)
			assert.Check(t, readN(t, host, len(long)+3) == long+"end")
			assert.Equal(t, l.used(1).Len, uint32(0))
			l.used(1)
		})
	})
	t.Run("receive", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			o, host := one()
			l := newLink(t, o)
			// As many bytes as there are, across descriptors; as many buffers as it takes.
			a, b := l.mem.Alloc(4, 1), l.mem.Alloc(60, 1)
			l.offer(0, vringtest.Writable(a, 4), vringtest.Writable(b, 60))
			io.WriteString(host, "typed ahead")
			assert.Equal(t, l.used(0).Len, uint32(11))
			assert.Equal(t, string(l.mem.Read(a, 4))+string(l.mem.Read(b, 7)), "typed ahead")
			c, d := l.receive(0, 3), l.receive(0, 64)
			io.WriteString(host, "more")
			assert.Equal(t, l.received(0, c), "mor")
			assert.Equal(t, l.received(0, d), "e")
		})
	})
}

func TestCON_09_InputWaitsForBuffers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := one()
		l := newLink(t, o)
		var typed strings.Builder
		for i := range 40000 {
			typed.WriteByte(byte('a' + i%26))
		}
		wrote := make(chan struct{})
		go func() {
			io.WriteString(host, typed.String())
			close(wrote)
		}()
		synctest.Wait()
		select {
		case <-wrote:
			t.Fatal("input was taken without room for it")
		default:
		}
		assert.Equal(t, l.console.Stats()[0].Waiting, readAhead)

		var got strings.Builder
		for got.Len() < typed.Len() {
			addr := l.receive(0, 1000)
			got.WriteString(l.received(0, addr))
			if got.Len()%7000 == 0 { // the driver is reset now and then
				l.stop()
				l.start()
			}
		}
		assert.Check(t, got.String() == typed.String())
		<-wrote
	})
}

// What a hostile driver puts into the data queues comes back with length 0, and the port
// works on.
func TestDRV_39_DataQueues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := one()
		l := newLink(t, o)
		l.mem.Fill()
		buf := l.mem.Alloc(8, 1)
		io.WriteString(host, "input")

		l.offer(0, vringtest.Readable(buf, 8))
		l.offer(0, vringtest.Readable(buf, 4), vringtest.Writable(buf+4, 4))
		l.offer(0, vringtest.Writable(buf, 0))
		l.offer(1, vringtest.Writable(buf, 8))
		l.offer(1, vringtest.Readable(buf, 4), vringtest.Writable(buf+4, 4))
		before := l.mem.Read(buf, 8)
		for range 3 {
			assert.Equal(t, l.used(0).Len, uint32(0))
		}
		for range 2 {
			assert.Equal(t, l.used(1).Len, uint32(0))
		}
		assert.DeepEqual(t, l.mem.Read(buf, 8), before)
		synctest.Wait()
		stats := l.dev.Stats()
		assert.Equal(t, stats.Queues[0].Refused, uint64(3))
		assert.Equal(t, stats.Queues[1].Refused, uint64(2))

		l.offer(1, vringtest.Readable(buf, 0)) // nothing to say, but no offence
		l.used(1)
		addr := l.receive(0, 64)
		assert.Equal(t, l.received(0, addr), "input")
		l.send(1, "output", 64)
		assert.Equal(t, readN(t, host, 6), "output")
		assert.Equal(t, l.console.Stats()[0].Dropped, uint64(0))
	})
}

// A request of nearly 4 GiB is legal. It is streamed, back-pressure and all, and does not keep
// the driver from resetting the device.
func TestDRV_18_EnormousOutput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := one()
		l := newLink(t, o)
		all := vringtest.Readable(0x4000_0000, 1<<20)
		d := make([]vringtest.Desc, 63)
		for i := range d {
			d[i] = all
		}
		l.offer(1, d...)
		readN(t, host, 5<<20)
		synctest.Wait() // until it is in the middle of a write
		l.stop()
		l.start()
		l.send(1, "short", 64)
		assert.Equal(t, readN(t, host, 5), "short")
	})
}

// Input that was read from the host but not delivered is for the next driver.
func TestInputOutlivesReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := one()
		l := newLink(t, o)
		io.WriteString(host, "typed at the wrong moment")
		synctest.Wait()
		l.stop()
		l.start()
		addr := l.receive(0, 5)
		assert.Equal(t, l.received(0, addr), "typed")
		l.stop()
		io.WriteString(host, "!")
		l.start()
		addr = l.receive(0, 64)
		assert.Equal(t, l.received(0, addr), " at the wrong moment!")
	})
}

// A host that does not read stalls its port, but neither the input nor another port, and a
// reset does not wait for it.
func TestT17_ResetWhileHostDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := two()
		l := newLink(t, o, FeatureMultiport)
		l.send(1, "first", 64)
		l.send(1, "stuck", 64)
		assert.Equal(t, readN(t, host[0], 5), "first")
		l.used(1) // is returned although the next one waits
		l.command(0, driverReady, 1)
		for range 2 {
			l.heard()
		}
		for i := range uint32(2) {
			l.command(i, driverKnows, 1)
			l.command(i, driverOpens, 1)
		}
		go io.WriteString(host[0], "typed")
		addr := l.receive(0, 64)
		assert.Equal(t, l.received(0, addr), "typed")
		l.send(5, "other port", 64)
		assert.Equal(t, readN(t, host[1], 10), "other port")
		l.used(5)
		synctest.Wait()
		assert.Check(t, l.idle(1))

		l.stop()
		l.start()
		l.send(1, "next life", 64)
		assert.Equal(t, readN(t, host[0], 9), "next life")
		l.used(1)
	})
}

// Where nobody listens the driver is not held up, and it is known how much was lost.
func TestOutputWithoutHost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := one()
		l := newLink(t, o)
		host.Close()
		for range 100 {
			l.send(1, "12345", 64)
			l.used(1)
		}
		assert.Equal(t, l.console.Stats()[0].Dropped, uint64(500))
		assert.Equal(t, strings.Count(l.log.String(), "output"), 1)
	})
}

func TestEndOfInputIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, host := net.Pipe()
		l := newLink(t, Options{Ports: []Port{{Endpoint: failing{ours}}}})
		synctest.Wait()
		assert.Check(t, is.Contains(l.log.String(), "no more input"))
		assert.Check(t, is.Contains(l.log.String(), "modem fell into the sea"))
		l.send(1, "still here", 64)
		assert.Equal(t, readN(t, host, 10), "still here")
	})
}

type failing struct{ net.Conn }

func (failing) Read([]byte) (int, error) { panic("modem fell into the sea") }

// A panic of an endpoint costs the device, not the process.
func TestEndpointPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ours, _ := net.Pipe()
		l := newLink(t, Options{Ports: []Port{{Endpoint: exploding{ours}}}})
		l.send(1, "x", 64)
		l.until("the device to break", func() bool { return l.dev.Broken() != nil })
		assert.Check(t, is.ErrorContains(l.dev.Broken(), "boom"))
	})
}

type exploding struct{ net.Conn }

func (exploding) Write([]byte) (int, error) { panic("boom") }

// A broken ring stops all of the device, ports that wait for the host included.
func TestBrokenRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		l := newLink(t, o, FeatureMultiport)
		l.send(1, "nobody reads this", 64)
		l.rings[5].SetAvailIdx(1000)
		l.dev.Kick()
		l.until("the device to break", func() bool { return l.dev.Broken() != nil && l.dev.Quiet() })
	})
}

func TestNewRefuses(t *testing.T) {
	ours, _ := net.Pipe()
	for _, tt := range []struct {
		want  string
		ports []Port
	}{
		{"no port", nil},
		{"port 0 has no endpoint", []Port{{}}},
		{"port 0: name", []Port{{Name: strings.Repeat("x", 65), Endpoint: ours}}},
		{"port 0: name", []Port{{Name: "a\x00b", Endpoint: ours}}},
		{`port 1: name "a" is taken`, []Port{{Name: "a", Endpoint: ours}, {Name: "a", Endpoint: ours}}},
	} {
		_, err := New(Options{Ports: tt.ports})
		assert.Check(t, is.ErrorContains(err, tt.want))
	}
}
