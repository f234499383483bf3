package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
)

// A sharedBuild is an overlay that holds many mutants; the environment of a
// process chooses one.
type sharedBuild struct {
	overlay string
	held    map[int]bool // by number
}

// share puts as many of the mutants as it can into one build.
func (r *runner) share(ctx context.Context, mutants []mutant) (sharedBuild, error) {
	sources := map[string]string{}
	texts := map[string]map[int]string{} // by file and number
	for _, m := range mutants {
		if m.wrong != nil {
			continue
		}
		sources[m.File] = m.source
		if texts[m.File] == nil {
			texts[m.File] = map[int]string{}
		}
		texts[m.File][m.number] = m.text
	}
	for {
		shared := sharedBuild{held: map[int]bool{}}
		files := map[string]string{}
		packages := map[string]bool{}
		twins := map[string]map[int]span{}
		for name := range texts {
			text, pkg, spans, err := graft(sources[name], texts[name])
			if err != nil || len(spans) == 0 {
				continue
			}
			dir := path.Dir(name)
			files[name], files[path.Join(dir, chosenFile)] = text, chosenSource(pkg)
			packages["./"+dir] = true
			twins[name] = spans
			for n := range spans {
				shared.held[n] = true
			}
		}
		if len(files) == 0 {
			return sharedBuild{}, nil
		}
		var err error
		if shared.overlay, err = r.overlay(files); err != nil {
			return sharedBuild{}, err
		}
		cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", os.DevNull}, slices.Sorted(maps.Keys(packages))...)...)
		cmd.Dir, cmd.Env = r.root, r.environ(shared.overlay)
		out, err := cmd.CombinedOutput()
		if err == nil {
			return shared, nil
		}
		if !removeRefused(texts, twins, string(out)) {
			return sharedBuild{}, fmt.Errorf("%w:\n%s", err, out)
		}
	}
}

// The compiler names a file by its place in the module or by that in the
// overlay's folder, whichever is shorter.
var complaint = regexp.MustCompile(`(?m)^(?:\S*/overlay[0-9]+/)?(\S+\.go):([0-9]+):`)

// removeRefused removes the mutants in whose twins the compiler found a mistake,
// or every mutant of the file if it is in none of them. It tells whether it
// removed any.
func removeRefused(texts map[string]map[int]string, twins map[string]map[int]span, words string) (removed bool) {
	for _, match := range complaint.FindAllStringSubmatch(words, -1) {
		file := path.Clean(match[1])
		line, _ := strconv.Atoi(match[2])
		refused := maps.Clone(twins[file])
		maps.DeleteFunc(refused, func(_ int, s span) bool { return line < s.first || line > s.last })
		if len(refused) == 0 {
			refused = twins[file]
		}
		for n := range refused {
			delete(texts[file], n)
			removed = true
		}
	}
	return removed
}
