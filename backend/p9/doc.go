// Package p9 is the 9P file-system device (device ID 9): the driver mounts a tree of files that
// the host chooses to share, in the protocol 9P2000.L that Linux and several real-time
// operating systems speak.
//
//	tree, err := p9.Dir("/srv/share", p9.DirOptions{})
//	share, err := p9.New(p9.Options{Tag: "host", Attacher: tree})
//
// and on the driver's side, once a transport carries the device,
//
//	mount -t 9p -o trans=virtio,version=9p2000.L host /mnt
//
// # What is served
//
// A tree is a p9.Attacher and the p9.File it hands out, of github.com/hugelgupf/p9; any file
// system written for that library will do, and [Dir] makes one of a directory of the host that
// nothing leads out of. The library's server is not used. A File may do more than p9.File asks,
// and is then used better: it may need no locks ([Concurrent]), read and write several buffers at
// once ([VectorReader], [VectorWriter]), walk and list without making garbage ([Stepper],
// [DirReader]), tell who holds a lock ([LockGetter]).
//
// # The way of a request
//
// A chain of the one queue is a T-message, in as many readable buffers as the driver likes, and
// room for the R-message. In the order of the ring its header is read and its tag entered; then
// a goroutine serves it, and no other request waits for that. Small fields are copied out of the
// driver's memory once, checked, and used. Data go straight between the file and the driver's
// memory by one preadv or pwritev, where the File is a VectorReader or VectorWriter and the
// memory is not Device memory; else by way of a buffer of 64 KiB. Answers are given back as they
// are done, in any order, told apart by their tags.
//
// A size that lies, a message that ends too early, a name with a slash, a walk of 17 names, a
// tag or a fid that is in use: each costs its request, by an Rlerror. A message without a whole
// header, or without room for an Rlerror, comes back with length 0. What changes something is
// refused beforehand where its answer would not fit.
//
// # What ends early
//
// Tflush gives a request back that is inside a call of a File, unanswered, and then itself; the
// call goes on in memory of its own, and what comes of it is dropped: no fid is made, no answer
// written. A request that moves data in the driver's memory, or is being answered, is waited
// for, as that takes no longer than a regular file does. In either case the old request is back
// before the Rflush, as Linux needs it. Tversion flushes everything and closes every file. So does
// the end of a session, which waits a tenth of a second for calls to end, and then leaves them
// be. What a call that was given up does to the file it does all the same; nobody can take
// that back.
//
// The state of 9P lives in this process. A driver that goes on after the monitor was killed and
// followed by another has fids that stand for nothing: it is told ESTALE for whatever it asks,
// requests that the old monitor had begun among them, until it mounts anew. Nothing is done
// twice, as nothing is done; that is why [Device.Info] says Redo. A request that was under way
// when the monitor died may have been done or not.
//
// # What is bounded by what
//
// The requests at a time are as many as the ring has entries; each has 16 KiB, and one that
// moves data through a buffer 64 KiB. [Options] bounds the rest: the size of a message, the
// Files and fids, the bytes of extended attributes, the calls that were given up and still hang
// (MaxStuck). Nothing is allocated by a count that the driver sends. A name takes memory only as
// long as a fid stands for it, or for something below it. In steady state a read, a write and a
// getattr allocate nothing here, a walk only what p9.File makes it: the name, and the File.
//
// # What a File may do
//
// Its methods are called with the guarantees that p9.File documents, for all sessions of the
// device together: "read" methods of a file run beside each other, "write" methods alone, and
// RenameAt and Renamed alone in the whole tree. So one that takes long makes others wait, and
// if a rename waits too, all others. It hinders neither Tflush nor a reset. One that is
// Concurrent is called at any time, and never told that it was Renamed.
//
// A File may return any error: a Linux error number anywhere in it is what the driver gets,
// else that of the sentinels of io/fs, else EIO. io.EOF is the end of a file. A panic becomes
// EIO, is counted, and logged once a session. ReadVecAt, WriteVecAt and Close must not block
// for longer than a regular file does; everything else may. Close is called once for each File
// that was handed out, after its last call; that a File was handed out as the directory of
// another keeps it, too.
//
// Where a File is created, its owner is the n_uname of the Tattach that the fid comes from, and
// p9.NoUID if there was none. SetAttr is also called for a file that was unlinked. Rename never
// is, and WalkGetAttr never is. The type of a file is that of its QID.
//
// # What is left out
//
// There is no authentication (Tauth): the ring is the credential. 9P2000.u and plain 9P2000 are
// answered with the version "unknown". They share a third of the messages: files are opened,
// created, described, changed and listed by others, with owners and special files spelled out
// as text. That would be a second engine, not a page of translations.
package p9
