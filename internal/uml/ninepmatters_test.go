package uml

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// A matter is something that a machine on 9P is to be good for.
type matter struct {
	name string
	run  func(h *house, folder string) error
	slow bool
	root bool // needs a host that may give files away
}

func matters() []matter {
	var all []matter
	for _, c := range slices.Concat(checks, programs) {
		all = append(all, matter{c.name, c.run, c.slow, c.root})
	}
	for _, r := range rights {
		all = append(all, matter{"rights of " + r.name, func(h *house, folder string) error { return may(h, folder, r.calls) }, false, true})
	}
	return append(all,
		matter{"locks", lockRoundabout, false, false},
		matter{"sqlite with the host", together, false, false})
}

// longEnv asks for what takes minutes.
const longEnv = "UML_9P_LONG"

// walks is how many operations the guest wanders: so many that the whole lane stays short, or, if
// it may be long, as many as fsx is used to.
func walks(short int) int {
	if os.Getenv(longEnv) != "" {
		return 100_000
	}
	return short
}

// Linux lives on a directory that we share, with the programs of its distribution: without a cache,
// and with one for memory that is mapped. Each transport has all that is quick with one of them, and
// with one way to keep the guest's users apart: by access lists, as Linux does unless it is told
// otherwise, or without.
func TestUML9P(t *testing.T) {
	lanes(t, func(t *testing.T, l lane) {
		h := l.move(within(t, ninepPatience), t, ours)
		access := map[string]string{"vhost-user": ",access=user", "mmio": ",access=client"}[l.name]
		for _, cache := range []string{"none", "mmap"} {
			h.mount(t, "cache="+cache+access, func() {
				for _, m := range matters() {
					if l.name == "vhost-user" && cache == "none" || l.name == "mmio" && cache == "mmap" && !m.slow {
						h.try(t, cache, m)
					}
				}
				h.walk(t, cache, walks(3000), cache == "mmap")
			})
		}
		h.leave(t)
	})
}

// ninepPatience is for a whole machine.
const ninepPatience = 15 * time.Minute

// try makes a matter a test.
func (h *house) try(t *testing.T, cache string, m matter) {
	t.Helper()
	t.Run(cache+"/"+m.name, func(t *testing.T) {
		if m.root && os.Geteuid() != 0 && os.Getenv("CI") != "true" {
			t.Skip("only root can give files to others on the host")
		}
		if err := m.run(h, cache+"-"+strings.ReplaceAll(m.name, " ", "-")); err != nil {
			t.Fatal(err)
		}
	})
}

func (h *house) walk(t *testing.T, cache string, ops int, mmap bool) {
	t.Helper()
	t.Run(cache+"/wander", func(t *testing.T) {
		if err := walk(h, cache+"-wander", ops, mmap); err != nil {
			t.Fatal(err)
		}
	})
}

// Debian's diod does the same in the same machine, behind a proxy. What it cannot do is noted: it
// shows that the tests do not just ask for what we do, and what else Linux bears.
func TestUML9PPeer(t *testing.T) {
	if os.Getenv(longEnv) == "" {
		t.Skipf("%s=1 compares with diod, which takes a minute", longEnv)
	}
	l := lane{"vhost-user", prepare(t), attachVhostUser}
	h := l.move(within(t, ninepPatience), t, diod)
	h.mount(t, "cache=none", func() {
		for _, m := range matters() {
			if err := m.run(h, strings.ReplaceAll(m.name, " ", "-")); err != nil {
				t.Logf("diod, %s: %v", m.name, err)
			}
		}
	})
	h.mount(t, "cache=mmap", func() { h.walk(t, "mmap", 3000, true) })
	h.leave(t)
}
