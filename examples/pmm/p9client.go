package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hugelgupf/p9/linux"
	"github.com/hugelgupf/p9/p9"

	"github.com/hypervisorless/virtio/driver"
)

// shared is what the front-end does with the files of the host, by a client library that knows
// nothing of virtio: it looks around, reads one file and writes another.
func shared(conn *driver.P9, read, write, text string) (names []string, got string, err error) {
	client, err := p9.NewClient(conn, p9.WithMessageSize(uint32(conn.MaxMessage())))
	if err != nil {
		return nil, "", err
	}
	root, err := client.Attach("/")
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	if names, err = list(root); err != nil {
		return nil, "", fmt.Errorf("list: %w", err)
	}
	if got, err = readFile(root, read); err != nil {
		return nil, "", fmt.Errorf("%s: %w", read, err)
	}
	if err = writeFile(root, write, text); err != nil {
		return nil, "", fmt.Errorf("%s: %w", write, err)
	}
	return names, got, nil
}

// list is the names of a directory's entries.
func list(root p9.File) (names []string, err error) {
	_, dir, err := root.Walk(nil) // a copy, to be opened
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if _, _, err = dir.Open(p9.ReadOnly); err != nil {
		return nil, err
	}
	for offset := uint64(0); ; {
		entries, err := dir.Readdir(offset, 4096)
		if err != nil || len(entries) == 0 {
			return names, err
		}
		for _, e := range entries {
			if offset = e.Offset; e.Name != "." && e.Name != ".." {
				names = append(names, e.Name)
			}
		}
	}
}

func readFile(root p9.File, name string) (string, error) {
	_, f, err := root.Walk([]string{name})
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, _, err = f.Open(p9.ReadOnly); err != nil {
		return "", err
	}
	var text strings.Builder
	_, err = io.Copy(&text, io.NewSectionReader(f, 0, 1<<20))
	return text.String(), err
}

func writeFile(root p9.File, name, text string) error {
	if err := root.UnlinkAt(name, 0); err != nil && !errors.Is(err, linux.ENOENT) {
		return err
	}
	_, dir, err := root.Walk(nil) // a copy, which becomes the file
	if err != nil {
		return err
	}
	f, _, _, err := dir.Create(name, p9.WriteOnly, 0o644, p9.NoUID, p9.NoGID)
	if err != nil {
		return errors.Join(err, dir.Close())
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Close())
}
