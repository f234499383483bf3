package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// spec is a flag's value, KIND[:ADDRESS][,key[=value]…]. A comma that belongs to a value is
// doubled, as QEMU users know.
type spec struct {
	flag string // for errors
	text string
	kind string
	addr string
	opts []option
}

type option struct {
	key, value string
	used       bool
}

func parseSpec(flag, text string) (*spec, error) {
	parts := splitCommas(text)
	s := &spec{flag: flag, text: text}
	s.kind, s.addr, _ = strings.Cut(parts[0], ":")
	if s.kind == "" {
		return nil, s.errorf("it must start with a kind")
	}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		if key == "" {
			return nil, s.errorf("an option has no name; a comma inside a value is doubled")
		}
		s.opts = append(s.opts, option{key: key, value: value})
	}
	return s, nil
}

// optionFirst is for kinds without an address: what follows their colon is an option.
func (s *spec) optionFirst() {
	if s.addr != "" {
		key, value, _ := strings.Cut(s.addr, "=")
		s.opts = append([]option{{key: key, value: value}}, s.opts...)
		s.addr = ""
	}
}

// splitCommas splits at single commas and turns doubled ones into one.
func splitCommas(text string) []string {
	var parts []string
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != ',':
			b.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == ',':
			b.WriteByte(',')
			i++
		default:
			parts = append(parts, b.String())
			b.Reset()
		}
	}
	return append(parts, b.String())
}

// errorf names the flag, the value and what would have been accepted.
func (s *spec) errorf(format string, args ...any) error {
	return &usageError{fmt.Sprintf("-%s %q: %s", s.flag, s.text, fmt.Sprintf(format, args...))}
}

// take is the value of a key; ok is false when it was not given.
func (s *spec) take(key string) (value string, ok bool) {
	for i := range s.opts {
		if o := &s.opts[i]; o.key == key && !o.used {
			o.used = true
			return o.value, true
		}
	}
	return "", false
}

// all is every value of a repeatable key.
func (s *spec) all(key string) (values []string) {
	for v, ok := s.take(key); ok; v, ok = s.take(key) {
		values = append(values, v)
	}
	return values
}

// bytes is a size with K, M or G; 0 when the key was not given.
func (s *spec) bytes(key string) (uint64, error) {
	v, ok := s.take(key)
	if !ok {
		return 0, nil
	}
	n, err := parseSize(v)
	if err != nil {
		return 0, s.errorf("%s=%s: %v", key, v, err)
	}
	return n, nil
}

// address is a hexadecimal address; ok is false when the key was not given.
func (s *spec) address(key string) (a uint64, ok bool, err error) {
	v, ok := s.take(key)
	if !ok {
		return 0, false, nil
	}
	hex, found := strings.CutPrefix(v, "0x")
	a, err = strconv.ParseUint(hex, 16, 64)
	if !found || err != nil {
		return 0, true, s.errorf("%s=%s: an address is hexadecimal, as 0x37000000", key, v)
	}
	return a, true, nil
}

// accept refuses options other than these.
func (s *spec) accept(keys ...string) error {
	for _, o := range s.opts {
		if slices.Contains(keys, o.key) {
			continue
		}
		if len(keys) == 0 {
			return s.errorf("%s takes no options", s.kind)
		}
		return s.errorf("option %s is unknown; accepted are %s", o.key, strings.Join(keys, ", "))
	}
	return nil
}

// done refuses options that were given once too often.
func (s *spec) done() error {
	for _, o := range s.opts {
		if !o.used {
			return s.errorf("%s is given twice", o.key)
		}
	}
	return nil
}

func parseSize(v string) (uint64, error) {
	digits, shift := v, 0
	switch {
	case strings.HasSuffix(v, "K"):
		digits, shift = v[:len(v)-1], 10
	case strings.HasSuffix(v, "M"):
		digits, shift = v[:len(v)-1], 20
	case strings.HasSuffix(v, "G"):
		digits, shift = v[:len(v)-1], 30
	}
	n, err := strconv.ParseUint(digits, 0, 64)
	if err != nil || n == 0 || n > 1<<50>>shift {
		return 0, fmt.Errorf("a size is a number of bytes, or one with K, M or G")
	}
	return n << shift, nil
}
