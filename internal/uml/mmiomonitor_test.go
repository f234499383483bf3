package uml

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/hypervisorless/virtio/backend/console"
	"github.com/hypervisorless/virtio/backend/rng"
	"github.com/hypervisorless/virtio/internal/uml/talk"
	"github.com/hypervisorless/virtio/shmem"
	"github.com/hypervisorless/virtio/transport/mmio/hvl2"
	"github.com/hypervisorless/virtio/virtio"
	"github.com/hypervisorless/virtio/vring"
)

// monitorSpec is what a monitor's process is told. It finds the kernel's memory, the doorbell
// and, for a console, a socket to the test in its files.
type monitorSpec struct {
	Number  int // of the process: the how manieth on this kernel
	Device  virtio.DeviceID
	Pages   []uint64 // of the kernel that was handed over; none: it connects to Socket
	Socket  string
	Amnesia bool // it cannot go on where its predecessor was
}

const monitorEnv = "UML_TEST_MONITOR"

func TestMain(m *testing.M) {
	text := os.Getenv(monitorEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var spec monitorSpec
	err := json.Unmarshal([]byte(text), &spec)
	if err == nil {
		err = monitor(spec)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "monitor %d: %v\n", spec.Number, err)
		os.Exit(1)
	}
}

// monitor is the process that serves a device, until it is killed or the kernel is gone.
func monitor(spec monitorSpec) error {
	files := func(n int) *os.File { return os.NewFile(uintptr(3+n), fmt.Sprint("file ", n)) }
	h := &Handover{Pages: spec.Pages}
	if spec.Pages != nil {
		h.RAM, h.Bell = files(0), files(1)
	} else {
		l, err := ListenMMIO(spec.Socket)
		if err != nil {
			return err
		}
		if h, err = AcceptMMIO(l); err != nil {
			return err
		}
	}
	device, err := monitored(spec, func() (net.Conn, error) { return net.FileConn(files(2)) })
	if err != nil {
		return err
	}
	if spec.Amnesia {
		device = amnesiac{device}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("monitor", spec.Number)
	return h.Serve(context.Background(), log, MMIODevice{spec.Device.String(), device})
}

func monitored(spec monitorSpec, socket func() (net.Conn, error)) (virtio.Backend, error) {
	switch spec.Device {
	case virtio.IDEntropy:
		// A million words for each process are more than any lives to give.
		return rng.New(rng.Options{Source: &talk.NumberedEntropy{Next: uint32(spec.Number) << 20}}), nil
	case virtio.IDConsole:
		conn, err := socket()
		if err != nil {
			return nil, err
		}
		return console.New(console.Options{Ports: []console.Port{{Endpoint: conn}}})
	case virtio.IDNet:
		return address{}, nil
	case virtio.IDSocket:
		w, err := newTown()
		if err != nil {
			return nil, err
		}
		return w.Device, nil
	}
	return nil, fmt.Errorf("no device of type %d", spec.Device)
}

// address is a network device as far as its driver's bring-up goes: it has an address. At the
// first control message it dies.
type address struct{}

func (address) Info() virtio.Info {
	const mac, controlQueue, controlRX = 5, 17, 18 // VIRTIO_NET_F_MAC, _CTRL_VQ, _CTRL_RX
	return virtio.Info{
		ID: virtio.IDNet, Features: virtio.FeatureSet(mac, controlQueue, controlRX),
		Queues: make([]uint16, 3), ConfigLen: 6, InOrder: true,
	}
}

func (address) ReadConfig(p []byte, off int) { copy(p, []byte{2, 0, 0, 0, 0, 1}[off:]) }

func (address) Serve(ctx context.Context, s *virtio.Session) error {
	var message vring.Chain
	if err := s.Queue(2).Next(ctx, &message); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// amnesiac is a device that completes in any order, as far as its transport knows.
type amnesiac struct{ virtio.Backend }

func (a amnesiac) Info() virtio.Info {
	info := a.Backend.Info()
	info.InOrder = false
	return info
}

// monitors runs the process that serves a device, one after the other.
type monitors struct {
	spec  monitorSpec
	kept  *Handover // nil: each process waits for the kernel itself
	files []*os.File
	more  func(testing.TB) *os.File // a file of each process's own, or nil
	cmd   *exec.Cmd
	lives int
	slow  time.Duration // how long the first one took to serve
	view  shmem.Span    // of the slot page, once somebody has looked
}

// start starts the next process.
func (m *monitors) start(t testing.TB) {
	t.Helper()
	spec := m.spec
	spec.Number = m.lives
	m.lives++
	text, err := json.Marshal(spec)
	assert.NilError(t, err)
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), monitorEnv+"="+string(text))
	m.cmd.ExtraFiles = slices.Clone(m.files)
	if m.more != nil {
		own := m.more(t)
		defer own.Close()
		m.cmd.ExtraFiles = append(m.cmd.ExtraFiles, own)
	}
	m.cmd.Stderr = t.Output()
	assert.NilError(t, m.cmd.Start())
}

// serves waits until the first process serves.
func (m *monitors) serves(ctx context.Context, t testing.TB) error {
	for begin := time.Now(); m.word(t, 0x820) == 0; m.slow = time.Since(begin) { // Starts
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// kill kills the process that runs, and returns when it is gone.
func (m *monitors) kill(t testing.TB) {
	t.Helper()
	assert.NilError(t, m.cmd.Process.Kill())
	err := m.cmd.Wait()
	assert.ErrorContains(t, err, "signal: killed", "it ended by itself")
}

// harass kills and restarts, each process after a time of up to most, until the guest is done.
// After n kills it says so. Many processes are killed before they serve; now and then one is left
// alone for longer and longer, however slow this machine is.
func (m *monitors) harass(ctx context.Context, t testing.TB, n int, most time.Duration, enough func(), wait func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- wait() }()
	for i := 1; ; i++ {
		pause := randomPart(most)
		if i%16 == 0 {
			pause = time.Duration(i/16) * most
		}
		select {
		case err := <-done:
			assert.NilError(t, err, "after %d kills", i-1)
			return
		case <-time.After(pause):
		}
		m.kill(t)
		m.start(t)
		if i == n {
			enough()
		}
	}
}

// ringAndDie is, in the place of a process, a monitor whose last ring and whose death are one
// event for a kernel that waits for it.
func (m *monitors) ringAndDie(t testing.TB, g *Guest) {
	t.Helper()
	l, err := ListenMMIO(m.spec.Socket)
	assert.NilError(t, err)
	defer l.Close()
	assert.NilError(t, l.SetDeadline(time.Now().Add(patience)))
	h, err := AcceptMMIO(l)
	assert.NilError(t, err, "the kernel has not noticed that its doorbell is gone")
	_, err = h.Bell.Read(make([]byte, 1)) // the last thing that a kernel does when connecting
	assert.Check(t, err)
	thaw := freeze(t, g.cmd.Process)
	_, err = h.Bell.Write(ring)
	assert.Check(t, err)
	assert.Check(t, h.Close())
	assert.Check(t, l.Close())
	thaw()
}

func randomPart(most time.Duration) time.Duration { return rand.N(most) }

// end sees the last process to its end. That comes with the guest's, for who was given its
// doorbell. Who waits for the kernel itself may have begun to listen when it was on its way out
// already, and would wait for ever.
func (m *monitors) end(t testing.TB, g *Guest) {
	g.Kill()
	if m.kept == nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		return
	}
	_ = m.cmd.Process.Signal(syscall.SIGCONT) // should it be frozen
	assert.Check(t, m.cmd.Wait())
	assert.Check(t, m.kept.Close())
}

// handedOver waits for a kernel and keeps what it hands over, so that one process after the
// other can serve it.
func (m *monitors) handedOver(l *net.UnixListener) (err error) {
	if m.kept, err = AcceptMMIO(l); err != nil {
		return err
	}
	m.spec.Pages, m.files = m.kept.Pages, []*os.File{m.kept.RAM, m.kept.Bell}
	return nil
}

// freeze stops a process in its tracks; what is returned lets it go on.
func freeze(t testing.TB, p *os.Process) (thaw func()) {
	t.Helper()
	assert.NilError(t, p.Signal(syscall.SIGSTOP))
	return func() { assert.NilError(t, p.Signal(syscall.SIGCONT)) }
}

// page is the device's slot page. Stores to it are the test's, in the place of a monitor.
func (m *monitors) page(t testing.TB) shmem.Span {
	t.Helper()
	if m.view.Len() == 0 {
		ram, err := m.kept.mapRAM()
		assert.NilError(t, err)
		t.Cleanup(func() { assert.Check(t, ram.Close()) })
		m.view, err = ram.Span(m.kept.Pages[0], hvl2.PageSize)
		assert.NilError(t, err)
	}
	return m.view
}

// word is a word of the slot page.
func (m *monitors) word(t testing.TB, off uint64) uint32 { return m.page(t).Load32(off) }

// forget makes the record in the slot page one that no monitor understands.
func (m *monitors) forget(t testing.TB) { m.page(t).Store32(0x934, 99) }
