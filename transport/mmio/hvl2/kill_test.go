package hvl2

import (
	"fmt"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/virtio"
)

// killed is the panic that stands for a SIGKILL between two stores.
type killed struct{}

// alive does what a monitor does and reports whether it lived to its end.
func (r *rig) alive(do func()) (alive bool) {
	defer func() {
		if p := recover(); p != nil && p != (killed{}) {
			panic(p)
		}
	}()
	do()
	return true
}

// arm sets the next death.
func (r *rig) arm() {
	r.slot.hook = nil
	if len(r.doom) == 0 {
		return
	}
	n := r.doom[0]
	r.doom = r.doom[1:]
	r.slot.hook = func() {
		if n--; n == 0 {
			panic(killed{})
		}
	}
}

// lost is the panic of a driver that has to attach again.
type lost struct{}

// lives is a driver that does all there is to do.
func (r *rig) lives() {
	r.up(2)
	r.q(0).mustServe()
	r.q(1).mustServe()
	r.must(RegQueueSel, 1)
	r.must(RegQueueReset, 1)
	check := r.q(1).poison()
	r.q(0).mustServe()
	check()
	r.q(1).zero()
	if res := r.enable(1, r.q(1).layout()); res == ResetFirst && r.mayLose {
		panic(lost{})
	} else {
		assert.Equal(r.t, res, Done)
	}
	r.q(1).mustServe()
	r.q(0).offer(0, "in flight")
	r.must(RegStatus, 0)
	check = r.q(0).poison()
	r.q(0).quietly()
	check()
	r.up(1)
	r.q(0).mustServe()
}

// livesOn is lives, from attach again where the state was lost.
func (r *rig) livesOn() {
	for again := true; again; {
		again = func() (again bool) {
			defer func() {
				if p := recover(); p == (lost{}) {
					again = true
				} else if p != nil {
					panic(p)
				}
			}()
			r.vqs = nil
			r.lives()
			return false
		}()
	}
}

// The monitor is killed before each of its stores in turn, and its successor before one of the
// first of its own: the driver goes on all the same.
func TestHVL_07_KilledBeforeEveryStore(t *testing.T) {
	for name, b := range map[string]func() virtio.Backend{
		"in order":     func() virtio.Backend { return inOrder() },
		"out of order": func() virtio.Backend { return redoing() },
		"host state":   func() virtio.Backend { return &toy{} },
	} {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				if testing.Short() && n > 100 {
					return
				}
				done := false
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					r := newRig(t, b())
					r.mayLose = name == "host state"
					r.doom = []int{n, 1 + n*7%60, 1 + n*11%40}
					r.arm()
					r.livesOn()
					done = len(r.doom) == 2
				})
				if done || t.Failed() {
					assert.Assert(t, n > 300, "%d stores", n)
					return
				}
			}
		})
	}
}

func TestHVL_07_KilledWhileFormatting(t *testing.T) {
	for n := 1; ; n++ {
		r := newRig(t, inOrder())
		r.up(1)
		seq := r.load(OffTxnSeq)
		r.kill()
		r.store(OffIdent, 0)
		r.doom = []int{n}
		r.arm()
		died := !r.alive(func() { assert.NilError(t, r.slot.Start()) })
		if died {
			assert.Assert(t, n == 1 || r.load(RegMagic) == 0, "before store %d", n)
			r.kill()
			assert.NilError(t, r.slot.Start())
		}
		assert.Equal(t, r.load(RegMagic), uint32(Magic))
		assert.Equal(t, r.load(recState), uint32(1))
		assert.Equal(t, r.load(OffTxnAck), seq)
		r.up(1)
		r.q(0).mustServe()
		if !died {
			return
		}
	}
}
