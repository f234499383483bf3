// Package vsock is the socket device.
package vsock
