package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"
	is "gotest.tools/v3/assert/cmp"
)

var cmpConfig = cmp.AllowUnexported(config{})

func TestParseSpec(t *testing.T) {
	type opts = []option
	for text, want := range map[string]spec{
		"rng":                        {kind: "rng"},
		"rng,rate=1M":                {kind: "rng", opts: opts{{key: "rate", value: "1M"}}},
		"console,stdio,escape=^]":    {kind: "console", opts: opts{{key: "stdio"}, {key: "escape", value: "^]"}}},
		"unix:/a,,b":                 {kind: "unix", addr: "/a,b"},
		"unix:/a,,":                  {kind: "unix", addr: "/a,"},
		"file:/a:b,size=1=2":         {kind: "file", addr: "/a:b", opts: opts{{key: "size", value: "1=2"}}},
		"console,port=a:unix=/x,,,y": {kind: "console", opts: opts{{key: "port", value: "a:unix=/x,"}, {key: "y"}}},
		"x,a=,b":                     {kind: "x", opts: opts{{key: "a"}, {key: "b"}}},
	} {
		s, err := parseSpec("flag", text)
		assert.NilError(t, err, text)
		want.flag, want.text = "flag", text
		assert.Check(t, is.DeepEqual(*s, want, cmp.AllowUnexported(spec{}, option{})), text)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]uint64{
		"1": 1, "4096": 4096, "0x1000": 4096, "24K": 24 << 10, "16M": 16 << 20, "1G": 1 << 30, "0x10K": 16 << 10,
		"": 0, "0": 0, "K": 0, "16m": 0, "1T": 0, "1.5M": 0, "-1": 0, "18446744073709551615": 0, "18446744073709551615G": 0,
	} {
		n, err := parseSize(text)
		assert.Check(t, is.Equal(n, want), text)
		assert.Check(t, is.Equal(err == nil, want > 0), text)
	}
}

func TestParseKey(t *testing.T) {
	for key, want := range map[string]byte{
		"^]": 0x1d, "^A": 1, "^a": 1, "^Z": 26, "^[": 0x1b, "^_": 0x1f, "x": 'x', "]": ']', "^": '^',
		"": 0, "^@": 0, "^1": 0, "^^x": 0, "ab": 0, " ": 0, "ü": 0, "^ä": 0,
	} {
		b, ok := parseKey(key)
		assert.Check(t, is.Equal(b, want), key)
		assert.Check(t, is.Equal(ok, want > 0), key)
	}
}
