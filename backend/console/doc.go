// Package console is the console device of virtio 1.3 §5.3 (device ID 3): byte streams between
// the driver and the host.
//
// [New] makes a [Device], which is a virtio.Backend, from one or more [Port]s. The first is
// port 0, which every driver knows; the others need a driver that speaks MULTIPORT. A port
// without a name is a console (Linux: hvc0, hvc1, …), a port with a name is a byte channel
// (Linux: /dev/virtio-ports/NAME).
//
// The host's end of a port is an [Endpoint]: this terminal ([OpenStdio]), a pseudo terminal
// ([OpenPTY]), a unix socket ([ListenUnix]), a file ([OpenFile]), any reader and writer
// ([Stream]), or any net.Conn. It lives as long as the Device: a driver that reboots does not
// disconnect anybody.
//
// # Who waits for whom
//
// Input is read ahead by 16 KiB at most. What the driver has no buffers for stays there or
// with the host, which is not read until there is room; nothing is dropped, and what was read
// but not delivered when the driver resets the device goes to the next driver. One receive
// buffer takes as many bytes as there are.
//
// Output is written in order before its buffer is returned, so a host that does not read
// stalls the driver's output on this port and nothing else; a reset cuts the wait short. Where
// nobody is attached, or writing fails, output is dropped and counted ([PortStats]): a console
// that nobody looks at must not stop the driver.
package console
