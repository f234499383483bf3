package main

import (
	"os"
	"path/filepath"
)

// A mutant is an entry and what it makes of its file.
type mutant struct {
	entry
	number int    // from 1: 0 stands for the code as it is
	source string // of the file
	text   string // the same with the change made
	line   int    // of the change
	wrong  error  // the entry does not fit the file, and source to line are nothing
}

// mutantsOf reads each file once, so that a run is of one state of it.
func mutantsOf(root string, entries []entry) []mutant {
	var (
		mutants []mutant
		sources = map[string]string{}
	)
	for i, e := range entries {
		m := mutant{entry: e, number: i + 1}
		source, ok := sources[e.File]
		if !ok {
			var text []byte
			text, m.wrong = os.ReadFile(filepath.Join(root, e.File))
			source = string(text)
			sources[e.File] = source
		}
		if m.wrong == nil {
			m.source = source
			m.text, m.line, m.wrong = e.mutate(source)
		}
		mutants = append(mutants, m)
	}
	return mutants
}
