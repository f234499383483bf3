package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hypervisorless/virtio/internal/uml/talk"
)

const entropyID = 4

// rng reads through /dev/hwrng, which is what the kernel's own users of entropy do.
var _ = job("rng", func(g *guest) error {
	var args talk.RNGArgs
	if err := g.args(&args); err != nil {
		return err
	}
	var result talk.RNGResult
	var err error
	if result.Source, err = selectRNG(); err != nil {
		return err
	}
	f, err := os.Open("/dev/hwrng")
	if err != nil {
		return err
	}
	defer f.Close()
	begin := time.Now()
	b := make([]byte, 4096)
	for read := 0; read < args.Bytes; read += len(b) {
		if _, err := io.ReadFull(f, b); err != nil {
			return fmt.Errorf("after %d bytes: %w", read, err)
		}
		for _, v := range b {
			result.Histogram[v]++
		}
		if read == 0 {
			result.First = append(result.First, b...)
		}
	}
	result.Seconds = time.Since(begin).Seconds()
	return g.say("rng", result)
})

// selectRNG makes the virtio device the one that is read. User-Mode Linux has one of its own,
// which comes first.
func selectRNG() (string, error) {
	const class = "/sys/class/misc/hw_random/"
	all, err := readTrimmed(class + "rng_available")
	if err != nil {
		return "", err
	}
	for name := range strings.FieldsSeq(all) {
		if !strings.HasPrefix(name, "virtio_rng") {
			continue
		}
		if err := os.WriteFile(class+"rng_current", []byte(name), 0); err != nil {
			return "", err
		}
		return readTrimmed(class + "rng_current")
	}
	return "", fmt.Errorf("no virtio device among the sources of entropy: %s", all)
}
