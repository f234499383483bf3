// Package virtiotest tries virtio devices, as their drivers would and as they should not.
//
// [TestBackend] is a whole test of a device. All it needs is a [Subject]: the device, and a
// script of small requests that a good driver would make, with the answers:
//
//	func TestKit(t *testing.T) {
//		virtiotest.TestBackend(t, func(t testing.TB) virtiotest.Subject {
//			return virtiotest.Subject{
//				Backend: thermometer.New(),
//				Script:  []virtiotest.Request{{Writable: 4, Check: plausible}},
//			}
//		})
//	}
//
// # What it tries
//
// First a good driver. The script is played in every framing that is legal (2.7.4): in whole
// pieces, cut at every byte of the header, in descriptors of one byte, with empty ones in
// between, direct, indirect and mixed; with the legacy and the modern layout, with and without
// EVENT_IDX, in ordinary memory and in memory that faults like a board's does. Nothing of this
// may make a difference. A request has to come back, with a notification; no byte may change
// but those that the device says it wrote. The configuration space is read in every piece,
// features are taken in every combination, queues are left out, sessions come and go and leave
// no goroutine behind.
//
// Then a hostile one. In the place of each queue's first request it breaks the ring, lets
// chains loop, point nowhere, share descriptors, change under the device's hands, be empty or
// enormous or junk, jumps with indexes, resets at every moment. A broken ring has to end in
// DEVICE_NEEDS_RESET; anything less has to come back and leave the device as it was. After each
// attack the device is reset and has to serve the good driver again. What does not is wedged,
// the one thing a device must never be.
//
// What a test of this kind cannot say is whether the device is right about its host: that is
// for the Check of each request and for the device's own tests.
//
// # Without the kit
//
// A [Rig] is what the kit stands on: a device and a driver in one process, on a transport made
// of calls. It serves for tests that want to do one thing by hand.
package virtiotest
