// Package p9 is the 9P file-system device (device ID 9): the driver mounts a tree of files that
// the host chooses to share, in the protocol 9P2000.L that Linux and several real-time
// operating systems speak.
package p9
