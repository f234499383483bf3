// Package notify rings doorbells between the two sides of a hypervisor-less
// link: how a front-end and a back-end that share memory tell each other to
// look at it.
//
// A [Line] is one doorbell pair: raise the peer's, wait for ours. A ring
// carries no payload. It says "look at everything": rings merge, may come twice
// and may come for nothing, and both sides must be correct all the same. What a
// Line promises in return is that no ring is lost: whatever was rung before or
// during a Wait makes that Wait return, and the ring is consumed before Wait
// returns, so that one which comes while the caller already looks makes the
// next Wait return. This is the notification of virtio 1.3 §2.3 and §2.9
// reduced to what a bare interrupt line can carry.
//
// The kinds are [NewEventfd] (two eventfds, also received ones), [ListenUnix]
// and [DialUnix] (a stream socket on which every byte is a ring), [NewPoll] (no
// incoming signal at all) and [NewPair] (in-process, for tests).
//
// Where a descriptor is waited for, Go's netpoller does it: a waiting goroutine
// holds no thread, and an idle Line costs no CPU (NewPoll aside, which has to
// look).
package notify
