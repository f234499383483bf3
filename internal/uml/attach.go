package uml

import "fmt"

// Attachment is how a device reaches the kernel: what its transport needs on the command line
// and loaded before the device's driver.
type Attachment struct {
	KernelArgs []string
	QEMUArgs   []string // where the kernel runs in QEMU
	Modules    []Module
}

// VhostUser attaches the device of type id that a vhost-user back-end serves on the unix socket
// (at most 107 bytes long), through the kernel's own virtio_uml driver. The kernel connects
// when it boots, so somebody has to listen before.
func VhostUser(socket string, id int) Attachment {
	return Attachment{KernelArgs: []string{fmt.Sprintf("virtio_uml.device=%s:%d", socket, id)}}
}
