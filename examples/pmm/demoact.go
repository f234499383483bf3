package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/driver"
)

const (
	askTime  = 250 * time.Millisecond // how long the front-end asks, to find the rate
	killTime = 80 * time.Millisecond  // how long until somebody is killed in the middle of it
)

// act shows one dialect: boot, the devices, the rate, and both sides' sudden death.
func (d *demo) act(ctx context.Context, dialect driver.Dialect) error {
	a, err := d.startFrontEnd(ctx, dialect)
	if err != nil {
		return err
	}
	d.line(d.theFrontEnd(), "boots: four devices found and live in %v, after %d rings of its own", a.Took.Round(10*time.Microsecond), a.Rings)
	for _, scene := range []func(context.Context) error{d.entropy, d.talk, d.share, d.sockets, d.rate} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	if err := d.killFrontEnd(ctx, dialect); err != nil {
		return err
	}
	if err := d.killMonitor(ctx); err != nil {
		return err
	}
	for _, scene := range []func(context.Context) error{d.talk, d.share, d.sockets} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.front.close()
	select {
	case <-d.front.done:
		return d.front.err
	case <-time.After(patience):
		return fmt.Errorf("front-end: does not end")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (d *demo) entropy(ctx context.Context) error {
	a, err := d.order(ctx, order{Do: "entropy", N: 16})
	if err != nil {
		return err
	}
	d.line(d.theFrontEnd(), "asks for entropy and gets %s", a.Text)
	return nil
}

// talk sends a line through the console each way.
func (d *demo) talk(ctx context.Context) error {
	said := fmt.Sprintf("process %d here, is anybody there?", d.front.pid())
	if _, err := d.order(ctx, order{Do: "say", Text: said + "\n"}); err != nil {
		return err
	}
	d.console.SetDeadline(time.Now().Add(patience))
	heard, err := bufio.NewReader(d.console).ReadString('\n')
	if err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if heard = strings.TrimSuffix(heard, "\n"); heard != said {
		return fmt.Errorf("console: %q was said and %q was heard", said, heard)
	}
	d.line("console", "prints: %s", heard)
	const reply = "somebody types at the host's end of the console"
	if _, err := d.console.Write([]byte(reply + "\n")); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	a, err := d.order(ctx, order{Do: "hear"})
	if err != nil {
		return err
	}
	if a.Text != reply {
		return fmt.Errorf("console: %q was typed and %q was heard", reply, a.Text)
	}
	d.line(d.theFrontEnd(), "hears: %s", a.Text)
	return nil
}

// share sends a file each way.
func (d *demo) share(ctx context.Context) error {
	given := fmt.Sprintf("written on the host by process %d", os.Getpid())
	if err := os.WriteFile(filepath.Join(d.path("share"), hostFile), []byte(given), 0o644); err != nil {
		return err
	}
	taken := fmt.Sprintf("written by process %d through the ring", d.front.pid())
	a, err := d.order(ctx, order{Do: "files", Text: taken})
	if err != nil {
		return err
	}
	if a.Text != given || !slices.Contains(a.Names, hostFile) {
		return fmt.Errorf("files: %q was written on the host, and %q read of %q", given, a.Text, a.Names)
	}
	d.line(d.theFrontEnd(), "mounts the host's directory, finds %s, reads: %s", strings.Join(a.Names, ", "), a.Text)
	got, err := os.ReadFile(filepath.Join(d.path("share"), frontFile))
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	if string(got) != taken {
		return fmt.Errorf("files: %q was written and %q is there", taken, got)
	}
	d.line("host", "finds %s: %s", frontFile, got)
	return nil
}

func (d *demo) rate(ctx context.Context) error {
	a, err := d.order(ctx, order{Do: "ask", For: askTime})
	if err != nil {
		return err
	}
	n := float64(a.Requests)
	d.line(d.theFrontEnd(), "asks for 9 bytes %d times, one after the other: %.0f requests/s", a.Requests, n/a.Took.Seconds())
	d.line("", "for each %.2f rings of its own (the request, and an acknowledgement from", float64(a.Rings)/n)
	d.line("", "each live device) and %.2f of the monitor's", float64(a.Woken)/n)
	return nil
}

// killFrontEnd ends the front-end in the middle of its work, and another boots over what is
// left in the registers and rings.
func (d *demo) killFrontEnd(ctx context.Context, dialect driver.Dialect) error {
	if err := d.busy(ctx, time.Minute); err != nil {
		return err
	}
	d.front.kill()
	d.line("demo", "kills front-end %d in the middle of its requests (SIGKILL)", d.front.pid())
	a, err := d.startFrontEnd(ctx, dialect)
	if err != nil {
		return err
	}
	d.line(d.theFrontEnd(), "is another process, and boots over what the dead one left: live in %v", a.Took.Round(10*time.Microsecond))
	return d.entropy(ctx)
}

// killMonitor ends the monitor under a live front-end, and another takes its place.
func (d *demo) killMonitor(ctx context.Context) error {
	if err := d.busy(ctx, 4*killTime); err != nil {
		return err
	}
	d.monitor.kill()
	d.line("demo", "kills monitor %d under the live front-end (SIGKILL)", d.monitor.pid())
	if err := d.startMonitor(ctx); err != nil {
		return err
	}
	if err := d.monitor.await(ctx, "taken over"); err != nil {
		return fmt.Errorf("monitor: %w", err)
	}
	d.line(d.theMonitor(), "is another process, finds the window live and takes the sessions over")
	a, err := d.front.hear(ctx)
	if err != nil {
		return fmt.Errorf("front-end, while the monitor was away: %w", err)
	}
	d.line(d.theFrontEnd(), "had all of its %d requests answered; the slowest took %v", a.Requests, a.Slowest.Round(100*time.Microsecond))
	return nil
}

// busy has the front-end ask for a time, and returns in the middle of it.
func (d *demo) busy(ctx context.Context, long time.Duration) error {
	if err := d.front.tell(order{Do: "ask", For: long}); err != nil {
		return fmt.Errorf("front-end: %w", err)
	}
	select {
	case <-time.After(killTime):
		return nil
	case <-d.front.done:
		return d.front.ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
