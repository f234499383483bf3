package archtest

import (
	"strings"
	"testing"

	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

func TestArrowsPointDown(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		t.Run(goarch, func(t *testing.T) {
			var pkgs []pkg
			for _, l := range load(t, goarch) {
				pkgs = append(pkgs, l.rules())
			}
			for _, v := range violations(pkgs) {
				t.Error(v)
			}
		})
	}
}

// The rules find what they are for: each case breaks one of them, or none.
func TestRulesFindViolations(t *testing.T) {
	for _, tt := range []struct {
		name    string
		path    string
		imports string
		tests   string
		want    string // "" when all is well
	}{
		{name: "ground floor", path: "shmem", imports: "unsafe golang.org/x/sys/unix os"},
		{name: "a backend", path: "backend/rng", imports: "io ./virtio ./vring ./shmem"},
		{name: "a transport", path: "transport/mmio", imports: "./virtio ./vring ./shmem ./notify"},
		{name: "driver", path: "driver", imports: "./shmem ./notify ./vring ./virtio ./transport/mmio"},
		{name: "example", path: "examples/pmm", imports: "./backend/rng ./transport/mmio ./driver ./notify"},
		{name: "test kit", path: "virtio/virtiotest", imports: "testing ./driver ./transport/mmio ./vring/vringtest gotest.tools/v3/assert"},
		{name: "tests look everywhere", path: "shmem", tests: "./virtio/virtiotest ./driver gotest.tools/v3/assert github.com/google/go-cmp/cmp"},
		{name: "root", path: "", imports: "io"},

		{name: "up from the ground", path: "shmem", imports: "./vring", want: `"shmem" imports vring: the arrow does not point down`},
		{name: "ring to contract", path: "vring", imports: "./virtio", want: "imports virtio: the arrow"},
		{name: "contract to doorbell", path: "virtio", imports: "./notify", want: "imports notify: the arrow"},
		{name: "backend to transport", path: "backend/rng", imports: "./transport/mmio", want: "imports transport/mmio: the arrow"},
		{name: "backend to doorbell", path: "backend/rng", imports: "./notify", want: "imports notify: the arrow"},
		{name: "backend to backend", path: "backend/rng", imports: "./backend/console", want: "imports backend/console: the arrow"},
		{name: "transport to backend", path: "transport/mmio", imports: "./backend/rng", want: "imports backend/rng: the arrow"},
		{name: "transport to transport", path: "transport/vhostuser", imports: "./transport/mmio", want: "imports transport/mmio: the arrow"},
		{name: "transport to driver", path: "transport/mmio", imports: "./driver", want: "imports driver: the arrow"},
		{name: "driver to another transport", path: "driver", imports: "./transport/vhostuser", want: "imports transport/vhostuser: the arrow"},
		{name: "doorbell to memory", path: "notify", imports: "./shmem", want: "imports shmem: the arrow"},
		{name: "the root", path: "backend/rng", imports: "./", want: "imports : the arrow"},
		{name: "example to internal", path: "examples/pmm", imports: "./internal/mutate", want: "imports internal/mutate: the arrow"},
		{name: "a room to a kit", path: "virtio", imports: "./vring/vringtest", want: "imports the test kit vring/vringtest"},
		{name: "an example to a kit", path: "examples/pmm", imports: "./virtio/virtiotest", want: "imports the test kit"},
		{name: "a kit to an example", path: "virtio/virtiotest", imports: "./examples/pmm", want: "imports the example"},
		{name: "unsafe elsewhere", path: "vring", imports: "unsafe", want: "imports unsafe: unsafe belongs to shmem"},
		{name: "unsafe in a kit", path: "vring/vringtest", imports: "unsafe", want: "unsafe belongs to shmem"},
		{name: "unsafe in a test", path: "vring", tests: "unsafe", want: "has a test that imports unsafe"},
		{name: "cgo", path: "shmem", imports: "C", want: "imports C: no cgo"},
		{name: "cgo in a test", path: "driver", tests: "C", want: "has a test that imports C"},
		{name: "a module for tests that ships", path: "virtio", imports: "github.com/google/go-cmp/cmp", want: "a module for tests only"},
		{name: "an unknown module", path: "backend/rng", imports: "example.org/rand", want: "not one of the few outside modules"},
		{name: "an unknown module in a test", path: "backend/rng", tests: "example.org/rand", want: "not one of the few outside modules"},
		{name: "the file systems of p9", path: "backend/p9", imports: "github.com/hugelgupf/p9/linux"},
		{name: "p9 elsewhere", path: "virtio", imports: "github.com/hugelgupf/p9/p9", want: "only backend/p9 and examples use that module"},
		{name: "more of x/sys", path: "shmem", imports: "golang.org/x/sys/cpu", want: "not one of the few outside modules"},
		{name: "a ring that logs", path: "vring", imports: "log/slog", want: "no logging"},
		{name: "a ring that waits", path: "vring", imports: "time", want: "no waiting"},
		{name: "a test of the ring waits", path: "vring", tests: "time"},
		{name: "a new room", path: "balloon", want: "has no row"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := violations([]pkg{{tt.path, strings.Fields(tt.imports), strings.Fields(tt.tests)}})
			if tt.want == "" {
				assert.Check(t, is.Len(got, 0))
				return
			}
			assert.Assert(t, is.Len(got, 1))
			assert.Check(t, is.Contains(got[0], tt.want))
		})
	}
}

// A package's own import paths reach the rules in the form they expect.
func TestListedPackage(t *testing.T) {
	l := listed{ImportPath: "example.org/m/vring", Imports: []string{"io", "example.org/m/shmem", "example.org/mm"}, XTestImports: []string{"example.org/m"}}
	l.Module.Path = "example.org/m"
	got := l.rules()
	assert.Equal(t, got.path, "vring")
	assert.DeepEqual(t, got.imports, []string{"io", "./shmem", "example.org/mm"})
	assert.DeepEqual(t, got.testImports, []string{"./"})

	l.ImportPath = "example.org/m"
	assert.Equal(t, l.path(), "")
}
