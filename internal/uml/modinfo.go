package uml

import (
	"debug/elf"
	"fmt"
	"strings"
)

// modinfo is what a kernel module says about itself.
type modinfo struct {
	vermagic string
	depends  []string
}

func readModinfo(path string) (modinfo, error) {
	f, err := elf.Open(path)
	if err != nil {
		return modinfo{}, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return modinfo{}, fmt.Errorf("%s is no kernel module", path)
	}
	data, err := section.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("%s: %w", path, err)
	}
	var m modinfo
	for line := range strings.SplitSeq(string(data), "\x00") {
		switch key, value, _ := strings.Cut(line, "="); key {
		case "vermagic":
			m.vermagic = strings.TrimSpace(value)
		case "depends":
			m.depends = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
		}
	}
	return m, nil
}
