// Package rng is the entropy device of virtio 1.3 §5.4 (device ID 4): the driver hands over
// empty buffers, the device fills them with random bytes.
//
// [New] makes a [Device], which is a virtio.Backend: give it to a transport. The random bytes
// come from the operating system, or from any io.Reader such as an open /dev/hwrng, and can be
// held to a rate. What was given away is wiped here.
//
// A request is answered with at least one byte and at most [MaxRequest]; the length in the used
// ring says how many, and a short answer is legal (5.4.6.1). A request without a writable byte
// comes back with length 0 and is counted as refused. A reset never waits for the source or
// the rate.
package rng
