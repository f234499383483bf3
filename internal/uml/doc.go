// Package uml boots real Linux kernels as ordinary processes, so that drivers which nobody
// here wrote drive our devices.
//
// [Prepare] gets a [Rig]: Debian's User-Mode Linux kernel, its modules, and the source that
// further modules are built from ([Rig.BuildModule]). All of it comes from the distribution's
// packages, without root, into a cache that is shared by every process of this user; nothing
// of it is part of this repository. [Rig.Boot] starts the kernel with a small initramfs whose
// init is our own program (package guest), which loads drivers, runs one job and talks with
// the caller over a channel of its own: see [Guest].
//
// How a device reaches the kernel is an [Attachment], so that every job runs over every
// transport.
package uml
