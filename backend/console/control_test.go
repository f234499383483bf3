package console

import (
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

// two is a device with a console and a channel.
func two() (Options, [2]net.Conn) {
	a, hostA := net.Pipe()
	b, hostB := net.Pipe()
	return Options{Ports: []Port{{Endpoint: a}, {Name: "agent", Endpoint: b}}}, [2]net.Conn{hostA, hostB}
}

func TestCON_04_PortsAreAddedOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		l := newLink(t, o, FeatureMultiport)
		l.command(0, driverReady, 1)
		assert.Equal(t, l.heard(), "0 ADD 1")
		assert.Equal(t, l.heard(), "1 ADD 1")
		l.command(0, driverReady, 1)
		l.command(1, driverKnows, 1)
		assert.Equal(t, l.heard(), "1 NAME 1 agent")
		assert.Equal(t, l.heard(), "1 OPEN 1")
		l.receive(queueControlReceive, 64)
		synctest.Wait()
		assert.Check(t, l.idle(queueControlReceive))
	})
}

// come is an endpoint whose client the test moves in and out.
type come struct {
	net.Conn
	attach func(bool)
}

func (c *come) OnAttach(fn func(bool)) { c.attach = fn }

func TestCON_05_LeavingIsNotRemoving(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		client := &come{Conn: o.Ports[1].Endpoint.(net.Conn)}
		o.Ports[1].Endpoint = client
		l := newLink(t, o, FeatureMultiport)
		client.attach(true)
		l.command(0, driverReady, 1)
		var trace []string
		for range 2 {
			trace = append(trace, l.heard())
		}
		l.command(1, driverKnows, 1)
		for range 2 {
			trace = append(trace, l.heard())
		}
		for range 2 {
			client.attach(false)
			client.attach(false)
			trace = append(trace, l.heard())
			client.attach(true)
			trace = append(trace, l.heard())
		}
		assert.DeepEqual(t, trace, []string{
			"0 ADD 1", "1 ADD 1", "1 NAME 1 agent", "1 OPEN 1",
			"1 OPEN 0", "1 OPEN 1", "1 OPEN 0", "1 OPEN 1",
		})
	})
}

// A client that was replaced is seen to go, also by a driver that had no buffer meanwhile; how
// often it happened is not kept.
func TestReplacedClientIsSeenToGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		client := &come{Conn: o.Ports[1].Endpoint.(net.Conn)}
		o.Ports[1].Endpoint = client
		l := newLink(t, o, FeatureMultiport)
		client.attach(true)
		l.command(0, driverReady, 1)
		l.heard()
		l.heard()
		l.command(1, driverKnows, 1)
		l.heard()
		assert.Equal(t, l.heard(), "1 OPEN 1")
		for range 5 {
			client.attach(false)
			client.attach(true)
		}
		assert.Equal(t, l.heard(), "1 OPEN 0")
		assert.Equal(t, l.heard(), "1 OPEN 1")
		client.attach(false)
		assert.Equal(t, l.heard(), "1 OPEN 0")
	})
}

func TestCON_06_OrderOfControlMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := two()
		l := newLink(t, o, FeatureMultiport)
		addr := l.receive(queueControlReceive, 128)
		synctest.Wait()
		assert.Check(t, l.idle(queueControlReceive), "a message before DEVICE_READY")
		l.command(0, driverReady, 1)
		assert.Equal(t, describe(l.received(queueControlReceive, addr)), "0 ADD 1")
		assert.Equal(t, l.heard(), "1 ADD 1")
		addr = l.receive(queueControlReceive, 128)
		synctest.Wait()
		assert.Check(t, l.idle(queueControlReceive), "a message before PORT_READY")
		l.command(1, driverKnows, 1)
		assert.Equal(t, describe(l.received(queueControlReceive, addr)), "1 NAME 1 agent")
		assert.Equal(t, l.heard(), "1 OPEN 1")
		l.command(0, driverKnows, 1)
		assert.Equal(t, l.heard(), "0 CONSOLE 1")
		assert.Equal(t, l.heard(), "0 OPEN 1")
		assert.Equal(t, l.heard(), "0 RESIZE 0 80 24")

		// Linux throws away what arrives before it opened the port.
		addr = l.receive(4, 64)
		io.WriteString(host[1], "hello agent")
		synctest.Wait()
		assert.Check(t, l.idle(4), "input before PORT_OPEN")
		l.command(1, driverOpens, 1)
		assert.Equal(t, l.received(4, addr), "hello agent")
		l.command(1, driverOpens, 0)
		addr = l.receive(4, 64)
		io.WriteString(host[1], "are you there?")
		synctest.Wait()
		assert.Check(t, l.idle(4), "input after the driver closed the port")
		l.command(1, driverOpens, 1)
		assert.Equal(t, l.received(4, addr), "are you there?")
		l.send(5, "yes", 64)
		assert.Equal(t, readN(t, host[1], 3), "yes")
	})
}

// Nothing a driver was told lasts longer than the driver.
func TestPortsAreAnnouncedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		l := newLink(t, o, FeatureMultiport)
		for range 3 {
			l.command(0, driverReady, 1)
			assert.Equal(t, l.heard(), "0 ADD 1")
			assert.Equal(t, l.heard(), "1 ADD 1")
			l.command(1, driverKnows, 1)
			assert.Equal(t, l.heard(), "1 NAME 1 agent")
			l.stop()
			l.start(FeatureMultiport)
		}
	})
}

// A driver that outlives the monitor goes on with its ports, and hears who is attached by now.
func TestHVL_07_PortsOutliveTheMonitor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := two()
		client := &come{Conn: o.Ports[1].Endpoint.(net.Conn)}
		o.Ports[1].Endpoint = client
		l := newLink(t, o, FeatureMultiport)
		client.attach(true)
		l.command(0, driverReady, 1)
		assert.Equal(t, l.heard(), "0 ADD 1")
		assert.Equal(t, l.heard(), "1 ADD 1")
		l.command(1, driverKnows, 1)
		assert.Equal(t, l.heard(), "1 NAME 1 agent")
		assert.Equal(t, l.heard(), "1 OPEN 1")
		l.command(1, driverOpens, 1)

		for _, attached := range []bool{true, false} {
			l.stop()
			client.attach(attached)
			l.resume(FeatureMultiport)
			addr := l.receive(4, 64)
			go host[1].Write([]byte("still there?"))
			assert.Equal(t, l.received(4, addr), "still there?")
			assert.Equal(t, l.heard(), "0 ADD 1")
			assert.Equal(t, l.heard(), "1 ADD 1")
			l.command(1, driverKnows, 1)
			assert.Equal(t, l.heard(), "1 NAME 1 agent")
			assert.Equal(t, l.heard(), map[bool]string{true: "1 OPEN 1", false: "1 OPEN 0"}[attached])
		}
	})
}

func TestCON_07_Resize(t *testing.T) {
	config := func(l *link) [3]uint32 {
		var b [12]byte
		l.dev.ReadConfig(b[:], 0)
		return [3]uint32{uint32(binary.LittleEndian.Uint16(b[0:])), uint32(binary.LittleEndian.Uint16(b[2:])), binary.LittleEndian.Uint32(b[4:])}
	}
	t.Run("configuration", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			o, _ := one()
			l := newIdleLink(t, o)
			assert.Equal(t, config(l), [3]uint32{80, 24, 1})
			l.console.Resize(0, 132, 43)
			assert.Equal(t, config(l), [3]uint32{132, 43, 1})
			l.start(FeatureSize)
			synctest.Wait()
			assert.Equal(t, l.configs.Load(), int32(1), "the driver may have read the old size")
			generation := l.dev.Generation()
			l.console.Resize(0, 100, 50)
			l.console.Resize(0, 100, 50)
			assert.Equal(t, config(l), [3]uint32{100, 50, 1})
			assert.Equal(t, l.configs.Load(), int32(2))
			assert.Check(t, l.dev.Generation() != generation)
			l.stop()
			l.start()
			l.console.Resize(0, 90, 30)
			assert.Equal(t, l.configs.Load(), int32(2), "the driver did not ask for SIZE")
			l.stop()
			l.start(FeatureSize)
			synctest.Wait()
			assert.Equal(t, l.configs.Load(), int32(3), "Linux reads the size when it changes, not when it starts")
		})
	})
	for name, rowsFirst := range map[string]bool{"rows first": true, "columns first": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				o, _ := two()
				o.RowsFirst = rowsFirst
				c, _ := net.Pipe()
				o.Ports = append(o.Ports, Port{Endpoint: c}) // a second console
				l := newLink(t, o, FeatureMultiport, FeatureSize)
				want := func(port, cols, rows string) string {
					if rowsFirst {
						return port + " RESIZE 0 " + rows + " " + cols
					}
					return port + " RESIZE 0 " + cols + " " + rows
				}
				l.command(0, driverReady, 1)
				for range 3 {
					l.heard()
				}
				for i := range uint32(3) {
					l.command(i, driverKnows, 1)
				}
				var trace []string
				for range 7 {
					trace = append(trace, l.heard())
				}
				// A console whose size nobody knows is not told one, a channel has none.
				assert.DeepEqual(t, trace, []string{"0 CONSOLE 1", "2 CONSOLE 1", "1 NAME 1 agent",
					"0 OPEN 1", "1 OPEN 1", "2 OPEN 1", want("0", "80", "24")})
				l.console.Resize(1, 1, 1)
				l.console.Resize(2, 120, 40)
				assert.Equal(t, l.heard(), want("2", "120", "40"))
				l.console.Resize(0, 81, 25)
				assert.Equal(t, l.heard(), want("0", "81", "25"))
				assert.Equal(t, config(l), [3]uint32{81, 25, 3})
				assert.Equal(t, l.configs.Load(), int32(1))
			})
		})
	}
}

// Control messages that make no sense come back with length 0 and change nothing.
func TestDRV_39_ControlQueues(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, _ := two()
		l := newLink(t, o, FeatureMultiport)
		bad := func(m []byte) {
			t.Helper()
			l.send(queueControlTransmit, string(m), 3)
			assert.Equal(t, l.used(queueControlTransmit).Len, uint32(0))
		}
		bad(nil)
		bad(control(0, driverKnows, 1)[:7])
		bad(control(0, driverKnows, 1)) // nobody told it of the port
		bad(control(0, driverOpens, 1))
		bad(control(0, driverReady, 0))
		writable := l.mem.Alloc(8, 1)
		l.offer(queueControlTransmit, vringtest.Writable(writable, 8))
		l.used(queueControlTransmit)
		l.offer(queueControlTransmit,
			vringtest.Readable(l.mem.Buffer(control(0, driverReady, 1)), 8), vringtest.Writable(writable, 8))
		l.used(queueControlTransmit)
		addr := l.receive(queueControlReceive, 128)
		synctest.Wait()
		assert.Check(t, l.idle(queueControlReceive))
		assert.Equal(t, l.dev.Stats().Queues[queueControlTransmit].Refused, uint64(7))

		l.send(queueControlTransmit, string(control(0, driverReady, 1)), 3) // cut up, but good
		l.used(queueControlTransmit)
		assert.Equal(t, describe(l.received(queueControlReceive, addr)), "0 ADD 1")
		assert.Equal(t, l.heard(), "1 ADD 1")
		bad(control(2, driverKnows, 1))
		bad(control(1<<31, driverKnows, 1))
		bad(control(0, driverKnows, 0))
		for _, event := range []uint16{1, 2, 4, 5, 7, 8, 0xffff} {
			bad(control(0, event, 1))
		}

		// Receive buffers that are of no use are returned, and the message waits for a better one.
		l.command(1, driverKnows, 1)
		buf := l.mem.Alloc(8, 1)
		l.offer(queueControlReceive, vringtest.Writable(buf, 7))
		l.offer(queueControlReceive, vringtest.Readable(buf, 8))
		l.offer(queueControlReceive, vringtest.Readable(buf, 8), vringtest.Writable(buf, 8))
		for range 3 {
			assert.Equal(t, l.used(queueControlReceive).Len, uint32(0))
		}
		l.offer(queueControlReceive, vringtest.Writable(l.mem.Alloc(10, 1), 10))
		assert.Equal(t, l.used(queueControlReceive).Len, uint32(10), "a name that does not fit is cut off")
		assert.Equal(t, l.heard(), "1 OPEN 1")
		l.command(0, driverKnows, 1)
		assert.Equal(t, l.heard(), "0 CONSOLE 1")
		assert.Equal(t, l.heard(), "0 OPEN 1")
		l.offer(queueControlReceive, vringtest.Writable(buf, 8))
		assert.Equal(t, l.used(queueControlReceive).Len, uint32(0), "half a size is of no use")
		assert.Equal(t, l.heard(), "0 RESIZE 0 80 24")
		assert.Check(t, l.dev.Live())
	})
}

// A driver without control queues is served all the same.
func TestQueuesLeftOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		o, host := two()
		l := newIdleLink(t, o)
		l.dev.SetDriverFeatures(virtio.FeatureSet(FeatureMultiport))
		l.rings[1].Reset(0)
		assert.NilError(t, l.dev.EnableQueue(l.mem.Space, l.config(1)))
		l.dev.Start()
		l.send(1, "out", 64)
		assert.Equal(t, readN(t, host[0], 3), "out")
		l.used(1)
	})
}

func TestNames(t *testing.T) {
	o, _ := one()
	o.Ports[0].Name = strings.Repeat("n", maxName)
	d, err := New(o)
	assert.NilError(t, err)
	assert.Check(t, d.Info().Features.Has(FeatureMultiport), "a name cannot be told without")
	assert.Check(t, is.Len(d.Info().Queues, 4))
}
