package talk

import "encoding/json"

// NinePArgs are the arguments of the job 9p, which answers each [Do] with a [Did], both as "do",
// until it hears "enough".
type NinePArgs struct {
	Tools string // folder of the host with programs beside its own; or empty
}

// Share is where the job 9p mounts the share.
const Share = "/mnt"

// Do is one thing that the job 9p does.
type Do struct {
	What string // "mount", "unmount", "script", "calls", "locks", "wander", "measure"
	Args json.RawMessage
}

// Did is what came of it.
type Did struct {
	Error string // why it could not be done; what programs say of themselves is in Value
	Value json.RawMessage
}

// MountArgs are those of "mount".
type MountArgs struct {
	Tag     string
	Options string // besides trans and version
}

// ScriptArgs are those of "script": what a shell runs in a folder of the share. It is ended after
// some seconds.
type ScriptArgs struct {
	Dir, Text string
	Seconds   int
}

// ScriptResult is what the shell and all its programs printed.
type ScriptResult struct {
	Output  string
	Failed  string // how it ended, if not well
	Seconds float64
}

// Call is a system call made by somebody. Paths are relative to a folder of the share.
type Call struct {
	UID, GID int
	Groups   []int
	Name     string // of the call, see the guest
	Path     string
	Other    string // the second path, or the name of an attribute
	A, B     int    // flags, mode, owner and group, or length
}

// CallsArgs are those of "calls". The result is a []string: "", or the name of each call's error.
type CallsArgs struct {
	Dir   string
	Calls []Call
}

// LockArgs are those of "locks": fcntl with the command on a file, which stays open until "close".
// The result is a LockResult.
type LockArgs struct {
	Path          string
	Command       string // "get", "set", "wait", "close"
	Type          string // "read", "write", "none"
	Start, Length int64
}

// LockResult is the error's name, and for "get" what is in the way.
type LockResult struct {
	Error         string
	Type          string
	Start, Length int64
}

// WanderArgs are those of "wander": operations, chosen by a generator that is seeded, on a file
// that is compared with a model all the time.
type WanderArgs struct {
	Path string
	Seed uint64
	Ops  int
	Mmap bool // also through memory that is mapped
}

// WanderResult says how often each operation was done.
type WanderResult struct {
	Counts  map[string]int
	Seconds float64
}

// MeasureArgs are those of "measure": work of one kind in a folder of the share. The result is a
// map[string]float64 with the seconds of each part: "write" and "read", or "create", "stat" and
// "unlink".
type MeasureArgs struct {
	Dir  string
	Kind string // "sequential", "random" in its file, "names"
	N    int    // operations of each part
	Size int    // of each, in bytes
}
