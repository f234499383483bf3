// Package archtest holds the house rules on imports that the compiler does not
// know: arrows between rooms go down only, unsafe has one room, cgo has none,
// and the outside modules are few. The rules are run by this package's tests.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// A pkg is what the rules look at of one package.
type pkg struct {
	path        string   // relative to the module, "" for its root
	imports     []string // of the code that ships; ours relative, with a leading ./
	testImports []string // of the package's tests, likewise
}

// A room is a package, or with a name that ends in /* all packages below a
// folder, and the rooms it may import.
type room struct {
	name string
	may  []string
}

// The house, from the ground up. A package without a row is an error, so that
// whoever adds one says where it stands.
var rooms = []room{
	{"shmem", nil},
	{"notify", nil},
	{"vring", []string{"shmem"}},
	{"virtio", []string{"shmem", "vring"}},
	{"driver", []string{"shmem", "notify", "vring", "virtio", "transport/mmio", "transport/mmio/hvl2"}},
	{"transport/mmio", []string{"shmem", "notify", "vring", "virtio", "transport/mmio/hvl2"}},
	{"transport/*", []string{"shmem", "notify", "vring", "virtio"}},
	{"backend/*", []string{"shmem", "vring", "virtio"}},
	{"examples/*", []string{"shmem", "notify", "vring", "virtio", "driver", "transport/*", "backend/*", "internal/uml"}},
	{"", nil},
	{"internal/archtest", nil},
	{"internal/emulator", nil},
	{"internal/mutate", nil},
	{"internal/uml", []string{"internal/uml/talk", "shmem", "notify", "virtio", "transport/*"}},
	{"internal/uml/guest", []string{"internal/uml/talk"}},
	{"internal/uml/talk", nil},
}

// kits are packages for tests: they may import every room, tests may import
// them, and no code that ships may.
var kits = []string{"vring/vringtest", "virtio/virtiotest", "transport/vhostuser/vhostusertest"}

const unsafeRoom = "shmem"

var (
	outside   = []string{"golang.org/x/sys/unix"}
	outsideOf = map[string]string{ // modules that are one room's edge to the world
		"github.com/hugelgupf/p9/":  "backend/p9",
		"github.com/mdlayher/vsock": "backend/vsock",
	}
	outsideTests = []string{"github.com/google/go-cmp/", "gotest.tools/v3/"}

	// The ring is arithmetic on memory: it does no I/O, waits for nothing and logs
	// nothing.
	ringMayNot = []string{"context", "log", "log/slog", "net", "os", "os/exec", "syscall", "time", "golang.org/x/sys/unix"}
)

// matches tells whether the package is in the room.
func matches(room, path string) bool {
	if folder, ok := strings.CutSuffix(room, "*"); ok {
		return strings.HasPrefix(path, folder)
	}
	return room == path
}

// violations returns a sentence for every import that breaks a rule.
func violations(pkgs []pkg) []string {
	var found []string
	for _, p := range pkgs {
		report := func(format string, args ...any) {
			found = append(found, fmt.Sprintf("%q ", p.path)+fmt.Sprintf(format, args...))
		}
		row := slices.IndexFunc(rooms, func(r room) bool { return matches(r.name, p.path) })
		isKit := slices.Contains(kits, p.path)
		if row < 0 && !isKit {
			report("has no row in the table of rooms")
			continue
		}
		for _, imp := range p.imports {
			ours, isOurs := strings.CutPrefix(imp, "./")
			switch {
			case !isOurs:
				if why := refuseOutside(p.path, imp, isKit); why != "" {
					report("imports %s: %s", imp, why)
				}
			case isKit:
				if strings.HasPrefix(ours, "examples/") {
					report("imports the example %s", ours)
				}
			case slices.Contains(kits, ours):
				report("imports the test kit %s", ours)
			case !slices.ContainsFunc(rooms[row].may, func(r string) bool { return matches(r, ours) }):
				report("imports %s: the arrow does not point down", ours)
			}
		}
		// Tests stand outside of the house: they may look into every room.
		for _, imp := range p.testImports {
			if strings.HasPrefix(imp, "./") {
				continue
			}
			if why := refuseOutside(p.path, imp, true); why != "" {
				report("has a test that imports %s: %s", imp, why)
			}
		}
	}
	return found
}

// refuseOutside says why the package may not import something that is not ours,
// or nothing.
func refuseOutside(path, imp string, test bool) string {
	hasPrefix := func(prefix string) bool { return strings.HasPrefix(imp, prefix) }
	first, _, _ := strings.Cut(imp, "/")
	switch {
	case imp == "C":
		return "no cgo"
	case imp == "unsafe" && path != unsafeRoom:
		return "unsafe belongs to " + unsafeRoom
	case path == "vring" && !test && slices.Contains(ringMayNot, imp):
		return "the ring does no I/O, no waiting, no logging"
	// The standard library's paths have no dot in their first element.
	case !strings.Contains(first, "."), slices.Contains(outside, imp):
		return ""
	case outsideRoom(imp) != "":
		if test || path == outsideRoom(imp) || strings.HasPrefix(path, "examples/") {
			return ""
		}
		return "only " + outsideRoom(imp) + " and examples use that module"
	case slices.ContainsFunc(outsideTests, hasPrefix):
		if test {
			return ""
		}
		return "a module for tests only"
	}
	return "not one of the few outside modules"
}

// outsideRoom is the room whose edge an outside package is, or "".
func outsideRoom(imp string) string {
	for prefix, room := range outsideOf {
		if strings.HasPrefix(imp, prefix) {
			return room
		}
	}
	return ""
}
